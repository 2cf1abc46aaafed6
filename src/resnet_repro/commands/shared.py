"""What several commands need."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.errors import UserError

if TYPE_CHECKING:
    from resnet_repro.data.sources import DataSources

DEFAULT_DATA_DIR = "data"


def sources_of(options: argparse.Namespace) -> DataSources:
    """Where to look for data sets."""
    from resnet_repro.data.sources import DataSources

    return DataSources(
        Path(options.data_dir or DEFAULT_DATA_DIR),
        options.data_mirror or os.environ.get("DATA_MIRROR") or None,
        data_dir_named=options.data_dir is not None,
    )


def print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def existing_runs_dir(options: argparse.Namespace) -> Path:
    runs_dir = Path(options.runs_dir)
    if not runs_dir.is_dir():
        problem = "is not a folder" if runs_dir.exists() else "does not exist"
        raise UserError(f"RUNS_DIR={runs_dir} {problem}; run an experiment first")
    return runs_dir


def all_experiments() -> list[Experiment]:
    """All experiments that can be loaded. Prints a sentence on standard error for each file that cannot."""
    from resnet_repro.design.registry import load_experiment, registry

    known, experiments = registry(), []
    for sentence in known.unusable.values():
        print(sentence, file=sys.stderr)
    for name in known.files:
        try:
            experiments.append(load_experiment(name))
        except UserError as error:
            print(error, file=sys.stderr)
    return experiments


def profile_of(experiment: Experiment, options: argparse.Namespace) -> Profile:
    """The profile selected by the options, before the resolution applies. Raises UserError for conflicting options."""
    from resnet_repro.study.request import scaled_profile

    iterations, prefix = options.iterations, options.prefix
    if prefix is None:
        return scaled_profile(experiment, options.profile or experiment.profiles[0].name, iterations)
    if iterations:
        raise UserError(
            f"PREFIX={prefix} cannot be combined with ITERATIONS={iterations}: PREFIX trains the start of the published "
            "schedule, ITERATIONS a scaled version of the whole schedule"
        )
    if options.profile not in (None, experiment.published_profile.name):
        raise UserError(
            f"PREFIX={prefix} cannot be combined with PROFILE={options.profile}: a prefix is part of the published budget"
        )
    return experiment.prefix(prefix)

"""The steps from a request to its runs that training, dry runs and plans have in common."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path

from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.design.budgets import Budget
from resnet_repro.errors import UserError, os_reason
from resnet_repro.launch import Executor, ExecutorSpec, executor_for
from resnet_repro.launch.process_group import Group, group_of
from resnet_repro.study.expand import runs_of
from resnet_repro.study.foresight import foreseen_inputs
from resnet_repro.study.inputs import Inputs, check_parents, find_inputs
from resnet_repro.study.request import Request, check_decoding
from resnet_repro.study.room import existing_parent
from resnet_repro.study.run import Run


def check_request(request: Request) -> None:
    """Raise UserError for options that exclude each other, and for folders that cannot be written.

    The folders are created, except for a dry run.
    """
    check_decoding(request)
    for folder, variable in ((request.runs_dir, "RUNS_DIR"), (request.reports_dir, "REPORTS_DIR")):
        if request.launch.dry_run:
            _check_may_be_written(folder, variable)
        else:
            _check_writable(folder, variable)


def expanded(request: Request, executor: Executor) -> tuple[Inputs, str, list[Run]]:
    """The inputs of a request, the name of its budget's folder, and its runs. A dry run obtains no inputs.

    Raises UserError if an input is unavailable, or runs of another experiment that these need.
    """
    inputs = foreseen_inputs(request) if request.launch.dry_run else find_inputs(request)
    budget = Budget.of(request.experiment, request.profile, inputs.dataset.facts.name).folder
    runs = runs_of(request, budget, inputs, executor)
    check_parents(request, runs)
    return inputs, budget, runs


def for_all_machines(request: Request) -> Request:
    """The request with absolute paths if other machines execute it, since they have another working directory."""
    if request.launch.is_local:
        return request
    sources, mirror = request.sources, request.sources.mirror
    mirror = str(Path(mirror).resolve()) if mirror and Path(mirror).is_dir() else mirror
    sources = replace(sources, data_dir=sources.data_dir.resolve(), mirror=mirror)
    return replace(request, runs_dir=request.runs_dir.resolve(), sources=sources)


def group_for(request: Request) -> Group | None:
    """The group of processes that torchrun or srun started for this study; None if this process is alone.

    Raises UserError if the study cannot use a group.
    """
    group = group_of(os.environ)
    if group and not (request.experiment.spread and request.launch.is_local):
        user = f"each run of {request.experiment.name}" if request.launch.is_local else "the executor"
        needs = "uses one device" if request.launch.is_local else "starts the runs itself"
        raise UserError(f"{group.dist.size} processes were started together, but {user} {needs}: start one process")
    return group


def executor_of(request: Request, group: Group | None) -> Executor:
    """The executor that the request selects. A process of a group executes its part of each run itself."""
    name = f"{request.experiment.name}-{request.profile.name}"
    decodes = request.dataset not in CATALOGUE and request.dataset != "auto"
    spec = ExecutorSpec(request.launch, request.precision, request.runs_dir, name, request.experiment.spread, decodes)
    return executor_for(spec, group.dist if group else None)


def _check_writable(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(4)}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{variable}={folder} cannot be written ({os_reason(error)}); use another folder") from error


def _check_may_be_written(folder: Path, variable: str) -> None:
    """As `_check_writable`, but without writing: the folder, or the nearest one above it, must be a writable folder."""
    parent = existing_parent(folder)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        reason = "Permission denied" if parent.is_dir() else "Not a directory"
        raise UserError(f"{variable}={folder} cannot be written ({reason}); use another folder")

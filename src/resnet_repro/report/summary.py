"""All claims of all experiments in one document, each with its verdict and what stands behind it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.analysis.claims import Judgement, rule_for
from resnet_repro.budgets import command, profile_of
from resnet_repro.errors import UserError
from resnet_repro.experiment import Experiment
from resnet_repro.report.banners import has_substitute_weights, schedules
from resnet_repro.report.content import COUNTED, effect, number
from resnet_repro.report.typeset import ABSENT, can_typeset, typeset
from resnet_repro.report.write import judged
from resnet_repro.results import Record, collect

NAME = "summary.pdf"
ORDER = ("reproduced", "not reproduced", "observed", "not observed", "undecided", "not run")


def write_summary(
    experiments: Sequence[Experiment], budgets: Mapping[str, str], runs_dir: Path, reports_dir: Path
) -> str:
    """Set `reports_dir/summary.pdf` from the records of each experiment at its budget; a line for the console.

    budgets: {experiment: budget}; experiments without one stand in it as not run. Raises UserError where the folder
    cannot be written or a record is damaged.
    """
    if not can_typeset():
        return ABSENT
    content = summary_content(experiments, budgets, runs_dir)
    try:
        reports_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=reports_dir, prefix=".summary-") as folder:
            typeset("summary.typ", content, Path(folder), NAME)
            (Path(folder) / NAME).replace(reports_dir / NAME)
    except OSError as error:
        raise UserError(
            f"REPORTS_DIR={reports_dir} cannot be written ({error.strerror}): name another folder"
        ) from error
    return f"summary: {reports_dir / NAME}"


def summary_content(experiments: Sequence[Experiment], budgets: Mapping[str, str], runs_dir: Path) -> dict[str, Any]:
    """The document's data."""
    sections, counts, standins, substitutes = [], Counter(), [], []
    for experiment in experiments:
        records = collect(runs_dir, experiment.name, budgets[experiment.name]) if experiment.name in budgets else []
        if records:
            claims = [_judged_row(judgement) for judgement in judged(experiment, records)]
            budget = _budget(experiment, budgets[experiment.name], records)
            if any(r.data["dataset"]["standin"] for r in records):
                standins.append(experiment.name)
            if any(has_substitute_weights(r) for r in records):
                substitutes.append(experiment.name)
        else:
            claims = [_absent_row(claim.name, claim.text, claim.source) for claim in experiment.claims]
            budget = f"not run: {command(experiment, experiment.profiles[0].name)}"
        counts.update(claim["verdict"] for claim in claims)
        sections.append({"name": experiment.name, "title": experiment.title, "budget": budget, "claims": claims})
    return {
        "title": "Every claim and its verdict",
        "source": "He15, He16 and the notes and posts that teach them",
        "banners": [
            f"{what} in {', '.join(names)}: {means}"
            for what, names, means in (
                ("STAND-IN DATA", standins, "no claim is judged on it."),
                ("SUBSTITUTE WEIGHTS", substitutes, "no claim about pretrained weights is judged on them."),
            )
            if names
        ],
        "counts": [{"verdict": verdict, "claims": str(counts[verdict])} for verdict in ORDER if counts[verdict]],
        "experiments": sections,
        "rule": rule_for([claim for experiment in experiments for claim in experiment.claims]),
    }


def _budget(experiment: Experiment, budget: str, records: Sequence[Record]) -> str:
    """Profile, length against the published one, data set, precision and hardware, in a line."""
    parts = [f"{mine:,} of {theirs:,} iterations" for mine, theirs in schedules(records)]
    profile = profile_of(experiment, budget)
    if any(r.settings.stretch is not None for r in records):
        parts.append("some arms a stretch only")
    titles = sorted({r.data["dataset"]["title"] for r in records if not r.is_counted})
    if experiment.is_counted:
        parts.append(f"{len(records)} networks counted")
    if profile is not None:
        wanted = set(experiment.runs_of(profile, profile.seeds))
        if absent := len(wanted - {(r.arm, r.seed) for r in records}):
            parts.append(f"{absent} runs missing")
    return f"{budget}: {', '.join([*parts, *titles])}"


def _judged_row(judgement: Judgement) -> dict[str, str]:
    claim, parts = judgement.claim, judgement.parts
    seeds = sorted({part.seeds for part in parts})
    return {
        "name": claim.name,
        "text": claim.text,
        "source": claim.source,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "effect": _effects(judgement),
        "seeds": COUNTED if claim.exact else str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}",
    }


def _effects(judgement: Judgement) -> str:
    """The effect of a single comparison, the span of several in one unit."""
    parts = [part for part in judgement.parts if part.interval is not None]
    if not parts:
        return "no runs"
    if len(parts) == 1:
        return effect(parts[0])
    estimates = sorted(part.interval.estimate for part in parts if part.interval is not None)
    units = {part.unit for part in parts}
    if len(units) > 1:
        return f"{effect(parts[0])}, and {len(parts) - 1} more"
    sign = not judgement.claim.exact
    return f"{number(estimates[0], sign)} to {number(estimates[-1], sign)} {units.pop()}".rstrip()


def _absent_row(name: str, text: str, source: str) -> dict[str, str]:
    return {
        "name": name, "text": text, "source": source, "verdict": "not run", "reason": "", "effect": "–", "seeds": "0",
    }  # fmt: skip

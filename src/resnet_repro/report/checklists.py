"""The page REPRODUCIBILITY.md: the questions of two reproducibility checklists, answered from records.

checklists.csv has the questions and the answers, with names in braces for links and numbers.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.parsing import plural
from resnet_repro.records.record import AnyRecord, Record, collect, only_counted, only_trained
from resnet_repro.report.costs import costs_of, trained_once
from resnet_repro.report.markdown import escaped, table
from resnet_repro.report.what_was_run import all_of

SOURCES = (
    "[NeurIPS paper checklist](https://neurips.cc/public/guides/PaperChecklist) of 2024",
    "[Machine Learning Reproducibility Checklist](https://www.cs.mcgill.ca/~jpineau/ReproducibilityChecklist.pdf), version 2.0",
)
INTRODUCTION = (
    "Written by `make report REFERENCE=1` from the records in {runs}, with which tests compare it. The questions are shortened "
    f"from two checklists: the {SOURCES[0]}, and J. Pineau's {SOURCES[1]} (J. Pineau et al., *Improving Reproducibility in "
    "Machine Learning Research*, JMLR 22, 2021). A *no* is meant as such."
)
CHECKLISTS = {"NeurIPS": "NeurIPS paper checklist", "Pineau": "ML Reproducibility Checklist 2.0"}


@dataclass(frozen=True)
class Reported:
    """The runs of an experiment at a budget."""

    experiment: Experiment
    budget: str
    stem: str
    """Name of its report, without the ending."""
    records: Sequence[AnyRecord]


def reported(experiments: Sequence[Experiment], budgets: Mapping[str, Sequence[str]], runs_dir: Path) -> list[Reported]:
    """Read the records of the budgets of each experiment, the one with the report of its name first."""
    return [
        Reported(
            experiment,
            budget,
            experiment.name + (f"-{budget}" if rank else ""),
            collect(runs_dir, experiment.name, budget),
        )
        for experiment in experiments
        for rank, budget in enumerate(budgets.get(experiment.name, ()))
    ]


def write_checklists(
    path: Path, studies: Sequence[Reported], content: Mapping[str, Any], runs_dir: Path, reports_dir: Path
) -> None:
    """Write the page. content: the summary's, see `summary.summary_content`. Raises UserError if it cannot be written."""
    try:
        path.write_text(checklists_page(studies, content, runs_dir, reports_dir, path.parent), encoding="utf-8")
    except OSError as error:
        raise UserError(f"CHECKLIST={path} cannot be written ({os_reason(error)}): use another file") from error


def checklists_page(
    studies: Sequence[Reported], content: Mapping[str, Any], runs_dir: Path, reports_dir: Path, folder: Path
) -> str:
    """Return the page as Markdown, with links relative to `folder`, from the root of the repository."""

    def link(words: str, target: str | Path) -> str:
        return f"[{words}]({Path(os.path.relpath(target, folder)).as_posix()})"

    links = {
        "claims": link("docs/claims.md", "docs/claims.md"),
        "summary": link("summary.md", reports_dir / "summary.md"),
        "statements": link("statements.md", reports_dir / "statements.md"),
        "results": link("reports/README.md", "reports/README.md"),
        "running": link("docs/running.md", "docs/running.md"),
        "imagenet": link("docs/imagenet.md", "docs/imagenet.md"),
        "architecture": link("docs/architecture.md", "docs/architecture.md"),
        "readme": link("README.md", "README.md"),
        "experiments": link("experiments", "experiments"),
        "catalogue": link("catalogue.py", "src/resnet_repro/data/catalogue.py"),
        "models": link("models", "src/resnet_repro/models"),
        "recipes": link("recipes.py", "src/resnet_repro/config/recipes.py"),
        "training": link("training", "src/resnet_repro/training"),
        "statistics": link("statistics.py", "src/resnet_repro/claims/statistics.py"),
        "error_rates": link("test_error_rates.py", "tests/claims/test_error_rates.py"),
        "theory": link("theory.py", "src/resnet_repro/theory.py"),
        "history": link("history.json", "src/resnet_repro/claims/history.json"),
        "pyproject": link("pyproject.toml", "pyproject.toml"),
        "constraints": link("constraints.txt", "constraints.txt"),
        "docker": link("Dockerfile", "Dockerfile"),
        "licence": link("LICENSE", "LICENSE"),
        "citation": link("CITATION.cff", "CITATION.cff"),
        "runs": link(runs_dir.as_posix(), runs_dir),
    }
    known = {**links, **_numbers(studies, content)}
    parts = ["# Reproducibility", INTRODUCTION.format(**known), "## Numbers", _cost_table(studies, link, reports_dir)]
    parts += [content["costs"], _data_table(studies, known["catalogue"])]
    for checklist, title in CHECKLISTS.items():
        rows = [(row["question"], row["answer"], row["words"].format(**known)) for row in _answers(checklist)]
        parts += [f"## {title}", table(("question", "answer", "where, and why"), rows, "lll")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _answers(checklist: str) -> list[dict[str, str]]:
    text = (files("resnet_repro.report") / "checklists.csv").read_text(encoding="utf-8")
    return [row for row in csv.DictReader(text.splitlines()) if row["checklist"] == checklist]


def _numbers(studies: Sequence[Reported], content: Mapping[str, Any]) -> dict[str, str]:
    """Return the numbers that answers name, as words."""
    every = trained_once([record for study in studies for record in study.records])
    trained = only_trained(every)
    seeds = [len(group) for study in studies for group in _by_arm(only_trained(study.records)).values()]
    searches = [record for record in trained if record.search]
    rates = sorted({c.learning_rate for r in searches if r.search for c in r.search.candidates.values()})
    counts = {row["verdict"]: row["claims"] for row in content["counts"]}
    settled = [name for name in ("supported", "contradicted") if name in counts]
    peak = max((record.peak_memory_mib or 0.0 for record in trained), default=0.0)
    evaluations = sum(len(record.curve("metrics", "test_error")[0]) for record in trained)
    versions = {name: sorted({r.versions[name] for r in every if name in r.versions}) for name in ("python", "torch")}
    return {
        "run_count": plural(len(trained), "run"),
        "network_count": plural(len(only_counted(every)), "counted network"),
        "evaluation_count": f"{evaluations:,} evaluations on test images",
        "seed_range": "–".join(dict.fromkeys(map(str, (min(seeds, default=0), max(seeds, default=0))))),
        "hardware": all_of(trained, "hardware") or "none",
        "devices": all_of(trained, "device") or "none",
        "precision": all_of(trained, "precision") or "none",
        "threads": all_of(trained, "threads") or "none",
        "peak": f"{peak:,.0f} MiB",
        "versions": "; ".join(f"{name} {', '.join(numbers)}" for name, numbers in versions.items() if numbers),
        "search_count": plural(len(searches), "run"),
        "rates": ", ".join(f"{rate:g}" for rate in rates) or "none",
        "claim_count": counts.get("all", "0"),
        "settled": " and ".join(f"{counts[name]} {name}" for name in settled) or "none settled",
        "short": _short_budgets(studies),
    }


def _short_budgets(studies: Sequence[Reported]) -> str:
    """Name the share of the published schedules that the runs of each experiment have taken at most."""
    shares: dict[str, float] = {}
    for study in studies:
        for record in only_trained(study.records):
            steps, published = record.schedule
            if published and record.status == "finished":
                shares[study.experiment.name] = max(shares.get(study.experiment.name, 0.0), steps / published)
    whole = sorted(name for name, share in shares.items() if share >= 1)
    words = f"{len(shares) - len(whole)} of {len(shares)} experiments have only shorter schedules than the sources"
    return words + (f" (whole: {', '.join(whole)})" if whole else "")


def _by_arm(records: Sequence[Record]) -> dict[str, list[Record]]:
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(record.arm, []).append(record)
    return arms


def _cost_table(studies: Sequence[Reported], link: Any, reports_dir: Path) -> str:
    rows = []
    for study in studies:
        trained = only_trained(study.records)
        costs = costs_of(trained)
        if not costs.runs:
            continue
        seeds = {arm: [record.seed for record in group] for arm, group in _by_arm(trained).items()}
        counts = [len(group) for group in seeds.values()]
        rows.append(
            [
                link(study.stem, reports_dir / f"{study.stem}.pdf"),
                ", ".join(f"`{command}`" for command in Budget.parse(study.budget).commands(study.experiment, seeds)),
                str(costs.runs),
                "–".join(dict.fromkeys(map(str, (min(counts), max(counts))))),
                f"{costs.seconds / 3600:.2g}",
                f"{costs.seconds / 60 / costs.runs:.2g}",
                costs.operations,
                costs.energy,
            ]
        )
    header = ("report", "command", "runs", "seeds per arm", "run-hours", "minutes per run", "operations", "energy")
    return table(header, rows, "llrrrrll") if rows else ""


def _data_table(studies: Sequence[Reported], catalogue: str) -> str:
    datasets = {record.dataset.digest: record.dataset for study in studies for record in only_trained(study.records)}
    rows = [
        [escaped(data.title), f"{data.train_images:,}", f"{data.test_images:,}", str(data.classes), f"`{digest}`"]
        for digest, data in sorted(datasets.items(), key=lambda item: (item[1].title, item[0]))
    ]
    if not rows:
        return ""
    header = ("data set", "training images", "test images", "classes", "SHA-256 of the contents")
    return f"{table(header, rows, 'lrrrl')}\n\nAddresses of the official files and their MD5 sums: {catalogue}."

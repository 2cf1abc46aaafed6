"""Summary of the claims of all experiments with their verdicts and evidence, as PDF and as Markdown."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.explanations import explanations
from resnet_repro.claims.grade import KINDS
from resnet_repro.claims.judge import Judgement, rule_for
from resnet_repro.claims.results import Part
from resnet_repro.claims.statements import statements
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.hardware import CORE_WATTS
from resnet_repro.parsing import plural
from resnet_repro.records.record import AnyRecord, Record, collect, only_trained
from resnet_repro.report.banners import has_substitute_weights, needless, schedules
from resnet_repro.report.content import COUNTED, bounds, effect, grade_words, published_effect
from resnet_repro.report.costs import costs_of, trained_once
from resnet_repro.report.markdown import summary_page
from resnet_repro.report.rows import least_certain
from resnet_repro.report.statements import PAGE as STATEMENTS_PAGE
from resnet_repro.report.statements import statements_page
from resnet_repro.report.typeset import ABSENT, all_printable, can_typeset, date_of, typeset
from resnet_repro.report.verdicts import judged
from resnet_repro.report.what_was_run import all_of
from resnet_repro.report.why import why_content, write_why

PDF, PAGE = "summary.pdf", "summary.md"
ORDER = ("supported", "contradicted", "seen once", "not seen", "inconclusive", "not tested")
DECIDABLE, SEEN, UNJUDGED, ABSENT_RUNS = range(4)  # precedence of a verdict among budgets, highest first


def write_summary(content: dict[str, Any], reports_dir: Path) -> list[str]:
    """Write `reports_dir/summary.md` and, if typst is installed, summary.pdf; return lines for the console.

    content: from `summary_content`. statements.md, why.md and why.pdf are written as well, with the verdicts of the content's
    claims. Raises UserError if the folder cannot be written.
    """
    shown, lines = (PDF, []) if can_typeset() else (PAGE, [ABSENT])
    try:
        reports_dir.mkdir(parents=True, exist_ok=True)
        (reports_dir / PAGE).write_text(summary_page(all_printable(content)), encoding="utf-8")
        page = statements_page(statements(), content["claims"])
        (reports_dir / STATEMENTS_PAGE).write_text(page, encoding="utf-8")
        about_why = why_content(explanations(), content["claims"], content["date"])
        write_why(about_why, reports_dir, with_pdf=shown == PDF)
        if shown == PDF:
            with tempfile.TemporaryDirectory(dir=reports_dir, prefix=".summary-") as folder:
                typeset("summary.typ", content, Path(folder), PDF)
                (Path(folder) / PDF).replace(reports_dir / PDF)
    except OSError as error:
        raise UserError(
            f"REPORTS_DIR={reports_dir} cannot be written ({os_reason(error)}): use another folder"
        ) from error
    return [*lines, f"summary: {reports_dir / shown}"]


def summary_content(
    experiments: Sequence[Experiment], budgets: Mapping[str, Sequence[str]], runs_dir: Path
) -> dict[str, Any]:
    """Return the data of the summary document.

    budgets: {experiment: its budgets}, with those on the experiment's own data first, then by length, longest first.
    Experiments without a budget are listed as not run. "experiments" has the verdicts of every budget; "claims" and
    "counts" have each claim once, as chosen by `counting`. Raises UserError if a record is damaged.
    """
    sections, standins, substitutes = [], [], []
    every_record: list[AnyRecord] = []
    for experiment in experiments:
        for budget in budgets.get(experiment.name, ()):
            records = collect(runs_dir, experiment.name, budget)
            trained = only_trained(records)
            every_record += records
            if any(r.dataset.standin for r in trained):
                standins.append(experiment.name)
            if any(has_substitute_weights(r) for r in trained):
                substitutes.append(experiment.name)
            claims = [_judged_row(judgement) for judgement in judged(experiment, records)]
            steps = _steps(trained) or ("not trained" if trained else f"{len(records)} networks counted")
            ran = _ran(experiment, budget, records)
            own_data = Budget.parse(budget).dataset is None
            sections.append(_section(experiment, _budget(experiment, budget, records), steps, ran, claims, own_data))
        if not budgets.get(experiment.name):
            claims = [_absent_row(claim) for claim in experiment.claims]
            line = f"not run: {Budget.parse(experiment.profiles[0].name).command(experiment)}"
            sections.append(_section(experiment, line, "", None, claims))
    claims = counting(sections)
    return {
        "title": "Every claim and its verdict",
        "date": date_of([record.finished_at for record in every_record]),
        "source": "He15, He16, and lecture notes and blog posts about them",
        "banners": [
            f"{what} in {', '.join(dict.fromkeys(names))}: {means}"
            for what, names, means in (
                ("STAND-IN DATA", standins, "no claim is judged on such data."),
                ("SUBSTITUTE WEIGHTS", substitutes, "no claim about pretrained weights is judged on them."),
            )
            if names
        ],
        "counts": _counts(claims),
        "experiments": sections,
        "claims": claims,
        "costs": _costs(every_record),
        "rule": rule_for([claim for experiment in experiments for claim in experiment.claims]),
    }


def _costs(records: Sequence[AnyRecord]) -> str:
    """Say what all runs cost together; empty without runs."""
    costs = costs_of(trained_once(records))
    if not costs.runs:
        return ""
    return (
        f"All together: {costs.runs:,} runs, each once, {costs.seconds / 3600:,.0f} run-hours, {costs.operations}, "
        f"{costs.energy}. Operations are those of the training steps, two per multiply-add; “about”: in older records the "
        "backward pass is taken for two forward passes. Estimated energy is stated power times time: "
        f"{CORE_WATTS:g} W per processor core in use, or the power of the GPU’s board."
    )


def _counts(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the number of claims by verdict, each broken down by grade; last the number of all."""
    rows = []
    for verdict in (*ORDER, "all"):
        of_verdict = [claim for claim in claims if verdict in (claim["verdict"], "all")]
        grades = Counter(claim["kind"] for claim in of_verdict)
        rows.append(
            {"verdict": verdict, "claims": str(len(of_verdict))}
            | {kind: str(grades[kind]) if grades[kind] else "–" for kind in KINDS}
            | {
                "own": str(sum(claim["own"] for claim in of_verdict)),
                "reproduced": str(sum(claim["reproduced"] for claim in of_verdict)),
            }
        )
    return [row for row in rows if row["claims"] != "0"]


def _section(
    experiment: Experiment,
    budget: str,
    steps: str,
    ran: dict[str, Any] | None,
    claims: Sequence[dict[str, Any]],
    own_data: bool = True,
) -> dict[str, Any]:
    """Return an experiment at one budget. ran: None if it was not run. own_data: whether it used its own data set."""
    about = {"name": experiment.name, "title": experiment.title, "own_data": own_data}
    return about | {"budget": budget, "steps": steps, "ran": ran, "claims": claims}


def counting(sections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every claim once, with the verdict that counts; the choice never depends on the outcome.

    It is the verdict at the longest budget that could decide the claim, otherwise at the longest at which it was seen
    once or not seen. Runs on other data count only if the experiment has none on its own data.
    """
    chosen: dict[str, dict[str, Any]] = {}
    own = {section["name"] for section in sections if section["own_data"]}
    for section in sections:
        if section["name"] in own and not section["own_data"]:
            continue
        for row in section["claims"]:
            if row["name"] not in chosen or row["weight"] < chosen[row["name"]]["weight"]:
                chosen[row["name"]] = row | {"experiment": section["name"], "steps": section["steps"]}
    return list(chosen.values())


def _steps(records: Sequence[Record]) -> str:
    return ", ".join(f"{ours:,} of {theirs:,}" for ours, theirs in schedules(records))


def _ran(experiment: Experiment, budget: str, records: Sequence[AnyRecord]) -> dict[str, Any]:
    """Return the facts of the runs for the table of runs, with a dash for facts that counted networks lack."""
    trained = only_trained(records)
    seeds: dict[str, list[int]] = {}
    for record in records:
        seeds.setdefault(record.arm, []).extend([record.seed] if isinstance(record, Record) else [])
    per_arm = sorted(Counter(record.arm for record in trained).values())
    data = {f"{r.dataset.title} {r.dataset.digest[:8]}" for r in trained}
    costs = costs_of(records)
    return {
        "commands": Budget.parse(budget).commands(experiment, seeds),
        "runs": str(len(records)),
        "seeds": " to ".join(dict.fromkeys(map(str, (*per_arm[:1], *per_arm[-1:])))) or "–",
        "data": ", ".join(sorted(data)) or "–",
        "hardware": f"{all_of(trained, 'precision')} on {all_of(trained, 'hardware')}" if trained else "–",
        "minutes": f"{(sum(r.seconds for r in records) + sum(r.feature_seconds or 0.0 for r in trained)) / 60:.0f}",
        "operations": costs.operations,
        "energy": costs.energy,
        "commit": all_of(trained or records, "commit"),
    }


def _budget(experiment: Experiment, budget: str, records: Sequence[AnyRecord]) -> str:
    """Return a line with the profile, the length relative to the published one, missing runs and the data set."""
    trained = only_trained(records)
    parts = [f"{steps} iterations"] if (steps := _steps(trained)) else []
    profile = Budget.parse(budget).profile_of(experiment)
    if any(r.settings.stretch is not None for r in trained):
        parts.append("some arms only a stretch")
    titles = sorted({r.dataset.title for r in trained})
    if experiment.is_counted:
        parts.append(f"{len(records)} networks counted")
    if profile is not None:
        unneeded = needless(experiment, trained)
        expected = {run for run in experiment.runs_of(profile, profile.seeds) if run[0] not in unneeded}
        if absent := len(expected - {(r.arm, r.seed) for r in records}):
            parts.append(f"{plural(absent, 'run')} missing")
    return f"{budget}: {', '.join([*parts, *titles])}"


def _judged_row(judgement: Judgement) -> dict[str, Any]:
    claim = judgement.claim
    return {
        "name": claim.name,
        "text": claim.text,
        "source": claim.source,
        "verdict": judgement.verdict,
        "grade": grade_words(judgement) or "–",
        "kind": judgement.grade.kind if judgement.grade else "",
        "own": claim.own,
        "reproduced": judgement.reproduced,
        "reason": judgement.reason,
        **_shown_comparison(judgement),
        "seeds": _seeds(judgement),
        "weight": weight(judgement),
    }


def _seeds(judgement: Judgement) -> str:
    """Format the number of seeds of the comparisons, and the planned number if it differs."""
    claim = judgement.claim
    if claim.exact:
        return COUNTED
    seeds = sorted({part.seeds for part in judgement.parts})
    text = "-".join(str(number) for number in dict.fromkeys((seeds[0], seeds[-1])))
    return text if seeds == [claim.seeds] or not seeds[-1] else f"{text} ({claim.seeds} planned)"


def weight(judgement: Judgement) -> int:
    """Return the precedence of a verdict among budgets, 0 first."""
    if judgement.verdict in ("seen once", "not seen"):
        return SEEN
    decided = judgement.verdict in ("supported", "contradicted")
    return DECIDABLE if decided or (judgement.p is not None and not judgement.is_too_early) else UNJUDGED


def _shown_comparison(judgement: Judgement) -> dict[str, str]:
    """Return the cells of the comparison that supports the claim least, which decides its verdict.

    For several counted comparisons: how many hold, and their numbers.
    """
    parts = [part for part in judgement.parts if part.interval is not None]
    if not parts:
        return _cells(judgement.parts[0]) | {"effect": "no value"}
    if len(parts) == 1:
        return _cells(parts[0])
    if judgement.claim.exact:
        held = sum(part.verdict == "supported" for part in parts)
        words = f"{held} of {len(parts)} hold" + _numbers(parts)
        return {"quantity": "counts and ratios", "claimed": "–", "effect": words, "interval": "–", "published": "–"}
    cells = _cells(judgement.parts[least_certain(judgement)])
    return cells | {"quantity": f"{cells['quantity']}, least certain of {len(parts)}"}


def _cells(part: Part) -> dict[str, str]:
    return {
        "quantity": part.statement,
        "claimed": part.claimed,
        "effect": effect(part),
        "interval": bounds(part),
        "published": published_effect(part),
    }


def _numbers(parts: Sequence[Part]) -> str:
    """List counted effects after a colon; if there are more than six, their range, or nothing for several units."""
    if len(parts) <= 6:
        return ": " + ", ".join(effect(part) for part in parts)
    if len({part.unit for part in parts}) > 1:
        return ""
    by_size = sorted(parts, key=lambda part: part.interval.estimate if part.interval else 0.0)
    return f": {effect(by_size[0])} to {effect(by_size[-1])}"


def _absent_row(claim: Claim) -> dict[str, Any]:
    return {
        "name": claim.name, "text": claim.text, "source": claim.source, "verdict": "not tested", "grade": "–", "kind": "",
        "own": claim.own,
        "reproduced": False, "reason": "", "quantity": "–", "claimed": "–", "effect": "–", "interval": "–", "published": "–",
        "seeds": "0", "weight": ABSENT_RUNS,
    }  # fmt: skip

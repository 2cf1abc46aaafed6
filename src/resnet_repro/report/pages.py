"""Parts of Markdown pages that come from records, such as the findings of the README.

A block of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`; NAME is one of

    findings                                        table of the key findings, of `findings.csv`
    findings in Korean                              the same in Korean
    number of claims                                of all experiments
    printed EXPERIMENT BUDGET seeds SEEDS           what the command prints after these runs, of the experiment's arms or
    printed EXPERIMENT BUDGET seeds SEEDS arms ARMS     of some of them

Besides, the title of a link to a report is the verdict of the claim that the link names: `[D1](reference/degradation.pdf
"supported")`. Links may be inline, or defined below as `[label]: reference/degradation.pdf "supported"`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.parsing import choice, parse_seeds
from resnet_repro.records.record import Record, collect, only_trained
from resnet_repro.report import korean
from resnet_repro.report.console import error_lines, verdict_lines
from resnet_repro.report.headline import headline
from resnet_repro.report.markdown import table
from resnet_repro.report.summary import ORDER
from resnet_repro.report.verdicts import judged

FINDINGS = Path(__file__).with_name("findings.csv")
BLOCK = re.compile(r"<!-- generated: ([^>]+?) -->(.*?)<!-- end -->", re.S)
START = re.compile(r"<!-- generated:")
INLINE = re.compile(r'\[([^\]]+)\](\(\S*reference/([^/\s)]+)\.pdf ")([^"]+)("\))')
DEFINITION = re.compile(r'^\[([^\]]+)\](: \S*reference/([^/\s]+)\.pdf ")([^"]+)(")$', re.M)
CELLS = ("verdict", "grade", "effect", "interval", "seeds")
NAMES = ("findings", "findings in Korean", "number of claims", "printed EXPERIMENT BUDGET seeds SEEDS [arms ARMS]")


@dataclass(frozen=True)
class Facts:
    """What pages are renewed from: the records of a folder, and the verdicts on all claims."""

    claims: Mapping[str, Mapping[str, Any]]
    """{claim: its row of the summary}."""
    verdicts: Mapping[str, Mapping[str, str]]
    """{report, by the name of its file without suffix: {claim: verdict}}."""
    experiments: Mapping[str, Experiment]
    runs_dir: Path


def facts_of(
    content: Mapping[str, Any],
    experiments: Sequence[Experiment],
    budgets: Mapping[str, Sequence[str]],
    runs_dir: Path,
) -> Facts:
    """Return the facts of a summary. content, experiments, budgets: see `summary.summary_content`."""
    stems = [
        f"{experiment.name}-{budget}" if rank else experiment.name
        for experiment in experiments
        for rank, budget in enumerate(budgets.get(experiment.name, ()))
    ]
    reported = [section for section in content["experiments"] if section["ran"]]
    verdicts = {
        stem: {claim["name"]: claim["verdict"] for claim in section["claims"]}
        for stem, section in zip(stems, reported, strict=True)
    }
    claims = {claim["name"]: claim for claim in content["claims"]}
    return Facts(claims, verdicts, {experiment.name: experiment for experiment in experiments}, runs_dir)


def renew_pages(pages: Sequence[Path], facts: Facts) -> list[str]:
    """Renew pages in place, and return lines for the console: the pages and verdicts that changed.

    Raises UserError if a page cannot be read or written, or asks for something unknown; no page is changed then.
    """
    texts, lines = {}, []
    for page in pages:
        try:
            texts[page] = page.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{page} cannot be read ({os_reason(error)}): expected a Markdown page, e.g. README.md"
            ) from error
    renewed = {}
    for page, text in texts.items():
        try:
            renewed[page], changes = renewed_text(text, facts)
        except UserError as error:
            raise UserError(f"{page}: {error}") from error
        lines += [f"{page}: {change}" for change in changes]
    for page, text in renewed.items():
        if text == texts[page]:
            continue
        try:
            page.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{page} cannot be written ({os_reason(error)}): make it writable") from error
        lines.append(f"{page}: renewed")
    return lines


def renewed_text(text: str, facts: Facts) -> tuple[str, list[str]]:
    """Return a page with its blocks and the verdicts of its links renewed, and a line per verdict that changed.

    The words around a changed verdict need an eye. Raises UserError for a block or a claim that is unknown.
    """
    if len(START.findall(text)) != len(BLOCK.findall(text)):
        raise UserError("a generated block has no end: expected <!-- end --> after it, before the next block")

    def renewed_block(match: re.Match[str]) -> str:
        name, body = match[1], match[2]
        content = block(name, facts)
        around = "\n" if body.startswith("\n") or "\n" in content else ""
        return f"<!-- generated: {name} -->{around}{content}{around}<!-- end -->"

    changes: list[str] = []
    words_of_label = {label: words for words, label in re.findall(r"\[([^\]]+)\]\[([^\]]+)\]", text)}

    def renewed_title(match: re.Match[str], claim: str) -> str:
        words, before, report, verdict, after = match.groups()
        if verdict not in ORDER:  # such as the metric of an arm
            return match[0]
        verdicts = facts.verdicts[choice(report, facts.verdicts, "report")]
        now = verdicts[choice(claim, verdicts, f"claim of {report}")]
        if now != verdict:
            changes.append(f"{claim} in {report} was {verdict} and is {now}: read the sentence again")
        return f"[{words}]{before}{now}{after}"

    text = BLOCK.sub(renewed_block, text)
    text = INLINE.sub(lambda match: renewed_title(match, match[1]), text)
    text = DEFINITION.sub(lambda match: renewed_title(match, words_of_label.get(match[1], match[1])), text)
    return text, changes


def block(name: str, facts: Facts) -> str:
    """Return the content of a block, without line breaks around it. Raises UserError if the name is unknown."""
    if name == "findings":
        rows = [
            [row["claim"], row["english"], *(_claim(row["claim"], facts)[key] for key in CELLS)] for row in findings()
        ]
        return table(["claim", "finding", "verdict", "grade", "effect", "95 % interval", "seeds"], rows, "l" * 7)
    if name == "findings in Korean":
        rows = [korean.finding_row(_claim(row["claim"], facts), row["korean"]) for row in findings()]
        return table(korean.HEADER, rows, "l" * 7)
    if name == "number of claims":
        return str(len(facts.claims))
    if match := re.fullmatch(r"printed (\S+) (\S+) seeds (\S+)(?: arms (\S+))?", name):
        experiment = facts.experiments[choice(match[1], facts.experiments, "experiment")]
        arms = None if match[4] is None else [choice(arm, experiment.names, "arm") for arm in match[4].split(",")]
        lines = printed(experiment, match[2], parse_seeds(match[3]), arms, facts.runs_dir)
        return "\n".join(["```text", *lines, "```"])
    raise UserError(f"unknown block {name!r}: expected one of {', '.join(NAMES)}")


def findings() -> list[dict[str, str]]:
    """Return the key findings in their order: claim, and what it found in English and Korean. Raises OSError."""
    with FINDINGS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def printed(
    experiment: Experiment, budget: str, seeds: Sequence[int], arms: Sequence[str] | None, runs_dir: Path
) -> list[str]:
    """Return what the console shows after these runs, with the default folders.

    arms: None for all that have runs. Counted networks belong to every seed. Raises UserError if a run is missing.
    """
    present = [record for record in collect(runs_dir, experiment.name, budget) if arms is None or record.arm in arms]
    records = [record for record in present if not isinstance(record, Record) or record.seed in seeds]
    trained = only_trained(records)
    wanted = {record.arm for record in only_trained(present)} if arms is None else set(arms) - _counted(experiment)
    missing = {(arm, seed) for arm in wanted for seed in seeds} - {(record.arm, record.seed) for record in trained}
    if missing or not records:
        run = "{} with seed {}".format(*min(missing)) if missing else "any run"
        raise UserError(f"{runs_dir}/{experiment.name}/{budget} lacks {run}: expected all runs that the block names")
    judgements = judged(experiment, records)
    return [
        *verdict_lines(judgements),
        *error_lines(experiment, trained),
        *headline(experiment, records, judgements),
        f"report: reports/{experiment.name}.pdf",
    ]


def _counted(experiment: Experiment) -> set[str]:
    return {network.name for network in experiment.networks}


def _claim(name: str, facts: Facts) -> Mapping[str, Any]:
    return facts.claims[choice(name, facts.claims, "claim")]

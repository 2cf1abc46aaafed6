"""The answer to an experiment's question in sentences: its templates, filled with means over seeds.

A place in a template holds the mean of a metric over an arm's seeds, or two such means divided by or taken from one
another; numbers of one metric have the same decimals within a sentence:

    {plain-56.train_error}                                 87
    {vgg-16.params / alexnet.params}                       2.3
    {lenet.parameters:count}                               44,426
    {plain-56.gradient_decay:decades}                      0.39, of a mean logarithm to base 10
    {tanh.doublings_to_25 - relu.doublings_to_25:doublings}    0.9, of one to base 2
    {steps}, {plain-56.steps}                              391, of the arms that the sentence names, or of one

The metrics are those of `records.metrics`, and peak_memory_gib, the most that a run's process held. A sentence whose first
clause lacks a number is left out, and so is each further clause, after a semicolon, that lacks one: clauses must make sense
behind the first one alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from resnet_repro.claims.judge import Judgement
from resnet_repro.design.experiment import Experiment
from resnet_repro.parsing import plural
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import AnyRecord, Record, only_trained
from resnet_repro.report.banners import has_substitute_weights, is_other_data

PLACE = re.compile(r"\{([^{}:]+)(?::(\w+))?\}")
STEPS = "steps"
CLAUSE = "; "


def headline(experiment: Experiment, records: Sequence[AnyRecord], judgements: Sequence[Judgement]) -> list[str]:
    """The experiment's answers as these records give them, then what a reader must know of the numbers.

    Where no answer has its numbers, a sentence counts the verdicts.
    """
    by_arm: dict[str, list[AnyRecord]] = {}
    for record in records:
        by_arm.setdefault(record.arm, []).append(record)
    values = _Values({arm: [values_of(record) for record in mine] for arm, mine in by_arm.items()}, by_arm)
    found = [answer for template in experiment.answers if (answer := _filled(template, values))]
    if not found:
        missing = "These runs lack the numbers of an answer. " if experiment.answers else ""
        return [missing + _of_verdicts(judgements), *_remarks(experiment, records)]
    named = [record for arm in dict.fromkeys(arm for answer in found for arm in answer.arms) for record in by_arm[arm]]
    return [*_with_seeds(found, by_arm), *_remarks(experiment, named)]


@dataclass(frozen=True)
class _Answer:
    sentence: str
    arms: list[str]


@dataclass(frozen=True)
class _Values:
    """What there is to fill in. rows: {arm: [{metric: value} of each of its runs]}."""

    rows: Mapping[str, Sequence[Mapping[str, float]]]
    records: Mapping[str, Sequence[AnyRecord]]

    def mean(self, arm: str, metric: str) -> float | None:
        """Over the arm's runs; None where one of them has no such value, so that no run is left out for what it shows."""
        found = [row.get(metric) for row in self.rows.get(arm, ())]
        present = [value for value in found if value is not None]
        return fmean(present) if present and len(present) == len(found) else None

    def of(self, expression: str) -> float | None:
        """ "arm.metric", or the ratio " / " or difference " - " of two such, of means."""
        for sign in (" / ", " - "):
            first, found, second = expression.partition(sign)
            if found:
                a, b = self.of(first), self.of(second)
                if a is None or b is None or (sign == " / " and not b):
                    return None
                return a / b if sign == " / " else a - b
        arm, _, metric = expression.rpartition(".")
        return self.mean(arm, metric)

    def steps(self, arms: Sequence[str]) -> str:
        """How long these arms were trained: "391", "391 or 782", of a prefix "34,000 of 64,000"; empty for not at all."""
        lengths = {_steps(record) for arm in arms for record in self.records.get(arm, ())} - {(0, 0)}
        return " or ".join(f"{done:,}" + (f" of {of:,}" if of else "") for done, of in sorted(lengths))


def values_of(record: AnyRecord) -> dict[str, float]:
    """{metric: value} of a run, of which answers can speak: what it is counted with, and the memory it took."""
    peak = record.peak_memory_mib if isinstance(record, Record) else None
    return metrics_of(record) | ({"peak_memory_gib": peak / 1024} if peak else {})


def _steps(record: AnyRecord) -> tuple[int, int]:
    """(steps, those of the schedule where only a part of it was to be followed) of a run, or of the run whose weights
    an untrained one took."""
    if not isinstance(record, Record):
        return 0, 0
    settings, parent = record.settings, record.parent
    if not settings.iterations and parent:
        return parent.iterations, 0 if settings.prefix is None else parent.published_iterations
    return settings.stop_at, 0 if settings.prefix is None else settings.iterations


def _filled(template: str, values: _Values) -> _Answer | None:
    """The template with its numbers, without the clauses that lack one; None where the first of them does."""
    first, *further = template.removesuffix(".").split(CLAUSE)
    if not _has_numbers(first, values):
        return None
    sentence = CLAUSE.join([first, *(clause for clause in further if _has_numbers(clause, values))])
    places = [(match[1], match[2] or "") for match in PLACE.finditer(sentence)]
    arms = list(dict.fromkeys(arm for expression, _ in places for arm in arms_of(expression)))
    shown: dict[tuple[str, str], str] = {}
    numbers: dict[tuple[str, str], dict[str, float]] = {}
    for expression, form in places:
        value = values.of(expression)
        if value is not None:
            kind = expression if " / " in expression else expression.rpartition(".")[2]
            numbers.setdefault((kind, form), {})[expression] = value
            continue
        arm = expression.rpartition(".")[0]
        shown[expression, form] = values.steps([arm] if arm else arms)
    for (_, form), mine in numbers.items():
        shown |= {(expression, form): text for expression, text in _formatted(mine, form).items()}
    if not all(shown.values()):
        return None
    return _Answer(PLACE.sub(lambda match: shown[match[1], match[2] or ""], sentence), arms)


def _has_numbers(clause: str, values: _Values) -> bool:
    """Whether every number that the clause has a place for is there; steps, which are no metric, are looked up later."""
    wanted = [match[1] for match in PLACE.finditer(clause)]
    return all(values.of(expression) is not None for expression in wanted if expression.rpartition(".")[2] != STEPS)


def arms_of(expression: str) -> list[str]:
    """The arms that a place in a template names."""
    parts = re.split(r" [/-] ", expression)
    return [arm for part in parts if (arm := part.rpartition(".")[0])]


def _formatted(numbers: Mapping[str, float], form: str) -> dict[str, str]:
    """Numbers of one kind as text. form: "" with as many decimals as they need, the same for all of them; "count" whole;
    "decades" and "doublings" for logarithms to base 10 and 2, of which the number itself is shown."""
    if form == "count":
        return {name: f"{value:,.0f}" for name, value in numbers.items()}
    if form == "doublings":
        return {name: _short(2**value) for name, value in numbers.items()}
    if form == "decades":
        return {name: _short(10**value) for name, value in numbers.items()}
    if form:
        raise ValueError(f"a number in an answer has the form {form!r}: expected count, decades or doublings")
    digits = decimals(list(numbers.values()))
    return {name: f"{value:,.{digits}f}".replace("-", "−") for name, value in numbers.items()}


def _short(value: float) -> str:
    """To two significant digits, or whole where it has more."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def decimals(values: Sequence[float]) -> int:
    """With how many decimals numbers of one kind are told apart and none loses its size: 87 and 63, 9.7 and 13.2."""
    smallest = min((abs(value) for value in values if value), default=100.0)
    least = 0 if smallest >= 20 else 1 if smallest >= 1 else 2 if smallest >= 0.01 else 3
    most = max(1, least)
    different = [len({f"{value:.{digits}f}" for value in values}) for digits in range(most + 1)]
    return next(digits for digits in range(least, most + 1) if different[digits] == different[most])


def _with_seeds(answers: Sequence[_Answer], by_arm: Mapping[str, Sequence[AnyRecord]]) -> list[str]:
    """The sentences, and over how many seeds their numbers are means: once where it is the same for all of them."""
    counts = [_seeds(answer, by_arm) for answer in answers]
    measured = {count for count in counts if count}
    if len(measured) > 1:
        return [
            f"{answer.sentence}{f' ({count[0].lower()}{count[1:]})' if count else ''}."
            for answer, count in zip(answers, counts, strict=True)
        ]
    return [*(f"{answer.sentence}." for answer in answers), *(f"{count}." for count in measured)]


def _seeds(answer: _Answer, by_arm: Mapping[str, Sequence[AnyRecord]]) -> str:
    """ "One seed", "Means over 3 seeds", "Means over 1 to 3 seeds"; empty for what is counted."""
    numbers = sorted({len(by_arm[arm]) for arm in answer.arms if only_trained(by_arm[arm])})
    if not numbers:
        return ""
    if numbers[-1] == 1:
        return "One seed"
    return f"Means over {' to '.join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))} seeds"


def _of_verdicts(judgements: Sequence[Judgement]) -> str:
    """What the verdicts come to, for want of a number: "Of 6 claims 2 are reproduced (D1, D2) and 4 undecided (...)"."""
    names: dict[str, list[str]] = {}
    for judgement in judgements:
        names.setdefault(judgement.verdict, []).append(judgement.claim.name)
    if not names:
        return "Nothing is claimed, and nothing judged."
    counts = Counter({verdict: len(mine) for verdict, mine in names.items()})
    parts = [f"{count} {verdict} ({', '.join(names[verdict])})" for verdict, count in counts.most_common()]
    claims = plural(len(judgements), "claim")
    return f"Of {claims}: {'; '.join(parts)}."


def _remarks(experiment: Experiment, records: Sequence[AnyRecord]) -> list[str]:
    """What keeps the numbers of these runs from being what they seem."""
    trained = only_trained(records)
    remarks = []
    if any(record.dataset.standin for record in trained):
        remarks.append(f"Trained on a stand-in for the data, these numbers say nothing of {experiment.dataset}.")
    elif is_other_data(experiment, trained):
        titles = sorted({record.dataset.title for record in trained if record.settings.arm.dataset is None})
        remarks.append(f"The data set is {', '.join(titles)}, not {experiment.dataset}.")
    if any(has_substitute_weights(record) for record in trained):
        remarks.append("The pretrained weights are substitutes that were trained here.")
    for arm in dict.fromkeys(record.arm for record in trained):
        mine = [record for record in trained if record.arm == arm]
        if diverged := sum(record.status == "diverged" for record in mine):
            which = f"Of {arm} {diverged} of {len(mine)} seeds" if len(mine) > 1 else f"The run of {arm}"
            counts = "count" if diverged > 1 else "counts"
            remarks.append(f"{which} diverged and {counts} with the error and the loss of guessing.")
    return remarks

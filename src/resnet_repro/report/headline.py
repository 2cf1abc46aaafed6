"""The answer to an experiment's question: its template sentences, filled with means over seeds.

A placeholder is the mean of a metric over an arm's seeds, or the ratio or difference of two such means. Within a sentence,
values of the same metric have the same number of decimals:

    {plain-56.train_error}                                 87
    {vgg-16.params / alexnet.params}                       2.3
    {lenet.parameters:count}                               44,426
    {plain-56.gradient_decay:decades}                      0.39, from a mean logarithm to base 10
    {tanh.doublings_to_25 - relu.doublings_to_25:doublings}    0.9, from a mean logarithm to base 2
    {steps}                                                391, the steps of all arms in the sentence
    {plain-56.steps}                                       391, the steps of one arm

The metrics are those of `records.metrics`, and peak_memory_gib, the peak memory of a run's process. Semicolons separate
clauses. A sentence is omitted if its first clause lacks a number; a later clause that lacks one is omitted alone, so each
must make sense directly after the first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from resnet_repro.claims.judge import Judgement
from resnet_repro.claims.wording import factor_text
from resnet_repro.design.experiment import Experiment
from resnet_repro.parsing import plural
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import AnyRecord, Record, only_trained
from resnet_repro.report.banners import has_substitute_weights, is_other_data

PLACE = re.compile(r"\{([^{}:]+)(?::(\w+))?\}")
STEPS = "steps"
CLAUSE = "; "


def headline(experiment: Experiment, records: Sequence[AnyRecord], judgements: Sequence[Judgement]) -> list[str]:
    """Return the experiment's answers filled from the records, followed by caveats on the numbers.

    If no answer can be filled, a sentence that counts the verdicts replaces them.
    """
    by_arm: dict[str, list[AnyRecord]] = {}
    for record in records:
        by_arm.setdefault(record.arm, []).append(record)
    values = _Values({arm: [values_of(record) for record in runs] for arm, runs in by_arm.items()}, by_arm)
    answers = [answer for template in experiment.answers if (answer := _filled(template, values))]
    if not answers:
        missing = "These runs do not have the numbers for an answer. " if experiment.answers else ""
        return [missing + _of_verdicts(judgements), *_remarks(experiment, records)]
    arms = dict.fromkeys(arm for answer in answers for arm in answer.arms)
    named = [record for arm in arms for record in by_arm[arm]]
    return [*_with_seeds(answers, by_arm), *_remarks(experiment, named)]


@dataclass(frozen=True)
class _Answer:
    sentence: str
    """Without the full stop."""
    arms: list[str]
    """The arms whose numbers it contains."""


@dataclass(frozen=True)
class _Values:
    """The values that fill placeholders."""

    rows: Mapping[str, Sequence[Mapping[str, float]]]
    """{arm: [{metric: value}]}, with one dictionary per run."""
    records: Mapping[str, Sequence[AnyRecord]]
    """{arm: its records}."""

    def mean(self, arm: str, metric: str) -> float | None:
        """Return the mean over the arm's runs; None if any run lacks the value, since omitting runs would bias the mean."""
        values = [row.get(metric) for row in self.rows.get(arm, ())]
        present = [value for value in values if value is not None]
        return fmean(present) if present and len(present) == len(values) else None

    def of(self, expression: str) -> float | None:
        """Evaluate "arm.metric", or the ratio "a / b" or difference "a - b" of two such means; None if one is missing."""
        for sign in (" / ", " - "):
            first, operator, second = expression.partition(sign)
            if operator:
                a, b = self.of(first), self.of(second)
                if a is None or b is None or (sign == " / " and not b):
                    return None
                return a / b if sign == " / " else a - b
        arm, _, metric = expression.rpartition(".")
        return self.mean(arm, metric)

    def steps(self, arms: Sequence[str]) -> str:
        """Return the training steps of the arms: "391", "391 or 782", "34,000 of 64,000" (a prefix), "" (not trained)."""
        lengths = {_steps(record) for arm in arms for record in self.records.get(arm, ())} - {(0, 0)}
        return " or ".join(f"{done:,}" + (f" of {of:,}" if of else "") for done, of in sorted(lengths))


def values_of(record: AnyRecord) -> dict[str, float]:
    """Return the {metric: value} that answers can use: the run's metrics and peak_memory_gib."""
    peak = record.peak_memory_mib if isinstance(record, Record) else None
    return metrics_of(record) | ({"peak_memory_gib": peak / 1024} if peak else {})


def _steps(record: AnyRecord) -> tuple[int, int]:
    """Return (steps, length of the schedule if the run is a prefix, else 0).

    A run without training counts with the steps of the run whose weights it reads.
    """
    if not isinstance(record, Record):
        return 0, 0
    settings, parent = record.settings, record.parent
    if not settings.iterations and parent:
        return parent.iterations, 0 if settings.prefix is None else parent.published_iterations
    return settings.stop_at, 0 if settings.prefix is None else settings.iterations


def _filled(template: str, values: _Values) -> _Answer | None:
    """Fill the template and omit later clauses that lack a number; None if the first clause lacks one."""
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
    for (_, form), same_kind in numbers.items():
        shown |= {(expression, form): text for expression, text in _formatted(same_kind, form).items()}
    if not all(shown.values()):
        return None
    return _Answer(PLACE.sub(lambda match: shown[match[1], match[2] or ""], sentence), arms)


def _has_numbers(clause: str, values: _Values) -> bool:
    """Whether every metric in the clause has a value; steps are not metrics and are looked up later."""
    expressions = [match[1] for match in PLACE.finditer(clause)]
    metrics = [expression for expression in expressions if expression.rpartition(".")[2] != STEPS]
    return all(values.of(expression) is not None for expression in metrics)


def arms_of(expression: str) -> list[str]:
    """Return the arms that a placeholder names."""
    parts = re.split(r" [/-] ", expression)
    return [arm for part in parts if (arm := part.rpartition(".")[0])]


def _formatted(numbers: Mapping[str, float], form: str) -> dict[str, str]:
    """Format numbers of one kind, all alike.

    form: "" for as few decimals as tell them apart, "count" for integers, "decades" or "doublings" for logarithms to base
    10 or 2, which are shown as the number itself. Raises ValueError for another form.
    """
    if form == "count":
        return {name: f"{value:,.0f}" for name, value in numbers.items()}
    if form == "doublings":
        return {name: factor_text(2**value) for name, value in numbers.items()}
    if form == "decades":
        return {name: factor_text(10**value) for name, value in numbers.items()}
    if form:
        raise ValueError(f"invalid form {form!r} of a number in an answer: expected count, decades or doublings")
    digits = decimals(list(numbers.values()))
    return {name: f"{value:,.{digits}f}".replace("-", "−") for name, value in numbers.items()}


def decimals(values: Sequence[float]) -> int:
    """Return how many decimals tell the values apart and keep the size of the smallest: 87 and 63, 9.7 and 13.2."""
    smallest = min((abs(value) for value in values if value), default=100.0)
    least = 0 if smallest >= 20 else 1 if smallest >= 1 else 2 if smallest >= 0.01 else 3
    most = max(1, least)
    different = [len({f"{value:.{digits}f}" for value in values}) for digits in range(most + 1)]
    return next(digits for digits in range(least, most + 1) if different[digits] == different[most])


def _with_seeds(answers: Sequence[_Answer], by_arm: Mapping[str, Sequence[AnyRecord]]) -> list[str]:
    """Return the sentences with the number of seeds behind them: once at the end if it is the same for all."""
    counts = [_seeds(answer, by_arm) for answer in answers]
    measured = {count for count in counts if count}
    if len(measured) > 1:
        return [
            f"{answer.sentence}{f' ({count[0].lower()}{count[1:]})' if count else ''}."
            for answer, count in zip(answers, counts, strict=True)
        ]
    return [*(f"{answer.sentence}." for answer in answers), *(f"{count}." for count in measured)]


def _seeds(answer: _Answer, by_arm: Mapping[str, Sequence[AnyRecord]]) -> str:
    """Return "One seed", "Means over 3 seeds" or "Means over 1 to 3 seeds"; empty if all numbers are counted."""
    numbers = sorted({len(by_arm[arm]) for arm in answer.arms if only_trained(by_arm[arm])})
    if not numbers:
        return ""
    if numbers[-1] == 1:
        return "One seed"
    return f"Means over {' to '.join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))} seeds"


def _of_verdicts(judgements: Sequence[Judgement]) -> str:
    """Summarize the verdicts: "Of 6 claims: 4 not tested (...); 2 supported (D1, D2)."."""
    names: dict[str, list[str]] = {}
    for judgement in judgements:
        names.setdefault(judgement.verdict, []).append(judgement.claim.name)
    if not names:
        return "The experiment has no claims."
    counts = Counter({verdict: len(claims) for verdict, claims in names.items()})
    parts = [f"{count} {verdict} ({', '.join(names[verdict])})" for verdict, count in counts.most_common()]
    return f"Of {plural(len(judgements), 'claim')}: {'; '.join(parts)}."


def _remarks(experiment: Experiment, records: Sequence[AnyRecord]) -> list[str]:
    """Return caveats on the numbers: stand-in or other data, substitute weights, diverged runs."""
    trained = only_trained(records)
    remarks = []
    if any(record.dataset.standin for record in trained):
        remarks.append(f"These numbers come from stand-in data and say nothing about {experiment.dataset}.")
    elif is_other_data(experiment, trained):
        titles = sorted({record.dataset.title for record in trained if record.settings.arm.dataset is None})
        remarks.append(f"The data set is {', '.join(titles)}, not {experiment.dataset}.")
    if any(has_substitute_weights(record) for record in trained):
        remarks.append("The pretrained weights are substitutes trained here.")
    for arm in dict.fromkeys(record.arm for record in trained):
        runs = [record for record in trained if record.arm == arm]
        if diverged := sum(record.status == "diverged" for record in runs):
            which = f"{diverged} of {len(runs)} seeds of {arm}" if len(runs) > 1 else f"The run of {arm}"
            counts = "count" if diverged > 1 else "counts"
            remarks.append(f"{which} diverged and {counts} with the error and the loss of guessing.")
    return remarks

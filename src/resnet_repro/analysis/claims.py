"""Claims as tests on records.

The rule, the same for every claim. An effect is a difference of means (or a mean) over seeds, with its 95 % interval.

- Fewer seeds than three decide nothing: with one the effect is "observed" or "not observed", with two "undecided".
- With three or more: "reproduced" where the whole interval lies on the claimed side of the threshold, "not
  reproduced" where it lies on the other side, else "undecided".
- A claim of several parts is reproduced where every part is, not reproduced where one part is not, else undecided.
- On stand-in data, below the budget that a claim needs, and where runs are missing, a claim is "undecided".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from resnet_repro.analysis.statistics import Interval, mean_interval, paired_interval, welch_interval

Verdict = Literal["reproduced", "not reproduced", "undecided", "observed", "not observed"]


@dataclass(frozen=True)
class Results:
    """What claims are judged on: {arm: {seed: {metric: value}}}, and whether it is the published budget on real data."""

    values: Mapping[str, Mapping[int, Mapping[str, float]]]
    paper_budget: bool
    standin: bool

    def of(self, arm: str, metric: str) -> dict[int, float]:
        """Value by seed; seeds without it, such as diverged runs, are left out."""
        return {seed: row[metric] for seed, row in self.values.get(arm, {}).items() if metric in row}


@dataclass(frozen=True)
class Part:
    """One judged comparison: what it says, its effect, the seeds behind it, and its verdict."""

    statement: str
    interval: Interval | None
    seeds: int
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """`metric` of `arm` compared with that of `than`, or with 0 where `than` is None; claimed side: `sign`.

    threshold: the difference (in the metric's unit) beyond which the claim holds.
    paired: by seed, only for arms that share initialization and data order.
    """

    metric: str
    arm: str
    than: str | None
    sign: Literal[1, -1]
    threshold: float = 0.0
    paired: bool = False
    unit: str = "points"

    @property
    def statement(self) -> str:
        metric = self.metric.replace("_", " ")
        if self.than is None:
            return f"{metric} of {self.arm} {'>' if self.sign > 0 else '<'} {self.threshold:g} {self.unit}"
        beyond = f" by more than {abs(self.threshold):g} {self.unit}" if self.threshold else ""
        return f"{metric}: {self.arm} {'above' if self.sign > 0 else 'below'} {self.than}{beyond}"

    def judge(self, results: Results) -> Part:
        mine = results.of(self.arm, self.metric)
        if self.than is None:
            interval = mean_interval(list(mine.values()))
            seeds = len(mine)
        else:
            other = results.of(self.than, self.metric)
            if self.paired:
                shared = sorted(mine.keys() & other.keys())
                interval = paired_interval([mine[s] for s in shared], [other[s] for s in shared])
                seeds = len(shared)
            else:
                interval = welch_interval(list(mine.values()), list(other.values()))
                seeds = min(len(mine), len(other))
        return Part(self.statement, interval, seeds, self._verdict(interval, seeds))

    def _verdict(self, interval: Interval | None, seeds: int) -> Verdict:
        if interval is None:
            return "undecided"
        side = self.sign * (interval.estimate - self.threshold)
        if seeds == 1:
            return "observed" if side > 0 else "not observed"
        if seeds < 3 or interval.low is None or interval.high is None:
            return "undecided"
        near, far = sorted((self.sign * (interval.low - self.threshold), self.sign * (interval.high - self.threshold)))
        if near > 0:
            return "reproduced"
        return "not reproduced" if far < 0 else "undecided"


def higher(metric: str, arm: str, than: str, paired: bool = False, unit: str = "points") -> Comparison:
    """The claim that `metric` is higher in `arm` than in `than`."""
    return Comparison(metric, arm, than, 1, paired=paired, unit=unit)


def lower(metric: str, arm: str, than: str, paired: bool = False, unit: str = "points") -> Comparison:
    """The claim that `metric` is lower in `arm` than in `than`."""
    return Comparison(metric, arm, than, -1, paired=paired, unit=unit)


def below(metric: str, arm: str, threshold: float, unit: str) -> Comparison:
    """The claim that `metric` of `arm` lies below a number."""
    return Comparison(metric, arm, None, -1, threshold, unit=unit)


@dataclass(frozen=True)
class Claim:
    """One sentence of a source, and the comparisons that must all hold for it.

    needs_paper_budget: the sentence speaks of nets trained to the end; shorter runs cannot decide it.
    note: what the reader must know to read the effect.
    """

    name: str
    source: str
    text: str
    test: Sequence[Comparison]
    needs_paper_budget: bool = False
    note: str = ""


@dataclass(frozen=True)
class Judgement:
    """A claim with its parts, its verdict, and the reason where it could not be decided."""

    claim: Claim
    parts: Sequence[Part]
    verdict: Verdict
    reason: str = ""


def judge(claim: Claim, results: Results) -> Judgement:
    """The verdict on a claim, by the rule above."""
    parts = [comparison.judge(results) for comparison in claim.test]
    if any(part.interval is None for part in parts):
        return Judgement(claim, parts, "undecided", "runs are missing")
    if results.standin:
        return Judgement(claim, parts, "undecided", "stand-in data")
    if claim.needs_paper_budget and not results.paper_budget:
        return Judgement(claim, parts, "undecided", "needs the published budget")
    verdicts = [part.verdict for part in parts]
    for decisive in ("not reproduced", "not observed", "undecided", "observed"):
        if decisive in verdicts:
            few = decisive == "undecided" and min(part.seeds for part in parts) < 3
            return Judgement(claim, parts, decisive, "fewer than three seeds" if few else "")
    return Judgement(claim, parts, "reproduced")

"""Claims as tests on records. `RULE` says how they are judged; the code below does what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from resnet_repro.analysis.statistics import Interval, contrast_interval, holm, mean_interval

Verdict = Literal["reproduced", "not reproduced", "undecided", "observed", "not observed"]

LEVEL = 0.05  # chance of any wrong verdict among the claims of an experiment
SEEDS_TO_DECIDE = 3
TOO_EARLY = "needs the published budget"

RULE = (
    "A claim is one comparison or several that must all hold. The effect of a comparison is a mean over seeds, or a "
    "difference of such means, with its 95 % t interval: Student's on the differences seed by seed where the arms really "
    "shared first weights and data order, as their records tell (“paired”), else Welch's. "
    "With fewer than three seeds nothing is decided: one seed can only be observed or not observed. "
    "With three or more, a comparison is reproduced where its whole interval lies on the claimed side of the threshold, "
    "not reproduced where it lies on the other, else undecided. "
    "A comparison's p-value is one-sided, of a t with one degree of freedom less than the fewest seeds, which is safe "
    "however differently the arms spread. The p-value for a claim is the largest of its comparisons'; against it, the "
    "smallest of those for the other side, times their number; the smaller of the two is doubled. Over the claims of an "
    "experiment that can be decided these p-values are corrected by Holm's method, which keeps the chance of any wrong "
    "verdict in the experiment at 5 %: where the corrected p is at most 0.05 the claim is reproduced or not reproduced, "
    "else undecided. "
    "A claim that needs the published budget is undecided below it; where a shorter run can refute it, it may be not "
    "reproduced or not observed there. Every claim is undecided on stand-in data, where an arm has no run, and where a "
    "run ended without the value compared. Errors are those after the last step; the best value along the way stands "
    "beside them and decides nothing. A run that diverged counts with the error and the loss of guessing."
)


@dataclass(frozen=True)
class Results:
    """What claims are judged on.

    values: {arm: {seed: {metric: value}}}. draws: {arm: {seed: key}}; two runs have the same key where they shared their
    first weights on the main path and the order of their data. short: arms with a run below its published budget.
    """

    values: Mapping[str, Mapping[int, Mapping[str, float]]]
    standin: bool = False
    short: frozenset[str] = frozenset()
    draws: Mapping[str, Mapping[int, str | None]] = field(default_factory=dict)

    def of(self, arm: str, metric: str) -> dict[int, float]:
        """Value by seed; seeds without it are left out."""
        return {seed: row[metric] for seed, row in self.values.get(arm, {}).items() if metric in row}

    def share_draws(self, arms: Sequence[str], seeds: Sequence[int]) -> bool:
        """Whether the arms' runs had the same first weights and data order at every one of the seeds."""
        keys = [{self.draws.get(arm, {}).get(seed) for arm in arms} for seed in seeds]
        return bool(keys) and all(len(found) == 1 and None not in found for found in keys)

    def without(self, arm: str, metric: str) -> list[int]:
        """Seeds whose run has ended and left no such value."""
        return [seed for seed, row in self.values.get(arm, {}).items() if metric not in row]


@dataclass(frozen=True)
class Part:
    """One judged comparison: what it says, its effect, the seeds behind it, and its verdict before any correction."""

    statement: str
    unit: str
    interval: Interval | None
    seeds: int
    paired: bool
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The claim that Σ weight · mean of `metric` over arms lies above (sign 1) or below (sign -1) a threshold.

    terms: (arm, weight) of each arm. statement: the same in words.
    """

    metric: str
    terms: tuple[tuple[str, float], ...]
    sign: int
    threshold: float
    unit: str
    statement: str

    @property
    def arms(self) -> list[str]:
        return [arm for arm, _ in self.terms]

    def judge(self, results: Results) -> Part:
        found = {arm: results.of(arm, self.metric) for arm in self.arms}
        shared = sorted(set.intersection(*(set(values) for values in found.values())))
        paired = len(self.terms) > 1 and results.share_draws(self.arms, shared)
        if paired:
            per_seed = [sum(weight * found[arm][seed] for arm, weight in self.terms) for seed in shared]
            interval, seeds = mean_interval(per_seed), len(shared)
        else:
            interval = contrast_interval([(weight, list(found[arm].values())) for arm, weight in self.terms])
            seeds = min(len(values) for values in found.values())
        return Part(self.statement, self.unit, interval, seeds, paired, self._verdict(interval, seeds))

    def _verdict(self, interval: Interval | None, seeds: int) -> Verdict:
        if interval is None:
            return "undecided"
        if seeds == 1:
            return "observed" if self.sign * (interval.estimate - self.threshold) > 0 else "not observed"
        if seeds < SEEDS_TO_DECIDE or interval.low is None or interval.high is None:
            return "undecided"
        near, far = sorted(self.sign * (bound - self.threshold) for bound in (interval.low, interval.high))
        if near > 0:
            return "reproduced"
        return "not reproduced" if far < 0 else "undecided"


# -- comparisons in the words of experiment files ------------------------------------------------------------------------


def higher(metric: str, arm: str, than: str, unit: str = "points") -> Comparison:
    """`metric` is higher in `arm` than in `than`."""
    return Comparison(metric, ((arm, 1), (than, -1)), 1, 0.0, unit, f"{_words(metric)}: {arm} above {than}")


def lower(metric: str, arm: str, than: str, unit: str = "points") -> Comparison:
    """`metric` is lower in `arm` than in `than`."""
    return Comparison(metric, ((arm, 1), (than, -1)), -1, 0.0, unit, f"{_words(metric)}: {arm} below {than}")


def not_higher(metric: str, arm: str, than: str, margin: float, unit: str = "points") -> Comparison:
    """`metric` is higher in `arm` than in `than` by less than `margin`, if at all."""
    statement = f"{_words(metric)}: {arm} less than {margin:g} {unit} above {than}"
    return Comparison(metric, ((arm, 1), (than, -1)), -1, margin, unit, statement)


def above(metric: str, arm: str, threshold: float, unit: str) -> Comparison:
    """`metric` of `arm` lies above a number."""
    return Comparison(metric, ((arm, 1),), 1, threshold, unit, f"{_words(metric)} of {arm} > {threshold:g} {unit}")


def below(metric: str, arm: str, threshold: float, unit: str) -> Comparison:
    """`metric` of `arm` lies below a number."""
    return Comparison(metric, ((arm, 1),), -1, threshold, unit, f"{_words(metric)} of {arm} < {threshold:g} {unit}")


def near_zero(metric: str, arm: str, by: float, unit: str) -> list[Comparison]:
    """`metric` of `arm` lies within `by` of zero: two one-sided comparisons."""
    return [above(metric, arm, -by, unit), below(metric, arm, by, unit)]


def closer(
    metric: str, arm: str, other: str, than_gap: tuple[str, str], fraction: float, unit: str = "points"
) -> list[Comparison]:
    """`arm` and `other` differ by less than a fraction of the gap between two arms (worse, better): both directions."""
    worse, better = than_gap
    statement = f"{_words(metric)}: {{}} above {{}} by less than {fraction:g} of {worse} above {better}"
    return [
        contrast(
            metric,
            _summed((worse, fraction), (better, -fraction), (first, -1), (second, 1)),
            1,
            statement.format(first, second),
            unit=unit,
        )
        for first, second in ((arm, other), (other, arm))
    ]


def trend(metric: str, arms: Sequence[str], sign: int, unit: str = "points a step") -> Comparison:
    """`metric` rises (sign 1) or falls (sign -1) along the arms: the slope of a line through their means.

    The effect is the mean change from each arm to the next. Raises ValueError for fewer than two arms.
    """
    if len(arms) < 2:
        raise ValueError(f"a trend over {len(arms)} arms: name two or more")
    centre = (len(arms) - 1) / 2
    scale = sum((place - centre) ** 2 for place in range(len(arms)))
    weights = {arm: (place - centre) / scale for place, arm in enumerate(arms)}
    words = "rises" if sign > 0 else "falls"
    return contrast(metric, weights, sign, f"{_words(metric)} {words} from {arms[0]} to {arms[-1]}", unit=unit)


def contrast(
    metric: str,
    weights: Mapping[str, float],
    sign: int,
    statement: str,
    threshold: float = 0.0,
    unit: str = "points",
) -> Comparison:
    """Any other comparison: Σ weight · mean over arms lies above or below a threshold."""
    return Comparison(metric, tuple(weights.items()), sign, threshold, unit, statement)


def _summed(*terms: tuple[str, float]) -> dict[str, float]:
    """Weights by arm; those of an arm that comes twice are added, and an arm whose weights cancel is left out."""
    weights: dict[str, float] = {}
    for arm, weight in terms:
        weights[arm] = weights.get(arm, 0.0) + weight
    return {arm: weight for arm, weight in weights.items() if weight}


def _words(metric: str) -> str:
    return metric.replace("_", " ")


# -- claims --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """One sentence of a source, and the comparisons that must all hold for it.

    needs_paper_budget: the sentence speaks of nets trained to the end; shorter runs cannot decide it.
    refuted_early: for such a sentence, shorter runs can refute it all the same, as what has been learned is learned.
    note: what the reader must know to read the effect.
    """

    name: str
    source: str
    text: str
    test: Sequence[Comparison]
    needs_paper_budget: bool = False
    refuted_early: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if not self.test:
            raise ValueError(f"claim {self.name} has no comparison: nothing could refute it")


@dataclass(frozen=True)
class Judgement:
    """A claim with its parts, its verdict, and the reason where it could not be decided.

    p: corrected for the `family` of claims that could be decided; None for one that could not.
    """

    claim: Claim
    parts: Sequence[Part]
    verdict: Verdict
    reason: str = ""
    p: float | None = None
    family: int = 0


def judge_all(claims: Sequence[Claim], results: Results) -> list[Judgement]:
    """The verdicts on an experiment's claims, by `RULE`."""
    parts = [[comparison.judge(results) for comparison in claim.test] for claim in claims]
    early = [_undecidable(claim, found, results) for claim, found in zip(claims, parts, strict=True)]
    evidence = [
        None if judgement else _p_values(claim, found)
        for claim, found, judgement in zip(claims, parts, early, strict=True)
    ]
    decidable = [index for index, p_values in enumerate(evidence) if p_values is not None]
    doubled = [min(1.0, 2 * min(p_values)) for p_values in evidence if p_values is not None]
    adjusted = dict(zip(decidable, holm(doubled), strict=True))
    judgements = []
    for index, (claim, found) in enumerate(zip(claims, parts, strict=True)):
        p_values, judgement = evidence[index], early[index]
        if judgement is None:
            assert p_values is not None
            judgement = _decided(claim, found, *p_values, adjusted[index], len(decidable))
        judgements.append(_unless_too_early(judgement, results))
    return judgements


def _undecidable(claim: Claim, parts: Sequence[Part], results: Results) -> Judgement | None:
    """The judgement of a claim that no p-value decides; None for the others."""
    if results.standin:
        return Judgement(claim, parts, "undecided", "stand-in data")
    missing = any(part.interval is None for part in parts)
    # A profile of short runs may leave a claim's arms out altogether: what they lack is the budget all the same.
    short = (missing and results.short) or _is_short(claim, results)
    if claim.needs_paper_budget and short and not (claim.refuted_early and not missing):
        return Judgement(claim, parts, "undecided", TOO_EARLY)
    without = {(arm, seed) for part in claim.test for arm in part.arms for seed in results.without(arm, part.metric)}
    if without:
        arm, seed = min(without)
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        return Judgement(claim, parts, "undecided", f"{arm} seed {seed}{more} ended without the value")
    if missing:
        return Judgement(claim, parts, "undecided", "runs are missing")
    if all(part.seeds == 1 for part in parts):
        verdict: Verdict = "observed" if all(part.verdict == "observed" for part in parts) else "not observed"
        return Judgement(claim, parts, verdict)
    if any(part.seeds < SEEDS_TO_DECIDE for part in parts):
        return Judgement(claim, parts, "undecided", "fewer than three seeds")
    return None


def _is_short(claim: Claim, results: Results) -> bool:
    return any(arm in results.short for part in claim.test for arm in part.arms)


def _unless_too_early(judgement: Judgement, results: Results) -> Judgement:
    """The judgement, but undecided where short runs confirm what they can only refute."""
    claim = judgement.claim
    confirmed = judgement.verdict in ("reproduced", "observed")
    if confirmed and claim.needs_paper_budget and _is_short(claim, results):
        return replace(judgement, verdict="undecided", reason=TOO_EARLY)
    return judgement


def _p_values(claim: Claim, parts: Sequence[Part]) -> tuple[float, float]:
    """(p for the claim, p against it): every part must hold, one that does not is enough."""
    for_parts, against_parts = [], []
    for comparison, part in zip(claim.test, parts, strict=True):
        assert part.interval is not None
        for sign, collected in ((comparison.sign, for_parts), (-comparison.sign, against_parts)):
            p = part.interval.p_value(comparison.threshold, sign)
            assert p is not None, "three seeds have a spread"
            collected.append(p)
    return max(for_parts), min(1.0, len(parts) * min(against_parts))


def _decided(
    claim: Claim, parts: Sequence[Part], p_for: float, p_against: float, adjusted: float, family: int
) -> Judgement:
    if adjusted <= LEVEL:
        verdict: Verdict = "reproduced" if p_for < p_against else "not reproduced"
        return Judgement(claim, parts, verdict, "", adjusted, family)
    alone = all(part.verdict == "reproduced" for part in parts) or any(
        part.verdict == "not reproduced" for part in parts
    )
    reason = ""
    if alone:
        weak = 2 * min(p_for, p_against) > LEVEL
        reason = f"p above {LEVEL:g}" if weak else f"does not survive Holm's correction for {family} claims"
    return Judgement(claim, parts, "undecided", reason, adjusted, family)

"""Claims as tests on records. `RULE` says how they are judged; the code below does what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import SEEDS_TO_DECIDE, Comparison, Part, Results, Verdict
from resnet_repro.claims.statistics import holm

LEVEL = 0.05  # chance of any wrong verdict among the claims of an experiment


TOO_EARLY = "needs the published budget"


FROM_PREFIX = "needs PREFIX={} or more"


RULE = (
    "A claim is one comparison or several that must all hold. The effect of a comparison is a mean over seeds, or a "
    "difference of such means, with its 95 % t interval: Student's on the differences seed by seed where the arms really "
    "shared first weights and data order, or went on from the same trained net, as their records tell (“paired”), else "
    "Welch's. "
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
    "reproduced or not observed there. A prefix of the published schedule decides a claim if it is at least as long as "
    "the claim says. Every claim is undecided on stand-in data, where an arm has no run, and where a "
    "run ended without the value compared. Errors are those after the last step; the best value along the way stands "
    "beside them and decides nothing. A run that diverged counts with the error and the loss of guessing."
)


EXACT_RULE = (
    "A claim about numbers that are counted on the architectures themselves is exact: it is reproduced where every "
    "comparison holds and not reproduced where one does not, whatever the seeds, the budget and the data. A published "
    "number is met within the difference stated."
)


def rule_for(claims: Sequence[Claim]) -> str:
    """How these claims are judged, in words: the rule for measured ones, that for counted ones, or both."""
    rules = {claim.exact: EXACT_RULE if claim.exact else RULE for claim in claims}
    return " ".join(rule for _, rule in sorted(rules.items()))


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

    @property
    def is_too_early(self) -> bool:
        """Whether the runs were too short to decide."""
        return self.reason == _too_early(self.claim)


def judge_all(claims: Sequence[Claim], results: Results) -> list[Judgement]:
    """The verdicts on an experiment's claims, by `RULE`."""
    parts = [[comparison.judge(results) for comparison in claim.test] for claim in claims]
    judgements = [_undecidable(claim, of_claim, results) for claim, of_claim in zip(claims, parts, strict=True)]
    decidable = [index for index, judgement in enumerate(judgements) if judgement is None]
    p_values = [_p_values(claims[index], parts[index]) for index in decidable]
    adjusted = holm([min(1.0, 2 * min(pair)) for pair in p_values])
    for index, pair, p in zip(decidable, p_values, adjusted, strict=True):
        judgements[index] = _decided(claims[index], parts[index], *pair, p, len(decidable))
    return [_unless_too_early(judgement, results) for judgement in judgements if judgement]


def _undecidable(claim: Claim, parts: Sequence[Part], results: Results) -> Judgement | None:
    """The judgement of a claim that no p-value decides; None for the others."""
    if claim.exact:
        return _counted(claim, parts)
    if results.standin:
        return Judgement(claim, parts, "undecided", "stand-in data")
    if not claim.any_weights and any(arm in results.substitute for part in claim.test for arm in part.arms):
        return Judgement(claim, parts, "undecided", "substitute weights")
    missing = any(part.interval is None for part in parts)
    # A profile of short runs may leave a claim's arms out altogether: what they lack is the budget all the same.
    short = (missing and _short_arms(claim, results)) or _is_short(claim, results)
    if claim.needs_paper_budget and short and not (claim.refuted_early and not missing):
        return Judgement(claim, parts, "undecided", _too_early(claim))
    if claim.from_prefix and any(steps < claim.from_prefix for steps in _prefixes(claim, results)):
        return Judgement(claim, parts, "undecided", _too_early(claim))
    without = {(arm, seed) for part in claim.test for arm in part.arms for seed in results.without(arm, part.metric)}
    if without:
        arm = min(without)[0]
        mine = sorted(seed for other, seed in without if other == arm)
        seeds = f"seed{'s' * (len(mine) > 1)} {', '.join(map(str, mine))}"
        more = f", and {len(without) - len(mine)} other runs," if len(without) > len(mine) else ""
        return Judgement(claim, parts, "undecided", f"{arm} {seeds}{more} ended without the value")
    if missing:
        return Judgement(claim, parts, "undecided", "runs are missing")
    if all(part.seeds == 1 for part in parts):
        verdict: Verdict = "observed" if all(part.verdict == "observed" for part in parts) else "not observed"
        return Judgement(claim, parts, verdict)
    if any(part.seeds < SEEDS_TO_DECIDE for part in parts):
        return Judgement(claim, parts, "undecided", "fewer than three seeds")
    return None


def _counted(claim: Claim, parts: Sequence[Part]) -> Judgement:
    if any(part.interval is None for part in parts):
        return Judgement(claim, parts, "undecided", "runs are missing")
    holds = all(part.verdict == "reproduced" for part in parts)
    return Judgement(claim, parts, "reproduced" if holds else "not reproduced")


def _is_short(claim: Claim, results: Results) -> bool:
    """Whether an arm of the claim has runs below the published budget, prefixes aside that are long enough for it."""
    short = _short_arms(claim, results)
    return any(arm in short for part in claim.test for arm in part.arms)


def _short_arms(claim: Claim, results: Results) -> frozenset[str]:
    """The arms with runs below the published budget, but for prefixes that decide the claim."""
    if not claim.from_prefix:
        return results.short
    return results.short - {arm for arm, steps in results.prefixes.items() if steps >= claim.from_prefix}


def _prefixes(claim: Claim, results: Results) -> list[int]:
    return [results.prefixes[arm] for part in claim.test for arm in part.arms if arm in results.prefixes]


def _too_early(claim: Claim) -> str:
    return FROM_PREFIX.format(claim.from_prefix) if claim.from_prefix else TOO_EARLY


def _unless_too_early(judgement: Judgement, results: Results) -> Judgement:
    """The judgement, but undecided where short runs confirm what they can only refute."""
    claim = judgement.claim
    confirmed = judgement.verdict in ("reproduced", "observed")
    if confirmed and not claim.exact and claim.needs_paper_budget and _is_short(claim, results):
        return replace(judgement, verdict="undecided", reason=_too_early(claim))
    return judgement


def _p_values(claim: Claim, parts: Sequence[Part]) -> tuple[float, float]:
    """(p for the claim, p against it): every part must hold, one that does not is enough."""
    for_parts, against_parts = [], []
    for comparison, part in zip(claim.test, parts, strict=True):
        assert part.interval is not None and isinstance(comparison, Comparison)
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

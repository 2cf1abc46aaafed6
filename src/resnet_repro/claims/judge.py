"""Judge claims on results. `RULE` states the method in words, and the code below implements it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import SEEDS_TO_DECIDE, Comparison, Part, Results, Verdict
from resnet_repro.claims.statistics import holm

LEVEL = 0.05  # bound on the probability of any wrong verdict among the claims of an experiment

TOO_EARLY = "needs the published budget"
FROM_PREFIX = "needs PREFIX={} or more"

RULE = (
    "A claim consists of one or more comparisons that must all hold. The effect of a comparison is a mean over seeds, or a "
    "difference of means, with a 95 % t interval: paired (Student's t on the differences per seed) if the records show "
    "that the arms shared initial weights and data order or started from the same trained net, otherwise Welch's. "
    "With fewer than three seeds a claim is undecided; a single seed is reported as observed or not observed. "
    "With three or more, a comparison is reproduced if its whole interval is on the claimed side of the threshold, not "
    "reproduced if it is on the other side, and otherwise undecided. "
    "The p-value of a comparison is one-sided, from a t distribution with one degree of freedom less than the fewest "
    "seeds, which is conservative for any spreads of the arms. The p-value for a claim is the largest of its comparisons; "
    "the one against it is the smallest for the opposite side, times their number. Twice the smaller one is corrected by "
    "Holm's method over the claims of the experiment that can be decided, which bounds the probability of any wrong "
    "verdict in it by 5 %: if the corrected p is at most 0.05, the claim is reproduced or not reproduced, otherwise "
    "undecided. "
    "A claim that needs the published budget is undecided on shorter runs; if shorter runs can refute it, it may be not "
    "reproduced or not observed there. A prefix of the published schedule decides a claim if it is at least as long as the "
    "claim states. A claim is undecided on stand-in data, if an arm has no run, or if a run ended without the compared "
    "value. Errors are those after the last step; the best error along the way is listed but decides nothing. A diverged "
    "run counts with the error and loss of guessing."
)

EXACT_RULE = (
    "A claim about numbers counted on the architectures is exact: it is reproduced if every comparison holds and not "
    "reproduced if one fails, regardless of seeds, budget and data. A published number is matched if the relative "
    "difference is below the stated tolerance."
)


def rule_for(claims: Sequence[Claim]) -> str:
    """Return how these claims are judged, in words: `RULE` for measured ones, `EXACT_RULE` for counted ones, or both."""
    rules = {claim.exact: EXACT_RULE if claim.exact else RULE for claim in claims}
    return " ".join(rule for _, rule in sorted(rules.items()))


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim."""

    claim: Claim
    parts: Sequence[Part]
    """The results of the claim's comparisons, in their order."""
    verdict: Verdict
    reason: str = ""
    """Why the claim is undecided. Empty: it is decided, or its interval includes the threshold."""
    p: float | None = None
    """p-value after Holm's correction. None: no p-value was computed."""
    family: int = 0
    """Number of claims over which p was corrected."""

    @property
    def is_too_early(self) -> bool:
        """Whether the runs were too short to decide."""
        return self.reason == _too_early(self.claim)


def judge_all(claims: Sequence[Claim], results: Results) -> list[Judgement]:
    """Return the verdicts on all claims of an experiment, by `RULE` and `EXACT_RULE`."""
    parts = [[comparison.judge(results) for comparison in claim.test] for claim in claims]
    judgements = [_undecidable(claim, of_claim, results) for claim, of_claim in zip(claims, parts, strict=True)]
    decidable = [index for index, judgement in enumerate(judgements) if judgement is None]
    p_values = [_p_values(claims[index], parts[index]) for index in decidable]
    adjusted = holm([min(1.0, 2 * min(pair)) for pair in p_values])
    for index, pair, p in zip(decidable, p_values, adjusted, strict=True):
        judgements[index] = _decided(claims[index], parts[index], *pair, p, len(decidable))
    return [_unless_too_early(judgement, results) for judgement in judgements if judgement]


def _undecidable(claim: Claim, parts: Sequence[Part], results: Results) -> Judgement | None:
    """Return the judgement of a claim that is settled without a p-value; None for the others."""
    if claim.exact:
        return _counted(claim, parts)
    if results.standin:
        return Judgement(claim, parts, "undecided", "stand-in data")
    if not claim.any_weights and any(arm in results.substitute for part in claim.test for arm in part.arms):
        return Judgement(claim, parts, "undecided", "substitute weights")
    missing = any(part.interval is None for part in parts)
    # A profile of short runs may omit arms of the claim. The reason to report is still the budget.
    short = (missing and _short_arms(claim, results)) or _is_short(claim, results)
    if claim.needs_paper_budget and short and not (claim.refuted_early and not missing):
        return Judgement(claim, parts, "undecided", _too_early(claim))
    if claim.from_prefix and any(steps < claim.from_prefix for steps in _prefixes(claim, results)):
        return Judgement(claim, parts, "undecided", _too_early(claim))
    without = {(arm, seed) for part in claim.test for arm in part.arms for seed in results.without(arm, part.metric)}
    if without:
        arm = min(without)[0]
        lacking = sorted(seed for other, seed in without if other == arm)
        seeds = f"seed{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking))}"
        more = f", and {len(without) - len(lacking)} other runs," if len(without) > len(lacking) else ""
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
    """Return the judgement of an exact claim."""
    if any(part.interval is None for part in parts):
        return Judgement(claim, parts, "undecided", "runs are missing")
    holds = all(part.verdict == "reproduced" for part in parts)
    return Judgement(claim, parts, "reproduced" if holds else "not reproduced")


def _is_short(claim: Claim, results: Results) -> bool:
    """Whether an arm of the claim has runs below the published budget that are not long enough for the claim."""
    short = _short_arms(claim, results)
    return any(arm in short for part in claim.test for arm in part.arms)


def _short_arms(claim: Claim, results: Results) -> frozenset[str]:
    """Return the arms with runs below the published budget, except prefixes that are long enough for the claim."""
    if not claim.from_prefix:
        return results.short
    return results.short - {arm for arm, steps in results.prefixes.items() if steps >= claim.from_prefix}


def _prefixes(claim: Claim, results: Results) -> list[int]:
    return [results.prefixes[arm] for part in claim.test for arm in part.arms if arm in results.prefixes]


def _too_early(claim: Claim) -> str:
    return FROM_PREFIX.format(claim.from_prefix) if claim.from_prefix else TOO_EARLY


def _unless_too_early(judgement: Judgement, results: Results) -> Judgement:
    """Replace a confirmation by undecided if short runs can only refute the claim."""
    claim = judgement.claim
    confirmed = judgement.verdict in ("reproduced", "observed")
    if confirmed and not claim.exact and claim.needs_paper_budget and _is_short(claim, results):
        return replace(judgement, verdict="undecided", reason=_too_early(claim))
    return judgement


def _p_values(claim: Claim, parts: Sequence[Part]) -> tuple[float, float]:
    """Return (p for the claim, p against it). For: every part must hold. Against: one failing part suffices."""
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

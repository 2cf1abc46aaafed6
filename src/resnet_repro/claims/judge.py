"""Judge claims on results. `RULE` states the method in words, and the code below implements it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import FACTOR, SEEDS_TO_DECIDE, Exact, Measured
from resnet_repro.claims.grade import EXACT, PUBLISHED, Grade, weakest
from resnet_repro.claims.history import is_changed_after
from resnet_repro.claims.results import Part, Results, Verdict
from resnet_repro.claims.statistics import holm

LEVEL = 0.05  # bound on the probability of any wrong verdict among the claims of an experiment

TOO_EARLY = "needs the published budget"
FROM_PREFIX = "needs PREFIX={} or more"

RULE = (
    "A claim consists of one or more comparisons that must all hold. The effect of a comparison is a mean over seeds, or a "
    "difference of means, with a 95 % t interval: paired (Student's t on the differences per seed) if the records show "
    "that the arms shared initial weights and data order or started from the same trained net, otherwise Welch's. "
    "A share of seeds has the exact binomial interval. "
    "With three or more seeds, a comparison is supported if its whole interval is on the claimed side, contradicted if it "
    "is on the other side, and otherwise inconclusive. With fewer than three seeds a claim is inconclusive; a single seed "
    "is reported as seen once or not seen. “The same”, “no difference” and “little” are equivalence tests: two one-sided "
    "tests against the smallest effect of interest, by default 0.5 points of test error, 1 point of training error, a "
    "factor of 2 in gradients (0.3 decades) or of 1.4 in times (0.5 doublings). "
    "The p-value of a comparison is one-sided, from a t distribution with one degree of freedom less than the fewest "
    "seeds, which is conservative for any spreads of the arms. The p-value for a claim is the largest of its comparisons; "
    "the one against it is the smallest for the opposite side, times the number of one-sided tests. Twice the smaller one "
    "is corrected by Holm's method over all measured claims of the experiment, whether or not they have runs, which bounds "
    "the probability of any wrong verdict in the experiment at one budget by 5 %: if the corrected p is at most 0.05, the "
    "claim is supported or contradicted, otherwise inconclusive. "
    "A claim is not tested on stand-in data, on substitutes for pretrained weights unless it holds for any weights, if an "
    "arm has no run, or on runs shorter than it needs; if shorter runs can refute it, it may be contradicted or not seen "
    "there. A prefix of the published schedule tests a claim if it is at "
    "least as long as the claim states. If a run ended without the compared value, the claim is inconclusive. Errors are "
    "those after the last step; the best error along the way is listed but decides nothing. A diverged run counts with the "
    "error and loss of guessing. "
    "The grade states the basis of the verdict: published (the source's data, recipe, length and metric), prefix (the "
    "first part of the published schedule), compressed (the whole schedule in fewer steps) or substitute (other data, "
    "smaller images or other initial weights), each for the weakest arm. "
    "A claim of a source is called reproduced only if it is supported at grade published, and every published effect is "
    f"in our interval or within a factor of {FACTOR:g} of ours. "
    "A dagger marks claims whose comparisons were written or changed after their first runs began. Of several "
    "comparisons, summaries show the least certain one, by its p-value."
)

EXACT_RULE = (
    "A claim about numbers counted on the architectures has the grade exact: it is supported if every comparison holds and "
    "contradicted if one fails, regardless of seeds, budget and data. A published number is matched if the relative "
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
    """Why the claim is not tested or inconclusive. Empty: it is decided, or its interval includes the threshold."""
    p: float | None = None
    """p-value after Holm's correction. None: no p-value was computed."""
    family: int = 0
    """Number of claims over which p was corrected."""
    grade: Grade | None = None
    """The basis of the verdict. None: not tested."""
    changed: bool = False
    """Whether the comparisons were written or changed after the first compared run began."""

    @property
    def is_too_early(self) -> bool:
        """Whether the runs were too short to decide."""
        return self.reason == _too_early(self.claim)

    @property
    def reproduced(self) -> bool:
        """Whether what a source has measured is supported by its published protocol, with effects that agree with published
        ones.
        """
        agrees = all(part.agrees is not False for part in self.parts)
        is_measured = self.claim.measured and not self.claim.own
        return self.verdict == "supported" and self.grade == PUBLISHED and is_measured and agrees


def judge_all(claims: Sequence[Claim], results: Results) -> list[Judgement]:
    """Return the verdicts on all claims of an experiment, by `RULE` and `EXACT_RULE`."""
    parts = [[comparison.judge(results) for comparison in claim.test] for claim in claims]
    judgements = [_without_test(claim, of_claim, results) for claim, of_claim in zip(claims, parts, strict=True)]
    decidable = [index for index, judgement in enumerate(judgements) if judgement is None]
    p_values = [_p_values(claims[index], parts[index]) for index in decidable]
    family = sum(not claim.exact for claim in claims)
    adjusted = holm([min(1.0, 2 * min(pair)) for pair in p_values], family)
    for index, pair, p in zip(decidable, p_values, adjusted, strict=True):
        judgements[index] = _decided(claims[index], parts[index], *pair, p, family)
    return [_with_basis(_unless_too_early(judgement, results), results) for judgement in judgements if judgement]


def _with_basis(judgement: Judgement, results: Results) -> Judgement:
    """Add the grade, and the mark of a claim that was changed after its data."""
    claim = judgement.claim
    if judgement.verdict == "not tested":
        return judgement
    if claim.exact:
        return replace(judgement, grade=EXACT)
    begun = [start for arm in claim.arms if (start := results.begun.get(arm))]
    changed = bool(begun) and is_changed_after(claim.name, claim.test, min(begun))
    return replace(judgement, grade=weakest([results.grade(arm) for arm in claim.arms]), changed=changed)


def _without_test(claim: Claim, parts: Sequence[Part], results: Results) -> Judgement | None:
    """Return the judgement of a claim that is settled without a p-value; None for the others."""
    if claim.exact:
        return _counted(claim, parts)
    if results.standin:
        return Judgement(claim, parts, "not tested", "stand-in data")
    if not claim.any_weights and any(arm in results.substitute for arm in claim.arms):
        return Judgement(claim, parts, "not tested", "substitute weights")
    missing = any(part.interval is None for part in parts)
    # A profile of short runs may omit arms of the claim. The reason to report is still the budget.
    short = (missing and _short_arms(claim, results)) or _is_short(claim, results)
    if claim.needs_paper_budget and short and not (claim.refuted_early and not missing):
        return Judgement(claim, parts, "not tested", _too_early(claim))
    if claim.from_prefix and any(steps < claim.from_prefix for steps in _prefixes(claim, results)):
        return Judgement(claim, parts, "not tested", _too_early(claim))
    without = {(arm, seed) for part in claim.test for arm in part.arms for seed in results.without(arm, part.metric)}
    if without:
        arm = min(without)[0]
        lacking = sorted(seed for other, seed in without if other == arm)
        seeds = f"seed{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking))}"
        more = f", and {len(without) - len(lacking)} other runs," if len(without) > len(lacking) else ""
        return Judgement(claim, parts, "inconclusive", f"{arm} {seeds}{more} ended without the value")
    if missing:
        return Judgement(claim, parts, "not tested", "runs are missing")
    if all(part.seeds == 1 for part in parts):
        verdict: Verdict = "seen once" if all(part.verdict == "seen once" for part in parts) else "not seen"
        return Judgement(claim, parts, verdict)
    if any(part.seeds < SEEDS_TO_DECIDE for part in parts):
        return Judgement(claim, parts, "inconclusive", "fewer than three seeds")
    return None


def _counted(claim: Claim, parts: Sequence[Part]) -> Judgement:
    """Return the judgement of an exact claim."""
    if any(part.interval is None for part in parts):
        return Judgement(claim, parts, "not tested", "runs are missing")
    holds = all(part.verdict == "supported" for part in parts)
    return Judgement(claim, parts, "supported" if holds else "contradicted")


def _is_short(claim: Claim, results: Results) -> bool:
    """Whether an arm of the claim has runs below the published budget that are not long enough for the claim."""
    short = _short_arms(claim, results)
    return any(arm in short for arm in claim.arms)


def _short_arms(claim: Claim, results: Results) -> frozenset[str]:
    """Return the arms with runs below the published budget, except prefixes that are long enough for the claim."""
    if not claim.from_prefix:
        return results.short
    return results.short - {arm for arm, steps in results.prefixes.items() if steps >= claim.from_prefix}


def _prefixes(claim: Claim, results: Results) -> list[int]:
    return [results.prefixes[arm] for arm in claim.arms if arm in results.prefixes]


def _too_early(claim: Claim) -> str:
    return FROM_PREFIX.format(claim.from_prefix) if claim.from_prefix else TOO_EARLY


def _unless_too_early(judgement: Judgement, results: Results) -> Judgement:
    """Replace a confirmation by "not tested" if short runs can only refute the claim."""
    claim = judgement.claim
    confirmed = judgement.verdict in ("supported", "seen once")
    if confirmed and not claim.exact and claim.needs_paper_budget and _is_short(claim, results):
        return replace(judgement, verdict="not tested", reason=_too_early(claim))
    return judgement


def _p_values(claim: Claim, parts: Sequence[Part]) -> tuple[float, float]:
    """Return (p for the claim, p against it). For: every part must hold. Against: one failing side of a part suffices."""
    pairs, sides = [], 0
    for comparison, part in zip(claim.test, parts, strict=True):
        assert part.interval is not None and not isinstance(comparison, Exact)
        measured: Measured = comparison
        pairs.append(measured.p_values(part.interval))
        sides += len(measured.sides)
    return max(p for p, _ in pairs), min(1.0, sides * min(p for _, p in pairs))


def _decided(
    claim: Claim, parts: Sequence[Part], p_for: float, p_against: float, adjusted: float, family: int
) -> Judgement:
    if adjusted <= LEVEL:
        verdict: Verdict = "supported" if p_for < p_against else "contradicted"
        return Judgement(claim, parts, verdict, "", adjusted, family)
    alone = all(part.verdict == "supported" for part in parts) or any(part.verdict == "contradicted" for part in parts)
    reason = ""
    if alone:
        weak = 2 * min(p_for, p_against) > LEVEL
        reason = f"p above {LEVEL:g}" if weak else f"does not survive Holm's correction for {family} claims"
    return Judgement(claim, parts, "inconclusive", reason, adjusted, family)

"""Made-up results, and verdicts of claims on them."""

from __future__ import annotations

from collections.abc import Mapping

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import higher
from resnet_repro.claims.judge import Judgement, judge_all
from resnet_repro.claims.results import Results

DEEPER_IS_WORSE = Claim("D1", "He15", "deeper is worse", [higher("error", "deep", than="shallow")])


def results(
    arms: Mapping[str, list[float]],
    short: tuple[str, ...] = (),
    standin: bool = False,
    pairing_keys: dict[str, list[str]] | None = None,
) -> Results:
    """Results with the values of the metric `error` of each arm, in order of seeds."""
    values = {arm: {seed: {"error": value} for seed, value in enumerate(column)} for arm, column in arms.items()}
    keys = {arm: dict(enumerate(column)) for arm, column in (pairing_keys or {}).items()}
    return Results(values, standin=standin, short=frozenset(short), pairing_keys=keys)


def judge(claim: Claim, found: Results) -> Judgement:
    (judgement,) = judge_all([claim], found)
    return judgement

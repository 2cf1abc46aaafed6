"""How many seeds would decide each claim of an experiment, by the effects and spreads of existing records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Comparison, Measured
from resnet_repro.claims.judge import FROM_PREFIX, TOO_EARLY
from resnet_repro.claims.power import (
    MOST_SEEDS,
    POWER,
    Effect,
    effect_seen,
    largest_spread,
    measured_claims,
    seeds_to_decide,
    side_of,
)
from resnet_repro.claims.results import Results
from resnet_repro.claims.wording import BASES, factor_text, value_text
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.parsing import plural
from resnet_repro.records.record import collect
from resnet_repro.report.verdicts import results_of
from resnet_repro.report.write import budgets_with_records

HEADER = ("claim", "effect", "spread", "seen in", "seeds needed", "planned")


def seed_rows(
    experiment: Experiment, profile: Profile, budget: str, seeds: int, arms: Sequence[str], folders: Sequence[Path]
) -> list[tuple[str, ...]]:
    """The rows of the table of claims, below `HEADER`: one for each measured claim.

    seeds: planned of each arm. arms: planned. folders: of runs, searched in this order; records at this budget come first,
    then those of the longest budgets.
    """
    sources = list(_sources(experiment, budget, folders))
    measured = measured_claims(experiment.claims)
    rows = []
    for claim, test in measured:
        found = next(((e, name) for name, results in sources if (e := _effects(test, results))), None)
        planned = str(seeds) + (f" ({claim.seeds} stated)" if claim.seeds != seeds else "")
        if missing := [arm for arm in claim.arms if arm not in arms]:
            planned += f", without {missing[0]}"
        short = _too_short(claim, experiment, profile)
        cells = ("", "", "", short) if short else _seen(test, *found, len(measured)) if found else None
        rows.append((claim.name, *(cells or _published(claim, test, len(measured))), planned))
    return rows


def explanation(experiment: Experiment) -> str:
    """What the table says, in a sentence."""
    family = len(measured_claims(experiment.claims))
    return (
        f"Seeds that decide a claim with a probability of {100 * POWER:.0f} % if effect and spread are those of the records: "
        f"by the rule of docs/claims.md, with Holm's correction over {plural(family, 'measured claim')} at its strictest."
    )


def _sources(experiment: Experiment, budget: str, folders: Sequence[Path]):
    """Yield (name for readers, results) of the folders at this budget, then at others."""
    budgets = [(folder, budgets_with_records(folder, experiment.name)) for folder in folders]
    same = [(folder, budget) for folder, names in budgets if budget in names]
    others = [(folder, name) for folder, names in budgets for name in names if name != budget]
    for folder, name in [*same, *others]:
        records = collect(folder, experiment.name, name)
        results = results_of(records, experiment.published_resolution, experiment.dataset)
        if not results.standin:
            yield f"{folder.name} {name}", results


def _effects(test: Sequence[Measured], results: Results) -> list[Effect] | None:
    """The effects of all comparisons with their spreads; None if one lacks two seeds."""
    effects = [effect_seen(comparison, results) for comparison in test]
    known = [effect for effect in effects if effect is not None and effect.variances is not None and effect.seeds > 1]
    return known if len(known) == len(test) else None


def _too_short(claim: Claim, experiment: Experiment, profile: Profile) -> str:
    """What the judge will say of runs that are too short to test the claim; empty if they are long enough."""
    is_prefix = profile.prefix is not None
    enough = is_prefix and claim.from_prefix is not None and (profile.prefix or 0) >= claim.from_prefix
    is_coarse = (profile.resolution or 0) < (experiment.published_resolution or 0)
    is_short = is_prefix or is_coarse or (profile.iterations or math.inf) < experiment.published_steps
    if (claim.needs_paper_budget and is_short and not enough) or (claim.from_prefix and is_prefix and not enough):
        needs = FROM_PREFIX.format(claim.from_prefix) if claim.from_prefix else TOO_EARLY
        return f"can only be refuted: it {needs}" if claim.refuted_early else f"not tested: it {needs}"
    return ""


def _seen(test: Sequence[Measured], effects: Sequence[Effect], source: str, family: int) -> tuple[str, str, str, str]:
    """Cells for a claim with records. Of several comparisons, the one on which the number of seeds depends is shown."""
    number, side = seeds_to_decide(test, effects, family), side_of(test, effects)
    alone = [
        (seeds_to_decide([c], [effect], family) or MOST_SEEDS + 1, c, effect)
        for c, effect in zip(test, effects, strict=True)
        if side == "supported" or side_of([c], [effect]) == side
    ]
    # All must hold, but one that fails is enough.
    _, comparison, effect = (max if side == "supported" else min)(alone, key=lambda entry: entry[0])
    need = f"more than {MOST_SEEDS}" if number is None else f"{number} ({side})"
    text = _text(comparison, effect.size)
    return text, _spread(effect.spread, comparison.unit), f"{source}, {plural(effect.seeds, 'seed')}", need


def _text(comparison: Measured, size: float) -> str:
    return value_text(size, comparison.unit, isinstance(comparison, Comparison) and len(comparison.terms) > 1)


def _spread(spread: float | None, unit: str) -> str:
    """A standard deviation; of a logarithm as the factor that it stands for."""
    if spread is None:
        return ""
    return f"a factor of {factor_text(BASES[unit] ** spread)}" if unit in BASES else f"{spread:.2g}"


def _published(claim: Claim, test: Sequence[Measured], family: int) -> tuple[str, str, str, str]:
    """Cells for a claim without records: the published effect, and the spread up to which the stated seeds decide it."""
    stated = [(abs(c.published), c.published, c) for c in test if isinstance(c, Comparison) and c.published is not None]
    if not stated:
        return "", "", "no records of two seeds", "unknown"
    _, size, comparison = min(stated, key=lambda entry: entry[0])
    most = largest_spread(comparison, size, claim.seeds, family)
    need = "unknown" if most is None else f"{claim.seeds} if the spread is below {_spread(most, comparison.unit)}"
    return _text(comparison, size), "", "the publication", need

"""When the comparisons of each claim were written down, to mark those that are younger than their data.

`history.json` has, for each claim, the digests of its comparisons and the time from which each was in force, oldest first.
`make claims` adds claims whose comparisons are new or changed; a test fails until it has been run.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from resnet_repro.claims.comparisons import Comparison, Exact, Measured

HISTORY = Path(__file__).with_name("history.json")


class Version(msgspec.Struct, frozen=True):
    """The comparisons of a claim from a point in time on."""

    test: str
    """Digest of the comparisons, see `digest`."""
    since: datetime
    """Time zone included."""


def digest(test: Sequence[Measured] | Sequence[Exact]) -> str:
    """Return a digest of what the comparisons decide: metrics, arms, weights and bounds, but not their wording and order."""
    parts = sorted(json.dumps(part, ensure_ascii=False) for comparison in test for part in _one_sided(comparison))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _one_sided(comparison: Measured | Exact) -> list[list[object]]:
    """Return the one-sided tests of a comparison as lists of numbers and names."""
    if isinstance(comparison, Comparison):
        terms = sorted([arm, float(weight)] for arm, weight in comparison.terms)
        sides = [(float(bound), sign) for bound, sign in comparison.sides]
    elif isinstance(comparison, Exact):
        terms, sides = list(comparison.arms), [(comparison.low, 1), (comparison.high, -1)]
    else:
        terms, sides = list(comparison.arms), [(comparison.low, 0)]
    return [[comparison.metric, terms, bound, sign] for bound, sign in sides]


@functools.cache
def history() -> Mapping[str, Sequence[Version]]:
    """Return {claim: its versions}, oldest first. Raises OSError and msgspec.ValidationError."""
    return msgspec.json.decode(HISTORY.read_bytes(), type=dict[str, list[Version]])


def is_registered(name: str, test: Sequence[Measured] | Sequence[Exact]) -> bool:
    """Whether the comparisons are the claim's last version in the history."""
    versions = history().get(name)
    return bool(versions) and versions[-1].test == digest(test)


def since(name: str, test: Sequence[Measured] | Sequence[Exact]) -> datetime | None:
    """Return when the claim got its present comparisons; None if the history does not have them."""
    return history()[name][-1].since if is_registered(name, test) else None


def is_changed_after(name: str, test: Sequence[Measured] | Sequence[Exact], begun: str) -> bool:
    """Whether the comparisons were written or changed after the claim's runs began. begun: UTC time in ISO 8601.

    Claims outside the history, such as a user's, are not marked.
    """
    written = since(name, test)
    return written is not None and written > datetime.fromisoformat(begun)


def register(claims: Mapping[str, Sequence[Measured] | Sequence[Exact]], now: datetime) -> list[str]:
    """Add the claims whose comparisons are not the last version in the history; return their names.

    claims: {name: its comparisons}. Raises OSError.
    """
    known = {name: list(versions) for name, versions in history().items()}
    added = [name for name, test in claims.items() if not is_registered(name, test)]
    for name in added:
        known.setdefault(name, []).append(Version(digest(claims[name]), now))
    if added:
        HISTORY.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(known.items()))), indent=1) + b"\n")
        history.cache_clear()
    return added

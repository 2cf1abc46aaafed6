"""The history of the claims' comparisons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from resnet_repro.claims import history as claims_history
from resnet_repro.claims.comparisons import above, between, contrast, count_above, higher, lower, near_zero, ordered
from resnet_repro.claims.history import digest, is_changed_after, is_registered, register, since
from resnet_repro.design.registry import experiment_names, load_experiment

FIRST, SECOND = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def test_every_claim_is_in_the_history_with_its_present_comparisons() -> None:
    claims = {claim.name: claim.test for name in experiment_names() for claim in load_experiment(name).claims}
    missing = [name for name, test in claims.items() if not is_registered(name, test)]
    assert not missing, "make claims REGISTER=1 adds them"


def test_digest_is_that_of_the_decision_and_not_of_its_wording() -> None:
    one = [higher("error", "a", than="b")]
    same_decision = [contrast("error", {"b": -1.0, "a": 1}, 1, "in other words", unit="%", published=3.0)]
    assert digest(one) == digest(same_decision)
    assert digest([near_zero("error", "a", 1, "%")]) == digest([between("error", "a", -1, 1, "points")])
    assert digest([*one, above("error", "c", 1, "%")]) == digest([above("error", "c", 1, "%"), *one])
    others = (
        [lower("error", "a", than="b")],
        [higher("error", "b", than="a")],
        [higher("loss", "a", than="b")],
        [contrast("error", {"a": 1, "b": -1}, 1, "", threshold=0.5)],
        [count_above("error", "a", 0.0, "")],
        [ordered("error", ["b", "a"], 0.0)],
        [],
    )
    assert len({digest(one), *map(digest, others)}) == 1 + len(others)


@pytest.fixture
def empty_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "history.json"
    path.write_text("{}")
    monkeypatch.setattr(claims_history, "HISTORY", path)
    claims_history.history.cache_clear()
    yield path
    claims_history.history.cache_clear()


def test_registration_keeps_earlier_versions(empty_history: Path) -> None:
    first, second = [above("error", "a", 1.0, "%")], [above("error", "a", 2.0, "%")]
    assert register({"D1": first, "D2": first}, FIRST) == ["D1", "D2"]
    assert register({"D1": first, "D2": first}, SECOND) == []
    assert register({"D1": second, "D2": first}, SECOND) == ["D1"]
    assert [len(versions) for versions in json.loads(empty_history.read_text()).values()] == [2, 1]
    assert (since("D1", second), since("D1", first), since("D2", first)) == (SECOND, None, FIRST)


def test_a_claim_is_marked_if_its_comparisons_are_younger_than_its_runs(empty_history: Path) -> None:
    test = [above("error", "a", 1.0, "%")]
    register({"D1": test}, SECOND)
    assert is_changed_after("D1", test, "2026-01-31T23:59:59+00:00")
    assert not is_changed_after("D1", test, "2026-02-01T00:00:01+00:00")
    assert not is_changed_after("D1", test, "2026-02-01T01:00:00+00:00")
    assert not is_changed_after("of-a-user", test, "2026-01-01T00:00:00+00:00")

"""The commits of runs that several processes trained one after the other."""

from __future__ import annotations

import pytest

from resnet_repro.records.provenance import commits, is_clean

FIRST, SECOND = "0123456789ab", "456789abcdef"


@pytest.mark.parametrize(
    ("before", "now", "expected", "clean"),
    [
        (FIRST, FIRST, FIRST, True),
        (FIRST, SECOND, f"{FIRST}, {SECOND}", True),
        (f"{FIRST}, {SECOND}", FIRST, f"{FIRST}, {SECOND}", True),
        (f"{FIRST}+", FIRST, f"{FIRST}+, {FIRST}", False),
        (None, FIRST, f"unknown, {FIRST}", False),
        (FIRST, None, f"{FIRST}, unknown", False),
        (None, None, None, False),
    ],
)
def test_a_resumed_run_names_the_commits_of_all_its_processes(
    before: str | None, now: str | None, expected: str | None, clean: bool
) -> None:
    assert commits(before, now) == expected
    assert is_clean(expected) == clean

"""The statements of the five sources: each has claims or a reason, and each claim on a source tests a statement of it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.statements import statements
from resnet_repro.design.registry import experiment_names, load_experiment

SOURCES = ("blog-A", "blog-C", "blog-E", "impl-D", "notes-B")

# Claims that statements name and that no experiment has yet.
PENDING = {
    "A0", "A0-he", "A1-he", "A2", "A2-he", "D5-start",
    "D5-plateau", "D5-rest", "D7", "D8", "F0", "F4", "N2-others", "N4-cause", "R2-deep", "R2-learns", "S1-20", "S2-two",
    "T1-test", "T1s", "T2-test", "T2s", "T3s", "T5-forward", "Z3",
}  # fmt: skip

# Claims whose source does not make the statement; they are about to name another one.
LEAVING = {"R1"}


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.name: claim for name in experiment_names() for claim in load_experiment(name).claims}


def test_every_named_claim_is_a_claim_of_an_experiment(claims: dict[str, Claim]) -> None:
    named = {name for statement in statements() for name in statement.claims}
    assert named - set(claims) <= PENDING
    assert not PENDING - named, "listed as pending without need"


def test_every_claim_on_one_of_the_sources_tests_a_statement_of_it(claims: dict[str, Claim]) -> None:
    tested = {(name, statement.source) for statement in statements() for name in statement.claims}
    missing = [
        (claim.name, source)
        for claim in claims.values()
        if not claim.own and claim.name not in LEAVING
        for source in SOURCES
        if source in claim.source.partition("denied by")[0] and (claim.name, source) not in tested
    ]
    assert not missing


def test_a_statement_without_claims_has_the_reason() -> None:
    for statement in statements():
        assert statement.claims or statement.reason, statement.text
        assert statement.source in SOURCES and statement.text.endswith("."), statement.text
        assert re.fullmatch(r"\d+(-\d+)?(, \d+(-\d+)?)*", statement.line), statement.line


def test_statements_are_unique_and_in_the_order_of_the_lines() -> None:
    places = [(statement.source, int(re.split(r"\D", statement.line)[0])) for statement in statements()]
    assert places == sorted(places)
    texts = Counter((statement.source, statement.text) for statement in statements())
    assert max(texts.values()) == 1
    for statement in statements():
        assert len(set(statement.claims)) == len(statement.claims), statement.text

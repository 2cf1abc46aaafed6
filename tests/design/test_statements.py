"""The statements of the five sources: each has claims or a reason, and each claim on a source tests a statement of it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.statements import statements
from resnet_repro.design.registry import experiment_names, load_experiment

SOURCES = ("blog-A", "blog-C", "blog-E", "impl-D", "notes-B")


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.name: claim for name in experiment_names() for claim in load_experiment(name).claims}


def test_every_named_claim_is_a_claim_of_an_experiment(claims: dict[str, Claim]) -> None:
    named = {name for statement in statements() for name in statement.claims}
    assert not named - set(claims)


def test_every_claim_on_one_of_the_sources_tests_a_statement_of_it(claims: dict[str, Claim]) -> None:
    tested = {(name, statement.source) for statement in statements() for name in statement.claims}
    missing = [
        (claim.name, source)
        for claim in claims.values()
        if not claim.own
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

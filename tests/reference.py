"""The committed records and the names of their reports."""

from __future__ import annotations

from conftest import REPO

from resnet_repro.design.registry import experiment_names
from resnet_repro.report.write import budgets_with_records

REFERENCE = REPO / "reports" / "reference"


BUDGETS = {name: budgets_with_records(REFERENCE, name) for name in experiment_names()}


STUDIES = [(name, budget) for name, budgets in BUDGETS.items() for budget in budgets]


# Stems of the report files. That of the longest budget is the name of the experiment.
STEMS = [f"{name}-{budget}" if budget != BUDGETS[name][0] else name for name, budget in STUDIES]

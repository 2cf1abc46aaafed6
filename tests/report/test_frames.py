"""Tables for Python: `resnet_repro.runs`, `curves` and `claims`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import REPO
from made_reports import make_two_budgets
from reference import REFERENCE

import resnet_repro
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError
from resnet_repro.report.rows import CLAIMS, RUNS

tables = pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed (extra: tables)")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_two_budgets(tmp_path_factory.mktemp("tables") / "runs")


@tables
def test_runs_are_one_row_each(runs: Path) -> None:
    table = resnet_repro.runs(runs)
    assert list(table.columns[: len(RUNS)]) == list(RUNS) and len(table) == 18
    row = table.set_index(["budget", "arm", "seed"]).loc["paper", "plain-56", 0]
    assert (row.train_error, row.test_error) == (6.6, 13.2)
    assert table.diverged_at.dropna().to_list() == [7] and str(table.diverged_at.dtype) == "Int64"
    assert not table.standin.any() and table.gradient_decay.notna().sum() == 18
    chosen = resnet_repro.runs(runs, experiments=["degradation"], budgets="paper", arms=("plain-20", "resnet-20"))
    assert set(chosen.arm) == {"plain-20", "resnet-20"} and len(chosen) == 6


@tables
def test_curves_are_one_row_for_each_run_and_step(runs: Path) -> None:
    table = resnet_repro.curves(runs, budgets="paper", arms="plain-20")
    assert len(table) == 3 * 8 and table.iteration.tolist()[:8] == [8_000 * step for step in range(1, 9)]
    assert table[table.seed == 1].test_error.tolist() == pytest.approx([9.8 + 8 - step for step in range(1, 9)])
    assert table.train_error.isna().all()


@tables
def test_claims_are_judged_again_without_seeds(degradation: Experiment, runs: Path) -> None:
    verdicts = {
        left_out: resnet_repro.claims(runs, experiments="degradation", budgets="paper", leave_out=left_out).set_index(
            "claim"
        )
        for left_out in ((), 2, (1, 2), (0, 1, 2))
    }
    assert list(verdicts[()].columns) == [column for column in CLAIMS if column != "claim"]
    assert list(verdicts[()].index) == [claim.name for claim in degradation.claims]
    assert [table.loc["D2", "verdict"] for table in verdicts.values()] == [
        "supported", "inconclusive", "seen once", "not tested",
    ]  # fmt: skip
    assert [table.loc["D2", "seeds"] for table in verdicts.values()] == [3, 2, 1, 0]


@tables
def test_claims_have_the_budget_that_counts_or_all(degradation: Experiment, runs: Path) -> None:
    once = resnet_repro.claims(runs, experiments="degradation")
    every = resnet_repro.claims(runs, experiments="degradation", every_budget=True)
    assert len(every) == 2 * len(once) == 2 * len(degradation.claims)
    assert set(once.budget) == {"paper"} and set(every.budget) == {"paper", "quick"}
    everything = resnet_repro.claims(runs)
    assert everything.claim.is_unique and everything.budget.isna().sum() == len(everything) - len(once)


@tables
def test_reference_results_are_the_default() -> None:
    table = resnet_repro.runs(experiments="degradation", budgets="8000it", arms="plain-56")
    assert f"{table.train_error.mean():.1f}" == "54.0"  # as in the README
    (first,) = resnet_repro.runs(REFERENCE, experiments="degradation", budgets="8000it", arms="plain-56").seed[:1]
    assert first == 0


@tables
def test_what_is_asked_for_wrongly_is_one_sentence(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for call, sentence in (
        (lambda: resnet_repro.runs(tmp_path / "none"), "none is not a folder: expected the RUNS_DIR of an experiment"),
        (lambda: resnet_repro.runs(tmp_path / "empty"), "empty has no finished runs: expected the RUNS_DIR"),
        (
            lambda: resnet_repro.runs(runs, arms="plain-21"),
            "has no runs of arm 'plain-21': expected one of plain-20,",
        ),
        (
            lambda: resnet_repro.curves(runs, experiments="depht"),
            "of experiment 'depht': expected one of degradation$",
        ),
        (lambda: resnet_repro.claims(runs, budgets="2000it"), "of budget '2000it': expected one of paper, quick$"),
        (lambda: resnet_repro.claims(runs, experiments="depht"), "unknown experiment 'depht': expected one of"),
        (
            lambda: resnet_repro.claims(runs, leave_out="2"),  # type: ignore[arg-type]
            "invalid leave_out '2': expected a seed or seeds, e.g.",
        ),
    ):
        with pytest.raises(UserError, match=sentence):
            call()


def test_pandas_is_named_if_it_is_missing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for table in (resnet_repro.runs, resnet_repro.curves, resnet_repro.claims):
        with pytest.raises(UserError, match=r"^tables need pandas, which is not installed: pip install pandas$"):
            table(runs)


def test_import_loads_no_library_and_claims_is_wing_and_function() -> None:
    program = (
        "import sys, resnet_repro; loaded = {'torch', 'pandas', 'numpy', 'matplotlib', 'msgspec'} & set(sys.modules); "
        "assert not loaded, loaded; assert callable(resnet_repro.claims); "
        "import resnet_repro.claims.claim as module; assert module.Claim; "
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPO)

"""Tables of runs, curves and claims as pandas data frames: `resnet_repro.runs`, `curves` and `claims`.

docs/python.md lists the columns with their units. pandas is imported on the first call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.design.registry import REFERENCE, experiment_names, load_experiment
from resnet_repro.errors import UserError
from resnet_repro.records.record import AnyRecord, Record, collect, only_trained
from resnet_repro.report.csv_tables import claims_once, columns_of, tables_of, without_runs
from resnet_repro.report.rows import CLAIMS, FLAGS, RUNS, WHOLE, WORDS, run_rows
from resnet_repro.report.verdicts import judged

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("experiment", "budget", "arm", "seed")
CURVES: Mapping[str, str] = {
    **{key: RUNS[key] for key in KEYS},
    "iteration": "training steps taken",
    "epoch": "passes over the training images",
    "learning_rate": "learning rate of the step",
    "running_train_loss": "mean loss of the batches since the last row, nats",
    "running_train_error": "mean error of the batches since the last row, %",
    "train_loss": "loss on training images in evaluation mode, nats",
    "train_error": "error on training images in evaluation mode, %",
    "train_images": "training images scored",
    "validation_loss": "loss on held-out training images, nats",
    "validation_error": "error on held-out training images, %",
    "test_loss": "loss on test images, nats",
    "test_error": "error on test images, %",
    "test_images": "test images scored; empty: all",
}
"""{column: meaning and unit} of the table of curves. Losses of reconstructions are relative squared errors."""


def runs(
    folder: str | Path | None = None,
    *,
    experiments: str | Iterable[str] | None = None,
    budgets: str | Iterable[str] | None = None,
    arms: str | Iterable[str] | None = None,
) -> pd.DataFrame:
    """Return a table with one row for each ended run.

    folder: a RUNS_DIR or a folder with its layout. None: the reference results of the checkout. experiments, budgets,
    arms: names to choose; None: all. Columns: `rows.RUNS`, then the further metrics of the chosen runs.
    Raises UserError for a folder without runs, an unknown name, a damaged record, or without pandas.
    """
    pandas = _pandas()
    rows = run_rows(_chosen(folder, experiments, budgets, arms))
    return _frame(pandas, rows, columns_of(rows, RUNS))


def curves(
    folder: str | Path | None = None,
    *,
    experiments: str | Iterable[str] | None = None,
    budgets: str | Iterable[str] | None = None,
    arms: str | Iterable[str] | None = None,
) -> pd.DataFrame:
    """Return a table with one row for each row of the runs' metrics.csv: losses and errors by training step.

    Arguments and errors: as `runs`. Columns: `CURVES`. NaN: not measured at that step.
    """
    pandas = _pandas()
    rows: list[dict[str, Any]] = []
    for record in _chosen(folder, experiments, budgets, arms):
        key = {name: getattr(record, name) for name in KEYS}
        for row in record.table("metrics"):
            rows.append(key | {name: _number(cell) for name, cell in row.items()})
    return _frame(pandas, rows, columns_of(rows, CURVES))


def claims(
    folder: str | Path | None = None,
    *,
    experiments: str | Iterable[str] | None = None,
    budgets: str | Iterable[str] | None = None,
    leave_out: int | Collection[int] = (),
    every_budget: bool = False,
) -> pd.DataFrame:
    """Return a table with one row for each claim, judged anew from the records by the rules of the reports.

    leave_out: seeds whose runs are not looked at. every_budget: one row for each claim and budget with runs. False: the
    verdict that counts, as in the summary; a claim without runs is not tested.
    Other arguments and errors: as `runs`. Columns: `rows.CLAIMS`.
    """
    pandas = _pandas()
    root, dropped = _root(folder), _seeds(leave_out)
    known, wanted = experiment_names(), _names(experiments)
    for name in wanted or ():
        load_experiment(name)  # names the experiments that exist
    studies, met = [], set()
    for name in known:
        if not _is_chosen(name, wanted):
            continue
        experiment = load_experiment(name)
        chosen = _budgets(root, name, _names(budgets), met)
        for budget in chosen:
            of_budget = [record for record in collect(root, name, budget) if not _is_dropped(record, dropped)]
            studies.append(tables_of(experiment, budget, of_budget, judged(experiment, of_budget)))
        if not chosen:
            studies.append(without_runs(experiment))
    _check_named("budget", _names(budgets), met, root)
    rows = [row for study in studies for row in study.claims] if every_budget else claims_once(studies)
    return _frame(pandas, rows, list(CLAIMS))


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def _is_dropped(record: AnyRecord, seeds: Collection[int]) -> bool:
    return isinstance(record, Record) and record.seed in seeds


def _budgets(root: Path, experiment: str, wanted: Collection[str] | None, met: set[str]) -> list[str]:
    """Return the chosen budgets of an experiment, in the order of the summary. met: collects all that exist."""
    from resnet_repro.report.write import budgets_with_records

    existing = budgets_with_records(root, experiment)
    met.update(existing)
    return [budget for budget in existing if _is_chosen(budget, wanted)]


def _chosen(
    folder: str | Path | None,
    experiments: str | Iterable[str] | None,
    budgets: str | Iterable[str] | None,
    arms: str | Iterable[str] | None,
) -> list[Record]:
    """Return the records of the chosen runs, sorted by experiment, budget, arm and seed."""
    root = _root(folder)
    wanted = {"experiment": _names(experiments), "budget": _names(budgets), "arm": _names(arms)}
    met: dict[str, set[str]] = {kind: set() for kind in wanted}
    studies = sorted({path.parents[2] for path in root.glob("*/*/*/seed*/record.json")})
    records = []
    for study in studies:
        met["experiment"].add(study.parent.name)
        met["budget"].add(study.name)
        if not (_is_chosen(study.parent.name, wanted["experiment"]) and _is_chosen(study.name, wanted["budget"])):
            continue
        for record in only_trained(collect(root, study.parent.name, study.name)):
            met["arm"].add(record.arm)
            if _is_chosen(record.arm, wanted["arm"]):
                records.append(record)
    for kind, chosen in wanted.items():
        _check_named(kind, chosen, met[kind], root)
    return records


def _is_chosen(name: str, wanted: Collection[str] | None) -> bool:
    return wanted is None or name in wanted


def _check_named(kind: str, wanted: Collection[str] | None, met: Collection[str], root: Path) -> None:
    for name in wanted or ():
        if name not in met:
            raise UserError(
                f"{root} has no runs of {kind} {name!r}: expected one of {', '.join(sorted(met)) or 'none'}"
            )


def _root(folder: str | Path | None) -> Path:
    """Return the folder of the records. Raises UserError if it has none."""
    if folder is None and not REFERENCE.is_dir():
        raise UserError('no folder is given, and there is no checkout with reference results: name one, e.g. "runs"')
    root = REFERENCE if folder is None else Path(folder)
    if not any(root.glob("*/*/*/seed*/record.json")):
        problem = "has no finished runs" if root.is_dir() else "is not a folder"
        raise UserError(f"{root} {problem}: expected the RUNS_DIR of an experiment, e.g. runs")
    return root


def _names(names: str | Iterable[str] | None) -> list[str] | None:
    return None if names is None else [names] if isinstance(names, str) else list(names)


def _seeds(seeds: int | Collection[int]) -> set[int]:
    chosen = {seeds} if isinstance(seeds, int) else set(seeds)
    for seed in chosen:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UserError(f"invalid leave_out {seed!r}: expected a seed or seeds, e.g. [0, 2]")
    return chosen


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise UserError("tables need pandas, which is not installed: pip install pandas") from error
    return pandas


def _frame(pandas: Any, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """Return a data frame whose types depend on the columns alone. Whole numbers and truths may be missing."""
    kinds = {**dict.fromkeys(WORDS, "str"), **dict.fromkeys(WHOLE, "Int64"), **dict.fromkeys(FLAGS, "boolean")}
    return pandas.DataFrame(
        {name: pandas.Series([row.get(name) for row in rows], dtype=kinds.get(name, "float64")) for name in columns}
    )

"""Write an experiment's report: a PDF and its figures, from the records of one budget."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.figures.alternative import ENTRY
from resnet_repro.figures.figure import Context, Drawing
from resnet_repro.figures.style import report_style
from resnet_repro.records.layout import RECORD
from resnet_repro.records.record import collect, only_counted, only_trained
from resnet_repro.report.banners import is_other_data, schedules
from resnet_repro.report.console import error_lines, verdict_lines
from resnet_repro.report.content import build_content
from resnet_repro.report.csv_tables import Tables, tables_of, write_tables
from resnet_repro.report.latex import latex
from resnet_repro.report.network_tables import write_csv_tables
from resnet_repro.report.typeset import ABSENT, can_typeset, query, typeset
from resnet_repro.report.verdicts import judged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "document.typ"
PNG_DPI, PNG_COLORS = 160, 256

LEAST, MOST = 0.6, 1.4  # range of a figure's height relative to its own; on a fuller first page, letters shrink too


@dataclass
class Written:
    """The output of a report."""

    tables: Tables
    """Its runs and claims as rows."""
    lines: list[str] = field(default_factory=list)
    """Lines for the console."""
    pdf: Path | None = None
    """None if typst is not installed."""
    images: dict[str, Path] = field(default_factory=dict)
    """{name of the figure: its PNG file}."""


def budgets_with_records(runs_dir: Path, experiment: str) -> list[str]:
    """Return the budgets of an experiment with a finished run: those on its own data first, then the longest first."""
    budgets = {path.parents[2].name for path in (runs_dir / experiment).glob("*/*/seed*/record.json")}
    if len(budgets) < 2:  # nothing to sort: thousands of records need not be read twice
        return list(budgets)
    lengths = {
        budget: max((done for done, _ in schedules(only_trained(collect(runs_dir, experiment, budget)))), default=0)
        for budget in budgets
    }
    return sorted(lengths, key=lambda budget: (Budget.parse(budget).dataset is not None, -lengths[budget], budget))


def write_report(
    experiment: Experiment,
    budget: str,
    runs_dir: Path,
    reports_dir: Path,
    failed: Sequence[str] = (),
    stem: str | None = None,
) -> Written:
    """Judge the claims, draw the figures as PDF, SVG and PNG, and write `reports_dir/<experiment>.pdf`.

    Beside it: the numbers as LaTeX (`latex`), and runs and claims as CSV (`csv_tables`). An experiment that only counts
    also gets its tables as CSV files. failed: names of the runs whose process failed.
    stem: prefix of the file names; default: the experiment's name.
    Raises UserError if there are no records or the folder cannot be written.
    """
    records = collect(runs_dir, experiment.name, budget)
    if not records:
        raise UserError(
            f"{runs_dir}/{experiment.name}/{budget} holds no finished run; run {Budget.parse(budget).command(experiment)} first"
        )
    for record in records:
        if record.arm not in experiment.names:
            raise UserError(
                f"{record.folder / RECORD} belongs to the arm {record.arm!r}, which {experiment.name} does not have: move "
                f"{record.folder} to another RUNS_DIR, or delete it"
            )
    trained, counted = only_trained(records), only_counted(records)
    longest = max((record.settings.iterations for record in trained), default=0)
    context = Context(trained, longest, not is_other_data(experiment, trained), counted)
    judgements = judged(experiment, records)
    stem = stem or experiment.name
    tables = tables_of(experiment, budget, records, judgements)
    written = Written(tables)
    try:
        reports_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=reports_dir, prefix=f".{experiment.name}-") as folder:
            with report_style():
                drawn = _draw(experiment, context)
                content = build_content(experiment, budget, records, judgements, drawn, failed)
                if can_typeset() and drawn:
                    _fit_to_page_one(next(iter(drawn.values())).figure, content, Path(folder))
                for name, drawing in drawn.items():
                    _save(drawing, Path(folder) / f"{experiment.name}-{name}")
            if can_typeset():
                typeset(TEMPLATE, content, Path(folder), f"{experiment.name}.pdf")
                written.pdf = reports_dir / f"{stem}.pdf"
            else:
                written.lines.append(ABSENT)
            source = latex(experiment, content, judgements, stem)
            (Path(folder) / f"{experiment.name}.tex").write_text(source, encoding="utf-8")
            write_tables(tables, Path(folder) / experiment.name)
            if experiment.is_counted:
                write_csv_tables(experiment, counted, Path(folder))
            for file in Path(folder).iterdir():
                if file.suffix in (".pdf", ".svg", ".png", ".csv", ".tex"):
                    file.replace(reports_dir / f"{stem}{file.name.removeprefix(experiment.name)}")
    except OSError as error:
        raise UserError(
            f"REPORTS_DIR={reports_dir} cannot be written ({os_reason(error)}): use another folder"
        ) from error
    written.images = {name: reports_dir / f"{stem}-{name}.png" for name in drawn}
    written.lines += [*verdict_lines(judgements), *error_lines(experiment, trained), *content["answers"]]
    if written.pdf:
        written.lines.append(f"report: {written.pdf}")
    return written


def _draw(experiment: Experiment, context: Context) -> dict[str, Drawing]:
    """Return {name: figure with its texts} of the figures for which there are data."""
    drawn = {spec.name: spec.draw(context) for spec in experiment.figures}
    return {name: result for name, result in drawn.items() if result is not None}


def _fit_to_page_one(figure: Figure, content: Mapping[str, Any], folder: Path) -> None:
    """Fit the figure's height to the first page: its panels change, its letters do not.

    If the results fit below the figure, it keeps its height; otherwise it fills the rest of the page.
    """
    (space,) = query(TEMPLATE, {**content, "hero": {**content["hero"], "path": None}, "figures": []}, folder, "room")
    width, height = figure.get_size_inches()
    fitted = height if height + space["next"] <= space["room"] else space["room"]
    figure.set_size_inches(width, min(max(fitted, LEAST * height), MOST * height))


def _save(drawing: Drawing, stem: Path) -> None:
    """Save a figure as PDF, SVG and PNG, each with the alternative text as its description."""
    figure, description = drawing.figure, {ENTRY: drawing.alternative}
    figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None, "Subject": drawing.alternative})
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None, **description})
    _save_png(figure, stem.with_suffix(".png"), drawing.alternative)


def _save_png(figure: Figure, path: Path, alternative: str) -> None:
    """Save a figure with a palette of its most frequent colors, in a third of the bytes of all colors."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    figure.savefig(path, dpi=PNG_DPI)
    text = PngInfo()
    text.add_itxt(ENTRY, alternative)
    with Image.open(path) as image:
        colors = image.convert("RGB").quantize(PNG_COLORS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        colors.save(path, optimize=True, dpi=(PNG_DPI, PNG_DPI), pnginfo=text)

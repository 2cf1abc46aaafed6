"""The common style of all figures: legible in print and in grey, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

# Okabe and Ito's palette, alternating dark and light so that neighbours differ in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
PAPER_GREY = "#8C8C8C"

WIDTH = 17.4 / 2.54  # inches: width of the report's text block, so that figures are printed unscaled
LEGEND_SIZE = 7  # points; the smallest size, for legibility in print

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": LEGEND_SIZE,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "resnet-repro",  # equal figures give equal files
    "figure.constrained_layout.use": True,
}


@contextmanager
def report_style() -> Iterator[None]:
    """Context in which figures are drawn and saved in the report's style; needs no display.

    The user's own settings of matplotlib have no effect.
    """
    import matplotlib
    from matplotlib import style

    matplotlib.use("Agg")
    with style.context(["default", _RC]):
        yield


def looks(arms: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """Return {arm: colour and marker}, by the arm's position in the list. The pairs differ for up to 36 arms."""
    return {
        arm: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
        }
        for i, arm in enumerate(arms)
    }

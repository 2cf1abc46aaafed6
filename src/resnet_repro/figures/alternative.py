"""Alternative texts of figures: what a figure shows in numbers, for readers who cannot see it.

A figure's text is written beside its drawing from the same values. Image files carry it as their description, PDFs and
pages show it in place of the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from resnet_repro.figures.seeds import SMALLEST, Curve, mean_curve

ABSENT = "no value"
ENTRY = "Description"  # of the metadata of PNG and SVG files


def number(value: float, unit: str = "") -> str:
    """Format a value with three significant digits, e.g. "54.0 %" or "12,300". Zeros of geometric means are 0."""
    if not math.isfinite(value):
        return ABSENT
    size = abs(value)
    if size <= 2 * SMALLEST:
        text = "0"
    elif 1e-3 <= size < 1e6:
        text = f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}"
    else:
        text = f"{value:.2e}"
    return f"{text} {unit}".strip().replace("-", "−")


def first_and_last(runs: Sequence[Curve], centre: Callable[[Sequence[float]], float] = fmean) -> tuple[float, float]:
    """Return the first and the last value of the mean curve, see `seeds.mean_curve`; NaN for runs without points."""
    _, y = mean_curve(runs, centre)
    return (y[0], y[-1]) if len(y) else (math.nan, math.nan)


def last(runs: Sequence[Curve], centre: Callable[[Sequence[float]], float] = fmean) -> float:
    """Return the last value of the mean curve; NaN for runs without points."""
    return first_and_last(runs, centre)[1]


def from_to(ends: tuple[float, float], unit: str = "") -> str:
    """Describe a line by its ends, e.g. "rises from 0.121 to 3.45"."""
    if not all(map(math.isfinite, ends)):
        return f"has {ABSENT}"
    first, final = (number(end, unit) for end in ends)
    if first == final:
        return f"begins and ends at {final}"
    return f"{'rises' if ends[1] > ends[0] else 'falls'} from {number(ends[0])} to {final}"


def unit_of(label: str) -> str:
    """Return the unit in the label of an axis as words: " in nats" for "loss (nats)"; empty without one."""
    unit = label.partition("(")[2].rstrip(")")
    return f" in {unit}" if unit else ""


def listed(items: Mapping[str, str]) -> str:
    """Format {name: words} as "plain-20 ends at 9.1 %, plain-56 ends at 13.0 %"."""
    return ", ".join(f"{name} {words}" for name, words in items.items())


def by_panel(panels: Mapping[str, Mapping[str, str]]) -> str:
    """Format {title of a panel: {name: words}} as one sentence; a single panel without its title if that is empty."""
    return "; ".join(f"{title}: {listed(items)}" if title else listed(items) for title, items in panels.items()) + "."


def over_seeds(counts: Sequence[int], what: str = "means") -> str:
    """Say how many runs the values are means of, e.g. "means over 3 seeds". counts: number of runs of each arm."""
    present = [count for count in counts if count]
    low, high = min(present, default=0), max(present, default=0)
    if high <= 1:
        return "one seed"
    return f"{what} over {high if low == high else f'{low} to {high}'} seeds"


def saved_alternative(png: Path) -> str | None:
    """Return the alternative text that the PNG file of a figure carries; None without one or without the file."""
    from PIL import Image

    if not png.exists():
        return None
    with Image.open(png) as image:
        return image.info.get(ENTRY)

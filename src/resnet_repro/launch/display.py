"""Progress display of all runs: a live table in a terminal, plain lines elsewhere. It only reads the runs' folders."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from resnet_repro.records.layout import RECORD
from resnet_repro.records.progress import ENDED, clock, seconds_left, share_done, shown_progress

# A run prints a line every 5 % of its steps, but not more often than every 20 s and not less often than every 5 minutes.
LINE_SECONDS, LINE_SHARE, QUIET_SECONDS = 20.0, 0.05, 300.0
ROWS, FRAME = 30, 5  # rows of the table, lines around them; with more runs, waiting and ended ones are only counted
REFRESH_SECONDS, BUSY_SHARE = 0.5, 0.01  # minimum time between refreshes, and their maximum share of the time


@dataclass(frozen=True)
class ShownRun:
    """A run in the display."""

    name: str
    folder: Path
    """The run's folder, which the display reads."""
    cost: float
    """Expected cost of the run, in any unit; used to estimate the time left."""


class Display:
    """A context manager; call `refresh` at any rate while it is active."""

    def __init__(self, runs: Sequence[ShownRun], console: Console) -> None:
        self.runs, self.console = runs, console
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._started = time.monotonic()
        self._due = 0.0
        self._ended: dict[str, dict[str, Any]] = {}  # final states of ended runs, which are not read again
        self._first_share: float | None = None
        self._lines_of: dict[str, tuple[str, float, float]] = {}  # {run: (status, time, share) of its last line}
        self._remarked: set[str] = set()

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh(force=True)
        if self._live:
            self._live.stop()

    def refresh(self, force: bool = False) -> None:
        """Redraw the table or print due lines, if it is time to; in any case with `force`."""
        begin = time.monotonic()
        if not force and begin < self._due:
            return
        states = [(run, self._state(run)) for run in self.runs]
        left = self._time_left(states)
        self._remark(states)
        if self._live:
            self._live.update(self._table(states, left), refresh=True)
        else:
            self._lines(states, left)
        now = time.monotonic()
        self._due = now + max(REFRESH_SECONDS, (now - begin) / BUSY_SHARE)  # reading thousands of runs is slow

    def _state(self, run: ShownRun) -> dict[str, Any]:
        if run.name in self._ended:
            return self._ended[run.name]
        state = shown_progress(run.folder)
        if state["status"] in ENDED and (run.folder / RECORD).exists():
            self._ended[run.name] = state
        return state

    def _remark(self, states: list[tuple[ShownRun, dict[str, Any]]]) -> None:
        """Print the remarks of runs on their execution, each remark once."""
        for run, state in states:
            for remark in state.get("remarks", ()):
                if remark not in self._remarked:
                    self._remarked.add(remark)
                    self.console.print(f"{run.name}: {remark}", highlight=False, markup=False, soft_wrap=True)

    def _time_left(self, states: list[tuple[ShownRun, dict[str, Any]]]) -> float | None:
        """Seconds until all runs have ended, from the share of the work done since the display started."""
        total = sum(run.cost for run, _ in states)
        share = sum(run.cost * share_done(state) for run, state in states) / total if total else 1.0
        if self._first_share is None:
            self._first_share = share
        gained = share - self._first_share
        return (time.monotonic() - self._started) * (1 - share) / gained if gained > 0.01 else None

    def _table(self, states: list[tuple[ShownRun, dict[str, Any]]], left: float | None) -> Table:
        title = f"all runs: {clock(left)} left" if left is not None else "all runs"
        table = Table(title=title, title_justify="left", box=None)
        for column in ("run", "state", "", "step", "loss", "error %", "test error %", "left"):
            table.add_column(column, justify="left" if column in ("run", "state", "") else "right")
        rows = max(1, min(ROWS, self.console.height - FRAME))
        busy = [s for s in states if s[1]["status"] not in ("waiting", *ENDED)]
        shown = states if len(states) <= rows else busy[:rows]
        for run, state in shown:
            table.add_row(
                run.name,
                state["status"],
                ProgressBar(total=1.0, completed=share_done(state), width=24),
                f"{state.get('step', 0):,}/{state['steps']:,}" if "steps" in state else "",
                _loss(state.get("loss")),
                _number(state.get("error"), 1),
                _number(state.get("test_error"), 1),
                clock(seconds_left(state)),
            )
        if len(shown) < len(states):
            counts = Counter(state["status"] for _, state in states)
            table.caption = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
            table.caption_justify = "left"
        return table

    def _lines(self, states: list[tuple[ShownRun, dict[str, Any]]], left: float | None) -> None:
        now = time.monotonic()
        for run, state in states:
            status = state["status"]
            share = share_done(state)
            last_status, last_time, last_share = self._lines_of.get(run.name, ("waiting", now, 0.0))
            busy = ("running", "evaluating")
            if status == last_status or (status in busy and last_status in busy):
                quiet = now - last_time
                due = quiet > QUIET_SECONDS or (quiet > LINE_SECONDS and share - last_share >= LINE_SHARE)
                if status not in busy or not due:
                    continue
            self._lines_of[run.name] = status, now, share
            parts = [f"{run.name:<24} {status:<10}"]
            if "steps" in state:
                parts.append(f"step {state.get('step', 0):,}/{state['steps']:,} ({100 * share:.0f} %)")
            if state.get("loss") is not None:
                parts.append(f"loss {_loss(state['loss'])}")
            for key, label in (("error", "error %"), ("test_error", "test error %")):
                if state.get(key) is not None:
                    parts.append(f"{label} {_number(state[key], 1)}")
            if status in ("running", "evaluating") and (run_left := seconds_left(state)):
                parts.append(f"left {clock(run_left)}" + (f", all {clock(left)}" if left is not None else ""))
            self.console.print("  ".join(parts), soft_wrap=True, highlight=False, markup=False)


def _loss(value: float | None) -> str:
    """Three decimals, or two significant digits for what these do not show."""
    return f"{value:.2g}" if value is not None and abs(value) < 0.01 else _number(value, 3)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"

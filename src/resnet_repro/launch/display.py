"""One view of all runs: a live table in a terminal, plain lines elsewhere. Reads the runs' folders, nothing else."""

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

LINE_SECONDS, LINE_SHARE, QUIET_SECONDS = 20.0, 0.05, 300.0  # a line each 20 s at most, each 5 % or 5 minutes
ROWS = 30  # of the table; of more runs it leaves out those that wait or have ended, and counts them
REFRESH_SECONDS, BUSY_SHARE = 0.5, 0.1  # between two looks, and how much of the time looking may take


@dataclass(frozen=True)
class ShownRun:
    """A run to show: its name, its folder, and its expected cost in any unit that is the same for all."""

    name: str
    folder: Path
    cost: float


class Display:
    """Use as a context manager; call `refresh` as often as you like."""

    def __init__(self, runs: Sequence[ShownRun], console: Console) -> None:
        self.runs, self.console = runs, console
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._started = time.monotonic()
        self._due = 0.0
        self._ended: dict[str, dict[str, Any]] = {}  # last states of runs that have ended: they change no more
        self._first_share: float | None = None
        self._said: dict[str, tuple[str, float, float]] = {}  # status, time, share of the last line
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
        """Redraw the table, or print the lines that are due."""
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
        self._due = now + max(REFRESH_SECONDS, (now - begin) / BUSY_SHARE)  # thousands of runs take long to look at

    def _state(self, run: ShownRun) -> dict[str, Any]:
        if run.name in self._ended:
            return self._ended[run.name]
        state = shown_progress(run.folder)
        if state["status"] in ENDED and (run.folder / RECORD).exists():
            self._ended[run.name] = state
        return state

    def _remark(self, states: list[tuple[ShownRun, dict[str, Any]]]) -> None:
        """Print what runs say of how they are carried out; of several that say the same the first."""
        for run, state in states:
            for remark in state.get("remarks", ()):
                if remark not in self._remarked:
                    self._remarked.add(remark)
                    self.console.print(f"{run.name}: {remark}", highlight=False, markup=False, soft_wrap=True)

    def _time_left(self, states: list[tuple[ShownRun, dict[str, Any]]]) -> float | None:
        """Seconds until all are done, from the share of the work done since the display began."""
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
        shown = (
            states if len(states) <= ROWS else [s for s in states if s[1]["status"] not in ("waiting", *ENDED)][:ROWS]
        )
        for run, state in shown:
            table.add_row(
                run.name,
                state["status"],
                ProgressBar(total=1.0, completed=share_done(state), width=24),
                f"{state.get('step', 0):,}/{state['steps']:,}" if "steps" in state else "",
                _number(state.get("loss"), 3),
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
            before, when, shown = self._said.get(run.name, ("waiting", now, 0.0))
            busy = ("running", "evaluating")
            if status == before or (status in busy and before in busy):
                due = now - when > QUIET_SECONDS or (now - when > LINE_SECONDS and share - shown >= LINE_SHARE)
                if status not in busy or not due:
                    continue
            self._said[run.name] = status, now, share
            parts = [f"{run.name:<24} {status:<10}"]
            if "steps" in state:
                parts.append(f"step {state.get('step', 0):,}/{state['steps']:,} ({100 * share:.0f} %)")
            for key, label, digits in (("loss", "loss", 3), ("error", "error %", 1), ("test_error", "test error %", 1)):
                if state.get(key) is not None:
                    parts.append(f"{label} {_number(state[key], digits)}")
            if status in ("running", "evaluating") and (run_left := seconds_left(state)):
                parts.append(f"left {clock(run_left)}" + (f", all {clock(left)}" if left is not None else ""))
            self.console.print("  ".join(parts), soft_wrap=True, highlight=False, markup=False)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"

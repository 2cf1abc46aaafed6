"""One run, copied from its tables to Weights & Biases.

The tables are complete whatever happened before; W&B gets the rows that it does not have yet. So a run has one curve,
no matter how often training or upload was interrupted, and uploading twice sends nothing twice.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from resnet_repro.errors import in_a_line, os_reason
from resnet_repro.records.layout import RECEIPT, RECORD, UPLOAD_LOCK
from resnet_repro.records.lock import hold
from resnet_repro.records.record import Record, read_record
from resnet_repro.records.state import run_state
from resnet_repro.tracking.receipt import Ending, Receipt, read_receipt, write_receipt
from resnet_repro.tracking.server import Refused, RemoteRun, Server, ServerError, Unanswered
from resnet_repro.tracking.wandb_run import (
    curve_rows,
    digest_of,
    init_arguments,
    open_run,
    project,
    remove_recordings,
    run_info,
    summary_of,
)

POLL_SECONDS = 3.0
RETRY_SECONDS = (5.0, 10.0, 20.0, 40.0)
VERIFY_SECONDS = 20.0
METRICS = "metrics.csv"
MOST_NAMES = 9  # ids of a run: its own, and others for results that W&B cannot take under it
INCOMPLETE = "incomplete"  # in the name of a copy that cannot become whole
DELETED = "previously created and deleted"  # the server's answer to the id of a run that was deleted there
KILLED = 255  # exit code that W&B shows as killed, not failed
_EXIT_CODES: Mapping[Ending, int] = {"finished": 0, "failed": 1, "interrupted": KILLED, "running": 0}

Outcome = Literal["arrived", "current", "recorded", "empty", "busy", "missing"]
Report = Callable[..., None]
"""Receives (kind, **facts): kind "opened" with url and project_url, "trouble" with reason, "ended" with outcome."""


class Upload:
    """A run's folder and its copy at W&B."""

    def __init__(
        self,
        folder: Path,
        server: Server | None,
        client_files: Path,
        stop: threading.Event,
        report: Report,
        finish_seconds: float,
        may_train: bool = False,
    ) -> None:
        """server: None records offline. client_files: where the client keeps its files. stop: set once no more rows are
        expected. finish_seconds: longest wait for the client's last requests.
        may_train: whether the run may go on training after `stop`, as a run under Slurm."""
        self.folder, self.server, self.client_files, self.stop = folder, server, client_files, stop
        self.report, self.finish_seconds = report, finish_seconds
        self.sent = 0
        self.may_train = may_train
        self.is_snapshot = False

    def run(self) -> None:
        """Copy rows until the run has ended. Every error is reported as the outcome, none is raised."""
        facts: dict[str, Any] = {}
        outcome: Outcome
        try:
            with self._hold() as is_held:
                outcome, facts = self._copy() if is_held else ("busy", {})
        except Exception as error:  # noqa: BLE001  one run's trouble must not stop the other uploads
            outcome = "missing"
            facts = {"reason": str(error) if isinstance(error, ServerError) else in_a_line(error)}
            facts |= {"unanswered": True} if isinstance(error, Unanswered) else {}
        self.report("ended", outcome=outcome, **facts)

    @contextlib.contextmanager
    def _hold(self) -> Iterator[bool]:
        """Hold the lock of the run's uploads; False if another process keeps it.

        The process of an earlier experiment still sends its last rows when a run is resumed at once, and so may another
        `sync`: that is waited for. What is training now keeps the lock for long.
        """
        while True:
            is_over = self.stop.is_set()
            may_wait = is_over and not (self.may_train and _is_training(self.folder))
            with hold(self.folder / UPLOAD_LOCK, self.finish_seconds if may_wait else 0.0) as is_held:
                if is_held or is_over:
                    yield is_held
                    return
            self.stop.wait(POLL_SECONDS)

    def _copy(self) -> tuple[Outcome, dict[str, Any]]:
        if not self._wait_for_rows():
            return "empty", {}
        info, settings = run_info(self.folder)
        arguments = init_arguments(info, settings)
        if self.server is None:
            return self._record(arguments, settings.stop_at)
        if self.may_train and (receipt := is_current(self.folder, self.server)):  # by the process that held the lock
            return "current", _facts(receipt)
        number = _number(self.folder, self.server, arguments["id"])
        while True:
            name = arguments["id"] if number == 1 else f"{arguments['id']}-{number}"
            try:
                return self._copy_to(self.server, {**arguments, "id": name}, settings.stop_at)
            except _Taken as error:
                if number == MOST_NAMES:
                    raise ServerError(f"W&B does not take this run under any of {number} ids ({error})") from error
                number += 1

    def _copy_to(self, server: Server, arguments: Mapping[str, Any], stop_at: int) -> tuple[Outcome, dict[str, Any]]:
        """Copy the run to this id. Raises _Taken if the id cannot become a copy of this run."""
        name = arguments["id"]
        remote = self._find_remote(server, name)
        rows, ending, record = _state(self.folder, stop_at)
        if remote is not None and remote.is_finished:
            while record is None and not self.stop.wait(POLL_SECONDS):  # trained again: maybe with the same result
                rows, ending, record = _state(self.folder, stop_at)
            if record is None:
                raise ServerError("W&B has this run finished, and this folder is an older copy of it")
            if not _is_result(remote, record):
                raise _Taken("another result is there")
            if remote.rows >= len(rows) and _has_summary(remote, record) and remote.is_shown_as(ending):
                return "current", _facts(self._sign(server, name, len(rows), ending, record))
        if remote is not None and self._lacks_rows(server, name, remote, rows):
            self._name_incomplete(arguments)
            raise _Taken("rows between others are missing there")
        # A run that trains without a mirror, as under Slurm, stays "running" at W&B after what it has so far is sent.
        self.is_snapshot = ending == "running" and self.may_train
        try:
            run = self._open(arguments, True, x_update_finish_state=not self.is_snapshot)
        except Exception as error:
            if DELETED in str(error):
                raise _Taken("it was deleted there") from error
            raise
        self.report("opened", url=run.url, project_url=run.project_url)
        if remote is not None and record is None:  # a finished run stays one while its record is sent again
            run.summary["status"] = "running"
        rows, ending, record = self._send(run, stop_at, remote.last_step + 1 if remote is not None else 0)
        self._finish(run, ending, record)
        self._verify(server, name, len(rows), ending, record)
        return "arrived", _facts(self._sign(server, name, len(rows), ending, record)) | {"sent": self.sent}

    def _lacks_rows(
        self, server: Server, name: str, remote: RemoteRun, rows: Sequence[tuple[int, dict[str, float]]]
    ) -> bool:
        """Whether the server lacks rows before its last one, which it takes no more.

        The client drops rows if it lags behind on a full disk: it reads them again from a file that could not be written.
        """
        expected = sum(step <= remote.last_step for step, _ in rows)
        if remote.rows >= expected:
            return False
        is_there, _ = server.wait_for(
            project(), name, lambda run: run.rows >= expected, min(VERIFY_SECONDS, self.finish_seconds)
        )
        return not is_there

    def _name_incomplete(self, arguments: Mapping[str, Any]) -> None:
        """Tell the copy at this id apart from the whole one that another id will have."""
        tags = [INCOMPLETE.upper(), *arguments["tags"]]
        run = self._open({**arguments, "name": f"{arguments['name']} ({INCOMPLETE})", "tags": tags}, True)
        run.finish(exit_code=KILLED)

    def _sign(self, server: Server, name: str, rows: int, ending: Ending, record: Record | None) -> Receipt:
        """Write the receipt. Without it, e.g. on a full disk, the next `sync` asks the server what it has."""
        receipt = _receipt(server, name, rows, ending, record)
        try:
            write_receipt(self.folder, receipt)
        except OSError as error:
            with contextlib.suppress(OSError):  # the log is on the same disk
                print(f"{self.folder / RECEIPT} cannot be written ({os_reason(error)})", file=sys.stderr)
        return receipt

    def _wait_for_rows(self) -> bool:
        while not self._has_rows():
            if self.stop.wait(POLL_SECONDS):
                return self._has_rows()
        return True

    def _has_rows(self) -> bool:
        return (self.folder / METRICS).exists() and bool(curve_rows(self.folder))

    def _find_remote(self, server: Server, name: str) -> RemoteRun | None:
        """The run at the server. Waits for a server that does not answer until `stop`; the client would then refuse the
        id for the rest of the process. Raises ServerError."""
        waits = itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1]))
        while True:
            try:
                return server.find_run(project(), name)
            except Refused:
                raise
            except ServerError as error:
                if self.stop.is_set():
                    raise
                self.report("trouble", reason=str(error))
                self.stop.wait(next(waits))

    def _open(self, arguments: Mapping[str, Any], is_online: bool, **settings: Any) -> Any:
        return open_run(
            arguments,
            is_online=is_online,
            client_files=self.client_files,
            finish_seconds=self.finish_seconds,
            **settings,
        )

    def _record(self, arguments: Mapping[str, Any], stop_at: int) -> tuple[Outcome, dict[str, Any]]:
        """Record the run offline from its first row on, in place of earlier recordings."""
        remove_recordings(self.client_files, arguments["id"])
        run = self._open(arguments, False)
        rows, ending, record = self._send(run, stop_at, 0)
        self._finish(run, ending, record)
        return "recorded", {"rows": len(rows)}

    def _send(
        self, run: Any, stop_at: int, first: int
    ) -> tuple[list[tuple[int, dict[str, float]]], Ending, Record | None]:
        """Log new rows until the run has ended or `stop` is set; what was there at the end.

        first: first step that has not arrived earlier.
        """
        logged = seen = -1
        while True:
            is_last = self.stop.is_set()
            rows, ending, record = _state(self.folder, stop_at)
            is_over = record is not None or is_last
            for step, values in rows:
                # W&B takes each step once, and a row that was there at the last look is complete by now.
                if step > logged and (step <= seen or is_over):
                    logged = step
                    if step >= first:
                        run.log(values, step=step)
                        self.sent += 1
            if is_over:
                ended: Ending = "interrupted" if ending == "running" and not self.is_snapshot else ending
                return rows, ended, record
            seen = rows[-1][0] if rows else -1
            self.stop.wait(POLL_SECONDS)

    def _finish(self, run: Any, ending: Ending, record: Record | None) -> None:
        if record is not None:
            for name, value in summary_of(record).items():
                run.summary[name] = value
        else:
            run.summary["status"] = ending
        run.finish(exit_code=_EXIT_CODES[ending])

    def _verify(self, server: Server, name: str, rows: int, ending: Ending, record: Record | None) -> None:
        """Raise ServerError unless the server has the rows and the run's state."""
        status = record.status if record is not None else ending

        def has_arrived(remote: RemoteRun) -> bool:
            return remote.rows >= rows and remote.summary.get("status") == status and remote.is_shown_as(ending)

        is_there, remote = server.wait_for(project(), name, has_arrived, min(VERIFY_SECONDS, self.finish_seconds))
        if is_there:
            return
        if remote is not None and remote.rows >= rows:
            raise ServerError(f"all rows have arrived at {server.url}, but not that the run is {status}")
        arrived = remote.rows if remote is not None else 0
        raise ServerError(f"only {arrived} of {rows} rows have arrived at {server.url}")


class _Taken(Exception):
    """The run's id cannot become a copy of this run. The message says why."""


def is_current(folder: Path, server: Server) -> Receipt | None:
    """The receipt of a run whose last upload left nothing to send; asks no server. Raises UserError."""
    receipt = read_receipt(folder)
    if receipt is None:
        return None
    info, settings = run_info(folder)
    if not _is_name(receipt.id, info["id"]):
        return None
    rows, ending, record = _state(folder, settings.stop_at)
    wanted = _receipt(server, receipt.id, len(rows), ending, record)
    return receipt if receipt.covers(wanted) and ending != "running" else None


def _number(folder: Path, server: Server, name: str) -> int:
    """Number of the id under which the run was last uploaded to this project; 1 is the id itself."""
    receipt = read_receipt(folder)
    if receipt is None or (receipt.server, receipt.project) != (server.url, f"{server.entity}/{project()}"):
        return 1
    return int(receipt.id.rpartition("-")[2]) if receipt.id != name and _is_name(receipt.id, name) else 1


def _is_name(candidate: str, name: str) -> bool:
    return re.fullmatch(rf"{re.escape(name)}(-[2-9])?", candidate) is not None


def _is_result(remote: RemoteRun, record: Record) -> bool:
    """Whether the finished run at the server is that of the record, and not another training."""
    return (remote.summary.get("status"), remote.summary.get("weights_sha256")) == (
        record.status,
        record.weights_sha256,
    )


def _has_summary(remote: RemoteRun, record: Record) -> bool:
    """Whether the server has the numbers of the record, which may have been renewed since."""
    ours = json.loads(json.dumps(summary_of(record)))
    return all(remote.summary.get(name) == value for name, value in ours.items())


def _is_training(folder: Path) -> bool:
    return run_state(folder, folder.parent.name, _seed(folder), time.time()).state in ("running", "silent")


def _state(folder: Path, stop_at: int) -> tuple[list[tuple[int, dict[str, float]]], Ending, Record | None]:
    """Rows that are complete, how the run stands, and its record if it has ended."""
    is_done = (folder / RECORD).exists()
    rows = curve_rows(folder)
    if is_done:
        return rows, "finished", read_record(folder)
    # The last evaluation completes the last row, and W&B takes each step only once.
    rows = [(step, values) for step, values in rows if step != stop_at]
    state = run_state(folder, folder.parent.name, _seed(folder), time.time()).state
    endings: Mapping[str, Ending] = {"failed": "failed", "running": "running", "silent": "running"}
    return rows, endings.get(state, "interrupted"), None


def _receipt(server: Server, name: str, rows: int, ending: Ending, record: Record | None) -> Receipt:
    return Receipt(
        server=server.url,
        project=f"{server.entity}/{project()}",
        id=name,
        rows=rows,
        ending=ending,
        result=(record.weights_sha256 or record.status) if record is not None else "",
        summary=digest_of(record) if record is not None else "",
        url=server.run_url(project(), name),
        project_url=server.project_url(project()),
    )


def _seed(folder: Path) -> int:
    return int(folder.name.removeprefix("seed"))


def _facts(receipt: Receipt) -> dict[str, Any]:
    return {"url": receipt.url, "project_url": receipt.project_url, "rows": receipt.rows}

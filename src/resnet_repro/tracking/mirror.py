"""Weights & Biases during an experiment: the launcher's side.

A separate process copies the tables of all runs, so W&B can neither delay nor stop a training.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.parsing import plural
from resnet_repro.processes import child_environment
from resnet_repro.tracking.report_upload import store_report

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
FINISH_SECONDS = 60.0
RUN_SECONDS = 600.0  # a run that has ended waits so long for a server that fails, while others go on
LOG = "mirror.log"
IN_TABLES = "the curves are in each run's metrics.csv"
# The client reads any of its settings from a variable WANDB_*. The others are meant for runs that a program starts itself:
# they would change ids, modes, and what is sent.
_HONOURED = (
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_APP_URL",
    "WANDB_ENTITY",
    "WANDB_PROJECT",
    "WANDB_HOST",
    "WANDB_CONFIG_DIR",
    "WANDB_CACHE_DIR",
    "WANDB_DATA_DIR",
    "WANDB_HTTP_TIMEOUT",
    "WANDB_INSECURE_DISABLE_SSL",
    "WANDB_X_EXTRA_HTTP_HEADERS",
)
_HONOURED_PREFIXES = ("WANDB_X_GRAPHQL_", "WANDB_X_FILE_STREAM_", "WANDB_X_FILE_TRANSFER_")  # time limits and retries


def parse_mode(mode: str, environment: Mapping[str, str] = os.environ) -> str:
    """The mode that a flag or WANDB_MODE gives; WANDB_DISABLED=true means "disabled". Raises UserError."""
    if environment.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes"):
        return "disabled"
    known = {"dryrun": "offline", "run": "online", "": "auto"}
    lower = known.get(mode.lower(), mode.lower())
    if lower not in MODES:
        raise UserError(f"invalid WANDB_MODE {mode!r}: expected one of {', '.join(MODES)}")
    return lower


class Mirror:
    """The launcher's handle on the uploading process. Does nothing if W&B is disabled or not installed.

    Use as a context manager: leaving it waits for the uploads and says how they ended.
    """

    def __init__(self, mode: str, runs_dir: Path) -> None:
        self.mode, self.directory = mode, runs_dir / "wandb"
        self.process: subprocess.Popen | None = None
        self.report: Mapping[str, Any] | None = None
        """Figures to show at the end: {"group": experiment, "budget": name, "images": {caption: path}}."""
        self.events: list[dict[str, Any]] = []
        """What the process has said of runs, in order."""
        self.folders: list[Path] = []
        self._note = ""
        self._buffer = b""

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        if problem := self.close():
            print(problem, file=sys.stderr)

    def start(self, folders: Sequence[Path]) -> None:
        """Follow the runs in these folders."""
        if self.mode == "disabled":
            return
        if find_spec("wandb") is None:
            self._note = f"Weights & Biases is not installed; {IN_TABLES}"
            return
        try:
            self.process = start_process(self.directory, self.mode, self.directory.parent, RUN_SECONDS)
            assert self.process.stdout is not None
            os.set_blocking(self.process.stdout.fileno(), False)
            self.folders = list(folders)
            self._send({"follow": [str(folder) for folder in folders]})
        except OSError as error:
            self._note = f"Weights & Biases cannot record ({error}); {IN_TABLES}"

    def message(self) -> str | None:
        """News for the user since the last call, in lines; None without any. Does not wait."""
        note, self._note = self._note, ""
        texts = [note] if note else []
        texts += [event["text"] for event in self._read() if "text" in event]
        return "\n".join(texts) or None

    def close(self) -> str | None:
        """Let the uploads finish, for at most `FINISH_SECONDS`; the trouble in a sentence, or None.

        Says on the log what has arrived.
        """
        if self.process is None or self.process.stdin is None:
            return None
        try:
            if self.report:
                self._send({"report": str(store_report(self.directory, self.report))})
        except (OSError, UserError) as error:
            log.warning(f"Weights & Biases: the report's figures cannot be noted ({error})")
        with suppress(OSError):
            self.process.stdin.close()
        deadline = time.monotonic() + FINISH_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if text := self.message():
                log.info(text)
            time.sleep(0.05)
        is_late = self.process.poll() is None
        if is_late:
            end(self.process)
        if text := self.message():
            log.info(text)
        return self._ending(is_late)

    def _ending(self, is_late: bool) -> str | None:
        runs = {event["folder"]: event for event in self.events if "folder" in event}
        arrived = [event for event in runs.values() if event["outcome"] in ("arrived", "current")]
        if arrived:
            log.info(f"Weights & Biases: {plural(len(arrived), 'run')} arrived at {arrived[0]['project_url']}")
        for event in self.events:
            if "report" in event and event["outcome"] in ("arrived", "current"):
                log.info(f"Weights & Biases: the report's figures arrived at {event['url']}")
        missing = [
            f for f in self.folders if runs.get(str(f), {"outcome": "missing"})["outcome"] in ("missing", "busy")
        ]
        if missing:
            why = "in time" if is_late else f"(see {self.directory / LOG})"
            return f"Weights & Biases: {plural(len(missing), 'run')} did not arrive {why}; make sync uploads them"
        lost = [
            event.get("reason", "another process uploads them")
            for event in self.events
            if "report" in event and event["outcome"] in ("missing", "busy")
        ]
        if lost or is_late:
            why = lost[0] if lost else "no answer in time"
            return f"Weights & Biases: the report's figures did not arrive ({why}); make sync uploads them"
        return None

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def _read(self) -> list[dict[str, Any]]:
        """Events that have come since the last call."""
        if self.process is None or self.process.stdout is None:
            return []
        while data := self.process.stdout.read():  # None: nothing there; b"": the process has ended
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        events = [json.loads(line) for line in lines]
        self.events += [event for event in events if "text" not in event]
        return events


def start_process(directory: Path, mode: str, client_files: Path, finish_seconds: float) -> subprocess.Popen:
    """Start the uploading process, with pipes for its input and events. Raises OSError.

    directory: for its log. client_files: below it the W&B client keeps recordings and copies of what it sends.
    finish_seconds: longest wait for a run's last requests.
    """
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        key: value
        for key, value in child_environment().items()
        if not key.startswith("WANDB_") or key in _HONOURED or key.startswith(_HONOURED_PREFIXES)
    }
    ours = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    with (directory / LOG).open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "resnet_repro.tracking.process", str(client_files), mode, str(finish_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment | ours,
            start_new_session=True,
        )


def end(process: subprocess.Popen) -> None:
    """End the process and the client's own, which are in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

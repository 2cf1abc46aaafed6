"""The process that copies runs to Weights & Biases.

    python -m resnet_repro.tracking.process CLIENT_FILES MODE FINISH_SECONDS

Lines of JSON on standard input: {"follow": [folders]}, {"report": note}. When the input ends, each upload sends what is
left and ends. Lines of JSON on standard output: {"text": ...} for the console, {"folder": ..., "outcome": ...} for each run.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_repro.tracking.report_upload import upload_report
from resnet_repro.tracking.server import Refused, Server, ServerError, server_of_this_machine
from resnet_repro.tracking.upload import Upload, is_current

MOST_AT_ONCE = 128  # followed runs; each has a thread here and a stream in the client
MOST_UPLOADS = 4  # finished runs sent at once by `sync`
GIVE_UP_AFTER = 4  # unanswered uploads in a row, by `sync`
LATER = "view with make curves, upload with make sync"


class Process:
    """Uploads of one process. `say` writes events to the parent, from any thread."""

    def __init__(self, client_files: Path, output: Any, finish_seconds: float) -> None:
        self.client_files, self.output, self.finish_seconds = client_files, output, finish_seconds
        self.server: Server | None = None
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []
        self.lock = threading.Lock()
        self.said: set[str] = set()
        self.is_sync = False
        self.unanswered = 0  # uploads in a row that failed because the server did not answer
        self.slots = threading.BoundedSemaphore(MOST_AT_ONCE)

    def say(self, **event: Any) -> None:
        """Write an event. A parent that has ended reads nothing; uploads finish all the same."""
        with self.lock:
            try:
                print(json.dumps(event), file=self.output, flush=True)
            except (BrokenPipeError, ValueError):
                self.output = sys.stderr

    def text(self, text: str) -> None:
        """Say a sentence to the user, once."""
        if text not in self.said:
            self.said.add(text)
            self.say(text=text)

    def start(self, mode: str) -> str:
        """Settle the mode and say it: "online", "offline", or for "sync" without a server "error"."""
        if mode == "offline":
            self.text(f"Weights & Biases: recording offline; {LATER}")
            return mode
        try:
            self.server = server_of_this_machine(is_asked=mode != "auto")
            if self.server is None:
                reason = "no API key is configured; run wandb login"
            else:
                self.server.connect()
                reason = ""
        except ServerError as error:
            reason = str(error)
            if mode == "online" and not isinstance(error, Refused):
                self.text(f"Weights & Biases: {reason}; training goes on, and uploads start as soon as it answers")
                return "online"
        if not reason:
            return "online"
        if mode == "sync":
            self.say(error=reason)
            return "error"
        self.server = None
        self.text(f"Weights & Biases: recording offline ({reason}); {LATER}")
        return "offline"

    def follow(self, folder: Path) -> None:
        """Start the upload of a run in a thread of its own."""
        thread = threading.Thread(target=self._upload, args=(folder,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _upload(self, folder: Path) -> None:
        with self.slots:
            if self.is_sync and self.server is not None:
                try:
                    receipt = is_current(folder, self.server)
                except Exception:  # noqa: BLE001  the upload itself will name the trouble
                    receipt = None
                if receipt is not None:
                    self.say(folder=str(folder), outcome="current", url=receipt.url, project_url=receipt.project_url)
                    return
            if self.is_sync and self.unanswered >= GIVE_UP_AFTER:
                self.say(folder=str(folder), outcome="missing", reason="the server no longer answers")
                return
            report = functools.partial(self._report, folder)
            Upload(
                folder, self.server, self.client_files, self.stop, report, self.finish_seconds, may_train=self.is_sync
            ).run()

    def _report(self, folder: Path, kind: str, **facts: Any) -> None:
        name = f"{folder.parent.name} {folder.name.replace('seed', 'seed ')}"
        if kind == "opened" and not self.is_sync:
            self.text(f"Weights & Biases: uploading to {facts['project_url']}")
            self.text(f"Weights & Biases: {name} at {facts['url']}")
        elif kind == "trouble":
            self.text(f"Weights & Biases: {facts['reason']}; trying again")
        elif kind == "ended":
            self.unanswered = self.unanswered + 1 if facts.pop("unanswered", False) else 0
            self.say(folder=str(folder), **facts)
            if facts["outcome"] == "missing" and not self.is_sync:
                self.text(f"Weights & Biases: {name} is not uploaded ({facts['reason']}); make sync uploads it later")

    def show_report(self, note: Path) -> None:
        """Send a report's figures; trouble is an event, not an error."""
        try:
            facts = upload_report(note, self.server, self.client_files, self.finish_seconds)
        except Exception as error:  # noqa: BLE001  a report must not keep runs from being finished
            facts = {"outcome": "missing", "reason": str(error) or type(error).__name__}
        self.say(report=str(note), **facts)


def main(arguments: Sequence[str]) -> int:
    """Follow runs until standard input ends; 1 if nothing could be started."""
    client_files, mode = Path(arguments[0]), arguments[1]
    os.environ.pop("WANDB_MODE", None)  # the mode is decided here
    # What wandb prints must not mix with the events.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    process = Process(client_files, output, float(arguments[2]))
    process.is_sync = mode == "sync"
    if process.is_sync:
        process.slots = threading.BoundedSemaphore(MOST_UPLOADS)
        process.stop.set()
    messages: queue.SimpleQueue[str] = queue.SimpleQueue()
    # Read at once: a long list of runs fills the pipe, and the launcher would wait for the server.
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    if process.start(mode) == "error":
        return 1
    reports = []
    while line := messages.get():
        message = json.loads(line)
        for folder in message.get("follow", ()):
            process.follow(Path(folder))
        if "report" in message:
            reports.append(threading.Thread(target=process.show_report, args=(Path(message["report"]),), daemon=True))
            reports[-1].start()
    process.stop.set()
    for thread in [*process.threads, *reports]:
        thread.join()
    return 0


def _read(messages: queue.SimpleQueue[str]) -> None:
    """Pass on the lines of standard input, and an empty one at its end."""
    for line in sys.stdin:
        messages.put(line)
    messages.put("")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

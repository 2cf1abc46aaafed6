"""A double of the W&B server on loopback, for the real client: runs in memory, faults on demand.

History is kept by offset, as the client sends it. A fault applies to a GraphQL operation ("UpsertBucket"), to
"file_stream", to "storage", or to "all": a status code, or "hang" for no answer.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

KEY = "k" * 40
ENTITY = "someone"


@dataclass
class DoubleRun:
    """A run as the server would have it."""

    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    overwritten: int = 0

    @property
    def steps(self) -> list[int]:
        return [self.history[offset]["_step"] for offset in sorted(self.history)]


class Double:
    """The server. Use as a context manager; `url` is its address."""

    def __init__(self) -> None:
        self.runs: dict[str, DoubleRun] = {}
        self.faults: dict[str, int | str] = {}
        self.deleted: set[str] = set()
        self.keys = {KEY}
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[str] = []
        self.lock = threading.RLock()
        self.healed = threading.Event()
        self.port = 0
        self.server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Double:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.healed.set()
        self.die()

    def start(self) -> None:
        """Listen, on the same port as before."""
        double = self

        class Handler(_Handler):
            state = double

        self.server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def die(self) -> None:
        """Stop listening; runs are kept."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def heal(self) -> None:
        """End all faults, and answer what hangs."""
        self.faults = {}
        self.healed.set()
        self.healed = threading.Event()

    def named(self, name: str) -> DoubleRun:
        """The one run with this display name."""
        (run,) = [run for run in self.runs.values() if run.params.get("displayName") == name]
        return run

    def answer_graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        entity = variables.get("entity") or variables.get("entityName") or ENTITY
        project = variables.get("project") or variables.get("projectName")
        about = {"id": "p", "name": project, "entity": {"id": "e", "name": entity}}
        name = str(variables.get("name") or variables.get("run"))
        if operation == "Viewer":
            viewer = {
                "id": "u",
                "entity": ENTITY,
                "username": ENTITY,
                "email": "",
                "flags": "{}",
                "teams": {"edges": []},
            }
            return {"viewer": viewer}
        if operation == "RunResumeStatus":
            run = self.runs.get(name)
            return {"model": about | {"bucket": _bucket(name, run) if run else None}}
        if operation == "UpsertBucket":
            is_new = name not in self.runs
            run = self.runs.setdefault(name, DoubleRun())
            run.params |= {key: value for key, value in variables.items() if value is not None and key != "config"}
            run.config = json.loads(variables.get("config") or "null") or run.config
            bucket = _bucket(name, run) | {"project": about, "description": None, "sweepName": None}
            return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}
        if operation == "CreateRunFiles":
            urls = [{"name": file, "uploadUrl": f"{self.url}/storage/{name}/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": name, "uploadHeaders": [], "files": urls}}
        raise KeyError(operation)

    def take_stream(self, name: str, body: dict[str, Any]) -> None:
        run = self.runs[name]
        for file, part in body.get("files", {}).items():
            rows = [json.loads(line) for line in part["content"]]
            if file == "wandb-history.jsonl":
                for offset, row in enumerate(rows, part["offset"]):
                    run.overwritten += offset in run.history and run.history[offset] != row
                    run.history[offset] = row
            elif file == "wandb-summary.json":
                run.summary = rows[-1]
        if "complete" in body:
            run.exit_codes.append(int(body["exitcode"]))


def _bucket(name: str, run: DoubleRun) -> dict[str, Any]:
    last = [json.dumps(run.history[offset]) for offset in sorted(run.history)[-1:]]
    return {
        "id": name, "name": name, "displayName": run.params.get("displayName"), "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary), "tags": run.params.get("tags") or [], "notes": None,
        "historyLineCount": len(run.history), "eventsLineCount": 0, "logLineCount": 0,
        "historyTail": json.dumps(last), "eventsTail": "[]", "wandbConfig": json.dumps({"t": 1}),
    }  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that are killed, but not about defects of the double."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    state: Double
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        state, path = self.state, unquote(urlsplit(self.path).path)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        body = json.loads(data or b"{}") if path == "/graphql" or path.endswith("/file_stream") else {}
        operation = body.get("operationName") or _operation(body.get("query", "")) or path.rpartition("/")[2]
        kind = "storage" if path.startswith("/storage/") else operation
        with state.lock:
            state.requests.append((kind, path))
            state.bodies.append(data.decode(errors="replace"))
            fault, healed = state.faults.get(kind) or state.faults.get("all"), state.healed
        if fault == "hang":
            healed.wait()
            self.close_connection = True
            return
        if isinstance(fault, int):
            return self._send(fault, {"errors": [{"message": f"fault {fault}"}]})
        password = base64.b64decode((self.headers.get("Authorization") or " ").partition(" ")[2]).decode()
        if kind != "storage" and password.partition(":")[2] not in state.keys:
            return self._send(401, {"errors": [{"message": "user is not logged in"}]})
        with state.lock:
            if kind == "storage":
                _, _, name, file = path.split("/", 3)
                state.runs[name].files.append(file)
                return self._send(200, {})
            if path.endswith("/file_stream"):
                state.take_stream(path.split("/")[4], body)
                return self._send(200, {"exitcode": None, "limits": {}})
            if path != "/graphql":
                return self._send(404, {"error": "not found"})
            variables = body.get("variables") or {}
            if operation == "UpsertBucket" and variables.get("name") in state.deleted:
                return self._send(409, {"errors": [{"message": "run was previously created and deleted"}]})
            return self._send(200, {"data": state.answer_graphql(operation, variables)})

    do_GET = do_PUT = do_POST

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _operation(query: str) -> str | None:
    match = re.search(r"(?:query|mutation)\s+(\w+)", query)
    return match[1] if match else None

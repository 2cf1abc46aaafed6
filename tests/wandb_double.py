"""A double of the W&B server on loopback, for the real client: runs in memory, faults on demand.

History is kept by offset, as the client sends it. A fault applies to a GraphQL operation ("UpsertBucket"), to
"file_stream", to "storage", or to "all": a status code, "hang" for no answer, "deaf" for no answer to a request that is
carried out (in a stream: one with rows), or "drop" for a closed connection. `limited` counts requests that are answered with
429 first.
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
from urllib.parse import quote, unquote, urlsplit

KEY = "k" * 40
ENTITY, PROJECT = "someone", "resnet-repro"


@dataclass
class DoubleRun:
    """A run as the server would have it."""

    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    state: str = "running"
    overwritten: int = 0

    @property
    def steps(self) -> list[int]:
        return [self.history[offset]["_step"] for offset in sorted(self.history)]


class Double:
    """The server. Use as a context manager; `url` is its address."""

    def __init__(self) -> None:
        self.runs: dict[str, DoubleRun] = {}
        self.faults: dict[str, int | str] = {}
        self.limited: dict[str, int] = {}
        self.deleted: set[str] = set()
        self.forbidden: set[str] = set()
        """Projects that the key may not write."""
        self.keys = {KEY}
        self.requests: list[tuple[str, str]] = []
        self.unknown: set[str] = set()
        """Words that a query must not have, as fields that the server does not know."""
        self.bodies: list[str] = []
        self.headers: list[str] = []
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
        name = _key(project, str(variables.get("name") or variables.get("run")))
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
            run.state = "running"
            run.params |= {key: value for key, value in variables.items() if value is not None and key != "config"}
            run.config = json.loads(variables.get("config") or "null") or run.config
            bucket = _bucket(name, run) | {"project": about, "description": None, "sweepName": None}
            return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}
        if operation == "CreateRunFiles":
            place = f"{self.url}/storage/{quote(name, safe='')}"
            urls = [{"name": file, "uploadUrl": f"{place}/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": name, "uploadHeaders": [], "files": urls}}
        if operation == "RunFiles":
            sizes = self.runs[name].sizes if name in self.runs else {}
            nodes = [{"name": file, "sizeBytes": sizes[file]} for file in variables["fileNames"] if file in sizes]
            return {"project": {"run": {"files": {"edges": [{"node": node} for node in nodes]}}}}
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
            run.state = {0: "finished", 255: "killed"}.get(run.exit_codes[-1], "failed")


def _key(project: str | None, name: str) -> str:
    return name if project in (None, PROJECT) else f"{project}/{name}"


def _bucket(name: str, run: DoubleRun) -> dict[str, Any]:
    last = [json.dumps(run.history[offset]) for offset in sorted(run.history)[-1:]]
    return {
        "id": name, "name": name.rpartition("/")[2], "state": run.state,
        "displayName": run.params.get("displayName"), "config": json.dumps(run.config),
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
    is_deaf = False

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
            state.headers.append(str(self.headers))
            fault, healed = state.faults.get(kind) or state.faults.get("all"), state.healed
            if state.limited.get(kind, 0) > 0:
                state.limited[kind] -= 1
                fault = 429
        if fault == "hang":
            healed.wait()
            self.close_connection = True
            return
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        self.is_deaf = fault == "deaf" and (kind != "file_stream" or "wandb-history.jsonl" in (body.get("files") or {}))
        if isinstance(fault, int):
            return self._send(fault, _error(f"fault {fault}"))
        password = base64.b64decode((self.headers.get("Authorization") or " ").partition(" ")[2]).decode()
        if kind != "storage" and password.partition(":")[2] not in state.keys:
            return self._send(401, _error("user is not logged in"))
        with state.lock:
            status, answer = self._carry_out(path, operation, body, len(data))
        self._send(status, answer)

    def _carry_out(self, path: str, operation: str, body: dict[str, Any], size: int) -> tuple[int, dict[str, Any]]:
        state = self.state
        if path.startswith("/storage/"):
            _, _, name, file = urlsplit(self.path).path.split("/", 3)
            if run := state.runs.get(unquote(name)):
                run.files.append(unquote(file))
                run.sizes[unquote(file)] = size
            return 200, {}
        if path.endswith("/file_stream"):
            _, _, _, project, name, _ = map(unquote, urlsplit(self.path).path.split("/"))
            if project in state.forbidden:
                return 403, _error("permission denied")
            if _key(project, name) not in state.runs:
                return 404, _error("run not found")
            state.take_stream(_key(project, name), body)
            return 200, {"exitcode": None, "limits": {}}
        if path != "/graphql":
            return 404, _error("not found")
        if words := [word for word in state.unknown if word in body.get("query", "")]:
            return 400, _error(f"Cannot query field {words[0]!r}")
        variables = body.get("variables") or {}
        if (variables.get("project") or variables.get("projectName")) in state.forbidden:
            return 403, _error("permission denied")
        if operation == "UpsertBucket" and variables.get("name") in state.deleted:
            return 409, _error("run was previously created and deleted")
        return 200, {"data": state.answer_graphql(operation, variables)}

    do_GET = do_PUT = do_POST

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        if self.is_deaf:
            self.state.healed.wait()
            self.close_connection = True
            return
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _error(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message}]}


def _operation(query: str) -> str | None:
    match = re.search(r"(?:query|mutation)\s+(\w+)", query)
    return match[1] if match else None

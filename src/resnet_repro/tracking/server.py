"""Questions to the W&B server that the client library does not answer: does it respond, and what has arrived of a run.

`wandb` reports success even if the server refused every row, so uploads are checked against the server.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from resnet_repro.errors import in_a_line
from resnet_repro.tracking.receipt import Ending

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 15.0
BUSY_SECONDS = (1.0, 2.0, 4.0, 8.0)  # waits of a question that the server answers with one of these
BUSY = (429, 502, 503, 504)
LONGEST_WAIT = 30.0  # that a server may ask for in Retry-After

_VIEWER = "query Viewer { viewer { id entity username } }"
_RUN = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    id
    name
    bucket(name: $name, missingOk: true) { id name summaryMetrics historyLineCount historyTail state }
  }
}"""
_FILES = """query RunFiles($project: String!, $entity: String!, $name: String!, $fileNames: [String], $fileLimit: Int) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { files(names: $fileNames, first: $fileLimit) { edges { node { name sizeBytes } } } }
  }
}"""


class ServerError(Exception):
    """The server does not answer, or answers with an error. The message is a sentence for the user."""


class Unanswered(ServerError):
    """The server cannot be reached, does not answer in time, or fails. Trying later may help."""


class Refused(ServerError):
    """The server refuses the API key, or this account. Trying again does not help."""


@dataclass(frozen=True)
class RemoteRun:
    """A run as the server has it."""

    rows: int
    """Rows of its history."""
    summary: Mapping[str, Any]
    """Last summary."""
    last_step: int = -1
    """Step of the last row of its history; -1 without rows."""
    state: str | None = None
    """State that the server shows, e.g. "running", "finished", "failed", "killed" or "crashed". None: unknown."""

    @property
    def is_finished(self) -> bool:
        """Whether the result of the finished run has arrived."""
        return self.summary.get("status") in ("finished", "diverged", "skipped")

    def is_shown_as(self, ending: Ending) -> bool:
        """Whether the server shows the run as one that ended so."""
        if self.state is None or ending == "running":
            return True
        return self.state == "finished" if ending == "finished" else self.state not in ("running", "finished")


@dataclass
class Server:
    """A W&B server and the account on it."""

    url: str
    """Base URL of the API."""
    key: str
    """API key."""
    entity: str
    """User or team that owns the runs; empty until `connect` succeeds."""
    app_url: str
    """Base URL of the pages that people open."""
    verifies: bool = True
    """Whether the server's certificate is checked."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of each request, as a gateway before the server may need."""

    def project_url(self, project: str) -> str:
        """Address of a project's page."""
        return f"{self.app_url}/{quote(self.entity)}/{quote(project)}"

    def run_url(self, project: str, name: str) -> str:
        """Address of a run's page."""
        return f"{self.project_url(project)}/runs/{quote(name)}"

    def connect(self) -> None:
        """Check that the server answers and takes the key, and learn the default entity. Raises ServerError."""
        viewer = self._ask("Viewer", _VIEWER, {}).get("viewer")
        if not viewer:
            raise Refused("it does not accept the API key of this machine; run wandb login")
        self.entity = self.entity or viewer.get("entity") or ""

    def find_run(self, project: str, name: str) -> RemoteRun | None:
        """The run with this id; None if the server has none. Raises ServerError."""
        if not self.entity:  # the server did not answer when the study began
            self.connect()
        asked = {"project": project, "entity": self.entity, "name": name}
        try:
            answer = self._ask("RunResumeStatus", _RUN, asked)
        except (Refused, Unanswered):
            raise
        except ServerError:  # a server that does not tell the state of a bucket
            answer = self._ask("RunResumeStatus", _RUN.replace(" state }", " }"), asked)
        bucket = (answer.get("model") or {}).get("bucket")
        if not bucket:
            return None
        summary = json.loads(bucket.get("summaryMetrics") or "{}")
        rows = int(bucket.get("historyLineCount") or 0)
        tail = [json.loads(row) for row in json.loads(bucket.get("historyTail") or "[]")]
        last = max((int(row.get("_step", -1)) for row in tail), default=-1)
        return RemoteRun(rows, summary if isinstance(summary, dict) else {}, last, bucket.get("state"))

    def file_sizes(self, project: str, name: str, files: Sequence[str]) -> dict[str, int]:
        """{name: bytes} of those of the `files` that the server has of a run. Raises ServerError."""
        asked = {"project": project, "entity": self.entity, "name": name, "fileNames": list(files)}
        answer = self._ask("RunFiles", _FILES, asked | {"fileLimit": len(files)})
        run = (answer.get("project") or {}).get("run") or {}
        nodes = [edge["node"] for edge in (run.get("files") or {}).get("edges") or []]
        return {node["name"]: int(node.get("sizeBytes") or 0) for node in nodes}

    def wait_for(
        self, project: str, name: str, has_arrived: Callable[[RemoteRun], bool], seconds: float
    ) -> tuple[bool, RemoteRun | None]:
        """Ask for a run until it satisfies `has_arrived`, for at most `seconds`: whether it did, and its last state.

        Raises ServerError.
        """
        deadline = time.monotonic() + seconds
        while True:
            is_last = time.monotonic() > deadline
            try:
                remote = self.find_run(project, name)
                if remote is not None and has_arrived(remote):
                    return True, remote
            except Unanswered:  # its next answer counts
                if is_last:
                    raise
                remote = None
            if is_last:
                return False, remote
            time.sleep(1.0)

    def _ask(self, operation: str, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        import requests

        body = {"operationName": operation, "query": query, "variables": variables}
        waits = list(BUSY_SECONDS)
        with requests.Session() as session:
            # As the client of the uploads does, which never asks a proxy for this machine.
            session.trust_env = not _is_loopback(self.url)
            while True:
                try:
                    answer = session.post(
                        f"{self.url}/graphql",
                        json=body,
                        headers=self.headers,
                        auth=("api", self.key),
                        timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                        verify=None if self.verifies else False,
                    )
                except requests.Timeout as error:
                    raise Unanswered(f"{self.url} does not answer within {ANSWER_SECONDS:.0f} seconds") from error
                except requests.RequestException as error:
                    raise Unanswered(f"{self.url} cannot be reached ({type(error).__name__})") from error
                if answer.status_code not in BUSY or not waits:
                    return self._data_of(answer, variables)
                time.sleep(max(waits.pop(0), _retry_after(answer.headers)))

    def _data_of(self, answer: Any, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The data in an answer. Raises ServerError."""
        code = answer.status_code
        if code == 401:
            raise Refused(f"{self.url} does not accept the API key of this machine (401); run wandb login")
        try:
            content = answer.json()
        except ValueError:
            content = None
        why = f": {said}" if (said := _said(content)) else ""
        if code == 403:
            where = f"the project {variables['entity']}/{variables['project']}" if "project" in variables else "itself"
            raise Refused(f"{self.url} closes {where} to the account of this machine (403{why}); check WANDB_ENTITY")
        if code == 429 or code >= 500:
            raise Unanswered(f"{self.url} answers with error {code}")
        if code != 200 or said:
            raise ServerError(f"{self.url} answers with error {code}{why}")
        if not isinstance(content, dict) or "data" not in content:
            raise ServerError(f"{self.url} is not a W&B server: its answer has no data")
        return content["data"] or {}


def _said(content: Any) -> str:
    """The first error message in the content of an answer; empty without one."""
    errors = content.get("errors") if isinstance(content, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    message = first.get("message") if isinstance(first, dict) else first
    return str(message).splitlines()[0] if message else ""


def _retry_after(headers: Mapping[str, str]) -> float:
    seconds = headers.get("Retry-After", "")
    return min(float(seconds), LONGEST_WAIT) if seconds.isdecimal() else 0.0


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_of_this_machine(is_asked: bool = True) -> Server | None:
    """The server and key that wandb is configured with; None without a key. Asks no server.

    is_asked: whether the user asks for an upload. Otherwise `wandb offline` and `wandb disabled` count, which store a mode.
    Raises Refused for such a mode, and if the key or another setting is malformed.
    """
    import wandb
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    try:
        settings = wandb_setup.singleton().settings
        address = wbauth.HostUrl(settings.base_url, app_url=settings.app_url)
    except Exception as error:  # of several kinds, by pydantic and by wandb
        if url := os.environ.get("WANDB_BASE_URL"):
            raise Refused(f"invalid WANDB_BASE_URL {url!r}: expected an address, e.g. https://api.wandb.ai") from error
        raise Refused(f"the settings of wandb on this machine are invalid ({in_a_line(error)})") from error
    if settings.mode != "online":
        if not is_asked:
            raise Refused(f"wandb is set to {settings.mode} on this machine; run wandb online")
        settings.mode = "online"
    try:
        known = wandb.login(prompt=False, verify=False)
    except Exception as error:  # wandb raises several kinds for a malformed key
        raise Refused(f"the API key of this machine is malformed ({in_a_line(error)}); run wandb login") from error
    auth = wbauth.session_credentials(host=settings.base_url) if known else None
    if not isinstance(auth, wbauth.AuthApiKey):
        return None
    return Server(
        settings.base_url.rstrip("/"),
        auth.api_key,
        settings.entity or "",
        address.app_url.rstrip("/"),
        verifies=not settings.insecure_disable_ssl,
        headers=settings.x_extra_http_headers or {},
    )

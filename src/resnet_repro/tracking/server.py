"""Questions to the W&B server that the client library does not answer: does it respond, and what has arrived of a run.

`wandb` reports success even if the server refused every row, so uploads are checked against the server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 15.0

_VIEWER = "query Viewer { viewer { id entity username } }"
_RUN = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    id
    name
    bucket(name: $name, missingOk: true) { id name summaryMetrics historyLineCount historyTail }
  }
}"""


class ServerError(Exception):
    """The server does not answer, or answers with an error. The message is a sentence for the user."""


class Unanswered(ServerError):
    """The server cannot be reached, does not answer in time, or fails. Trying later may help."""


class Refused(ServerError):
    """The server refuses the API key. Trying again does not help."""


@dataclass(frozen=True)
class RemoteRun:
    """A run as the server has it."""

    rows: int
    """Rows of its history."""
    summary: Mapping[str, Any]
    """Last summary."""

    @property
    def is_finished(self) -> bool:
        """Whether the result of the finished run has arrived."""
        return self.summary.get("status") in ("finished", "diverged", "skipped")


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
        answer = self._ask("RunResumeStatus", _RUN, {"project": project, "entity": self.entity, "name": name})
        bucket = (answer.get("model") or {}).get("bucket")
        if not bucket:
            return None
        summary = json.loads(bucket.get("summaryMetrics") or "{}")
        return RemoteRun(int(bucket.get("historyLineCount") or 0), summary if isinstance(summary, dict) else {})

    def wait_for(
        self, project: str, name: str, has_arrived: Callable[[RemoteRun], bool], seconds: float
    ) -> tuple[bool, RemoteRun | None]:
        """Ask for a run until it satisfies `has_arrived`, for at most `seconds`: whether it did, and its last state.

        Raises ServerError.
        """
        deadline = time.monotonic() + seconds
        while True:
            remote = self.find_run(project, name)
            if remote is not None and has_arrived(remote):
                return True, remote
            if time.monotonic() > deadline:
                return False, remote
            time.sleep(1.0)

    def _ask(self, operation: str, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        import requests

        try:
            answer = requests.post(
                f"{self.url}/graphql",
                json={"operationName": operation, "query": query, "variables": variables},
                auth=("api", self.key),
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            )
        except requests.Timeout as error:
            raise Unanswered(f"{self.url} does not answer within {ANSWER_SECONDS:.0f} seconds") from error
        except requests.RequestException as error:
            raise Unanswered(f"{self.url} cannot be reached ({type(error).__name__})") from error
        if answer.status_code in (401, 403):
            raise Refused(
                f"{self.url} does not accept the API key of this machine ({answer.status_code}); run wandb login"
            )
        if answer.status_code != 200:
            raise Unanswered(f"{self.url} answers with error {answer.status_code}")
        try:
            data = answer.json()["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"{self.url} is not a W&B server: its answer has no data") from error
        return data or {}


def server_of_this_machine() -> Server | None:
    """The server and key that wandb is configured with; None without a key. Asks no server.

    Raises Refused if the key is malformed.
    """
    import wandb
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    try:
        known = wandb.login(prompt=False, verify=False)
    except Exception as error:  # wandb raises several kinds for a malformed key
        raise Refused(f"the API key of this machine is malformed ({error}); run wandb login") from error
    settings = wandb_setup.singleton().settings
    auth = wbauth.session_credentials(host=settings.base_url) if known else None
    if not isinstance(auth, wbauth.AuthApiKey):
        return None
    app_url = wbauth.HostUrl(settings.base_url, app_url=settings.app_url).app_url
    return Server(settings.base_url.rstrip("/"), auth.api_key, settings.entity or "", app_url.rstrip("/"))

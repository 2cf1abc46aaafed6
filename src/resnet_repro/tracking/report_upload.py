"""The figures of a report as a run at W&B, one run per experiment and budget however often the report is written."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_repro.files import read_json, write_json
from resnet_repro.tracking.server import Server, ServerError
from resnet_repro.tracking.upload import VERIFY_SECONDS
from resnet_repro.tracking.wandb_run import NAME_CHARACTERS, TAG_CHARACTERS, open_run, project

FOLDER = "reports"


def store_report(directory: Path, report: Mapping[str, Any]) -> Path:
    """Note a report for upload, now or later; the path of the note. Raises OSError or UserError.

    report: {"group": experiment, "budget": name, "images": {caption: path}}.
    """
    path = directory / FOLDER / f"{report['group']}-{report['budget']}.json"[-NAME_CHARACTERS:]
    path.parent.mkdir(parents=True, exist_ok=True)
    known = read_json(path) or {"id": secrets.token_hex(4)}
    write_json(path, {**known, **report})
    return path


def upload_report(note: Path, server: Server | None, client_files: Path, finish_seconds: float) -> dict[str, Any]:
    """Send a report's figures unless the server has them; {"outcome": ..., "url": ...}.

    server: None records offline. Raises ServerError, OSError, and what wandb raises.
    """
    import wandb

    report = read_json(note) or {}
    images = {caption: Path(path) for caption, path in report["images"].items()}
    if absent := [str(path) for path in images.values() if not path.exists()]:
        raise ServerError(f"{absent[0]} no longer exists; run make report")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in images.values())).hexdigest()
    sent = {"figures": digest}
    if server is not None:
        sent |= {"server": server.url, "project": f"{server.entity}/{project()}"}
        remote = server.find_run(project(), report["id"])
        if report.get("sent") == sent and remote is not None and remote.summary.get("figures") == digest:
            return {"outcome": "current", "url": server.run_url(project(), report["id"])}
    arguments = {
        "project": project(),
        "id": report["id"],
        "group": report["group"][:NAME_CHARACTERS],
        "job_type": "report",
        "name": f"{report['group']}-report"[:NAME_CHARACTERS],
        "tags": [report["budget"][:TAG_CHARACTERS]],
    }
    run = open_run(arguments, is_online=server is not None, client_files=client_files, finish_seconds=finish_seconds)
    run.log({caption: wandb.Image(str(path)) for caption, path in images.items()})
    run.summary["figures"] = digest
    run.finish()
    if server is None:
        return {"outcome": "recorded"}
    has_arrived, _ = server.wait_for(
        project(), report["id"], lambda remote: remote.summary.get("figures") == digest, VERIFY_SECONDS
    )
    if not has_arrived:
        raise ServerError(f"the report's figures have not arrived at {server.url}")
    write_json(note, {**report, "sent": sent})
    return {"outcome": "arrived", "url": run.url}

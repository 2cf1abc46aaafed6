"""The figures of a report as a run at W&B, one run per experiment and budget however often the report is written."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_repro.files import read_json, write_json
from resnet_repro.records.lock import hold
from resnet_repro.tracking.server import RemoteRun, Server, ServerError
from resnet_repro.tracking.upload import VERIFY_SECONDS
from resnet_repro.tracking.wandb_run import (
    NAME_CHARACTERS,
    TAG_CHARACTERS,
    open_run,
    project,
    remove_recordings,
)

FOLDER = "reports"


def store_report(directory: Path, report: Mapping[str, Any]) -> Path:
    """Note a report for upload, now or later, with copies of its figures; the path of the note.

    report: {"group": experiment, "budget": name, "images": {caption: path}}. Raises OSError or UserError.
    """
    path = directory / FOLDER / f"{report['group']}-{report['budget']}.json"[-NAME_CHARACTERS:]
    copies = _copies(path)
    copies.mkdir(parents=True, exist_ok=True)
    for image in map(Path, report["images"].values()):
        shutil.copyfile(image, copies / image.name)
    known = read_json(path) or {"id": secrets.token_hex(4)}
    write_json(path, {**known, **report})
    return path


def upload_report(note: Path, server: Server | None, client_files: Path, finish_seconds: float) -> dict[str, Any]:
    """Send a report's figures unless the server has them; {"outcome": ..., "url": ...}.

    server: None records offline. Raises ServerError, OSError, and what wandb raises.
    """
    with hold(note.with_suffix(".lock"), finish_seconds) as is_held:
        return _upload(note, server, client_files, finish_seconds) if is_held else {"outcome": "busy"}


def _upload(note: Path, server: Server | None, client_files: Path, finish_seconds: float) -> dict[str, Any]:
    import wandb

    report = read_json(note) or {}
    images = {caption: _find(note, Path(path)) for caption, path in report["images"].items()}
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in images.values())).hexdigest()
    arguments = {
        "project": project(),
        "id": report["id"],
        "group": report["group"][:NAME_CHARACTERS],
        "job_type": "report",
        "name": f"{report['group']}-report"[:NAME_CHARACTERS],
        "tags": [report["budget"][:TAG_CHARACTERS]],
    }
    if server is None:
        remove_recordings(client_files, report["id"])
    remote = server.find_run(project(), report["id"]) if server is not None else None
    is_there = remote is not None and remote.summary.get("figures") == digest
    absent = (
        _absent_files(server, report["id"], remote) if server is not None and remote is not None and is_there else {}
    )
    if is_there and not absent and remote is not None and remote.is_shown_as("finished"):
        assert server is not None
        return {"outcome": "current", "url": server.run_url(project(), report["id"])}
    run = open_run(arguments, is_online=server is not None, client_files=client_files, finish_seconds=finish_seconds)
    if is_there:  # the row that shows the figures, but not each file of them
        for caption, name in absent.items():
            path = Path(run.dir) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(images[caption], path)
            run.save(str(path), base_path=run.dir, policy="now")
    else:
        run.log({caption: wandb.Image(str(path)) for caption, path in images.items()})
        run.summary["figures"] = digest
    run.finish()
    if server is None:
        return {"outcome": "recorded"}
    has_arrived, remote = server.wait_for(
        project(),
        report["id"],
        lambda remote: (
            remote.summary.get("figures") == digest
            and remote.is_shown_as("finished")
            and not _absent_files(server, report["id"], remote)
        ),
        VERIFY_SECONDS,
    )
    if not has_arrived:
        raise ServerError(f"the report's figures have not arrived at {server.url}")
    return {"outcome": "arrived", "url": run.url}


def _absent_files(server: Server, name: str, remote: RemoteRun) -> dict[str, str]:
    """{caption: file} of the figures in a report's summary whose files the server does not have whole."""
    shown = {
        caption: value
        for caption, value in remote.summary.items()
        if isinstance(value, dict) and value.get("_type") == "image-file"
    }
    sizes = server.file_sizes(project(), name, [value["path"] for value in shown.values()]) if shown else {}
    return {
        caption: value["path"] for caption, value in shown.items() if sizes.get(value["path"], 0) != value.get("size")
    }


def _copies(note: Path) -> Path:
    return note.with_suffix("")


def _find(note: Path, image: Path) -> Path:
    """The figure, or its copy beside the note if the folder of the reports is gone. Raises ServerError."""
    for path in (image, _copies(note) / image.name):
        if path.exists():
            return path
    raise ServerError(f"{image} no longer exists; run make report")

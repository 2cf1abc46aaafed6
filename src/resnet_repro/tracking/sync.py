"""Uploads of runs whose curves W&B lacks, from their tables. The command line's `sync`."""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError, os_reason
from resnet_repro.parsing import listed, plural
from resnet_repro.tracking.mirror import LOG, end, start_process
from resnet_repro.tracking.report_upload import FOLDER as REPORTS

log = logging.getLogger(__name__)

FINISH_SECONDS = 60.0  # longest wait for a run's last requests


def sync(runs_dir: Path) -> int:
    """Upload what W&B lacks of the runs below `runs_dir` and of their reports; 0 if all of it has arrived, else 1.

    Raises UserError if there is nothing to upload, without W&B or an account, and if the server does not answer.
    """
    folders = [path.parent for path in sorted(runs_dir.glob("*/*/*/seed*/metrics.csv"))]
    reports = sorted((runs_dir / "wandb" / REPORTS).glob("*.json"))
    if not folders:
        raise UserError(f"{runs_dir} has no runs with curves; run an experiment first")
    if find_spec("wandb") is None:
        raise UserError("Weights & Biases is not installed: pip install wandb")
    log.info(f"checking {plural(len(folders), 'run')}")
    outcomes: Counter[str] = Counter()
    missing: list[str] = []
    addresses: set[str] = set()
    try:
        for event in _events(runs_dir, folders, reports):
            if "error" in event:
                raise UserError(f"nothing was uploaded: {event['error']}")
            name = _name(runs_dir, event)
            kind = "report" if "report" in event else "run"
            outcomes[f"{kind} {event['outcome']}"] += 1
            addresses |= {event["project_url"]} if "project_url" in event else set()
            if event["outcome"] == "arrived":
                rows = f", {plural(event['sent'], 'row')} sent" if kind == "run" else ""
                log.info(f"{name}: arrived{rows}, {event['url']}")
            elif event["outcome"] in ("missing", "busy"):
                reason = event.get("reason", "another process is uploading it")
                missing.append(name)
                log.info(f"{name}: did not arrive ({reason})")
    except OSError as error:
        raise UserError(f"{runs_dir / 'wandb'} cannot be written ({os_reason(error)}): use another RUNS_DIR") from error
    lost = len(folders) + len(reports) - sum(outcomes.values())
    summary = f"{plural(outcomes['run arrived'], 'run')} arrived, {outcomes['run current']} had arrived before"
    if outcomes["report arrived"]:
        summary += f", {plural(outcomes['report arrived'], 'report')} arrived"
    if addresses:
        summary += f": {', '.join(sorted(addresses))}"
    log.info(summary)
    if missing or lost:
        what = listed(missing) if missing else f"{plural(lost, 'upload')} (see {runs_dir / 'wandb' / LOG})"
        log.warning(f"not uploaded: {what}; run make sync again")
        return 1
    return 0


def _events(runs_dir: Path, folders: list[Path], reports: list[Path]) -> Iterator[dict[str, Any]]:
    """Events of the uploading process, as they come. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="resnet-repro-sync-") as client_files:
        directory = runs_dir / "wandb"
        process = start_process(directory, "sync", Path(client_files), FINISH_SECONDS)
        assert process.stdin is not None and process.stdout is not None
        try:
            messages = [{"follow": [str(folder) for folder in folders]}, *({"report": str(note)} for note in reports)]
            process.stdin.write("".join(json.dumps(message) + "\n" for message in messages).encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already, and its events say why
        try:
            for line in process.stdout:
                yield json.loads(line)
        finally:
            end(process)


def _name(runs_dir: Path, event: dict[str, Any]) -> str:
    if "report" in event:
        return f"report {Path(event['report']).stem}"
    return str(Path(event["folder"]).relative_to(runs_dir))

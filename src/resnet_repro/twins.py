"""Runs that two experiments have in common: what one has trained, the other takes over.

plain-20 of `degradation` is plain-20 of `construction` and of `shortcuts`: the same arm, seed, schedule and data. On one
machine its steps end with the same bits, so training it again would only cost time.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.experiment import RunSettings
from resnet_repro.files import read_json, write_json
from resnet_repro.results import CHECKPOINT, LOCK, LOG, PROGRESS, RECORD, RUN, WEIGHTS, Record, read_record

OWN = (CHECKPOINT, LOCK, LOG, PROGRESS, RECORD, RUN)  # files that tell of the training and not of its result


def take_over(folder: Path, settings: RunSettings) -> str | None:
    """Put the result of another experiment's run with the same settings into `folder`, which holds none yet.

    Returns that experiment's name; None where there is no such run, where runs of this arm begin with other runs, and
    where a process trains in `folder`. The record says where it comes from. Raises UserError where the folder cannot
    be written.
    """
    if settings.arm.start or settings.arm.search or settings.arm.counted:
        return None
    twin = next(_twins(folder, settings), None)
    if twin is None:
        return None
    try:
        return _copied(twin, folder, settings)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error


def _copied(twin: Record, folder: Path, settings: RunSettings) -> str | None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        for file in twin.folder.iterdir():
            if file.name not in OWN and not file.name.startswith("."):
                shutil.copyfile(file, folder / file.name)
        mine = {"settings": settings.to_json()}
        if run := read_json(twin.folder / RUN):
            write_json(folder / RUN, run | mine | {"id": secrets.token_hex(4)})  # a recording of its own
        source = twin.data.get("taken_over_from") or twin.settings.experiment
        about = {"experiment": settings.experiment, "taken_over_from": source}
        write_json(folder / RECORD, dict(twin.data) | mine | about)  # last, as it says "done"
    return twin.settings.experiment


def _twins(folder: Path, settings: RunSettings) -> Iterator[Record]:
    """Ended runs of other experiments in the same folder of runs, at the same budget, with equal settings and whole.

    One that cannot be read, or whose weights are gone, is as good as none: the run is then trained.
    """
    runs_dir = folder.parents[3]
    below = folder.relative_to(runs_dir / settings.experiment)
    for path in sorted(runs_dir.glob(f"*/{below}/{RECORD}")):
        try:
            record = read_record(path.parent)
            if record is None or record.status == "skipped" or path.parent == folder:
                continue
            same = replace(record.settings, experiment=settings.experiment) == settings
        except UserError:
            continue
        if same and (record.data["weights_sha256"] is None or (path.parent / WEIGHTS).exists()):
            yield record

"""Runs that have steps in common: what one has trained, the other takes over.

plain-20 of `degradation` is plain-20 of `shortcuts`: the same arm, seed, schedule and data. A prefix of the published
schedule is the beginning of every longer one. On one machine such steps end with the same bits, so training them again
would only cost time.

What a run computes does not depend on its experiment and budget, which are in its settings all the same: they are the
folder that users look into, and a study that is copied or deleted takes along all that its report reads. Sharing runs
between experiments by reference would save the copies, some megabytes each, and lose that.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, sync_to_disk, write_json
from resnet_repro.records.layout import CHECKPOINT, LOCK, LOG, PROGRESS, RECORD, RUN, WEIGHTS
from resnet_repro.records.lock import hold
from resnet_repro.records.progress import progress_of
from resnet_repro.records.record import Record, read_record
from resnet_repro.records.resume import damage_of

OWN = (CHECKPOINT, LOCK, LOG, PROGRESS, RECORD, RUN)  # files that tell of the training and not of its result
# Tables of the finished network alone.
ENDS = ("responses.csv", "shifts.csv", "features.csv", "filters.csv", "maps.csv")


def take_over(folder: Path, settings: RunSettings) -> str | None:
    """Put the result of another run with the same settings into `folder`, which holds none yet.

    Returns the name of that run's experiment; None where there is no such run, where runs of this arm begin with other
    runs, and where a process trains in `folder`. The record says where it comes from. Raises UserError where the folder
    cannot be written.
    """
    twin = next((record for record in _alike(folder, settings) if _is_twin(record, settings)), None)
    if twin is None:
        return None
    with _writing(folder) as is_free:
        if is_free:
            _copy_result(twin, folder, settings)
            return twin.settings.experiment
    return None


def take_up(folder: Path, settings: RunSettings) -> int | None:
    """Put the longest finished prefix of the run's schedule into `folder`, where training then goes on.

    Returns the prefix's steps; None where there is none that is longer than what the folder holds, and where a process
    trains in it. Raises UserError where the folder cannot be written.
    """
    done = progress_of(folder).get("step") if (folder / CHECKPOINT).exists() else 0
    if done is None:  # it holds steps, and does not say how many
        return None
    prefixes = [record for record in _alike(folder, settings) if _is_beginning(record, settings)]
    longer = [record for record in prefixes if record.settings.stop_at > done]
    longer.sort(key=lambda record: -record.settings.stop_at)
    longest = next((record for record in longer if damage_of(record.folder / CHECKPOINT) is None), None)
    if longest is None:
        return None
    with _writing(folder) as is_free:
        if is_free:
            _copy_beginning(longest, folder, settings)
            return longest.settings.stop_at
    return None


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[bool]:
    """Hold the lock of a run's folder, made where it is not there; False where a process trains in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / LOCK) as is_free:
            yield is_free
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error


def _copy_result(twin: Record, folder: Path, settings: RunSettings) -> None:
    for file in twin.folder.iterdir():
        if file.name not in OWN and not file.name.startswith("."):
            shutil.copyfile(file, folder / file.name)
    _copy_request(twin, folder, settings)
    own = {"folder": folder, "settings": settings, "experiment": settings.experiment, "budget": settings.budget}
    source = twin.taken_over_from or twin.settings.experiment
    msgspec.structs.replace(twin, **own, taken_over_from=source).write()  # last, as it says "done"


def _copy_beginning(prefix: Record, folder: Path, settings: RunSettings) -> None:
    for file in prefix.folder.glob("*.csv"):
        if file.name not in ENDS:
            shutil.copyfile(file, folder / file.name)
    _copy_request(prefix, folder, settings)
    temporary = folder / f".{CHECKPOINT}.part"
    try:
        shutil.copyfile(prefix.folder / CHECKPOINT, temporary)
        sync_to_disk(temporary)
        temporary.replace(folder / CHECKPOINT)  # last, as it says "started"
    finally:
        temporary.unlink(missing_ok=True)


def _copy_request(source: Record, folder: Path, settings: RunSettings) -> None:
    if run := read_json(source.folder / RUN):
        mine = {"settings": settings.to_json(), "id": secrets.token_hex(4)}  # a recording of its own
        write_json(folder / RUN, run | mine)


def _alike(folder: Path, settings: RunSettings) -> Iterator[Record]:
    """Ended runs of the same arm and seed in the same folder of runs, whatever their experiment and budget; not of arms
    that begin with other runs.

    One that cannot be read is as good as none: the run is then trained.
    """
    if settings.arm.start or settings.arm.search:
        return
    runs_dir = folder.parents[3]
    for path in sorted(runs_dir.glob(f"*/*/{folder.parent.name}/{folder.name}/{RECORD}")):
        try:
            record = read_record(path.parent)
        except UserError:
            continue
        if record.status != "skipped" and path.parent != folder:
            yield record


def _is_twin(record: Record, settings: RunSettings) -> bool:
    """Whether the run has the same settings, and its weights are there."""
    whole = record.weights_sha256 is None or (record.folder / WEIGHTS).exists()
    return whole and _trained_as(record, settings) == settings


def _is_beginning(record: Record, settings: RunSettings) -> bool:
    """Whether the run is a finished prefix of the same schedule, and a shorter one."""
    prefix = record.settings.prefix
    if prefix is None or record.status != "finished" or prefix >= settings.stop_at:
        return False
    return replace(_trained_as(record, settings), prefix=settings.prefix) == settings


def _trained_as(record: Record, settings: RunSettings) -> RunSettings:
    """The record's settings under the names that `settings` have for experiment and budget, which determine no number."""
    return replace(record.settings, experiment=settings.experiment, budget=settings.budget)

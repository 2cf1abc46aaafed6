"""One run as a process of its own: `python -m resnet_repro.training.train_run FOLDER`.

Reads run.json in the folder, trains from the last checkpoint or from scratch, and leaves the record. Exit codes: 0
the run has its record, 143 it was asked to stop and saved, anything else it failed and log.txt says why.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException

from resnet_repro.analysis.watch import Subject
from resnet_repro.analysis.watches import make_watches
from resnet_repro.data.arrays import Arrays, load
from resnet_repro.data.catalogue import dataset
from resnet_repro.data.stream import InMemoryData
from resnet_repro.errors import UserError
from resnet_repro.experiment import RunSettings
from resnet_repro.models.recompute import recompute_activations
from resnet_repro.results import CHECKPOINT, LOCK, RECORD, RUN, read_json
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.compilation import compiled_step, wants_compilation
from resnet_repro.training.memory import choose_activations, peak_memory_mib
from resnet_repro.training.monitor import Checkpoints, Monitor
from resnet_repro.training.record import Circumstances, finish, write_skipped
from resnet_repro.training.start import Skip, draws, first_weights, found_rate
from resnet_repro.training.watching import Watching

STOPPED = 143
LAUNCHER_LOST_GRACE_SECONDS = 60
LOCK_WAIT_SECONDS = LAUNCHER_LOST_GRACE_SECONDS + 10


@dataclass(frozen=True)
class Execution:
    """How a run is carried out: what may change a run's speed, not what it computes.

    threads is kept over resumes all the same, since sums of another number of threads differ in the last bits.
    memory_share: the part of the device's memory that is meant for the run.
    """

    data_folder: str
    threads: int
    checkpoint_seconds: float
    commit: str | None
    memory_share: float = 1.0


def train(folder: Path, settings: RunSettings, execution: Execution) -> str:
    """Train one run to its record. Returns "finished", "diverged", "skipped" or "stopped" (saved; call again to go on).

    Raises UserError where the cached data are not those of the settings, OSError where the folder cannot be written.
    """
    device = torch.device("cuda", 0) if settings.device == "cuda" else torch.device(settings.device)
    if settings.device == "cpu":
        torch.set_num_threads(execution.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # fp32 is to mean float32
    arrays = _arrays(settings, Path(execution.data_folder))
    data = InMemoryData(arrays, settings.arm.recipe, settings.seed, settings.stop_at, device)
    try:
        recipe, search = found_rate(folder, settings)
        net, parent = first_weights(folder, settings, arrays, data, device)
        batch = next(iter(data.batches("train", settings.arm.recipe.batch_size)))
        activations, activation_bytes = choose_activations(
            settings.arm.activations, net, batch, settings.precision, execution.memory_share
        )
    except Skip as skip:
        write_skipped(folder, settings, arrays, str(skip), execution.commit)
        print(f"skipped: {skip}", flush=True)
        return "skipped"
    chance = draws(net, settings)
    module = Classifier(net, recipe, settings.iterations, settings.seed)
    monitor = Monitor(settings, folder, data, parent)
    watching = Watching(make_watches(Subject(settings, folder, data, device)), monitor, settings.iterations)
    for watch in watching.watches.values():
        watch.begin(net)
    checkpoints = Checkpoints(folder, execution.checkpoint_seconds, settings.stop_at)
    _stop_on_signals(checkpoints)
    monitor.say("starting", 0)
    if activations == "recomputed":
        recompute_activations(net)
        compilation = "not compiled (activations are recomputed)"
    else:
        compilation = _compile(module, data, settings)
    step = 0
    if settings.stop_at:
        step = _fit(folder, settings, module, data, [monitor, watching, checkpoints])
    module.to(device)
    if checkpoints.stop_requested:
        monitor.say("stopped", step)
        return "stopped"
    how = Circumstances(
        execution.commit,
        parent,
        chance,
        compilation,
        activations,
        activation_bytes,
        max(monitor.peak_memory_mib, peak_memory_mib(device)),
        search,
    )
    status = finish(folder, settings, arrays, module, monitor, watching, how, step)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    monitor.say(status, step)
    return status


def _fit(
    folder: Path, settings: RunSettings, module: Classifier, data: InMemoryData, callbacks: list[pl.Callback]
) -> int:
    """Train from the last checkpoint, or from the start, to the end or to a request to stop; the step reached."""
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(settings.device, settings.device),
        devices=1,
        plugins=[LightningEnvironment()],  # a run is one process, also inside a Slurm job
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        max_steps=settings.stop_at,
        limit_val_batches=0,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    checkpoint = folder / CHECKPOINT
    resumed = checkpoint.exists()
    print(f"{'resuming' if resumed else 'starting'} {settings.arm.name} seed {settings.seed}", flush=True)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint if resumed else None, weights_only=True)
    except SIGTERMException:  # Lightning's own handler was faster than ours
        next(callback for callback in callbacks if isinstance(callback, Checkpoints)).stop_requested = True
    return trainer.global_step


def _arrays(settings: RunSettings, folder: Path) -> Arrays:
    arrays = load(dataset(settings.dataset), folder)
    if arrays is None or arrays.digest != settings.dataset_digest:
        raise UserError(f"{folder} no longer holds the data of this run: delete that folder and run the same command")
    return arrays


def _stop_on_signals(checkpoints: Checkpoints) -> None:
    """Ask the run to save and stop after the current step on SIGINT, SIGTERM, and when the launcher is gone."""

    def request(*_: object) -> None:
        checkpoints.stop_requested = True

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, request)
        signal.signal(signal.SIGTERM, request)


def _follow_launcher() -> None:
    """End this process when the launcher's end of our standard input closes, however the launcher ended."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAUNCHER_LOST_GRACE_SECONDS)
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()


def _compile(module: Classifier, data: InMemoryData, settings: RunSettings) -> str:
    """Put a compiled step into `module` where that is expected to pay; says what was done, for the record."""
    if not wants_compilation(settings.device, settings.stop_at):
        return "not compiled"
    batch = next(iter(data.train_dataloader()))
    step, outcome = compiled_step(module.net, batch, settings.precision)
    if step is None:
        outcome = f"not compiled ({outcome})"
        print(f"torch.compile failed, training without it: {outcome}", file=sys.stderr, flush=True)
    else:
        module.step_net = step
    return outcome


def _lock(folder: Path) -> IO[str]:
    """Claim the run's folder; a process that an ended launcher left behind is given the time to save.

    Raises UserError where another process keeps training this run.
    """
    file = (folder / LOCK).open("w")
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UserError(f"another process trains {folder}: wait for it or name another RUNS_DIR") from None
            time.sleep(0.5)
        else:
            return file


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    _follow_launcher()
    try:
        lock = _lock(folder)  # held until the process ends
        if (folder / RECORD).exists():  # another launcher's process was waited for, and it has finished the run
            return 0
        run = read_json(folder / RUN)
        if run is None:
            raise UserError(f"{folder} holds no {RUN}: start runs with resnet-repro run")
        outcome = train(folder, RunSettings.from_json(run["settings"]), Execution(**run["execution"]))
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    lock.close()
    return STOPPED if outcome == "stopped" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

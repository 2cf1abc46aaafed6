"""One run as a process of its own: `python -m resnet_repro.training.train_run FOLDER`.

Reads run.json in the folder, trains from the last checkpoint or from scratch, and leaves the record. Exit codes: 0
the run has its record, 143 it was asked to stop and saved, anything else it failed and log.txt says why.
"""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException

from resnet_repro.analysis.complexity import describe
from resnet_repro.analysis.gradients import gradient_diagnostics
from resnet_repro.analysis.responses import layer_responses
from resnet_repro.data.arrays import Arrays, load
from resnet_repro.data.catalogue import dataset
from resnet_repro.data.stream import EVALUATION_IMAGES, InMemoryData
from resnet_repro.errors import UserError
from resnet_repro.experiment import RunSettings
from resnet_repro.models import build
from resnet_repro.models.weights import save_weights, state_sha256
from resnet_repro.results import CHECKPOINT, FORMAT, LOCK, RECORD, RUN, WEIGHTS, Table, read_json, write_json
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.compilation import compiled_step, wants_compilation
from resnet_repro.training.devices import device_name
from resnet_repro.training.monitor import Checkpoints, Monitor

STOPPED = 143
LAUNCHER_LOST_GRACE_SECONDS = 60
LOCK_WAIT_SECONDS = LAUNCHER_LOST_GRACE_SECONDS + 10


@dataclass(frozen=True)
class Execution:
    """How a run is carried out: what may change a run's speed, not what it computes.

    threads is kept over resumes all the same, since sums of another number of threads differ in the last bits.
    """

    data_folder: str
    threads: int
    checkpoint_seconds: float
    commit: str | None


def train(folder: Path, settings: RunSettings, execution: Execution) -> str:
    """Train one run to its record. Returns "finished", "diverged" or "stopped" (saved; call again to go on).

    Raises UserError where the cached data are not those of the settings, OSError where the folder cannot be written.
    """
    device = torch.device("cuda", 0) if settings.device == "cuda" else torch.device(settings.device)
    if settings.device == "cpu":
        torch.set_num_threads(execution.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # fp32 is to mean float32
    arrays = _arrays(settings, Path(execution.data_folder))
    data = InMemoryData(arrays, settings.arm.recipe, settings.seed, settings.stop_at, device)
    net = build(settings.arm.model, arrays.facts.classes, settings.seed)
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = Classifier(net, settings.arm.recipe, settings.iterations)
    monitor = Monitor(settings, folder, data)
    checkpoints = Checkpoints(folder, execution.checkpoint_seconds, settings.stop_at)
    _stop_on_signals(checkpoints)
    monitor.say("starting", 0)
    compilation = _compile(module, data, settings)
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(settings.device, settings.device),
        devices=1,
        plugins=[LightningEnvironment()],  # a run is one process, also inside a Slurm job
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        max_steps=settings.stop_at,
        limit_val_batches=0,
        callbacks=[monitor, checkpoints],
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
    except SIGTERMException:
        checkpoints.stop_requested = True
    module.to(device)
    if checkpoints.stop_requested:
        monitor.say("stopped", trainer.global_step)
        return "stopped"
    status = "diverged" if monitor.diverged_at else "finished"
    _record(folder, settings, execution, arrays, module, monitor, status, compilation, trainer.global_step)
    checkpoint.unlink(missing_ok=True)
    monitor.say(status, trainer.global_step)
    return status


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


def _record(
    folder: Path,
    settings: RunSettings,
    execution: Execution,
    arrays: Arrays,
    module: Classifier,
    monitor: Monitor,
    status: str,
    compilation: str,
    step: int,
) -> None:
    """Score the finished network on all images, and write weights and record; the record last, as it says "done"."""
    final: dict[str, Any] = {}
    diagnostics = gradient_diagnostics(monitor.gradients.path, settings.iterations)
    net, device = module.net, module.device
    if status == "finished":
        monitor.say("evaluating", step)
        images = EVALUATION_IMAGES if settings.arm.control else monitor.data.images("train")
        final = monitor.score(module, step, images)
        monitor.metrics.complete(step, final)
        responses = layer_responses(net, monitor.data.batches("train", 1_000), device, settings.precision)
        table = Table(folder / "responses.csv", ("layer", "name", "std"))
        table.rewind(0)  # a kill may have left it from an earlier attempt
        table.append(
            {"iteration": step, "layer": i, "name": name, "std": std}
            for i, (name, std) in enumerate(responses, start=1)
        )
        diagnostics["mean_response"] = sum(std for _, std in responses) / len(responses)
        save_weights(net, folder / WEIGHTS)
    monitor.tick()
    facts = arrays.facts
    recipe = settings.arm.recipe
    write_json(
        folder / RECORD,
        {
            "format": FORMAT,
            "experiment": settings.experiment,
            "arm": settings.arm.name,
            "seed": settings.seed,
            "profile": settings.budget,
            "iterations": settings.stop_at,
            "status": status,
            "diverged_at": monitor.diverged_at or None,
            "final": final,
            "best": monitor.best or {},
            "diagnostics": diagnostics,
            "model": describe(settings.arm.model, facts.classes, facts.shape),
            "recipe": asdict(recipe),
            "dataset": {
                "name": facts.name,
                "title": facts.title,
                "digest": arrays.digest,
                "standin": facts.standin,
                "train_images": facts.train_images,
                "test_images": facts.test_images,
            },
            "precision": settings.precision,
            "device": settings.device,
            "hardware": device_name(settings.device),
            "threads": torch.get_num_threads() if settings.device == "cpu" else None,
            "compilation": compilation,
            "seconds": round(monitor.seconds, 1),
            "training_seconds": round(monitor.training_seconds, 1),
            "images_per_second": round(monitor.training_images / max(monitor.training_seconds, 1e-9), 1),
            "versions": _versions(),
            "commit": execution.commit,
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "weights_sha256": state_sha256(net.state_dict()) if status == "finished" else None,
            "settings": settings.to_json(),
        },
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("resnet-repro", "torch", "torchvision", "pytorch-lightning", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # the project's sources on the path, not installed
            versions[package] = "not installed"
    return versions


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

"""Train one run in this process: `python -m resnet_repro.training.train_run FOLDER`.

Reads run.json in the folder, trains from the last checkpoint or from scratch, and writes the record. Exit codes: 0 if
the run has its record, 143 if it saved a checkpoint and stopped on request, any other if it failed (see log.txt).
Several processes started by torchrun, or with its environment variables, train the run together.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from resnet_repro.config.execution import Execution
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import Data
from resnet_repro.data.cached_features import FeatureData
from resnet_repro.data.open_data import open_data
from resnet_repro.data.workers import loss_of_worker
from resnet_repro.diagnostics.along_training import DIAGNOSTICS, make_diagnostics
from resnet_repro.diagnostics.diagnostic import DiagnosticContext
from resnet_repro.distributed import ALONE, DistContext, dist_context
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.models import builder
from resnet_repro.models.recompute import recompute_activations
from resnet_repro.models.transfer import TransferNet
from resnet_repro.parsing import choice, plural
from resnet_repro.records.failures import NO_SPACE, SAID, is_no_space, no_space
from resnet_repro.records.layout import CHECKPOINT, LOCK, RECORD, RUN
from resnet_repro.records.lock import hold
from resnet_repro.records.progress import STOPPED, progress_of, write_progress
from resnet_repro.surroundings import make_independent
from resnet_repro.training.checkpoints import Checkpoints, InPlace
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.diagnostics_callback import DiagnosticsCallback
from resnet_repro.training.execution import choose_graph, choose_kernels
from resnet_repro.training.finish import RunInfo, finish, write_skipped
from resnet_repro.training.gradient_check import ensure_right_gradients
from resnet_repro.training.memory import choose_activations, peak_memory_mib
from resnet_repro.training.monitor import Monitor
from resnet_repro.training.start import Skip, first_weights, found_rate, pairing_key

LAUNCHER_LOST_GRACE_SECONDS = 60
LOCK_WAIT_SECONDS = LAUNCHER_LOST_GRACE_SECONDS + 10


def train(folder: Path, settings: RunSettings, execution: Execution, dist: DistContext = ALONE) -> str:
    """Train one run and write its record. Returns "finished", "diverged", "skipped" or "stopped" (call again to resume).

    dist: processes that train the run together. All of them must call this; rank 0 writes the run's files.
    Raises UserError if the data are not those of the settings or if the device computes wrong gradients, and OSError if
    the folder cannot be written.
    """
    device = torch.device("cuda", dist.local_rank) if settings.device == "cuda" else torch.device(settings.device)
    if settings.device == "cpu":
        torch.set_num_threads(execution.threads)
    elif settings.device == "cuda":
        if dist.local_rank >= (gpus := torch.cuda.device_count()):
            raise UserError(
                f"process {dist.local_rank} of this machine sees {plural(gpus, 'GPU')}: expected all GPUs of the machine "
                "in each process, without --gpus-per-task and --gpu-bind"
            )
        torch.cuda.set_device(device)
    # cuDNN's timing is not repeatable while other runs use the device, and may then choose slower algorithms.
    torch.backends.cudnn.benchmark = execution.memory_share == 1.0
    torch.backends.cudnn.allow_tf32 = False  # fp32 means float32, not TF32
    torch.backends.cuda.matmul.allow_tf32 = False
    ensure_right_gradients(device, settings.precision)
    data = open_data(settings, Path(execution.data_folder), device, dist, execution.workers, execution.skip_broken)
    with _output_folder(folder, dist) as output:
        outcome = _train(folder, output, settings, execution, data)
        dist.all_gather(None)  # the record exists before any of the processes ends
    return outcome


@contextlib.contextmanager
def _output_folder(folder: Path, dist: DistContext) -> Iterator[Path]:
    """The folder that this process writes: the run's folder on rank 0, a temporary one on other ranks."""
    if dist.is_main:
        yield folder
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)


def _train(folder: Path, output: Path, settings: RunSettings, execution: Execution, data: Data) -> str:
    device, dist = data.device, data.dist
    try:
        recipe, search = found_rate(folder, settings)
        net, parent = first_weights(folder, settings, data, execution.weights)
        batch = first_batch(data, math.ceil(recipe.batch_size / dist.size))
        activations, activation_bytes = choose_activations(
            settings.arm.activations, net, batch, settings.precision, execution.memory_share, dist
        )
    except Skip as skip:
        write_skipped(output, settings, data, str(skip), execution.commit)
        write_progress(folder, progress_of(folder) | {"status": "skipped"})
        print(f"skipped: {skip}", flush=True)
        return "skipped"
    key = pairing_key(net, settings)
    feature_seconds = None
    if settings.arm.features == "once":
        assert isinstance(net, TransferNet), f"{settings.arm.name} has no backbone: features='once' needs a TransferNet"
        begin = time.monotonic()
        data = FeatureData(data, net, net.features, settings.precision)
        feature_seconds = round(time.monotonic() - begin, 3)
        print(f"features of {data.images('train'):,} training images in {feature_seconds:.1f} s", flush=True)
    module = Classifier(net, recipe, settings.iterations, settings.seed, dist)
    monitor = Monitor(settings, output, data, parent, execution.memory_share)
    diagnostics = DiagnosticsCallback(
        make_diagnostics(DiagnosticContext(settings, output, data, device)), monitor, settings.iterations
    )
    for diagnostic in diagnostics.diagnostics.values():
        diagnostic.begin(net)
    checkpoints = Checkpoints(folder, execution.checkpoint_seconds, settings.stop_at, dist)
    checkpoints.follow_signals()
    checkpoint = folder / CHECKPOINT
    # A run that ends before its first step holds as many steps as before.
    monitor.say("starting", progress_of(folder).get("step") or 0 if checkpoint.exists() else 0)
    if activations == "recomputed":
        recompute_activations(net)
    compilation, remark = choose_kernels(module, batch, data, settings, execution, checkpoint, activations)
    monitor.remarks += [remark] if remark else []
    choose_graph(module, data, settings)
    step = 0
    if settings.stop_at:
        step = _fit(folder, settings, module, data, [monitor, diagnostics, checkpoints])
    module.to(device)
    if checkpoints.is_to_stop():
        monitor.say("stopped", step)
        return "stopped"
    monitor.read_rest(module, step)
    info = RunInfo(
        execution.commit,
        execution.begun_at,
        parent,
        key,
        search,
        feature_seconds,
        compilation,
        step=module.how_taken,
        activations=activations,
        activation_bytes=activation_bytes,
        peak_memory_mib=max(monitor.peak_memory_mib, peak_memory_mib(device)),
    )
    status = finish(module, monitor, diagnostics, info, step)
    may_continue = settings.prefix is not None and status == "finished"  # a longer prefix needs the checkpoint
    if dist.is_main and not may_continue:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    monitor.say(status, step)
    return status


def first_batch(data: Data, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `size` training images and their labels. Raises UserError if none of them can be read."""
    for batch in data.batches("train", size, size):
        return batch
    raise UserError(
        f"none of the first {size} training images of {data.facts.title} can be read: repair or remove them"
    )


def _fit(folder: Path, settings: RunSettings, module: Classifier, data: Data, callbacks: list[pl.Callback]) -> int:
    """Train from the last checkpoint or from scratch, until the end or a stop request. Returns the step reached."""
    dist = data.dist
    is_distributed = dist.size > 1
    # The callbacks replace the features switched off below. The Trainer provides devices and DDP, precision, the order of
    # hooks in a step, resuming within an epoch, and checkpoints in Lightning's format.
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(settings.device, settings.device),
        devices=dist.local_size,
        num_nodes=dist.size // dist.local_size,
        strategy=DDPStrategy() if is_distributed else "auto",
        use_distributed_sampler=False,
        # Explicit, since Lightning would guess: a run inside a Slurm job may be a single process.
        plugins=[TorchElasticEnvironment() if is_distributed else LightningEnvironment(), InPlace()],
        precision={"bf16": "bf16-mixed", "fp32": "32-true"}[settings.precision],  # type: ignore[arg-type]
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
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint if resumed else None, weights_only=True)
    return trainer.global_step


def _follow_launcher() -> None:
    """Stop this process when its standard input closes, which happens however its launcher ends."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAUNCHER_LOST_GRACE_SECONDS)
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the run's folder. Waits long enough for a process to save whose launcher has ended.

    Raises UserError if another process keeps training this run.
    """
    with hold(folder / LOCK, LOCK_WAIT_SECONDS) as is_free:
        if not is_free:
            raise UserError(f"another process trains {folder}: wait for it, or use another RUNS_DIR")
        yield


def _join(dist: DistContext) -> None:
    """Join the process group, at the address in torchrun's variables."""
    if dist.size > 1:
        if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):  # since torch 2.10
            # Lightning wraps the network on another stream. This is harmless, but causes a warning.
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, rank=dist.rank, world_size=dist.size)


def _say_no_space(folder: Path, error: BaseException) -> None:
    """Write into the log that the disk is full, if it has room for that."""
    chain: BaseException | None = error
    while chain is not None:  # a file that is open in one of the frames keeps its space
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
    try:
        print(f"\n{no_space(folder)}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:  # the exit code tells it; without the streams, Python would replace this code by its own
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _read(path: Path, run: Mapping[str, Any]) -> tuple[RunSettings, Execution]:
    """The settings and the execution in run.json at `path`. Raises UserError that names the file."""
    try:
        settings, execution = RunSettings.from_json(run.get("settings")), Execution.from_json(run.get("execution"))
        for name in settings.arm.watch:
            choice(name, DIAGNOSTICS, "measurement")
    except UserError as error:
        raise UserError(f"{path} cannot be executed: {error}") from error
    try:
        builder(settings.arm.model)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path} cannot be executed: unknown network {settings.arm.model.builder!r}") from error
    return settings, execution


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    make_independent("utf-8")  # of the log
    _follow_launcher()
    try:
        dist = dist_context(os.environ)
        with _lock(folder) if dist.is_main else contextlib.nullcontext():
            _join(dist)
            run = dist.broadcast(read_json(folder / RUN) if dist.is_main else None)
            if run is None:
                raise UserError(f"{folder} has no {RUN}: start runs with resnet-repro run")
            outcome = "finished"
            # A process of another launcher may have finished the run while this one waited for the lock.
            if not dist.broadcast((folder / RECORD).exists()):
                outcome = train(folder, *_read(folder / RUN, run), dist)
    except UserError as error:
        print(f"{SAID}{error}", file=sys.stderr, flush=True)
        return 2
    except (OSError, RuntimeError) as error:
        if is_no_space(error):
            _say_no_space(folder, error)
            return NO_SPACE
        if not isinstance(error, RuntimeError) or (reason := loss_of_worker(error)) is None:
            raise
        print(f"{SAID}{reason}", file=sys.stderr, flush=True)
        return 2
    if dist.size > 1:
        torch.distributed.destroy_process_group()
    return STOPPED if outcome == "stopped" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Runs that are stopped, killed or started twice lose no steps."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from conftest import QUARTER, make_settings, prepare_run, start_process, start_run
from trained_runs import content, run_here, steps_of, wait_for

from resnet_repro.config.arm import WarmUp
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.errors import UserError
from resnet_repro.models.cifar import cifar_net
from resnet_repro.records.record import read_record
from resnet_repro.tables import read_rows
from resnet_repro.training import monitor
from resnet_repro.training.checkpoints import Checkpoints
from resnet_repro.training.classifier import Classifier

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("signal_number", "code", "interruptions"),
    [
        (signal.SIGKILL, -9, (5, 13)),  # in the middle of the first and of the second epoch
        (signal.SIGTERM, 143, (5, 13)),
        (signal.SIGINT, 143, (11,)),
    ],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    signal_number: signal.Signals,
    code: int,
    interruptions: tuple[int, ...],
    whole_run: Path,
    tiny_data: Path,
    tmp_path: Path,
) -> None:
    settings = make_settings(tiny_data, 30)
    interval = 0.0 if signal_number == signal.SIGKILL else 60.0
    folder = prepare_run(tmp_path, settings, tiny_data, checkpoint_seconds=interval)
    for steps in interruptions:
        process = start_run(folder)
        wait_for(lambda steps=steps: steps_of(folder) >= steps)
        process.send_signal(signal_number)
        process.wait()
        assert process.returncode == code, (folder / "log.txt").read_text()
        assert (folder / "checkpoint.ckpt").exists()
        assert not (folder / "record.json").exists()
        assert steps_of(folder) < 30
    if signal_number == signal.SIGKILL:  # a line cut short by the kill
        with (folder / "metrics.csv").open("a") as file:
            file.write("29,3.")
    assert run_here(folder) == "finished"
    assert content(folder) == content(whole_run)


@pytest.mark.parametrize(("hook", "step"), [("on_train_batch_end", 5), ("on_train_start", 0)])
def test_a_signal_between_steps_is_handled_at_the_next_step(
    hook: str, step: int, whole_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes right after a step was handled, or before the first step."""
    folder = prepare_run(tmp_path, make_settings(tiny_data, 30), tiny_data)
    original = getattr(Checkpoints, hook)

    def interrupted(self: Checkpoints, trainer: pl.Trainer, *rest: object) -> None:
        original(self, trainer, *rest)
        if trainer.global_step == step:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Checkpoints, hook, interrupted)
    assert run_here(folder) == "stopped"
    assert steps_of(folder) == step + 1
    assert torch.load(folder / "checkpoint.ckpt", weights_only=True)["global_step"] == step + 1
    monkeypatch.undo()
    assert run_here(folder) == "finished"
    assert content(folder) == content(whole_run)


def test_a_run_stops_when_its_launcher_ends(tiny_data: Path, tmp_path: Path) -> None:
    folder = prepare_run(tmp_path, make_settings(tiny_data, 5_000), tiny_data)
    process = start_run(folder)
    wait_for(lambda: (folder / "metrics.csv").exists())
    assert process.stdin is not None
    process.stdin.close()  # as the kernel does when a launcher is killed
    assert process.wait(300) == 143
    assert (folder / "checkpoint.ckpt").exists()


def test_a_finished_run_is_not_trained_again(whole_run: Path) -> None:
    before = (whole_run / "record.json").read_bytes()
    assert start_run(whole_run).wait() == 0
    assert (whole_run / "record.json").read_bytes() == before
    assert (whole_run / "log.txt").read_text().count("starting plain-8") == 1


def test_a_full_disk_keeps_the_last_checkpoint(whole_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    """A limit on file size simulates the full disk: new checkpoints cannot be written."""
    folder = prepare_run(tmp_path, make_settings(tiny_data, 30), tiny_data, checkpoint_seconds=0.0)
    process = start_run(folder)
    wait_for(lambda: steps_of(folder) >= 4)
    process.kill()
    process.wait()
    saved = (folder / "checkpoint.ckpt").read_bytes()
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(saved) // 2, previous[1]))
    try:
        process = start_process(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
    process.wait()
    assert process.returncode not in (0, 143)
    assert (folder / "checkpoint.ckpt").read_bytes() == saved
    assert not list(folder.glob(".*.part"))
    process = start_run(folder)
    process.wait()
    assert process.returncode == 0
    assert content(folder) == content(whole_run)


def test_a_run_folder_is_locked_against_a_second_process(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_repro.training import train_run

    monkeypatch.setattr(train_run, "LOCK_WAIT_SECONDS", 0.1)
    folder = prepare_run(tmp_path, make_settings(tiny_data, 2), tiny_data)
    with train_run._lock(folder), pytest.raises(UserError, match=r"another process .*seed0"), train_run._lock(folder):
        pass
    with train_run._lock(folder):
        pass


# Several batches of the first half are below this threshold, so that one image near a tie does not decide the test.
WARM_UP = cifar_arm("plain", 8, replace(QUARTER, warm_up=WarmUp(0.01, until_error=80.0)))


def test_a_warm_up_ends_by_the_running_error_also_in_a_resumed_run(tiny_data: Path, tmp_path: Path) -> None:
    whole = prepare_run(tmp_path / "whole", make_settings(tiny_data, 60, WARM_UP), tiny_data)
    assert run_here(whole) == "finished"
    rows = read_rows(whole / "metrics.csv")
    under = next(int(row["iteration"]) for row in rows if float(row["running_train_error"]) < 80)
    record = read_record(whole)
    assert record.warmed_up_at == under
    assert 3 < under < 30, "the test needs a warm-up that ends in the first half"
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == [0.01] * under + [0.1] * (30 - under) + [0.01] * 15 + [0.001] * 15
    # Stopped once during the warm-up and once after it.
    folder = prepare_run(tmp_path / "parts", make_settings(tiny_data, 60, WARM_UP), tiny_data)
    for steps in (under - 2, under + 3):
        process = start_run(folder)
        wait_for(lambda steps=steps: steps_of(folder) >= steps)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143, (folder / "log.txt").read_text()
    assert run_here(folder) == "finished"
    assert content(folder) == content(whole)


def test_the_state_dict_does_not_depend_on_compilation() -> None:
    """A run can therefore resume without compilation, e.g. with several processes or without a compiler."""
    plain, compiled = (Classifier(cifar_net("plain", 8), HE15_CIFAR, 10) for _ in range(2))
    compiled.call_compiled(torch.compile(compiled.net, backend="eager"))
    assert list(compiled.state_dict()) == list(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(compiled.step_net(images), plain.step_net(images))
    earlier = {"state_dict": {**plain.state_dict(), "step_net._orig_mod.conv1.weight": torch.zeros(1)}}
    plain.on_load_checkpoint(earlier)
    plain.load_state_dict(earlier["state_dict"])


def test_checkpoints_do_not_use_the_folder_for_temporary_files(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    folder = prepare_run(tmp_path, make_settings(tiny_data, 3), tiny_data)
    monkeypatch.setattr("tempfile.mkstemp", full)
    assert run_here(folder) == "finished"


def test_a_machine_crash_loses_no_row_before_the_checkpoint(
    whole_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash loses all bytes that were not synced: each table keeps what the last checkpoint synced."""
    on_disk: dict[Path, bytes] = {}
    real = os.fsync

    def fsync(file: int) -> None:
        real(file)
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        if path.suffix == ".csv":
            on_disk[path] = path.read_bytes()

    class Crash(Exception):
        pass

    def crash(self: Checkpoints, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 13:
            self._save(trainer)
        if trainer.global_step == 17:
            raise Crash

    folder = prepare_run(tmp_path, make_settings(tiny_data, 30), tiny_data)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(monitor, "PROGRESS_SECONDS", 0.0)  # all rows are written, but only the checkpoint syncs them
        patch.setattr(Checkpoints, "on_train_batch_end", crash)
        with pytest.raises(Crash):
            run_here(folder)
    for name in ("metrics", "gradients"):
        table = folder / f"{name}.csv"
        written = read_rows(table)
        assert int(written[-1]["iteration"]) == 17
        table.write_bytes(on_disk[table])
        assert int(read_rows(table)[-1]["iteration"]) == 13
    assert run_here(folder) == "finished"
    assert content(folder) == content(whole_run)

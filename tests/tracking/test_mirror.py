"""The W&B mirror: modes, failures that must not affect training, one curve per run, uploads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_settings, prepare_run
from made_records import record_in

from resnet_repro.errors import UserError
from resnet_repro.tables import Table
from resnet_repro.tracking import mirror as tracking
from resnet_repro.tracking import sync

LOSSES = ("epoch", "learning_rate", "running_train_loss", "running_train_error")


def test_modes_and_their_aliases_are_parsed() -> None:
    modes = {"": "auto", "dryrun": "offline", "Online": "online", "disabled": "disabled"}
    assert {mode: tracking.parse_mode(mode, {}) for mode in modes} == modes
    assert tracking.parse_mode("online", {"WANDB_DISABLED": "true"}) == "disabled"
    with pytest.raises(UserError, match="WANDB_MODE"):
        tracking.parse_mode("sometimes")


def test_without_wandb_a_message_names_the_metrics_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    mirror = tracking.Mirror("auto", tmp_path)
    mirror.start([tmp_path / "run"])
    assert mirror.process is None
    assert "metrics.csv" in (mirror.message() or "")
    assert mirror.message() is None
    assert mirror.close() is None
    with pytest.raises(UserError, match="no runs"):
        sync.sync(tmp_path)


def test_unwritable_folder_gives_a_message_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("a file where the folder should be")
    mirror = tracking.Mirror("offline", tmp_path)
    mirror.start([tmp_path / "run"])
    assert "cannot record" in (mirror.message() or "")
    assert mirror.close() is None


def test_disabled_mirror_starts_no_process(tmp_path: Path) -> None:
    mirror = tracking.Mirror("disabled", tmp_path)
    mirror.start([tmp_path / "run"])
    assert mirror.process is None
    assert mirror.message() is None
    assert not (tmp_path / "wandb").exists()


@pytest.mark.slow
def test_training_imports_neither_wandb_nor_typst() -> None:
    code = (
        "import sys\nfor name in ('wandb', 'typst'): sys.modules[name] = None\nimport resnet_repro.training.train_run\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr


def _write_metrics(folder: Path, steps: range) -> None:
    table = Table(folder / "metrics.csv", LOSSES)
    table.rewind(steps.start - 1)
    table.append({"iteration": step, "running_train_loss": 1 / step} for step in steps)


def _mirror(runs: Path, folder: Path) -> Path:
    """Mirror a run's folder offline, from start to close. Returns the recording."""
    mirror = tracking.Mirror("offline", runs)
    mirror.start([folder])
    assert mirror.close() is None, (runs / "wandb" / "mirror.log").read_text()
    (recording,) = (runs / "wandb").glob("offline-run-*")
    return next(recording.glob("*.wandb"))


def _steps(recording: Path) -> list[int]:
    out = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(recording)],
        capture_output=True,
        text=True,
        check=True,
    )
    histories = [json.loads(line).get("history") for line in out.stdout.splitlines()]
    return [history["item"]["_step"] for history in histories if history]


@pytest.mark.slow
def test_resumed_run_has_one_curve(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 200.0)
    runs = tmp_path / "runs"
    folder = prepare_run(runs, make_settings(tiny_data, 10), tiny_data)
    _write_metrics(folder, range(1, 8))
    assert _steps(_mirror(runs, folder)) == list(range(1, 8))
    _write_metrics(folder, range(5, 11))  # resumed from step 4, trained to the end
    record_in(folder, make_settings(tiny_data, 10))
    assert _steps(_mirror(runs, folder)) == list(range(1, 11))


@pytest.mark.slow
def test_sync_without_an_account_says_how_to_log_in(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "")
    folder = prepare_run(tmp_path, make_settings(tiny_data, 10), tiny_data)
    _write_metrics(folder, range(1, 11))
    with pytest.raises(UserError, match="wandb login"):
        sync.sync(tmp_path)


def test_unreachable_server_does_not_delay_the_study(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 1.0)
    folder = prepare_run(tmp_path, make_settings(tiny_data, 10), tiny_data)
    _write_metrics(folder, range(1, 3))
    mirror = tracking.Mirror("online", tmp_path)
    mirror.start([folder])
    assert mirror.message() is None  # does not wait for W&B
    problem = mirror.close()
    assert problem is not None
    assert "1 run did not arrive" in problem
    assert mirror.process is not None
    assert mirror.process.poll() is not None

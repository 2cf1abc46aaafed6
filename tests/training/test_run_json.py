"""What a run's process reads from run.json: unknown values are refused, and nothing else is computed in their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_settings, prepare_run, start_run

from resnet_repro.errors import UserError
from resnet_repro.training.train_run import _read


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("settings precision", "fp16", "invalid precision 'fp16': expected one of bf16, fp32"),
        ("settings precision", "auto", "invalid precision 'auto'"),
        ("settings precision", 16, "of another version .*precision"),
        ("settings device", "xpu", "invalid device 'xpu': expected one of cpu, cuda, mps"),
        ("settings seed", -1, "invalid seed -1"),
        ("settings evaluate_every", 0, "invalid evaluate_every 0"),
        ("settings colour", "red", "unknown fields: colour"),
        ("settings arm recipe batch_size", 0, "invalid batch_size of plain-8 0"),
        ("settings arm recipe optimizer", "lamb", "'lamb'"),
        ("settings arm recipe scaling", "raw", "'raw'"),
        ("settings arm activations", "some", "'some'"),
        ("settings arm watch", ["weather"], "unknown measurement 'weather'"),
        ("settings arm model builder", "cifar.nothing", "unknown network 'cifar.nothing'"),
        ("settings arm model builder", "nothing", "unknown network 'nothing'"),
        ("execution threads", 0, "invalid threads 0"),
        ("execution threads", "two", "execution of another version .*threads"),
        ("execution memory_share", 2.0, "invalid memory_share 2.0"),
        ("execution workers", -1, "invalid workers -1"),
        ("execution colour", "red", "unknown fields: colour"),
        ("execution", None, "execution of another version"),
        ("settings", None, "settings of another version"),
    ],
)  # fmt: skip
def test_unknown_values_are_refused(place: str, value: Any, message: str, tiny_data: Path, tmp_path: Path) -> None:
    path = prepare_run(tmp_path, make_settings(tiny_data), tiny_data) / "run.json"
    run = json.loads(path.read_text())
    _read(path, run)
    *keys, last = place.split()
    entry = run
    for key in keys:
        entry = entry[key]
    entry[last] = value
    with pytest.raises(UserError, match=rf"run\.json cannot be executed: .*{message}"):
        _read(path, run)


def test_execution_of_earlier_versions_is_read(tiny_data: Path, tmp_path: Path) -> None:
    path = prepare_run(tmp_path, make_settings(tiny_data), tiny_data) / "run.json"
    _, execution = _read(path, json.loads(path.read_text()))  # only the fields of the first version
    assert (execution.memory_share, execution.workers, execution.skip_broken, execution.weights) == (
        1.0,
        0,
        False,
        None,
    )


@pytest.mark.slow
def test_run_of_an_unknown_precision_fails_without_a_record(tiny_data: Path, tmp_path: Path) -> None:
    folder = prepare_run(tmp_path, make_settings(tiny_data, 2, precision="fp16"), tiny_data)
    assert start_run(folder).wait() == 2
    log = (folder / "log.txt").read_text()
    assert "invalid precision 'fp16'" in log and "Traceback" not in log
    assert not (folder / "record.json").exists()

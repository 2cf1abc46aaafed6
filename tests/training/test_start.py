"""Runs that start from other runs: built networks, further training, their records, and rejected parents."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import QUARTER, cli, make_settings, prepare_run, start_run
from torch import nn
from trained_runs import content, run_here, steps_of, wait_for

import resnet_repro
from resnet_repro.config.arm import Arm, Start
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.inspect import forward_hooks
from resnet_repro.records.entries import Parent
from resnet_repro.records.progress import shown_progress
from resnet_repro.records.record import read_record
from resnet_repro.records.resume import state_of
from resnet_repro.tables import read_rows, series
from resnet_repro.training.start import pairing_key

pytestmark = pytest.mark.slow

EIGHTH = replace(QUARTER, batch_size=16, train_images=125)  # 8 steps per epoch


PARENT = cifar_arm("plain", 8, EIGHTH)


BUILT = cifar_arm("plain", 14, EIGHTH, name="plain-14-built", length=0, start=Start("plain-8", "deepen"))


ON = cifar_arm(
    "plain", 14, EIGHTH, name="plain-14-on", start=Start("plain-14-built", "copy"), watch=("distance", "inputs")
)


def settings_of(arm: Arm, data: Path, **changes: object) -> RunSettings:
    settings = make_settings(data, 20, arm, experiment="construction")
    values = {"iterations": round(20 * arm.length), "evaluate_every": 10, **changes}
    return replace(settings, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lineage(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Uninterrupted runs: a trained network, the deeper one built from it, and further training of the deeper one."""
    runs_dir = tmp_path_factory.mktemp("lineage")
    folders = {}
    for arm in (PARENT, BUILT, ON):
        folders[arm.name] = prepare_run(runs_dir, settings_of(arm, tiny_data), tiny_data)
        assert run_here(folders[arm.name]) == "finished"
    return folders


def test_a_built_net_has_its_parents_errors_and_names_its_parent(lineage: dict[str, Path]) -> None:
    parent, built = read_record(lineage["plain-8"]), read_record(lineage["plain-14-built"])
    for split, images in (("train", 125), ("test", 500)):
        error, loss = f"{split}_error", f"{split}_loss"
        # Up to rounding: an image may change class if its two best classes are that close.
        assert built.value(error) == pytest.approx(parent.value(error), abs=100 / images + 1e-9)
        assert built.value(loss) == pytest.approx(parent.value(loss), rel=1e-5)
        assert built.value(f"{error}_change") == built.value(error) - parent.value(error)  # type: ignore[operator]
    assert built.iterations == 0
    assert built.parent == Parent("construction", "plain-8", 0, parent.weights_sha256 or "", 20, 64_000)
    assert built.schedule == (20, 64_000)
    assert series(read_rows(built.folder / "metrics.csv"), "test_error")[0] == [0]


def test_a_perturbed_start_adds_kernels_of_the_runs_own_seed(lineage: dict[str, Path], tiny_data: Path) -> None:
    """The parent's blocks and the exact net's other weights are as they were; no draw moves."""
    assert BUILT.start is not None
    arm = replace(BUILT, name="plain-14-perturbed", start=replace(BUILT.start, perturbation=0.1))
    folder = prepare_run(lineage["plain-8"].parents[3], settings_of(arm, tiny_data), tiny_data)
    assert run_here(folder) == "finished"
    perturbed, exact = (resnet_repro.load_run(run).state_dict() for run in (folder, lineage["plain-14-built"]))
    own = net_of(arm).state_dict()
    added = {f"layer{stage}.1.conv{conv}.weight" for stage in (1, 2, 3) for conv in (1, 2)}
    for name, weight in perturbed.items():
        expected = exact[name] + (0.1 * own[name] if name in added else 0)
        assert torch.allclose(weight, expected, rtol=0, atol=1e-6), name


def test_further_training_starts_from_the_parents_weights(lineage: dict[str, Path]) -> None:
    built, further = read_record(lineage["plain-14-built"]), read_record(lineage["plain-14-on"])
    assert further.parent and further.parent.weights_sha256 == built.weights_sha256
    assert further.schedule == (40, 128_000)
    steps, distances = series(read_rows(further.folder / "distance.csv"), "distance")
    assert (steps[0], distances[0]) == (0, 0.0)
    assert distances[1] > 0
    ends = [
        torch.cat([p.detach().flatten() for p in resnet_repro.load_run(run.folder).parameters()])
        for run in (built, further)
    ]
    expected = float((ends[1] - ends[0]).norm() / ends[0].norm())
    assert further.value("distance") == pytest.approx(expected, rel=1e-5)
    assert distances[-1] == pytest.approx(expected, rel=1e-5)


def test_an_interrupted_run_resumes_from_its_checkpoint_not_its_parent(
    lineage: dict[str, Path], tiny_data: Path
) -> None:
    settings = settings_of(replace(ON, name="plain-14-again"), tiny_data)
    folder = prepare_run(lineage["plain-8"].parents[3], settings, tiny_data)
    process = start_run(folder)
    wait_for(lambda: steps_of(folder) >= 7)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert run_here(folder) == "finished"
    assert content(folder) == content(lineage["plain-14-on"])
    for table in ("distance.csv", "inputs.csv"):
        assert (folder / table).read_text() == (lineage["plain-14-on"] / table).read_text()


def test_a_run_whose_parent_changed_does_not_count_as_done(
    lineage: dict[str, Path], tiny_data: Path, tmp_path: Path
) -> None:
    folders = {}
    for arm in (PARENT, BUILT):
        folders[arm.name] = prepare_run(tmp_path, settings_of(arm, tiny_data), tiny_data)
        assert run_here(folders[arm.name]) == "finished"
    settings = settings_of(BUILT, tiny_data)
    assert state_of(folders["plain-14-built"], settings) == "done"
    record = json.loads((folders["plain-8"] / "record.json").read_text())
    (folders["plain-8"] / "record.json").write_text(json.dumps(record | {"weights_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"plain-8/seed0\b.*delete .*plain-14-built/seed0"):
        state_of(folders["plain-14-built"], settings)


def test_a_checkpoint_of_a_run_whose_parent_changed_is_rejected(tiny_data: Path, tmp_path: Path) -> None:
    further = replace(ON, start=Start("plain-8", "deepen"), watch=())
    parent = prepare_run(tmp_path, settings_of(PARENT, tiny_data), tiny_data)
    assert run_here(parent) == "finished"
    folder = prepare_run(tmp_path, settings_of(further, tiny_data), tiny_data, checkpoint_seconds=0.0)
    process = start_run(folder)
    wait_for(lambda: steps_of(folder) >= 3)
    process.kill()
    process.wait()
    (parent / "record.json").unlink()
    longer = replace(settings_of(PARENT, tiny_data), iterations=10)
    prepare_run(tmp_path, longer, tiny_data)
    assert run_here(parent) == "finished"
    with pytest.raises(UserError, match=r"plain-14-on/seed0 .*weights.* parent .*delete"):
        run_here(folder)


def test_a_run_whose_parent_diverged_is_skipped_with_the_reason(tiny_data: Path, tmp_path: Path) -> None:
    wild = cifar_arm("plain", 8, replace(EIGHTH, learning_rate=1e30))
    parent = prepare_run(tmp_path, settings_of(wild, tiny_data), tiny_data)
    assert run_here(parent) == "diverged"
    folder = prepare_run(tmp_path, settings_of(BUILT, tiny_data), tiny_data)
    assert run_here(folder) == "skipped"
    record = read_record(folder)
    assert record.status == "skipped" and shown_progress(folder)["status"] == "skipped"
    assert record.skipped and "plain-8 seed 0" in record.skipped and "diverged" in record.skipped
    assert record.value("test_error") is None


def test_a_skipped_run_is_tried_again(tiny_data: Path, tmp_path: Path) -> None:
    """The reason may be gone: there may be enough memory now, or a parent that did not diverge."""
    wild = cifar_arm("plain", 8, replace(EIGHTH, learning_rate=1e30))
    parent = prepare_run(tmp_path, settings_of(wild, tiny_data), tiny_data)
    run_here(parent)
    folder = prepare_run(tmp_path, settings_of(BUILT, tiny_data), tiny_data)
    assert run_here(folder) == "skipped"
    assert state_of(folder, settings_of(BUILT, tiny_data)) == "new"
    shutil.rmtree(parent)
    parent = prepare_run(tmp_path, replace(settings_of(PARENT, tiny_data), iterations=2), tiny_data)
    assert run_here(parent) == "finished"
    assert run_here(folder) == "finished"
    assert state_of(folder, settings_of(BUILT, tiny_data)) == "done"


def net_of(arm: Arm, seed: int = 0) -> nn.Module:
    return build(arm.model, 10, seed)


def test_the_pairing_key_depends_on_initialization_and_data_order_only(tiny_data: Path) -> None:
    """Pairing by seed needs the same first weights on the main path, and the same images in the same order."""
    plain = cifar_arm("plain", 20, HE15_CIFAR)
    key = pairing_key(net_of(plain), settings_of(plain, tiny_data))
    same = [
        cifar_arm("resnet", 20, HE15_CIFAR),
        cifar_arm("resnet", 20, HE15_CIFAR, shortcut="B"),
        cifar_arm("resnet", 20, HE15_CIFAR, shortcut="C"),
        cifar_arm("resnet", 20, HE15_CIFAR, span=1),
        cifar_arm("plain", 20, HE15_CIFAR, norm="group"),
        cifar_arm("plain", 20, replace(HE15_CIFAR, learning_rate=0.01)),
    ]
    for arm in same:
        assert pairing_key(net_of(arm), settings_of(arm, tiny_data)) == key, arm.name
    other = [
        cifar_arm("plain", 32, HE15_CIFAR),
        cifar_arm("plain", 20, replace(HE15_CIFAR, batch_size=4)),
        cifar_arm("plain", 20, replace(HE15_CIFAR, padding=0)),
        cifar_arm("plain", 20, replace(HE15_CIFAR, flip=False)),
        cifar_arm("plain", 20, replace(HE15_CIFAR, validation_images=100)),
        cifar_arm("plain", 20, replace(HE15_CIFAR, order="fixed")),
    ]
    for arm in other:
        assert pairing_key(net_of(arm), settings_of(arm, tiny_data)) != key, arm
    # Other first weights, as if from a trained network.
    assert pairing_key(net_of(plain, 1), settings_of(plain, tiny_data)) != key
    assert pairing_key(net_of(plain), settings_of(plain, tiny_data, seed=1)) != key
    assert pairing_key(net_of(plain), settings_of(plain, tiny_data, dataset_digest="0" * 64)) != key


def test_a_run_without_its_parent_names_the_missing_run(tiny_data: Path, tmp_path: Path) -> None:
    folder = prepare_run(tmp_path, settings_of(BUILT, tiny_data), tiny_data)
    with pytest.raises(UserError, match=r"plain-8/seed0 .*no finished run.*plain-14-built.*run plain-8"):
        run_here(folder)


SHALLOW_AND_DEEP = '''"""A net and the deeper one that is built from it.  A test."""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import below
from resnet_repro.config.families import cifar_arm
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.config.arm import Start
from resnet_repro.config.recipes import HE15_CIFAR


RECIPE = replace(HE15_CIFAR, batch_size=32, train_images=250)


def lineage() -> Experiment:
    built = cifar_arm("plain", 14, RECIPE, name="built", length=0, start=Start("plain-8", "deepen"))
    return Experiment(
        name="lineage", title="Lineage", question="?", source="a test", dataset="cifar10",
        arms=[cifar_arm("plain", 8, RECIPE), built],
        profiles=[Profile("quick", iterations=2, seeds=(0,), evaluations=1)],
        claims=[Claim("Q1", "a test", "It learns.", test=[below("test_error", "built", 100.0, unit="%")])],
        figures=[], published={}, published_note="", deviations=[],
    )
'''


def test_an_arm_brings_the_arm_that_it_starts_from(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "lineage.py").write_text(SHALLOW_AND_DEEP)
    arguments = [
        "run", "lineage", "--arms", "built", "--dataset", "standin-tiny", "--slots", "2", "--data-dir", tiny_data,
        "--runs-dir", tmp_path / "runs", "--no-report",
    ]  # fmt: skip
    process = cli(*arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    budget = tmp_path / "runs" / "lineage" / "quick-standin-tiny"
    parent, built = (read_record(budget / arm / "seed0") for arm in ("plain-8", "built"))
    assert built.parent and built.parent.weights_sha256 == parent.weights_sha256
    assert built.finished_at >= parent.finished_at
    # The parent is trained again and ends with other weights, as it may on other hardware.
    parent_data = json.loads((parent.folder / "record.json").read_text())
    stored = json.loads((built.folder / "record.json").read_text())
    stored["parent"]["weights_sha256"] = "0" * 64
    (built.folder / "record.json").write_text(json.dumps(stored))
    shutil.rmtree(parent.folder)
    process = cli(*arguments, cwd=tmp_path)
    assert process.returncode == 2
    assert f"delete {built.folder}" in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
    assert read_record(parent.folder).weights_sha256 == parent_data["weights_sha256"]


def test_missing_runs_of_another_experiment_are_named(tiny_data: Path, tmp_path: Path) -> None:
    process = cli(
        "run", "features", "--dataset", "standin-tiny", "--iterations", "2", "--seeds", "0,1", "--data-dir", tiny_data,
        "--runs-dir", tmp_path / "runs", "--reports-dir", tmp_path / "reports",
    )  # fmt: skip
    assert process.returncode == 2
    (message,) = process.stderr.strip().splitlines()
    for part in (
        "features",
        f"{tmp_path / 'runs'} ",
        "plain-20 seed 0, plain-56 seed 0, resnet-20 seed 0, resnet-56 seed 0 and 4 more",
        f"make degradation ITERATIONS=2 DATASET=standin-tiny SEEDS=0,1 RUNS_DIR={tmp_path / 'runs'}",
    ):
        assert part in message


def test_a_calibrated_net_has_the_mean_statistics_of_the_training_images(tiny_data: Path, tmp_path: Path) -> None:
    """Two batches of 16 images: the running statistics are their means, layer by layer, in training mode."""
    arm = cifar_arm("plain", 8, EIGHTH, length=0, calibrated_on=32)
    folder = prepare_run(tmp_path, settings_of(arm, tiny_data), tiny_data)
    assert run_here(folder) == "finished"
    net = resnet_repro.load_run(folder)
    untouched = build(arm.model, 10, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), untouched.parameters(), strict=True))
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    data = InMemoryData(arrays, StreamConfig(arm.recipe, 0, 1, torch.device("cpu")))
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def look(name: str, module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> None:
        seen.setdefault(name, []).append((x.mean((0, 2, 3)), x.var((0, 2, 3))))

    norms = [(name, module) for name, module in untouched.named_modules() if isinstance(module, nn.BatchNorm2d)]
    with forward_hooks(norms, look), torch.no_grad():
        for images, _ in data.batches("train", 32, size=16):
            untouched.train()(images)
    assert len(norms) == 7
    for name, _ in norms:
        norm = net.get_submodule(name)
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        for index, measured in enumerate((norm.running_mean, norm.running_var)):
            assert torch.allclose(measured, (seen[name][0][index] + seen[name][1][index]) / 2, rtol=1e-4, atol=1e-5)
        assert norm.momentum == 0.1

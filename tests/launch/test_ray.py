"""The Ray executor without a cluster: addresses, capacity of nodes, GPU shares."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from made_jobs import SMALL_LOAD, executor, job

from resnet_repro.errors import UserError
from resnet_repro.launch import ExecutorSpec, LaunchOptions, Load, Slot, ray_cluster
from resnet_repro.records.failures import NO_SPACE, EndedRun, failure_reason


def test_missing_ray_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"EXECUTOR=ray .*make setup-ray"):
        executor(LaunchOptions("ray"), tmp_path)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9 .*unset RAY_ADDRESS"),
        ("nowhere", "invalid RAY_ADDRESS 'nowhere': .*HOST:PORT"),
        ("host:port", "invalid RAY_ADDRESS 'host:port': .*HOST:PORT"),
        ("ray://127.0.0.1:10001", "invalid RAY_ADDRESS 'ray://127.0.0.1:10001': Ray Client"),
    ],
)
def test_invalid_addresses_are_rejected_at_once(address: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ray_cluster._check_answers(address)


def node(cpus: float, gpus: float = 0) -> dict:
    return {"Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("cpus", "gpus", "threads", "share", "room"),
    [
        (8, 0, 1, 0, 8), (8, 0, 3, 0, 2), (8, 0, 9, 0, 0), (8, 0, 1, 1, 0), (16, 4, 4, 1, 4), (16, 4, 2, 0.5, 8),
        (16, 4, 1, 0.3, 12), (2, 4, 1, 0.5, 2), (64, 8, 8, 4, 2),
    ],
)  # fmt: skip
def test_runs_that_fit_on_a_node(cpus: int, gpus: int, threads: int, share: float, room: int) -> None:
    assert ray_cluster._room(node(cpus, gpus), threads, share) == room


def test_threads_per_gpu_are_those_of_the_smallest_node() -> None:
    assert ray_cluster._threads_for([node(64, 8), node(16, 4)], 1) == 4
    assert ray_cluster._threads_for([node(64, 8)], 0.5) == 4
    assert ray_cluster._threads_for([node(2, 8)], 1) == 1


def test_small_runs_share_the_gpus_of_a_cluster() -> None:
    gpu = {"memory": 80 * 2**30}
    nodes = [node(64, 8), node(32, 4)]
    assert ray_cluster._shared(nodes, [gpu, gpu], 100, SMALL_LOAD, None) == (1 / 2, 4), "without MPS"
    through_mps = [gpu | {"mps": True}] * 2
    assert ray_cluster._shared(nodes, through_mps, 100, SMALL_LOAD, None) == (1 / 8, 1)
    assert ray_cluster._shared(nodes, [gpu, gpu | {"mps": True}], 100, SMALL_LOAD, None) == (1 / 2, 4)
    assert ray_cluster._shared(nodes, through_mps, 30, SMALL_LOAD, None) == (1 / 3, 2), "limited by the number of runs"
    assert ray_cluster._shared(nodes, through_mps, 100, SMALL_LOAD, 4) == (1 / 2, 4), "limited by THREADS"
    assert ray_cluster._shared(nodes, [{}, {}], 100, Load(1e12, 2**30), None) == (1.0, 8)


@pytest.mark.parametrize(
    ("share", "spread", "fits"),
    [(0.5, False, True), (1, False, True), (2, False, False), (4, True, True), (1.5, True, False)],
)
def test_gpu_share_must_be_a_fraction_or_whole_gpus(share: float, spread: bool, fits: bool, tmp_path: Path) -> None:
    spec = ExecutorSpec(LaunchOptions("ray", gpu_share=share), "fp32", tmp_path, "study", spread)
    with nullcontext() if fits else pytest.raises(UserError, match=f"invalid GPU_SHARE {share:g}"):
        assert spec.check() is spec


@pytest.mark.parametrize(
    ("gpus", "threads", "expected"),
    [
        (0.0, 6, (1, 6, 1.0)),
        (0.25, 3, (1, 3, 0.25)),
        (1.0, 8, (1, 8, 1.0)),
        (4.0, 32, (4, 8, 1.0)),
        (4.0, 2, (4, 1, 1.0)),
    ],
)
def test_processes_of_a_run_divide_its_threads(gpus: float, threads: int, expected: tuple[int, int, float]) -> None:
    on_cluster = object.__new__(ray_cluster.RayExecutor)
    on_cluster.kind, on_cluster.gpus, on_cluster.threads = "cuda" if gpus else "cpu", gpus, threads
    slot = on_cluster._slot()
    assert (slot.processes, slot.threads, slot.share) == expected
    assert slot.environment["OMP_NUM_THREADS"] == str(slot.threads) == str(slot.workers)


def test_a_worker_ended_for_lack_of_memory_is_told_in_one_sentence() -> None:
    """Ray's own message has 15 lines. Its last one is an advice about environment variables."""

    class OutOfMemoryError(Exception):
        pass

    words = "Task was killed due to the node running low on memory.\nTo revert to the legacy policy, set RAY_worker_..."
    assert ray_cluster._last_line(OutOfMemoryError(words)) == "Ray ended its worker because the node is out of memory"
    assert ray_cluster._last_line(RuntimeError("a\nthe module is missing")) == "the module is missing"
    assert ray_cluster._last_line(RuntimeError()) == "RuntimeError"


def test_a_run_that_cannot_be_prepared_says_so_as_bad_input_does(tmp_path: Path) -> None:
    def prepare(slot: Slot) -> None:
        raise UserError("CIFAR-10 cannot be downloaded: set DATA_MIRROR")

    one = job(tmp_path / "one", "", prepare=prepare)
    assert ray_cluster._execute(one, Slot("cpu", "Ray", 1)) == ("failed", [])
    assert EndedRun("one", one.log.parent, "failed").is_bad_input
    assert "CIFAR-10 cannot be downloaded" in failure_reason(one.log.parent)


def test_lines_that_a_full_disk_keeps_from_the_log_return_to_the_launcher(tmp_path: Path) -> None:
    outcome, lost = ray_cluster._execute(job(tmp_path / "one", f"raise SystemExit({NO_SPACE})"), Slot("cpu", "Ray", 1))
    assert outcome == "failed" and "No space left on device" in lost[-1]

"""Executors: retries, slots of a process group, data fetched once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import make_settings
from made_jobs import THIRD_TIME, job

from resnet_repro.config.execution import Execution
from resnet_repro.data.catalogue import dataset
from resnet_repro.data.sources import DataSources
from resnet_repro.distributed import DistContext
from resnet_repro.files import read_json
from resnet_repro.launch import ExecutorSpec, LaunchOptions, Slot, executor_for
from resnet_repro.launch.local import LocalExecutor, run_pool
from resnet_repro.launch.slots import plan_slots
from resnet_repro.study.run import Run


def test_local_executor_has_one_slot_per_process_of_a_group(tmp_path: Path) -> None:
    spec = ExecutorSpec(LaunchOptions(devices="cpu"), "fp32", tmp_path, "x", spread=True)
    local = executor_for(spec, DistContext(1, 2, 1, 2))
    assert isinstance(local, LocalExecutor)
    assert local.plan(7) == "1 at once on 2 processes together (cpu)"
    assert (local.kind, local.precision, local.leaves) == ("cpu", "fp32", False)


@pytest.mark.parametrize(
    ("retries", "outcome", "tries"), [(0, "failed", 1), (1, "failed", 2), (2, "done", 3), (5, "done", 3)]
)
def test_failed_run_is_retried_up_to_the_number_of_retries(
    retries: int, outcome: str, tries: int, tmp_path: Path
) -> None:
    one = job(tmp_path / "one", THIRD_TIME)
    assert run_pool([one], [Slot("cpu", "cpu", 1)], lambda: None, retries) == [outcome]
    assert len((tmp_path / "one" / "tries").read_text()) == tries
    assert one.log.exists() and one.log.read_text().count("trying again") == tries - 1


def test_decoding_workers_are_the_slots_share_of_the_cores() -> None:
    assert [slot.workers for slot in plan_slots(["cpu"], 2, runs=9, cores=16)] == [8, 8]
    assert [slot.workers for slot in plan_slots(["mps"], None, runs=9, cores=10)] == [10]
    assert [slot.workers for slot in plan_slots(["cuda:0", "cuda:1"], None, runs=9, cores=16)] == [8, 8]


def test_a_resumed_run_keeps_its_threads_its_begin_and_its_first_commit(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.study.run.commit", lambda: "0123456789ab+")
    execution = Execution(str(tiny_data), 1, 60.0, None)
    run = Run(make_settings(tiny_data), tmp_path, execution, dataset("standin-tiny"))
    prepare = run.job().prepare
    prepare(Slot("cpu", "cpu", 2))
    first = read_json(run.folder / "run.json") or {}
    (run.folder / "checkpoint.ckpt").touch()
    monkeypatch.setattr("resnet_repro.study.run.commit", lambda: "456789abcdef")
    monkeypatch.setattr("time.gmtime", lambda: time.struct_time((2030, 1, 1, 0, 0, 0, 0, 1, 0)))
    prepare(Slot("cpu", "cpu", 7))
    second = read_json(run.folder / "run.json") or {}
    assert second["execution"] == first["execution"] | {"commit": "0123456789ab+, 456789abcdef"}
    assert first["execution"]["begun_at"].startswith("20") and second["id"] == first["id"]
    (run.folder / "checkpoint.ckpt").unlink()
    prepare(Slot("cpu", "cpu", 7))
    third = (read_json(run.folder / "run.json") or {})["execution"]
    assert (third["threads"], third["commit"], third["begun_at"]) == (7, "456789abcdef", "2030-01-01T00:00:00Z")


def test_concurrent_runs_fetch_missing_data_once(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def obtain(name: str, sources: DataSources) -> None:
        fetched.append(f"{name} from {sources.mirror}")
        time.sleep(0.3)
        (sources.data_dir / "cache" / name).mkdir(parents=True)

    monkeypatch.setattr("resnet_repro.study.run.obtain", obtain)
    sources = DataSources(tmp_path / "data", "a mirror")
    execution = Execution(str(sources.data_dir / "cache" / "standin-tiny"), 0, 60.0, None)
    jobs = [
        Run(
            make_settings(tiny_data, 2, seed=seed), tmp_path / "runs", execution, dataset("standin-tiny"), sources
        ).job()
        for seed in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda job: job.prepare(Slot("cpu", "cpu", 1)), jobs))
    assert fetched == ["standin-tiny from a mirror"]

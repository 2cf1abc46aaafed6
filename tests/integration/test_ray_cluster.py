"""A Ray cluster of two nodes on this machine: runs survive lost workers and nodes, with the results of the local executor."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cluster_study import assert_same_bits, command, folder_of, steps_of, wait_until
from conftest import REPO

ray = pytest.importorskip("ray", reason="the package ray is not installed: make setup-ray installs it")


pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]


MINUTES = 60


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with one CPU each, and a head that executes no runs."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def start(arguments: list[str], cluster: Any, cwd: Path = REPO) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_repro.cli", *arguments, "--executor", "ray"],
        cwd=cwd,
        env=os.environ | {"RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes() -> dict[int, tuple[int, str]]:
    """{pid: (parent, command line)} of all processes."""
    by_pid = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            by_pid[int(path.name)] = parent, (path / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            continue  # the process has ended in the meantime
    return by_pid


def run_in(folder: Path) -> tuple[int, int] | None:
    """(pid of the run in `folder`, pid of the Ray worker that started it); None if the run has no process."""
    for pid, (parent, line) in processes().items():
        if "training.train_run" in line and str(folder) in line:
            return pid, parent
    return None


def node_of(worker: int, cluster: Any) -> Any:
    """The node of a Ray worker."""
    parent = processes()[worker][0]
    for node in cluster.worker_nodes:
        if any(info.process.pid == parent for infos in node.all_processes.values() for info in infos):
            return node
    raise AssertionError(f"{worker} belongs to no node")


def test_runs_survive_the_loss_of_a_worker_and_of_a_node(
    cluster: Any, by_this_machine: Path, tiny_data: Path, tmp_path: Path
) -> None:
    driver = start(command(tiny_data, tmp_path / "ray"), cluster)
    # The longest runs start first. After some steps one loses its worker, the other its node.
    first, second = (folder_of(tmp_path / "ray", arm) for arm in ("plain-56", "resnet-56"))
    wait_until(lambda: steps_of(first) >= 2 and run_in(first))
    pids = run_in(first)
    assert pids is not None
    os.kill(pids[1], signal.SIGKILL)
    wait_until(lambda: steps_of(second) >= 2 and run_in(second))
    pids = run_in(second)
    assert pids is not None
    cluster.remove_node(node_of(pids[1], cluster), allow_graceful=False)
    stdout, stderr = driver.communicate(timeout=20 * MINUTES)
    assert driver.returncode == 0, stderr
    print(stdout)
    for folder in (first, second):
        assert (folder / "log.txt").read_text().count("starting ") == 1
        assert (folder / "log.txt").read_text().count("resuming ") >= 1
    assert_same_bits(tmp_path / "ray", by_this_machine)
    assert (tmp_path / "ray" / "reports" / "degradation.pdf").exists()


def test_ctrl_c_cancels_only_the_runs_of_the_study(cluster: Any, tiny_data: Path, tmp_path: Path) -> None:
    ray.init(address=cluster.address, log_to_driver=False)
    unrelated = ray.remote(num_cpus=0)(lambda: time.sleep(3_600)).remote()
    driver = start(command(tiny_data, tmp_path, "--iterations", "500"), cluster)
    folder = tmp_path / "runs" / "degradation" / "500it-standin-tiny" / "plain-56" / "seed0"
    wait_until(lambda: steps_of(folder) >= 1 and run_in(folder))
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=2 * MINUTES)
    assert driver.returncode == 130, stderr
    assert "run the same command to resume" in stderr
    assert (folder / "checkpoint.ckpt").exists() and json.loads((folder / "progress.json").read_text())[
        "status"
    ] == "stopped"
    assert run_in(folder) is None
    assert not ray.wait([unrelated], timeout=1)[0]
    assert len([node for node in ray.nodes() if node["Alive"]]) == 3


def test_failing_run_is_retried_and_then_reported(cluster: Any, tiny_data: Path, tmp_path: Path) -> None:
    (folder_of(tmp_path, "plain-20") / "metrics.csv").mkdir(parents=True)  # a folder in place of a file of the run
    arguments = command(tiny_data, tmp_path, "--arms", "plain-20,resnet-20", "--retries", "2")
    driver = start(arguments, cluster)
    _, stderr = driver.communicate(timeout=10 * MINUTES)
    assert driver.returncode == 1
    assert "plain-20 seed 0" in stderr and "IsADirectoryError" in stderr
    log = (folder_of(tmp_path, "plain-20") / "log.txt").read_text()
    assert len(re.findall(r"\b[12] of 2\b", log)) == 2 and log.count("Traceback") >= 3
    assert (folder_of(tmp_path, "resnet-20") / "record.json").exists()


def test_requests_larger_than_every_node_are_rejected(cluster: Any, tiny_data: Path, tmp_path: Path) -> None:
    for more, pattern in (
        (("--threads", "2"), "2 CPU threads .* 1 thread"),
        (("--devices", "cuda", "--gpu-share", "0.5"), "0.5 GPU and 1 CPU thread"),
    ):
        driver = start(command(tiny_data, tmp_path, *more), cluster)
        _, stderr = driver.communicate(timeout=2 * MINUTES)
        assert driver.returncode == 2 and re.search(pattern, stderr) and len(stderr.strip().splitlines()) == 1, stderr
    assert not (tmp_path / "runs" / "degradation").exists()


def test_runs_dir_that_a_node_cannot_see_is_named(cluster: Any, tiny_data: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "runs"
    hidden.mkdir()
    if not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("a node with separate file systems needs unshare and root")
    script = f"mount -t tmpfs none {hidden} && exec {sys.executable} -m ray.scripts.scripts start --address={cluster.address} "
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script + "--num-cpus=1 --block"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        wait_until(lambda: sum(entry["Alive"] for entry in ray.nodes()) == 4, 60)
        driver = start(command(tiny_data, tmp_path), cluster)
        _, stderr = driver.communicate(timeout=3 * MINUTES)
        assert driver.returncode == 2, stderr
        assert f"RUNS_DIR={hidden} " in stderr and "node" in stderr and len(stderr.strip().splitlines()) == 1, stderr
        assert not (hidden / "degradation").exists()
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait(60)

"""A Ray cluster of two nodes on this machine: runs outlive their workers and nodes, and end with the local executor's bits."""

from __future__ import annotations

import json
import os
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
    """Two nodes of one CPU each, besides a head that takes no runs."""
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
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(path.name)] = parent, (path / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return found


def run_in(folder: Path) -> tuple[int, int] | None:
    """(process of the run in `folder`, the Ray worker that has started it)."""
    for pid, (parent, line) in processes().items():
        if "training.train_run" in line and str(folder) in line:
            return pid, parent
    return None


def node_of(worker: int, cluster: Any) -> Any:
    """The node of the cluster to which a worker belongs."""
    parent = processes()[worker][0]
    for node in cluster.worker_nodes:
        if any(info.process.pid == parent for infos in node.all_processes.values() for info in infos):
            return node
    raise AssertionError(f"{worker} belongs to no node")


def test_runs_outlive_a_worker_and_a_node_and_end_with_the_bits_of_the_local_executor(
    cluster: Any, by_this_machine: Path, tiny_data: Path, tmp_path: Path
) -> None:
    driver = start(command(tiny_data, tmp_path / "ray"), cluster)
    # The longest start first. One loses its worker, the other its node, both with steps behind them.
    first, second = (folder_of(tmp_path / "ray", arm) for arm in ("plain-56", "resnet-56"))
    wait_until(lambda: steps_of(first) >= 2 and run_in(first))
    found = run_in(first)
    assert found is not None
    os.kill(found[1], signal.SIGKILL)
    wait_until(lambda: steps_of(second) >= 2 and run_in(second))
    found = run_in(second)
    assert found is not None
    cluster.remove_node(node_of(found[1], cluster), allow_graceful=False)
    stdout, stderr = driver.communicate(timeout=20 * MINUTES)
    assert driver.returncode == 0, stderr
    print(stdout)
    for folder in (first, second):
        assert (folder / "log.txt").read_text().count("starting ") == 1
        assert (folder / "log.txt").read_text().count("resuming ") >= 1
    assert_same_bits(tmp_path / "ray", by_this_machine)
    assert (tmp_path / "ray" / "reports" / "degradation.pdf").exists()


def test_ctrl_c_cancels_what_it_started_and_nothing_else(cluster: Any, tiny_data: Path, tmp_path: Path) -> None:
    ray.init(address=cluster.address, log_to_driver=False)
    innocent = ray.remote(num_cpus=0)(lambda: time.sleep(3_600)).remote()
    driver = start(command(tiny_data, tmp_path, "--iterations", "500"), cluster)
    folder = tmp_path / "runs" / "degradation" / "500it-standin-tiny" / "plain-56" / "seed0"
    wait_until(lambda: steps_of(folder) >= 1 and run_in(folder))
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=2 * MINUTES)
    assert driver.returncode == 130, stderr
    assert "run the same command to go on" in stderr
    assert (folder / "checkpoint.ckpt").exists() and json.loads((folder / "progress.json").read_text())[
        "status"
    ] == "stopped"
    assert run_in(folder) is None
    assert not ray.wait([innocent], timeout=1)[0]
    assert len([node for node in ray.nodes() if node["Alive"]]) == 3


def test_a_run_that_fails_by_itself_is_tried_again_and_then_named(
    cluster: Any, tiny_data: Path, tmp_path: Path
) -> None:
    (folder_of(tmp_path, "plain-20") / "metrics.csv").mkdir(
        parents=True
    )  # a folder where the run wants to write a file
    arguments = command(tiny_data, tmp_path, "--arms", "plain-20,resnet-20", "--retries", "2")
    driver = start(arguments, cluster)
    _, stderr = driver.communicate(timeout=10 * MINUTES)
    assert driver.returncode == 1
    assert "plain-20 seed 0" in stderr and "IsADirectoryError" in stderr
    log = (folder_of(tmp_path, "plain-20") / "log.txt").read_text()
    assert log.count("trying again") == 2 and log.count("Traceback") >= 3
    assert (folder_of(tmp_path, "resnet-20") / "record.json").exists()


def test_what_the_cluster_can_never_meet_is_refused_at_once(cluster: Any, tiny_data: Path, tmp_path: Path) -> None:
    for more, sentence in (
        (("--threads", "2"), "a run asks for 2 CPU threads of one node, and the largest of the cluster has 1 threads"),
        (("--devices", "cuda", "--gpu-share", "0.5"), "a run asks for 0.5 GPU and 1 CPU thread of one node"),
    ):
        driver = start(command(tiny_data, tmp_path, *more), cluster)
        _, stderr = driver.communicate(timeout=2 * MINUTES)
        assert driver.returncode == 2 and sentence in stderr and len(stderr.strip().splitlines()) == 1, stderr
    assert not (tmp_path / "runs" / "degradation").exists()


def test_a_folder_that_a_node_does_not_see_is_named(cluster: Any, tiny_data: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "runs"
    hidden.mkdir()
    if not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("a node with file systems of its own needs unshare and root")
    script = f"mount -t tmpfs none {hidden} && exec {sys.executable} -m ray.scripts.scripts start --address={cluster.address} "
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script + "--num-cpus=1 --block"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        wait_until(lambda: sum(one["Alive"] for one in ray.nodes()) == 4, 60)
        driver = start(command(tiny_data, tmp_path), cluster)
        _, stderr = driver.communicate(timeout=3 * MINUTES)
        assert driver.returncode == 2, stderr
        assert f"RUNS_DIR={hidden} is not seen by node" in stderr and len(stderr.strip().splitlines()) == 1, stderr
        assert not (hidden / "degradation").exists()
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait(60)

"""A Slurm of one node on this machine: studies as arrays, requeuing before the time limit, dependencies, errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_study import ARMS, assert_same_bits, command, folder_of, steps_of, wait_until
from conftest import cli_process

NODE = Path(__file__).with_name("slurm_node.sh")


NEEDED = ("sbatch", "slurmctld", "slurmd", "munged")


pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        any(shutil.which(name, path=f"{os.environ.get('PATH')}:/usr/sbin") is None for name in NEEDED),
        reason="Slurm is not installed: apt-get install --no-install-recommends slurm-wlm munge",
    ),
    pytest.mark.skipif(os.getuid() != 0, reason="starting Slurm needs root"),
]


SLURM = ("--executor", "slurm", "--devices", "cpu")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    for parent in list(folder.parents)[:3]:
        parent.chmod(0o755)  # munged does not run as root, and its files are below
    environment = os.environ | {"PATH": f"{os.environ.get('PATH')}:/usr/sbin"}
    subprocess.run([NODE, "start", folder], check=True, env=environment)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield
    subprocess.run(["scancel", "--me"], check=False)
    wait_until(lambda: not ask("squeue", "--noheader", "--me").strip(), 60)  # else jobs would report to the next Slurm
    del os.environ["SLURM_CONF"]
    subprocess.run([NODE, "stop", folder], check=True, env=environment)


def ask(*words: str) -> str:
    answer = subprocess.run(words, capture_output=True, text=True)
    assert answer.returncode == 0, f"{words}: {answer.stderr}"
    return answer.stdout


def test_signalled_array_element_is_requeued_and_resumes(
    slurm: None, by_this_machine: Path, tiny_data: Path, tmp_path: Path
) -> None:
    submitted = cli_process(*command(tiny_data, tmp_path, *SLURM, "--time", "30"))
    assert submitted.returncode == 0, submitted.stderr
    number = re.search(r"submitted 4 runs as job (\d+)", submitted.stdout)
    assert number, submitted.stdout
    again = cli_process(*command(tiny_data, tmp_path, *SLURM))
    assert re.search(r"\b4 runs .*queued", again.stdout) and "submitted 4" not in again.stdout
    # The first element is the longest run, plain-56 or resnet-56.
    first = wait_until(
        lambda: next((arm for arm in ("plain-56", "resnet-56") if steps_of(folder_of(tmp_path, arm)) >= 2), None)
    )
    elements = ask("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%K")
    place = {arm: place for place, arm in enumerate(_arms_of(tmp_path))}[first]
    assert str(place) in elements.split()
    element = f"{number[1]}_{place}"
    # Slurm sends this signal before the time limit. If other elements wait, scancel sends it but returns an error.
    subprocess.run(["scancel", "--signal=USR1", "--batch", element], capture_output=True)
    outputs = tmp_path / "runs" / "slurm"
    wait_until(lambda: any(re.search("saved.*queued", path.read_text()) for path in outputs.glob(f"*/{place}.txt")))
    wait_until(lambda: "PENDING" in ask("scontrol", "show", "job", element))
    status = cli_process("status", "degradation", "--runs-dir", tmp_path / "runs")
    assert re.search(rf"waiting\s+{first}|running\s+{first}", status.stdout), status.stdout
    ask("scontrol", "update", f"JobId={element}", "StartTime=now")  # else Slurm waits for two minutes
    wait_until(lambda: all((folder_of(tmp_path, arm) / "record.json").exists() for arm in ARMS), 900)
    assert "resuming" in (folder_of(tmp_path, first) / "log.txt").read_text()
    assert_same_bits(tmp_path, by_this_machine)
    wait_until(lambda: not ask("squeue", "--noheader", "--me").strip(), 60)
    report = cli_process(
        "report", "degradation", "--runs-dir", tmp_path / "runs", "--reports-dir", tmp_path / "reports"
    )
    assert report.returncode == 0 and (tmp_path / "reports" / "degradation.pdf").exists()
    done = cli_process(*command(tiny_data, tmp_path, *SLURM))
    assert "4 of 4 runs are finished" in done.stdout and "submitted 4" not in done.stdout


def _arms_of(folder: Path) -> list[str]:
    """The arms in the order of the array's elements."""
    import json

    (path,) = (folder / "runs" / "slurm").glob("*/jobs.json")
    return [Path(job["marker"]).parents[1].name for job in json.loads(path.read_text())["jobs"]]


def test_runs_wait_for_the_runs_they_start_from(slurm: None, tiny_data: Path, tmp_path: Path) -> None:
    process = cli_process(
        "run", "construction", "--dataset", "standin-tiny", "--iterations", "2", "--arms", "plain-20-on", "--data-dir",
        tiny_data, "--runs-dir", tmp_path / "runs", *SLURM,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    number = re.search(r"submitted 2 runs as job (\d+), (\d+)", process.stdout)
    assert number, process.stdout
    assert f"afterany:{number[1]}" in ask("scontrol", "show", "job", number[2])
    records = wait_until(
        lambda: len(paths := list((tmp_path / "runs" / "construction").rglob("record.json"))) == 2 and paths, 300
    )
    assert {path.parents[1].name for path in records} == {"plain-20", "plain-20-on"}


def test_error_of_sbatch_is_reported_in_one_sentence(slurm: None, tiny_data: Path, tmp_path: Path) -> None:
    process = cli_process(*command(tiny_data, tmp_path, *SLURM, "--partition", "nowhere"))
    assert process.returncode == 2
    assert len(process.stderr.strip().splitlines()) == 1 and "invalid partition specified: nowhere" in process.stderr
    assert not ask("squeue", "--noheader", "--me").strip()
    assert not list((tmp_path / "runs" / "slurm").iterdir())

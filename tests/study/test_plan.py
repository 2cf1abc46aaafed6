"""Plans: states of runs, their time, energy and disk space, from records and timed steps."""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import REPO, THREADS, cli, one_sentence
from made_records import record_in

from resnet_repro.cli import build_parser
from resnet_repro.commands.runs import request_of
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import CATALOGUE, CIFAR10, DatasetFacts
from resnet_repro.data.sources import DataSources, foresee
from resnet_repro.design.experiment import Experiment
from resnet_repro.files import write_json
from resnet_repro.hardware import CORE_WATTS, device_name
from resnet_repro.records.layout import CHECKPOINT, PROGRESS, RECORD, RUN, WEIGHTS
from resnet_repro.records.record import collect, only_trained
from resnet_repro.study import plan as plan_module
from resnet_repro.study.estimate import makespan
from resnet_repro.study.plan import Plan, plan_of
from resnet_repro.study.plan_lines import cost_lines, heading, run_rows
from resnet_repro.study.room import Room, needed, room_for
from resnet_repro.study.run import Run
from resnet_repro.terminal import amount, duration, span
from resnet_repro.training.calibration import MOST_STEPS, seconds_per_image

STEPS = 100
ARMS = ("plain-20", "plain-56", "resnet-20")


@pytest.fixture(autouse=True)
def _no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr("resnet_repro.commands.planning.REFERENCE", tmp_path / "reference")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the timing of steps by a made-up one of 1 to 2 seconds per 1e9 multiply-adds; lists the arms timed."""
    arms: list[str] = []

    def clock(settings: RunSettings, facts: DatasetFacts, seconds: float) -> list[float]:
        arms.append(settings.arm.name)
        return [1e-9, 2e-9]

    monkeypatch.setattr(plan_module, "_clock_for", lambda *_: clock)
    return arms


def planned(data: Path, runs: Path, *words: str) -> Plan:
    """The plan of `degradation` for 100 steps on the tiny stand-in."""
    common = ("--iterations", STEPS, "--arms", ",".join(ARMS), "--dataset", "standin-tiny", "--data-dir", data)
    options = build_parser().parse_args(
        ["run", "degradation", *map(str, common), "--precision", "fp32", "--runs-dir", str(runs), *words]
    )
    return plan_of(request_of(options))


def write_record(run: Run, seconds: float, **changes: object) -> None:
    """The record of a finished run on this machine."""
    run.folder.mkdir(parents=True, exist_ok=True)
    alike = {"hardware": device_name("cpu"), "device": "cpu", "precision": "fp32", "threads": 1, "iterations": STEPS}
    record_in(run.folder, run.settings, **(alike | {"seconds": seconds} | changes))


def runs_in(plan: Plan) -> dict[str, Run]:
    return {p.run.name: p.run for p in plan.runs}


def files_below(*folders: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime for folder in folders for path in folder.rglob("*")}


def test_runs_are_planned_by_state_and_nothing_is_written(tiny_data: Path, tmp_path: Path, timed: list[str]) -> None:
    runs = tmp_path / "runs"
    by_name = runs_in(planned(tiny_data, runs, "--seeds", "0-1"))
    write_record(by_name["plain-20 seed 0"], 30.0)
    stopped = by_name["plain-56 seed 0"]
    stopped.folder.mkdir(parents=True)
    with zipfile.ZipFile(stopped.folder / CHECKPOINT, "w"):
        pass
    write_json(stopped.folder / RUN, {"settings": stopped.settings.to_json(), "execution": {"threads": 1}})
    write_json(stopped.folder / PROGRESS, {"status": "stopped", "step": 40, "steps": STEPS, "seconds": 20.0})
    other = replace(by_name["resnet-20 seed 1"].settings, experiment="shortcuts")
    elsewhere = runs / "shortcuts" / "100it-standin-tiny" / "resnet-20" / "seed1"
    elsewhere.mkdir(parents=True)
    record_in(elsewhere, other)
    (elsewhere / WEIGHTS).touch()
    before = files_below(tmp_path, tiny_data)
    plan = planned(tiny_data, runs, "--seeds", "0-1")
    assert files_below(tmp_path, tiny_data) == before, "a plan writes nothing"
    states = {p.run.name: (p.state, p.steps) for p in plan.runs}
    assert states == {
        "plain-20 seed 0": ("finished", 0),
        "plain-20 seed 1": ("missing", STEPS),
        "plain-56 seed 0": ("resumable", STEPS - 40),
        "plain-56 seed 1": ("missing", STEPS),
        "resnet-20 seed 0": ("missing", STEPS),
        "resnet-20 seed 1": ("shared", 0),
    }
    assert heading("degradation", plan).startswith(
        "degradation 100it-standin-tiny: 1 finished, 1 resumable, 1 shared, 3 missing; "
    )
    rows = run_rows(plan)
    assert ("resnet-20", "1", "shared with shortcuts", "", "", "") in rows
    assert [row[3] for row in rows if row[0] == "plain-56"] == ["60", "100"]


def test_times_are_those_of_records_of_like_hardware_and_precision(
    tiny_data: Path, tmp_path: Path, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.hardware.cpu_cores", lambda: 2)
    runs = tmp_path / "runs"
    by_name = runs_in(planned(tiny_data, runs, "--seeds", "0-5"))
    for seed, seconds in ((0, 30.0), (1, 40.0)):
        write_record(by_name[f"plain-20 seed {seed}"], seconds)
    for seed, unlike in enumerate(({"hardware": "another"}, {"threads": 2}, {"processes": 2}, {"iterations": 9}), 2):
        write_record(by_name[f"plain-20 seed {seed}"], 5.0, **unlike)
    timed.clear()
    plan = planned(tiny_data, runs, "--seeds", "0-6")
    assert plan.times["plain-20 seed 6"] == (pytest.approx(30), pytest.approx(40), "2 records")
    assert plan.times["plain-56 seed 0"][2] == "steps timed here"
    assert timed == ["plain-56", "resnet-20"], "each network without a record once, the longest first"
    ratio = plan.times["plain-56 seed 0"][1] / plan.times["plain-56 seed 0"][0]
    assert ratio == pytest.approx(2), "the range is that of the timed steps"
    line = cost_lines(plan, runs)[0]
    assert line.startswith("time: ") and "over all runs" in line


def test_an_unfinished_run_continues_at_its_own_speed(
    tiny_data: Path, tmp_path: Path, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "here")
    monkeypatch.setattr("resnet_repro.hardware.cpu_cores", lambda: 2)
    (name, run), *_ = runs_in(planned(tiny_data, tmp_path / "runs")).items()
    run.folder.mkdir(parents=True)
    with zipfile.ZipFile(run.folder / CHECKPOINT, "w"):
        pass
    write_json(run.folder / RUN, {"settings": run.settings.to_json(), "execution": {"threads": 1}})
    state = {"status": "stopped", "step": 50, "steps": STEPS, "seconds": 200.0, "host": "here"}
    write_json(run.folder / PROGRESS, state)
    plan = planned(tiny_data, tmp_path / "runs")
    assert plan.times[name] == (pytest.approx(200), pytest.approx(200), "its first 50 steps")
    write_json(run.folder / PROGRESS, state | {"host": "there"})
    other = planned(tiny_data, tmp_path / "runs")
    assert other.times[name][2] == "steps timed here"


def test_networks_that_there_is_no_time_for_get_the_range_of_the_others(
    tiny_data: Path, tmp_path: Path, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.study.estimate.MOST_SECONDS", 0.0)
    monkeypatch.setattr("resnet_repro.hardware.cpu_cores", lambda: 2)
    run = runs_in(planned(tiny_data, tmp_path / "runs"))["plain-20 seed 0"]
    write_record(run, 30.0)
    plan = planned(tiny_data, tmp_path / "runs", "--seeds", "0-1")
    assert not timed
    sources = {name: source for name, (*_, source) in plan.times.items()}
    assert sources.pop("plain-20 seed 1") == "1 record" and set(sources.values()) == {"other networks"}
    (run.folder / RECORD).unlink()
    unknown = planned(tiny_data, tmp_path / "runs")
    assert unknown.seconds is None and cost_lines(unknown, tmp_path)[0].startswith(
        "time: unknown for 3 runs: no record"
    )


def test_energy_is_estimated_from_watts_or_measured(
    tiny_data: Path, tmp_path: Path, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.hardware.cpu_cores", lambda: 2)
    runs = tmp_path / "runs"
    plan = planned(tiny_data, runs, "--seeds", "0-1")
    assert plan.energy is not None
    least, _, source = plan.energy
    assert least == pytest.approx(sum(low for low, *_ in plan.times.values()) * CORE_WATTS / 3.6e6)
    assert source == f"estimated; stated: {CORE_WATTS:g} W per core"
    for name, run in runs_in(plan).items():
        if name.endswith("0"):
            write_record(run, 36.0, energy={"joules": 72_000.0, "measured": True, "basis": "RAPL"})
    plan = planned(tiny_data, runs, "--seeds", "0-1")
    assert plan.energy == (pytest.approx(0.06), pytest.approx(0.06), "as measured in records of such runs")


@pytest.mark.parametrize(
    ("at_once", "waits", "expected"),
    [(1, {}, 10.0), (2, {}, 5.0), (4, {}, 4.0), (2, {"b": "a"}, 7.0), (4, {"b": "a", "c": "b"}, 9.0)],
)
def test_makespan(at_once: int, waits: dict[str, str], expected: float) -> None:
    """Runs of 4, 3, 2 and 1 seconds, in this order. waits: {run: the run that it waits for}."""

    class Made(Run):
        def __init__(self, name: str) -> None:
            self.name, self.folder = name, Path(name)
            self.sources = [Path(waits[name])] if name in waits else []

    runs = [Made(name) for name in "abcd"]
    assert makespan(dict(zip("abcd", (4.0, 3.0, 2.0, 1.0), strict=True)), runs, at_once) == expected


def test_steps_are_timed_without_touching_random_numbers(tiny_data: Path, tmp_path: Path) -> None:
    run = runs_in(planned_settings(tiny_data, tmp_path))["plain-20 seed 0"]
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    cpu = torch.device("cpu")
    (idle, passed) = seconds_per_image(run.settings, 10, (3, 8, 8), cpu, 1, 4, 0.0)
    assert 0 < idle <= passed < 60, "one timed step, although no time is left"
    several = seconds_per_image(run.settings, 10, (3, 8, 8), cpu, 1, 4, 60.0)
    assert len(several) == 2 * MOST_STEPS
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads == THREADS


def test_the_time_of_runs_without_steps_tells_nothing_about_runs_with_steps(
    tiny_data: Path, tmp_path: Path, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.hardware.cpu_cores", lambda: 2)
    run = runs_in(planned(tiny_data, tmp_path / "runs"))["plain-20 seed 0"]
    write_record(run, 30.0)
    untrained = Run(
        replace(run.settings, arm=replace(run.settings.arm, name="untrained"), iterations=0), tmp_path / "runs"
    )
    write_record(untrained, 3_000.0, iterations=0)
    plan = planned(tiny_data, tmp_path / "runs", "--seeds", "1")
    assert plan.times["plain-20 seed 1"][2] == "1 record"
    assert plan.times["plain-20 seed 1"][1] == pytest.approx(30, rel=0.5)


def planned_settings(data: Path, tmp_path: Path) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "_clock_for", lambda *_: None)
        return planned(data, tmp_path / "runs")


def test_disk_space_is_that_of_the_reference_runs() -> None:
    """Tables of committed runs, unpacked. Their weights and speeds are not committed."""
    for record in only_trained(collect(REPO / "reports" / "reference", "degradation", "8000it"))[::4]:
        files = list(record.folder.iterdir())
        tables = sum(len(gzip.decompress(p.read_bytes())) if p.suffix == ".gz" else p.stat().st_size for p in files)
        room = room_for(record.settings, CIFAR10)
        foretold = room.kept - 4 * record.model.parameters
        assert tables < foretold < 1.5 * tables + 15_000, record.folder
        assert room.training >= room.kept + 4 * record.model.parameters, "the momentum is part of a checkpoint"
    assert needed([Room(10, 30), Room(10, 50), Room(10, 40)], 2) == (30, 30 + 40 + 30)
    assert needed([Room(10, 30), Room(10, 50)], None) == (20, 20 + 60)


def test_data_are_foreseen_without_obtaining_them(tiny_data: Path, tmp_path: Path) -> None:
    assert foresee("standin-tiny", DataSources(tiny_data)).origin is None
    sources = DataSources(tmp_path / "data")
    new = foresee("standin-tiny", sources)
    assert (new.origin, new.digest, new.unpacks) == ("the built-in generator", "", 1_500 * (3 * 32 * 32 + 1))
    official = foresee("auto", sources, "cifar10")
    assert (official.origin, official.downloads) == (CATALOGUE["cifar10"].url, CATALOGUE["cifar10"].download_bytes)
    half = foresee("cifar100-first", sources)
    assert half.unpacks == 60_000 * 3_073 * 3 // 2 and half.downloads == CATALOGUE["cifar100"].download_bytes
    mirror = foresee("cifar10", DataSources(tmp_path / "data", "https://example.org/data"))
    assert (mirror.origin, mirror.downloads) == ("https://example.org/data/cifar10.tgz", 0)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "cifar10.tgz").touch()
    local = foresee("cifar10", DataSources(tmp_path / "data", str(tmp_path / "here")))
    assert (local.origin, local.downloads) == (str(tmp_path / "here" / "cifar10.tgz"), 0)
    assert not (tmp_path / "data").exists()


def test_the_command_prints_lines_and_writes_nothing(tiny_data: Path, tmp_path: Path, timed: list[str]) -> None:
    words = ("run", "degradation", "--plan", "--dataset", "standin-tiny", "--data-dir", tiny_data, "--arms", "plain-20")
    folders = ("--runs-dir", tmp_path / "runs", "--reports-dir", tmp_path / "reports")
    process = cli(*words, *folders)
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "runs").exists() and not (tmp_path / "reports").exists()
    lines = process.stdout.splitlines()
    assert lines[0].startswith("STAND-IN DATA") and "degradation quick-standin-tiny: 1 missing" in lines[1]
    assert "─" not in process.stdout, "piped output is plain"
    (row,) = [line for line in lines if line.startswith("plain-20 ")]
    assert row.split()[:4] == ["plain-20", "0", "missing", "391"]
    (claim,) = [line for line in lines if line.startswith("D1 ")]
    assert "+4.50 points" in claim and "the publication" in claim and "1 (5 stated), without plain-56" in claim
    slurm = cli(*words, *folders, "--executor", "slurm", "--devices", "cpu")
    assert "up to the queue" in slurm.stdout and slurm.returncode == 0, slurm.stderr
    assert "invalid SEEDS 'one'" in one_sentence(cli(*words, *folders, "--seeds", "one"))
    (tmp_path / "file").touch()
    assert "RUNS_DIR=" in one_sentence(cli(*words, "--runs-dir", tmp_path / "file"))


def test_networks_to_count_are_planned(tmp_path: Path, complexity: Experiment) -> None:
    process = cli("run", "complexity", "--plan", "--runs-dir", tmp_path / "runs")
    assert process.returncode == 0, process.stderr
    assert f"complexity quick: {len(complexity.networks)} networks to count" in process.stdout
    assert not (tmp_path / "runs").exists()


def test_times_and_sizes_are_readable() -> None:
    assert [duration(s) for s in (4, 89, 600, 5_000, 40_000, 900_000)] == [
        "4 s", "89 s", "10 min", "83 min", "11 h", "10 days",
    ]  # fmt: skip
    assert [amount(n) for n in (0, 12, 1_234, 999_700, 170_498_071, 3e12)] == [
        "0 bytes", "12 bytes", "1.2 kB", "1 MB", "170 MB", "3 TB",
    ]  # fmt: skip
    assert span("7 min", "9 min") == "7 to 9 min" and span("50 s", "2 min") == "50 s to 2 min"
    assert span("7 min", "7 min") == "7 min"

"""A fault campaign: kills and full disks at random moments of an experiment, which must end as if nothing had happened.

    python benchmarks/faults.py [--kills 100] [--seed 0] [--executor local|ray]

Trains two small runs per round on stand-in data, with a double of the W&B server on loopback. In each life of the launcher a
random process (launcher, run, upload) gets SIGKILL, SIGTERM or SIGINT, or the disk of RUNS_DIR is full for some seconds. The
same command then continues. After each life, no process may be left and every file must be readable. After each round, weights
and tables must equal the undisturbed run's bit for bit, and the server must have every row once. Renews its section of
benchmarks/FAULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO / "tests")]

from wandb_double import KEY, Double  # noqa: E402  # pyright: ignore[reportMissingImports]  it lives with the tests

from resnet_repro.files import read_json  # noqa: E402
from resnet_repro.hardware import device_name  # noqa: E402
from resnet_repro.tables import read_rows  # noqa: E402

PAGE = Path(__file__).with_name("FAULTS.md")
ITERATIONS = 40
DISK = "64M"
ORPHAN_SECONDS = 30.0
# The agents of a killed node report its death to a server that died with it, for at most 60 seconds, before they end:
# ray/_private/utils.py, publish_error_to_driver. They hold no run, GPU or file of a run.
AGENT_SECONDS = 90.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "dashboard/agent.py", "runtime_env/agent/main.py")
LONGEST_LIFE = 300.0
TABLES = ("metrics.csv", "gradients.csv")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MARK = "RESNET_REPRO_CAMPAIGN"
HEADING = "## Executor "
ABOUT = """# Fault campaign

Written by `make test-faults`, and with `--executor ray` by `python benchmarks/faults.py`. Checked after each fault: no process
is left 30 seconds later (agents of Ray: 90 seconds), and every JSON file and table is readable. Checked after each experiment:
weights, final errors, `metrics.csv` and `gradients.csv` equal the undisturbed ones bit for bit, and after `make sync` the W&B
double has each row once and both runs finished. A fault may hit a process that has just ended.
"""


@dataclass
class Campaign:
    """State and results of a campaign."""

    executor: str
    data: Path
    double: Double
    draw: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    """Faults by name."""
    failures: list[str] = field(default_factory=list)
    lives: int = 0
    rounds: int = 0
    lost_steps: list[int] = field(default_factory=list)
    """Steps that were trained again after each fault."""

    def command(self, runs: Path) -> list[str]:
        return [
            sys.executable, "-m", "resnet_repro.cli", "run", "degradation", "--dataset", "standin-tiny",
            "--iterations", str(ITERATIONS), "--arms", "plain-20,resnet-20", "--data-dir", str(self.data),
            "--runs-dir", str(runs), "--reports-dir", str(runs.parent / "reports"), "--checkpoint-seconds", "0.5",
            "--retries", "50", "--executor", self.executor,
        ]  # fmt: skip

    def start(self, runs: Path, mark: str, mode: str = "online") -> subprocess.Popen:
        environment = os.environ | {
            MARK: mark, "WANDB_MODE": mode, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": self.double.url,
        }  # fmt: skip
        return subprocess.Popen(
            self.command(runs),
            cwd=REPO,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def fail(self, what: str) -> None:
        print(f"FAILED: {what}", flush=True)
        self.failures.append(what)


def processes(mark: str) -> dict[int, str]:
    """{pid: command} of the living processes that inherited this mark."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}\0".encode() in (entry / "environ").read_bytes() + b"\0":
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if command:  # a zombie has none
                        found[int(entry.name)] = command
    return found


def kind_of(command: str) -> str:
    for name, part in (("upload", "tracking.process"), ("run", "train_run"), ("launcher", "resnet_repro.cli run")):
        if part in command:
            return name
    return "other"


def orphans(mark: str) -> dict[int, str]:
    """{pid: command} of the processes that outlive their launcher for too long."""
    begin = time.monotonic()
    while left := processes(mark):
        waited = time.monotonic() - begin
        if any(waited > _allowed(command) for command in left.values()):
            break
        time.sleep(0.2)
    return left


def _allowed(command: str) -> float:
    return AGENT_SECONDS if any(agent in command for agent in AGENTS) else ORPHAN_SECONDS


def step_of(runs: Path) -> int:
    """Training steps that the runs have reported, in all."""
    steps = 0
    for path in runs.glob("*/*/*/seed*/progress.json"):
        with contextlib.suppress(ValueError, OSError):
            steps += int((read_json(path) or {}).get("step", 0))
    return steps


@contextlib.contextmanager
def full_disk(runs: Path) -> Iterator[None]:
    """Fill the file system of `runs` while the body runs."""
    filler = runs / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    try:
        yield
    finally:
        filler.unlink(missing_ok=True)


def live(campaign: Campaign, runs: Path, with_fault: bool) -> int:
    """One life of the launcher, with at most one fault; its exit code."""
    campaign.lives += 1
    mark = f"{os.getpid()}-{campaign.lives}"
    launcher = campaign.start(runs, mark)
    name = ""
    before = step_of(runs)
    if with_fault:
        # Half of the faults come while runs train, whatever the speed of the machine; the others while they start.
        if campaign.draw.random() < 0.5:
            while launcher.poll() is None and step_of(runs) == before:
                time.sleep(0.1)
            time.sleep(campaign.draw.uniform(0.1, 8.0))
        else:
            time.sleep(campaign.draw.uniform(0.1, 15.0))
        if launcher.poll() is None:
            name = inject(campaign, runs, mark)
            before = step_of(runs)
    deadline = time.monotonic() + LONGEST_LIFE
    try:
        output, _ = launcher.communicate(timeout=deadline - time.monotonic())
    except subprocess.TimeoutExpired:
        left = sorted(processes(mark).values())
        for pid in processes(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        output, _ = launcher.communicate()
        campaign.fail(
            f"life {campaign.lives} after {name}: the launcher did not end in {LONGEST_LIFE:.0f} s; alive: {left}\n"
            f"{output[-2_000:]}"
        )
    if name:
        campaign.counts[name] += 1
    if "Traceback" in output:
        campaign.fail(f"life {campaign.lives} after {name}: traceback\n{output[-2_000:]}")
    if left := orphans(mark):
        campaign.fail(f"life {campaign.lives} after {name}: left behind {sorted(left.values())}")
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    check_files(campaign, runs, name)
    campaign.lost_steps.append(max(0, before - step_of(runs)))
    print(
        f"life {campaign.lives}: {name or 'undisturbed'}, exit {launcher.returncode}, step {step_of(runs)}", flush=True
    )
    return launcher.returncode


def inject(campaign: Campaign, runs: Path, mark: str) -> str:
    """Do one random fault; its name."""
    alive = [(pid, kind_of(command)) for pid, command in processes(mark).items()]
    targets = [(pid, kind) for pid, kind in alive if kind != "other"]
    if not targets:
        return ""
    if runs.is_mount() and campaign.draw.random() < 0.2:
        with full_disk(runs):
            time.sleep(campaign.draw.uniform(1.0, 4.0))
        return "disk full"
    kind = campaign.draw.choice(sorted({kind for _, kind in targets}))
    pid = campaign.draw.choice([pid for pid, its_kind in targets if its_kind == kind])
    number = campaign.draw.choice(SIGNALS)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return f"{kind} {number.name}"


def check_files(campaign: Campaign, runs: Path, name: str) -> None:
    """Every JSON file and table must be readable at any moment."""
    for path in [*runs.glob("*/*/*/seed*/*.json"), *runs.glob("wandb/reports/*.json")]:
        try:
            json.loads(path.read_text())
        except ValueError:
            campaign.fail(f"life {campaign.lives} after {name}: {path} is torn")
    for table in TABLES:
        for path in runs.glob(f"*/*/*/seed*/{table}"):
            steps = [int(row["iteration"]) for row in read_rows(path)]
            if steps != sorted(steps):
                campaign.fail(f"life {campaign.lives} after {name}: {path} has rows out of order")


def results(runs: Path) -> dict[str, tuple[object, ...]]:
    """{run: what must be equal}: digest of the weights, errors, bytes of the tables."""
    ends = {}
    for path in sorted(runs.glob("*/*/*/seed*/record.json")):
        record = json.loads(path.read_text())
        tables = tuple((path.parent / table).read_bytes() for table in TABLES)
        ends[path.parent.parent.name] = (record["weights_sha256"], json.dumps(record["final"]), *tables)
    return ends


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own for `folder`, if this process may mount one."""
    folder.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=False
    ).returncode
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def play_round(campaign: Campaign, whole: dict[str, tuple[object, ...]], kills: int) -> None:
    """Train an experiment from its start to its end through faults, and compare it with the undisturbed one."""
    campaign.rounds += 1
    with tempfile.TemporaryDirectory() as folder, small_disk(runs := Path(folder) / "runs"):
        campaign.double.runs.clear()
        for _ in range(60):
            faults = sum(campaign.counts.values())
            if live(campaign, runs, with_fault=faults < kills) == 0:
                break
        else:
            return campaign.fail(f"round {campaign.rounds}: 60 lives and no end")
        ended = results(runs)
        if ended != whole:
            different = [arm for arm in whole if ended.get(arm) != whole[arm]]
            campaign.fail(f"round {campaign.rounds}: {different} differ from the undisturbed runs")
        sync = subprocess.run(
            [sys.executable, "-m", "resnet_repro.cli", "sync", "--runs-dir", str(runs)],
            env=os.environ | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": campaign.double.url},
            cwd=REPO,
            capture_output=True,
            text=True,
        )
        if sync.returncode:
            campaign.fail(
                f"round {campaign.rounds}: make sync ended with {sync.returncode}: {sync.stdout}{sync.stderr}"
            )
        for arm in whole:
            steps = [int(row["iteration"]) for row in read_rows(next(runs.glob(f"*/*/{arm}/seed0/metrics.csv")))]
            copy = campaign.double.named(f"{arm}-seed0")
            if copy.steps != steps or copy.overwritten or copy.summary.get("status") != "finished":
                campaign.fail(f"round {campaign.rounds}: W&B has other rows of {arm}: {copy.steps}")


def section(campaign: Campaign, seconds: float, seed: int) -> str:
    """The results with one executor as Markdown."""
    kinds = sorted(campaign.counts.items())
    failures = [f"- {failure.splitlines()[0]}" for failure in campaign.failures] or ["None."]
    return "\n".join(
        [
            f"{HEADING}{campaign.executor}",
            "",
            f"{time.strftime('%Y-%m-%d')}, {device_name('cpu')}, seed {seed}: {sum(campaign.counts.values())} faults in "
            f"{campaign.lives} lives of the launcher, {campaign.rounds} experiments of two runs and {ITERATIONS} iterations, "
            f"{seconds / 60:.0f} minutes.",
            "",
            "| fault at a random moment | times |",
            "| --- | ---: |",
            *(f"| {name} | {count} |" for name, count in kinds),
            "",
            "Failures:",
            "",
            *failures,
            "",
        ]
    )


def renewed(page: str, part: str) -> str:
    """The page with this section in place of the one with the same heading."""
    sections = [f"{HEADING}{rest}" for rest in page.split(HEADING)[1:]]
    heading = part.partition("\n")[0]
    others = [section for section in sections if section.partition("\n")[0] != heading]
    return "\n".join([ABOUT, *sorted([*(section.rstrip() + "\n" for section in others), part])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 if anything failed."""
    parser = argparse.ArgumentParser(description="Kill an experiment at random moments and compare its end.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executor", default="local", choices=("local", "ray"))
    parser.add_argument("--output", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Double() as double:
        campaign = Campaign(options.executor, Path(folder) / "data", double, random.Random(options.seed))
        undisturbed = Path(folder) / "undisturbed"
        if live(campaign, undisturbed, with_fault=False):
            print("the undisturbed experiment failed", file=sys.stderr)
            return 1
        whole = results(undisturbed)
        shutil.rmtree(undisturbed)
        while sum(campaign.counts.values()) < options.kills and len(campaign.failures) < 20:
            play_round(campaign, whole, options.kills)
        before = options.output.read_text(encoding="utf-8") if options.output.exists() else ""
        part = section(campaign, time.monotonic() - began, options.seed)
        options.output.write_text(renewed(before, part), encoding="utf-8")
    print(f"{sum(campaign.counts.values())} faults, {len(campaign.failures)} failures: {options.output}")
    return bool(campaign.failures)


if __name__ == "__main__":
    sys.exit(main())

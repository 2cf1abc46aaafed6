"""A Ray cluster that carries out the runs: Ray schedules, starts again what a lost machine has left, and shares out GPUs.

Each run is a Ray task that starts the run's process on its node and waits for it. Ray is an optional extra.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from resnet_repro.errors import UserError
from resnet_repro.launch.job import POLL_SECONDS, Attempts, Interrupts, Job, Outcome, Patience, blocked, close, stop
from resnet_repro.launch.options import ExecutorSpec
from resnet_repro.launch.sharing import UNKNOWN_MEMORY, Load, runs_a_gpu
from resnet_repro.launch.slots import Slot, environment_of
from resnet_repro.parsing import plural

log = logging.getLogger(__name__)
LOSSES = 10  # how often a run may lose its worker or node before it counts as failed
ANSWER_SECONDS = 5.0  # for a cluster to answer at its address
LOOK_SECONDS = 120.0  # for every node to look at the runs' folder, torch imported
KINDS = {"auto": None, "cpu": "cpu", "cuda": "cuda"}


class RayExecutor:
    """Joins the cluster at RAY_ADDRESS, or starts one on this machine that ends with this process.

    Raises UserError where no cluster answers, where none of its nodes can ever take a run, and where one that could does
    not see the runs' folder.
    """

    leaves = False

    def __init__(self, spec: ExecutorSpec) -> None:
        options = spec.options
        if options.devices not in KINDS:
            raise UserError(
                f"DEVICES={options.devices!r} does not go with EXECUTOR=ray, which chooses: take auto, cuda or cpu"
            )
        if find_spec("ray") is None:
            raise UserError("EXECUTOR=ray needs the package ray, which is not installed: make setup-ray installs it")
        self.options = options
        self._join(os.environ.get("RAY_ADDRESS", ""), spec.name)
        try:
            self._find_room(spec.spread)
            self._look_around(spec.runs_dir, spec.precision)
        except BaseException:
            self.close()
            raise

    # -- the cluster ---------------------------------------------------------------------------------------------------

    def _join(self, address: str, name: str) -> None:
        _check_answers(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        # What Ray has to say of lost nodes, dozens of lines, would tear the display; the runs' logs say what became of them.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        from resnet_repro.hardware import cpu_cores

        self.ray = import_module("ray")  # an optional package, so types are not known

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": name}
        if not address:
            quiet |= {"num_cpus": cpu_cores(), "include_dashboard": False}
        try:
            self.ray.init(address=address or "local", **quiet)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"RAY_ADDRESS={address}" if address else "a Ray cluster on this machine"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise UserError(f"{where} cannot be joined ({reason}): check the address, or unset RAY_ADDRESS") from error

    def _find_room(self, spread: bool) -> None:
        """Settle what a run asks for. Raises UserError for a request that no node can ever meet."""
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        with_gpus = [node for node in nodes if node["Resources"].get("GPU")]
        self.kind = KINDS[self.options.devices] or ("cuda" if with_gpus else "cpu")
        share = self.options.gpu_share
        if self.kind == "cpu":
            if share is not None:
                raise UserError(f"GPU_SHARE={share:g} does not go with runs on CPUs: take DEVICES=cuda")
            self.gpus = 0.0
        else:
            self.gpus = _checked_share(1.0 if share is None else share, spread)
        self.may_share = self.kind == "cuda" and share is None and not spread
        self.threads = self.options.threads or (_threads_beside(with_gpus, self.gpus) if self.gpus else 1)
        self.nodes = [node for node in nodes if _room(node, self.threads, self.gpus)]
        if not self.nodes:
            asked = plural(self.threads, "CPU thread")
            if self.gpus:
                asked = f"{self.gpus:g} GPU and {asked}"
            largest = max(
                nodes, key=lambda n: (n["Resources"].get("GPU", 0) if self.gpus else 0, n["Resources"].get("CPU", 0))
            )
            has = largest["Resources"]
            remedy = "take a smaller THREADS" + (" or GPU_SHARE, or DEVICES=cpu" if self.gpus else "")
            raise UserError(
                f"a run asks for {asked} of one node, and the largest of the cluster has {has.get('CPU', 0):g} threads and "
                f"{has.get('GPU', 0):g} GPUs: {remedy}"
            )

    def _look_around(self, runs_dir: Path, precision: str) -> None:
        """Let every node read a file that is written here, and ask them for their GPUs and their arithmetic."""
        ray, on_node = self.ray, import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        token = secrets.token_hex(8)
        probe = runs_dir / f".{token}.part"
        probe.write_text(token)
        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        try:
            asked = [
                look.options(scheduling_strategy=on_node(node["NodeID"], soft=False)).remote(
                    str(probe), self.kind if precision == "auto" or self.kind == "cuda" else None
                )
                for node in self.nodes
            ]
            answers: list[tuple[str, str | None, dict[str, Any]]] = []
            for node, answer in zip(self.nodes, asked, strict=True):
                try:
                    answers.append((_address(node), *ray.get(answer, timeout=LOOK_SECONDS)))
                except ray.exceptions.GetTimeoutError as error:
                    raise UserError(f"node {_address(node)} of the cluster does not answer: see ray status") from error
                except ray.exceptions.RayError as error:
                    raise UserError(
                        f"node {_address(node)} cannot carry out runs ({_last_line(error)}): install the same environment on "
                        "every node"
                    ) from error
        finally:
            probe.unlink(missing_ok=True)
        if blind := [node for node, content, _ in answers if content != token]:
            raise UserError(
                f"RUNS_DIR={runs_dir} is not seen by node {', '.join(blind)}: name a folder that all nodes share"
            )
        self.facts = [facts for *_, facts in answers]
        native = {bool(facts.get("bf16")) for facts in self.facts}
        self.precision = precision if precision != "auto" else "bf16" if native == {True} else "fp32"
        if precision == "auto" and len(native) > 1:
            log.info("not all nodes have bf16 arithmetic: fp32 everywhere")

    # -- the runs ------------------------------------------------------------------------------------------------------

    def plan(self, runs: int, load: Load | None = None) -> str:
        """How many runs the cluster takes at once, as it stands; small ones share its GPUs where the user says nothing."""
        if self.may_share and load:
            self.gpus, self.threads = _shared(self.nodes, self.facts, runs, load, self.options.threads)
        at_once = sum(_room(node, self.threads, self.gpus) for node in self.nodes)
        names = ", ".join(sorted({str(facts["name"]) for facts in self.facts if facts.get("name")}))
        what = f"{self.gpus:.3g} GPU{f' ({names})' if names else ''}, " if self.gpus else ""
        count = plural(len(self.nodes), "node")
        return f"{min(at_once, runs)} at once on {count} of a Ray cluster, each {what}{plural(self.threads, 'thread')}"

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        """Hand every job to Ray as soon as those before it have ended, and wait.

        A job whose worker or node is lost starts again elsewhere. On SIGINT and SIGTERM what was handed over is
        cancelled: running jobs save and stop.
        """
        ray = self.ray
        task = ray.remote(max_retries=LOSSES, num_cpus=self.threads, num_gpus=self.gpus)(_carry_out)
        outcomes: list[Outcome] = ["stopped"] * len(jobs)
        waiting = list(range(len(jobs)))
        pending: dict[Any, int] = {}
        attempts = Attempts(jobs, self.options.retries)
        patience: Patience | None = None
        with Interrupts() as interrupts:
            while pending or (waiting and not interrupts.count):
                if not interrupts.count:
                    for index in [index for index in waiting if jobs[index].is_ready]:
                        waiting.remove(index)
                        pending[task.options(name=jobs[index].name).remote(jobs[index], self._slot())] = index
                ended = _ended(ray, list(pending))
                for reference in ended:
                    index = pending.pop(reference)
                    try:
                        outcomes[index] = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        outcomes[index] = "stopped" if interrupts.count else "failed"
                        if not interrupts.count:
                            jobs[index].note(_last_line(error))
                    if outcomes[index] == "failed" and attempts.again(index):
                        waiting.append(index)
                if not interrupts.count:
                    for index in blocked(jobs, waiting, list(pending.values())):
                        outcomes[index] = "blocked"
                        waiting.remove(index)
                elif patience is None:
                    patience = Patience(interrupts)
                    for reference in pending:
                        ray.cancel(reference)
                elif patience.is_over:
                    for reference in pending:
                        ray.cancel(reference, force=True)
                    break
                poll()
        return outcomes

    def _slot(self) -> Slot:
        """Room for one run; which GPU it is, its node finds in the environment that Ray gives the task."""
        environment = environment_of(self.kind, self.threads)
        processes = max(1, int(self.gpus))
        share = self.gpus if 0 < self.gpus < 1 else 1.0
        return Slot(self.kind, "Ray", self.threads, environment, share, processes, max(1, self.threads // processes))

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self.ray.shutdown()


# -- on the nodes ------------------------------------------------------------------------------------------------------


def _look(path: str, kind: str | None) -> tuple[str | None, dict[str, Any]]:
    """What a node reads at `path`, None where there is nothing; the facts of its devices, see `hardware.facts`."""
    content = Path(path).read_text() if Path(path).is_file() else None
    if kind is None or content is None:
        return content, {}
    # In a process of its own: the worker that answers carries out no run, and need not keep torch in memory.
    ask = f"import json; from resnet_repro.hardware import facts; print(json.dumps(facts({kind!r})))"
    # Ray hides the GPUs from a task that asks for none.
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    answer = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True)
    return content, json.loads(answer.stdout) if answer.returncode == 0 else {}


def _carry_out(job: Job, slot: Slot) -> Outcome:
    """The task: the run's process on this node, whose end it waits for. Cancelled, it lets the process save and stop."""
    process = job.start(slot)
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)  # in steps: Ray cancels between two of them
    except KeyboardInterrupt:
        stop(process)
        return "stopped"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        close(process)
    return job.outcome(process.returncode)


# -- parts -------------------------------------------------------------------------------------------------------------


def _check_answers(address: str) -> None:
    """Raise UserError for an address of a kind that is not served, and where nobody answers: Ray would try for minutes."""
    if address in ("", "auto", "local"):
        return
    if address.startswith("ray://"):
        raise UserError(
            f"RAY_ADDRESS={address} is that of Ray's client, which sees no folders: name the cluster itself, as HOST:6379"
        )
    try:
        url = urlparse(f"//{address}")
        host, port = url.hostname, url.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise UserError(f"RAY_ADDRESS={address} is no address: write HOST:PORT, as 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error.strerror or error}): start one with ray start --head, "
            "or unset RAY_ADDRESS"
        ) from error


def _ended(ray: Any, references: list) -> list:
    """Those of the tasks that have ended; waits a moment where none has."""
    if not references:
        time.sleep(POLL_SECONDS)
        return []
    ray.wait(references, num_returns=1, timeout=POLL_SECONDS)
    return ray.wait(references, num_returns=len(references), timeout=0)[0]


def _last_line(error: Exception) -> str:
    """What an error of Ray's comes to; some say nothing but their name."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _checked_share(share: float, spread: bool) -> float:
    if 0 < share <= 1 or (spread and share == int(share) and share > 0):
        return share
    more = "" if spread else "; its runs take one device each"
    raise UserError(f"GPU_SHARE={share:g} is no share of a GPU: take a part of one, as 0.5, or 1{more}")


def _threads_beside(nodes: Sequence[dict], gpus: float) -> int:
    """The threads that go with so many GPUs, on the node that has the fewest for each."""
    beside = [node["Resources"].get("CPU", 0) / node["Resources"]["GPU"] for node in nodes]
    return max(1, int(min(beside, default=1) * gpus))


def _shared(
    nodes: Sequence[dict], facts: Sequence[dict[str, Any]], runs: int, load: Load, threads: int | None
) -> tuple[float, int]:
    """(part of a GPU, threads) of each run, by the rule of `sharing`, for the node that has the least.

    Through MPS where all nodes name a service: Ray's workers have what their node was started with.
    """
    beside = _threads_beside(nodes, 1.0)
    memory = min((fact.get("memory", UNKNOWN_MEMORY) for fact in facts), default=UNKNOWN_MEMORY)
    through_mps = bool(facts) and all(fact.get("mps") for fact in facts)
    each = math.ceil(runs / max(1, int(sum(node["Resources"].get("GPU", 0) for node in nodes))))
    count = min(each, runs_a_gpu(load, memory, max(1, beside // (threads or 1)), through_mps))
    return 1.0 / count, threads or max(1, beside // count)


def _room(node: dict, threads: int, gpus: float) -> int:
    """How many runs a node takes at once."""
    has = node["Resources"]
    by_threads = int(has.get("CPU", 0) / threads)
    if not gpus:
        return by_threads
    each = int(1 / gpus) * int(has.get("GPU", 0)) if gpus < 1 else int(has.get("GPU", 0) / gpus)
    return min(by_threads, each)


def _address(node: dict) -> str:
    return node.get("NodeManagerHostname") or node["NodeManagerAddress"]

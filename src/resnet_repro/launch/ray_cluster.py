"""The Ray executor. Ray schedules the runs, assigns GPUs, and restarts runs whose node is lost.

Each run is a Ray task that starts the run's process on its node and waits for it. Ray is an optional dependency.
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

from resnet_repro.errors import UserError, os_reason
from resnet_repro.launch.job import (
    POLL_SECONDS,
    Attempts,
    Interrupts,
    Job,
    Outcome,
    Patience,
    blocked,
    close,
    say_commands,
    stop,
)
from resnet_repro.launch.options import ExecutorSpec
from resnet_repro.launch.sharing import UNKNOWN_MEMORY, Load, runs_a_gpu
from resnet_repro.launch.slots import Placement, Slot, environment_of
from resnet_repro.parsing import plural
from resnet_repro.processes import child_environment

log = logging.getLogger(__name__)
LOSSES = 10  # how often a run may lose its worker or node before it counts as failed
ANSWER_SECONDS = 5.0  # for a cluster to accept a connection
LOOK_SECONDS = 120.0  # for a node to read the probe file and import torch
KINDS = {"auto": None, "cpu": "cpu", "cuda": "cuda"}


class RayExecutor:
    """Executes runs on the cluster at RAY_ADDRESS, or on a cluster that it starts on this machine.

    A dry run joins the cluster at RAY_ADDRESS, and starts none.
    Raises UserError if no cluster answers, if a run does not fit on any node, or if a node cannot read the runs' folder.
    """

    leaves = False

    def __init__(self, spec: ExecutorSpec) -> None:
        options = spec.options
        if find_spec("ray") is None:
            raise UserError("EXECUTOR=ray needs the package ray, which is not installed: run make setup-ray")
        self.options, self.spread = options, spec.spread
        address = os.environ.get("RAY_ADDRESS", "")
        self.ray: Any = None  # an optional package, so its types are not known
        self.at_once = 0
        if options.dry_run and address in ("", "local"):  # a run would start a cluster
            self._find_room([_this_machine()])
            self._settle([_facts_here(self.kind)], spec.precision)
            return
        self._join(address, spec.name)
        try:
            self._find_room([node for node in self.ray.nodes() if node["Alive"]])
            self._look_around(spec.runs_dir, spec.precision)
        except BaseException:
            self.close()
            raise

    # -- the cluster ---------------------------------------------------------------------------------------------------

    def _join(self, address: str, name: str) -> None:
        _check_answers(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        # Ray prints dozens of lines about a lost node, which would break up the display. The runs' logs name the error.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        from resnet_repro.hardware import cpu_cores

        self.ray = import_module("ray")

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": name}
        if not address:
            quiet |= {"num_cpus": cpu_cores(), "include_dashboard": False}
        try:
            # Ray adds the working directory to the module path of its workers, where a file of the user could replace a module.
            with contextlib.chdir(sys.prefix):
                self.ray.init(address=address or "local", **quiet)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            cluster = f"the Ray cluster at RAY_ADDRESS={address}" if address else "a Ray cluster on this machine"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise UserError(f"cannot join {cluster} ({reason}): check the address, or unset RAY_ADDRESS") from error

    def _find_room(self, nodes: list[dict[str, Any]]) -> None:
        """Set the kind of device, threads and GPUs of a run. Raises UserError if a run does not fit on any of the nodes."""
        with_gpus = [node for node in nodes if node["Resources"].get("GPU")]
        self.kind = KINDS[self.options.devices] or ("cuda" if with_gpus else "cpu")
        share = self.options.gpu_share
        if self.kind == "cpu":
            if share is not None:
                raise UserError(
                    f"GPU_SHARE={share:g} does not apply to runs on CPUs: leave it out, or use DEVICES=cuda"
                )
            self.gpus = 0.0
        else:
            self.gpus = 1.0 if share is None else share
        self.may_share = self.kind == "cuda" and share is None and not self.spread
        self.threads = self.options.threads or (_threads_for(with_gpus, self.gpus) if self.gpus else 1)
        self.nodes = [node for node in nodes if _room(node, self.threads, self.gpus)]
        if not self.nodes:
            demand = plural(self.threads, "CPU thread")
            if self.gpus:
                demand = f"{self.gpus:g} GPU and {demand}"
            largest = max(
                nodes, key=lambda n: (n["Resources"].get("GPU", 0) if self.gpus else 0, n["Resources"].get("CPU", 0))
            )
            resources = largest["Resources"]
            remedy = "use a smaller THREADS" + (" or GPU_SHARE, or DEVICES=cpu" if self.gpus else "")
            raise UserError(
                f"a run needs {demand} on one node, but the largest node of the cluster has {resources.get('CPU', 0):g} "
                f"threads and {resources.get('GPU', 0):g} GPUs: {remedy}"
            )

    def _look_around(self, runs_dir: Path, precision: str) -> None:
        """Check that every node can read a file in `runs_dir`, and ask the nodes for their GPUs and bf16 support."""
        ray, on_node = self.ray, import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        token = secrets.token_hex(8)
        probe = runs_dir / f".{token}.part"
        probe.write_text(token, encoding="utf-8")
        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        try:
            pending = [
                look.options(scheduling_strategy=on_node(node["NodeID"], soft=False)).remote(
                    str(probe), self.kind if precision == "auto" or self.kind == "cuda" else None
                )
                for node in self.nodes
            ]
            answers: list[tuple[str, str | None, dict[str, Any]]] = []
            for node, answer in zip(self.nodes, pending, strict=True):
                try:
                    answers.append((_address(node), *ray.get(answer, timeout=LOOK_SECONDS)))
                except ray.exceptions.GetTimeoutError as error:
                    raise UserError(
                        f"node {_address(node)} of the cluster does not answer: check ray status"
                    ) from error
                except ray.exceptions.RayError as error:
                    remedy = "install the same environment on every node"
                    if _is_out_of_memory(error):
                        remedy = "free memory there, or use fewer runs at once with a larger THREADS"
                    raise UserError(
                        f"node {_address(node)} cannot execute runs ({_last_line(error)}): {remedy}"
                    ) from error
        finally:
            probe.unlink(missing_ok=True)
        if blind := [node for node, content, _ in answers if content != token]:
            raise UserError(
                f"RUNS_DIR={runs_dir} is not seen by node {', '.join(blind)}: use a folder that all nodes share"
            )
        self._settle([facts for *_, facts in answers], precision)

    def _settle(self, facts: list[dict[str, Any]], precision: str) -> None:
        """Set the facts of the nodes, and the precision of all runs."""
        self.facts = facts
        native = {bool(facts.get("bf16")) for facts in self.facts}
        self.precision = precision if precision != "auto" else "bf16" if native == {True} else "fp32"
        if precision == "auto" and len(native) > 1:
            log.info("not all nodes support bf16: all runs use fp32")

    # -- the runs ------------------------------------------------------------------------------------------------------

    def plan(self, runs: int, load: Load | None = None) -> str:
        """Describe how many runs the cluster can execute at once. Without GPU_SHARE, small runs share GPUs."""
        if self.may_share and load:
            self.gpus, self.threads = _shared(self.nodes, self.facts, runs, load, self.options.threads)
        at_once = self.at_once = sum(_room(node, self.threads, self.gpus) for node in self.nodes)
        names = ", ".join(sorted({str(facts["name"]) for facts in self.facts if facts.get("name")}))
        gpu = f"{self.gpus:.3g} GPU{f' ({names})' if names else ''}, " if self.gpus else ""
        nodes, threads = plural(len(self.nodes), "node"), plural(self.threads, "thread")
        cluster = "a Ray cluster" if self.ray else "a Ray cluster that starts on this machine"
        return f"{min(at_once, runs)} at once on {nodes} of {cluster}, {gpu}{threads} each"

    @property
    def placement(self) -> Placement:
        slot = self._slot()
        return Placement(max(1, self.at_once), self.threads, slot.share, slot.processes)

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        """Submit each job to Ray as soon as the jobs in its `after` are done, and wait for all jobs.

        A job whose worker or node is lost restarts on another one. On SIGINT or SIGTERM all submitted jobs are
        cancelled: running jobs save and stop.
        """
        if self.options.dry_run:
            return say_commands(jobs, self._slot())
        ray = self.ray
        task = ray.remote(max_retries=LOSSES, num_cpus=self.threads, num_gpus=self.gpus)(_execute)
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
                        outcomes[index], jobs[index].lost[:] = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        outcomes[index] = "stopped" if interrupts.count else "failed"
                        if not interrupts.count:
                            jobs[index].note(_last_line(error))
                    if outcomes[index] == "failed" and attempts.again(index):
                        waiting.append(index)
                    elif outcomes[index] == "failed":
                        jobs[index].mark_failed()
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
        """The slot of a run. Ray sets CUDA_VISIBLE_DEVICES of the task on its node."""
        processes = max(1, int(self.gpus))
        threads = max(1, self.threads // processes)
        share = self.gpus if 0 < self.gpus < 1 else 1.0
        return Slot(self.kind, "Ray", threads, environment_of(self.kind, threads), share, processes, workers=threads)

    def close(self) -> None:
        """Disconnect from the cluster. A cluster that was started here ends."""
        if self.ray:
            self.ray.shutdown()


# -- on the nodes ------------------------------------------------------------------------------------------------------


def _look(path: str, kind: str | None) -> tuple[str | None, dict[str, Any]]:
    """(content of the file at `path` or None, facts of the node's devices). See `hardware.facts`."""
    content = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None
    if kind is None or content is None:
        return content, {}
    # In a separate process, so that this Ray worker does not keep torch in memory.
    code = f"import json; from resnet_repro.hardware import facts; print(json.dumps(facts({kind!r})))"
    # Ray hides all GPUs from a task that requests none.
    environment = {name: value for name, value in child_environment().items() if name != "CUDA_VISIBLE_DEVICES"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", errors="replace"
    )
    return content, json.loads(answer.stdout) if answer.returncode == 0 else {}


def _execute(job: Job, slot: Slot) -> tuple[Outcome, list[str]]:
    """The Ray task: start the run's process on this node and wait for it. If cancelled, let the process save and stop.

    Returns the outcome, and the lines that could not be added to the log (see `Job.lost`).
    """
    try:
        process = job.start(slot)
    except (OSError, UserError) as error:
        job.note_start(error)
        return "failed", job.lost
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)  # with a timeout, because Ray can only cancel between two waits
    except KeyboardInterrupt:
        stop(process)
        return "stopped", []
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        close(process)
    return job.outcome(process.returncode), job.lost


# -- helpers -----------------------------------------------------------------------------------------------------------


def _this_machine() -> dict[str, Any]:
    """This machine as a node of the cluster that a run starts on it."""
    from resnet_repro.hardware import cpu_cores, gpu_count

    return {"Resources": {"CPU": cpu_cores(), "GPU": gpu_count()}, "NodeManagerHostname": socket.gethostname()}


def _facts_here(kind: str) -> dict[str, Any]:
    from resnet_repro.hardware import facts

    return facts(kind)


def _check_answers(address: str) -> None:
    """Raise UserError for an invalid address or if nothing answers there. Ray itself would try for minutes."""
    if address in ("", "auto", "local"):
        return
    if address.startswith("ray://"):
        raise UserError(
            f"invalid RAY_ADDRESS {address!r}: Ray Client has no shared folders; expected the cluster's address, e.g. "
            "10.0.0.1:6379"
        )
    try:
        url = urlparse(f"//{address}")
        host, port = url.hostname, url.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise UserError(f"invalid RAY_ADDRESS {address!r}: expected auto or HOST:PORT, e.g. 10.0.0.1:6379")
    try:
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({os_reason(error)}): start one with ray start --head, "
            "or unset RAY_ADDRESS"
        ) from error


def _ended(ray: Any, references: list) -> list:
    """The tasks that have ended. If there are none, wait for up to `POLL_SECONDS`."""
    if not references:
        time.sleep(POLL_SECONDS)
        return []
    ray.wait(references, num_returns=1, timeout=POLL_SECONDS)
    return ray.wait(references, num_returns=len(references), timeout=0)[0]


def _last_line(error: Exception) -> str:
    """The last line of an error of Ray, or its type if it has no text. The last line about a lack of memory is an advice."""
    if _is_out_of_memory(error):
        return "Ray ended its worker because the node is out of memory"
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Ray ended a worker for lack of memory. By name, because the module is imported without Ray."""
    return type(error).__name__ == "OutOfMemoryError"


def _threads_for(nodes: Sequence[dict], gpus: float) -> int:
    """The CPU threads for a number of GPUs, on the node with the fewest threads per GPU."""
    threads_per_gpu = [node["Resources"].get("CPU", 0) / node["Resources"]["GPU"] for node in nodes]
    return max(1, int(min(threads_per_gpu, default=1) * gpus))


def _shared(
    nodes: Sequence[dict], facts: Sequence[dict[str, Any]], runs: int, load: Load, threads: int | None
) -> tuple[float, int]:
    """(share of a GPU, threads) of each run, by the rule of `sharing` for the smallest node.

    Runs share through MPS if CUDA_MPS_PIPE_DIRECTORY is set on all nodes: workers inherit their node's environment.
    """
    threads_per_gpu = _threads_for(nodes, 1.0)
    memory = min((fact.get("memory", UNKNOWN_MEMORY) for fact in facts), default=UNKNOWN_MEMORY)
    through_mps = bool(facts) and all(fact.get("mps") for fact in facts)
    most = math.ceil(runs / max(1, int(sum(node["Resources"].get("GPU", 0) for node in nodes))))
    count = min(most, runs_a_gpu(load, memory, max(1, threads_per_gpu // (threads or 1)), through_mps))
    return 1.0 / count, threads or max(1, threads_per_gpu // count)


def _room(node: dict, threads: int, gpus: float) -> int:
    """How many runs fit on a node at the same time."""
    resources = node["Resources"]
    by_threads = int(resources.get("CPU", 0) / threads)
    if not gpus:
        return by_threads
    by_gpus = int(1 / gpus) * int(resources.get("GPU", 0)) if gpus < 1 else int(resources.get("GPU", 0) / gpus)
    return min(by_threads, by_gpus)


def _address(node: dict) -> str:
    return node.get("NodeManagerHostname") or node["NodeManagerAddress"]

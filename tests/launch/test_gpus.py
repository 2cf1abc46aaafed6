"""GPUs that the tests pretend: what is said of them, which are refused, how many runs share one, and the service for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import cli, make_settings, prepare_run

from resnet_repro import hardware as devices
from resnet_repro.config.execution import Execution
from resnet_repro.distributed import DistContext
from resnet_repro.errors import UserError
from resnet_repro.launch import ExecutorSpec, LaunchOptions, Load, sharing
from resnet_repro.launch.local import LocalExecutor
from resnet_repro.launch.sharing import Mps, offers_mps, runs_a_gpu
from resnet_repro.records.failures import failure_reason
from resnet_repro.study.cost import heaviest
from resnet_repro.study.run import Run
from resnet_repro.training.train_run import train

SMALL = Load(2e10, 9 * 2**28)  # resnet-56 at batch 128: 2.25 GiB


H100, T4, P100 = ("NVIDIA H100 80GB HBM3", (9, 0), 80), ("Tesla T4", (7, 5), 16), ("Tesla P100", (6, 0), 16)


ARCHITECTURES = ["sm_75", "sm_80", "sm_90a", "sm_100", "compute_120"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Pretends GPUs (name, capability, GiB) beside so many cores; without a driver that torch can use, and without MPS."""

    def pretend(*gpus: tuple[str, tuple[int, int], int], works: bool = True, cores: int = 16) -> None:
        cuda = torch.cuda
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(devices, "cpu_cores", lambda: cores)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(cuda, "device_count", lambda: len(gpus))  # NVML's, which asks no driver of CUDA's
        monkeypatch.setattr(devices, "_driver_works", lambda: bool(gpus) and works)
        monkeypatch.setattr(cuda, "get_arch_list", lambda: ARCHITECTURES)
        monkeypatch.setattr(cuda, "get_device_name", lambda gpu=0: gpus[gpu][0])
        monkeypatch.setattr(cuda, "get_device_capability", lambda gpu=0: gpus[gpu][1])
        monkeypatch.setattr(
            cuda, "get_device_properties", lambda gpu: SimpleNamespace(total_memory=gpus[gpu][2] * 2**30)
        )

    return pretend


def local(spread: bool = False, precision: str = "auto", **options: object) -> LocalExecutor:
    return LocalExecutor(ExecutorSpec(LaunchOptions(**options), precision, Path(), "x", spread))  # type: ignore[arg-type]


def test_the_first_line_names_devices_and_how_many_run_at_once(machine: Callable) -> None:
    machine(H100, H100)
    assert local().plan(25, SMALL) == f"4 at once on 2 × {H100[0]}, 4 threads each"
    assert local(slots=3).plan(25, SMALL) == f"6 at once on 2 × {H100[0]}, 2 threads each"
    assert local(spread=True).plan(5, SMALL) == f"1 at once on 2 × {H100[0]}, all together, 8 threads each"
    machine(H100, T4)
    assert local().plan(1, SMALL) == f"2 at once on {H100[0]}, {T4[0]}, 8 threads each"
    machine()
    assert local().plan(25) == f"16 at once on {devices.device_name('cpu')}, 1 thread each"


def test_gpus_that_a_driver_keeps_from_torch_are_told_of(machine: Callable, caplog: pytest.LogCaptureFixture) -> None:
    machine(H100, H100, works=False)
    one = local(precision="fp32")
    assert one.kind == "cpu"
    (line,) = caplog.messages
    assert line.startswith("this machine has 2 GPUs that torch ") and "(CUDA 13.0) cannot use" in line
    assert "driver 580 or newer" in line and "download.pytorch.org/whl/cu126" in line
    assert line.endswith("until then runs are on cpu")
    for wanted in ("cuda", "cuda:1"):
        with pytest.raises(UserError, match=f"DEVICES='{wanted}' cannot be used: .*driver 580 or newer"):
            local(devices=wanted)
    local(devices="cpu", precision="fp32")
    assert len(caplog.messages) == 1, "who names the CPU is not told of GPUs"


def test_gpus_older_than_the_kernels_of_this_torch_are_left_out(
    machine: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    machine(P100, H100, P100)
    one = local()
    assert one.devices == ["cuda:1"] and one.precision == "bf16"
    (line,) = caplog.messages
    assert "has no kernels for Tesla P100: install torch" in line and line.endswith("until then runs are on cuda:1")
    with pytest.raises(UserError, match=r"DEVICES='0' cannot be used: .*no kernels for Tesla P100"):
        local(devices="0")
    machine(P100)
    assert local(precision="fp32").kind == "cpu"
    with pytest.raises(UserError, match=r"DEVICES='cuda' cannot be used: .*no kernels for Tesla P100"):
        local(devices="cuda")


def test_the_command_ends_with_that_sentence(
    machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(H100, works=False)
    process = cli("run", "degradation", "--devices", "cuda", "--runs-dir", tmp_path / "runs")
    assert (process.returncode, process.stdout) == (2, "")
    assert "DEVICES='cuda' cannot be used: this machine has 1 GPU that torch" in process.stderr
    assert process.stderr.count("\n") == 1


def test_bf16_is_for_machines_whose_gpus_all_have_it(machine: Callable) -> None:
    machine(H100, T4)
    assert local().precision == "fp32"
    assert local(devices="cuda:0").precision == "bf16"


def test_slices_of_a_gpu_are_counted_by_name(machine: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(("NVIDIA H100 80GB HBM3 MIG 1g.10gb", (9, 0), 10))  # CUDA shows a process the first one only
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-b,MIG-c")
    one = local()
    assert one.plan(3, SMALL) == "3 at once on 3 × NVIDIA H100 80GB HBM3 MIG 1g.10gb, 5 threads each"
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in one.slots] == ["MIG-a", "MIG-b", "MIG-c"]
    assert not offers_mps()


def test_a_process_that_does_not_see_its_gpu_says_why(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    settings = make_settings(tiny_data, 3, device="cuda")
    folder = prepare_run(tmp_path, settings, tiny_data)
    execution = Execution(str(tiny_data / "cache" / "standin-tiny"), 1, 60.0, None)
    with pytest.raises(
        UserError, match=r"process 1 of this machine sees 1 GPU: .*without --gpus-per-task and --gpu-bind"
    ):
        train(folder, settings, execution, DistContext(1, 2, 1, 2))


def test_a_gpu_that_takes_one_process_at_a_time_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable\n")
    assert failure_reason(tmp_path).endswith(
        "(the GPU takes one process at a time: take SLOTS=1, or have its compute mode set to DEFAULT)"
    )


@pytest.mark.parametrize(
    ("load", "gibibytes", "cores", "mps", "runs"),
    [
        (SMALL, 80, 16, True, 8),
        (SMALL, 80, 16, False, 2),
        (SMALL, 80, 3, True, 3),  # each needs a core of its own
        (SMALL, 16, 16, True, 6),
        (SMALL, 2, 16, True, 1),
        (Load(1e12, 2**30), 80, 16, True, 1),  # ResNet-34 at 224 pixels fills the card
    ],
)  # fmt: skip
def test_runs_share_a_gpu_as_work_memory_and_cores_allow(
    load: Load, gibibytes: int, cores: int, mps: bool, runs: int
) -> None:
    assert runs_a_gpu(load, gibibytes * 2**30, cores, mps) == runs


def test_the_load_is_that_of_the_largest_run(tiny_data: Path, tmp_path: Path) -> None:
    from resnet_repro.config.families import cifar_arm
    from resnet_repro.config.recipes import HE15_CIFAR
    from resnet_repro.data.catalogue import CATALOGUE

    facts = {"standin-tiny": CATALOGUE["standin-tiny"]}

    def load(*depths: int) -> Load:
        arms = [cifar_arm("resnet", depth, HE15_CIFAR) for depth in depths]
        return heaviest([Run(make_settings(tiny_data, 3, arm, precision="bf16"), tmp_path) for arm in arms], facts)

    small, large, both = load(20), load(56), load(56, 20)
    assert both == large
    assert small.multiply_adds == pytest.approx(128 * 40.6e6, rel=0.02)
    assert large.multiply_adds == pytest.approx(128 * 125.5e6, rel=0.02)
    # Kept for one backward pass, as resnet-56's own record has it: 262 MiB; twice, beside what any process holds.
    assert large.memory - 3 * 2**29 == pytest.approx(2 * 262 * 2**20, rel=0.15)


CONTROL = """#!/bin/sh
echo "$1 $CUDA_MPS_PIPE_DIRECTORY ${{CUDA_VISIBLE_DEVICES-unset}}" >> {calls}
if [ "$1" = -d ]; then {start}; else read -r said; echo "said $said" >> {calls}; fi
"""


class Control:
    """A control program that writes down what it is asked for."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, start: str = "true", client: str = "pass"
    ) -> None:
        self.file = folder / "calls.txt"
        program = folder / "nvidia-cuda-mps-control"
        program.write_text(CONTROL.format(calls=self.file, start=start))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
        monkeypatch.setattr(sharing, "CLIENT", client)

    @property
    def calls(self) -> list[list[str]]:
        return [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []


def test_runs_share_a_gpu_through_a_service_that_ends_with_them(
    machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(H100)
    control = Control(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    one = local()
    assert one.plan(25, SMALL) == f"8 at once on {H100[0]}, sharing it through MPS, 2 threads each"
    (place,) = {slot.environment["CUDA_MPS_PIPE_DIRECTORY"] for slot in one.slots}
    assert {slot.share for slot in one.slots} == {1 / 8}
    assert control.calls == [["-d", place, "unset"]], "its clients count the GPUs as they are without it"
    one.close()
    assert control.calls[1:] == [[place, "unset"], ["said", "quit"]]
    assert not Path(place).exists()


def test_the_service_ends_when_its_launcher_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control(tmp_path, monkeypatch)
    script = (
        "import time; from resnet_repro.launch import sharing; sharing.CLIENT = 'pass'; sharing.Mps(); "
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while ["said", "quit"] not in control.calls:
        assert time.monotonic() < deadline, control.calls
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        ({"start": "echo It is already running >&2; exit 1"}, "It is already running"),
        # The daemon starts, and each run would end at its first call of CUDA.
        ({"client": "import sys; sys.exit('CUDA error 805')"}, "a client ends with CUDA error 805"),
    ],
)
def test_without_the_service_runs_take_turns(
    control: dict[str, str],
    reason: str,
    machine: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine(H100)
    calls = Control(tmp_path, monkeypatch, **control)
    one = local()
    assert one.plan(25, SMALL) == f"2 at once on {H100[0]}, 8 threads each"
    assert caplog.messages == [f"MPS cannot be started ({reason}): runs take turns on a GPU"]
    assert calls.calls[-1] == ["said", "quit"], "a daemon that started is ended"
    one.close()


def test_a_service_that_the_environment_names_is_left_alone(
    machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(H100)
    control = Control(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/run/mps")
    one = local()
    assert one.plan(25, SMALL) == f"8 at once on {H100[0]}, sharing it through MPS, 2 threads each"
    assert {slot.environment["CUDA_MPS_PIPE_DIRECTORY"] for slot in one.slots} == {"/run/mps"}
    one.close()
    assert control.calls == []


def test_one_run_needs_no_service(machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(H100)
    control = Control(tmp_path, monkeypatch)
    for one, runs in ((local(), 1), (local(slots=1), 25), (local(spread=True), 25)):
        one.plan(runs, SMALL)
        one.close()
    assert control.calls == []
    started = Mps(start=False)
    started.close()
    assert started.environment == {}

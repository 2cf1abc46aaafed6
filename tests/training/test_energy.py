"""Energy of runs: counters, their overflow and loss, resumed runs, estimates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from resnet_repro.hardware import stated_watts
from resnet_repro.training import energy
from resnet_repro.training.energy import EnergyMeter, energy_meter, gpu_counter, processor_counter

PSYS = "intel-rapl:7"  # the whole machine, packages included
CUDA = torch.device("cuda", 0)


def make_packages(folder: Path, joules: dict[str, float], size: float = 100.0) -> None:
    for name, value in joules.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "energy_uj").write_text(f"{round(value * 1e6)}\n")
        (folder / name / "name").write_text("psys\n" if name == PSYS else f"package-{name[-1]}\n")
        (folder / name / "max_energy_range_uj").write_text(f"{round(size * 1e6) - 1}\n")


def test_processor_packages_are_added_and_overflows_counted(tmp_path: Path) -> None:
    make_packages(
        tmp_path, {"intel-rapl:0": 90, "intel-rapl:1": 5, "intel-rapl:0:0": 50, "intel-rapl-mmio:0": 70, PSYS: 5}
    )
    read = processor_counter(tmp_path)
    assert read is not None and read() == 0
    make_packages(tmp_path, {"intel-rapl:0": 10, "intel-rapl:1": 7, "intel-rapl:0:0": 99, PSYS: 60})
    assert read() == pytest.approx(20 + 2)  # the part 0:0 is in its package; 90 to 100 and on to 10


def test_processors_without_a_readable_counter_have_none(tmp_path: Path) -> None:
    assert processor_counter(tmp_path / "missing") is None
    make_packages(tmp_path, {"intel-rapl:0": 90})
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()  # as for users who may not read it
    assert processor_counter(tmp_path) is None


def counting(*joules: float) -> Iterator[float]:
    yield from joules
    raise OSError("gone")


def meter(*joules: float, share: float = 0.5) -> EnergyMeter:
    return EnergyMeter(24.0, counting(*joules).__next__, share, "NVML, 0.5 of a GPU")


def test_measured_energy_is_the_share_of_the_counter() -> None:
    found = meter(1000, 1100, 1300)
    found.update()
    assert found.state() == {"joules": 150.0, "measured": True, "basis": ["NVML, 0.5 of a GPU"]}


def test_energy_adds_up_over_the_lives_of_a_run_without_the_time_between() -> None:
    first = meter(0, 80).state()
    second = meter(5_000, 5_000, 5_020)
    second.resume(first, seconds=9.0)
    assert second.state() == {"joules": 50.0, "measured": True, "basis": ["NVML, 0.5 of a GPU"]}


def test_a_life_without_a_meter_is_estimated() -> None:
    later = meter(0, 0, 20)
    later.resume(None, seconds=10.0)
    assert later.state() == {"joules": 250.0, "measured": False, "basis": ["stated 24 W", "NVML, 0.5 of a GPU"]}


def test_a_lost_counter_is_replaced_by_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(seconds=7.0)
    monkeypatch.setattr(energy.time, "monotonic", lambda: now.seconds)
    found = meter(0, 20)
    found.update()
    found.update()  # the counter is gone
    now.seconds += 2
    assert found.state() == {"joules": 58.0, "measured": False, "basis": ["NVML, 0.5 of a GPU", "stated 24 W"]}


@pytest.mark.parametrize(
    ("device", "name", "cores", "watts"),
    [
        ("cpu", "AMD EPYC", 3, 36), ("cuda", "NVIDIA H100 80GB HBM3", 1, 700), ("cuda", "NVIDIA H100 PCIe", 1, 350),
        ("cuda", "NVIDIA A100-SXM4-40GB", 1, 400), ("cuda", "NVIDIA L40S", 1, 350), ("cuda", "NVIDIA L4", 1, 72),
        ("cuda", "an unknown GPU", 1, 200), ("mps", "Apple M1", 8, 39),
    ],
)  # fmt: skip
def test_stated_power(device: str, name: str, cores: int, watts: float) -> None:
    assert stated_watts(device, name, cores) == watts


def fake_nvml(monkeypatch: pytest.MonkeyPatch, millijoules: list[int]) -> None:
    """A GPU with this series of readings, after which it has none."""

    class NVMLError(Exception): ...

    def total(handle: str) -> int:
        assert handle == "GPU-0123"
        if not millijoules:
            raise NVMLError("Not Supported")
        return millijoules.pop(0)

    module = SimpleNamespace(
        NVMLError=NVMLError, nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=total,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    properties = SimpleNamespace(uuid="0123")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda gpu: "NVIDIA H100 80GB HBM3")


def test_a_gpu_has_its_counter_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, [5_000, 6_000, 9_000])
    found = energy_meter(CUDA, gpu_share=0.25)  # reads once to see whether there is a counter
    assert (found.watts, found.counted_by) == (175.0, "NVML, 0.25 of a GPU")
    assert found.state()["joules"] == pytest.approx(3.0 * 0.25)


def test_gpus_without_a_counter_and_slices_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, [])
    assert gpu_counter(CUDA) is None
    fake_nvml(monkeypatch, [5_000])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0123")
    assert gpu_counter(CUDA) is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert gpu_counter(CUDA) is None

"""Energy of a run: read from counters of the hardware where there are any, otherwise estimated from stated power.

Counters cover whole devices. Of a GPU that several runs share, a run counts the share of its slot; of the processors, that
of its threads. No step waits for a reading.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from resnet_repro.hardware import device_name, stated_watts

# Of Linux: one counter for each processor package, also for AMD's. Most systems let only root read them.
POWERCAP = Path("/sys/class/powercap")
ZONES, PACKAGE = "intel-rapl:[0-9]*", "package"  # other zones, such as psys, contain packages
MICRO, MILLI = 1e-6, 1e-3


@dataclass
class EnergyMeter:
    """Adds up the energy of a run, also over earlier processes of a resumed run."""

    watts: float
    """Stated power of the run's share of the device."""
    counter: Callable[[], float] | None = None
    """Returns joules of the whole device. Raises OSError. None: there is no counter."""
    share: float = 1.0
    """The run's share of what the counter counts, in (0, 1]."""
    counted_by: str = ""
    """Name of the counter, with the share."""
    joules: float = 0.0
    """Up to the last `update`."""
    basis: list[str] = field(default_factory=list)
    """How each part of the energy was found."""
    measured: bool = True
    """Whether a counter was read for all of it."""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Leave out the energy since the last `update`."""
        self._last = self._now()

    def update(self) -> None:
        """Add the energy since the last `update`."""
        had_counter = self.counter is not None
        now = self._now()
        if had_counter and self.counter is None:  # it failed: this part is lost, and the rest is estimated
            self._last = now
        factor = self.share if self.counter else self.watts
        if now > self._last:
            self.joules += (now - self._last) * factor
            self._say(self.counted_by if self.counter else _stated(self.watts), self.counter is not None)
        self._last = now

    def state(self) -> dict[str, Any]:
        """The energy until now, for a checkpoint or the record."""
        self.update()
        return {"joules": self.joules, "measured": self.measured, "basis": list(self.basis)}

    def resume(self, state: Mapping[str, Any] | None, seconds: float) -> None:
        """Continue from the state in a checkpoint. None: an earlier version, without a meter, trained for `seconds`."""
        if state is None:
            state = {"joules": seconds * self.watts, "measured": False, "basis": [_stated(self.watts)]}
        self.joules, self.measured, self.basis = state["joules"], state["measured"], list(state["basis"])
        self.restart()

    def _now(self) -> float:
        """Joules of the counter; without one, seconds."""
        try:
            return self.counter() if self.counter else time.monotonic()
        except OSError:
            self.counter, self.measured = None, False
            return time.monotonic()

    def _say(self, basis: str, measured: bool) -> None:
        self.measured = self.measured and measured
        if basis not in self.basis:
            self.basis.append(basis)


def _stated(watts: float) -> str:
    return f"stated {watts:g} W"


def energy_meter(device: torch.device, gpu_share: float = 1.0) -> EnergyMeter:
    """The meter of a run on a device, with torch's number of threads on a CPU. gpu_share: the run's share of its GPU."""
    threads = torch.get_num_threads()
    name = device_name(device.type, device.index or 0)
    if device.type == "cuda":
        watts = stated_watts("cuda", name) * gpu_share
        return EnergyMeter(watts, gpu_counter(device), gpu_share, f"NVML, {gpu_share:.3g} of a GPU")
    cores = os.cpu_count() or threads
    share = min(1.0, threads / cores)
    watts = stated_watts(device.type, name, threads)
    return EnergyMeter(watts, processor_counter(), share, f"RAPL, {threads} of {cores} cores")


def gpu_counter(device: torch.device) -> Callable[[], float] | None:
    """The energy counter of an NVIDIA GPU, in joules (since Volta); None without one, or without nvidia-ml-py.

    A slice of a partitioned GPU (MIG) has no counter.
    """
    if "MIG-" in os.environ.get("CUDA_VISIBLE_DEVICES", ""):
        return None
    try:
        import pynvml  # type: ignore[import-not-found]
    except ImportError:
        return None
    uuid = str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")

    def read() -> float:
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * MILLI
        except pynvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        read()
    except (pynvml.NVMLError, OSError):  # the driver or the card has no counter
        return None
    return read


def processor_counter(folder: Path = POWERCAP) -> Callable[[], float] | None:
    """The energy counter of all processor packages, in joules; None if there is none that this user may read.

    Overflows of a counter are added up if it is read at least once per overflow, which takes a quarter of an hour or more.
    """
    zones = [path for path in sorted(folder.glob(ZONES)) if path.name.count(":") == 1]
    packages = [path for path in zones if _name(path).startswith(PACKAGE)]
    last: dict[Path, int] = {}
    total = 0

    def read() -> float:
        nonlocal total
        for package in packages:
            value, size = (_integer(package / name) for name in ("energy_uj", "max_energy_range_uj"))
            total += (value - last.get(package, value)) % (size + 1)
            last[package] = value
        return total * MICRO

    try:
        read()
    except (OSError, ValueError):
        return None
    return read if packages else None


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _integer(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))

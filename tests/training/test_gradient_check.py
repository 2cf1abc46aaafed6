"""The check of a device's gradients, with faults of devices injected on the CPU."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_settings, prepare_run

from resnet_repro.errors import UserError
from resnet_repro.models.norms import BatchNorm
from resnet_repro.records.failures import SAID
from resnet_repro.training import device_check, gradient_check, train_run
from resnet_repro.training.gradient_check import (
    ALLOWED,
    computed_on,
    ensure_right_gradients,
    reference,
    trouble,
    worst,
)

CPU = torch.device("cpu")
forward = BatchNorm.forward


class Scaled(torch.autograd.Function):
    """The identity, whose gradient is too large by a factor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] * ctx.factor, None


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make gradients through batch normalization wrong by a factor, without an error, as Apple's GPUs had them.

    Only in float32 and in channels-last layout, so that the reference stays right. Forward passes do not change.
    """

    def inject(factor: float) -> None:
        def wrong(self: BatchNorm, x: torch.Tensor) -> torch.Tensor:
            is_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
            return forward(self, Scaled.apply(x, factor) if is_last and x.dtype != torch.float64 else x)  # type: ignore[arg-type]

        monkeypatch.setattr(BatchNorm, "forward", wrong)

    return inject


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Check the CPU, too, as if it were a GPU. Returns the folder of the marks."""
    monkeypatch.setattr(gradient_check, "UNCHECKED", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "resnet-repro" / "devices"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_right_device_passes_and_one_with_wrong_gradients_does_not(
    precision: str, faulty: Callable[[float], None]
) -> None:
    assert trouble(CPU, precision) is None
    faulty(3.0)
    problem = trouble(CPU, precision)
    assert problem is not None
    assert f"computes wrong gradients in {precision}: gradient of " in problem
    assert f"expected at most {ALLOWED[precision]:g}" in problem and "another version of torch" in problem


def test_in_float32_a_fault_of_a_thousandth_is_seen(faulty: Callable[[float], None]) -> None:
    faulty(1.001)
    assert trouble(CPU, "fp32") is not None


def test_a_deviation_is_relative_to_the_reference() -> None:
    right = reference()
    doubled = right | {"gradient of fc.bias": 2.5 * right["gradient of fc.bias"]}
    deviation = worst(doubled, right)
    assert deviation.quantity == "gradient of fc.bias" and deviation.size == pytest.approx(1.5)


def test_values_that_are_not_finite_deviate_most() -> None:
    right = reference()
    broken = right | {"bn1.running_var": right["bn1.running_var"] * float("nan")}
    assert worst(broken, right) == gradient_check.Deviation("bn1.running_var", float("inf"))


def test_a_device_that_cannot_take_the_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some releases end with an error about strides instead of wrong values."""

    def crash(self: BatchNorm, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float64:
            return forward(self, x)
        raise RuntimeError("view size is not compatible with input tensor's size and stride\nmore")

    monkeypatch.setattr(BatchNorm, "forward", crash)
    problem = trouble(CPU, "fp32")
    assert problem is not None and "cannot take a training step" in problem and "view size is not compatible" in problem


def test_a_wrong_device_is_refused_each_time_and_a_right_one_is_checked_once(
    checked: Path, faulty: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(BatchNorm, "forward", lambda self, x: forward(self, x) * (1 if x.dtype == torch.float64 else 2))
        for _ in range(2):
            with pytest.raises(UserError, match="computes wrong gradients in fp32"):
                ensure_right_gradients(CPU, "bf16")
    assert not checked.exists()
    ensure_right_gradients(CPU, "bf16")
    assert len(list(checked.iterdir())) == 1
    faulty(3.0)
    ensure_right_gradients(CPU, "bf16")  # known to be right, so nothing is computed
    with pytest.raises(UserError):
        ensure_right_gradients(CPU, "fp32")
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    with pytest.raises(UserError, match=r"torch 9\.9\.9"):
        ensure_right_gradients(CPU, "bf16")


def test_the_check_goes_on_without_a_place_for_its_mark(checked: Path) -> None:
    checked.parent.parent.write_text("a file in place of the folder")
    ensure_right_gradients(CPU, "fp32")


def test_the_check_draws_no_random_numbers_of_the_run(checked: Path) -> None:
    before = torch.get_rng_state()
    ensure_right_gradients(CPU, "fp32")
    assert checked.exists() and torch.equal(torch.get_rng_state(), before)


def test_a_run_on_a_wrong_device_ends_before_its_first_step_as_bad_input(
    tiny_data: Path,
    tmp_path: Path,
    checked: Path,
    faulty: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = prepare_run(tmp_path, make_settings(tiny_data), tiny_data)
    faulty(3.0)
    monkeypatch.setattr(train_run, "_follow_launcher", lambda: None)
    assert train_run.main([str(folder)]) == 2
    assert f"{SAID}cpu (" in capfd.readouterr().err
    assert not (folder / "record.json").exists() and not (folder / "metrics.csv").exists()


def test_check_compares_eager_steps_of_a_device(faulty: Callable[[float], None]) -> None:
    assert all(result.is_right for result in device_check.compared(CPU))
    faulty(3.0)
    results = device_check.compared(CPU)
    assert results and not any(result.is_right for result in results)


def test_a_device_without_free_memory_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(gradient_check, "computed_on", full)
    results = device_check.compared(CPU)
    assert results and all("has no free memory" in result.text and not result.is_right for result in results)


def test_a_captured_step_starts_from_the_same_state_as_an_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-up steps change batch statistics, which must not remain. The capture is replaced: a CPU has no graphs."""
    monkeypatch.setattr(device_check, "cuda_graph", lambda work: work)
    captured = computed_on(CPU, "fp32", device_check.captured_pass)
    assert worst(captured, computed_on(CPU, "fp32")).size < 1e-6


@pytest.mark.parametrize(
    ("compiled", "is_right", "words"),
    [
        (lambda net: net, True, "as eager steps"),
        (lambda net: lambda x: 2 * net(x), False, "deviates from that of an eager step by"),
        (lambda net: 1 / 0, False, r"cannot be used \(ZeroDivisionError"),
    ],
)
def test_compiled_steps_are_compared_with_eager_ones(
    compiled: Callable, is_right: bool, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The compiler is replaced by a function: a real one takes seconds."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(device_check, "has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda net, dynamic: compiled(net))
    (result,) = device_check.compared_compiled(CPU)
    assert result.is_right == is_right and result.only_slower == ("cannot" in words)
    assert re.search(words, result.text)

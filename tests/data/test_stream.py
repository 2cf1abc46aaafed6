"""Batches of images in memory: epochs, augmentation, normalization, resuming, evaluation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_repro.config.arm import Recipe
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.arrays import Arrays, Split
from resnet_repro.data.base import StreamConfig, evaluation_batch
from resnet_repro.data.catalogue import STANDIN_TINY
from resnet_repro.data.color import EIGENVALUES, EIGENVECTORS, color_shift
from resnet_repro.data.stream import (
    Draw,
    InMemoryData,
    Normalization,
    crop_and_flip,
    draw_epoch,
    steps_per_epoch,
)
from resnet_repro.errors import UserError

CPU = torch.device("cpu")
RECIPE = replace(HE15_CIFAR, padding=0, flip=False)


def numbered(count: int) -> Arrays:
    """Images with their index in their first two pixels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    split = Split(images, (np.arange(count) % 10).astype(np.uint8))
    return Arrays(STANDIN_TINY, split, split, "", Path())


def in_memory(arrays: Arrays, recipe: Recipe, seed: int, stop: int, resolution: int | None = None) -> InMemoryData:
    return InMemoryData(arrays, StreamConfig(recipe, seed, stop, CPU, resolution))


def indices(images: torch.Tensor, normalization: Normalization) -> list[int]:
    """The indices of the images of `numbered`."""
    raw = (images * normalization.scale + normalization.mean).round().long()
    return (raw[:, 0, 0, 0] + 256 * raw[:, 0, 0, 1]).tolist()


def test_an_epoch_of_50_000_has_391_steps() -> None:
    assert steps_per_epoch(50_000, 128) == 391


def test_each_epoch_holds_every_image_once_with_a_short_last_batch() -> None:
    data = in_memory(numbered(300), RECIPE, seed=1, stop=6)
    batches = list(data.train_dataloader())
    assert [len(y) for _, y, _ in batches] == [128, 128, 44] * 2
    epochs = [[n for x, _, _ in batches[i : i + 3] for n in indices(x, data.normalization)] for i in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(300))
    assert epochs[0] != epochs[1]


def test_labels_stay_with_their_images() -> None:
    data = in_memory(numbered(300), RECIPE, seed=1, stop=3)
    for images, labels, _ in data.train_dataloader():
        assert [n % 10 for n in indices(images, data.normalization)] == labels.tolist()


def test_a_fixed_order_is_the_same_in_every_epoch_and_at_every_seed() -> None:
    recipe = replace(RECIPE, order="fixed", scaling="none", validation_images=20)
    for seed in (0, 1):
        data = in_memory(numbered(300), recipe, seed, stop=6)
        batches = list(data.train_dataloader())
        for epoch in (batches[:3], batches[3:]):
            assert [n for x, _, _ in epoch for n in indices(x, data.normalization)] == list(range(280))


def test_a_fixed_order_keeps_the_draws_of_crops_and_mirrors() -> None:
    shuffled, fixed = (draw_epoch(100, 3, 5, 4, True, 0.1, shuffle) for shuffle in (True, False))
    assert fixed.order.tolist() == list(range(100))
    for name in ("dy", "dx", "flip", "colors"):
        assert torch.equal(getattr(shuffled, name), getattr(fixed, name))


@pytest.mark.parametrize("start", [1, 2, 3, 5])
def test_resumed_stream_gives_the_same_batches(start: int) -> None:
    data = in_memory(numbered(300), HE15_CIFAR, seed=1, stop=7)
    whole = list(data.train_dataloader())
    stream = data.train_dataloader()
    stream.load_state_dict({"step": start})
    rest = list(stream)
    assert len(rest) == 7 - start
    for (x, y, _), (u, v, _) in zip(whole[start:], rest, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_state_of_the_stream_is_the_number_of_batches_given() -> None:
    stream = in_memory(numbered(300), HE15_CIFAR, seed=1, stop=7).train_dataloader()
    iterator = iter(stream)
    for _ in range(4):
        next(iterator)
    assert stream.state_dict() == {"step": 4}
    assert len(stream) == 7


def test_crops_and_flips_are_uniform() -> None:
    draw = draw_epoch(81_000, seed=0, epoch=0, padding=4, flip=True)
    for offsets in (draw.dy, draw.dx):
        counts = Counter(offsets.tolist())
        assert set(counts) == set(range(9))
        assert all(8_600 < count < 9_400 for count in counts.values())  # 9,000 expected, standard deviation 89
    assert len({*zip(draw.dy.tolist(), draw.dx.tolist(), strict=True)}) == 81
    assert 0.49 < draw.flip.float().mean().item() < 0.51


def test_draws_depend_on_seed_and_epoch() -> None:
    orders = [tuple(draw_epoch(100, s, e, 4, True).order.tolist()) for s, e in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert orders[0] == orders[3]
    assert len(set(orders)) == 3


@pytest.mark.parametrize(("dy", "dx", "flip"), [(0, 0, False), (4, 4, False), (8, 3, True), (2, 8, True)])
def test_crop_is_a_window_of_the_padded_image(dy: int, dx: int, flip: bool) -> None:
    images = torch.randn(1, 3, 32, 32)
    out = crop_and_flip(images, torch.tensor([dy]), torch.tensor([dx]), torch.tensor([flip]), padding=4)
    expected = torch.nn.functional.pad(images, (4, 4, 4, 4))[:, :, dy : dy + 32, dx : dx + 32]
    assert torch.equal(out, expected.flip(3) if flip else expected)


def test_border_of_a_crop_has_the_mean_colour() -> None:
    data = in_memory(numbered(300), HE15_CIFAR, seed=0, stop=1)
    images = data.normalization(torch.from_numpy(numbered(300).train.images[:2]))
    out = crop_and_flip(images, torch.tensor([0, 8]), torch.tensor([4, 4]), torch.tensor([False, False]), 4)
    assert not out[0, :, :4].any()
    assert not out[1, :, -4:].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_scalings_of_the_recipes(channels: int) -> None:
    split = Split(numbered(300).train.images[:, :channels], numbered(300).train.labels)
    pixels = torch.from_numpy(split.images)
    centred = Normalization.of(split, CPU)(pixels)
    assert centred.mean(0).abs().max().item() < 1e-5
    assert centred.pow(2).mean().item() == pytest.approx(1, abs=1e-4)
    assert centred.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(Normalization.of(split, CPU, "unit")(pixels), pixels / 255)
    raw = Normalization.of(split, CPU, "none")(pixels)
    assert torch.equal(raw, pixels.float()), "the exact pixels, 0 to 255"
    standard = Normalization.of(split, CPU, "standard")(pixels)
    assert standard.mean((0, 2, 3)).abs().max().item() < 1e-4
    assert standard.std((0, 2, 3), correction=0).tolist() == pytest.approx([1.0] * channels, abs=1e-4)


def test_validation_images_are_evaluated_and_not_trained_on() -> None:
    recipe = replace(HE15_CIFAR, validation_images=100, padding=0, flip=False)
    data = in_memory(numbered(300), recipe, seed=0, stop=steps_per_epoch(200, 128))
    assert data.splits == ["train", "test", "validation"]
    assert [data.images(split) for split in data.splits] == [200, 300, 100]
    trained = [n for x, _, _ in data.train_dataloader() for n in indices(x, data.normalization)]
    assert sorted(trained) == list(range(200))
    validation = [n for x, _ in data.batches("validation") for n in indices(x, data.normalization)]
    assert validation == list(range(200, 300))
    changed = numbered(300)
    changed.train.images[200:] = 0
    assert torch.equal(in_memory(changed, recipe, 0, 1).normalization.mean, data.normalization.mean)


def test_train_images_limits_training_to_the_first_images() -> None:
    recipe = replace(RECIPE, train_images=40, validation_images=100)
    data = in_memory(numbered(300), recipe, seed=0, stop=1)
    assert {split: data.images(split) for split in data.splits} == {"train": 40, "test": 300, "validation": 100}
    ((images, _, _),) = list(data.train_dataloader())
    assert sorted(indices(images, data.normalization)) == list(range(40))


def test_images_are_resized_to_the_resolution() -> None:
    """Bilinearly, after crop and flip, in training and evaluation."""
    arrays = numbered(60)
    small, large = (in_memory(arrays, HE15_CIFAR, 0, 1, resolution) for resolution in (None, 64))
    assert (small.shape, large.shape) == ((3, 32, 32), (3, 64, 64))
    for stream in (lambda data: data.train_dataloader(), lambda data: data.batches("test", 40)):
        images, *_ = next(iter(stream(small)))
        resized, *_ = next(iter(stream(large)))
        expected = torch.nn.functional.interpolate(images, (64, 64), mode="bilinear")
        assert torch.allclose(resized, expected, atol=1e-5)
        assert resized.is_contiguous(memory_format=torch.channels_last)
    assert in_memory(arrays, HE15_CIFAR, 0, 1, 16).batches("test", 4).__next__()[0].shape == (4, 3, 16, 16)


def test_colours_shift_along_their_principal_components() -> None:
    """One shift per image with a tenth of the components' deviations; order and crops are the same as without."""
    plain, colored = draw_epoch(4_000, 1, 0, 4, True), draw_epoch(4_000, 1, 0, 4, True, color=0.1)
    assert plain.colors is None and colored.colors is not None
    for name in ("order", "dy", "dx", "flip"):
        assert torch.equal(getattr(plain, name), getattr(colored, name))
    shifts = color_shift(colored.colors)[:, :, 0, 0]
    vectors, values = torch.tensor(EIGENVECTORS), torch.tensor(EIGENVALUES)
    covariance = (255 * 0.1) ** 2 * vectors @ torch.diag(values**2) @ vectors.T
    assert torch.allclose(shifts.T.cov(), covariance, rtol=0.15, atol=0.3)
    assert torch.allclose(vectors.T @ vectors, torch.eye(3), atol=2e-3)
    recipe = replace(RECIPE, color=0.1, scaling="unit")
    data = in_memory(numbered(64), recipe, 1, 1)
    ((images, _, _),) = list(data.train_dataloader())
    ((unshifted, _, _),) = list(in_memory(numbered(64), replace(recipe, color=0.0), 1, 1).train_dataloader())
    difference = 255 * (images - unshifted)
    assert float(difference.std((2, 3)).max()) < 1e-3 and float(difference.abs().max()) > 1


def test_too_few_training_images_are_rejected() -> None:
    with pytest.raises(UserError, match="has 300 training images: expected more than 300,"):
        in_memory(numbered(300), replace(HE15_CIFAR, validation_images=300), 0, 1)


def test_evaluation_batches_are_complete_and_in_order() -> None:
    arrays = numbered(601)
    data = in_memory(arrays, HE15_CIFAR, seed=0, stop=1)
    batches = list(data.batches("test"))
    assert [len(y) for _, y in batches] == [200, 200, 200, 1]
    assert [n for x, _ in batches for n in indices(x, data.normalization)] == list(range(601))
    assert sum(len(y) for _, y in data.batches("train", 301)) == 301


@pytest.mark.parametrize(("device", "waits"), [("cuda", False), ("mps", True), ("cpu", True)])
def test_copies_are_asynchronous_on_cuda_only(device: str, waits: bool) -> None:
    """The memory of a draw is freed at once; an asynchronous copy to MPS would read freed memory (pytorch issue 189690)."""

    class Spy(torch.Tensor):
        def to(self, *args: object, **kwargs: object) -> torch.Tensor:  # type: ignore[override]
            calls.append((args[0], kwargs["non_blocking"]))
            return self

    calls: list[tuple[object, object]] = []
    tensors = [torch.zeros(1).as_subclass(Spy) for _ in range(5)]
    Draw(*tensors).to(torch.device(device))
    assert calls == [(torch.device(device), not waits)] * 5


def test_evaluation_batches_have_a_limited_number_of_pixels_on_gpus() -> None:
    """The pixels of 1,000 images of 32 pixels. 1,000 images of 224 pixels would need 12 GB in a ResNet's first layers."""
    assert [evaluation_batch("cuda", pixels) for pixels in (28, 32, 64, 96, 224, 1024)] == [
        1000,
        1000,
        250,
        111,
        64,
        64,
    ]
    assert [evaluation_batch("cpu", pixels) for pixels in (32, 224)] == [200, 200]

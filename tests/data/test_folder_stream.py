"""Batches from class folders: epochs, independence of workers, unreadable images."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_folders import make_folders

from resnet_repro.config.recipes import BLOG_E_TRANSFER, HE15_IMAGENET
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.folder_stream import FolderData
from resnet_repro.data.folders import scan
from resnet_repro.data.stream import IMAGENET_MEAN, IMAGENET_STD, draw_epoch
from resnet_repro.data.workers import loss_of_worker
from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.errors import UserError
from resnet_repro.training.train_run import first_batch

CPU = torch.device("cpu")
PLAIN = replace(BLOG_E_TRANSFER, batch_size=5, train_images=0)  # pixels in 0..1, no augmentation
AUGMENTED = replace(HE15_IMAGENET, batch_size=5)
IMAGES = 13  # three batches per epoch, the last of three images


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen training images and seven test images, each with a unique colour."""
    root = make_folders(tmp_path_factory.mktemp("folders"), train=7, test=4)
    (root / "train" / "bee" / "6.png").unlink()
    (root / "val" / "ant" / "3.png").unlink()
    return root


def open_folders(root: Path, recipe=PLAIN, stop: int = 6, dist=ALONE, **options) -> FolderData:
    return FolderData(scan(root), StreamConfig(recipe, 0, stop, CPU, 16, dist), **options)


def identities(images: torch.Tensor) -> list[tuple[int, int]]:
    """(class, number) of each image, from its colour."""
    middle = (images[:, :, 8, 8] * 255).round()
    return [(round(red / 40), round(green / 10)) for red, green, _ in middle.tolist()]


def equal(one: list, two: list) -> bool:
    return len(one) == len(two) and all(
        all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(x, y, strict=True))
        for x, y in zip(one, two, strict=True)
    )


def test_each_epoch_holds_every_image_once_with_its_label(root: Path) -> None:
    batches = list(open_folders(root).train_dataloader())
    assert [len(labels) for _, labels, _ in batches] == [5, 5, 3, 5, 5, 3]
    epochs = [[image for images, _, _ in part for image in identities(images)] for part in (batches[:3], batches[3:])]
    assert all(len(set(epoch)) == IMAGES for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert all(
        label == kind
        for images, labels, _ in batches
        for label, (kind, _) in zip(labels.tolist(), identities(images), strict=True)
    )
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)


def test_epoch_order_equals_that_of_images_in_memory(root: Path) -> None:
    data = open_folders(root)
    order = draw_epoch(IMAGES, 0, 1, padding=4, flip=True).order.tolist()
    labels = [data.folders.files["train"][index].label for index in order]
    assert torch.cat([batch[1] for batch in list(data.train_dataloader())[3:]]).tolist() == labels


@pytest.mark.parametrize("processes", [2, 3])
def test_weighted_mean_over_processes_is_the_mean_of_the_whole_batch(root: Path, processes: int) -> None:
    whole = list(open_folders(root, AUGMENTED).train_dataloader())
    by_process = [
        list(open_folders(root, AUGMENTED, dist=DistContext(rank, processes)).train_dataloader())
        for rank in range(processes)
    ]
    for (images, labels, _), *parts in zip(whole, *by_process, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)
        means = [float(part[0].double().mean()) * part[2] for part in parts]
        assert sum(means) / processes == pytest.approx(float(images.double().mean()), abs=1e-9)


def test_processes_without_an_image_get_weight_zero(root: Path) -> None:
    parts = [list(open_folders(root, stop=3, dist=DistContext(rank, 4)).train_dataloader())[-1] for rank in range(4)]
    assert sorted(weight for *_, weight in parts) == [0.0, 4 / 3, 4 / 3, 4 / 3]
    assert all(len(images) == len(labels) == 1 for images, labels, _ in parts)


def test_batches_are_independent_of_workers_and_of_resuming(root: Path) -> None:
    """Bit for bit: decoded in this process or by two workers, from the start or resumed at step 4."""
    batches = list(open_folders(root, AUGMENTED).train_dataloader())
    assert equal(batches, list(open_folders(root, AUGMENTED, workers=2).train_dataloader()))
    stream = open_folders(root, AUGMENTED).train_dataloader()
    iterator = iter(stream)
    for _ in range(4):
        next(iterator)
    resumed = open_folders(root, AUGMENTED).train_dataloader()
    resumed.load_state_dict(stream.state_dict())
    assert stream.state_dict() == {"step": 4}
    assert equal(list(resumed), batches[4:])


def test_augmentation_differs_between_images_and_epochs(root: Path) -> None:
    batches = list(open_folders(root, AUGMENTED).train_dataloader())
    means = torch.cat([images.mean((2, 3)) for images, _, _ in batches])
    assert len({tuple(row) for row in means.tolist()}) == 2 * IMAGES


def test_pixels_have_imagenet_scaling_after_one_colour_shift_per_image(root: Path) -> None:
    recipe = replace(AUGMENTED, color=0.0)
    images, *_ = next(iter(open_folders(root, recipe).train_dataloader()))
    pixels = images * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
    assert len(set(identities(pixels))) == 5
    shifted, *_ = next(iter(open_folders(root, AUGMENTED).train_dataloader()))
    difference = (shifted - images).std((2, 3))
    assert float(difference.max()) < 1e-5 and float((shifted - images).abs().min()) > 0


def test_evaluation_covers_every_image_once_over_all_processes(root: Path) -> None:
    data = open_folders(root, AUGMENTED)
    labels = torch.cat([labels for _, labels in data.batches("test", size=2)])
    parts = [torch.cat([y for _, y in data.batches("test", size=2, share=DistContext(rank, 3))]) for rank in range(3)]
    assert len(labels) == 7 and torch.equal(torch.cat(parts), labels)
    assert sum(len(y) for _, y in data.batches("train", 5)) == 5
    views = next(iter(data.ten_views("test")))[0]
    assert views.shape == (7, 10, 3, 16, 16)
    images = next(iter(data.batches("test")))[0]
    assert torch.allclose(views[:, 4], images)


def test_recipe_sets_the_sizes_of_training_and_validation_splits(root: Path) -> None:
    data = open_folders(root, replace(PLAIN, validation_images=4, train_images=6))
    assert {split: data.images(split) for split in data.splits} == {"train": 6, "test": 7, "validation": 4}
    with pytest.raises(UserError, match=r"has 13 training images: expected more than 13,"):
        open_folders(root, replace(PLAIN, validation_images=13))
    with pytest.raises(UserError, match=r"scaling 'pixel-mean' .*memory"):
        open_folders(root, replace(PLAIN, scaling="pixel-mean"))


def test_record_holds_the_image_counts_of_classes_and_splits(root: Path) -> None:
    facts = open_folders(root).facts_for_record()
    assert facts["class_images"] == {"ant": {"train": 7, "test": 3}, "bee": {"train": 6, "test": 4}}
    assert (facts["train_images"], facts["test_images"], facts["standin"], facts["shape"]) == (
        13,
        7,
        False,
        [3, 16, 16],
    )


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    root = make_folders(tmp_path / "broken", train=6, test=4)
    for file in ("train/bee/2.png", "val/ant/1.png"):
        (root / file).write_bytes((root / file).read_bytes()[:40])
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_an_error_that_names_the_file(broken: Path, workers: int) -> None:
    with pytest.raises(UserError, match=r"train/bee/2\.png cannot be read as an image .*BROKEN=skip"):
        list(open_folders(broken, stop=3, workers=workers).train_dataloader())


def test_unreadable_images_are_skipped_and_listed(broken: Path) -> None:
    data = open_folders(broken, skip_broken=True)
    batches = list(data.train_dataloader())
    assert sum(len(batch[1]) for batch in batches) == 2 * 11
    short = [batch for batch in batches if batch.weight != 1]
    assert [weight for *_, weight in short] == [
        pytest.approx(len(labels) / (len(labels) + 1)) for _, labels, _ in short
    ]
    assert len(short) == 2
    assert sum(len(labels) for _, labels in data.batches("test")) == 7
    assert [path for path, _ in data.broken()] == ["train/bee/2.png", "val/ant/1.png"]
    assert all(reason for _, reason in data.broken())
    resumed = open_folders(broken, skip_broken=True)
    resumed.mark_broken([*data.broken(), ("train/ant/9.png", "of another process")])
    assert resumed.broken() == sorted([*data.broken(), ("train/ant/9.png", "of another process")])


def test_batch_without_readable_images_has_weight_zero(broken: Path) -> None:
    files = scan(broken).files["train"]
    first_images = draw_epoch(len(files), 0, 0, padding=0, flip=False).order[: PLAIN.batch_size]
    for index in first_images:
        (broken / files[index].path).write_bytes(b"")
    data = open_folders(broken, stop=1, skip_broken=True)
    ((images, labels, weight),) = list(data.train_dataloader())
    assert (len(images), len(labels), weight) == (1, 1, 0.0)


@pytest.mark.parametrize(("split", "folder"), [("train", "train"), ("test", "val")])
def test_split_without_readable_images_is_rejected_before_training(broken: Path, split: str, folder: str) -> None:
    for file in scan(broken).files[split]:
        (broken / file.path).write_bytes(b"broken")
    message = rf"none of the \d+ images for {split} in .*broken/{folder} .*\(it is not a complete image .*\)"
    with pytest.raises(UserError, match=message):
        open_folders(broken, skip_broken=True)
    assert open_folders(broken).images(split)  # without skip_broken, the error comes during training


def test_first_batch_without_readable_images_is_rejected(broken: Path, tmp_path: Path) -> None:
    data = open_folders(broken, skip_broken=True)
    for file in scan(broken).files["train"][:5]:
        (broken / file.path).write_bytes(b"broken")
    with pytest.raises(UserError, match=r"first 5 training images of broken \(class folders\)"):
        first_batch(data, 5)
    images, labels = first_batch(data, 6)
    assert len(images) == len(labels) == 1


def test_full_shared_memory_changes_no_batch_and_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    batches = list(open_folders(root, AUGMENTED).train_dataloader())
    monkeypatch.setattr("resnet_repro.data.workers.default_collate", refuse)
    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    data = open_folders(root, AUGMENTED, workers=2)
    assert equal(batches, list(data.train_dataloader()))
    assert len(data.remarks()) == 1 and "/dev/shm" in data.remarks()[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of torch's half-made iterator
def test_without_workers_the_training_process_decodes_and_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    batches = list(open_folders(root, AUGMENTED).train_dataloader())
    monkeypatch.setattr(torch.multiprocessing, "Queue", refuse)
    data = open_folders(root, AUGMENTED, workers=2)
    assert equal(batches, list(data.train_dataloader()))
    assert data.remarks() == [
        "no worker can be started (No space left on device): the training process decodes all images"
    ]


def test_batch_that_cannot_be_sent_ends_the_run_with_a_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue's thread in the worker fails, which torch does not report: the training process would wait for ever."""
    monkeypatch.setattr("resnet_repro.data.folder_stream.sendable", lambda _: lambda: "cannot be pickled")
    with pytest.raises(RuntimeError) as error:
        list(open_folders(root, workers=1).train_dataloader())
    assert re.match("a process that decodes images has ended.*WORKERS", loss_of_worker(error.value) or "")
    assert loss_of_worker(RuntimeError("another error")) is None


def test_normal_batches_travel_without_a_remark(root: Path) -> None:
    data = open_folders(root, workers=2)
    assert len(list(data.train_dataloader())) == 6 and data.remarks() == []

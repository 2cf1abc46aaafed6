"""Predictions of a finished run for single test images. Does not import torch.

A run's final evaluation of the test images gives both. The images are the first `final.test_images` of the test split, in the
order of the data: of data sets in memory sorted by the digests of the images (`data.arrays`), of class folders in the
order of their listing.

    predictions.safetensors     logits (N, classes) float16, labels (N,) int32; up to 16 MiB of logits; not committed
    record.json, test_correct   which images are classified correctly, a bit each; up to 100,000 images
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from resnet_repro.errors import UserError, os_reason
from resnet_repro.records.layout import PREDICTIONS, RECORD
from resnet_repro.records.record import Record

LARGEST_LOGITS = 16 * 2**20  # bytes: test images of CIFAR take 200 kB; those of ImageNet would take 100 MB
MOST_IMAGES = 100_000  # 12.5 kB of bits in a record


def keeps_logits(images: int, classes: int) -> bool:
    """Whether the logits of so many images are small enough to be kept."""
    return images * classes * np.dtype(np.float16).itemsize <= LARGEST_LOGITS


def keeps_correct(images: int) -> bool:
    """Whether a record has room for the correctness of so many images."""
    return images <= MOST_IMAGES


def write_predictions(folder: Path, logits: np.ndarray, labels: np.ndarray, facts: Mapping[str, str]) -> None:
    """Write logits (N, classes) float16 and labels (N,) int32 to a run's folder, atomically.

    facts: the entry `about` of the file's header, as JSON, e.g. the digest of the data. Raises OSError.
    """
    path = folder / PREDICTIONS
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(save({"logits": logits, "labels": labels}, metadata={"about": json.dumps(facts)}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_predictions(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """(logits (N, classes) float16, labels (N,) int32) of a run; None if its folder has no such file.

    Raises UserError if the file cannot be read.
    """
    path = folder / PREDICTIONS
    try:
        tensors = load_file(path)
        return tensors["logits"], tensors["labels"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({os_reason(error)}): check what it is, and its permissions") from error
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it, or train the run again") from error


def packed(correct: np.ndarray) -> str:
    """The correctness (N,) bool of images as text: bits, the first image in the highest bit of the first byte, in base64."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode("ascii")


def correct_images(record: Record) -> np.ndarray | None:
    """Whether each test image was classified correctly at the end of a run, (N,) bool; None if the record does not say.

    Raises UserError if the entry contradicts the test error of the record.
    """
    if record.test_correct is None:
        return None
    images, error = record.final.get("test_images"), record.final.get("test_error")
    try:
        bits = np.frombuffer(base64.b64decode(record.test_correct, validate=True), np.uint8)
    except (binascii.Error, ValueError):
        bits = np.zeros(0, np.uint8)
    if isinstance(images, int) and error is not None and len(bits) == -(-images // 8):
        correct = np.unpackbits(bits, count=images).astype(bool)
        if images - int(correct.sum()) == round(images * error / 100):
            return correct
    raise UserError(
        f"test_correct in {record.folder / RECORD} contradicts its test error: expected one bit for each of {images} images; "
        f"delete {record.folder} to train this run again"
    )

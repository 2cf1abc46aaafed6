"""Benchmark of the input pipeline for class folders: decoding speed against training speed.

    make benchmark        runs this first; about 3 minutes on two CPU cores, on a machine with no other load

Each round measures the training batches per second with one worker and with one worker per core, without a net. It then
measures training steps of ResNet-18 and ResNet-34 at 224 pixels on a prepared batch. The speed of a net divided by the speed
of one worker is the number of workers that the device needs. Without --dataset the images are synthetic JPEG files of
ImageNet's average size. Rewrites benchmarks/INPUT.md.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from resnet_repro.config.recipes import HE15_IMAGENET
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.folder_stream import FolderData
from resnet_repro.data.folders import ClassFolders, scan
from resnet_repro.hardware import cpu_cores, device_name, resolve_precision
from resnet_repro.models.imagenet import Depth, imagenet_net

HERE = Path(__file__).resolve().parent
RESOLUTION = 224
WIDTH, HEIGHT, QUALITY = 500, 375, 92  # of the synthetic images: about 110 kB, as in ImageNet
PICTURES = 256
BATCHES = {"cpu": (6, 64), "cuda": (40, 256)}  # pipeline: (batches, images per batch)
STEPS = {"cpu": (3, 16), "cuda": (30, 256)}  # nets: (steps, images per batch)
DEPTHS: tuple[Depth, ...] = (18, 34)


def draw(root: Path) -> None:
    """Make class folders of smooth images with some noise, which compress like photographs."""
    rng = np.random.default_rng(0)
    for split, count in (("train", PICTURES), ("val", 2)):
        for index in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            smooth = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            noisy = np.asarray(smooth, dtype=np.float32) + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
            folder = root / split / str(index % 2)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.jpg", quality=QUALITY)


def pipeline_rate(folders: ClassFolders, device: torch.device, workers: int) -> float:
    """Training images per second of the pipeline, after the workers have started."""
    count, size = BATCHES[device.type]
    recipe = replace(HE15_IMAGENET, batch_size=size)
    data = FolderData(folders, StreamConfig(recipe, 0, count + workers * 4 + 1, device, RESOLUTION), workers)
    stream = iter(data.train_dataloader())
    for _ in range(workers * 4 + 1):  # skip batches that the workers have prepared before the measurement
        next(stream)
    _wait(device)
    begin = time.perf_counter()
    for _ in range(count):
        next(stream)
    _wait(device)
    return count * size / (time.perf_counter() - begin)


def net_rate(depth: Depth, device: torch.device, precision: str) -> float:
    """Training images per second of a net on a prepared batch."""
    count, size = STEPS[device.type]
    net = imagenet_net("resnet", depth).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    images = torch.randn(size, 3, RESOLUTION, RESOLUTION, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (size,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()

    step()
    _wait(device)
    begin = time.perf_counter()
    for _ in range(count):
        step()
    _wait(device)
    return count * size / (time.perf_counter() - begin)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="class folders (default: synthetic images)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = torch.device("cpu")
    precision, cores = resolve_precision("auto", device.type), cpu_cores()
    torch.set_num_threads(cores)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = options.dataset or Path(scratch)
        if not options.dataset:
            draw(root)
        folders = scan(root)
        for number in range(options.rounds):
            for workers in sorted({1, cores}):
                rates.setdefault(f"pipeline, {workers} workers", []).append(pipeline_rate(folders, device, workers))
            for depth in DEPTHS:
                rates.setdefault(f"ResNet-{depth}", []).append(net_rate(depth, device, precision))
            last = ", ".join(f"{name} {values[-1]:.0f}" for name, values in rates.items())
            print(f"round {number + 1}/{options.rounds}: {last} images/s", flush=True)
        images = str(options.dataset) if options.dataset else f"synthetic JPEG files of {WIDTH}×{HEIGHT} pixels"
    one = rates["pipeline, 1 workers"]
    lines = [
        "# The input pipeline",
        "",
        f"Written by `make benchmark` on {time.strftime('%Y-%m-%d')}: {device_name(device.type)}, {platform.system()} "
        f"{platform.machine()}, torch {torch.__version__}, {precision}. Training images per second at {RESOLUTION} pixels from "
        f"{images}: median of {options.rounds} interleaved rounds (minimum-maximum).",
        "",
        "| measurement | images/s | relative to one worker |",
        "| --- | --- | --- |",
        *(f"| {name} | {_spread(values, 0)} | {_spread(_over(values, one), 2)} |" for name, values in rates.items()),
        "",
        "- *Pipeline*: read, decode, crop, scale, flip and collate files, and normalize them on the device, without a net. On "
        "a CPU, the workers share the cores with the process that normalizes.",
        "- *ResNet*: training steps on a prepared batch, on all cores or on one GPU.",
        "- The last column of a net is the number of workers that this device keeps busy. For another device, divide its "
        "images per second by those of one worker on its host.",
        "",
    ]
    (HERE / "INPUT.md").write_text("\n".join(lines))


def _over(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()

"""How fast images are decoded, scaled and cut from class folders, against how fast nets train on them.

    make benchmark        before the training benchmark; about 3 minutes on two CPU cores, on a quiet machine

Per round: the batches of a training with one worker and with one for each core, no net behind them; then training steps of
ResNet-18 and ResNet-34 at 224 pixels on the device, on a batch that lies ready. The second rate over the first is the number
of workers that a device needs. Without --dataset the pictures are drawn: JPEG files as large as ImageNet's are on average.
Rewrites benchmarks/INPUT.md.
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
WIDTH, HEIGHT, QUALITY = 500, 375, 92  # of the drawn pictures: some 110 kB, as in ImageNet
PICTURES = 256
BATCHES = {"cpu": (6, 64), "cuda": (40, 256)}  # of the pipeline: how many, of how many images
STEPS = {"cpu": (3, 16), "cuda": (30, 256)}  # of the nets: how many, on how many images
DEPTHS: tuple[Depth, ...] = (18, 34)


def draw(root: Path) -> None:
    """Class folders of smooth pictures with some noise, which compress as photographs do."""
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
    """Training images a second that come out of the pipeline, the first batch, which starts the workers, left out."""
    count, size = BATCHES[device.type]
    recipe = replace(HE15_IMAGENET, batch_size=size)
    data = FolderData(folders, StreamConfig(recipe, 0, count + workers * 4 + 1, device, RESOLUTION), workers)
    stream = iter(data.train_dataloader())
    for _ in range(workers * 4 + 1):  # what the workers have ready from before the clock starts
        next(stream)
    _wait(device)
    begin = time.perf_counter()
    for _ in range(count):
        next(stream)
    _wait(device)
    return count * size / (time.perf_counter() - begin)


def net_rate(depth: Depth, device: torch.device, precision: str) -> float:
    """Training images a second of a net alone."""
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
    parser.add_argument("--dataset", type=Path, help="class folders (default: pictures are drawn)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = torch.device("cpu")
    precision, cores = resolve_precision("auto", device.type), cpu_cores()
    torch.set_num_threads(cores)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = options.dataset or Path(scratch)
        if not options.dataset:
            draw(root)
        folders = scan(root)
        for number in range(options.rounds):
            for workers in sorted({1, cores}):
                found.setdefault(f"pipeline, {workers} workers", []).append(pipeline_rate(folders, device, workers))
            for depth in DEPTHS:
                found.setdefault(f"ResNet-{depth}", []).append(net_rate(depth, device, precision))
            rates = ", ".join(f"{name} {values[-1]:.0f}" for name, values in found.items())
            print(f"round {number + 1}/{options.rounds}: {rates} images/s", flush=True)
        pictures = str(options.dataset) if options.dataset else f"drawn JPEG files of {WIDTH}×{HEIGHT} pixels"
    one = found["pipeline, 1 workers"]
    lines = [
        "# The input pipeline",
        "",
        f"Written by `make benchmark` on {time.strftime('%Y-%m-%d')}: {device_name(device.type)}, {platform.system()} "
        f"{platform.machine()}, torch {torch.__version__}, {precision}. Training images a second at {RESOLUTION} pixels from "
        f"{pictures}, median of {options.rounds} interleaved rounds with their range.",
        "",
        "| what | images/s | over one worker |",
        "| --- | --- | --- |",
        *(f"| {name} | {_spread(values, 0)} | {_spread(_over(values, one), 2)} |" for name, values in found.items()),
        "",
        "- *Pipeline*: files read, decoded, cut, scaled, flipped, collated, and normalized on the device, with no net behind "
        "them. On a CPU the workers share the cores with the process that normalizes.",
        "- *ResNet*: training steps on a batch that lies ready, on all cores or on one GPU.",
        "- The last column of a net is the number of workers that one such device keeps busy. For another device divide its "
        "images a second by those of one worker on its host's cores.",
        "",
    ]
    (HERE / "INPUT.md").write_text("\n".join(lines))


def _over(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()

"""Made-up class folders."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

RED, HALF_RED_ON_WHITE = (200, 0, 0), (227, 128, 128)


def save(path: Path, size: tuple[int, int] = (8, 6), mode: str = "RGB", color: object = RED, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)  # type: ignore[arg-type]
    return path


def make_folders(
    root: Path, train: int = 4, test: int = 3, classes: tuple[str, ...] = ("ant", "bee"), val: str = "val"
) -> Path:
    """Write class folders with `train` and `test` images per class, each image in a different colour."""
    for split, count in (("train", train), (val, test)):
        for label, name in enumerate(classes):
            for index in range(count):
                save(root / split / name / f"{index}.png", color=(40 * label, 10 * index, len(split)))
    return root

"""Pages of a PDF as grey pixels, for tests of layout."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import typst
from PIL import Image

PPI = 24
MARGIN = round(2 / 2.54 * PPI)  # pixels: the 2 cm of reports


def pages_of(pdf: Path, folder: Path) -> list[np.ndarray]:
    """All pages of the PDF, each (H, W) from 0 (black) to 255 (white)."""
    shutil.copyfile(pdf, folder / "shown.pdf")
    pages = []
    while True:
        source = f'#set page(width: auto, height: auto, margin: 0pt)\n#image("shown.pdf", page: {len(pages) + 1})'
        (folder / "page.typ").write_text(source)
        try:
            png = typst.compile(str(folder / "page.typ"), root=str(folder), format="png", ppi=PPI)
        except RuntimeError as error:
            if "page" not in str(error) or not pages:
                raise
            return pages
        assert isinstance(png, bytes)
        pages.append(np.asarray(Image.open(io.BytesIO(png)).convert("L")))


def emptiest_part(page: np.ndarray) -> float:
    """The height of the tallest white band between the margins, as a fraction of the height between them."""
    text = page[MARGIN:-MARGIN]
    inked = np.flatnonzero((text < 200).any(axis=1))
    edges = np.concatenate([[0], inked, [len(text)]])
    return float(np.diff(edges).max() / len(text))

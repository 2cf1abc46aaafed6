"""The rule of what an image file is, for class folders of users and for sources of the catalogue's data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from PIL import Image, PngImagePlugin

# The formats of the documentation, by Pillow's names. Pillow tries no other: a suffix may be wrong, and for some formats
# (EPS) it starts other programs. JPEG includes MPO, the format of many phones.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
MOST_PIXELS = 2**30  # of an image. A small file may declare more pixels than any memory holds.
NAMED_SUFFIXES = 10  # suffixes of files left out that are counted one by one

# Names that storage servers, desktops and archivers add, without regard to case. Names that begin with a dot are hidden.
_SYSTEM_NAMES = frozenset(
    [
        *("@eadir", "@recycle", "@__thumb", "@recently-snapshot", "#recycle", "#snapshot", "@tmp"),
        *("__macosx", "icon\r", "temporary items", "network trash folder"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("recycler", "recycled", "found.000", "lost.dir", "_vti_cnf", "~snapshot", "@sharebin"),
        *("lost+found", "__pycache__"),
    ]
)

Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow warns from here, and refuses twice as many
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # editors store histories of several MB


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of this name is hidden, or was added by a storage server, a desktop or an archiver."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_image(name: str) -> bool:
    """Whether a file that is not hidden counts as an image, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def suffix_of(name: str) -> str:
    """Return the suffix of a file name in lower case, for messages; "without suffix" if it has none."""
    return PurePath(name).suffix.lower() or "without suffix"


def counted(kinds: Iterable[str]) -> dict[str, int]:
    """Count files by kind, the most frequent first; rare kinds are counted together as "other"."""
    counts = Counter(kinds)
    kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:NAMED_SUFFIXES])
    others = counts.total() - sum(kept.values())
    return kept | ({"other": others} if others else {})


def listed(counts: dict[str, int]) -> str:
    """Format counts by kind, e.g. "5 .heic, 1 .txt"."""
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items())

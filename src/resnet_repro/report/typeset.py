"""Typeset a template and plain data as a PDF; equal data give equal bytes."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnet_repro.surroundings import printable

ABSENT = "no PDF, since typst is not installed: run pip install typst, then make report"


def can_typeset() -> bool:
    """Whether typst is installed; training and figures do not need it."""
    return find_spec("typst") is not None


def typeset(template: str, content: Mapping[str, Any], folder: Path, name: str) -> None:
    """Typeset `content` with a template of this package as `folder`/`name`; image paths are relative to `folder`."""
    import typst

    text = json.dumps(all_printable(content), ensure_ascii=False)
    with _laid_out(template, folder) as source:
        pdf = typst.compile(
            source,
            root=source.parent,
            ignore_system_fonts=has_glyphs(text),
            timestamp=0,  # equal records give equal bytes
            sys_inputs={"content": text},
        )
    (folder / name).write_bytes(pdf)


def query(template: str, content: Mapping[str, Any], folder: Path, label: str) -> list[Any]:
    """Return the metadata values that the template stores under a label for `content`, in document order."""
    import typst

    text = json.dumps(all_printable(content), ensure_ascii=False)
    with _laid_out(template, folder) as source:
        values = typst.query(
            source,
            f"<{label}>",
            field="value",
            root=source.parent,
            ignore_system_fonts=has_glyphs(text),
            sys_inputs={"content": text},
        )
    return json.loads(values)


def has_glyphs(text: str) -> bool:
    """Whether typst's own fonts have all characters, as for most alphabets. Chinese needs a font of this machine."""
    if text.isascii():
        return True
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    # The one of typst's fonts with the most characters.
    known = FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf").get_charmap()
    return all(ord(character) in known for character in text)


def all_printable(content: Any) -> Any:
    """Return `content` with all its texts `printable`, also those of records of earlier versions."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, Mapping):
        return {key: all_printable(value) for key, value in content.items()}
    return [all_printable(value) for value in content] if isinstance(content, list | tuple) else content


@contextlib.contextmanager
def _laid_out(template: str, folder: Path) -> Iterator[Path]:
    """Copy the template and its imports into `folder`, beside the images, and yield its path.

    If the path of `folder` is not UTF-8, which typst needs, the path is that of a temporary copy of the folder.
    """
    for source in (template, "common.typ"):
        shutil.copyfile(str(files("resnet_repro.report") / source), folder / source)
    if printable(str(folder)) == str(folder):
        yield folder / template
    else:
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copytree(folder, scratch, dirs_exist_ok=True)
            yield Path(scratch) / template

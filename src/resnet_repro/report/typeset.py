"""Typeset a template and plain data as a PDF for archives and screen readers; equal data give equal bytes.

The PDFs conform to PDF/A-2a (archives; ISO 19005-2) and PDF/UA-1 (accessibility; ISO 14289-1). typst writes none that breaks
a rule it checks: a figure without alternative text, a skipped heading level, a character without a glyph.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnet_repro.surroundings import printable

STANDARDS = ("a-2a", "ua-1")

ABSENT = "no PDF, since typst is not installed: run pip install typst, then make report"


def can_typeset() -> bool:
    """Whether typst is installed; training and figures do not need it."""
    return find_spec("typst") is not None


def typeset(template: str, content: Mapping[str, Any], folder: Path, name: str) -> None:
    """Typeset `content` with a template of this package as `folder`/`name`; image paths are relative to `folder`.

    content: its "date" is the date of the document. Characters that no font of this machine has are printed as codes.
    """
    import typst

    text = json.dumps(all_printable(content), ensure_ascii=False)
    with _laid_out(template, folder) as source:
        options: dict[str, Any] = {
            "root": source.parent,
            "ignore_system_fonts": has_glyphs(text),
            "timestamp": datetime.fromisoformat(content["date"]),  # of the records: equal records give equal bytes
            "pdf_standards": list(STANDARDS),
        }
        try:
            pdf = typst.compile(source, sys_inputs={"content": text}, **options)
        except typst.TypstError:
            if has_glyphs(text):
                raise
            pdf = typst.compile(source, sys_inputs={"content": _in_codes(text)}, **options)
    (folder / name).write_bytes(pdf)


def date_of(times: Sequence[str]) -> str:
    """Return the last of some times in ISO 8601, for the date of a document; 1970 without any."""
    return max(times, key=datetime.fromisoformat, default=datetime(1970, 1, 1, tzinfo=UTC).isoformat())


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
    return text.isascii() or all(map(_is_known, text))


def _is_known(character: str) -> bool:
    return ord(character) in _known() and unicodedata.category(character) != "Co"  # the standards allow no private use


@cache
def _known() -> frozenset[int]:
    """Return the characters of the one of typst's fonts that has the most."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf").get_charmap())


def _in_codes(text: str) -> str:
    """Replace the characters in JSON that typst's fonts lack by codes, e.g. \\u6570, as `printable` does."""
    return "".join(
        character if character.isascii() or _is_known(character) else f"\\\\u{ord(character):04x}" for character in text
    )


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

"""Typeset a template and plain data as a PDF; equal data give equal bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ABSENT = "no PDF, since typst is not installed: run pip install typst, then make report"


def can_typeset() -> bool:
    """Whether typst is installed; training and figures do not need it."""
    return find_spec("typst") is not None


def typeset(template: str, content: Mapping[str, Any], folder: Path, name: str) -> None:
    """Typeset `content` with a template of this package as `folder`/`name`; image paths are relative to `folder`."""
    import typst

    typst.compile(
        str(_laid_out(template, folder)),
        output=str(folder / name),
        root=str(folder),
        ignore_system_fonts=True,
        timestamp=0,  # equal records give equal bytes
        sys_inputs={"content": json.dumps(content)},
    )


def query(template: str, content: Mapping[str, Any], folder: Path, label: str) -> list[Any]:
    """Return the metadata values that the template stores under a label for `content`, in document order."""
    import typst

    values = typst.query(
        str(_laid_out(template, folder)),
        f"<{label}>",
        field="value",
        root=str(folder),
        ignore_system_fonts=True,
        sys_inputs={"content": json.dumps(content)},
    )
    return json.loads(values)


def _laid_out(template: str, folder: Path) -> Path:
    """Copy the template and its imports into `folder`, beside the images; return its path."""
    for source in (template, "common.typ"):
        shutil.copyfile(str(files("resnet_repro.report") / source), folder / source)
    return folder / template

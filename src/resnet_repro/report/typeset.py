"""From a template and plain data to a PDF, the same bytes for the same data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ABSENT = "typst is not installed, so there is no PDF: pip install typst, then make report"


def can_typeset() -> bool:
    """Whether typst is installed; trainings and figures do without it."""
    return find_spec("typst") is not None


def typeset(template: str, content: Mapping[str, Any], folder: Path, name: str) -> None:
    """Set `content` by a template of this package to `folder`/`name`; images are looked up in `folder`."""
    import typst

    typst.compile(
        str(_laid_out(template, folder)),
        output=str(folder / name),
        root=str(folder),
        ignore_system_fonts=True,
        timestamp=0,  # a rerun on the same records gives the same bytes
        sys_inputs={"content": json.dumps(content)},
    )


def query(template: str, content: Mapping[str, Any], folder: Path, label: str) -> list[Any]:
    """The values that the template notes under a label when it sets `content`, in the document's order."""
    import typst

    found = typst.query(
        str(_laid_out(template, folder)),
        f"<{label}>",
        field="value",
        root=str(folder),
        ignore_system_fonts=True,
        sys_inputs={"content": json.dumps(content)},
    )
    return json.loads(found)


def _laid_out(template: str, folder: Path) -> Path:
    """The template in `folder`, beside what it imports and the images that it shows."""
    for source in (template, "common.typ"):
        shutil.copyfile(str(files("resnet_repro.report") / source), folder / source)
    return folder / template

"""Independence of the user's surroundings: the locale, undecodable names of files, settings of matplotlib."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from pathlib import Path

from resnet_repro.errors import UserError

# Variables of every process of the project. A notebook sets MPLBACKEND to a module that only its own environment has;
# importing matplotlib, which Lightning does, then fails.
ENVIRONMENT = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
MATPLOTLIBRC = Path("matplotlibrc")  # in the working directory, where it precedes the variable

# Signs in messages, for terminals that have only ASCII.
_IN_ASCII = {
    "×": "x", "–": "-", "−": "-", "…": "...", "±": "+-", "→": "->", "≤": "<=", "≥": ">=", "“": '"', "”": '"', "’": "'",
    "₁": "1", "₂": "2", "β": "beta", "ε": "epsilon", "σ": "sigma", "━": "-", "╸": "-", "╺": "-",
}  # fmt: skip
_HANDLER = "resnet-repro-ascii"
_OF_A_PROCESSOR = re.compile(r"[a-z0-9_]+-[0-9a-f]{12}")  # as `training.compilation.instruction_set` names subfolders


def make_independent(encoding: str | None = None) -> None:
    """Let this process and its children print any text, and import matplotlib, in any environment.

    encoding: of standard output and standard error. None keeps the user's; characters that it lacks are shown in ASCII.
    """
    os.environ.update(ENVIRONMENT)
    os.environ.pop("SOURCE_DATE_EPOCH", None)  # numpy and matplotlib read it, though no file here has a date
    if not os.environ.get("COLUMNS", "").strip("0"):
        os.environ.pop("COLUMNS", None)  # rich prints nothing on a terminal without columns
    codecs.register_error(_HANDLER, _ascii_for)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=_HANDLER)


def _ascii_for(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle characters that an encoding lacks: show those of `_IN_ASCII` by look-alikes, others by their code."""
    if isinstance(error, UnicodeEncodeError) and (sign := _IN_ASCII.get(error.object[error.start])):
        return sign, error.start + 1
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


def printable(name: str) -> str:
    """Return a file's name as text for records and reports: bytes that are not UTF-8, and control characters, as codes.

    Python shows bytes that it cannot decode as lone surrogates, which no file can hold. In an ASCII locale these include
    the bytes of valid UTF-8, which are decoded here.
    """
    decoded = re.sub(
        "[\udc80-\udcff]+",
        lambda found: found[0].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        name,
    )
    return re.sub("[\ud800-\udfff\x00-\x1f\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", decoded)


def check_matplotlibrc() -> None:
    """Raise UserError if the working directory has settings of matplotlib with which importing matplotlib fails."""
    try:
        if MATPLOTLIBRC.is_file():
            MATPLOTLIBRC.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{MATPLOTLIBRC.absolute()} cannot be read by matplotlib ({error}): repair or remove it, or work in another folder"
        ) from error


def compiler_cache() -> Path:
    """The folder of Inductor's cache, which all programs of the user share."""
    import getpass
    import tempfile

    # Repeats Inductor's default folder: importing it takes seconds.
    try:
        user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or Path(tempfile.gettempdir(), f"torchinductor_{user}"))


def compiler_caches() -> list[Path]:
    """This project's parts of Inductor's cache, one for each processor."""
    try:
        folders = sorted(path for path in compiler_cache().iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
    return [path for path in folders if _OF_A_PROCESSOR.fullmatch(path.name)]

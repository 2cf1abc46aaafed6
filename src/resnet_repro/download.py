"""Files fetched from addresses, with what went wrong in words."""

from __future__ import annotations

import http.client
import socket
import urllib.error
from pathlib import Path

TIMEOUT_SECONDS = 60


class DownloadError(Exception):
    """Why a file could not be fetched, as the end of a sentence that begins with its address.

    is_missing: whether the place was reached and does not have it.
    """

    def __init__(self, problem: str, is_missing: bool = False) -> None:
        super().__init__(problem)
        self.is_missing = is_missing


def is_url(text: str) -> bool:
    """Whether a mirror is an address and no folder; of one that cannot be parsed the download says what is wrong."""
    return text.partition("://")[0].lower() in ("http", "https", "file", "ftp") and "://" in text


def fetch(url: str, path: Path) -> None:
    """Write what is at `url` to `path`, with a bar that shows how far it is. Raises DownloadError."""
    from torch.hub import download_url_to_file  # seconds to import, and most commands download nothing

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        download_url_to_file(url, str(path), progress=True)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"answers {error.code} {error.reason}", error.code in (403, 404)) from error
    except urllib.error.URLError as error:
        is_missing = isinstance(error.reason, FileNotFoundError)
        raise DownloadError(f"cannot be reached ({error.reason})", is_missing) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last two also for what is no address
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise DownloadError(f"could not be downloaded ({reason})") from error
    finally:
        socket.setdefaulttimeout(before)

"""Download files, with readable reasons for failures."""

from __future__ import annotations

import http.client
import socket
import urllib.error
from pathlib import Path

TIMEOUT_SECONDS = 60


class DownloadError(Exception):
    """A file could not be downloaded. The message is the end of a sentence that begins with the URL.

    is_missing: the server was reached but does not have the file.
    """

    def __init__(self, problem: str, is_missing: bool = False) -> None:
        super().__init__(problem)
        self.is_missing = is_missing


def is_url(text: str) -> bool:
    """Whether a mirror is a URL and not a folder. A malformed URL counts as one; `fetch` then reports its error."""
    return text.partition("://")[0].lower() in ("http", "https", "file", "ftp") and "://" in text


def fetch(url: str, path: Path) -> None:
    """Download `url` to `path`, with a progress bar. Raises DownloadError."""
    from torch.hub import download_url_to_file  # takes seconds to import, and most commands download nothing

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        download_url_to_file(url, str(path), progress=True)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"returned HTTP {error.code} {error.reason}", error.code in (403, 404)) from error
    except urllib.error.URLError as error:
        is_missing = isinstance(error.reason, FileNotFoundError)
        raise DownloadError(f"cannot be reached ({error.reason})", is_missing) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last two also for malformed URLs
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise DownloadError(f"could not be downloaded ({reason})") from error
    finally:
        socket.setdefaulttimeout(before)

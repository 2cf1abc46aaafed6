"""Where the bytes of a data set come from: the data folder, a mirror, the official site."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.data.arrays import Arrays, Split, load, store
from resnet_repro.data.catalogue import DatasetFacts, choose, standin_for
from resnet_repro.data.formats import read_source
from resnet_repro.data.standin import generate
from resnet_repro.download import DownloadError, fetch, is_url
from resnet_repro.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSources:
    """Where data sets are looked for, before their official sites: a folder, and a mirror (a folder or a URL).

    data_dir_named: whether the user chose the folder; a damaged source in it is passed over only if not.
    """

    data_dir: Path
    mirror: str | None = None
    data_dir_named: bool = True


def obtain(name: str, sources: DataSources, default_name: str | None = None) -> Arrays:
    """The arrays of a data set, from its cache or from the first source that has it.

    name: a name of the catalogue, or "auto": `default_name` where it can be had, else the stand-in of its shape.
    default_name: the experiment's own data set, whose image shape `name` must have (see `catalogue.choose`).
    Raises UserError where no source has the data set, where a source that the user named is damaged, or where the
    images have another shape than the experiment's own.
    """
    facts = choose(name, default_name)
    cache = sources.data_dir / "cache" / facts.name
    if arrays := load(facts, cache):
        return arrays
    if facts.standin:
        return _make_standin(facts, cache)
    problems = []
    for origin, named, read in _readable(facts, sources):
        log.info(f"reading {facts.title} from {origin}")
        try:
            store(facts, read(), cache, origin)
        except UserError as error:
            if named:
                raise
            problems.append(str(error))
            log.info(f"passed over: {error}")
            continue
        arrays = load(facts, cache)
        assert arrays is not None, f"{cache} was written and cannot be read"
        return arrays
    where = f"{sources.data_dir}" + (f", {sources.mirror}" if sources.mirror else "") + " and the official site"
    trouble = f" ({problems[-1]})" if problems else ""
    if name == "auto":
        log.info(f"STAND-IN DATA: {facts.title} is not to be had from {where}; training on generated images instead")
        return obtain(standin_for(facts).name, sources)
    raise UserError(
        f"{facts.title} is not to be had from {where}{trouble}: "
        f"set DATA_MIRROR to a folder or URL that holds {_wanted(facts)}"
    )


def _make_standin(facts: DatasetFacts, cache: Path) -> Arrays:
    log.info(f"drawing the {facts.title}")
    store(facts, generate(facts), cache, "the built-in generator")
    arrays = load(facts, cache)
    assert arrays is not None, f"{cache} was written and cannot be read"
    return arrays


def _readable(facts: DatasetFacts, sources: DataSources) -> Iterator[tuple[str, bool, Callable[[], dict[str, Split]]]]:
    """(origin, whether the user named it, how to read it) of every source that has something, best first."""
    mirror = sources.mirror
    for path in _holdings(facts, sources.data_dir):
        yield str(path), sources.data_dir_named, lambda path=path: read_source(facts, path)
    if mirror and is_url(mirror):
        for name in facts.archives or facts.folders:
            url = f"{mirror.rstrip('/')}/{name}"
            with tempfile.TemporaryDirectory() as folder:
                if path := _fetch(facts, url, Path(folder), optional=True):
                    yield url, True, lambda path=path, url=url: read_source(facts, path, url)
    elif mirror:
        if not Path(mirror).is_dir():
            raise UserError(f"DATA_MIRROR={mirror} is no folder: name an existing folder or a URL")
        for path in _holdings(facts, Path(mirror)):
            yield str(path), True, lambda path=path: read_source(facts, path)
    with tempfile.TemporaryDirectory() as folder:

        def read_official() -> dict[str, Split]:
            path = _fetch(facts, facts.url, Path(folder))
            assert path is not None
            return read_source(facts, path, facts.url)

        yield facts.url, False, read_official


def _holdings(facts: DatasetFacts, folder: Path) -> list[Path]:
    candidates = [folder / name for name in (*facts.folders, *facts.archives)]
    return [path for path in candidates if path.exists()]


def _wanted(facts: DatasetFacts) -> str:
    """What a mirror must hold, in words."""
    if facts.archives:
        return " or ".join(facts.archives)
    first, *others = facts.md5
    return f"{facts.folders[0]}/{first}.gz and beside it {', '.join(f'{name}.gz' for name in others)}"


def _fetch(facts: DatasetFacts, url: str, folder: Path, optional: bool = False) -> Path | None:
    """Download an archive, or the official files below an address, into `folder`: what `read_source` can then read.

    None where optional files are not there; where some are, `read_source` names the missing ones.
    """
    if facts.archives:
        path = folder / url.rsplit("/", 1)[-1]
        return path if _download(url, path, optional) else None
    path = folder / facts.name
    path.mkdir()
    for name in facts.md5:
        if not _download(f"{url}/{name}.gz", path / f"{name}.gz", optional):
            _download(f"{url}/{name}", path / name, optional)
    return path if any(path.iterdir()) else None


def _download(url: str, path: Path, optional: bool) -> bool:
    """Fetch `url` to `path`. False where an optional file is not there. Raises UserError for any other failure."""
    try:
        fetch(url, path)
    except DownloadError as error:
        if optional and error.is_missing:
            return False
        raise UserError(f"{url} {error}: check the address and the network, or name another DATA_MIRROR") from error
    return True

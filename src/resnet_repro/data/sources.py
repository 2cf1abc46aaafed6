"""Sources of a data set: the data folder, a mirror, the official site."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.data.arrays import Arrays, Split, combined_digest, load, only_classes, store
from resnet_repro.data.catalogue import DatasetFacts, choose, standin_for
from resnet_repro.data.formats import read_source
from resnet_repro.data.standin import generate
from resnet_repro.download import DownloadError, fetch, is_url
from resnet_repro.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSources:
    """Places to search for data sets before their official sites."""

    data_dir: Path
    """Data folder. It also holds the cache."""
    mirror: str | None = None
    """A folder or a URL. None: no mirror."""
    data_dir_named: bool = True
    """Whether the user chose `data_dir`. A damaged source there is then an error; otherwise it is skipped."""


def obtain(name: str, sources: DataSources, default_name: str | None = None) -> Arrays:
    """Return the arrays of a data set, from the cache or from the first source that has it.

    name: a name of the catalogue, or "auto" for `default_name`, with a stand-in of the same shape if no source has it.
    default_name: the experiment's data set; `name` must have images of the same shape (see `catalogue.choose`).
    Raises UserError if no source has the data set, if a source that the user named is damaged, or if the shape differs.
    """
    facts = choose(name, default_name)
    cache = sources.data_dir / "cache" / facts.name
    if arrays := load(facts, cache):
        return arrays
    if facts.standin:
        return _make_standin(facts, cache)
    if facts.part_of:
        whole = obtain(name if name == "auto" else facts.part_of, sources, facts.part_of)
        return whole if whole.facts.standin else _take_part(facts, whole, cache)
    problems = []
    for origin, named, read in _existing_sources(facts, sources):
        log.info(f"reading {facts.title} from {origin}")
        try:
            store(facts, read(), cache, origin)
        except UserError as error:
            if named:
                raise
            problems.append(str(error))
            log.info(f"skipped: {error}")
            continue
        arrays = load(facts, cache)
        assert arrays is not None, f"{cache} was written but cannot be read"
        return arrays
    places = f"{sources.data_dir} or {sources.mirror}" if sources.mirror else f"{sources.data_dir}"
    reason = f" ({problems[-1]})" if problems else ""
    if name == "auto":
        log.info(
            f"STAND-IN DATA: {facts.title} not found in {places}, and the download failed; training on generated images"
        )
        return obtain(standin_for(facts).name, sources)
    raise UserError(
        f"{facts.title} not found in {places}, and the download failed{reason}: "
        f"set DATA_MIRROR to a folder or URL that holds {_mirror_contents(facts)}"
    )


@dataclass(frozen=True)
class Foreseen:
    """What `obtain` will return, as far as this can be told without reading or downloading anything."""

    facts: DatasetFacts
    digest: str
    """Digest of the contents of both splits. Empty: not known before a stand-in is generated."""
    folder: Path
    """Folder of the cached files."""
    origin: str | None = None
    """Where the data come from: a path, an address, or "the built-in generator". None: from the cache."""
    downloads: int = 0
    """Bytes to download. 0 also for files of unknown size on a mirror."""
    unpacks: int = 0
    """Bytes to write into the cache."""


def foresee(name: str, sources: DataSources, default_name: str | None = None) -> Foreseen:
    """Foresee what `obtain` returns for the same arguments, if every source is intact and every download succeeds.

    Raises UserError for an unknown data set, another shape, and a mirror that does not exist.
    """
    facts = choose(name, default_name)
    cache = sources.data_dir / "cache" / facts.name
    if arrays := load(facts, cache):
        return Foreseen(facts, arrays.digest, cache)
    if facts.standin:
        return Foreseen(facts, "", cache, "the built-in generator", unpacks=facts.unpacked_bytes)
    digest = combined_digest(facts.digests)
    if facts.part_of:
        whole = foresee(facts.part_of, sources)
        unpacks = whole.unpacks + facts.unpacked_bytes
        return Foreseen(facts, digest, cache, whole.origin or str(whole.folder), whole.downloads, unpacks)
    origin, _, _ = next(_existing_sources(facts, sources, fetches=False))
    downloads = facts.download_bytes if origin == facts.url else 0
    return Foreseen(facts, digest, cache, origin, downloads, facts.unpacked_bytes)


def _make_standin(facts: DatasetFacts, cache: Path) -> Arrays:
    log.info(f"generating the {facts.title}")
    store(facts, generate(facts), cache, "the built-in generator")
    arrays = load(facts, cache)
    assert arrays is not None, f"{cache} was written but cannot be read"
    return arrays


def _take_part(facts: DatasetFacts, whole: Arrays, cache: Path) -> Arrays:
    parts = {
        name: only_classes(split, whole.facts.class_names, facts.class_names)
        for name, split in (("train", whole.train), ("test", whole.test))
    }
    store(facts, parts, cache, str(whole.folder))
    arrays = load(facts, cache)
    assert arrays is not None, f"{cache} was written but cannot be read"
    return arrays


def _existing_sources(
    facts: DatasetFacts, sources: DataSources, fetches: bool = True
) -> Iterator[tuple[str, bool, Callable[[], dict[str, Split]]]]:
    """Yield (origin, whether the user named it, function that reads it) of each source with the data set, best first.

    fetches: False does not ask a mirror on the network; it is then taken to have the data set.
    """
    mirror = sources.mirror
    for path in _existing_paths(facts, sources.data_dir):
        yield str(path), sources.data_dir_named, lambda path=path: read_source(facts, path)
    if mirror and is_url(mirror):
        for name in facts.archives or facts.folders:
            url = f"{mirror.rstrip('/')}/{name}"
            if not fetches:
                yield url, True, dict
                continue
            with tempfile.TemporaryDirectory() as folder:
                if path := _fetch(facts, url, Path(folder), optional=True):
                    yield url, True, lambda path=path, url=url: read_source(facts, path, url)
    elif mirror:
        if not Path(mirror).is_dir():
            raise UserError(f"DATA_MIRROR={mirror} is not a folder: expected an existing folder or a URL")
        for path in _existing_paths(facts, Path(mirror)):
            yield str(path), True, lambda path=path: read_source(facts, path)
    if not fetches:
        yield facts.url, False, dict
        return
    with tempfile.TemporaryDirectory() as folder:

        def read_official() -> dict[str, Split]:
            path = _fetch(facts, facts.url, Path(folder))
            assert path is not None
            return read_source(facts, path, facts.url)

        yield facts.url, False, read_official


def _existing_paths(facts: DatasetFacts, folder: Path) -> list[Path]:
    candidates = [folder / name for name in (*facts.folders, *facts.archives)]
    return [path for path in candidates if path.exists()]


def _mirror_contents(facts: DatasetFacts) -> str:
    """Return the names of the files that a mirror needs, for a message."""
    if facts.archives:
        return " or ".join(facts.archives)
    first, *others = facts.md5
    return f"{facts.folders[0]}/{first}.gz and, in the same folder, {', '.join(f'{name}.gz' for name in others)}"


def _fetch(facts: DatasetFacts, url: str, folder: Path, optional: bool = False) -> Path | None:
    """Download an archive, or the official files below an address, into `folder`; return a path for `read_source`.

    optional: return None if none of the files exist. If only some exist, `read_source` names a missing one.
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
    """Download `url` to `path`. Return False if an optional file does not exist. Raises UserError for other failures."""
    try:
        fetch(url, path)
    except DownloadError as error:
        if optional and error.is_missing:
            return False
        raise UserError(f"{url} {error}: check the address and the network, or use another DATA_MIRROR") from error
    return True

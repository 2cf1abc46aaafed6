"""Inputs of a study as they will be, for plans and dry runs: nothing is downloaded, unpacked or generated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from resnet_repro.data.open_data import LocatedDataset
from resnet_repro.data.sources import DataSources, Foreseen, foresee
from resnet_repro.models import pretrained
from resnet_repro.records.resume import digests_in
from resnet_repro.study.inputs import Inputs, find_inputs
from resnet_repro.study.request import Request
from resnet_repro.terminal import amount

log = logging.getLogger(__name__)


def foreseen_inputs(request: Request) -> Inputs:
    """The inputs that `find_inputs` finds if every download succeeds. Logs what it will obtain.

    Weights that are not at hand are not foreseen: the arms that are trained in their place then count.
    Raises UserError as `find_inputs`, except for damaged files and failed downloads.
    """
    seen: dict[str, Foreseen] = {}

    def locate(name: str, sources: DataSources, default_name: str | None) -> LocatedDataset:
        data = foresee(name, sources, default_name)
        if data.origin and data.facts.name not in seen:
            log.info(_will_obtain(data, name == "auto"))
        seen[data.facts.name] = data
        return LocatedDataset(data.facts, data.digest or _stored_digest(request), data.folder)

    def find(user_file: str | None, depth: int, folder: Path, mirror: str | None) -> pretrained.Weights | None:
        weights = pretrained.find(user_file, depth, folder, mirror)
        if weights is None:
            name, url = pretrained.torchvision_weights(depth)
            log.info(f"{name} will be looked for at {url}; this plan counts the runs that replace it")
        return weights

    return find_inputs(request, locate, find)


def foreseen_data(request: Request, names: Sequence[str]) -> list[Foreseen]:
    """The data sets of these names that the cache lacks."""
    found = [foresee(name, request.sources) for name in names]
    return [data for data in found if data.origin]


def _will_obtain(data: Foreseen, may_be_standin: bool) -> str:
    parts = [f"{amount(data.downloads)} to download" if data.downloads else "", f"{amount(data.unpacks)} to unpack"]
    otherwise = "; if that fails, a stand-in" if may_be_standin and data.downloads else ""
    return f"{data.facts.title} will come from {data.origin} ({', '.join(filter(None, parts))}{otherwise})"


def _stored_digest(request: Request) -> str:
    """The digest of a stand-in that is yet to be generated: that of the request's earlier runs, if they have one."""
    found = {
        digest
        for budget in (request.runs_dir / request.experiment.name).glob(f"{request.profile.name}*")
        for digest in digests_in(budget)
    }
    return found.pop() if len(found) == 1 else ""

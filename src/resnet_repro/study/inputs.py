"""Inputs of a study, located before any run starts: data sets, pretrained weights, runs of other experiments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_repro.config.arm import Arm
from resnet_repro.data.catalogue import CATALOGUE, CIFAR10
from resnet_repro.data.folders import FOLDERS_PREFIX, IMAGENET, earlier_name, names_folders, scan
from resnet_repro.data.open_data import LocatedDataset
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.diagnostics.complexity import build_on_meta
from resnet_repro.errors import UserError
from resnet_repro.models import pretrained
from resnet_repro.models.transfer import check_backbone
from resnet_repro.records.layout import parent_folder
from resnet_repro.records.record import find_record
from resnet_repro.records.resume import digests_in
from resnet_repro.study.request import Request
from resnet_repro.study.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """The data and the weights of a study."""

    dataset: LocatedDataset
    """The data set of the study."""
    by_arm: Mapping[str, LocatedDataset]
    """The data set of each arm to train. If there are `weights`, the arms that would train substitutes are left out."""
    weights: pretrained.Weights | None
    """Pretrained weights; None if no arm needs them or if they are trained instead."""


Locate = Callable[[str, DataSources, str | None], LocatedDataset]
"""Locates a data set of the catalogue, with the arguments of `sources.obtain`."""
FindWeights = Callable[[str | None, int, Path, str | None], pretrained.Weights | None]
"""Finds weights, with the arguments of `pretrained.obtain`."""


def obtained(name: str, sources: DataSources, default_name: str | None) -> LocatedDataset:
    """Locate a data set of the catalogue, and obtain it if the cache lacks it. Raises UserError as `sources.obtain`."""
    arrays = obtain(name, sources, default_name)
    return LocatedDataset(arrays.facts, arrays.digest, arrays.folder)


def find_inputs(
    request: Request, locate_named: Locate = obtained, find_weights: FindWeights = pretrained.obtain
) -> Inputs:
    """Find the data and the weights of a request. Raises UserError if any are unavailable.

    locate_named, find_weights: by default, what this machine lacks is downloaded and unpacked.
    """
    dataset = _named_as_before(locate(request.dataset, request.experiment, request.sources, locate_named), request)
    if dataset.facts.standin:
        log.info(f"STAND-IN DATA: {dataset.facts.title}; no claim about {request.experiment.dataset} is judged on it")
    weights = weights_for(request, find_weights)
    superfluous = backbone_arms(request.arms) if weights else set()
    arms = [arm for arm in request.arms if arm.name not in superfluous]
    by_arm = {arm.name: located_for(arm, dataset, request.sources, locate_named) for arm in arms}
    return Inputs(dataset, by_arm, weights)


def locate(dataset: str, experiment: Experiment, sources: DataSources, locate_named: Locate) -> LocatedDataset:
    """Locate a data set, given by a name of the catalogue or by a path to class folders.

    "auto" is the experiment's data set, or CIFAR-10 if that is ImageNet, or else a stand-in.
    Raises UserError as `locate_named` and `folders.scan` do, and if the experiment cannot use the data set.
    """
    if names_folders(dataset):
        if not experiment.folders:
            raise UserError(
                f"DATASET={dataset} names class folders, but the networks of {experiment.name} are built for the images of "
                f"{experiment.dataset}: expected the name of a data set, e.g. {experiment.dataset}"
            )
        log.info(f"scanning {dataset}")
        folders = scan(Path(dataset))
        for remark in folders.remarks():
            log.info(remark)
        return LocatedDataset(folders.facts, folders.digest, Path(dataset))
    if dataset == IMAGENET and experiment.folders:
        raise UserError(
            f"{experiment.name} needs ImageNet-1k, which may not be redistributed: set DATASET to the path of its "
            "folders (train/<class>/*, val/<class>/*), or to a data set that can be downloaded, e.g. cifar10"
        )
    if experiment.folders and dataset not in ("auto", *CATALOGUE):
        raise UserError(
            f"unknown data set {dataset!r}: expected auto, {', '.join(CATALOGUE)}, or a path to class folders "
            "(train/<class>/*, val/<class>/*)"
        )
    default = experiment.dataset if experiment.dataset in CATALOGUE else CIFAR10.name
    return locate_named(dataset, sources, default)


def backbone_arms(arms: Sequence[Arm]) -> set[str]:
    """The names of the arms that are trained only if pretrained weights are missing."""
    return {arm.start.arm for arm in arms if arm.start is not None and arm.start.how == "backbone"}


def weights_for(request: Request, find: FindWeights) -> pretrained.Weights | None:
    """Find the pretrained weights that arms of the request start from; None if no arm needs them or an arm trains them.

    Raises UserError if the profile requires weights that are missing, or if their file is unusable.
    """
    starting = [arm for arm in request.arms if arm.start is not None and arm.start.how == "backbone"]
    if not starting:
        if request.weights is not None:
            is_used = backbone_arms(request.experiment.arms)
            arms = "the selected arms" if is_used else f"any arm of {request.experiment.name}"
            raise UserError(f"WEIGHTS={request.weights} does not apply to {arms}; leave it out")
        return None
    depth = starting[0].model.options["depth"]
    folder, mirror = request.sources.data_dir / "weights", request.sources.mirror
    if weights := find(request.weights, depth, folder, mirror):
        net = build_on_meta(starting[0].model, classes=2)
        backbone = check_backbone(net, pretrained.read_state(weights.path, quiet=True), str(weights.path))
        pretrained.check_values(backbone, weights.path)
        return weights
    if not request.profile.substitutes:
        raise UserError(
            f"{request.experiment.name} at {request.profile.name} needs torchvision's weights of ResNet-{depth}, which were "
            "not found: set WEIGHTS to the path of their file"
        )
    log.info(
        f"SUBSTITUTE WEIGHTS: {', '.join(sorted(backbone_arms(request.arms)))} is trained in place of torchvision's weights"
    )
    return None


def _named_as_before(dataset: LocatedDataset, request: Request) -> LocatedDataset:
    """Give class folders the name that earlier versions gave them, if the request continues runs of such a version."""
    earlier = earlier_name(dataset.folder) if dataset.facts.name.startswith(FOLDERS_PREFIX) else None
    if earlier is None:
        return dataset
    budget = Budget.of(request.experiment, request.profile, earlier).folder
    if dataset.digest not in digests_in(request.runs_dir / request.experiment.name / budget):
        return dataset
    log.info(f"runs on {dataset.facts.title} continue in {budget}, the name that an earlier version gave their budget")
    return replace(dataset, facts=replace(dataset.facts, name=earlier))


def located_for(arm: Arm, located: LocatedDataset, sources: DataSources, locate_named: Locate) -> LocatedDataset:
    """Locate the data of an arm: its own data set or a stand-in if it names one, else the data set of the study.

    If the study uses a stand-in, so do all arms.
    """
    if arm.dataset is None or located.facts.standin or arm.dataset == located.facts.name:
        return located
    return locate_named("auto", sources, arm.dataset)


def check_parents(request: Request, runs: Sequence[Run]) -> None:
    """Raise UserError with the command to run first if runs of another experiment are needed and missing."""
    missing: dict[str, list[str]] = {}
    for run in runs:
        start = run.settings.arm.start
        if start is not None and start.experiment is not None and run.settings.weights is None:
            source = parent_folder(run.folder, run.settings)
            assert source is not None
            if find_record(source) is None:
                missing.setdefault(start.experiment, []).append(f"{start.arm} seed {run.settings.seed}")
    seeds = ",".join(map(str, request.seeds))
    runs_dir = "" if request.runs_dir == Path("runs") else f" RUNS_DIR={request.runs_dir}"
    for experiment, names in missing.items():
        names = list(dict.fromkeys(names))
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        command = Budget.parse(runs[0].settings.budget).command(load_experiment(experiment))
        raise UserError(
            f"{request.experiment.name} reads finished runs of {experiment}, and {request.runs_dir} lacks {shown}: "
            f"run {command} SEEDS={seeds}{runs_dir} first"
        )

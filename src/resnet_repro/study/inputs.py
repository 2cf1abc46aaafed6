"""What a study begins with, found before anything starts: data sets, pretrained weights, runs of other experiments."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.config.arm import Arm
from resnet_repro.data.catalogue import CATALOGUE, CIFAR10
from resnet_repro.data.folders import IMAGENET, names_folders, scan
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
from resnet_repro.study.request import Request
from resnet_repro.study.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """dataset: what the study is trained on. by_arm: the same, or the data set of an arm's own; arms that are trained only
    for want of weights from outside are left out where there are weights.
    """

    dataset: LocatedDataset
    by_arm: Mapping[str, LocatedDataset]
    weights: pretrained.Weights | None


def find_inputs(request: Request) -> Inputs:
    """Find the data and the weights of a request. Raises UserError where any is not to be had."""
    dataset = locate(request.dataset, request.experiment, request.sources)
    if dataset.facts.standin:
        log.info(f"STAND-IN DATA: {dataset.facts.title}; no claim about {request.experiment.dataset} is judged on it")
    weights = weights_for(request)
    needless = backbone_arms(request.arms) if weights else set()
    arms = [arm for arm in request.arms if arm.name not in needless]
    return Inputs(dataset, {arm.name: located_for(arm, dataset, request.sources) for arm in arms}, weights)


def locate(dataset: str, experiment: Experiment, sources: DataSources) -> LocatedDataset:
    """Where the data set lies that the user asks for, by a name of the catalogue or by the path of class folders.

    "auto" is the experiment's own, or CIFAR-10 for one whose own is ImageNet; else a stand-in. Raises UserError, see
    `sources.obtain` and `folders.scan`, and for class folders that the experiment cannot use.
    """
    if names_folders(dataset):
        if not experiment.folders:
            raise UserError(
                f"DATASET={dataset} names class folders, and the nets of {experiment.name} are made for the images of "
                f"{experiment.dataset}: name a data set"
            )
        log.info(f"looking through {dataset}")
        folders = scan(Path(dataset))
        return LocatedDataset(folders.facts, folders.digest, Path(dataset))
    if dataset == IMAGENET and experiment.folders:
        raise UserError(
            f"{experiment.name} wants ImageNet-1k here, which nobody may pass on: set DATASET to the path of its folders "
            "(train/<class>/*, val/<class>/*), or to a data set that can be had, as cifar10"
        )
    if experiment.folders and dataset not in ("auto", *CATALOGUE):
        raise UserError(
            f"unknown data set {dataset!r}: take auto, {', '.join(CATALOGUE)}, or the path of class folders "
            "(train/<class>/*, val/<class>/*)"
        )
    own = experiment.dataset if experiment.dataset in CATALOGUE else CIFAR10.name
    arrays = obtain(dataset, sources, own)
    return LocatedDataset(arrays.facts, arrays.digest, arrays.folder)


def backbone_arms(arms: Sequence[Arm]) -> set[str]:
    """The arms that are trained only for want of weights from outside."""
    return {arm.start.arm for arm in arms if arm.start is not None and arm.start.how == "backbone"}


def weights_for(request: Request) -> pretrained.Weights | None:
    """The pretrained weights that some of the arms begin with; None where they are to be trained, or none are wanted.

    Raises UserError where the profile cannot do without, and for a file that cannot be used.
    """
    starting = [arm for arm in request.arms if arm.start is not None and arm.start.how == "backbone"]
    if not starting:
        if request.weights is not None:
            some = backbone_arms(request.experiment.arms)
            which = "none of the arms chosen" if some else f"no arm of {request.experiment.name}"
            raise UserError(f"WEIGHTS={request.weights} goes with {which}: leave it out")
        return None
    depth = starting[0].model.options["depth"]
    folder, mirror = request.sources.data_dir / "weights", request.sources.mirror
    if weights := pretrained.obtain(request.weights, depth, folder, mirror):
        net = build_on_meta(starting[0].model, classes=2)
        check_backbone(net, pretrained.read_state(weights.path), str(weights.path))
        return weights
    if not request.profile.substitutes:
        raise UserError(
            f"{request.experiment.name} at {request.profile.name} begins with torchvision's ResNet-{depth}, which is not to "
            "be had here: set WEIGHTS to the path of its file"
        )
    log.info(
        f"SUBSTITUTE WEIGHTS: {', '.join(sorted(backbone_arms(request.arms)))} is trained in place of torchvision's weights"
    )
    return None


def located_for(arm: Arm, located: LocatedDataset, sources: DataSources) -> LocatedDataset:
    """Where the data of an arm lie: those of the study, or its own or a stand-in for it; a stand-in stands for these too."""
    if arm.dataset is None or located.facts.standin or arm.dataset == located.facts.name:
        return located
    arrays = obtain("auto", sources, arm.dataset)
    return LocatedDataset(arrays.facts, arrays.digest, arrays.folder)


def check_parents(request: Request, runs: Sequence[Run]) -> None:
    """Raise UserError, naming the command that helps, where runs of another experiment are to be read and are not there."""
    missing: dict[str, list[str]] = {}
    for run in runs:
        start = run.settings.arm.start
        if start is not None and start.experiment is not None and run.settings.weights is None:
            source = parent_folder(run.folder, run.settings)
            assert source is not None
            if find_record(source) is None:
                missing.setdefault(start.experiment, []).append(f"{start.arm} seed {run.settings.seed}")
    seeds = ",".join(map(str, request.seeds))
    where = "" if request.runs_dir == Path("runs") else f" RUNS_DIR={request.runs_dir}"
    for experiment, names in missing.items():
        names = list(dict.fromkeys(names))
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        command = Budget.parse(runs[0].settings.budget).command(load_experiment(experiment))
        raise UserError(
            f"{request.experiment.name} reads finished runs of {experiment}, and {request.runs_dir} lacks {shown}: "
            f"run {command} SEEDS={seeds}{where} first"
        )

"""The data sets and pretrained weights of a study, found before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_repro.config.arm import Arm
from resnet_repro.data.catalogue import CATALOGUE, CIFAR10
from resnet_repro.data.folders import IMAGENET, names_folders, scan
from resnet_repro.data.open_data import LocatedDataset
from resnet_repro.data.sources import obtain
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError
from resnet_repro.study.request import Request

if TYPE_CHECKING:
    from resnet_repro.data.open_data import LocatedDataset
    from resnet_repro.models.pretrained import Weights as WeightsFile


def locate(
    dataset: str,
    experiment: Experiment,
    data_dir: Path,
    mirror: str | None,
    say: Callable[[str], None],
    data_dir_named: bool,
) -> LocatedDataset:
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
        say(f"looking through {dataset}")
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
    arrays = obtain(dataset, data_dir, mirror, say, own, data_dir_named)
    return LocatedDataset(arrays.facts, arrays.digest, arrays.folder)


def find_named(
    name: str, data_dir: Path, mirror: str | None, say: Callable[[str], None], data_dir_named: bool
) -> LocatedDataset:
    """Where a data set of the catalogue lies; its stand-in where it cannot be had."""
    arrays = obtain("auto", data_dir, mirror, say, name, data_dir_named)
    return LocatedDataset(arrays.facts, arrays.digest, arrays.folder)


def backbone_arms(arms: Sequence[Arm]) -> set[str]:
    """The arms that are trained only for want of weights from outside."""
    return {arm.start.arm for arm in arms if arm.start is not None and arm.start.how == "backbone"}


def weights_for(request: Request, say: Callable[[str], None]) -> WeightsFile | None:
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
    from resnet_repro.diagnostics.complexity import build_on_meta
    from resnet_repro.models.pretrained import obtain, read_state
    from resnet_repro.models.transfer import check_backbone

    depth = starting[0].model.options["depth"]
    found = obtain(request.weights, depth, request.data_dir / "weights", request.data_mirror, say)
    if found is not None:
        check_backbone(build_on_meta(starting[0].model, classes=2), read_state(found.path), str(found.path))
    if found is None and not request.profile.substitutes:
        raise UserError(
            f"{request.experiment.name} at {request.profile.name} begins with torchvision's ResNet-{depth}, which is not to "
            "be had here: set WEIGHTS to the path of its file"
        )
    if found is None:
        say(
            f"SUBSTITUTE WEIGHTS: {', '.join(sorted(backbone_arms(request.arms)))} is trained in place of torchvision's weights"
        )
    return found


def located_for(arm: Arm, located: LocatedDataset, sources: tuple) -> LocatedDataset:
    """Where the data of an arm lie: those of the study, or its own; a stand-in stands for these too."""
    if arm.dataset is None or located.facts.standin or arm.dataset == located.facts.name:
        return located
    from resnet_repro.study.inputs import find_named

    return find_named(arm.dataset, *sources)

"""What a user asks for, and what follows from it: the settings of every run, the data, the weights to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_repro.errors import UserError
from resnet_repro.experiment import Arm, Experiment, Profile, RunSettings, Weights
from resnet_repro.launch.options import LaunchOptions

if TYPE_CHECKING:
    from resnet_repro.data.place import Place
    from resnet_repro.models.pretrained import Weights as WeightsFile

NO_DATA = "none"  # the data set of arms that are counted
SMALLEST_SIDE, LARGEST_SIDE = 32, 1024  # pixels; below, the last maps of an ImageNet net are empty


@dataclass(frozen=True)
class Request:
    """What the user asked for, defaults filled in."""

    experiment: Experiment
    profile: Profile
    arms: Sequence[Arm]
    seeds: Sequence[int]
    dataset: str
    data_dir: Path
    data_dir_named: bool
    data_mirror: str | None
    runs_dir: Path
    reports_dir: Path
    launch: LaunchOptions
    precision: str
    checkpoint_seconds: float
    wandb_mode: str
    workers: int | None = None
    skip_broken: bool = False
    weights: str | None = None


def scaled_profile(experiment: Experiment, name: str, iterations: int | None) -> Profile:
    """The profile, at its own length or at another; one equal to its own changes nothing."""
    profile = experiment.profile(name)
    return profile if iterations in (None, profile.iterations) else profile.scaled(iterations)


def at_resolution(experiment: Experiment, profile: Profile, resolution: int | None) -> Profile:
    """The profile at its own resolution or at another; one equal to its own changes nothing.

    Raises UserError for a resolution where the experiment takes images as they are, and for one that is too small.
    """
    if resolution is None or resolution == profile.resolution:
        return profile
    if profile.resolution is None:
        raise UserError(f"RESOLUTION={resolution} does not go with {experiment.name}, which takes images as they are")
    if not SMALLEST_SIDE <= resolution <= LARGEST_SIDE:
        raise UserError(f"RESOLUTION={resolution} is out of range: take {SMALLEST_SIDE} to {LARGEST_SIDE} pixels")
    return profile.at(resolution)


def check_prefix(experiment: Experiment, steps: int) -> None:
    """Raise UserError for a prefix beyond the published schedule, and where arms start from other runs of the experiment:
    the published schedule starts from other nets than a prefix leaves.
    """
    if experiment.is_counted:
        raise UserError(f"PREFIX={steps} does not go with {experiment.name}, which trains nothing: leave it out")
    if begun := [arm.name for arm in experiment.arms if arm.sources]:
        raise UserError(
            f"PREFIX={steps} does not go with {experiment.name}, where {begun[0]} starts from finished runs: "
            "take ITERATIONS or PROFILE=paper"
        )
    if steps > experiment.published_steps:
        raise UserError(
            f"PREFIX={steps} is longer than the published schedule of {experiment.published_steps:,} steps: take fewer"
        )


def expand(
    request: Request,
    budget: str,
    places: Mapping[str, Place] | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    weights: WeightsFile | None = None,
) -> list[RunSettings]:
    """Arms × seeds of the request, seed by seed. What is counted knows no data, precision or device.

    places: where the data of each arm lie.
    """
    profile = request.profile
    settings = []
    for index, seed in enumerate(request.seeds):
        for arm in request.arms:
            if arm.counted is not None:
                if not index:
                    settings.append(_counted_settings(request, budget, arm))
                continue
            assert places is not None
            place = places[arm.name]
            iterations, longer = profile.steps(arm), 1.0
            if place.is_folders and place.facts.name != request.experiment.dataset:
                own, factor = _for_as_many_epochs(arm, place.facts.train_images, request.experiment.dataset)
                # A profile's steps are so many epochs where the source takes a sample, elsewhere what a machine can afford.
                if not profile.asked_for and (arm.recipe.train_images or profile.iterations is None):
                    iterations, longer = round(iterations * factor), factor
                arm = own
            recipe = arm.recipe.at(profile.iterations or arm.recipe.iterations)
            arm = arm if recipe == arm.recipe else replace(arm, recipe=recipe)
            begins = weights is not None and arm.start is not None and arm.start.how == "backbone"
            settings.append(
                RunSettings(
                    experiment=request.experiment.name,
                    budget=budget,
                    arm=arm,
                    seed=seed,
                    iterations=iterations,
                    evaluate_every=max(1, -(-iterations // profile.evaluations)),
                    dataset=place.facts.name,
                    dataset_digest=place.digest,
                    precision=precision,
                    device=device,
                    stretch=profile.stretches.get(arm.name),
                    resolution=profile.resolution,
                    weights=Weights(weights.name, weights.sha256) if weights and begins else None,
                    prefix=profile.prefix_of(arm),
                    scored=profile.scored(arm, longer),
                )
            )
    return settings


def _for_as_many_epochs(arm: Arm, images: int, published: str) -> tuple[Arm, float]:
    """The arm with a recipe for all `images` of a user's own data, and how much longer as many epochs take there.

    published: the data set that the recipe's own length is for.
    """
    from resnet_repro.data.catalogue import dataset
    from resnet_repro.data.folders import IMAGENET, IMAGENET_IMAGES

    recipe = arm.recipe
    of = recipe.train_images or (IMAGENET_IMAGES if published == IMAGENET else dataset(published).train_images)
    factor = -(-images // recipe.batch_size) / -(-of // recipe.batch_size)
    recipe = replace(
        recipe,
        name=f"{recipe.name}, {'all images' if recipe.train_images else 'as many epochs'}",
        iterations=round(recipe.iterations * factor),
        milestones=tuple(round(milestone * factor) for milestone in recipe.milestones),
        train_images=0,
    )
    return replace(arm, recipe=recipe), factor


def _counted_settings(request: Request, budget: str, arm: Arm) -> RunSettings:
    return RunSettings(
        experiment=request.experiment.name,
        budget=budget,
        arm=arm,
        seed=0,
        iterations=0,
        evaluate_every=1,
        dataset=NO_DATA,
        dataset_digest="",
        precision="fp32",
        device="cpu",
    )


def counted_budget(request: Request) -> str:
    if request.dataset not in (NO_DATA, "auto"):
        raise UserError(
            f"DATASET={request.dataset!r} does not go with {request.experiment.name}, which counts networks and reads no "
            f"data: leave it out"
        )
    if request.profile not in request.experiment.profiles:
        raise UserError(f"ITERATIONS does not go with {request.experiment.name}, which trains nothing: leave it out")
    return request.profile.name


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
    from resnet_repro.analysis.complexity import build_on_meta
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


def place_of(arm: Arm, place: Place, sources: tuple) -> Place:
    """Where the data of an arm lie: those of the study, or its own; a stand-in stands for these too."""
    if arm.dataset is None or place.facts.standin or arm.dataset == place.facts.name:
        return place
    from resnet_repro.data.place import find_named

    return find_named(arm.dataset, *sources)

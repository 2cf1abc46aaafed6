"""The request of a user: experiment, profile, arms, seeds, and how to run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.config.arm import Arm, CountedArm
from resnet_repro.data.folders import names_folders
from resnet_repro.data.sources import DataSources
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.errors import UserError
from resnet_repro.launch.options import LaunchOptions
from resnet_repro.parsing import choice

SMALLEST_SIDE, LARGEST_SIDE = 32, 1024  # Pixels. Below 32 the last feature maps of an ImageNet net are empty.


@dataclass(frozen=True)
class Request:
    """The request of a user, with all defaults filled in."""

    experiment: Experiment
    profile: Profile
    """How long the runs train, and how often they are evaluated."""
    arms: Sequence[Arm]
    """Arms to train, including the arms that these depend on."""
    networks: Sequence[CountedArm]
    """Networks to count without training."""
    seeds: Sequence[int]
    """Seeds of each arm, in ascending order."""
    dataset: str
    """A name of the catalogue, "auto", or a path to class folders."""
    sources: DataSources
    """Where to look for data sets."""
    runs_dir: Path
    """Folder of all runs."""
    reports_dir: Path
    """Folder of reports."""
    launch: LaunchOptions
    """Executor, devices and their options."""
    precision: str
    """ "auto", "bf16" or "fp32"."""
    checkpoint_seconds: float
    """Seconds between checkpoints."""
    wandb_mode: str
    """ "auto", "online", "offline" or "disabled"."""
    workers: int | None = None
    """Processes that decode images, per device. None: as many as the slot suggests."""
    skip_broken: bool = False
    """Skip and count unreadable images instead of failing."""
    weights: str | None = None
    """Path of a file of pretrained weights. None: torchvision's weights."""


def check_decoding(request: Request) -> None:
    """Raise UserError for options of class folders if the runs train on other data, which are kept in memory."""
    is_folders = names_folders(request.dataset) and not request.experiment.is_counted
    given = [f"WORKERS={request.workers}"] if request.workers is not None else []
    given += ["BROKEN=skip"] if request.skip_broken else []
    if given and not is_folders:
        verb = "apply" if len(given) > 1 else "applies"
        raise UserError(
            f"{' and '.join(given)} {verb} to class folders only: leave it out, or set DATASET to their path"
        )


def scaled_profile(experiment: Experiment, name: str, iterations: int | None) -> Profile:
    """The profile of this name, scaled to `iterations` steps unless that is None or its own length."""
    profile = experiment.profile(name)
    return profile if iterations in (None, profile.iterations) else profile.scaled(iterations)


def at_resolution(experiment: Experiment, profile: Profile, resolution: int | None) -> Profile:
    """The profile at another resolution in pixels. None or its own resolution changes nothing.

    Raises UserError if the experiment does not scale images, or if the resolution is out of range.
    """
    if resolution is None or resolution == profile.resolution:
        return profile
    if profile.resolution is None:
        raise UserError(f"RESOLUTION={resolution} does not apply to {experiment.name}, which does not scale its images")
    if not SMALLEST_SIDE <= resolution <= LARGEST_SIDE:
        raise UserError(f"RESOLUTION={resolution} is out of range: expected {SMALLEST_SIDE} to {LARGEST_SIDE} pixels")
    return profile.at(resolution)


def check_prefix(experiment: Experiment, steps: int) -> None:
    """Raise UserError if the experiment cannot be trained for a prefix of this many steps.

    A prefix must not be longer than the published schedule. No arm may start from other runs of the experiment, because
    these would be prefixes too, and the published schedule starts from finished runs.
    """
    if experiment.is_counted:
        raise UserError(f"PREFIX={steps} does not apply to {experiment.name}, which trains nothing; leave it out")
    if dependent := [arm.name for arm in experiment.arms if arm.sources]:
        raise UserError(
            f"PREFIX={steps} does not apply to {experiment.name}, because {dependent[0]} starts from finished runs; "
            "use ITERATIONS or PROFILE=paper"
        )
    if steps > experiment.published_steps:
        raise UserError(
            f"PREFIX={steps} is longer than the published schedule: expected at most {experiment.published_steps:,} steps"
        )


def select_arms(experiment: Experiment, profile: Profile, names: str | None) -> tuple[list[Arm], list[CountedArm]]:
    """Select arms and counted networks by a comma-separated list of names; None selects those of the profile.

    Arms that a selected arm depends on (its start or its search) are added. The result is in the experiment's order.
    Raises UserError for an unknown or empty name.
    """
    if names is None:
        chosen = {arm.name for arm in (*experiment.arms_of(profile), *experiment.networks)}
    else:
        chosen = {choice(name.strip(), experiment.names, "arm") for name in names.split(",")}
    sources = {arm.name: arm.sources for arm in experiment.arms}
    queue = list(chosen)
    while queue:
        new = set(sources.get(queue.pop(), ())) - chosen
        chosen |= new
        queue += new
    networks = [network for network in experiment.networks if network.name in chosen]
    return [arm for arm in experiment.arms if arm.name in chosen], networks

"""What a user asks for, and what follows from it: the settings of every run, the data, the weights to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.config.arm import Arm, CountedArm
from resnet_repro.data.sources import DataSources
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.errors import UserError
from resnet_repro.launch.options import LaunchOptions
from resnet_repro.parsing import choice

SMALLEST_SIDE, LARGEST_SIDE = 32, 1024  # pixels; below, the last maps of an ImageNet net are empty


@dataclass(frozen=True)
class Request:
    """What the user asked for, defaults filled in."""

    experiment: Experiment
    profile: Profile
    arms: Sequence[Arm]
    networks: Sequence[CountedArm]
    seeds: Sequence[int]
    dataset: str
    sources: DataSources
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


def select_arms(experiment: Experiment, profile: Profile, names: str | None) -> tuple[list[Arm], list[CountedArm]]:
    """The arms of a comma-separated list, in the experiment's order, and the networks that are counted; those of the
    profile for None.

    The arms that one of them starts from, or is searched among, come with it. Raises UserError for an unknown or an empty name.
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

"""Budgets: the length, resolution and data set of runs, and the folder names that encode them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.data.folders import FOLDERS_PREFIX, IMAGENET
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.parsing import seed_list

_FOLDER = re.compile(
    r"(?:(?P<iterations>[1-9][0-9]*)it|prefix(?P<prefix>[1-9][0-9]*)|(?P<profile>.*?))"
    r"(?:-(?P<resolution>[1-9][0-9]*)px)?"
    rf"(?:-(?P<dataset>{'|'.join([*CATALOGUE, IMAGENET])}|{FOLDERS_PREFIX}.+))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Budget:
    """The budget of a study. Exactly one of `profile`, `iterations` and `prefix` gives its length."""

    profile: str | None = None
    """Name of a profile."""
    iterations: int | None = None
    """Steps of a scaled schedule."""
    prefix: int | None = None
    """First steps of the published schedule."""
    resolution: int | None = None
    """Side of the images in pixels. None: the profile's."""
    dataset: str | None = None
    """Name of the data set. None: the experiment's."""

    @staticmethod
    def of(experiment: Experiment, profile: Profile, dataset: str) -> Budget:
        """The budget of a profile of the experiment on a data set."""
        return replace(Budget.parse(profile.name), dataset=None if dataset == experiment.dataset else dataset)

    @staticmethod
    def parse(folder: str) -> Budget:
        """Parse the name of a budget's folder. A name without steps is that of a profile."""
        match = _FOLDER.fullmatch(folder)
        assert match is not None
        iterations, prefix, resolution = (
            int(text) if text else None for text in match.group("iterations", "prefix", "resolution")
        )
        return Budget(match["profile"], iterations, prefix, resolution, match["dataset"])

    @property
    def profile_name(self) -> str:
        """The name as in `Profile.name`: "quick", "2000it", "prefix34000", "quick-96px"."""
        schedule = (
            f"{self.iterations}it" if self.iterations else f"prefix{self.prefix}" if self.prefix else self.profile
        )
        return f"{schedule}-{self.resolution}px" if self.resolution else f"{schedule}"

    @property
    def folder(self) -> str:
        """The name of the budget's folder, e.g. "quick", "quick-cifar100" or "paper-96px-folders-flowers"."""
        return f"{self.profile_name}-{self.dataset}" if self.dataset else self.profile_name

    def profile_of(self, experiment: Experiment) -> Profile | None:
        """The profile of the experiment at this budget; None if the experiment has no profile of this name.

        The name of a scaled schedule does not tell which profile was scaled. The result then has the arms of the first
        profile, and no seeds.
        """
        name = "paper" if self.prefix else self.profile
        profile = next((profile for profile in experiment.profiles if profile.name == name), None)
        if self.iterations:
            profile = replace(experiment.profiles[0].scaled(self.iterations), seeds=())
        elif self.prefix and profile:
            profile = profile.cut_after(self.prefix)
        return profile.at(self.resolution) if self.resolution and profile else profile

    def command(self, experiment: Experiment, arms: Sequence[str] | None = None, seeds: Sequence[int] = ()) -> str:
        """The Make command that trains these arms at these seeds; by default all of the profile's."""
        profile = self.profile_of(experiment) or experiment.profiles[0]
        values = {
            "ITERATIONS": self.iterations,
            "PREFIX": self.prefix,
            "PROFILE": self.profile if self.profile != experiment.profiles[0].name else None,
            "RESOLUTION": self.resolution,
        }
        if self.dataset:
            is_path = self.dataset.startswith(FOLDERS_PREFIX) or self.dataset == IMAGENET
            values["DATASET"] = ("path/to/" if is_path else "") + self.dataset.removeprefix(FOLDERS_PREFIX)
        if seeds and sorted(seeds) != sorted(profile.seeds or experiment.profiles[0].seeds):
            values["SEEDS"] = seed_list(sorted(seeds))
        if arms is not None and set(arms) != {arm.name for arm in (*experiment.arms_of(profile), *experiment.networks)}:
            values["ARMS"] = ",".join(name for name in experiment.names if name in arms)
        return " ".join([f"make {experiment.name}", *(f"{name}={value}" for name, value in values.items() if value)])

    def commands(self, experiment: Experiment, seeds: Mapping[str, Sequence[int]]) -> list[str]:
        """The Make commands for {arm: seeds}, one for each set of seeds.

        Arms without seeds are counted networks; they are part of the first command.
        """
        groups: dict[tuple[int, ...], list[str]] = {}
        for arm, its_seeds in seeds.items():
            groups.setdefault(tuple(sorted(its_seeds)), []).append(arm)
        counted = groups.pop((), [])
        ordered = sorted(groups.items(), key=lambda group: (-len(group[0]), group[0])) or [((), [])]
        ordered[0][1].extend(counted)
        return [self.command(experiment, arms, same) for same, arms in ordered]

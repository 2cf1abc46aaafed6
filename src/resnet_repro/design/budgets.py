"""Names of budgets: how the folder of a study's runs is called, and what such a name says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.data.folders import FOLDERS_PREFIX, IMAGENET
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.parsing import seed_list

PREFIX_NAME = re.compile(r"prefix([1-9][0-9]*)")


def budget_name(experiment: Experiment, profile: Profile, dataset: str) -> str:
    """The profile's name, with the data set where it is not the experiment's own: "quick", "2000it", "prefix34000",
    "quick-cifar100", "quick-96px", "paper-folders-flowers".
    """
    return profile.name if dataset == experiment.dataset else f"{profile.name}-{dataset}"


def split_budget(budget: str) -> tuple[str, str | None]:
    """(name of the profile, data set) of a budget's name; None for the experiment's own data set."""
    if match := re.fullmatch(rf"(.+?)-({FOLDERS_PREFIX}.+)", budget):
        return match[1], match[2]
    for name in sorted([*CATALOGUE, IMAGENET], key=len, reverse=True):
        if budget.endswith(f"-{name}"):
            return budget.removesuffix(f"-{name}"), name
    return budget, None


def profile_of(experiment: Experiment, budget: str) -> Profile | None:
    """The profile behind a budget's name; None for names that are none.

    Which profile was scaled to a number of steps no name says: it is given the first one's arms, and no seeds.
    """
    stem, _ = split_budget(budget)
    if match := re.fullmatch(r"(.+)-([1-9][0-9]*)px", stem):
        profile = profile_of(experiment, match[1])
        return profile.at(int(match[2])) if profile else None
    for profile in experiment.profiles:
        if profile.name == stem:
            return profile
    if match := re.fullmatch(r"([1-9][0-9]*)it", stem):
        return replace(experiment.profiles[0].scaled(int(match[1])), seeds=())
    if (match := PREFIX_NAME.fullmatch(stem)) and any(profile.name == "paper" for profile in experiment.profiles):
        return experiment.published_profile.cut_after(int(match[1]))
    return None


def command(experiment: Experiment, budget: str) -> str:
    """The Make command that trains an experiment at a budget."""
    stem, dataset = split_budget(budget)
    words = [f"make {experiment.name}"]
    resolution = re.fullmatch(r"(.+)-([1-9][0-9]*)px", stem)
    if resolution:
        stem = resolution[1]
    if match := re.fullmatch(r"([1-9][0-9]*)it", stem):
        words.append(f"ITERATIONS={match[1]}")
    elif match := PREFIX_NAME.fullmatch(stem):
        words.append(f"PREFIX={match[1]}")
    elif stem != experiment.profiles[0].name:
        words.append(f"PROFILE={stem}")
    if resolution:
        words.append(f"RESOLUTION={resolution[2]}")
    if dataset:
        folder = dataset.startswith(FOLDERS_PREFIX) or dataset == IMAGENET
        words.append("DATASET=" + (f"path/to/{dataset.removeprefix(FOLDERS_PREFIX)}" if folder else dataset))
    return " ".join(words)


def command_for(experiment: Experiment, budget: str, arms: Sequence[str], seeds: Sequence[int]) -> str:
    """The Make command that trains these arms at these seeds: `command`, with SEEDS and ARMS where they are not the
    profile's own.
    """
    profile = profile_of(experiment, budget) or experiment.profiles[0]
    words = [command(experiment, budget)]
    if seeds and sorted(seeds) != sorted(profile.seeds or experiment.profiles[0].seeds):
        words.append(f"SEEDS={seed_list(sorted(seeds))}")
    if set(arms) != {arm.name for arm in experiment.arms_of(profile)}:
        words.append(f"ARMS={','.join(arm.name for arm in experiment.arms if arm.name in arms)}")
    return " ".join(words)


def commands_for(experiment: Experiment, budget: str, seeds: Mapping[str, Sequence[int]]) -> list[str]:
    """`command_for` all of {arm: seeds}, a command for each set of seeds; arms without any, which are only counted, go
    with the first.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for arm, mine in seeds.items():
        groups.setdefault(tuple(sorted(mine)), []).append(arm)
    counted = groups.pop((), [])
    ordered = sorted(groups.items(), key=lambda group: (-len(group[0]), group[0])) or [((), [])]
    ordered[0][1].extend(counted)
    return [command_for(experiment, budget, arms, mine) for mine, arms in ordered]

"""Expand a request into runs: arms × seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from resnet_repro.config.arm import Arm, Weights
from resnet_repro.config.execution import Execution
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import dataset
from resnet_repro.data.folders import IMAGENET, IMAGENET_IMAGES
from resnet_repro.data.open_data import LocatedDataset
from resnet_repro.errors import UserError
from resnet_repro.launch import Executor
from resnet_repro.models.pretrained import Weights as WeightsFile
from resnet_repro.study.inputs import Inputs
from resnet_repro.study.request import Request
from resnet_repro.study.run import Run


def runs_of(request: Request, budget: str, inputs: Inputs, executor: Executor) -> list[Run]:
    """The runs of a request, seed by seed, with their settings and execution."""
    request = replace(request, arms=[arm for arm in request.arms if arm.name in inputs.by_arm])
    weights = str(inputs.weights.path.absolute()) if inputs.weights else None
    # The data folder is set per arm below; threads and the other fields are set when a run gets its slot.
    execution = Execution(
        "", 0, request.checkpoint_seconds, None,
        workers=request.workers or 0, skip_broken=request.skip_broken, weights=weights,
    )  # fmt: skip
    runs = []
    for settings in expand(request, budget, inputs.by_arm, executor.precision, executor.kind, inputs.weights):
        located = inputs.by_arm[settings.arm.name]
        here = replace(execution, data_folder=str(located.folder.resolve()))
        runs.append(Run(settings, request.runs_dir, here, located.facts, request.sources))
    return runs


def expand(
    request: Request,
    budget: str,
    data: Mapping[str, LocatedDataset],
    precision: str,
    device: str,
    weights: WeightsFile | None = None,
) -> list[RunSettings]:
    """The settings of all runs of a request, seed by seed.

    data: the data set of each arm, by the arm's name.
    precision: "bf16" or "fp32", for the arms that don't set theirs.
    device: the kind of device, e.g. "cuda".
    weights: pretrained weights for arms that start from a backbone; None if these are trained.
    """
    profile = request.profile
    settings = []
    for seed in request.seeds:
        for arm in request.arms:
            located = data[arm.name]
            iterations, longer = profile.steps(arm), 1.0
            if located.is_folders and located.facts.name != request.experiment.dataset:
                adapted, factor = _for_as_many_epochs(arm, located.facts.train_images, request.experiment.dataset)
                # The steps of a profile stand for epochs if the source trains on a sample, or if they are the published
                # ones. Otherwise they are what a machine can afford, and are not scaled to the data.
                if not profile.asked_for and (arm.recipe.train_images or profile.iterations is None):
                    iterations, longer = round(iterations * factor), factor
                arm = adapted
            recipe = arm.recipe.at(profile.iterations or arm.recipe.iterations)
            arm = arm if recipe == arm.recipe else replace(arm, recipe=recipe)
            is_loaded = weights is not None and arm.start is not None and arm.start.how == "backbone"
            settings.append(
                RunSettings(
                    experiment=request.experiment.name,
                    budget=budget,
                    arm=arm,
                    seed=seed,
                    iterations=iterations,
                    evaluate_every=profile.evaluate_every(iterations),
                    dataset=located.facts.name,
                    dataset_digest=located.digest,
                    precision=arm.precision or precision,
                    device=device,
                    stretch=profile.stretches.get(arm.name),
                    resolution=profile.resolution,
                    weights=Weights(weights.name, weights.sha256) if weights and is_loaded else None,
                    prefix=profile.prefix_of(arm),
                    scored=profile.scored(arm, longer),
                )
            )
    return settings


def _for_as_many_epochs(arm: Arm, images: int, published: str) -> tuple[Arm, float]:
    """Adapt an arm's recipe to `images` training images of the user: the same number of epochs on all images.

    published: the data set for which the recipe's length is published. Returns the arm, and the factor of its length.
    """
    recipe = arm.recipe
    originally = recipe.train_images or (IMAGENET_IMAGES if published == IMAGENET else dataset(published).train_images)
    factor = math.ceil(images / recipe.batch_size) / math.ceil(originally / recipe.batch_size)
    recipe = replace(
        recipe,
        name=f"{recipe.name}, {'all images' if recipe.train_images else 'as many epochs'}",
        iterations=round(recipe.iterations * factor),
        milestones=tuple(round(milestone * factor) for milestone in recipe.milestones),
        train_images=0,
    )
    return replace(arm, recipe=recipe), factor


def counted_budget(request: Request) -> str:
    """The name of the budget's folder for an experiment that only counts networks.

    Raises UserError if the request names data, a length, weights or an executor.
    """
    if request.dataset not in ("none", "auto"):
        raise UserError(
            f"DATASET={request.dataset} does not apply to {request.experiment.name}, which counts networks without data; "
            "leave it out"
        )
    others = {"EXECUTOR": None if request.launch.is_local else request.launch.executor, "WEIGHTS": request.weights}
    for name, value in others.items():
        if value is not None:
            raise UserError(
                f"{name}={value} does not apply to {request.experiment.name}, which counts networks in this process; leave "
                "it out"
            )
    if request.profile not in request.experiment.profiles:
        raise UserError(f"ITERATIONS does not apply to {request.experiment.name}, which trains nothing; leave it out")
    return request.profile.name

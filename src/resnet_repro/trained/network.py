"""Networks with trained weights, by a name of the catalogue or by a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from resnet_repro.config.arm import ModelSpec, Recipe
from resnet_repro.config.recipes import BLOG_A_FASHION, BLOG_E_MNIST, HE15_CIFAR_AT_ONCE, HE15_IMAGENET
from resnet_repro.data.catalogue import CATALOGUE, CIFAR10, FASHION_MNIST, MNIST
from resnet_repro.data.folders import IMAGENET, names_folders
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.catalogue import NETS, catalogued
from resnet_repro.models.inspect import main_path_layers
from resnet_repro.models.pretrained import check_values, read_state, weights_file
from resnet_repro.models.weights import load_strictly, with_shortcuts_of
from resnet_repro.records.layout import RECORD
from resnet_repro.records.record import Record, read_record
from resnet_repro.trained.export import CONFIG, read_exported
from resnet_repro.trained.shared import Repository, read_shared
from resnet_repro.training.load import load_run

LARGE = 100  # pixels: networks for larger images are scored on ImageNet or class folders, others on small images


@dataclass(frozen=True)
class TrainedNet:
    """A network with trained weights, in evaluation mode on the CPU, and how it sees images."""

    name: str
    """Name for readers, e.g. "resnet-20"."""
    origin: str
    """Path of the weights."""
    net: nn.Module
    model: ModelSpec
    recipe: Recipe
    """The recipe whose scaling and cutting of images applies."""
    dataset: str
    """Data set that it is scored on by default, by name."""
    classes: int
    """Number of outputs."""
    resolution: int | None = None
    """Side of its input in pixels. None: that of the data set's images."""
    precision: str | None = None
    """Arithmetic that it was scored in after its training. None: unknown."""
    record: Record | None = None
    """The record of its training. None: it was not trained here, or the record is not at hand."""


def find_trained(
    net: str, weights: str | None = None, dataset: str | None = None, repository: Repository | None = None
) -> TrainedNet:
    """Load a network with its weights.

    net: a name of the catalogue, the folder of a run, or a folder written by `export`. weights: a file of weights, or a
    folder with one, by default that of the folder, or for a name those in `repository`'s folder of weights.
    dataset: a name of the catalogue of data sets or a path of class folders; for a name of the catalogue it tells the
    scaling of the pixels. Raises UserError for unknown names, and for weights that cannot be read or do not fit.
    """
    folder = Path(net)
    if (folder / RECORD).exists():
        found = _of_run(folder, weights)
    elif (folder / CONFIG).exists():
        found = _of_export(folder)
        if weights is not None:
            raise UserError(
                f"WEIGHTS={weights} cannot be combined with {net}, which holds weights: leave one of them out"
            )
    elif folder.is_dir() or "/" in net:
        problem = f"is a folder without {RECORD} and {CONFIG}" if folder.is_dir() else "does not exist"
        raise UserError(
            f"NET={net} {problem}: expected the folder of a finished run, or one that resnet-repro export wrote"
        )
    elif weights is None and net in NETS:
        repository = repository or Repository()
        if repository.names() and net not in repository.names():
            raise UserError(
                f"NET={net} needs weights: expected WEIGHTS, e.g. WEIGHTS=path/to/{net}.safetensors, or a network of which the "
                f"repository holds weights: {', '.join(repository.names())}"
            )
        record, state = read_shared(net, repository)
        found = _as_recorded(net, str(repository.file(net)), record)
        load_strictly(found.net, state, found.origin)
    else:
        found = _of_catalogue(net, weights, dataset)
    return found if dataset is None else replace(found, dataset=dataset)


def _of_run(folder: Path, weights: str | None) -> TrainedNet:
    record = read_record(folder)
    if record.settings.arm.task != "classify":
        raise UserError(f"{folder} holds a net that reconstructs its input: expected one that tells classes")
    if weights is None:
        net = load_run(folder)
        return replace(_as_recorded(record.arm, str(folder), record), net=net)
    path = weights_file(Path(weights))
    found = replace(_as_recorded(record.arm, str(path), record), record=None)
    state = read_state(path)
    check_values(state, path)
    load_strictly(found.net, state, str(path))
    return found


def _as_recorded(name: str, origin: str, record: Record) -> TrainedNet:
    """The untrained network of a record, with its data set and scaling."""
    settings, classes = record.settings, record.dataset.classes
    net = build(settings.arm.model, classes, record.seed).eval()
    return TrainedNet(
        name, origin, net, settings.arm.model, record.recipe, settings.dataset, classes,
        settings.resolution, record.precision, record,
    )  # fmt: skip


def _of_export(folder: Path) -> TrainedNet:
    config, state = read_exported(folder)
    net = build(config.architecture, config.classes, 0).eval()
    load_strictly(net, state, str(folder))
    return TrainedNet(
        config.name, str(folder), net, config.architecture, config.recipe, config.dataset, config.classes,
        config.resolution, config.precision,
    )  # fmt: skip


def _of_catalogue(name: str, weights: str | None, dataset: str | None) -> TrainedNet:
    catalogue = catalogued(name)
    assert weights is not None, f"{name} is in the catalogue, so that find_trained looks in the repository"
    path = weights_file(Path(weights))
    state = read_state(path)
    check_values(state, path)
    model = with_shortcuts_of(catalogue.model, state)
    net, classes = build(model, catalogue.classes, 0), catalogue.classes
    last, _ = main_path_layers(net)[-1]
    if f"{last}.weight" in state and len(state[f"{last}.weight"]) != classes:
        classes = len(state[f"{last}.weight"])
        net = build(model, classes, 0)
    load_strictly(net, state, str(path))
    name += f" with shortcuts {model.options['shortcut']}" if model is not catalogue.model else ""
    images = dataset or _usual_dataset(catalogue.shape, classes)
    recipe = _usual_recipe(images, max(catalogue.shape))
    return TrainedNet(name, str(path), net.eval(), model, recipe, images, classes, _side(catalogue.shape, images))


def _usual_dataset(shape: tuple[int, int, int], classes: int) -> str:
    """The first data set of the catalogue with as many channels and classes, of which it is not a part or stand-in."""
    if max(shape[1:]) >= LARGE:
        return IMAGENET
    fitting = (
        facts.name
        for facts in CATALOGUE.values()
        if (facts.shape[0], facts.classes) == (shape[0], classes) and not facts.standin and not facts.part_of
    )
    return next(fitting, CIFAR10.name)


def _usual_recipe(dataset: str, side: int) -> Recipe:
    """The recipe by which this project scales the pixels of a data set, for a network with an input of this side."""
    if names_folders(dataset) or dataset == IMAGENET:
        return HE15_IMAGENET if side >= LARGE else replace(HE15_CIFAR_AT_ONCE, scaling=HE15_IMAGENET.scaling)
    recipe = {MNIST.name: BLOG_E_MNIST, FASHION_MNIST.name: BLOG_A_FASHION}.get(dataset, HE15_CIFAR_AT_ONCE)
    return replace(recipe, validation_images=0, train_images=0)


def _side(shape: tuple[int, int, int], dataset: str) -> int | None:
    """The side to which images are resized for a network; None if they have its size."""
    facts = CATALOGUE.get(dataset)
    return None if facts is not None and facts.shape[1:] == shape[1:] else shape[1]

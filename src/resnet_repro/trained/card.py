"""Texts beside trained weights: the card of an exported network, and the page of the folder of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from resnet_repro.claims.statistics import Interval, wilson_interval
from resnet_repro.records.record import Record, find_record
from resnet_repro.trained.export import MODEL, NORMALIZATION, ExportedConfig

# Names of the data sets at the Hugging Face Hub.
HUB_NAMES = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
DATA_NOTE = (
    "Licence: MIT, as the code. The images of the training have terms of their own; CIFAR's authors ask to cite "
    "A. Krizhevsky,\n"
    "*Learning Multiple Layers of Features from Tiny Images*, 2009."
)


WEIGHTS_HEADER = (
    "| network | test error (95 % interval over images) | training error | test error of all seeds | training | seed "
    "| record | sha256 |\n| --- | ---: | ---: | ---: | --- | ---: | --- | --- |"
)


@dataclass(frozen=True)
class Siblings:
    """The runs of the same network, budget and data with other seeds, this one included."""

    errors: tuple[float, ...]
    """Test error in percent of each."""

    @property
    def mean(self) -> float:
        """Mean test error in percent."""
        return fmean(self.errors)

    @property
    def text(self) -> str:
        """Mean ± standard deviation and number of the seeds."""
        if len(self.errors) < 2:
            return "one seed"
        return f"{fmean(self.errors):.2f} ± {stdev(self.errors):.2f} % over {len(self.errors)} seeds"


def siblings_of(record: Record) -> Siblings:
    """The finished runs beside a record that were trained as its run, with the same test images.

    Raises UserError for a damaged record.
    """
    folders = record.folder.parent.glob("seed*")
    records = [other for folder in folders if (other := find_record(folder)) is not None]
    alike = [
        other
        for other in records
        if replace(other.settings, seed=record.seed) == record.settings and other.status == "finished"
    ]
    return Siblings(tuple(sorted(error for other in alike if (error := other.value("test_error")) is not None)))


def error_interval(record: Record, split: str = "test") -> Interval | None:
    """The error of a run with its interval over images; None if the record does not tell the number of images."""
    error, images = record.value(f"{split}_error"), record.final.get(f"{split}_images")
    images = images or getattr(record.dataset, f"{split}_images")
    return None if error is None or not images else wilson_interval(round(error * images / 100), int(images))


def interval_text(interval: Interval | None) -> str:
    """ "8.27 % (7.75 to 8.83)"; a dash without a value."""
    if interval is None:
        return "–"
    return f"{interval.estimate:.2f} % ({interval.low:.2f} to {interval.high:.2f})"


def budget_text(record: Record) -> str:
    """How long the run was trained, of how long the published schedule is."""
    steps, published = record.schedule
    if steps >= published:
        return f"{steps:,} steps, as published"
    kind = "the schedule compressed to" if record.settings.prefix is None else "the first"
    return f"{steps:,} steps, {kind} {100 * steps / published:.3g} % of the published {published:,}"


def warning(record: Record) -> str:
    """Loud sentences on a training that is shorter than published, and on stand-in data; else empty."""
    words = []
    steps, published = record.schedule
    if steps < published:
        words.append(
            f"**NOT FULLY TRAINED**: {steps:,} of the published {published:,} steps. The errors are "
            "far from what such a network can reach."
        )
    if record.dataset.standin:
        words.append("**STAND-IN DATA**: trained on generated images, not on photographs.")
    return " ".join(words)


def provenance(record: Record, siblings: Siblings) -> dict[str, Any]:
    """Entries of a record for config.json."""
    return {
        "experiment": record.experiment,
        "budget": record.budget,
        "arm": record.arm,
        "seed": record.seed,
        "steps": record.schedule[0],
        "published_steps": record.schedule[1],
        "final": dict(record.final),
        "test_errors_of_seeds": list(siblings.errors),
        "dataset_title": record.dataset.title,
        "standin": record.dataset.standin,
        "hardware": record.hardware,
        "device": record.device,
        "versions": dict(record.versions),
        "commit": record.commit,
        "finished_at": record.finished_at,
    }


def model_card(config: ExportedConfig, record: Record, siblings: Siblings) -> str:
    """The card of an exported network: front matter as the Hub reads it, results, provenance, how to load it."""
    error, train = error_interval(record), error_interval(record, "train")
    size = "×".join(map(str, config.input))
    rows = {
        "test error (95 % interval over images)": interval_text(error),
        "training error, without augmentation": interval_text(train),
        "test loss": f"{record.final['test_loss']:.4f} nats" if record.value("test_loss") is not None else "–",
        "test error of all seeds": siblings.text,
        "training": budget_text(record),
        "data": f"{record.dataset.title}, digest `{config.dataset_digest[:12]}`",
        "recipe": f"{config.recipe.name} ({config.recipe.source})",
        "pixels": f"scaling `{config.scaling}`, input {size}",
        "run": f"`{record.experiment}/{record.budget}/{record.arm}/seed{record.seed}`, commit `{record.commit}`",
        "hardware, precision": f"{record.hardware}, {record.precision}",
        "weights": f"sha256 of the state dict `{config.weights_sha256}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    note = f"{text}\n\n" if (text := warning(record)) else ""
    return f"""---
{front_matter(config, record, error)}
---

# {config.name} on {record.dataset.title}

{note}A network of resnet-repro, which reproduces the experiments of *Deep Residual Learning for Image Recognition*
(He et al., 2015).

| | |
| --- | --- |
{table}

## Use

```python
import resnet_repro
from safetensors.torch import load_file

net = resnet_repro.load_exported("path/of/this/folder")
numbers = load_file("path/of/this/folder/{NORMALIZATION}")
logits = net((pixels - numbers["mean"]) / numbers["scale"])  # pixels (N, C, H, W), float, 0 to 255
```

`resnet-repro evaluate path/of/this/folder` scores it again. The weights are in `{MODEL}`. To upload the folder:
`hf upload USER/{config.name} path/of/this/folder` (`huggingface-cli upload` before huggingface-hub 1.0).

{DATA_NOTE}
"""


def front_matter(config: ExportedConfig, record: Record, error: Interval | None) -> str:
    """The YAML that the Hub reads, without its rules of dashes. Values are written as JSON, which YAML contains."""
    hub_name = HUB_NAMES.get(config.dataset)
    entries: dict[str, Any] = {
        "license": "mit",
        "library_name": "resnet-repro",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "resnet", "reproduction"],
        "metrics": ["accuracy"],
    }
    if hub_name:
        entries["datasets"] = [hub_name]
    if error is not None:
        entries["model-index"] = [
            {
                "name": config.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": record.dataset.title, "type": hub_name or config.dataset, "split": "test"},
                        "metrics": [{"type": "accuracy", "value": round(1 - error.estimate / 100, 6)}],
                    }
                ],
            }
        ]
    return "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items())


def weights_page(shared: Mapping[str, tuple[Record, Siblings]]) -> str:
    """The page of the folder of weights: each network with its error, budget, seeds, digest and record.

    shared: {name: (record, its siblings)}.
    """
    rows = [
        f"| [{name}]({name}.safetensors) | {interval_text(error_interval(record))} "
        f"| {interval_text(error_interval(record, 'train'))} | {siblings.text} | {budget_text(record)} | {record.seed} "
        f"| [record](../reports/reference/{record.experiment}/{record.budget}/{record.arm}/seed{record.seed}/record.json) "
        f"| `{(record.weights_sha256 or '')[:16]}` |"
        for name, (record, siblings) in shared.items()
    ]
    short: dict[str, list[str]] = {}
    for name, (record, _) in shared.items():
        if text := warning(record):
            short.setdefault(text, []).append(name)
    loud = "".join(f"> {', '.join(names)}: {text}\n\n" for text, names in short.items())
    return f"""# Trained weights

{loud}One run of each network: of the longest budget whose weights were at hand, the seed whose test error is nearest to the
mean of all seeds. None was chosen for its low error. The record names settings, data, hardware and commit.

```python
import resnet_repro

net = resnet_repro.load_pretrained("{next(iter(shared))}")  # checks the digest of the weights against their record
```

`resnet-repro evaluate {next(iter(shared))}` scores it on the test images again.

{WEIGHTS_HEADER}
{chr(10).join(rows)}

Data: {", ".join(sorted({record.dataset.title for record, _ in shared.values()}))}.
sha256: the first digits of the digest of the state dict, as in the record. `resnet-repro pick-weights` writes this folder.

{DATA_NOTE}
"""

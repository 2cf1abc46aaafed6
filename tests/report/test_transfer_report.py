"""Reports on substitute weights, low resolution, own images, unreadable images and several processes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_records import CIFAR100, content_of, make_record
from made_reports import count
from made_results import judge

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import higher
from resnet_repro.claims.results import Results
from resnet_repro.config.arm import Weights
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.records.record import read_record
from resnet_repro.report.summary import summary_content

PART = {**CIFAR100, "used": {"train": 10_000, "test": 10_000}}


ARMS = ("frozen-as-written", "fine-tuned-as-written", "frozen-corrected", "fine-tuned-corrected", "from-scratch")


@pytest.fixture
def transfer() -> Experiment:
    return load_experiment("transfer")


def change_settings(folder: Path, **changes: object) -> None:
    record = read_record(folder)
    settings = replace(record.settings, **changes)  # type: ignore[arg-type]
    msgspec.structs.replace(record, settings=settings).write()


def make_runs(runs: Path, transfer: Experiment, resolution: int, substitute: bool, **dataset: object) -> None:
    """Write three seeds of every arm at the published length.

    Errors: 80 % for frozen arms and for training from scratch, 40 % for the others.
    """
    outside = None if substitute else Weights("torchvision resnet34", "f" * 64)
    for seed in range(3):
        for arm in ("pretrained", *ARMS) if substitute else ARMS:
            error = (80.0 if "frozen" in arm or arm == "from-scratch" else 40.0) + 0.1 * seed
            begins = transfer.arm(arm).start is not None
            more: dict[str, Any] = {"weights_from": {"name": "w", "substitute": substitute}} if begins else {}
            data = PART | ({"name": "cifar10", "title": "CIFAR-10"} if arm == "pretrained" else dataset)
            folder = make_record(
                runs, transfer, arm, seed, iterations=790, dataset=data,
                final={"train_error": error, "test_error": error}, training_seconds=error * 7.9, **more,
            )  # fmt: skip
            change_settings(folder, resolution=resolution, weights=outside if begins else None)


def verdicts(content: dict) -> dict[str, tuple[str, str]]:
    return {claim["name"]: (claim["verdict"], claim["reason"]) for claim in content["claims"]}


def test_torchvision_weights_at_full_resolution_decide_claims(transfer: Experiment, tmp_path: Path) -> None:
    make_runs(tmp_path, transfer, 224, substitute=False)
    content = content_of(transfer, tmp_path)
    by_claim = verdicts(content)
    assert (by_claim["T1"][0], by_claim["T2"][0], by_claim["T5"][0]) == ("supported", "supported", "contradicted")
    banners = " ".join(content["banners"])
    assert "SUBSTITUTE" not in banners and "RESOLUTION" not in banners and "OTHER DATA" not in banners
    assert "pretrained" not in banners, "a run that only trains substitutes is not missing"
    assert "10,000 of the training images used" in content["summary"]


def test_substitute_weights_are_first_banner_and_decide_nothing(transfer: Experiment, tmp_path: Path) -> None:
    make_runs(tmp_path, transfer, 224, substitute=True)
    content = content_of(transfer, tmp_path)
    first = content["banners"][0]
    assert first.startswith("SUBSTITUTE WEIGHTS") and "frozen-corrected" in first and "from-scratch" not in first
    assert "CIFAR-10, 790 steps" in first
    assert not any(text.startswith(("SHORT BUDGET", "OTHER DATA")) for text in content["banners"])
    by_claim = verdicts(content)
    for claim in ("T1", "T2", "T2c", "T3"):
        assert by_claim[claim] == ("not tested", "substitute weights")
    assert by_claim["T5"] == ("contradicted", "")


def test_summary_names_experiments_with_substitute_weights(transfer: Experiment, tmp_path: Path) -> None:
    for name, substitute in (("begun", True), ("torchvisions", False)):
        make_runs(tmp_path / name, transfer, 224, substitute)
    (banner,) = summary_content([transfer], {"transfer": ["paper"]}, tmp_path / "begun")["banners"]
    assert banner.startswith("SUBSTITUTE WEIGHTS in transfer: ")
    assert not summary_content([transfer], {"transfer": ["paper"]}, tmp_path / "torchvisions")["banners"]


def test_feature_claim_is_judged_with_any_weights(transfer: Experiment, tmp_path: Path) -> None:
    once, each = "frozen-corrected", "frozen-corrected-each-step"
    for arm, error, seconds, features in ((once, 60.0, 20.0, 100.0), (each, 60.2, 700.0, 0.0)):
        make_record(
            tmp_path, transfer, arm, 0, "quick", 474, dataset=PART, final={"train_error": error, "test_error": error},
            training_seconds=seconds, feature_seconds=features, weights_from={"name": "w", "substitute": True},
        )  # fmt: skip
    claim = next(claim for claim in content_of(transfer, tmp_path, "quick")["claims"] if claim["name"] == "T6")
    assert claim["verdict"] == "seen once"
    assert [part["effect"] for part in claim["parts"]] == ["−0.20 points", "+0.20 points", "−580.00 s"]


def test_low_resolution_is_below_the_published_budget(transfer: Experiment, tmp_path: Path) -> None:
    make_runs(tmp_path, transfer, 64, substitute=False)
    content = content_of(transfer, tmp_path)
    assert re.match(r"LOW RESOLUTION\. .*\b64 pixels .*\b224\.$", content["banners"][0])
    assert verdicts(content)["T1"] == ("not tested", "needs the published budget")


def test_own_images_and_unreadable_images_have_banners(transfer: Experiment, tmp_path: Path) -> None:
    own = {"name": "folders-flowers", "title": "flowers (class folders)", "broken_images": 3, "class_images": {}}
    make_runs(tmp_path, transfer, 224, substitute=False, **own)
    banners = content_of(transfer, tmp_path)["banners"]
    assert any(text.startswith("OTHER DATA SET.") and "flowers (class folders)" in text for text in banners)
    assert any(text.startswith("LEFT OUT. 3 images ") for text in banners)


def test_summary_has_the_number_of_processes(tmp_path: Path) -> None:
    experiment = load_experiment("plain-vs-resnet")
    make_record(
        tmp_path, experiment, "plain-18", 0, iterations=450_450, processes=8, dataset=PART | {"class_images": {}}
    )
    summary = content_of(experiment, tmp_path)["summary"]
    assert "a made-up GPU, 8 processes" in summary
    assert (
        "shorter side scaled to 256 to 480 pixels for a crop of 224, horizontal flip, colours shifted by 0.1 σ"
        in summary
    )


def test_table_splits_parameters_into_trainable_and_frozen(transfer: Experiment, tmp_path: Path) -> None:
    make_runs(tmp_path, transfer, 224, substitute=False)
    for network in transfer.networks:
        count(tmp_path, transfer, network)
    content = content_of(transfer, tmp_path)
    table = content["ran"][1]
    rows = {row[0]: row[1:] for row in table["rows"]}
    assert table["header"][1:] == [
        f"{arm}-counted: {kind}" for arm in ("fine-tuned", "frozen") for kind in ("trainable", "frozen")
    ]
    assert rows["total"] == ["21,335,972", "0", "51,300", "21,284,672"]
    assert rows["fc"] == ["51,300", "0", "51,300", "0"]
    assert verdicts(content)["T4"] == ("supported", "")


def test_claims_about_weights_are_not_tested_on_substitutes(tmp_path: Path) -> None:
    values = {"a": {0: {"error": 2.0}}, "b": {0: {"error": 1.0}}}
    claim = Claim("C", "", "", [higher("error", "a", than="b")])
    for substitute, verdict in ((frozenset({"a"}), "not tested"), (frozenset({"other"}), "seen once")):
        assert judge(claim, Results(values, substitute=substitute)).verdict == verdict
    any_weights = replace(claim, any_weights=True)
    assert judge(any_weights, Results(values, substitute=frozenset({"a"}))).verdict == "seen once"

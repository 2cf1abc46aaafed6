"""Trained networks for others: scores, the folder of weights, exported folders."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPO, cli, make_settings, one_sentence
from made_folders import make_folders
from made_records import record_in
from safetensors.torch import load_file

import resnet_repro
from resnet_repro.data.sources import DataSources
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.models import build
from resnet_repro.models.catalogue import catalogued
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.weights import save_state, save_weights, state_sha256
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import read_record
from resnet_repro.trained.measure import measure, open_images, parse_scaling
from resnet_repro.trained.network import find_trained
from resnet_repro.trained.pick import pick_weights
from resnet_repro.trained.shared import RECORD_OF, Repository

SCORE = re.compile(r"test +error ([\d.]+) % \(95 % interval over images ([\d.]+) to ([\d.]+)\) +loss ([\d.]+) nats")


@pytest.mark.slow
def test_an_exported_run_scores_as_its_record_says(whole_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    record = read_record(whole_run)
    for net in (whole_run, tmp_path / "hub"):
        if net != whole_run:
            done = cli("export", whole_run, net, "--data-dir", tiny_data)
            assert done.returncode == 0, done.stderr
        done = cli("evaluate", net, "--data-dir", tiny_data, "--train")
        assert done.returncode == 0, done.stderr
        score = SCORE.search(done.stdout)
        assert score, done.stdout
        error, low, high, loss = map(float, score.groups())
        assert error == pytest.approx(record.final["test_error"], abs=0.005)
        assert loss == pytest.approx(record.final["test_loss"], abs=1e-4)
        assert low < error < high
        assert f"train  error {record.final['train_error']:.2f} %" in done.stdout
        assert "STAND-IN DATA" in done.stdout


@pytest.mark.slow
def test_an_exported_folder_holds_what_the_hub_and_others_need(
    whole_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    done = cli("export", whole_run, tmp_path, "--data-dir", tiny_data)
    assert done.returncode == 0, done.stderr
    card, record = (tmp_path / "README.md").read_text(), read_record(whole_run)
    front = yaml.safe_load(card.split("---")[1])
    (result,) = front["model-index"][0]["results"]
    error, digest = record.value("test_error"), record.weights_sha256
    assert error is not None and digest is not None
    assert front["license"] == "mit"
    assert result["metrics"] == [{"type": "accuracy", "value": pytest.approx(1 - error / 100)}]
    assert "NOT FULLY TRAINED" in card and "STAND-IN DATA" in card and digest in card
    numbers, config = load_file(tmp_path / "normalization.safetensors"), read_json(tmp_path / "config.json")
    assert config and config["weights_sha256"] == digest and config["classes"] == 10
    # The normalization is that of the training, and the network that of the run.
    net, run = resnet_repro.load_exported(tmp_path), find_trained(str(whole_run))
    images, pixels = (
        next(open_images(run, DataSources(tiny_data), scaling, torch.device("cpu")).batches("test", 10))[0]
        for scaling in (None, "none")
    )
    with torch.inference_mode():
        ours = net((pixels - numbers["mean"]) / numbers["scale"])
        assert torch.allclose(ours, run.net(images), atol=1e-5)
    with pytest.raises(UserError, match="WEIGHTS=w cannot be combined"):
        find_trained(str(tmp_path), "w")
    write_json(tmp_path / "config.json", {**config, "weights_sha256": "0" * 64})
    assert "has another digest" in one_sentence(cli("evaluate", tmp_path, "--data-dir", tiny_data))


@pytest.mark.slow
def test_export_refuses_folders_of_others(whole_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert "no exported network" in one_sentence(cli("export", whole_run, tmp_path, "--data-dir", tiny_data))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_calibration_and_loss_of_a_net_that_is_always_as_sure(tiny_data: Path) -> None:
    """Logits (2, 0, ...) for class 0: the confidence is known, the accuracy the share of class 0."""
    trained = find_trained("resnet-20", dataset="standin-tiny")
    net = cifar_net("resnet", 8).eval()
    torch.nn.init.zeros_(net.fc.weight)
    net.fc.bias.data = torch.tensor([2.0] + [0.0] * 9)
    data = open_images(trained, DataSources(tiny_data), device=torch.device("cpu"))
    score = measure(replace(trained, net=net), data, "fp32")
    confidence = torch.tensor(2.0).exp() / (torch.tensor(2.0).exp() + 9)
    first = float(torch.cat([labels == 0 for _, labels in data.batches("test")]).float().mean())
    assert score.error.estimate == pytest.approx(100 * (1 - first))
    assert score.calibration_error == pytest.approx(100 * abs(float(confidence) - first), abs=1e-3)
    expected = first * -float(confidence.log()) + (1 - first) * -float(((1 - confidence) / 9).log())
    assert score.loss == pytest.approx(expected, abs=1e-5)


def test_scalings_change_the_images_and_numbers_are_per_channel(tiny_data: Path) -> None:
    trained, sources, cpu = (
        find_trained("resnet-20", dataset="standin-tiny"),
        DataSources(tiny_data),
        torch.device("cpu"),
    )
    pixels, _ = next(open_images(trained, sources, "none", cpu).batches("test", 4))
    unit, _ = next(open_images(trained, sources, "unit", cpu).batches("test", 4))
    scaled, _ = next(open_images(trained, sources, "0.1,0.2,0.3/0.5,0.5,0.25", cpu).batches("test", 4))
    assert torch.allclose(pixels / 255, unit)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.5, 0.25])
    assert torch.allclose(scaled, (unit - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1), atol=1e-5)
    assert parse_scaling("imagenet") == ("imagenet", None)


def test_a_net_of_two_classes_is_scored_on_class_folders(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "insects", test=2)
    net = catalogued("resnet-18")
    torch.save(build(net.model, 2, 0).state_dict(), tmp_path / "two.pth")
    done = cli("evaluate", "resnet-18", "--weights", tmp_path / "two.pth", "--dataset", folders, "--workers", "1")
    assert re.search(r"scaling imagenet, fp32\ntest +error \d.* 4 images", done.stdout), done.stderr
    assert "classes" in one_sentence(cli("evaluate", "resnet-20", "--dataset", folders, "--scaling", "unit"))


def make_repository(root: Path, experiment: Experiment, data: Path, errors: dict[str, list[float]]) -> Repository:
    """Reference records of plain-20 by budget, with one error per seed, and runs with their weights."""
    steps = {"quick": 391, "prefix34000": 34_000}
    for budget, of_seeds in errors.items():
        for seed, error in enumerate(of_seeds):
            net = cifar_net("plain", 20, seed=seed)
            settings = make_settings(
                data, steps[budget], experiment.arm("plain-20"), budget=budget, seed=seed, dataset="cifar10"
            )
            for runs in ("runs", "reports/reference"):
                folder = run_folder(root / runs, "degradation", budget, "plain-20", seed)
                folder.mkdir(parents=True)
                final = {"test_error": error, "test_images": 10_000, "train_error": error}
                record_in(folder, settings, final=final, weights_sha256=state_sha256(net.state_dict()))
                if runs == "runs":
                    save_weights(net, folder / "weights.safetensors")
    return Repository(root)


def test_the_longest_budget_and_the_seed_nearest_the_mean_are_picked(
    tmp_path: Path, degradation: Experiment, tiny_data: Path
) -> None:
    errors = {"quick": [50.0, 58.0, 57.0], "prefix34000": [12.0, 9.0, 10.0]}
    repository = make_repository(tmp_path, degradation, tiny_data, errors)
    pick_weights(degradation, tmp_path / "runs", repository)
    net = resnet_repro.load_pretrained("plain-20", tmp_path)
    assert not net.training
    assert state_sha256(net.state_dict()) == state_sha256(cifar_net("plain", 20, seed=2).state_dict())
    page = (repository.weights / "README.md").read_text()
    assert "34,000 of the published 64,000" in page and "10.33 ± 1.53 % over 3 seeds" in page
    # Weights in the repository stay if the runs at hand have none of a longer budget.
    shutil.rmtree(tmp_path / "runs" / "degradation" / "prefix34000")
    files = {path: path.read_bytes() for path in repository.weights.iterdir()}
    pick_weights(degradation, tmp_path / "runs", repository)
    assert {path: path.read_bytes() for path in repository.weights.iterdir()} == files
    shutil.rmtree(repository.weights)
    pick_weights(degradation, tmp_path / "runs", repository)
    assert "391 of the published 64,000" in (repository.weights / "README.md").read_text()


def test_weights_without_a_reference_record_are_deleted(
    tmp_path: Path, degradation: Experiment, tiny_data: Path
) -> None:
    repository = make_repository(tmp_path, degradation, tiny_data, {"quick": [50.0]})
    pick_weights(degradation, tmp_path / "runs", repository)
    for name in ("resnet-20", "of-another-experiment"):
        net = cifar_net("resnet", 20)
        save_state(net.state_dict(), repository.file(name), {RECORD_OF: f"degradation/quick/{name}/seed0"})
    pick_weights(degradation, tmp_path / "runs", repository)
    assert repository.names() == ["of-another-experiment", "plain-20"]


def test_weights_of_another_training_are_refused(tmp_path: Path, degradation: Experiment, tiny_data: Path) -> None:
    repository = make_repository(tmp_path, degradation, tiny_data, {"quick": [50.0]})
    with pytest.raises(UserError, match="are part of the repository"):
        resnet_repro.load_pretrained("plain-20", tmp_path)
    pick_weights(degradation, tmp_path / "runs", repository)
    with pytest.raises(UserError, match="no weights for resnet-20: expected one of plain-20"):
        resnet_repro.load_pretrained("resnet-20", tmp_path)
    record = tmp_path / "reports/reference/degradation/quick/plain-20/seed0/record.json"
    write_json(record, {**(read_json(record) or {}), "weights_sha256": "0" * 64})
    with pytest.raises(UserError, match="their digest differs"):
        resnet_repro.load_pretrained("plain-20", tmp_path)
    with pytest.raises(UserError, match="holds no weights"):
        pick_weights(degradation, tmp_path / "runs", repository)


@pytest.mark.parametrize("name", Repository().names())
def test_the_weights_of_the_repository_are_those_of_their_records(name: str) -> None:
    assert not resnet_repro.load_pretrained(name).training
    assert f"[{name}]({name}.safetensors)" in (REPO / "weights" / "README.md").read_text()
    assert sum(path.stat().st_size for path in (REPO / "weights").glob("*.safetensors")) < 12 * 10**6

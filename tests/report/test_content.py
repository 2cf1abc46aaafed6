"""Content of reports from made-up records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from made_records import CIFAR100, DIVERGED, TEST_ERROR, content_of, make_record
from made_reports import count, found_search

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.files import write_json


def test_published_numbers_give_the_published_verdicts(degradation: Experiment, paper_runs: Path) -> None:
    content = content_of(degradation, paper_runs)
    verdicts = {claim["name"]: claim["verdict"] for claim in content["claims"]}
    # The made-up gradients grow from the first layer to the last, alike in all arms. After 500 steps there are no readings.
    assert verdicts == (
        dict.fromkeys(("D1", "D2", "D3", "D4", "D6"), "supported")
        | dict.fromkeys(("D5", "D5-start", "D8"), "contradicted")
        | dict.fromkeys(("D5-plateau", "D5-rest"), "inconclusive")
        | {"D7": "not tested"}
    )
    d2 = content["claims"][1]["parts"][0]
    assert (d2["effect"], d2["seeds"]) == ("+3.50 points", "3")
    assert d2["interval"] == "+3.27 to +3.73"


def test_results_show_mean_and_spread_beside_published_values(degradation: Experiment, paper_runs: Path) -> None:
    content = content_of(degradation, paper_runs)
    table = content["results"][0]
    assert table["header"] == [
        "arm", "train %", "published", "test %", "published", "best test %", "response", "published", "seeds",
    ]  # fmt: skip
    assert table["rows"][0] == [
        "plain-20", "4.90 ± 0.05", "1.30", "9.80 ± 0.10", "9.69", "9.60 ± 0.10", "1.82 ± 0.00", "1.82", "3",
    ]  # fmt: skip
    assert [row[0] for row in table["rows"]] == ["plain-20", "plain-56", "resnet-20", "resnet-56"]
    arms = content["ran"][0]["rows"]
    assert arms[4][0] == "plain-56-no-bn (control)"
    assert arms[0][4:] == ["64,000", "0-2", "60.0", "9,000", "0.050", "800 MiB"]


def test_published_columns_depend_on_the_arms_shown(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "resnet-20", 0)
    results = content_of(degradation, tmp_path)["results"][0]
    assert "|".join(results["header"]) == "arm|train %|test %|published|best test %|response|published|seeds"
    make_record(tmp_path / "block", block := load_experiment("block"), "plain-corrected", 0, "quick", 450)
    results = content_of(block, tmp_path / "block", "quick")["results"][0]
    assert "published" not in results["header"]
    assert len(results["rows"][0]) == len(results["header"]) == len(results["align"])


def test_missing_runs_are_listed(degradation: Experiment, paper_runs: Path) -> None:
    known = replace(degradation, arms=[arm for arm in degradation.arms if arm.name in TEST_ERROR])
    banners = " ".join(content_of(known, paper_runs)["banners"])
    assert "MISSING RUNS" in banners
    assert "plain-20 seed 3" in banners
    assert "plain-20 seed 2" not in banners
    assert "SHORT BUDGET" not in banners


def test_banners_name_standins_short_budgets_and_divergence(degradation: Experiment, tmp_path: Path) -> None:
    standin = {**CIFAR100, "name": "standin", "standin": True}
    make_record(tmp_path, degradation, "plain-20", 0, "quick", 391, dataset=standin)
    make_record(tmp_path, degradation, "plain-56", 0, "quick", 391, **DIVERGED)
    content = content_of(degradation, tmp_path, "quick")
    assert content["banners"][0].startswith("STAND-IN DATA")
    assert "391 of the published 64,000" in content["banners"][1]
    assert "plain-56 seed 0 at step 7" in content["banners"][3]
    row = content["results"][0]["rows"][1]
    assert (row[0], row[1], row[3], row[-1]) == ("plain-56", "90.00", "90.00", "0 + 1 diverged")
    assert {claim["verdict"] for claim in content["claims"]} == {"not tested"}
    steps = {row[0]: row[4] for row in content["ran"][0]["rows"]}
    assert steps == {"plain-20": "391", "plain-56": "7 of 391"}


def test_missing_runs_come_with_their_command(degradation: Experiment, tmp_path: Path) -> None:
    for seed in range(2):
        make_record(tmp_path, degradation, "plain-20", seed, "2000it", 2_000)
    (banner,) = [b for b in content_of(degradation, tmp_path, "2000it")["banners"] if b.startswith("MISSING RUNS")]
    assert banner.endswith(" make degradation ITERATIONS=2000 SEEDS=0-1")


def test_results_caption_has_the_number_of_training_images(degradation: Experiment, tmp_path: Path) -> None:
    final = {"train_error": 5.0, "test_error": 9.0, "train_images": 50_000}
    make_record(tmp_path, degradation, "plain-20", 0, final=final)
    # A control, which has no row in the table.
    make_record(tmp_path, degradation, "plain-56-no-bn", 0, final=final | {"train_images": 10_000})
    assert "all 50,000 training images" in content_of(degradation, tmp_path)["results"][0]["caption"]
    make_record(tmp_path, degradation, "plain-56", 0, final=final | {"train_images": 45_000})
    caption = content_of(degradation, tmp_path)["results"][0]["caption"]
    assert "45,000 of 50,000 or all 50,000 training images" in caption


def test_stretches_and_skipped_runs_are_marked(tmp_path: Path) -> None:
    depth = load_experiment("depth")
    stretch = {"final": {}, "best": {}, "activations": "recomputed"}
    folder = make_record(tmp_path, depth, "resnet-1202", 0, "quick", 391, **stretch)
    data = json.loads((folder / "record.json").read_text())
    data["settings"]["stretch"] = 8
    write_json(folder / "record.json", data | {"iterations": 8})
    skipped = {"status": "skipped", "skipped": "storing takes 9 GiB", "final": {}, "best": {}}
    make_record(tmp_path, depth, "resnet-1202-stored", 0, "quick", 391, **skipped)
    content = content_of(depth, tmp_path, "quick")
    banners = " ".join(content["banners"])
    assert "STRETCH ONLY. resnet-1202: 8 of 391 steps" in banners
    assert "SKIPPED. resnet-1202-stored seed 0: storing takes 9 GiB." in banners
    rows = content["ran"][0]["rows"]
    assert (rows[0][4], rows[0][8], rows[0][9]) == ("8 of 391", "400.0", "800 MiB*")
    assert rows[1][4] == "skipped"
    assert {c["name"]: c["reason"] for c in content["claims"]}["P2"] == "needs the published budget"


def test_search_table_shows_candidates_and_chosen_rate(tmp_path: Path) -> None:
    activation = load_experiment("activation")
    arm = activation.arm("tanh")
    make_record(tmp_path, activation, "tanh", 0, search=found_search(activation, arm))
    make_record(tmp_path, activation, "tanh-rate-0.3", 0)
    content = content_of(activation, tmp_path)
    assert content["summary"].count("Recipe") == 1 and "from a search" in content["summary"]
    table = content["ran"][1]
    assert table["header"] == ["arm", "seed", "0.003", "0.01", "0.03", "0.1", "0.3", "chosen"]
    assert table["rows"] == [["tanh", "0", "40.00", "30.00", "35.00", "45.00", "diverged", "0.01"]]


def test_counted_networks_are_listed_and_decide_without_seeds(tmp_path: Path) -> None:
    fashion = load_experiment("fashion")
    for network in fashion.networks:
        count(tmp_path, fashion, network)
    for arm in fashion.arms:
        size = 1_000 if "resnet" in arm.name else 5_000
        model = {"layers": 50, "parameters": size, "multiply_adds": size}
        standin = {**CIFAR100, "name": "standin-grey", "standin": True}
        make_record(tmp_path, fashion, arm.name, 0, model=model, dataset=standin)
    content = content_of(fashion, tmp_path)
    claims = {claim["name"]: claim for claim in content["claims"]}
    assert (claims["F1"]["verdict"], claims["F1"]["reason"]) == ("not tested", "stand-in data")
    assert (claims["F3"]["verdict"], claims["F3"]["parts"][0]["seeds"]) == ("supported", "counted")
    rows = {row[0]: row for row in content["ran"][0]["rows"]}
    assert rows["basic-wide (control)"][4:8] == ["counted", "–", "–", "–"]
    assert "2 networks counted" in content["summary"]
    assert not any("basic" in banner for banner in content["banners"])

"""Counted networks in claims, tables and figures."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torchvision.models as reference
from counted_nets import rows_of
from made_reports import count

from resnet_repro.claims.judge import judge_all
from resnet_repro.claims.results import Results
from resnet_repro.design.experiment import Experiment
from resnet_repro.diagnostics.complexity import totals
from resnet_repro.figures.architectures import TORCHVISION_TOP_1
from resnet_repro.figures.figure import Context
from resnet_repro.figures.style import report_style
from resnet_repro.records.record import CountRecord, collect, only_counted
from resnet_repro.report.network_tables import totals_table, write_csv_tables


@pytest.fixture(scope="module")
def records(complexity: Experiment, tmp_path_factory: pytest.TempPathFactory) -> list[CountRecord]:
    """Return records of some networks, written as by a study."""
    runs = tmp_path_factory.mktemp("runs")
    for network in complexity.networks:
        if network.name in ("vgg-16", "googlenet", "alexnet", "googlenet-stem", "vgg-16-stem"):
            count(runs, complexity, network, "quick")
    return only_counted(collect(runs, "complexity", "quick"))


@pytest.mark.slow
def test_claims_are_judged_on_counted_networks(complexity: Experiment, counted: Results) -> None:
    verdicts = {j.claim.name: j.verdict for j in judge_all(complexity.claims, counted)}
    places = range(1, 42)
    assert [name for name in verdicts if name not in ("X4b", "X6-same", "X6-less")] == [f"X{place}" for place in places]
    assert verdicts.pop("X10") == "not tested"  # some of its nets are not counted here
    assert {name for name, verdict in verdicts.items() if verdict != "supported"} == {
        "X4", "X6-less",
        "X15",  # 512 channels before and after the fourth pooling
        "X16",  # three convolutions in stage 3
        "X18",  # a slip: stages of convolutions
        "X28",  # 3×3 pooling with stride 2
        "X30",  # tanh
        "X37",  # one max pooling in the nets for ImageNet
        "X41",  # convolutions that the CNN builds and does not connect
    }  # fmt: skip


@pytest.mark.slow
def test_lectures_vgg_16_lacks_one_convolution(counted: Results) -> None:
    ours, lacking = (counted.values[name][0] for name in ("vgg-16", "vgg-16-without-conv3-3"))
    conv3_3 = next(row for row in rows_of("vgg-16") if row.name == "conv3_3")
    assert ours["params"] - lacking["params"] == conv3_3.params
    assert ours["macs"] - lacking["macs"] == conv3_3.macs
    assert lacking["weighted_memory_kib"] / 1024 == pytest.approx(48.6, rel=0.002)
    assert round(lacking["conv_memory_kib"] / 1024, 1) == 48.6
    assert round(lacking["macs"] / 1e9, 1) == 13.6


def test_he15_operations_match_and_torchvision_stride_costs_more(complexity: Experiment) -> None:
    published = complexity.published
    for name in ("plain-34", "resnet-18", "resnet-34", "resnet-50-he15", "vgg-19"):
        assert totals(rows_of(name))["macs"] == pytest.approx(published[name]["macs"], rel=0.03)
    assert totals(rows_of("resnet-50"))["macs"] > 1.05 * totals(rows_of("resnet-50-he15"))["macs"]


def test_top_1_errors_are_those_of_torchvision() -> None:
    for name, error in TORCHVISION_TOP_1.items():
        builder = name.removesuffix("-torchvision").replace("-", "")
        metrics = reference.get_model_weights(builder)["IMAGENET1K_V1"].meta["_metrics"]  # type: ignore[index]
        assert error == pytest.approx(100 - metrics["ImageNet-1K"]["acc@1"])


def test_csv_tables_have_layers_and_consistent_totals(
    complexity: Experiment, records: list[CountRecord], tmp_path: Path
) -> None:
    layers, sums = (list(csv.DictReader(path.open())) for path in write_csv_tables(complexity, records, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["complexity-layers.csv", "complexity-totals.csv"]
    assert list(layers[0]) == ["net", "layer", "output_shape", "memory_kib", "params", "macs"]
    # In the order of the experiment's networks, not of the records.
    assert [row["net"] for row in sums] == ["alexnet", "vgg-16", "googlenet", "googlenet-stem", "vgg-16-stem"]
    assert layers[0] == {
        "net": "alexnet", "layer": "conv1", "output_shape": "64×56×56", "memory_kib": "784.0", "params": "23296",
        "macs": "72855552",
    }  # fmt: skip
    for row in sums:
        counted = [r for r in layers if r["net"] == row["net"] and not r["layer"].startswith("heads.")]
        assert sum(int(r["params"]) for r in counted) == int(row["params"])
        assert sum(float(r["memory_kib"]) for r in counted) == float(row["memory_kib"])
        assert sum(int(r["macs"]) for r in counted) == int(row["macs"]) + int(row["pool_operations"])


def test_totals_table_shows_published_values(complexity: Experiment, records: list[CountRecord]) -> None:
    table = totals_table(complexity, records)
    assert len(table["header"]) == len(table["align"])
    assert [row[0] for row in table["rows"]] == ["alexnet", "vgg-16", "googlenet"]  # stems are controls
    vgg = dict(zip(table["header"], table["rows"][1], strict=True))
    assert (vgg["memory (MiB)"], vgg["weighted"], vgg["parameters (M)"]) == ("57.55", "51.71", "138.358")
    assert table["rows"][1][5] == "138"
    assert [row[-1] for row in table["rows"]] == ["–", "–", "6.380"]
    assert complexity.published_note in table["caption"]


def test_figures_are_drawn_from_counted_records(complexity: Experiment, records: list[CountRecord]) -> None:
    with report_style():
        drawn = {spec.name: spec.draw(Context([], 0, networks=records)) for spec in complexity.figures}
        nothing = {spec.name: spec.draw(Context([], 0)) for spec in complexity.figures}
    assert list(drawn) == ["layer_bars", "stem_bars", "accuracy_against_cost", "ilsvrc_by_year"]
    bars, stems, accuracy = (drawn[name] for name in ("layer_bars", "stem_bars", "accuracy_against_cost"))
    assert bars is not None and stems is not None and accuracy is not None
    assert [ax.get_title() for ax in bars[0].axes[:2]] == ["alexnet", "vgg-16"]
    heights = [bar.get_height() for bar in bars[0].axes[0].containers[0]]
    assert heights[:2] == [784, pytest.approx(182, abs=0.5)]
    assert [text.get_text() for ax in stems[0].axes for text in ax.texts] == ["6.9×", "13.9×", "19.5×"]
    assert {text.get_text() for text in accuracy[0].axes[0].texts} == {"vgg-16", "googlenet"}
    assert [name for name, result in nothing.items() if result is not None] == ["ilsvrc_by_year"]

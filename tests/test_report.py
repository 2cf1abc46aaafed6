"""Reports from made-up records: what they say, what they draw, and that they can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from made_records import CIFAR100, DIVERGED, TEST_ERROR, content_of, make_record

from resnet_repro.config.arm import Arm
from resnet_repro.config.settings import RunSettings
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.errors import UserError
from resnet_repro.figures.curves import error_curves
from resnet_repro.figures.figure import Context
from resnet_repro.figures.style import PAPER_GREY
from resnet_repro.files import Table, write_json
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import collect, read_record
from resnet_repro.report.write import budgets_with_records, write_report
from resnet_repro.training.count_run import count_run


def test_the_papers_numbers_give_the_papers_verdicts(degradation: Experiment, paper_runs: Path) -> None:
    content = content_of(degradation, paper_runs)
    verdicts = {claim["name"]: claim["verdict"] for claim in content["claims"]}
    assert verdicts == {
        "D1": "reproduced",
        "D2": "reproduced",
        "D3": "reproduced",
        "D4": "reproduced",
        "D5": "not reproduced",
        "D6": "reproduced",
    }
    d2 = content["claims"][1]["parts"][0]
    assert (d2["effect"], d2["seeds"]) == ("+3.50 points", "3")
    assert d2["interval"] == "+3.27 to +3.73"


def test_tables_give_mean_and_spread_beside_the_published(degradation: Experiment, paper_runs: Path) -> None:
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
    assert arms[0][4:] == ["64,000", "0, 1, 2", "60.0", "9,000", "0.050", "800 MiB"]


def test_published_columns_belong_to_the_arms_that_are_shown(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "resnet-20", 0)
    results = content_of(degradation, tmp_path)["results"][0]
    assert results["header"] == [
        "arm",
        "train %",
        "test %",
        "published",
        "best test %",
        "response",
        "published",
        "seeds",
    ]
    make_record(tmp_path / "block", block := load_experiment("block"), "plain-32-as-written", 0, "quick", 400)
    results = content_of(block, tmp_path / "block", "quick")["results"][0]
    assert "published" not in results["header"]
    assert len(results["rows"][0]) == len(results["header"]) == len(results["align"])


def test_missing_runs_are_named(degradation: Experiment, paper_runs: Path) -> None:
    banners = " ".join(content_of(degradation, paper_runs)["banners"])
    assert "MISSING RUNS" in banners
    assert "plain-20 seed 3" in banners
    assert "plain-20 seed 2" not in banners
    assert "SHORT BUDGET" not in banners


def test_short_budgets_standins_and_divergence_stand_on_top(degradation: Experiment, tmp_path: Path) -> None:
    standin = {
        "name": "standin",
        "title": "stand-in",
        "digest": "e" * 64,
        "standin": True,
        "train_images": 9,
        "test_images": 9,
        "classes": 10,
    }
    make_record(tmp_path, degradation, "plain-20", 0, "quick", 391, dataset=standin)
    make_record(tmp_path, degradation, "plain-56", 0, "quick", 391, **DIVERGED)
    content = content_of(degradation, tmp_path, "quick")
    assert content["banners"][0].startswith("STAND-IN DATA")
    assert "391 of the published 64,000" in content["banners"][1]
    assert "plain-56 seed 0 at step 7" in content["banners"][3]
    row = content["results"][0]["rows"][1]
    assert (row[0], row[1], row[3], row[-1]) == ("plain-56", "90.00", "90.00", "0 + 1 diverged")
    assert {claim["verdict"] for claim in content["claims"]} == {"undecided"}
    steps = {row[0]: row[4] for row in content["ran"][0]["rows"]}
    assert steps == {"plain-20": "391", "plain-56": "7 of 391"}


def test_what_is_missing_comes_with_its_command(degradation: Experiment, tmp_path: Path) -> None:
    for seed in range(2):
        make_record(tmp_path, degradation, "plain-20", seed, "2000it", 2_000)
    (banner,) = [b for b in content_of(degradation, tmp_path, "2000it")["banners"] if b.startswith("MISSING RUNS")]
    assert banner.endswith("They are trained by: make degradation ITERATIONS=2000 SEEDS=0-1")


def test_the_results_say_on_how_many_training_images(degradation: Experiment, tmp_path: Path) -> None:
    final = {"train_error": 5.0, "test_error": 9.0, "train_images": 50_000}
    make_record(tmp_path, degradation, "plain-20", 0, final=final)
    make_record(
        tmp_path, degradation, "plain-56-no-bn", 0, final=final | {"train_images": 10_000}
    )  # no row in the table
    assert "on all 50,000 training images in" in content_of(degradation, tmp_path)["results"][0]["caption"]
    make_record(tmp_path, degradation, "plain-56", 0, final=final | {"train_images": 45_000})
    caption = content_of(degradation, tmp_path)["results"][0]["caption"]
    assert "on 45,000 of 50,000 or all 50,000 training images in" in caption


def _lines(experiment: Experiment, runs: Path, budget: str, iterations: int) -> tuple[int, list]:
    spec = experiment.figures[0]
    drawn = spec.draw(Context(collect(runs, experiment.name, budget), iterations))
    assert drawn is not None
    figure, _ = drawn
    return len(figure.axes), [line for ax in figure.axes for line in ax.get_lines()]


def test_the_papers_curves_lie_grey_behind_ours_where_budgets_are_the_same(
    degradation: Experiment, paper_runs: Path
) -> None:
    panels, lines = _lines(degradation, paper_runs, "paper", 64_000)
    grey = [line for line in lines if line.get_color() == PAPER_GREY]
    assert panels == 2
    assert len(grey) == 8  # four nets, training and test
    assert {line.get_label() for line in grey} >= {"He15 plain-56 test", "He15 resnet-20 train"}
    assert all(line.get_zorder() < 2 for line in grey)
    assert len(lines) - len(grey) == 4 * (3 + 1) * 2  # of each net three seeds and their mean, twice


def test_the_papers_layer_responses_lie_behind_ours_after_as_many_steps(
    degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    (spec,) = [spec for spec in degradation.figures if spec.name == "layer_responses"]
    make_record(tmp_path / "short", degradation, "plain-20", 0, "quick", 391)
    for runs, budget, iterations, panels in ((paper_runs, "paper", 64_000, 2), (tmp_path / "short", "quick", 391, 4)):
        drawn = spec.draw(Context(collect(runs, "degradation", budget), iterations))
        assert drawn is not None
        axes = drawn[0].axes
        assert len(axes) == panels
        grey = {str(line.get_label()) for line in axes[0].get_lines() if line.get_color() == PAPER_GREY}
        assert grey == ({f"He15 {name}" for name in TEST_ERROR if name != "plain-56-no-bn"} if panels == 2 else set())
        assert ("The scales on the left and on the right differ." in drawn[1]) == (panels == 4)


def test_else_they_have_panels_of_their_own(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, "quick", 391)
    panels, lines = _lines(degradation, tmp_path, "quick", 391)
    assert panels == 2  # plain nets alone have runs: ours, and the paper's below
    assert not [line for line in lines if line.get_color() == PAPER_GREY]
    published = next(line for line in lines if line.get_label() == "He15 plain-20 test")
    assert max(published.get_xdata()) > 60_000


def test_a_third_group_of_arms_has_its_panel_in_a_second_row(degradation: Experiment, paper_runs: Path) -> None:
    groups = {arm.name: [arm] for arm in degradation.arms if arm.name != "plain-56-no-bn"}
    drawn = error_curves(groups).draw(Context(collect(paper_runs, "degradation", "paper"), 64_000))
    assert drawn is not None
    for name, ax in zip(groups, drawn[0].axes, strict=True):
        assert ax.get_title() == f"{name} (grey: He15)"
        assert f"{name} test" in {line.get_label() for line in ax.get_lines()}


def test_on_another_data_set_nothing_published_is_shown(degradation: Experiment, tmp_path: Path) -> None:
    for arm in ("plain-20", "plain-56", "resnet-20"):
        make_record(tmp_path, degradation, arm, 0, "quick-cifar100", 391, dataset=CIFAR100)
    content = content_of(degradation, tmp_path, "quick-cifar100")
    assert content["banners"][0].startswith("OTHER DATA SET. These nets were trained on CIFAR-100")
    assert "published" not in content["results"][0]["header"]
    assert "Published" not in content["results"][0]["caption"]
    assert "9.69" not in str(content["results"])
    verdicts = {claim["name"]: claim["verdict"] for claim in content["claims"]}
    assert (verdicts["D1"], verdicts["D3"]) == ("observed", "undecided")
    records = collect(tmp_path, "degradation", "quick-cifar100")
    for spec in degradation.figures:
        drawn = spec.draw(Context(records, 391, published=False))
        assert drawn is not None
        labels = [line.get_label() for ax in drawn[0].axes for line in ax.get_lines()]
        assert labels
        assert not any(str(label).startswith("He15") for label in labels), spec.name
        assert "He15" not in drawn[1]


def test_a_stretch_and_a_skipped_run_say_so(tmp_path: Path) -> None:
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


def fill(table: Table, rows: Iterable[dict]) -> None:
    table.rewind(-1)
    table.append(rows)


def add_watches(folder: Path, experiment: Experiment, arm: str) -> None:
    """Tables of what the arm watches, made up."""
    watch = experiment.arm(arm).watch
    if "inputs" in watch:
        fill(
            Table(folder / "inputs.csv", ("layer", "name", "mean_shift", "std_shift")),
            [
                {"iteration": step, "layer": layer, "name": "c", "mean_shift": 0.1 * layer, "std_shift": 0.01 * layer}
                for step in (10, 20)
                for layer in (2, 3)
            ],
        )
    if "shifts" in watch:
        rows = [{"iteration": 20, "pixels": pixels, "error": 2.0 + 5 * pixels} for pixels in range(5)]
        fill(Table(folder / "shifts.csv", ("pixels", "error")), rows)
    if "distance" in watch:
        rows = [{"iteration": step, "distance": 0.01 * step} for step in (0, 10, 20)]
        fill(Table(folder / "distance.csv", ("distance",)), rows)
    if "features" in watch:
        names = ("conv1", "layer1.0", "layer2.0")
        fill(
            Table(folder / "features.csv", ("place", "name", "probe_error", "recovered")),
            [
                {"iteration": 0, "place": place, "name": name, "probe_error": 60 - place, "recovered": 1 / place}
                for place, name in enumerate(names, start=1)
            ],
        )
        fill(
            Table(folder / "filters.csv", ("filter", "channel", "y", "x", "weight")),
            [
                {"iteration": 0, "filter": f, "channel": c, "y": y, "x": x, "weight": 0.1 * (f - c)}
                for f in range(4)
                for c in range(3)
                for y in range(3)
                for x in range(3)
            ],
        )
        fill(
            Table(folder / "maps.csv", ("place", "name", "channel", "y", "values")),
            [
                {"iteration": 0, "place": place, "name": name, "channel": channel, "y": y, "values": "0 1 2 3"}
                for place, name in enumerate(names, start=1)
                for channel in range(4)
                for y in range(4)
            ],
        )


def count_arm(runs: Path, experiment: Experiment, arm: Arm) -> None:
    settings = RunSettings(experiment.name, "paper", arm, 0, 0, 1, "none", "", "fp32", "cpu")
    count_run(run_folder(runs, experiment.name, "paper", arm.name, 0), settings)


def found_search(experiment: Experiment, arm: Arm) -> dict:
    """A search in which the second candidate was the best and the last one diverged."""
    assert arm.search is not None
    errors = [40.0, 30.0, 35.0, 45.0, None]
    rates = [experiment.arm(name).recipe.learning_rate for name in arm.search.arms]
    candidates = {
        name: {"learning_rate": rate, "validation_error": error, "weights_sha256": "a" * 64}
        for name, rate, error in zip(arm.search.arms, rates, errors, strict=True)
    }
    return {
        "chosen": arm.search.arms[1], "learning_rate": rates[1], "metric": "validation_error", "candidates": candidates,
    }  # fmt: skip


TRAINED = [name for name in experiment_names() if not load_experiment(name).is_counted]


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "degradation"])
def test_every_experiment_that_trains_has_its_report(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(name)
    shown = experiment.arms_of(experiment.profile("paper"))
    for arm in shown:
        if arm.counted:
            count_arm(tmp_path / "runs", experiment, arm)
            continue
        search = found_search(experiment, arm) if arm.search else None
        folder = make_record(tmp_path / "runs", experiment, arm.name, 0, search=search)
        add_watches(folder, experiment, arm.name)
    written = write_report(experiment, "paper", tmp_path / "runs", tmp_path / "reports")
    assert sorted(written.images) == sorted(spec.name for spec in experiment.figures)
    assert (tmp_path / "reports" / f"{name}.pdf").stat().st_size > 20_000
    content = content_of(experiment, tmp_path / "runs")
    compared = [arm.name for arm in shown if not arm.control and not arm.counted]
    assert [row[0] for row in content["results"][0]["rows"]] == compared
    assert [row[0] for row in content["ran"][0]["rows"]] == [arm.name + " (control)" * arm.control for arm in shown]
    assert [claim["name"] for claim in content["claims"]] == [claim.name for claim in experiment.claims]
    labels = " ".join(
        str(text)
        for spec in experiment.figures
        if (drawn := spec.draw(Context(collect(tmp_path / "runs", name, "paper"), 64_000)))
        for ax in drawn[0].axes
        for text in (
            *ax.get_legend_handles_labels()[1],
            *[tick.get_text() for tick in ax.get_yticklabels()],
            ax.get_ylabel(),
        )
    )
    if name != "depth":  # whose figure has the layers on its axis
        candidates = {candidate for arm in shown if arm.search for candidate in arm.search.arms}
        drawn_arms = [arm.name for arm in shown if not arm.counted and arm.name not in candidates]
        assert all(arm in labels for arm in drawn_arms), [arm for arm in drawn_arms if arm not in labels]


def test_a_search_shows_its_candidates_and_what_it_took(tmp_path: Path) -> None:
    activation = load_experiment("activation")
    arm = activation.arm("tanh")
    make_record(tmp_path, activation, "tanh", 0, search=found_search(activation, arm))
    make_record(tmp_path, activation, "tanh-rate-0.3", 0)
    content = content_of(activation, tmp_path)
    assert content["summary"].count("Recipe") == 1 and "learning rate searched for" in content["summary"]
    table = content["ran"][1]
    assert table["header"] == ["arm", "seed", "0.003", "0.01", "0.03", "0.1", "0.3", "taken"]
    assert table["rows"] == [["tanh", "0", "40.00", "30.00", "35.00", "45.00", "diverged", "0.01"]]


def test_counted_arms_stand_beside_trained_ones_and_decide_without_seeds(tmp_path: Path) -> None:
    fashion = load_experiment("fashion")
    for arm in fashion.arms:
        if arm.counted:
            count_arm(tmp_path, fashion, arm)
        else:
            size = 1_000 if "resnet" in arm.name else 5_000
            model = {"layers": 50, "parameters": size, "multiply_adds": size}
            standin = {**CIFAR100, "name": "standin-grey", "standin": True}
            make_record(tmp_path, fashion, arm.name, 0, model=model, dataset=standin)
    content = content_of(fashion, tmp_path)
    claims = {claim["name"]: claim for claim in content["claims"]}
    assert (claims["F1"]["verdict"], claims["F1"]["reason"]) == ("undecided", "stand-in data")
    assert (claims["F3"]["verdict"], claims["F3"]["parts"][0]["seeds"]) == ("reproduced", "counted")
    rows = {row[0]: row for row in content["ran"][0]["rows"]}
    assert rows["basic-wide (control)"][4:8] == ["counted", "–", "–", "–"]
    assert "2 networks counted" in content["summary"]
    assert not any("basic" in banner for banner in content["banners"])


def test_a_report_beside_another_is_written_under_its_own_name(
    degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    reports = tmp_path / "reports"
    written = write_report(degradation, "paper", paper_runs, reports, stem="degradation-paper")
    assert written.pdf is not None and written.pdf.exists()
    assert written.pdf == reports / "degradation-paper.pdf"
    assert written.images["error_curves"] == reports / "degradation-paper-error_curves.png"
    assert all(path.name.startswith("degradation-paper") for path in reports.iterdir())
    assert written.images["error_curves"].exists()


def test_a_report_is_made_again_to_the_same_bytes(degradation: Experiment, paper_runs: Path, tmp_path: Path) -> None:
    written = [write_report(degradation, "paper", paper_runs, tmp_path / name) for name in ("a", "b")]
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(
        ["degradation.pdf"]
        + [
            f"degradation-{f}.{e}"
            for f in ("error_curves", "gradient_norms", "layer_responses")
            for e in ("pdf", "png", "svg")
        ]
    )
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert written[0].images["error_curves"] == tmp_path / "a" / "degradation-error_curves.png"
    assert any("reproduced" in line and line.startswith("D1") for line in written[0].lines)


def test_the_longest_budget_with_records_comes_first(degradation: Experiment, paper_runs: Path) -> None:
    make_record(paper_runs, degradation, "plain-20", 0, "quick", 391)
    make_record(paper_runs, degradation, "plain-20", 0, "2000it", 2_000)
    make_record(paper_runs, degradation, "plain-20", 0, "4000it-cifar100", 4_000)
    assert budgets_with_records(paper_runs, "degradation") == ["paper", "2000it", "quick", "4000it-cifar100"]
    assert budgets_with_records(paper_runs, "other") == []


def test_no_records_and_records_cut_short_are_said(degradation: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run: run make degradation"):
        write_report(degradation, "quick", tmp_path, tmp_path / "reports")
    folder = make_record(tmp_path, degradation, "plain-20", 0)
    path = folder / "record.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(UserError, match=r"record\.json cannot be read .*: delete"):
        read_record(folder)

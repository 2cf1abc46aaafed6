"""The committed results: their records are whole, and what is printed of them is what they say."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from conftest import REPO
from reference import BUDGETS, REFERENCE, STEMS, STUDIES

from resnet_repro.claims.explanations import explanations
from resnet_repro.config.arm import Arm
from resnet_repro.data.arrays import combined_digest
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.design.budgets import Budget
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.figures.figure import Context
from resnet_repro.figures.style import report_style
from resnet_repro.records.record import Record, collect, only_counted, only_trained
from resnet_repro.report.checklists import checklists_page, reported
from resnet_repro.report.headline import PLACE, values_of
from resnet_repro.report.korean import in_korean
from resnet_repro.report.markdown import summary_page
from resnet_repro.report.pages import BLOCK, Facts, facts_of, renewed_text
from resnet_repro.report.summary import ORDER, summary_content
from resnet_repro.report.verdicts import results_of
from resnet_repro.report.why import shown_figures, why_content, why_page
from resnet_repro.study.keep import LEFT_OUT, PLAIN, SMALL
from resnet_repro.tables import read_rows

LESSONS = [str(page.relative_to(REPO)) for page in sorted((REPO / "docs" / "lessons").glob("*.md"))]

# Compressed before such schedules began slowly: at the published rate from the first step.
AT_FULL_RATE = {
    ("degradation", "2000it"), ("degradation", "8000it"), ("depth", "8000it"), ("features", "8000it"),
    ("shortcuts", "8000it"),
}  # fmt: skip


def arm_of_today(name: str, budget: str, arm: str) -> Arm:
    """The arm as the experiment trains it at the budget."""
    experiment = load_experiment(name)
    profile, found = Budget.parse(budget).profile_of(experiment), experiment.arm(arm)
    assert profile is not None
    if (name, budget) in AT_FULL_RATE:
        return replace(found, recipe=replace(found.recipe, compressed=None))
    return replace(found, recipe=found.recipe.at(profile.iterations or found.recipe.iterations))


def records_of(name: str, budget: str) -> list[Record]:
    return only_trained(collect(REFERENCE, name, budget))


@pytest.mark.parametrize(("name", "budget"), STUDIES)
def test_a_record_says_what_it_was_made_from(name: str, budget: str) -> None:
    for record in records_of(name, budget):
        assert re.fullmatch(r"[0-9a-f]{12}", record.commit or ""), f"{record.folder} was made from uncommitted code"
        assert (record.settings.arm.name, record.settings.seed, record.budget) == (record.arm, record.seed, budget)
        today = arm_of_today(name, budget, record.arm)
        assert record.settings.arm == today, f"{record.folder}: the arm has changed since"
        assert record.hardware and record.seconds >= 0
        facts = CATALOGUE[record.dataset.name]
        assert not record.dataset.standin
        assert record.dataset.digest == combined_digest(facts.digests), f"{record.folder}: other data"
    networks = {network.name: network for network in load_experiment(name).networks}
    for record in only_counted(collect(REFERENCE, name, budget)):
        assert re.fullmatch(r"[0-9a-f]{12}", record.commit or ""), f"{record.folder} was made from uncommitted code"
        assert record.network == networks[record.arm], f"{record.folder}: the network has changed since"


@pytest.mark.parametrize(("name", "budget"), STUDIES)
def test_an_arm_has_one_precision_over_the_seeds(name: str, budget: str) -> None:
    assert len({r.precision for r in records_of(name, budget)}) <= 1


def test_no_weights_no_logs_and_no_data_are_kept() -> None:
    kept = {path.suffix for path in REFERENCE.rglob("*") if path.is_file()}
    assert kept <= {".json", ".csv", ".gz", ".tex", ".pdf", ".png", ".svg", ".md"}, kept
    assert max(path.stat().st_size for path in REFERENCE.rglob("*.*")) < 1_000_000
    tables = [path for path in REFERENCE.glob("*/*/*/seed*/*.csv") if path.name != PLAIN]
    assert {path for path in tables if path.stat().st_size > SMALL or path.name == LEFT_OUT} == set(), "use `keep`"


@pytest.fixture(scope="module")
def content() -> dict:
    experiments = [load_experiment(name) for name in experiment_names()]
    return summary_content(experiments, BUDGETS, REFERENCE)


def test_the_summary_is_that_of_the_records(content: dict) -> None:
    assert summary_page(content) == (REFERENCE / "summary.md").read_text(), "make report REFERENCE=1 renews it"


def test_the_page_of_explanations_is_that_of_the_records(content: dict) -> None:
    page = (REFERENCE / "why.md").read_text()
    figures = {f"{name}.png": texts for name, texts in shown_figures(REFERENCE).items() if f"]({name}.png)" in page}
    assert page == why_page(why_content(explanations(), content["claims"], content["date"]), figures), (
        "make report REFERENCE=1 renews it"
    )


@pytest.fixture(scope="module")
def facts(content: dict) -> Facts:
    return facts_of(content, [load_experiment(name) for name in experiment_names()], BUDGETS, REFERENCE)


GENERATED = {
    "README.md": {"printed degradation quick seeds 0", "findings", "number of claims"},
    "README.ko.md": {"findings in Korean", "number of claims"},
}


@pytest.mark.parametrize("page", ["README.md", "README.ko.md", "reports/README.md", "docs/why.md", *LESSONS])
def test_generated_parts_of_a_page_are_those_of_the_records(facts: Facts, page: str) -> None:
    text = (REPO / page).read_text()
    assert renewed_text(text, facts) == (text, []), "make report REFERENCE=1 renews it"
    assert GENERATED.get(page, set()) <= {match[1] for match in BLOCK.finditer(text)}


def test_both_readmes_have_the_same_commands_times_and_numbers() -> None:
    english, korean = ((REPO / name).read_text() for name in ("README.md", "README.ko.md"))
    commands = re.findall(r"^\| `make (\S+)` \|.* (\d+) minutes? \|$", english, re.M)
    assert re.findall(r"^\| `make (\S+)` \|.* (\d+)분 \|$", korean, re.M) == commands
    assert {name for name, _ in commands} == set(experiment_names())
    first = english.partition("## Quick start")[0]
    assert [found[1:] for found in EVIDENCE.findall(first)] == [found[1:] for found in EVIDENCE.findall(korean)]


def test_the_checklists_are_answered_from_the_records(content: dict) -> None:
    studies = reported([load_experiment(name) for name in experiment_names()], BUDGETS, REFERENCE)
    reports = REFERENCE.relative_to(REPO)
    with contextlib.chdir(REPO):
        page = checklists_page(studies, content, reports, reports, Path())
    assert page == (REPO / "REPRODUCIBILITY.md").read_text(), "make report REFERENCE=1 renews it"


def test_the_readmes_figure_has_the_text_of_the_figure() -> None:
    records = records_of("degradation", BUDGETS["degradation"][0])
    length = max(record.settings.iterations for record in records)
    with report_style():
        drawing = load_experiment("degradation").figures[0].draw(Context(records, length))
    assert drawing is not None
    (text,) = re.findall(
        r"!\[(.*)\]\(reports/reference/degradation-error_curves.png\)", (REPO / "README.md").read_text()
    )
    assert text == drawing.alternative


def test_quick_shows_the_papers_finding_in_every_seed() -> None:
    """The default run of the headline experiment has one seed, whichever the user takes."""
    values = results_of(records_of("degradation", "quick"))
    for metric in ("train_error", "test_error"):
        errors = {arm: values.of(arm, metric) for arm in ("plain-20", "plain-56", "resnet-20", "resnet-56")}
        for seed in range(5):
            assert errors["plain-56"][seed] > errors["plain-20"][seed] + 5
            assert errors["resnet-20"][seed] < errors["plain-20"][seed] - 5
            assert errors["resnet-56"][seed] < errors["plain-56"][seed] - 5


def test_every_budget_has_its_report() -> None:
    for stem in STEMS:
        assert (REFERENCE / f"{stem}.pdf").exists(), stem


PAGES = [
    *REPO.glob("*.md"),
    *(REPO / "docs").rglob("*.md"),
    *(REPO / "benchmarks").glob("*.md"),
    REPO / "reports" / "README.md",
]
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?(?: \"[^)]*\")?\)")


def text_of(page: Path) -> str:
    """The text of a page with its reference links, [words][label], as inline links. Each label has one definition and a use."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    definitions = re.findall(r"^\[([^\]]+)\]: (.+)$\n?", text, re.M)
    targets = dict(definitions)
    text = re.sub(r"^\[[^\]]+\]: .+$\n?", "", text, flags=re.M)
    labels = set(re.findall(r"\]\[([^\]]+)\]", text))
    assert len(targets) == len(definitions), f"{page.name} defines a label twice"
    assert labels == set(targets), f"{page.name}: labels without a definition or a use"
    return re.sub(r"\]\[([^\]]+)\]", lambda use: f"]({targets[use[1]]})", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_of_a_page_lead_to_existing_files_and_headings(page: Path) -> None:
    for target, anchor in LINK.findall(text_of(page)):
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}#{anchor}"


def test_the_readme_links_to_every_guide() -> None:
    linked = {target for target, _ in LINK.findall((REPO / "README.md").read_text())}
    assert {f"docs/{page.name}" for page in (REPO / "docs").glob("*.md")} | {
        "docs/lessons/README.md",
        "README.ko.md",
    } <= linked
    index = {target for target, _ in LINK.findall((REPO / "docs" / "lessons" / "README.md").read_text())}
    assert {Path(page).name for page in LESSONS} - {"README.md"} <= index


KINDS = dict(zip(ORDER, ("decided", "decided", "seen once", "seen once", "open", "open"), strict=True))


EVIDENCE = re.compile(r'\[([^\]]+)\]\((?:\.\./)*(?:reports/)?reference/([^\s)]+) "([^"]+)"\)')
WITHOUT_GRADIENT = "layers without gradient at step "
NUMBERS = [("README.md", 5), ("README.ko.md", 5), ("reports/README.md", 150), ("docs/why.md", 8)]
LESSON_NUMBERS = [("docs/lessons/answers.md", 60), ("docs/lessons/5-seeds.md", 20)]


@pytest.mark.parametrize(("page", "at_least"), [*NUMBERS, *LESSON_NUMBERS])
def test_numbers_and_verdicts_of_a_page_are_those_of_the_records(content: dict, page: str, at_least: int) -> None:
    """Lessons may show a verdict that another budget changes, because budgets are one of their subjects."""
    strongest = {claim["name"]: claim["verdict"] for claim in content["claims"]}
    studies = [section for section in content["experiments"] if section["ran"]]
    claims = {
        stem: {claim["name"]: claim for claim in section["claims"]}
        for stem, section in zip(STEMS, studies, strict=True)
    }
    found = EVIDENCE.findall(text_of(REPO / page))
    for words, target, what in found:
        if what in ORDER:
            assert claims[Path(target).stem][words]["verdict"] == what, f"{words} is not {what} in {target}"
            if page not in LESSONS:
                assert KINDS[what] == KINDS[strongest[words]], f"another budget makes {words} {strongest[words]}"
            continue
        if target.endswith(".pdf"):  # a cell of the report's table of claims, such as "D1: effect"
            claim, _, key = what.partition(": ")
            cell = claims[Path(target).stem][claim][key]
            assert words == (in_korean(cell) if page.endswith(".ko.md") else cell), (target, what)
            continue
        if what.startswith(WITHOUT_GRADIENT):
            assert words == str(layers_without_gradient(REFERENCE / target, what.removeprefix(WITHOUT_GRADIENT)))
            continue
        name, budget, arm, *seed = Path(target).parts
        values = results_of(collect(REFERENCE, name, budget)).of(arm, what)
        wanted = [values[int(seed[0].removeprefix("seed"))]] if seed else list(values.values())
        said = re.search(r"[−+]?[\d,]+(?:\.(\d+))?", words)
        assert wanted and said, f"{words}: {target} has no {what}"
        digits = len(said[1] or "")
        assert f"{mean(wanted):.{digits}f}" == said[0].replace("−", "-").replace(",", "").replace("+", ""), (
            words,
            target,
        )
    assert len(found) >= at_least


def layers_without_gradient(table: Path, step: str) -> int:
    norms = [float(row["norm"]) for row in read_rows(table.with_suffix("")) if row["iteration"] == step]
    assert norms, f"{table} has no step {step}"
    return norms.count(0.0)


def test_the_page_of_results_links_to_every_experiment_or_says_that_it_has_none() -> None:
    text = text_of(REPO / "reports" / "README.md")
    not_run = text.partition("## Not run yet")[2].partition("\n## ")[0]
    for name, budgets in BUDGETS.items():
        assert (f"(reference/{name}" in text) == bool(budgets), name
        assert (f"`{name}`" in not_run) == (not budgets), name


@pytest.mark.parametrize("name", [name for name, budgets in BUDGETS.items() if budgets])
def test_answers_speak_of_metrics_that_records_have(name: str) -> None:
    places = [place[1] for answer in load_experiment(name).answers for place in PLACE.finditer(answer)]
    asked = {part.rpartition(".")[2] for place in places for part in re.split(r" [/-] ", place)} - {"steps"}
    known = {
        metric
        for budget in BUDGETS[name]
        for record in collect(REFERENCE, name, budget)
        for metric in values_of(record)
    }
    # Of ImageNet, which is trained nowhere here, and of measurements that have not been taken yet.
    assert asked <= known | {"test_error_10crop", "block_loss", "first_curvature"}

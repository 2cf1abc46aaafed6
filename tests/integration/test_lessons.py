"""The lessons: their commands are accepted, and training and discussion fit in 45 minutes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import REPO
from reference import BUDGETS, REFERENCE

from resnet_repro.cli import build_parser
from resnet_repro.commands.shared import profile_of
from resnet_repro.config.arm import Arm
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.design.registry import load_experiment
from resnet_repro.parsing import parse_seeds
from resnet_repro.records.record import collect, only_trained
from resnet_repro.study.request import select_arms

LESSONS = REPO / "docs" / "lessons"
PAGES = sorted(LESSONS.glob("[1-9]-*.md"))
MINUTES = 45
CORES = 2


def blocks(page: Path) -> list[str]:
    """The lines of the page's blocks of shell commands."""
    return [
        line for text in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S) for line in text.splitlines()
    ]


def flags(line: str) -> list[str]:
    """The arguments that the Makefile makes of a line `make EXPERIMENT NAME=value ...`."""
    make, target, *settings = shlex.split(line, comments=True)
    assert make == "make"
    makefile = (REPO / "Makefile").read_text()
    variables = set(re.findall(r"[A-Z_]{4,}", makefile.partition("\nBUDGET")[2].partition("\nSWITCHES")[0]))
    names = {setting.partition("=")[0] for setting in settings}
    assert names <= variables, f"{line}: no variables of the Makefile"
    pairs = [setting.partition("=")[::2] for setting in settings]
    return ["run", target, *(word for name, value in pairs for word in (f"--{name.lower().replace('_', '-')}", value))]


def parsed(line: str) -> tuple[Experiment, Profile, list[Arm], tuple[int, ...]]:
    """What the command line runs: experiment, profile, arms and seeds. Fails if it refuses the line."""
    options = build_parser().parse_args(flags(line))
    experiment = load_experiment(options.experiment)
    profile = profile_of(experiment, options)
    arms, _ = select_arms(experiment, profile, options.arms)
    return experiment, profile, arms, parse_seeds(options.seeds) if options.seeds else profile.seeds


def minutes_of_records(line: str) -> float:
    """The command's time on two cores, from the committed runs of its arms: one core each, at its number of steps."""
    experiment, profile, arms, seeds = parsed(line)
    steps = profile.iterations or experiment.published_steps
    total = 0.0
    for arm in arms:
        runs = [
            record
            for budget in BUDGETS[experiment.name]
            for record in only_trained(collect(REFERENCE, experiment.name, budget))
            if record.arm == arm.name
        ]
        assert runs, f"{arm.name} has no committed runs"
        shortest = min(run.settings.iterations for run in runs)
        seconds = [run.seconds for run in runs if run.settings.iterations == shortest]
        of_schedule = steps * (arm.share or 1) * (arm.length or 1)
        scale = of_schedule / shortest if shortest else 1
        total += sum(seconds) / len(seconds) * min(scale, 1) * len(seeds)
    return total / CORES / 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_lesson_are_accepted(page: Path) -> None:
    lines = [line for line in blocks(page) if line.startswith("make ")]
    assert lines
    for line in lines:
        _, profile, arms, seeds = parsed(line)
        assert profile and arms and seeds


def test_reports_of_the_fifth_lesson_are_accepted() -> None:
    lines = [line for line in blocks(LESSONS / "5-seeds.md") if "resnet-repro report" in line]
    assert len(lines) == 2
    for line in lines:
        options = build_parser().parse_args(shlex.split(line)[1:])
        assert options.experiments[0] in BUDGETS
        assert not options.profile or options.profile in BUDGETS[options.experiments[0]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_plan_of_a_lesson_has_45_minutes_and_room_for_the_training(page: Path) -> None:
    text = page.read_text().partition("## The claims")[0]
    plan = [(int(minutes), what) for minutes, what in re.findall(r"^\| (\d+) \| (.+) \|$", text, re.M)]
    assert sum(minutes for minutes, _ in plan) == MINUTES
    (running,) = [minutes for minutes, what in plan if what.startswith("run")]
    row = next(line for line in (LESSONS / "README.md").read_text().splitlines() if f"({page.name})" in line)
    command, stated = re.findall(r"`(make [^`]+)` \| (\d+) \|", row)[0]
    assert any(line.startswith(command) for line in blocks(page))  # perhaps with other folders
    needed = minutes_of_records(command)
    assert needed <= int(stated) <= needed + 2, f"{command} takes {needed:.1f} minutes"
    assert running > needed + 3


def test_every_lesson_has_answers_to_its_questions() -> None:
    answers = (LESSONS / "answers.md").read_text()
    titles = re.findall(r"^## (\d)\. (.+)$", answers, re.M)
    assert [int(number) for number, _ in titles] == list(range(1, len(PAGES) + 1))
    for page, part in zip(PAGES, re.split(r"^## \d\. ", answers, flags=re.M)[1:], strict=True):
        questions = re.findall(r"^(\d)\. ", page.read_text().partition("## Questions")[2], re.M)
        assert questions and re.findall(r"^(\d)\. ", part, re.M) == questions, page.name

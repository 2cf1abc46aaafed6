"""Settings of a run: storage, and the step at which the run ends."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from resnet_repro.config.arm import Start
from resnet_repro.config.settings import RunSettings
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.errors import UserError


@pytest.fixture
def settings(degradation: Experiment) -> RunSettings:
    arm = degradation.arm("plain-56-no-bn")
    return RunSettings("degradation", "quick", arm, 0, 391, 131, "cifar10", "d", "bf16", "cpu")


@pytest.mark.parametrize("name", experiment_names())
def test_settings_are_restored_from_json(name: str, settings: RunSettings) -> None:
    for arm in load_experiment(name).arms:
        stored = replace(settings, arm=arm, stretch=3)
        assert RunSettings.from_json(json.loads(json.dumps(stored.to_json()))) == stored


def test_fields_that_an_older_record_lacks_get_their_defaults(settings: RunSettings) -> None:
    older = json.loads(json.dumps(settings.to_json()))
    for name in ("stretch", "resolution", "weights", "prefix", "scored"):
        del older[name]
    for name in ("search", "dataset", "features", "calibrated_on", "task"):
        del older["arm"][name]
    read = RunSettings.from_json(older)
    assert read == settings and read.to_json() == settings.to_json()


IN_THREADS = """
import json, sys, threading, time
from msgspec import _utils
from resnet_repro.config.settings import RunSettings

def slowly(read):
    def slow(data):
        time.sleep(0.03)
        return read(data)
    return slow

for name in ("get_dataclass_info", "get_class_annotations"):
    setattr(_utils, name, slowly(getattr(_utils, name)))
stored = json.load(sys.stdin)
read = []
threads = [threading.Thread(target=lambda: read.append(RunSettings.from_json(stored))) for _ in range(30)]
for thread in threads:
    thread.start()
    time.sleep(0.007)
for thread in threads:
    thread.join()
assert len(read) == 30 and all(settings == read[0] for settings in read)
"""


def test_threads_may_read_settings_at_once(settings: RunSettings) -> None:
    """msgspec prepares a type at its first use, and crashed if another thread used it meanwhile."""
    stored = json.dumps(settings.to_json())
    done = subprocess.run([sys.executable, "-c", IN_THREADS], input=stored, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_run_stops_at_the_end_of_its_share_or_stretch(settings: RunSettings, degradation: Experiment) -> None:
    assert settings.stop_at == 39
    assert replace(settings, arm=degradation.arm("plain-56"), stretch=8).stop_at == 8
    assert replace(settings, iterations=0).stop_at == 0


def test_settings_of_another_version_are_rejected() -> None:
    with pytest.raises(UserError, match="version"):
        RunSettings.from_json({"arm": {}})


def test_settings_from_before_orders_and_precisions_of_arms_are_read_as_they_were_trained(
    settings: RunSettings,
) -> None:
    stored = settings.to_json()
    del stored["arm"]["recipe"]["order"], stored["arm"]["precision"]
    restored = RunSettings.from_json(stored)
    assert restored == settings
    assert (restored.arm.recipe.order, restored.arm.precision) == ("shuffled", None)


def test_starts_from_before_perturbations_are_read_as_exact_ones(settings: RunSettings) -> None:
    start = Start("plain-20", "deepen")
    built = replace(settings, arm=replace(settings.arm, start=start))
    stored = built.to_json()
    del stored["arm"]["start"]["perturbation"]
    assert RunSettings.from_json(stored) == built
    noisy = replace(built, arm=replace(built.arm, start=replace(start, perturbation=-0.1)))
    with pytest.raises(UserError, match=r"perturbation of .* -0\.1: expected a number of at least 0"):
        RunSettings.from_json(noisy.to_json())

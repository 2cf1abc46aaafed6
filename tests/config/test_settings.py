"""Settings of a run, stored and read again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from resnet_repro.config.settings import RunSettings
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError


def test_settings_survive_the_disk(degradation: Experiment) -> None:
    arm = degradation.arm("plain-56-no-bn")
    settings = RunSettings("degradation", "quick", arm, 0, 391, 131, "cifar10", "d", "bf16", "cpu")
    assert RunSettings.from_json(settings.to_json()) == settings
    assert settings.stop_at == 39
    for name in ("plain-56-on", "plain-56-built"):
        started = replace(settings, arm=load_experiment("construction").arm(name), stretch=3)
        assert RunSettings.from_json(json.loads(json.dumps(started.to_json()))) == started
    assert replace(settings, arm=degradation.arm("plain-56"), stretch=8).stop_at == 8
    assert replace(settings, iterations=0).stop_at == 0
    for name in ("tanh", "tanh-rate-0.1"):
        found = replace(settings, arm=load_experiment("activation").arm(name))
        assert RunSettings.from_json(json.loads(json.dumps(found.to_json()))) == found
    counted = replace(settings, arm=load_experiment("fashion").arm("basic-wide"))
    assert RunSettings.from_json(json.loads(json.dumps(counted.to_json()))) == counted
    warm = replace(settings, arm=load_experiment("depth").arm("resnet-110"))
    assert RunSettings.from_json(json.loads(json.dumps(warm.to_json()))) == warm
    with pytest.raises(UserError, match="another version"):
        RunSettings.from_json({"arm": {}})

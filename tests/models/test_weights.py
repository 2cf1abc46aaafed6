"""Weights under the names that they have elsewhere."""

from __future__ import annotations

from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.weights import map_keys, state_sha256


def test_weights_under_the_customary_names_load_strictly() -> None:
    source = cifar_net("resnet", 20, shortcut="B", seed=5)
    foreign = {
        "module." + key.replace("fc.", "linear.").replace("downsample", "shortcut"): value
        for key, value in source.state_dict().items()
    }
    net = cifar_net("resnet", 20, shortcut="B", seed=6)
    net.load_state_dict(map_keys(foreign))
    assert state_sha256(net.state_dict()) == state_sha256(source.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.bias"} <= set(net.state_dict())


def test_wrappers_prefixes_are_dropped() -> None:
    state = {"module._orig_mod." + key: value for key, value in cifar_net("plain", 8).state_dict().items()}
    assert map_keys(state).keys() == cifar_net("plain", 8).state_dict().keys()

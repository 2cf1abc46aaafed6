"""Transfer nets and pretrained weights: key names, frozen parameters, mistakes of the source, files."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file

from resnet_repro.errors import UserError
from resnet_repro.models import pretrained
from resnet_repro.models.imagenet import imagenet_net
from resnet_repro.models.inspect import parameter_summary
from resnet_repro.models.pretrained import file_sha256, obtain, read_state
from resnet_repro.models.transfer import load_backbone, transfer_net
from resnet_repro.models.weights import map_keys

FILE = "resnet18-{}.pth"


def test_backbone_computes_torchvisions_features(torchvision_resnet18: torchvision.models.ResNet) -> None:
    net = transfer_net(18, classes=7, seed=1).eval()
    head = net.fc.weight.clone()
    load_backbone(net, torchvision_resnet18.state_dict(), "torchvision")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    body = torch.nn.Sequential(*list(torchvision_resnet18.children())[:-1], torch.nn.Flatten())
    with torch.no_grad():
        assert torch.allclose(net.features(images), body(images), atol=1e-5)
        assert torch.equal(net(images), net(net.features(images)))
    assert torch.equal(net.fc.weight, head)


def test_frozen_backbone_leaves_only_the_last_layer_trainable() -> None:
    rows = {part: (trained, frozen) for part, trained, frozen in parameter_summary(transfer_net(34, frozen=True))}
    assert rows["total"] == (51_300, 21_284_672)
    assert rows["fc"] == (51_300, 0) and all(
        trained == 0 for part, (trained, _) in rows.items() if part not in ("fc", "total")
    )
    assert parameter_summary(transfer_net(34))[-1] == ("total", 21_335_972, 0)
    torchvision_count = sum(p.numel() for p in torchvision.models.resnet34(num_classes=100).parameters())
    assert torchvision_count == 21_335_972


def test_options_change_outputs_but_not_initial_weights() -> None:
    nets = [
        transfer_net(18, seed=3),
        transfer_net(18, True, "batch", "probabilities", seed=3),
        transfer_net(18, True, "running", seed=3),
    ]
    for net in nets[1:]:
        assert all(
            torch.equal(a, b) for a, b in zip(nets[0].state_dict().values(), net.state_dict().values(), strict=True)
        )
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        logits, probabilities = nets[0].eval()(images), nets[1].eval()(images)
    assert torch.allclose(probabilities, logits.softmax(1), atol=1e-6)
    # With a second softmax, the loss of 100 classes can hardly fall below ln 100 - 1 = 3.6.
    assert float(F.cross_entropy(probabilities, torch.tensor([0, 1, 2, 3]))) > 3.6


@pytest.mark.parametrize(("statistics", "drifts"), [("batch", True), ("running", False)])
def test_running_statistics_of_a_frozen_backbone_change_with_batch_only(statistics: str, drifts: bool) -> None:
    net = transfer_net(18, True, statistics, classes=5).train()  # type: ignore[arg-type]
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net(torch.randn(4, 3, 32, 32)).sum().backward()
    moved = {name for name, buffer in net.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved == (set(before) if drifts else set())
    assert [name for name, parameter in net.named_parameters() if parameter.grad is not None] == [
        "fc.weight",
        "fc.bias",
    ]
    assert net.training and net.eval().bn1.training is False and net.train().bn1.training is drifts


def test_running_statistics_need_a_frozen_backbone() -> None:
    with pytest.raises(UserError, match=r"'running' .*frozen"):
        transfer_net(18, statistics="running")


def test_weights_of_another_network_are_rejected_with_their_keys(
    torchvision_resnet18: torchvision.models.ResNet,
) -> None:
    net = transfer_net(18)
    with pytest.raises(
        UserError, match=r"the file .*unexpected layer1\.2\.conv1\.weight(, layer\S+){3} and \d+ more\)"
    ):
        load_backbone(net, imagenet_net("resnet", 34).state_dict(), "the file")
    state = dict(torchvision_resnet18.state_dict())
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    del state["layer4.1.bn2.bias"]
    with pytest.raises(
        UserError, match=r"missing layer4\.1\.bn2\.bias; of another shape: conv1\.weight is 64×3×3×3, not 64×3×7×7"
    ):
        load_backbone(net, state, "the file")


def test_only_batch_counters_may_be_missing(torchvision_resnet18: torchvision.models.ResNet, tmp_path: Path) -> None:
    """They are missing in older files of torchvision, which hold parameters instead of tensors."""
    state = {
        key: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        for key, tensor in torchvision_resnet18.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "old.pth")
    for source in (state, read_state(tmp_path / "old.pth")):
        net = transfer_net(18, seed=1)
        initial = net.state_dict()
        load_backbone(net, source, "the file")
        loaded = net.state_dict()
        assert loaded.keys() == initial.keys() and int(loaded["bn1.num_batches_tracked"]) == 0
        assert all(torch.equal(loaded[key], state[key]) for key in state if not key.startswith("fc."))
    del state["bn1.running_mean"]
    with pytest.raises(UserError, match=r"\(missing bn1\.running_mean\)"):
        load_backbone(transfer_net(18), state, "the file")
    with pytest.raises(UserError, match=r"unexpected bn3\.num_batches_tracked"):
        load_backbone(
            transfer_net(18),
            torchvision_resnet18.state_dict() | {"bn3.num_batches_tracked": torch.tensor(0)},
            "the file",
        )


def test_state_dicts_are_read_from_files_of_other_programs(
    torchvision_resnet18: torchvision.models.ResNet, tmp_path: Path
) -> None:
    state = {key: tensor.clone() for key, tensor in torchvision_resnet18.state_dict().items()}
    torch.save(state, tmp_path / "plain.pth")
    torch.save(
        {"state_dict": {f"net.{key}": tensor for key, tensor in state.items()}, "epoch": 3}, tmp_path / "lightning.ckpt"
    )
    torch.save({"model": {f"module.{key}": tensor for key, tensor in state.items()}}, tmp_path / "ddp.pt")
    save_file(state, tmp_path / "plain.safetensors")
    for name in ("plain.pth", "lightning.ckpt", "ddp.pt", "plain.safetensors"):
        loaded = read_state(tmp_path / name)
        assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("prefix", ["model.", "backbone.", "module.model.", "net.", "encoder.resnet."])
def test_prefix_that_all_keys_share_is_removed(prefix: str, tmp_path: Path) -> None:
    state = transfer_net(18, classes=3, seed=1).state_dict()
    torch.save({f"{prefix}{key}": tensor for key, tensor in state.items()}, tmp_path / "prefixed.pth")
    assert read_state(tmp_path / "prefixed.pth").keys() == state.keys()


def checkpoints(state: dict[str, torch.Tensor], net: torch.nn.Module) -> dict[str, object]:
    """Checkpoints of other programs with the weights of a torchvision network."""

    def prefixed(prefix: str) -> dict[str, torch.Tensor]:
        return {f"{prefix}{key}": tensor for key, tensor in state.items()}

    adam = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2)}}, "param_groups": []}
    return {
        "net": {"net": state, "acc": 93.0, "epoch": 3},
        "model_state_dict": {"model_state_dict": prefixed("module."), "optimizer_state_dict": adam, "loss": torch.tensor(1.0)},
        "any name": {"my_net": state, "lr": 0.1},
        "nested": {"checkpoint": {"student": {"weights": state}}},
        "ema": {"ema": prefixed("module."), "updates": 4},
        "options and numbers": {"model": state, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5)},
        "average by torch": torch.optim.swa_utils.AveragedModel(net).state_dict(),
        "counters beside weights": {**state, "epoch": 5},
        "head beside the backbone": {"state_dict": {**prefixed("backbone."), "head.fc.weight": torch.zeros(3, 512)}},
        "loss beside the model": {"state_dict": {**prefixed("model."), "criterion.weight": torch.zeros(3)}},
        "model before its average": {"model_ema": {key: tensor * 2 for key, tensor in state.items()}, "model": state},
        "sequence of layers": torch.nn.Sequential(*net.children()).state_dict(),
        "sequence without head": {
            f"features.{key}": tensor for key, tensor in torch.nn.Sequential(*list(net.children())[:-1]).state_dict().items()
        },
    }  # fmt: skip


def test_backbones_are_loaded_from_checkpoints_of_other_programs(
    torchvision_resnet18: torchvision.models.ResNet, tmp_path: Path
) -> None:
    state = torchvision_resnet18.state_dict()
    for name, content in checkpoints(dict(state), torchvision_resnet18).items():
        torch.save(content, tmp_path / "checkpoint.pth")
        net = transfer_net(18, classes=3, seed=1)
        load_backbone(net, read_state(tmp_path / "checkpoint.pth"), name)
        loaded = net.state_dict()
        assert all(torch.equal(loaded[key], state[key]) for key in state if not key.startswith("fc.")), name


def test_keys_of_hugging_face_are_mapped(torchvision_resnet18: torchvision.models.ResNet) -> None:
    given = {
        "resnet.embedder.embedder.convolution.weight": "resnet.conv1.weight",
        "resnet.embedder.embedder.normalization.running_mean": "resnet.bn1.running_mean",
        "resnet.encoder.stages.0.layers.1.layer.1.convolution.weight": "resnet.layer1.1.conv2.weight",
        "resnet.encoder.stages.3.layers.0.layer.0.normalization.bias": "resnet.layer4.0.bn1.bias",
        "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight": "resnet.layer2.0.downsample.0.weight",
        "resnet.encoder.stages.1.layers.0.shortcut.normalization.weight": "resnet.layer2.0.downsample.1.weight",
        "classifier.1.weight": "fc.1.weight",
    }
    assert list(map_keys({key: torch.zeros(1) for key in given})) == list(given.values())
    assert {
        key.removeprefix("resnet.") for key in list(given.values())[:-1]
    } <= torchvision_resnet18.state_dict().keys()


def test_ambiguous_checkpoints_are_rejected(torchvision_resnet18: torchvision.models.ResNet, tmp_path: Path) -> None:
    state = torchvision_resnet18.state_dict()
    torch.save({"generator": state, "discriminator": state, "epoch": 1}, tmp_path / "two.pth")
    with pytest.raises(UserError, match=r"two\.pth holds several state dicts \(generator, discriminator\)"):
        read_state(tmp_path / "two.pth")
    both = {f"encoder_{side}.{key}": tensor for side in "qk" for key, tensor in state.items()}
    with pytest.raises(UserError, match=r"2 networks of this architecture \(encoder_k\., encoder_q\.\)"):
        load_backbone(transfer_net(18), both, "the file")


def test_format_is_told_by_content_not_by_name(torchvision_resnet18: torchvision.models.ResNet, tmp_path: Path) -> None:
    """A Hugging Face cache has snapshots/.../model.safetensors as a link to blobs/<sha256>."""
    state = {key: tensor.clone() for key, tensor in torchvision_resnet18.state_dict().items()}
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    save_file(state, tmp_path / "blobs" / "0a1b")
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(tmp_path / "blobs" / "0a1b")
    torch.save(state, tmp_path / "misnamed.safetensors")
    save_file(state, tmp_path / "misnamed.pth")
    for path in ("snapshot/model.safetensors", "snapshot", "blobs/0a1b", "misnamed.safetensors", "misnamed.pth"):
        weights = obtain(str(tmp_path / path), 18, tmp_path, None)
        assert weights and read_state(weights.path).keys() == state.keys()
        assert read_state(weights.path.resolve()).keys() == state.keys()


def test_values_that_cannot_be_trained_are_rejected_by_name(tmp_path: Path) -> None:
    good = {"bn1.num_batches_tracked": torch.tensor(3), "conv1.weight": torch.ones(2).half()}
    pretrained.check_values(good, tmp_path)
    for tensor, message in (
        (torch.ones(2, dtype=torch.int8), "layer1.0.conv1.weight in .* is int8: expected float"),
        (torch.tensor([1.0, float("nan")]), "layer1.0.conv1.weight in .* 1 value .*NaN or infinite"),
        (torch.tensor([float("inf"), float("-inf")]), "layer1.0.conv1.weight in .* 2 values .*NaN or infinite"),
    ):
        with pytest.raises(UserError, match=message):
            pretrained.check_values({**good, "layer1.0.conv1.weight": tensor}, tmp_path)
    with pytest.raises(UserError, match=r"bn1\.running_var in .* has negative values: expected variances"):
        pretrained.check_values({**good, "bn1.running_var": torch.tensor([1.0, -1e-3])}, tmp_path)


class Code:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return print, ("executed",)


def test_invalid_files_of_weights_are_rejected(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "list.txt").write_text("eight weights")  # torch reads it as a pickle and raises KeyError 101
    (tmp_path / "cut.pth").write_bytes(b"\x80\x02}")
    (tmp_path / "short.safetensors").write_bytes(b"\x00" * 4)
    torch.save({"weights": Code()}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "script.pt"))
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    torch.save({"conv.weight": torch.zeros(100)}, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:600])
    for name, message in (
        ("none.pth", r"WEIGHTS=.*none\.pth does not exist"),
        ("text.pth", r"text\.pth cannot be read as weights \(neither a zip archive nor a pickle\)"),
        ("list.txt", r"list\.txt cannot be read as weights \(neither a zip archive nor a pickle\)"),
        ("cut.pth", r"cut\.pth cannot be read as weights \(it is damaged\)"),
        ("short.safetensors", r"short\.safetensors cannot be read as weights"),
        ("code.pth", r"code\.pth holds objects other than weights \((__builtin__|builtins)\.print\)"),
        (
            "script.pt",
            r"script\.pt .*TorchScript archive, which holds a program; save the state dict(?!.*weights_only)",
        ),
        ("pointer.pth", r"pointer\.pth .*Git LFS"),
        ("arrays.npz", r"arrays\.npz .*zip archive that torch\.save has not written"),
        ("half.pth", r"half\.pth .*an incomplete zip archive; replace it"),
        ("list.pth", r"list\.pth does not hold a state dict"),
    ):
        with pytest.raises(UserError, match=message):
            obtain(str(tmp_path / name), 18, tmp_path, None)
    assert "executed" not in capsys.readouterr().out
    with pytest.raises(UserError, match=r"WEIGHTS=.* is a folder"):
        obtain(str(tmp_path), 18, tmp_path, None)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A substitute for torchvision's file, with its digest in its name, at a file URL."""
    site = tmp_path / "site"
    site.mkdir()
    torch.save({"fc.weight": torch.zeros(2)}, site / "file")
    path = (site / "file").rename(site / FILE.format(file_sha256(site / "file")[:8]))
    monkeypatch.setattr(pretrained, "torchvision_weights", lambda depth: ("torchvision's", path.as_uri()))
    return path


def test_torchvisions_weights_are_downloaded_once_and_checked(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = obtain(None, 18, tmp_path / "data", None)
    assert weights is not None and weights.path == tmp_path / "data" / published.name
    assert weights.sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    content = published.read_bytes()
    published.unlink()
    assert obtain(None, 18, tmp_path / "data", None) == weights
    assert not caplog.messages
    weights.path.write_bytes(content[:-1])
    assert obtain(None, 18, tmp_path / "data", None) is None
    assert "skipped" in caplog.messages[0] and "not available" in caplog.messages[1]
    published.write_bytes(content[:-1])
    assert obtain(None, 18, tmp_path / "other", None) is None
    assert "digest" in caplog.messages[2]
    assert not list((tmp_path / "other").iterdir())


def test_weights_that_cannot_be_stored_are_not_available(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").touch()
    assert obtain(None, 18, tmp_path / "a file" / "weights", None) is None
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("kind", ["folder", "weights", "url"])
def test_mirror_takes_precedence_over_torchvision(published: Path, tmp_path: Path, kind: str) -> None:
    mirror = tmp_path / "mirror"
    (mirror / "weights").mkdir(parents=True)
    published.rename((mirror / "weights" if kind == "weights" else mirror) / published.name)
    weights = obtain(None, 18, tmp_path / "data", mirror.as_uri() if kind == "url" else str(mirror))
    assert weights is not None and weights.name == "torchvision's"


def test_name_and_url_equal_torchvisions() -> None:
    name, url = pretrained.torchvision_weights(34)
    assert name == "torchvision resnet34 IMAGENET1K_V1"
    assert url == torchvision.models.ResNet34_Weights.IMAGENET1K_V1.url

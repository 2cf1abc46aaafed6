"""Weights of other projects: their names and wrappers, and the sentences on those that do not fit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import cli, one_sentence
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.cifar import cifar_net
from resnet_repro.trained.network import find_trained

PUBLISHED = {20: 8.27, 32: 7.37, 44: 6.90, 56: 6.61}  # test error after the last epoch, in percent


class Block(nn.Module):
    """A residual block with the attributes of akamaster/pytorch_resnet_cifar10 or of chenyaofo/pytorch-cifar-models."""

    def __init__(self, inputs: int, outputs: int, stride: int, projects: bool, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.shortcut_name = stride, shortcut
        if projects and stride == 2:
            setattr(
                self, shortcut, nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, self.shortcut_name):
            x = getattr(self, self.shortcut_name)(x)
        elif self.stride == 2:
            channels = out.shape[1] // 4
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, channels, channels))
        return F.relu(out + x)


class ForeignNet(nn.Module):
    """A CIFAR ResNet with random statistics, written as those projects write it."""

    def __init__(self, depth: int, classes: int, projects: bool, shortcut: str, head: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        inputs = 16
        for stage, outputs in enumerate((16, 32, 64), start=1):
            blocks = []
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                blocks.append(Block(inputs, outputs, stride, projects, shortcut))
                inputs = outputs
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        setattr(self, head, nn.Linear(64, classes))
        self.head = head
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))  # type: ignore[operator]
        return getattr(self, self.head)(out.mean((2, 3)))


def akamaster(option: str) -> ForeignNet:
    return ForeignNet(20, 10, option == "B", "shortcut", "linear").eval()


def chenyaofo() -> ForeignNet:
    return ForeignNet(20, 100, True, "downsample", "fc").eval()


def with_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    ("make", "wrap", "name"),
    [
        (lambda: akamaster("A"), lambda s: {"state_dict": with_prefix("module.", s), "best_prec1": 91.7}, "resnet-20"),
        (lambda: akamaster("B"), lambda s: {"net": with_prefix("module.", s), "acc": 92.0, "epoch": 3}, "shortcuts B"),
        (chenyaofo, lambda s: s, "shortcuts B"),
        (chenyaofo, lambda s: {"model_state_dict": with_prefix("_orig_mod.net.", s)}, "shortcuts B"),
        (chenyaofo, lambda s: {"ema": with_prefix("model.", s) | {"n_averaged": torch.tensor(3)}}, "shortcuts B"),
    ],
    ids=["akamaster A", "akamaster B", "chenyaofo", "compiled", "averaged"],
)
def test_a_net_with_other_names_computes_the_same(
    make: Callable[[], ForeignNet], wrap: Callable[[dict], dict], name: str, tmp_path: Path
) -> None:
    theirs = make()
    state = {key: tensor for key, tensor in theirs.state_dict().items() if "num_batches" not in key}
    torch.save(wrap(state), tmp_path / "weights.th")
    ours = find_trained("resnet-20", str(tmp_path / "weights.th"))
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(ours.net(images), theirs(images), atol=1e-4)
    assert ours.name.endswith(name)
    assert (ours.dataset, ours.recipe.scaling) == ("cifar100" if ours.classes == 100 else "cifar10", "pixel-mean")


def test_weights_that_do_not_fit_are_named_in_a_sentence(tmp_path: Path) -> None:
    state = cifar_net("resnet", 20).state_dict()
    cases = {
        "missing fc.weight": {key: tensor for key, tensor in state.items() if key != "fc.weight"},
        "unexpected layer3.9.conv1.weight": state | {"layer3.9.conv1.weight": torch.zeros(1)},
        "conv1.weight is 16×3×5×5, not 16×3×3×3": state | {"conv1.weight": torch.zeros(16, 3, 5, 5)},
        "bn1.bias in .* NaN": state | {"bn1.bias": torch.full((16,), torch.nan)},
    }
    for text, wrong in cases.items():
        torch.save(wrong, tmp_path / "weights.pt")
        with pytest.raises(UserError, match=text):
            find_trained("resnet-20", str(tmp_path / "weights.pt"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["resnet-21"], "unknown network 'resnet-21'"),
        (["runs/none"], "NET=runs/none does not exist"),
        (["resnet-32"], "NET=resnet-32 needs weights: expected WEIGHTS"),
        (["resnet-20", "--weights", "none.th"], "WEIGHTS=none.th does not exist"),
        (["resnet-20", "--scaling", "odd"], "invalid SCALING 'odd': expected one of pixel-mean"),
        (["resnet-20", "--scaling", "1,2,3/0,1,2"], "invalid SCALING '1,2,3/0,1,2'"),
        (["resnet-20", "--dataset", "cifar11"], "unknown data set 'cifar11'"),
        (["resnet-20", "--dataset", "imagenet"], "set DATASET to the path"),
        (["resnet-20", "--workers", "2"], "WORKERS=2 applies to class folders only"),
    ],
)
def test_wrong_input_to_evaluate_is_one_sentence(arguments: list[str], text: str) -> None:
    assert text in one_sentence(cli("evaluate", *arguments))


@pytest.mark.slow
@pytest.mark.parametrize("depth", PUBLISHED)
def test_published_weights_have_their_published_error(depth: int, real_mirror: str) -> None:
    """The weights of akamaster/pytorch_resnet_cifar10, e.g. resnet20-12fca82f.th, from the folder CIFAR_RESNET_WEIGHTS."""
    folder = os.environ.get("CIFAR_RESNET_WEIGHTS")
    files = sorted(Path(folder).glob(f"resnet{depth}*.th")) if folder else []
    if not files:
        pytest.skip(f"CIFAR_RESNET_WEIGHTS is not a folder with resnet{depth}-*.th of akamaster/pytorch_resnet_cifar10")
    done = cli(
        "evaluate", f"resnet-{depth}", "--weights", files[0], "--scaling", "imagenet", "--data-mirror", real_mirror
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"test +error ([\d.]+) %", done.stdout)
    assert found and float(found[1]) == pytest.approx(PUBLISHED[depth], abs=0.02)

"""Ray without a cluster: requests, room on nodes, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_jobs import SMALL_LOAD, executor

from resnet_repro.errors import UserError
from resnet_repro.launch import LaunchOptions, Load, ray_cluster


def test_without_ray_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"EXECUTOR=ray needs the package ray, .*make setup-ray"):
        executor(LaunchOptions("ray"), tmp_path)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9 .*unset RAY_ADDRESS"),
        ("nowhere", "RAY_ADDRESS=nowhere is no address: write HOST:PORT"),
        ("host:port", "RAY_ADDRESS=host:port is no address"),
        ("ray://127.0.0.1:10001", "RAY_ADDRESS=ray://127.0.0.1:10001 is that of Ray's client"),
    ],
)
def test_an_address_where_no_cluster_answers_is_told_at_once(address: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ray_cluster._check_answers(address)


def node(cpus: float, gpus: float = 0) -> dict:
    return {"Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("cpus", "gpus", "threads", "share", "room"),
    [
        (8, 0, 1, 0, 8), (8, 0, 3, 0, 2), (8, 0, 9, 0, 0), (8, 0, 1, 1, 0), (16, 4, 4, 1, 4), (16, 4, 2, 0.5, 8),
        (16, 4, 1, 0.3, 12), (2, 4, 1, 0.5, 2), (64, 8, 8, 4, 2),
    ],
)  # fmt: skip
def test_room_on_a_node(cpus: int, gpus: int, threads: int, share: float, room: int) -> None:
    assert ray_cluster._room(node(cpus, gpus), threads, share) == room


def test_threads_beside_a_gpu_are_those_of_the_poorest_node() -> None:
    assert ray_cluster._threads_beside([node(64, 8), node(16, 4)], 1) == 4
    assert ray_cluster._threads_beside([node(64, 8)], 0.5) == 4
    assert ray_cluster._threads_beside([node(2, 8)], 1) == 1


def test_small_runs_share_the_gpus_of_a_cluster() -> None:
    card = {"memory": 80 * 2**30}
    nodes = [node(64, 8), node(32, 4)]
    assert ray_cluster._shared(nodes, [card, card], 100, SMALL_LOAD, None) == (1 / 2, 4), "by turns"
    through_mps = [card | {"mps": True}] * 2
    assert ray_cluster._shared(nodes, through_mps, 100, SMALL_LOAD, None) == (1 / 8, 1)
    assert ray_cluster._shared(nodes, [card, card | {"mps": True}], 100, SMALL_LOAD, None) == (1 / 2, 4)
    assert ray_cluster._shared(nodes, through_mps, 30, SMALL_LOAD, None) == (1 / 3, 2), "no more than there are"
    assert ray_cluster._shared(nodes, through_mps, 100, SMALL_LOAD, 4) == (1 / 2, 4), "as THREADS leaves cores"
    assert ray_cluster._shared(nodes, [{}, {}], 100, Load(1e12, 2**30), None) == (1.0, 8)


@pytest.mark.parametrize(
    ("share", "spread", "fits"),
    [(0.5, False, True), (1, False, True), (2, False, False), (4, True, True), (1.5, True, False)],
)
def test_a_share_of_a_gpu(share: float, spread: bool, fits: bool) -> None:
    if fits:
        assert ray_cluster._checked_share(share, spread) == share
    else:
        with pytest.raises(UserError, match=f"GPU_SHARE={share:g} is no share of a GPU"):
            ray_cluster._checked_share(share, spread)

"""Process groups started by torchrun or srun."""

from __future__ import annotations

import pytest

from resnet_repro.distributed import DistContext
from resnet_repro.errors import UserError
from resnet_repro.launch.process_group import Group, group_of

SLURM = {
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_JOB_ID": "123",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_group_is_read_from_torchrun_and_srun_variables() -> None:
    assert group_of({}) is None
    assert group_of({"SLURM_JOB_ID": "123", "SLURM_NTASKS": "8"}) is None  # a batch script, not a task of srun
    group = group_of(SLURM)
    assert group == Group(DistContext(5, 8, 1, 4), "gpu07", 20_123)
    assert group is not None
    environment = group.environment(run=3)
    assert (environment["MASTER_PORT"], environment["MASTER_ADDR"], environment["GROUP_RANK"]) == (
        "20127",
        "gpu07",
        "1",
    )
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert group_of({**torchrun, "MASTER_ADDR": "a", "MASTER_PORT": "7"}) == Group(DistContext(1, 2, 1, 2), "a", 7)
    with pytest.raises(UserError, match="MASTER_ADDR"):
        group_of(torchrun)
    with pytest.raises(UserError, match=r"8 tasks .* 3 nodes: .*--ntasks-per-node"):
        group_of({**SLURM, "SLURM_STEP_NUM_NODES": "3"})


@pytest.mark.parametrize("value", ["", " ", "1"])
def test_empty_variables_mean_a_single_process(value: str) -> None:
    assert group_of({"WORLD_SIZE": value}) is None
    assert group_of({"SLURM_STEP_NUM_TASKS": value}) is None


@pytest.mark.parametrize(
    "changes",
    [{"WORLD_SIZE": "abc"}, {"WORLD_SIZE": "0"}, {"LOCAL_WORLD_SIZE": "0"}, {"LOCAL_WORLD_SIZE": "-2"}, {"RANK": "x"}],
)
def test_contradictory_variables_are_rejected(changes: dict[str, str]) -> None:
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}
    with pytest.raises(UserError):
        group_of({**torchrun, **changes})
    with pytest.raises(UserError, match=r"srun .*invalid .*'x'"):
        group_of({**SLURM, "SLURM_STEP_NUM_TASKS": "x"})

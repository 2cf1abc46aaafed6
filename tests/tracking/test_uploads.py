"""Uploads to Weights & Biases: the real client against a server double on loopback, healthy and failing."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import make_settings, prepare_run
from made_records import record_in
from trained_runs import wait_for
from wandb_double import ENTITY, KEY, Double

from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.records.lock import hold
from resnet_repro.tables import Table
from resnet_repro.tracking import mirror, sync
from resnet_repro.tracking.receipt import read_receipt

pytestmark = pytest.mark.slow

LOSSES = ("epoch", "learning_rate", "running_train_loss", "running_train_error")
STEPS = 10


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    with Double() as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        # Healthy uploads end by themselves; a busy machine needs a minute to import the client.
        monkeypatch.setattr(mirror, "FINISH_SECONDS", 200.0)
        monkeypatch.setattr(sync, "FINISH_SECONDS", 200.0)
        # The client waits 2 to 60 s before a retry, and 15 s for further rows.
        for channel in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER"):
            monkeypatch.setenv(f"WANDB_X_{channel}_RETRY_WAIT_MIN_SECONDS", "0.2")
            monkeypatch.setenv(f"WANDB_X_{channel}_RETRY_WAIT_MAX_SECONDS", "1")
        monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")
        yield server


def make_run(runs: Path, data: Path, seed: int = 0, budget: str = f"{STEPS}it") -> Path:
    """A run's folder before its first step; its id at W&B is its seed's."""
    folder = prepare_run(runs, make_settings(data, STEPS, seed=seed, budget=budget), data)
    write_json(folder / "run.json", (read_json(folder / "run.json") or {}) | {"id": f"run{seed}"})
    return folder


def train(folder: Path, first: int, last: int) -> None:
    """Write the rows of these steps, after taking the table back to the step before them."""
    table = Table(folder / "metrics.csv", LOSSES)
    table.rewind(first - 1)
    table.append({"iteration": step, "running_train_loss": 1 / step} for step in range(first, last + 1))


def end(folder: Path, data: Path, seed: int = 0) -> None:
    record_in(folder, make_settings(data, STEPS, seed=seed))


def mirrored(runs: Path, folders: list[Path], mode: str = "online", report: dict | None = None) -> str | None:
    """One life of a mirror over folders; the trouble it names at the end."""
    handle = mirror.Mirror(mode, runs)
    handle.start(folders)
    handle.report = report
    return handle.close()


def assert_whole(double: Double, name: str = "plain-8-seed0", steps: int = STEPS) -> None:
    run = double.named(name)
    assert run.steps == list(range(1, steps + 1))
    assert [run.history[step - 1]["loss/running_train"] for step in run.steps] == [1 / step for step in run.steps]
    assert run.overwritten == 0
    assert run.summary["status"] == "finished" and run.summary["final"] == {"test_error": 9.5}
    assert run.exit_codes[-1] == 0


def uploaded_in_part(runs: Path, data: Path) -> Path:
    """The folder of a finished run of which the server has the first five steps."""
    folder = make_run(runs, data)
    train(folder, 1, 5)
    assert mirrored(runs, [folder]) is None
    train(folder, 6, STEPS)
    end(folder, data)
    return folder


def test_healthy_server_gets_runs_and_report_whole(
    tmp_path: Path, tiny_data: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [make_run(tmp_path, tiny_data, seed) for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        train(folder, 1, STEPS)
        end(folder, tiny_data, seed)
    report = make_report(tmp_path)
    with caplog.at_level(logging.INFO, "resnet_repro"):
        assert mirrored(tmp_path, folders, report=report) is None
    for seed in (0, 1):
        assert_whole(double, f"plain-8-seed{seed}")
    assert any(file.endswith(".png") for file in double.named("degradation-report").files)
    address = f"{double.url}/{ENTITY}/resnet-repro"
    assert f"2 runs arrived at {address}" in caplog.text
    assert f"{address}/runs/run1" in caplog.text
    # The same report again is the same run, and equal figures are not sent twice.
    assert mirrored(tmp_path, folders, report=report) is None
    assert len(double.runs) == 3 and double.named("degradation-report").steps == [0]


def test_nothing_but_the_listed_facts_leaves_the_machine(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    folder = make_run(tmp_path, tiny_data)
    write_json(
        folder / "run.json",
        (run := read_json(folder / "run.json") or {})
        | {"execution": run["execution"] | {"weights": str(tmp_path / "private" / "w.pth")}},
    )
    train(folder, 1, 4)
    assert mirrored(tmp_path, [folder]) is None
    train(folder, 5, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    kinds = {kind for kind, _ in double.requests}
    assert kinds == {"Viewer", "RunResumeStatus", "UpsertBucket", "CreateRunFiles", "file_stream", "storage"}
    sent = "\n".join(double.bodies)
    import socket

    for private in (socket.gethostname(), str(tmp_path), str(tiny_data), "requirements.txt", "private"):
        assert private not in sent, private
    config = double.named("plain-8-seed0").config
    assert config["arm"]["value"]["name"] == "plain-8"
    assert set(config["execution"]["value"]) == {
        "threads", "checkpoint_seconds", "commit",
    }  # fmt: skip


def test_a_refused_key_records_offline_and_sync_uploads_later(
    tmp_path: Path, tiny_data: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    double.keys = {"another"}
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    with caplog.at_level(logging.INFO, "resnet_repro"):
        assert mirrored(tmp_path, [folder]) is None
    assert "recording offline" in caplog.text and "401" in caplog.text
    assert list((tmp_path / "wandb").glob("offline-run-*-run0")) and not double.runs
    with pytest.raises(UserError, match="401"):
        sync.sync(tmp_path)
    double.keys = {KEY}
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


@pytest.mark.parametrize("fault", [500, "hang"])
def test_rows_that_the_server_did_not_take_arrive_by_one_sync(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch, fault: int | str
) -> None:
    monkeypatch.setattr(mirror, "FINISH_SECONDS", 4.0)
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    double.faults = {"file_stream": fault}
    began = time.monotonic()
    problem = mirrored(tmp_path, [folder])
    assert problem and "1 run did not arrive" in problem and "make sync" in problem
    assert time.monotonic() - began < 60  # the client itself would try for ten minutes
    double.heal()
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


def test_rows_refused_behind_the_clients_back_are_noticed(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reports success although the server refused every row."""
    monkeypatch.setattr(mirror, "RUN_SECONDS", 4.0)
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    double.faults = {"file_stream": 401}
    problem = mirrored(tmp_path, [folder])
    assert problem and "1 run did not arrive" in problem
    double.heal()
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


def test_a_server_that_is_down_at_the_start_gets_everything_once_it_is_up(
    tmp_path: Path, tiny_data: Path, double: Double
) -> None:
    double.die()
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    handle = mirror.Mirror("online", tmp_path)
    handle.start([folder])
    texts: list[str] = []
    wait_for(lambda: texts.extend(filter(None, [handle.message()])) or texts)
    assert "cannot be reached" in texts[0] and "training goes on" in texts[0]
    double.start()
    wait_for(lambda: "run0" in double.runs)
    train(folder, 6, STEPS)
    end(folder, tiny_data)
    assert handle.close() is None
    assert_whole(double)
    receipt = read_receipt(folder)
    assert receipt is not None and receipt.project.startswith(f"{ENTITY}/"), "whose runs they are was learned later"


def test_a_server_that_dies_and_returns_has_every_row_once(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    handle = mirror.Mirror("online", tmp_path)
    handle.start([folder])
    wait_for(lambda: "run0" in double.runs and double.runs["run0"].history)
    double.die()
    train(folder, 6, STEPS)
    time.sleep(4)
    double.start()
    end(folder, tiny_data)
    assert handle.close() is None
    assert_whole(double)


def test_an_interrupted_run_is_killed_at_wandb_and_finishes_under_its_id(
    tmp_path: Path, tiny_data: Path, double: Double
) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 7)
    assert mirrored(tmp_path, [folder]) is None
    run = double.named("plain-8-seed0")
    assert (run.exit_codes, run.summary["status"]) == ([255], "interrupted")
    train(folder, 5, STEPS)  # taken back to its checkpoint
    end(folder, tiny_data)
    assert mirrored(tmp_path, [folder]) is None
    assert_whole(double)


def test_a_failed_run_is_failed_at_wandb(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 7)
    write_json(folder / "progress.json", {"status": "failed", "step": 7, "steps": STEPS, "seconds": 1.0, "time": 0.0})
    assert mirrored(tmp_path, [folder]) is None
    run = double.named("plain-8-seed0")
    assert (run.exit_codes, run.summary["status"], len(run.steps)) == ([1], "failed", 7)


def test_offline_sync_resume_sync_writes_no_row_twice(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    assert mirrored(tmp_path, [folder], mode="offline") is None
    assert sync.sync(tmp_path) == 0
    assert double.named("plain-8-seed0").steps == [1, 2, 3, 4, 5]
    train(folder, 4, STEPS)
    end(folder, tiny_data)
    assert mirrored(tmp_path, [folder], mode="offline") is None
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


def test_an_old_copy_of_a_run_leaves_the_finished_one_as_it_is(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path / "new", tiny_data)
    train(folder, 1, 5)
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    train(folder, 6, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path / "new") == 0
    assert sync.sync(tmp_path / "old") == 1
    assert_whole(double)


def test_a_second_sync_sends_nothing(
    tmp_path: Path, tiny_data: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    before = len(double.requests)
    with caplog.at_level(logging.INFO, "resnet_repro"):
        assert sync.sync(tmp_path) == 0
    assert {kind for kind, _ in double.requests[before:]} == {"Viewer"}
    assert f"0 runs arrived, 1 had arrived before: {double.url}/{ENTITY}/resnet-repro" in caplog.text
    # Without the receipt the server is asked what it has.
    (folder / "upload.json").unlink()
    assert sync.sync(tmp_path) == 0
    assert_whole(double)
    assert double.named("plain-8-seed0").exit_codes == [0]


def test_one_runs_trouble_stops_no_other_upload(
    tmp_path: Path, tiny_data: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [make_run(tmp_path, tiny_data, seed) for seed in range(3)]
    for seed, folder in enumerate(folders):
        train(folder, 1, STEPS)
        end(folder, tiny_data, seed)
    (folders[1] / "metrics.csv").write_text("iteration,running_train_loss\n1,none\n")
    whole = (folders[2] / "run.json").read_text()
    (folders[2] / "run.json").write_text("{")
    with caplog.at_level(logging.INFO, "resnet_repro"):
        problem = mirrored(tmp_path, folders)
    assert problem and "2 runs did not arrive" in problem
    assert_whole(double, "plain-8-seed0")
    (folders[2] / "run.json").write_text(whole)
    assert sync.sync(tmp_path) == 1  # the damaged table is named, the other run arrives
    assert_whole(double, "plain-8-seed2")


def test_two_experiments_share_a_folder_of_runs(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folders = [make_run(tmp_path, tiny_data, seed) for seed in (0, 1)]
    modes = ("online", "offline")
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(mirror.Mirror(mode, tmp_path)) for mode in modes]
        texts: list[str] = ["", ""]
        for handle, folder in zip(handles, folders, strict=True):
            handle.start([folder])
            train(folder, 1, STEPS)
        for index, handle in enumerate(handles):
            wait_for(
                lambda index=index, handle=handle: texts.__setitem__(index, handle.message() or "") or texts[index]
            )
        assert "uploading to" in texts[0] and "recording offline" in texts[1]
        for seed, folder in enumerate(folders):
            end(folder, tiny_data, seed)
    assert_whole(double, "plain-8-seed0")
    assert len(double.runs) == 1
    assert list((tmp_path / "wandb").glob("offline-run-*-run1"))


def test_long_names_and_foreign_variables_do_not_reach_the_client(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = make_run(tmp_path, tiny_data, budget=f"quick-{'x' * 90}")
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    assert mirrored(tmp_path, [folder]) is None
    assert list(double.runs) == ["run0"]
    assert max(map(len, double.runs["run0"].params["tags"])) <= 64


def test_sync_of_a_run_that_still_trains_leaves_it_running(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    progress = {
        "status": "running",
        "step": 5,
        "steps": STEPS,
        "seconds": 1.0,
        "time": time.time(),
        "host": "elsewhere",
    }
    write_json(folder / "progress.json", progress)
    assert sync.sync(tmp_path) == 0
    run = double.named("plain-8-seed0")
    assert (len(run.steps), run.exit_codes) == (5, [])
    train(folder, 6, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


def test_sync_without_a_server_names_it(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    double.die()
    with pytest.raises(UserError, match="cannot be reached"):
        sync.sync(tmp_path)
    assert json.dumps(read_json(folder / "upload.json")) == "null"


def make_report(folder: Path) -> dict:
    image = folder / "figures" / "curves.png"
    image.parent.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parents[2] / "reports" / "reference" / "degradation-error_curves.png", image)
    return {"group": "degradation", "budget": "quick", "images": {"Error": str(image)}}


def test_a_rate_limit_delays_and_loses_nothing(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    kinds = ("Viewer", "RunResumeStatus", "UpsertBucket", "CreateRunFiles", "file_stream", "storage")
    double.limited = dict.fromkeys(kinds, 2)
    assert sync.sync(tmp_path) == 0
    assert not any(double.limited.values())
    assert_whole(double)


def test_a_run_deleted_at_wandb_arrives_under_another_id(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    assert mirrored(tmp_path, [folder]) is None
    double.deleted = {"run0"}
    del double.runs["run0"]
    train(folder, 6, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    assert list(double.runs) == ["run0-2"]
    assert_whole(double)
    before = len(double.requests)
    assert sync.sync(tmp_path) == 0
    assert {kind for kind, _ in double.requests[before:]} == {"Viewer"}


def test_a_copy_that_lost_rows_is_told_apart_and_the_run_arrives_whole_under_another_id(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb's client drops rows from the middle if it lags behind and the disk of its log is full."""
    monkeypatch.setattr(sync, "FINISH_SECONDS", 3.0)  # also the longest wait for late rows
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    assert mirrored(tmp_path, [folder]) is None
    first = double.runs["run0"]
    first.history = dict(enumerate(row for row in first.history.values() if row["_step"] != 3))
    train(folder, 6, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    assert list(double.runs) == ["run0", "run0-2"]
    assert first.params["displayName"] == "plain-8-seed0 (incomplete)" and first.steps == [1, 2, 4, 5]
    assert_whole(double)
    before = len(double.requests)
    assert sync.sync(tmp_path) == 0
    assert {kind for kind, _ in double.requests[before:]} == {"Viewer"}


def test_a_closed_project_is_named_and_gets_the_run_once_it_is_open(
    tmp_path: Path, tiny_data: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    double.forbidden = {"resnet-repro"}
    with caplog.at_level(logging.INFO, "resnet_repro"):
        assert mirrored(tmp_path, [folder])
        assert sync.sync(tmp_path) == 1
    assert f"{ENTITY}/resnet-repro" in caplog.text and "403" in caplog.text and "wandb login" not in caplog.text
    double.forbidden = set()
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


@pytest.mark.parametrize("fault", ["deaf", "drop"])
def test_rows_whose_answer_is_lost_arrive_once(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(mirror, "FINISH_SECONDS", 4.0)
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    handle = mirror.Mirror("online", tmp_path)
    handle.start([folder])
    wait_for(lambda: "run0" in double.runs and double.runs["run0"].history)
    double.faults = {"file_stream": fault}
    train(folder, 6, 8)
    if fault == "deaf":
        wait_for(lambda: len(double.runs["run0"].history) > 5)
    assert handle.close()
    double.heal()
    train(folder, 7, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


@pytest.mark.parametrize("fault", [403, 500])
def test_figures_whose_files_are_refused_arrive_by_sync(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    monkeypatch.setattr(mirror, "FINISH_SECONDS", 8.0)
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    double.faults = {"storage": fault}
    report = make_report(tmp_path)
    assert "did not arrive" in (mirrored(tmp_path, [folder], report=report) or "")
    double.heal()
    shutil.rmtree(tmp_path / "figures")  # the copies beside the runs are sent
    assert sync.sync(tmp_path) == 0
    assert_whole(double)
    run = double.named("degradation-report")
    assert (run.steps, run.state) == ([0], "finished")
    assert run.history[0]["Error"]["path"] in run.files
    before = len(run.files)
    assert sync.sync(tmp_path) == 0
    assert len(run.files) == before


def test_a_result_trained_anew_leaves_the_earlier_one(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    table = folder / "metrics.csv"
    table.write_text(table.read_text().replace("0.5", "0.75"))
    record = read_json(folder / "record.json") or {}
    write_json(folder / "record.json", record | {"weights_sha256": "f" * 64, "final": {"test_error": 5.0}})
    assert sync.sync(tmp_path) == 0
    assert (double.runs["run0"].summary["final"], double.runs["run0"].exit_codes) == ({"test_error": 9.5}, [0])
    again = double.runs["run0-2"]
    assert (len(again.steps), again.history[1]["loss/running_train"]) == (STEPS, 0.75)
    assert again.summary["final"] == {"test_error": 5.0}
    (folder / "upload.json").unlink()
    assert sync.sync(tmp_path) == 0
    assert sorted(double.runs) == ["run0", "run0-2"]


def test_a_renewed_record_renews_the_summary(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    write_json(folder / "record.json", (read_json(folder / "record.json") or {}) | {"final": {"test_error": 5.0}})
    assert sync.sync(tmp_path) == 0
    run = double.named("plain-8-seed0")
    assert (run.summary["final"], run.steps, run.state) == ({"test_error": 5.0}, list(range(1, 11)), "finished")


def test_a_finished_run_that_wandb_shows_as_crashed_is_finished_by_sync(
    tmp_path: Path, tiny_data: Path, double: Double
) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    (folder / "upload.json").unlink()
    double.runs["run0"].state = "crashed"  # its last request was lost
    assert sync.sync(tmp_path) == 0
    assert double.runs["run0"].state == "finished"
    assert_whole(double)


def test_a_server_that_tells_no_state_gets_runs_all_the_same(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    double.unknown = {"historyTail state"}
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


def test_a_run_arrives_whole_in_the_project_that_is_named_now(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded_in_part(tmp_path, tiny_data)
    monkeypatch.setenv("WANDB_PROJECT", "other")
    assert sync.sync(tmp_path) == 0
    assert double.runs["other/run0"].steps == list(range(1, STEPS + 1))
    assert len(double.runs["run0"].steps) == 5


def test_two_syncs_at_once_both_find_everything_there(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    for seed in range(2):
        folder = make_run(tmp_path, tiny_data, seed)
        train(folder, 1, STEPS)
        end(folder, tiny_data, seed)
    command = [sys.executable, "-m", "resnet_repro.cli", "sync", "--runs-dir", str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    outputs = [process.communicate()[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    for seed in range(2):
        assert_whole(double, f"plain-8-seed{seed}")
        assert double.named(f"plain-8-seed{seed}").exit_codes == [0]


def test_a_run_resumed_while_its_earlier_upload_still_ends_is_followed(
    tmp_path: Path, tiny_data: Path, double: Double
) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    handle = mirror.Mirror("online", tmp_path)
    with hold(folder / "upload.lock") as is_held:
        assert is_held
        handle.start([folder])
        wait_for(lambda: any(kind == "Viewer" for kind, _ in double.requests))
        time.sleep(1)
        assert "run0" not in double.runs
    wait_for(lambda: "run0" in double.runs and double.runs["run0"].history)
    train(folder, 6, STEPS)
    end(folder, tiny_data)
    assert handle.close() is None
    assert_whole(double)


def test_a_run_of_changing_modes_has_one_curve(tmp_path: Path, tiny_data: Path, double: Double) -> None:
    folder = make_run(tmp_path, tiny_data)
    lives = [("online", 1, 3), ("offline", 3, 5), ("disabled", 5, 6), ("auto", 6, 7), ("offline", 7, 8)]
    for mode, first, last in lives:
        train(folder, first, last)
        assert mirrored(tmp_path, [folder], mode=mode) is None
    assert double.named("plain-8-seed0").state == "killed"
    train(folder, 8, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    assert_whole(double)


def test_a_receipt_is_a_help_and_no_condition(
    tmp_path: Path, tiny_data: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    folder = uploaded_in_part(tmp_path, tiny_data)
    receipt = folder / "upload.json"
    for damage in (b"", b"[]", b'{"server": 1}', b"\x00\xff", None):
        if damage is None:
            receipt.unlink()
            receipt.mkdir()  # can be neither read nor written, as on a full disk, and nor can the log
            (tmp_path / "wandb" / "mirror.log").unlink()
            (tmp_path / "wandb" / "mirror.log").symlink_to("/dev/full")
        else:
            receipt.write_bytes(damage)
        assert sync.sync(tmp_path) == 0
        assert_whole(double)
    assert double.named("plain-8-seed0").exit_codes == [255, 0]


def test_the_number_of_rows_that_sync_names_was_sent(
    tmp_path: Path, tiny_data: Path, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 7)
    assert mirrored(tmp_path, [folder]) is None
    train(folder, 5, STEPS)
    end(folder, tiny_data)
    with caplog.at_level(logging.INFO, "resnet_repro"):
        assert sync.sync(tmp_path) == 0
    assert "arrived, 3 rows sent" in caplog.text


FOREIGN = {
    "WANDB_CONFIG_PATHS": "/etc/hosts", "WANDB_CONSOLE": "wrap", "WANDB_DIR": "/proc", "WANDB_DISABLED": "true",
    "WANDB_DOCKER": "an/image", "WANDB_FORK_FROM": "run9?_step=3", "WANDB_GIT_REMOTE_URL": "git@host:secret",
    "WANDB_INIT_TIMEOUT": "soon", "WANDB_JOB_TYPE": "foreign", "WANDB_MODE": "disabled", "WANDB_NAME": "foreign",
    "WANDB_NOTES": "foreign", "WANDB_RESUME": "never", "WANDB_RUN_ID": "foreign", "WANDB_SERVICE": "3-foreign",
    "WANDB_SILENT": "false", "WANDB_SWEEP_ID": "foreign", "WANDB_USERNAME": "foreign", "WANDB_USER_EMAIL": "foreign@x",
    "WANDB_X_DISABLE_STATS": "false", "WANDB_X_EXTRA_HTTP_HEADERS": '{"X-Gate": "open"}',
    "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}  # fmt: skip


def test_variables_of_other_programs_and_proxies_change_no_upload(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, 5)
    assert mirrored(tmp_path, [folder], mode="auto") is None
    assert double.named("plain-8-seed0").state == "killed"
    train(folder, 6, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path) == 0
    assert list(double.runs) == ["run0"]
    assert_whole(double)
    asked = [headers for (kind, _), headers in zip(double.requests, double.headers, strict=True) if kind != "storage"]
    assert all("X-Gate: open" in headers for headers in asked)
    sent = "\n".join(double.bodies + double.headers)
    assert not [value for value in ("foreign", "secret", "an/image") if value in sent]


def test_a_wrong_address_and_a_wrong_key_are_told_apart(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run(tmp_path, tiny_data)
    train(folder, 1, STEPS)
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match="API key of this machine is malformed"):
        sync.sync(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "localhost:80")
    with pytest.raises(UserError, match=r"WANDB_BASE_URL.*localhost:80"):
        sync.sync(tmp_path)


def test_a_key_in_netrc_is_used(
    tmp_path: Path, tiny_data: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"machine {double.url.removeprefix('http://')}\n  login user\n  password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    folder = make_run(tmp_path / "runs", tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    assert sync.sync(tmp_path / "runs") == 0
    assert_whole(double)


@pytest.mark.parametrize("place", [".config/wandb", "wandb"])
def test_wandb_offline_counts_unless_an_upload_is_asked_for(
    tmp_path: Path,
    tiny_data: Path,
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "settings").write_text("[default]\nmode = offline\n")
    folder = make_run(tmp_path / "runs", tiny_data)
    train(folder, 1, STEPS)
    end(folder, tiny_data)
    with caplog.at_level(logging.INFO, "resnet_repro"):
        assert mirrored(tmp_path / "runs", [folder], mode="auto") is None
    assert "wandb is set to offline" in caplog.text and not double.requests
    assert sync.sync(tmp_path / "runs") == 0
    assert_whole(double)


def test_a_long_list_of_runs_does_not_wait_for_the_server(tmp_path: Path, double: Double) -> None:
    double.faults = {"all": "hang"}
    handle = mirror.Mirror("online", tmp_path)
    handle.start([tmp_path / f"{'x' * 60}{index}" for index in range(3000)])
    try:
        assert handle.message() is None  # the process is still waiting
    finally:
        assert handle.process is not None
        mirror.end(handle.process)

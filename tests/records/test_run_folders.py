"""Run folders under adverse conditions: concurrent commands, full disks, damaged files, kills during a write."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest
from conftest import cli, one_sentence
from made_records import make_record

from resnet_repro.config.execution import Execution
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.launch import Slot
from resnet_repro.records.layout import CHECKPOINT, PROGRESS, RECORD, RUN
from resnet_repro.records.lock import hold, is_held
from resnet_repro.records.record import read_record
from resnet_repro.records.resume import digests_in, state_of
from resnet_repro.study.run import Run
from resnet_repro.tables import Table, pack, packed, read_columns, read_curve, read_rows, series, version_of

SLOT = Slot("cpu", "cpu", 3)


@pytest.fixture
def ended(tmp_path: Path) -> Run:
    """A run with a record."""
    folder = make_record(tmp_path, load_experiment("degradation"), "plain-20", 0)
    record = read_record(folder)
    run = Run(record.settings, tmp_path)
    assert run.folder == folder
    return run


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_record_written_by_another_command_is_kept(ended: Run) -> None:
    write_json(ended.folder / PROGRESS, {"status": "finished"})
    ended.mark_waiting()
    assert (ended.folder / RECORD).exists()
    assert read_json(ended.folder / PROGRESS) == {"status": "finished"}


def test_record_that_lacks_newer_settings_is_that_of_the_same_run(ended: Run) -> None:
    """The settings of an older record get the defaults under which it was trained."""
    record = json.loads((ended.folder / RECORD).read_text())
    for name in ("search", "dataset", "features", "calibrated_on"):
        del record["settings"]["arm"][name]
    change(ended.folder / RECORD, settings=record["settings"])
    assert state_of(ended.folder, ended.settings) == "done"


def test_record_of_a_skipped_run_is_deleted(ended: Run) -> None:
    change(ended.folder / RECORD, status="skipped")
    ended.mark_waiting()
    assert not (ended.folder / RECORD).exists()
    assert read_json(ended.folder / PROGRESS) == {"status": "waiting", "queued": False}


def test_damaged_progress_is_overwritten(ended: Run) -> None:
    (ended.folder / RECORD).unlink()
    (ended.folder / PROGRESS).write_text('{"status": "runn')
    ended.mark_failed()
    ended.mark_waiting()
    assert read_json(ended.folder / PROGRESS) == {"status": "waiting", "queued": False}


@pytest.mark.parametrize(("stored", "threads"), [({}, 3), ({"execution": {}}, 3), ({"execution": {"threads": 2}}, 2)])
def test_resumed_run_keeps_its_thread_count(stored: dict, threads: int, ended: Run, tmp_path: Path) -> None:
    experiment = load_experiment("degradation")
    (ended.folder / RECORD).unlink()
    (ended.folder / CHECKPOINT).touch()
    write_json(ended.folder / RUN, stored)

    class Facts:
        title, standin = experiment.dataset, False

    run = Run(ended.settings, tmp_path, Execution(str(tmp_path), 0, 60.0, None), Facts())  # type: ignore[arg-type]
    run.job().prepare(SLOT)
    assert json.loads((ended.folder / RUN).read_text())["execution"]["threads"] == threads


@pytest.mark.parametrize(
    "changes",
    [{"final": None}, {"final": {"test_error": "x"}}, {"parent": [1]}, {"diagnostics": 3}, {"settings": "none"}],
)
def test_record_with_invalid_content_is_rejected(changes: dict[str, object], ended: Run) -> None:
    change(ended.folder / RECORD, **changes)
    with pytest.raises(UserError, match=r"seed0/record\.json .*version \(.*\): delete .*seed0"):
        read_record(ended.folder)


def test_record_with_an_impossible_length_is_rejected(ended: Run) -> None:
    stored = json.loads((ended.folder / RECORD).read_text())
    stored["settings"]["arm"]["length"] = 1e308
    write_json(ended.folder / RECORD, stored)
    with pytest.raises(UserError, match=r"record\.json .*settings\.arm\.length is 1e\+308"):
        read_record(ended.folder)


def test_record_with_settings_of_another_version_is_rejected(ended: Run) -> None:
    data = json.loads((ended.folder / RECORD).read_text())
    change(ended.folder / RECORD, settings=data["settings"] | {"colour": "red"})
    with pytest.raises(UserError, match=r"record\.json cannot be read: .*colour"):
        read_record(ended.folder)


def damaged(content: bytes) -> list[tuple[str, bytes]]:
    return [
        ("cut", content[:300]),
        ("empty", b""),
        ("list", b"[1]"),
        ("null", b"null"),
        ("binary", b"\xff\xfe"),
        ("deep", b"[" * 100_000),
        ("NaN", content.replace(b'"seconds": 3600.0', b'"seconds": NaN')),
        ("infinite", content.replace(b'"seconds": 3600.0', b'"seconds": 1e999')),
        ("word", content.replace(b'"seconds": 3600.0', b'"seconds": "long"')),
        ("negative", content.replace(b'"seconds": 3600.0', b'"seconds": -1.0')),
        ("no batch", content.replace(b'"batch_size": 128', b'"batch_size": 0')),
        ("one class", content.replace(b'"classes": 10', b'"classes": 1')),
        ("no dataset", content.replace(b'"dataset": {', b'"data": {')),
        ("other seed", content.replace(b'"seed": 0', b'"seed": 5')),
        ("diverged when", content.replace(b'"status": "finished"', b'"status": "diverged"')),
    ]


def test_damaged_records_are_named_by_report_and_status(ended: Run, tmp_path: Path) -> None:
    path = ended.folder / RECORD
    good = path.read_bytes()
    for kind, content in damaged(good):
        assert content != good, kind
        path.write_bytes(content)
        message = one_sentence(cli("report", "degradation", "--runs-dir", tmp_path))
        assert str(path) in message, kind
        shown = cli("status", "degradation", "--runs-dir", tmp_path)
        assert shown.returncode == 0 and f"damaged: {ended.folder}" in shown.stdout, kind
    path.unlink()
    path.mkdir()
    message = one_sentence(cli("report", "degradation", "--runs-dir", tmp_path))
    assert f"{path} cannot be read (Is a directory)" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gradients.csv", "iteration,layer,name,norm\n1,1,conv1,high\n"),
        ("gradients.csv", "iteration,layer,name,norm\n1.5,1,conv1,0.5\n"),
        ("gradients.csv", "iteration,layer,name,norm\n1,1,conv1,\n"),
        ("metrics.csv", "iteration,test_error\nfirst,3.0\n"),
        ("layers.csv", "layer,kind,params\nconv1,conv,many\n"),
    ],
)
def test_words_among_the_numbers_of_a_table_are_rejected(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name} has .* expected a number"):
        read_rows(tmp_path / name)


def test_missing_column_is_an_error_that_names_the_table(tmp_path: Path) -> None:
    (tmp_path / "responses.csv").write_text("iteration,layer,name\n1,1,conv1\n")
    (row,) = read_rows(tmp_path / "responses.csv")
    with pytest.raises(UserError, match=r"responses\.csv has no column std"):
        _ = row["std"]
    (tmp_path / "metrics.csv").write_text("iteration,error\n1,3.0\n")
    with pytest.raises(UserError, match=r"metrics\.csv has no column test_error"):
        series(read_rows(tmp_path / "metrics.csv"), "test_error")


def test_a_file_system_without_locks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: object, kind: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    sentence = r"without file locks \(Function not implemented\): mount it with flock"
    with pytest.raises(UserError, match=sentence), hold(tmp_path / "lock"):
        pass
    assert is_held(tmp_path / "lock") is None


def test_digests_of_a_budget_are_read_from_records_and_prepared_runs(ended: Run) -> None:
    budget = ended.folder.parents[1]
    assert digests_in(budget) == {"d" * 64}
    other = budget / "plain-56" / "seed0"
    other.mkdir(parents=True)
    (other / RUN).write_text(json.dumps({"settings": {"dataset_digest": "e" * 64}}))
    assert digests_in(budget) == {"d" * 64, "e" * 64}
    assert digests_in(budget / ("n" * 300)) == set()


def test_binary_table_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"iteration\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"metrics\.csv .*: delete"):
        read_rows(tmp_path / "metrics.csv")


def test_a_packed_table_reads_like_the_table(tmp_path: Path) -> None:
    table = Table(tmp_path / "gradients.csv", ("layer", "name", "norm"))
    table.rewind(0)
    table.append({"iteration": step, "layer": 1, "name": "conv1", "norm": 0.5 / step} for step in (1, 2, 3))
    rows, columns = read_rows(table.path), read_columns(table.path, "iteration", "norm")
    pack(table.path, packed(table.path))
    table.path.unlink()
    assert read_rows(table.path) == rows and rows[1]["norm"] == "0.25"
    assert read_columns(table.path, "iteration", "norm") == columns
    assert read_curve(table.path, "norm") == ([1, 2, 3], [0.5, 0.25, 0.5 / 3])
    before = version_of(table.path)
    assert before is not None and before[1] == packed(table.path).stat().st_size
    packed(table.path).write_bytes(packed(table.path).read_bytes()[:-9])
    assert version_of(table.path) != before
    with pytest.raises(UserError, match=r"gradients\.csv\.gz is not a packed table .*: restore it, or delete"):
        read_rows(table.path)


def test_a_table_rounds_fractions_to_its_digits_and_nothing_else(tmp_path: Path) -> None:
    table = Table(tmp_path / "growth.csv", ("layer", "name", "norm"), digits=3)
    table.rewind(0)
    values = [1234.5678, 0.00012345, 1e-38, float("nan")]
    table.append({"iteration": 1234567, "layer": i, "name": "1.23456", "norm": v} for i, v in enumerate(values))
    rows = read_rows(table.path)
    assert [row["norm"] for row in rows] == ["1230.0", "0.000123", "1e-38", "nan"]
    assert {(row["iteration"], row["name"]) for row in rows} == {("1234567", "1.23456")}


def test_concurrent_writers_of_a_json_file_do_not_interfere(tmp_path: Path) -> None:
    path, failures = tmp_path / "progress.json", []

    def write(number: int) -> None:
        try:
            for step in range(60):
                write_json(path, {"by": number, "step": step, "padding": "x" * 2_000})
                assert read_json(path)
        except Exception as error:  # noqa: BLE001  any error fails the assertion below
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    assert [file.name for file in tmp_path.iterdir()] == ["progress.json"]


def test_table_survives_a_failed_rewrite_of_its_last_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(tmp_path / "metrics.csv", ("loss", "error"))
    table.rewind(0)
    table.append({"iteration": step, "loss": step / 4} for step in (1, 2, 3))
    before = table.path.read_text()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            table.complete(3, {"error": 9.0})
    assert table.path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]
    table.complete(3, {"error": 9.0})
    assert read_rows(table.path)[-1] == {"iteration": "3", "loss": "0.75", "error": "9.0"}
    assert table.path.read_text().startswith(before.rpartition("3,")[0])

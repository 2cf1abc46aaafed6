"""Weights & Biases as a mirror of the records.

A process of its own follows the tables of all runs and repeats them to W&B; trainings neither know nor wait for it.
Offline recordings are made anew from the first row whenever a run goes on, online runs continue under their id, so a
run has one curve however often it was interrupted.

    python -m resnet_repro.tracking.mirror WANDB_DIR MODE FOLDER...

ends when its standard input does, after it has repeated what is there.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, read_rows, write_json
from resnet_repro.records.layout import RECORD, RUN
from resnet_repro.records.record import read_record

PROJECT = "resnet-repro"
MODES = ("auto", "online", "offline", "disabled")
POLL_SECONDS = 3.0
INIT_SECONDS = 30
STATE = "mirror.json"
FINISH_SECONDS = 60.0

# Columns of metrics.csv by the names of their curves: errors and losses side by side, and before the many of the layers
# in any alphabetical list.
_CURVES = {
    "epoch": "epoch",
    "learning_rate": "learning_rate",
    "running_train_loss": "loss/running_train",
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "test_loss": "loss/test",
    "running_train_error": "error/running_train",
    "train_error": "error/train",
    "validation_error": "error/validation",
    "test_error": "error/test",
}


def parse_mode(mode: str) -> str:
    """The mode as a flag or WANDB_MODE gives it. Raises UserError with the known modes."""
    known = {"dryrun": "offline", "run": "online", "": "auto"}
    mode = known.get(mode, mode)
    if mode not in MODES:
        raise UserError(f"unknown WANDB_MODE {mode!r}: take one of {', '.join(MODES)}")
    return mode


class Mirror:
    """The launcher's handle on the mirroring process; does nothing where W&B is disabled or not installed.

    Use as a context manager, which says on standard error what went wrong. report: {"group": ..., "images": {caption: path}}
    to be shown as a run of its own.
    """

    def __init__(self, mode: str, runs_dir: Path) -> None:
        self.mode, self.directory = mode, runs_dir / "wandb"
        self.process: subprocess.Popen | None = None
        self.report: Mapping[str, Any] | None = None
        self.note = ""
        self._told = False

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        if problem := self.close():
            print(problem, file=sys.stderr)

    def start(self, folders: Sequence[Path]) -> None:
        """Follow the runs in these folders."""
        if self.mode == "disabled":
            return
        if find_spec("wandb") is None:
            self.note = "Weights & Biases is not installed: the curves are in each run's metrics.csv"
            return
        try:
            self.process = start_mirror(self.directory, self.mode, folders, subprocess.PIPE)
        except OSError as error:
            self.note = f"Weights & Biases cannot record ({error}): the curves are in each run's metrics.csv"

    def message(self) -> str | None:
        """What to tell the user about where the curves go, once, as soon as it is known."""
        if self.note:
            note, self.note = self.note, ""
            return note
        if self.process is None or self._told:
            return None
        try:
            state = read_json(self.directory / STATE)
        except UserError:  # a study does not end for want of its mirror
            return None
        self._told = state is not None
        return state["message"] if state else None

    def close(self) -> str | None:
        """Let the mirror finish, for a bounded time; what went wrong, or None."""
        if self.process is None or self.process.stdin is None:
            return None
        try:
            self.process.stdin.write((json.dumps(self.report) if self.report else "").encode() + b"\n")
            self.process.stdin.close()
            self.process.wait(FINISH_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
            return "Weights & Biases did not take everything in time: the records are whole, make sync sends them"
        if self.process.returncode:
            return f"Weights & Biases failed, the records are whole: see {self.directory / 'mirror.log'}"
        return None


def start_mirror(directory: Path, mode: str, folders: Sequence[Path], stdin: int) -> subprocess.Popen:
    """The mirroring process, which records in `directory`; `stdin` as Popen takes it. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / STATE).unlink(missing_ok=True)
    with (directory / "mirror.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(directory), mode, *map(str, folders)],
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "WANDB_MODE": ""},
            start_new_session=True,
        )


class _RunMirror:
    """One run's folder, repeated to one W&B run."""

    def __init__(self, folder: Path, directory: Path, mode: str) -> None:
        self.folder, self.directory, self.mode = folder, directory, mode
        self.run: Any = None
        self.sent = self.stop_at = 0
        self.ended = False

    def follow(self) -> None:
        """Send what is new; a run that has its record is finished."""
        if self.ended or not (self.folder / "metrics.csv").exists():
            return
        done = (self.folder / RECORD).exists()
        rows = self._rows()
        if self.run is None and rows:
            self._open()
        if self.run is not None:
            # The last row is filled in after the last evaluation, and W&B takes a step only once.
            ready = rows if done else [row for row in rows if row["iteration"] != self.stop_at]
            for row in ready[self.sent :]:
                step = int(row.pop("iteration"))
                if step >= self.run.step:
                    self.run.log(row, step=step)
                self.sent += 1
            if done:
                record = read_record(self.folder)
                for name in ("final", "best", "diagnostics", "status", "seconds", "weights_sha256"):
                    self.run.summary[name] = getattr(record, name)
                if record.search:
                    self.run.summary["search"] = msgspec.to_builtins(record.search)
                self.run.finish()
                self.ended = True

    def _rows(self) -> list[dict[str, Any]]:
        speed = {row["iteration"]: row["images_per_second"] for row in read_rows(self.folder / "speed.csv")}
        norms: dict[str, dict[str, float]] = {}
        for row in read_rows(self.folder / "gradients.csv"):
            norms.setdefault(row["iteration"], {})[f"per_layer/gradient_norm_{int(row['layer']):03d}"] = float(
                row["norm"]
            )
        return [
            {_CURVES[key]: float(value) for key, value in row.items() if key in _CURVES and value}
            | {"iteration": int(row["iteration"])}
            | ({"images_per_second": float(speed[row["iteration"]])} if row["iteration"] in speed else {})
            | norms.get(row["iteration"], {})
            for row in read_rows(self.folder / "metrics.csv")
        ]

    def _open(self) -> None:
        import wandb

        run = read_json(self.folder / RUN) or {}
        settings = RunSettings.from_json(run["settings"])
        self.stop_at = settings.stop_at
        if self.mode == "offline":
            for old in self.directory.glob(f"offline-run-*-{run['id']}"):
                shutil.rmtree(old)
        try:
            self.run = self._init(run, settings)
        except wandb.Error as error:
            if self.mode != "online":
                raise
            print(f"no online run ({error}): recording offline", flush=True)
            self.mode = "offline"
            self.run = self._init(run, settings)

    def _init(self, run: Mapping[str, Any], settings: RunSettings) -> Any:
        import wandb

        facts = run["dataset"]
        substitute = (
            settings.weights is None and settings.arm.start is not None and settings.arm.start.how == "backbone"
        )
        tags = {"STAND-IN DATA": facts["standin"], "SUBSTITUTE WEIGHTS": substitute}

        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=self.directory.parent,
            id=run["id"],
            resume="allow" if self.mode == "online" else None,
            mode=self.mode,  # type: ignore[arg-type]
            reinit="create_new",
            group=settings.experiment,
            job_type=settings.arm.name,
            name=f"{settings.arm.name}-seed{settings.seed}",
            tags=[settings.budget, *(tag for tag, applies in tags.items() if applies)],
            config={
                **settings.to_json(),
                "dataset_title": facts["title"],
                "dataset_is_standin": facts["standin"],
                "weights_are_substitute": substitute,
                "commit": run["execution"]["commit"],
                "execution": run["execution"],
                "versions": {name: version(name) for name in ("torch", "pytorch-lightning", "numpy", "wandb")},
            },
            settings=_settings(),
        )


def _settings() -> Any:
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        init_timeout=INIT_SECONDS,
        x_disable_stats=True,
        x_disable_meta=True,
        disable_git=True,
        disable_code=True,
    )


def _resolve(mode: str) -> tuple[str, str]:
    """The mode to use and why, in words for the console. Asks the server only where a key is there."""
    import wandb

    if mode == "auto":
        try:
            mode = "online" if wandb.login(prompt=False) else "offline"
        except Exception as error:  # noqa: BLE001  whatever wandb says, curves are then recorded offline
            print(f"login failed: {error}", flush=True)
            mode = "offline"
    return mode, {"online": "uploading curves as they come"}.get(mode, "recording offline")


def main(arguments: Sequence[str]) -> int:
    directory, mode, folders = Path(arguments[0]), arguments[1], [Path(a) for a in arguments[2:]]
    os.environ.pop("WANDB_MODE", None)
    mode, why = _resolve(mode)
    look = f"look with `wandb leet {directory}`, upload with `make sync`" if mode == "offline" else "see wandb.ai"
    write_json(directory / STATE, {"mode": mode, "message": f"Weights & Biases: {why}; {look}"})
    mirrors = [_RunMirror(folder, directory, mode) for folder in folders]
    ended = False
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], POLL_SECONDS)[0])
        for mirror in mirrors:
            mirror.follow()
    if line := sys.stdin.readline().strip():
        _show_report(json.loads(line), directory, mode)
    for mirror in mirrors:
        if mirror.run is not None and not mirror.ended:
            mirror.run.finish()
    return 0


def _show_report(report: Mapping[str, Any], directory: Path, mode: str) -> None:
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT") or PROJECT,
        dir=directory.parent,
        mode=mode,  # type: ignore[arg-type]
        reinit="create_new",
        group=report["group"],
        job_type="report",
        name=f"{report['group']}-report",
        tags=[report["budget"]],
        settings=_settings(),
    )
    run.log({caption: wandb.Image(path) for caption, path in report["images"].items()})
    run.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

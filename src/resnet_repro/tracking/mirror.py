"""Mirror of the runs' tables and records in Weights & Biases.

A separate process reads the tables of all runs and logs them to W&B. Training processes neither know it nor wait for it.
When a run resumes, an offline recording starts again from the first row, and an online run continues under its id. A run
therefore has one curve, however often it was interrupted.

    python -m resnet_repro.tracking.mirror WANDB_DIR MODE FOLDER...

The process ends when its standard input closes, after it has logged all rows.
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

# {column of metrics.csv: name of its curve}. The prefixes group errors and losses, and sort them before per-layer curves.
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
    """One of `MODES` from a flag or WANDB_MODE, including W&B's older names. Raises UserError for an unknown mode."""
    aliases = {"dryrun": "offline", "run": "online", "": "auto"}
    mode = aliases.get(mode, mode)
    if mode not in MODES:
        raise UserError(f"unknown WANDB_MODE {mode!r}: expected one of {', '.join(MODES)}")
    return mode


class Mirror:
    """The launcher's handle on the mirror process. Does nothing if W&B is disabled or not installed.

    As a context manager, it closes the mirror and prints errors to standard error.
    """

    def __init__(self, mode: str, runs_dir: Path) -> None:
        self.mode, self.directory = mode, runs_dir / "wandb"
        self.process: subprocess.Popen | None = None
        self.report: Mapping[str, Any] | None = None
        """{"group": ..., "budget": ..., "images": {caption: path}} to log as an additional W&B run."""
        self.note = ""
        self._is_announced = False

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
            self.note = "Weights & Biases is not installed; the curves are in each run's metrics.csv"
            return
        try:
            self.process = start_mirror(self.directory, self.mode, folders, subprocess.PIPE)
        except OSError as error:
            self.note = f"Weights & Biases cannot record ({error}); the curves are in each run's metrics.csv"

    def message(self) -> str | None:
        """A message for the user on where the curves are, returned once, as soon as it is known."""
        if self.note:
            note, self.note = self.note, ""
            return note
        if self.process is None or self._is_announced:
            return None
        try:
            state = read_json(self.directory / STATE)
        except UserError:  # the mirror must never end a study
            return None
        self._is_announced = state is not None
        return state["message"] if state else None

    def close(self) -> str | None:
        """Let the mirror finish for up to `FINISH_SECONDS`. Returns an error message or None."""
        if self.process is None or self.process.stdin is None:
            return None
        try:
            self.process.stdin.write((json.dumps(self.report) if self.report else "").encode() + b"\n")
            self.process.stdin.close()
            self.process.wait(FINISH_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
            return "Weights & Biases did not finish in time; the records are complete: run make sync to upload them"
        if self.process.returncode:
            return f"Weights & Biases failed; the records are complete: see {self.directory / 'mirror.log'}"
        return None


def start_mirror(directory: Path, mode: str, folders: Sequence[Path], stdin: int) -> subprocess.Popen:
    """Start a mirror process that records in `directory`. `stdin` is as for Popen. Raises OSError."""
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
    """The mirror of one run's folder in one W&B run."""

    def __init__(self, folder: Path, directory: Path, mode: str) -> None:
        self.folder, self.directory, self.mode = folder, directory, mode
        self.run: Any = None
        self.sent = self.stop_at = 0
        self.ended = False

    def follow(self) -> None:
        """Log new rows. If the run has a record, log its summary and finish the W&B run."""
        if self.ended or not (self.folder / "metrics.csv").exists():
            return
        done = (self.folder / RECORD).exists()
        rows = self._rows()
        if self.run is None and rows:
            self._open()
        if self.run is not None:
            # The last row is completed after the last evaluation, and W&B accepts each step only once.
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
            for recording in self.directory.glob(f"offline-run-*-{run['id']}"):
                shutil.rmtree(recording)
        try:
            self.run = self._init(run, settings)
        except wandb.Error as error:
            if self.mode != "online":
                raise
            print(f"W&B cannot record online ({error}): recording offline", flush=True)
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
    """(mode, description for the console). Mode "auto" becomes "online" if login succeeds, else "offline"."""
    import wandb

    if mode == "auto":
        try:
            mode = "online" if wandb.login(prompt=False) else "offline"
        except Exception as error:  # noqa: BLE001  any login error means offline recording
            print(f"login failed: {error}", flush=True)
            mode = "offline"
    return mode, {"online": "uploading curves during training"}.get(mode, "recording offline")


def main(arguments: Sequence[str]) -> int:
    directory, mode, folders = Path(arguments[0]), arguments[1], [Path(a) for a in arguments[2:]]
    os.environ.pop("WANDB_MODE", None)
    mode, description = _resolve(mode)
    hint = f"view with `wandb leet {directory}`, upload with `make sync`" if mode == "offline" else "see wandb.ai"
    write_json(directory / STATE, {"mode": mode, "message": f"Weights & Biases: {description}; {hint}"})
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

"""Command line `resnet-repro`. The Make targets call it."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from resnet_repro import __version__
from resnet_repro.commands import networks, reports, runs
from resnet_repro.commands.shared import DEFAULT_DATA_DIR
from resnet_repro.config.settings import COMPUTED_IN
from resnet_repro.errors import UserError
from resnet_repro.hardware import PRECISIONS
from resnet_repro.interrupts import INTERRUPTED, LINE, end_at_once, is_command_line, raise_again
from resnet_repro.launch.options import add_launch_flags
from resnet_repro.parsing import given, number
from resnet_repro.records.failures import is_no_space, no_space
from resnet_repro.surroundings import make_independent


class _Parser(argparse.ArgumentParser):
    """Argument parser that reports an error in one line and exits with code 2.

    An invalid value is reported under the name of its Make variable: "invalid SLOTS 'x': expected ...".
    """

    def error(self, message: str) -> NoReturn:
        if bad := re.match(r"argument --([a-z-]+): (?:invalid choice: )?(?=['\"])", message):
            value, _, choices = message[bad.end() :].rstrip(")").partition(" (choose from ")
            reason = f"{value}: expected one of {choices.replace(chr(39), '')}" if choices else message[bad.end() :]
            message = f"invalid {bad[1].upper().replace('-', '_')} {reason}"
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(prog="resnet-repro", description="Run, watch and judge the key experiments of ResNet.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def add_command(name: str, text: str) -> argparse.ArgumentParser:
        return subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    run = add_command("run", "train the missing runs of an experiment, then write its report")
    run.add_argument("experiment", help="name of the experiment; `resnet-repro list` shows all names")
    _add_budget(run, "quick")
    run.add_argument("--seeds", help="seeds of each arm, e.g. 0,1,2 or 0-4 (default: the profile's)")
    run.add_argument("--arms", help="arms to train, separated by commas (default: the profile's)")
    dataset = (
        "auto, a name such as cifar10, or a path to class folders; auto may use a stand-in (default: the profile's)"
    )
    run.add_argument("--dataset", type=given, help=dataset)
    resolution = "side of the images in pixels, for experiments that scale them (default: the profile's)"
    run.add_argument("--resolution", type=number(int, example="224"), help=resolution)
    run.add_argument(
        "--weights", type=given, help="file of pretrained weights (default: torchvision's, if an arm needs them)"
    )
    _add_decoding(run)
    _add_data(run)
    _add_folders(run)
    add_launch_flags(run)
    precision = "arithmetic of the runs (default: bf16 if the hardware supports it)"
    run.add_argument("--precision", choices=PRECISIONS, default="auto", help=precision)
    seconds = "seconds between checkpoints (default: 60)"
    run.add_argument("--checkpoint-seconds", type=number(float, 0, example="60"), default=60.0, help=seconds)
    run.add_argument("--wandb-mode", help="auto, online, offline or disabled (default: $WANDB_MODE or auto)")
    plan = "say what would run, how long it takes and what it needs, and start nothing"
    run.add_argument("--plan", action="store_true", help=plan)
    run.add_argument("--no-report", action="store_true", help="train without writing a report")

    report = add_command("report", "write reports from existing records, without training")
    experiments = "names of experiments (default: all that have records)"
    report.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=experiments)
    _add_budget(report, "the longest with records")
    report.add_argument(
        "--dataset", type=given, help="report runs on this data set (default: the experiment's own, else another)"
    )
    resolution = "report runs on images of this side in pixels (default: that of the longest budget)"
    report.add_argument("--resolution", type=number(int, example="224"), help=resolution)
    checklist = "also write the answers to reproducibility checklists, from all these records, as this Markdown file"
    report.add_argument("--checklist", type=given, metavar="FILE", help=checklist)
    report.add_argument("--every-budget", action="store_true", help="write one report for each budget that has records")
    pages = "Markdown pages whose generated parts are renewed from the records, with --every-budget"
    report.add_argument("--pages", nargs="+", default=[], metavar="PAGE", help=pages)
    _add_folders(report)

    status = add_command("status", "show finished, running, missing and failed runs, read from their folders")
    status.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="names of experiments (default: all)")
    _add_runs_dir(status)

    disk = add_command("runs", "show the disk space of runs, and delete what no report needs")
    disk.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="names of experiments (default: all)")
    disk.add_argument("--prune", action="store_true", help="list what can be deleted, with sizes and reasons")
    disk.add_argument("--yes", action="store_true", help="with --prune: delete it")
    _add_runs_dir(disk)

    complexity = add_command("complexity", "show the cost of a network by layer: memory, parameters, multiply-adds")
    complexity.add_argument("net", help="name of the network, e.g. alexnet, vgg-16 or resnet-50")
    complexity.add_argument(
        "--input", metavar="CxHxW", help="size of the image, e.g. 3x224x224 (default: the network's)"
    )

    evaluate = add_command("evaluate", "score trained weights, also of other projects, on a test set")
    evaluate.add_argument(
        "net", help="name of the network, e.g. resnet-20, or the folder of a run or of an exported network"
    )
    weights = "file of weights: safetensors, or of torch.save (default: those of the folder, or of the repository)"
    evaluate.add_argument("--weights", type=given, help=weights)
    evaluate.add_argument(
        "--dataset", type=given, help="name of a data set or path of class folders (default: the network's)"
    )
    scaling = (
        "scaling of the pixels: pixel-mean, standard, imagenet, unit, none, or MEAN/STD by channel (default: that of the "
        "training, else that of this project for the data set)"
    )
    evaluate.add_argument("--scaling", type=given, help=scaling)
    evaluate.add_argument(
        "--train", action="store_true", help="score the training images as well, without augmentation"
    )
    precision = "arithmetic (default: that of the training, else fp32)"
    evaluate.add_argument("--precision", choices=COMPUTED_IN, help=precision)
    devices = "device to compute on: cpu, mps or cuda (default: a GPU, else the CPU)"
    evaluate.add_argument("--devices", type=given, help=devices)
    _add_decoding(evaluate)
    _add_data(evaluate)

    export = add_command("export", "write a trained network to a folder for the Hugging Face Hub")
    export.add_argument("net", help="the folder of a run, or a network of the repository's weights, e.g. resnet-20")
    export.add_argument("folder", help="folder to write: new, empty, or of an exported network")
    export.add_argument(
        "--dataset", type=given, help="path of the class folders of its training (default: its data set)"
    )
    _add_data(export)

    pick = add_command("pick-weights", "choose the weights that the repository holds, from runs with reference records")
    pick.add_argument(
        "experiment", nargs="?", default="degradation", help="name of the experiment (default: degradation)"
    )
    _add_runs_dir(pick)

    keep = add_command("keep", "copy records and tables of runs to the reference results")
    keep.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a run's folder, or one above it")
    keep.add_argument("--reference", type=Path, default=Path("reports/reference"), help="(default: reports/reference)")

    claims = add_command("claims", "show the claims of experiments and the comparisons that test them")
    claims.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="names of experiments (default: all)")
    register = "add claims with new or changed comparisons to the history, with the present time"
    claims.add_argument("--register", action="store_true", help=register)

    check = add_command("check", "check in seconds that this machine computes rightly and has what runs need")
    check.add_argument("--devices", default="auto", help="as for run (default: auto)")
    check.add_argument("--data-dir", type=given, help=f"folder of data sets and caches (default: {DEFAULT_DATA_DIR})")
    check.add_argument("--data-mirror", help="second place to look for data: a folder or URL (default: $DATA_MIRROR)")
    check.add_argument("--wandb-mode", help="auto, online, offline or disabled (default: $WANDB_MODE or auto)")
    _add_runs_dir(check)

    _add_runs_dir(add_command("sync", "upload the runs that Weights & Biases does not have yet"))
    add_command("list", "list the experiments")
    completion = add_command("completion", "print completions for a shell")
    completion.add_argument("shell", choices=("bash", "zsh"), help="bash or zsh")
    return parser


def _add_budget(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--profile", type=given, help=f"quick or paper (default: {default})")
    iterations = "scale the profile's schedule to ITERATIONS steps"
    parser.add_argument("--iterations", type=number(int, example="391"), help=iterations)
    prefix = "only the first PREFIX steps of the published schedule, unscaled"
    parser.add_argument("--prefix", type=number(int, example="34000"), help=prefix)


def _add_decoding(parser: argparse.ArgumentParser) -> None:
    workers = "processes that decode images, per device (default: one per thread or core)"
    parser.add_argument("--workers", type=number(int, 1, 10_000), help=workers)
    broken = "stop at an unreadable image, or skip and count it (default: stop)"
    parser.add_argument("--broken", choices=("stop", "skip"), default="stop", help=broken)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=given, help=f"folder of data sets and caches (default: {DEFAULT_DATA_DIR})")
    parser.add_argument("--data-mirror", help="second place to look for data: a folder or URL (default: $DATA_MIRROR)")


def _add_folders(parser: argparse.ArgumentParser) -> None:
    _add_runs_dir(parser)
    parser.add_argument("--reports-dir", type=given, default="reports", help="folder of reports (default: reports)")


def _add_runs_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs-dir", type=given, default="runs", help="folder of runs (default: runs)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns an exit code: 0 done, 1 a run or a check failed, 2 bad input, 130 interrupted.

    After an interruption the same command resumes. Code 2 also applies if bad input, such as an unreadable image, is
    the only reason why runs failed.
    """
    make_independent()
    options = build_parser().parse_args(arguments)
    console = Console()
    log, handler = logging.getLogger("resnet_repro"), logging.Handler()
    handler.emit = lambda record: console.print(record.getMessage(), highlight=False, markup=False, soft_wrap=True)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        _check_working_directory()
        functions = {
            "run": runs.run,
            "report": reports.report,
            "status": runs.show_status,
            "runs": runs.show_runs,
            "complexity": networks.show_complexity,
            "evaluate": networks.evaluate,
            "export": networks.export,
            "pick-weights": networks.pick_weights,
            "keep": runs.keep,
            "claims": reports.show_claims,
            "check": runs.check,
            "sync": runs.upload,
            "list": reports.list_experiments,
            "completion": _print_completion,
        }
        if options.command != "run":
            raise_again()
        return functions[options.command](options, console)
    except UserError as error:
        print(f"resnet-repro: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not is_no_space(error):
            raise
        print(no_space(error.filename or "standard output"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(LINE, file=sys.stderr)
        return INTERRUPTED
    finally:
        if is_command_line():
            end_at_once()
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


def _print_completion(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.completion import script

    print(script(build_parser(), options.shell))
    return 0


def _check_working_directory() -> None:
    """Raise UserError if the working directory was deleted: libraries search it, and end the process."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("the working directory no longer exists: change to another folder") from error


if __name__ == "__main__":
    sys.exit(main())

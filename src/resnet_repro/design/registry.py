"""Find experiments: each file of `experiments/` defines a function of the same name that returns an `Experiment`."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError


def experiments_folder() -> Path:
    """The folder `experiments/` of the working directory, else of the repository that contains this package.

    Raises UserError if neither exists.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        if any((root / "experiments").glob("*.py")):
            return root / "experiments"
    raise UserError("no folder experiments/ found; run resnet-repro in a clone of the repository")


def experiment_names() -> list[str]:
    """The names of all experiments as on the command line, in alphabetical order."""
    return sorted(p.stem.replace("_", "-") for p in experiments_folder().glob("*.py") if not p.stem.startswith("_"))


def load_experiment(name: str) -> Experiment:
    """Load the experiment of this name. Raises UserError that lists the known names."""
    if name not in experiment_names():
        raise UserError(f"unknown experiment {name!r}: expected one of {', '.join(experiment_names())}")
    function = name.replace("-", "_")
    path = experiments_folder() / f"{function}.py"
    spec = importlib.util.spec_from_file_location(f"experiments.{function}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)()


def summary(name: str) -> str:
    """The first line of the docstring of an experiment file."""
    path = experiments_folder() / f"{name.replace('-', '_')}.py"
    return (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]

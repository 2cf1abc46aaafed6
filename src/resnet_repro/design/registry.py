"""Find experiments: each file of `experiments/` defines a function of the same name that returns an `Experiment`.

The experiments of the repository are built in. The folder `experiments/` of the working directory adds others. Its files may
have nothing to do with this project, so none is executed before it is asked for, and none can hide or stop other experiments.
"""

from __future__ import annotations

import ast
import importlib.util
import traceback
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError, in_a_line

REPOSITORY = Path(__file__).resolve().parents[3]
"""The clone that this package is imported from. In an installed package, the folders below do not exist."""
BUILT_IN = REPOSITORY / "experiments"
REFERENCE = REPOSITORY / "reports" / "reference"
PUBLISHED = REPOSITORY / "weights"
ADDED = Path("experiments")


@dataclass(frozen=True)
class Registry:
    """The files of all experiments."""

    files: dict[str, Path]
    """{name as on the command line: file}, in alphabetical order."""
    unusable: dict[str, str]
    """{name: sentence} for files of the working directory that define no experiment, or one with the name of another."""


def registry() -> Registry:
    """Find the files of all experiments. Raises UserError if there are none."""
    files = {_name(path): path for path in _python_files(BUILT_IN)}
    unusable = {}
    if not (BUILT_IN.is_dir() and ADDED.is_dir() and ADDED.samefile(BUILT_IN)):
        for path in _python_files(ADDED):
            name = _name(path)
            if name in files and _content(files[name]) == _content(path):
                continue
            if name in files:
                unusable[name] = f"{path} is not used: {name} is a built-in experiment; rename file and function"
            elif problem := _problem(path):
                unusable[name] = f"{path} is not an experiment: {problem}"
            else:
                files[name] = path
    if not files:
        found = f" ({'; '.join(unusable.values())})" if unusable else ""
        raise UserError(f"no experiments found{found}: run resnet-repro in a clone of the repository")
    return Registry(dict(sorted(files.items())), unusable)


def experiment_names() -> list[str]:
    """The names of all experiments as on the command line, in alphabetical order."""
    return list(registry().files)


def load_experiment(name: str) -> Experiment:
    """Load the experiment of this name. Raises UserError that lists the known names or says what is wrong with its file."""
    known = registry()
    path = known.files.get(name)
    if path is None:
        if name in known.unusable:
            raise UserError(known.unusable[name])
        raise UserError(f"unknown experiment {name!r}: expected one of {', '.join(known.files)}")
    if path.parent == BUILT_IN:
        return _load(path)
    try:
        experiment = _load(path)
    except (Exception, SystemExit) as error:
        raise UserError(f"{path} cannot be loaded{_line_of(error, path)}: {in_a_line(error)}") from error
    if not isinstance(experiment, Experiment) or experiment.name != name:
        found = f"an experiment named {experiment.name!r}" if isinstance(experiment, Experiment) else repr(experiment)
        raise UserError(f"{path} returns {found}: expected an Experiment named {name!r}")
    return experiment


def summary(name: str) -> str:
    """The first line of the docstring of an experiment file."""
    return (ast.get_docstring(ast.parse(registry().files[name].read_bytes())) or "").partition("\n")[0]


def _python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if not path.stem.startswith(("_", ".")))


def _name(path: Path) -> str:
    return path.stem.replace("_", "-")


def _problem(path: Path) -> str | None:
    """Why a file cannot define an experiment, without executing it; None if it can."""
    if not path.stem.isidentifier():
        return "its name is not that of a function"
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        return error.msg + (f" (line {error.lineno})" if error.lineno else "")
    except (OSError, ValueError, RecursionError) as error:
        return in_a_line(error)
    if not any(isinstance(node, ast.FunctionDef) and node.name == path.stem for node in tree.body):
        return f"it defines no function {path.stem}"
    if not any(_imports_package(node) for node in ast.walk(tree)):
        return "it does not import resnet_repro"
    return None


def _imports_package(node: ast.AST) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.partition(".")[0] == "resnet_repro" for name in names)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _load(path: Path) -> Experiment:
    spec = importlib.util.spec_from_file_location(f"experiments.{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, path.stem)()


def _line_of(error: BaseException, path: Path) -> str:
    """The line of the file in which an error was raised, as " (line 3)"; empty if it was raised elsewhere."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).absolute() == path.absolute()
    ]
    return f" (line {lines[-1]})" if lines else ""

"""Completions for a shell, made of the command line's parser. Implements `resnet-repro completion`.

The names of experiments, arms, data sets and networks are written into the script, so that a completion takes no time.
"""

from __future__ import annotations

import argparse
import sys
from shlex import quote
from typing import Any

from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.design.registry import load_experiment, registry
from resnet_repro.errors import UserError
from resnet_repro.models.catalogue import NETS

FOLDERS, FILES = ("data_dir", "data_mirror", "runs_dir", "reports_dir"), ("weights",)
"""Destinations of flags that take folders and files."""

BASH = """
_resnet_repro_words() {{ compgen -P "$2" -W "$3" -- "${{1##*,}}"; }}
_resnet_repro_arms() {{
  local word names= before=
  for word in "${{COMP_WORDS[@]}}"; do
    case "$word" in
{cases}
    esac
  done
  [[ "$1" == *,* ]] && before="${{1%,*}},"
  _resnet_repro_words "$1" "$before" "$names"
}}
_resnet_repro_data() {{ compgen -W "{data}" -- "$1"; compgen -d -- "$1"; }}
"""
ZSH = """
_resnet_repro_arms() {{
  local word names=
  for word in "${{words[@]}}"; do
    case "$word" in
{cases}
    esac
  done
  compset -P '*,'
  compadd -- ${{=names}}
}}
_resnet_repro_data() {{ compadd -- {data}; _files -/; }}
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script that completes the parser's commands. shell: "bash" or "zsh".

    Prints a sentence on standard error for each experiment that cannot be loaded.
    """
    import shtab

    arms = _arms()
    _give_choices(parser, list(arms), shtab)
    cases = "\n".join(f"      {quote(name)}) names={quote(' '.join(names))} ;;" for name, names in arms.items())
    own = [name for name, facts in CATALOGUE.items() if not (facts.part_of or facts.standin)]
    data = " ".join(["auto", *own, "standin"])
    preamble = {"bash": BASH, "zsh": ZSH}[shell].format(cases=cases, data=data)
    return shtab.complete(parser, shell=shell, preamble=preamble)


def _arms() -> dict[str, list[str]]:
    """{experiment: its arms and counted networks} of all experiments that can be loaded."""
    arms = {}
    for name in registry().files:
        try:
            arms[name] = load_experiment(name).names
        except UserError as error:
            print(error, file=sys.stderr)
    return arms


def _give_choices(parser: argparse.ArgumentParser, experiments: list[str], shtab: Any) -> None:
    """Add to the parser's arguments what completes them; it parses nothing afterwards."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _give_choices(command, experiments, shtab)
        elif action.dest in ("experiment", "experiments"):
            action.choices = experiments
        elif action.dest == "net":
            action.choices = list(NETS)
        elif action.dest == "profile":
            action.choices = ["quick", "paper"]
        elif action.dest in ("arms", "dataset"):
            name = "_resnet_repro_arms" if action.dest == "arms" else "_resnet_repro_data"
            action.complete = {"bash": name, "zsh": name}  # type: ignore[attr-defined]
        elif action.dest in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.dest in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]

"""Child processes: their environment."""

from __future__ import annotations

import os

# Settings for one's own scripts: to stay after the last line, which would wait for ever, and to end at a library's warning.
UNWANTED = ("PYTHONINSPECT", "PYTHONWARNINGS")


def child_environment() -> dict[str, str]:
    """The environment for a Python process of the project: its modules never come from the working directory.

    `python -m` would search there first, so that a file named random.py or torch.py would replace the real module. The
    variables also reach the processes that this process starts, e.g. those of torchrun.
    """
    environment = {name: value for name, value in os.environ.items() if name not in UNWANTED} | {"PYTHONSAFEPATH": "1"}
    if path := environment.pop("PYTHONPATH", ""):
        # An empty entry, as `export PYTHONPATH=$PYTHONPATH:/x` leaves it, means the working directory, too.
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in path.split(os.pathsep) if entry)
    return environment

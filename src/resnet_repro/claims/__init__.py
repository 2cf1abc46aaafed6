"""Claims of the sources, and the statistics that judge them.

May import: errors.

The package has the name of the function `resnet_repro.claims`, so it can be called as one: see `report.frames.claims`.
"""

import sys
from types import ModuleType


class _Callable(ModuleType):
    def __call__(self, *arguments: object, **options: object) -> object:
        """Return the table of claims, see `report.frames.claims`."""
        return sys.modules["resnet_repro"]._claims(*arguments, **options)


sys.modules[__name__].__class__ = _Callable

"""The commands, one file per group; importing a file registers its commands.

A command is one function with its declaration on top. It reads arguments, looks values up, writes
its reply and changes data through the effect functions of node/values. It may not touch storage,
sockets, clocks or randomness by other ways than its Context.
"""

from __future__ import annotations

import importlib
import pkgutil


def load_all() -> None:
    """Import every command group, which fills the registry."""
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")

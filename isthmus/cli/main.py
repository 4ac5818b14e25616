"""The entry of the ``isthmus`` program.

A server process must start fast and carry nothing it does not use, so a first argument that names a
role goes straight to that role's own parser; the commands for people and the libraries they draw
with are imported only when one of them is asked for.
"""

from __future__ import annotations

import importlib
import sys

ROLES = {
    "node": "isthmus.node.server.main",
    "proxy": "isthmus.proxy.main",
    "coordinator": "isthmus.coordinator.main",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in ROLES:
        return int(importlib.import_module(ROLES[arguments[0]]).main(arguments[1:]))
    from isthmus.cli.app import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

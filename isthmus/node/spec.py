"""The public face of the command table, for those who route commands and do not run them.

Everything is read from the declarations in `isthmus/node/commands`; importing this module loads
them all. The error texts and the version that clients see are here too, so that whoever answers
in a node's place answers in a node's words.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.node.commands import connection, load_all
from isthmus.node.engine import errors
from isthmus.node.engine.errors import RedisError, wrong_arity
from isthmus.node.engine.execute import printable, unknown_command
from isthmus.node.engine.registry import COMMANDS, find, specs
from isthmus.node.engine.spec import BLOCKING, NO_AUTH, PUBSUB, READONLY, WRITE, CommandSpec

__all__ = [
    "BLOCKING",
    "COMMANDS",
    "NO_AUTH",
    "PUBSUB",
    "READONLY",
    "WRITE",
    "CommandSpec",
    "RedisError",
    "all_specs",
    "connection",
    "errors",
    "keys_of",
    "printable",
    "spec_of",
    "unknown_command",
    "wrong_arity",
]

load_all()


def spec_of(argv: list[bytes]) -> CommandSpec | None:
    """The command or sub-command a request names; None if there is no such command."""
    return find(argv)


def keys_of(argv: list[bytes]) -> list[bytes]:
    """The keys of a request, in order; none if it is unknown or has too few or many arguments."""
    spec = find(argv)
    if spec is None or not spec.arity_fits(len(argv)):
        return []
    return [argv[position] for position in spec.key_positions(argv)]


def all_specs() -> Iterator[CommandSpec]:
    """Every command and sub-command, in the order of their names."""
    return iter(specs())

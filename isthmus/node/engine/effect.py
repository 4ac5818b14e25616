"""Replaying effects: which function applies which canonical command.

Every effect function in node/values registers here how its encoded form is applied again. The same
table serves AOF load, the replica stream and slot import, and the test that replays each command's
effects into an empty keyspace and compares.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.node.engine.check import check
from isthmus.node.engine.effect_log import REPLAY
from isthmus.node.engine.keyspace import Database, Keyspace
from isthmus.node.engine.registry import COMMANDS

Replayer = Callable[[Database, list[bytes]], None]

REPLAYERS: dict[bytes, Replayer] = {}


def replays(name: bytes) -> Callable[[Replayer], Replayer]:
    """Register the decorated function as the one that applies the canonical command `name`."""

    def register(function: Replayer) -> Replayer:
        if name in REPLAYERS:
            raise ValueError(f"two replayers for {name!r}")
        REPLAYERS[name] = function
        return function

    return register


def apply(keyspace: Keyspace, db: int, argv: list[bytes], origin: int = REPLAY) -> None:
    """Apply one canonical command to database `db`; reads no clock and draws no random number."""
    replayer = REPLAYERS.get(argv[0])
    check(replayer is not None, f"no replayer for {argv[0]!r}")
    assert replayer is not None
    if keyspace.cut is not None:
        spec = COMMANDS[argv[0].lower()]
        if spec.handler is None:
            spec = spec.subcommands[argv[1].lower()]
        keyspace.cut.before_command(keyspace.databases[db], spec, argv)
    before, keyspace.log.origin = keyspace.log.origin, origin
    try:
        replayer(keyspace.databases[db], argv)
    finally:
        keyspace.log.origin = before

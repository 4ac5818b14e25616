"""Routes: what the proxy does with each command, worked out once from the command table.

Nothing is listed twice: arity, keys and flags are those of the declarations in node/commands. What
is decided here is only the kind:

    FORWARD   to the shard of its keys, which must all be in one slot; bytes go as they came
    SPLIT     the cross-slot six: by shard, the parts of the answer are merged
    SCATTER   concerns every shard, or more than one in turn (DBSIZE, KEYS, SCAN ...)
    ANY       any node answers the same (COMMAND, CONFIG GET, ACL CAT)
    LOCAL     the proxy itself answers (PING, HELLO, CLIENT, INFO ...)
    TIED      belongs to one client: over a line of its own (tied.py)
    REFUSE    has no meaning through the proxy yet: answered with a clear error
    CONTAINER a name before sub-commands

A command that is added to the table and that nobody thought of here is forwarded if it has keys and
is not of a group that ties state to one connection, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isthmus.node.spec import (
    BLOCKING,
    NO_AUTH,
    PUBSUB,
    READONLY,
    CommandSpec,
    all_specs,
)
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

FORWARD, SPLIT, SCATTER, ANY, LOCAL, REFUSE, CONTAINER, TIED = range(8)

NO_KEYS = -1
CROSS_SLOT = -2

SIX = frozenset({b"del", b"mset", b"mget", b"exists", b"unlink", b"touch"})
ANY_NODE = frozenset(
    b"command config|get publish function|list function|dump function|stats acl|cat acl|genpass "
    b"module|list".split()
)
# The shard of the channel or of the keys knows; scripts run there as a whole.
BY_SLOT = frozenset(b"spublish eval evalsha eval_ro evalsha_ro fcall fcall_ro".split())
TIED_GROUPS = frozenset({"transactions", "scripting", "pubsub"})


class Route:
    """One command or sub-command as the proxy sees it."""

    def __init__(self, spec: CommandSpec, kind: i64, handler: Any) -> None:
        self.name = spec.name
        self.spec = spec
        self.kind = kind
        self.handler = handler
        self.arity = spec.arity
        self.first_key = spec.first_key
        self.last_key = spec.last_key
        self.key_step = spec.key_step
        self.plain = spec.first_key > 0 and not spec.movable_keys and spec.key_step > 0
        self.single = self.plain and spec.first_key == spec.last_key
        self.write = not spec.flags & READONLY
        self.open_to_all = bool(spec.flags & NO_AUTH)
        self.subcommands: dict[bytes, Route] = {}
        self.alone: Route | None = None
        self.calls = 0

    def fits(self, count: i64) -> bool:
        """True if a request of `count` arguments has the right number."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity

    def slot(self, argv: list[bytes]) -> i64:
        """The slot of the keys in argv; NO_KEYS, or CROSS_SLOT if they are of several."""
        found: i64 = NO_KEYS
        slot: i64
        if not self.plain:
            for position in self.spec.key_positions(argv):
                slot = key_slot(argv[position])
                if found >= 0 and slot != found:
                    return CROSS_SLOT
                found = slot
            return found
        count: i64 = len(argv)
        last: i64 = self.last_key if self.last_key >= 0 else count + self.last_key
        at: i64 = self.first_key
        while at <= last and at < count:
            slot = key_slot(argv[at])
            if found >= 0 and slot != found:
                return CROSS_SLOT
            found = slot
            at += self.key_step
        return found


def kind_of(spec: CommandSpec) -> i64:
    """The kind of a command that has no handler in the proxy."""
    name = spec.name
    if name in SIX:
        return SPLIT
    if name in ANY_NODE or name.startswith(b"command|") or name.endswith(b"|help"):
        return ANY
    if name in BY_SLOT:
        return FORWARD
    tied = spec.flags & (BLOCKING | PUBSUB) or spec.group in TIED_GROUPS
    if spec.key_specs and not tied:
        return FORWARD
    return REFUSE


def build(
    local: Mapping[bytes, Any], scatter: Mapping[bytes, Any], tied: Mapping[bytes, Any]
) -> dict[bytes, Route]:
    """The table by name in lower and in upper case; handlers by the command's full name.

    A handler under the name of a container takes all its sub-commands.
    """
    routes: dict[bytes, Route] = {}
    for spec in all_specs():
        top, _, sub = spec.name.partition(b"|")
        if sub and routes[top].kind != CONTAINER:
            continue
        route = _route(spec, local, scatter, tied)
        names = routes[top].subcommands if sub else routes
        names[sub or top] = names[(sub or top).upper()] = route
        if spec.alone is not None and route.kind == CONTAINER:
            route.alone = _route(spec.alone, local, scatter, tied)
    return routes


def _route(
    spec: CommandSpec,
    local: Mapping[bytes, Any],
    scatter: Mapping[bytes, Any],
    tied: Mapping[bytes, Any],
) -> Route:
    name = spec.name
    if name in tied:
        return Route(spec, TIED, tied[name])
    if name in local:
        return Route(spec, LOCAL, local[name])
    if name in scatter:
        return Route(spec, SCATTER, scatter[name])
    return Route(spec, CONTAINER if spec.handler is None else kind_of(spec), None)


def every(routes: Mapping[bytes, Route]) -> Iterator[Route]:
    """All routes of a table, also those below others."""
    for name, route in routes.items():
        if name.islower():
            yield route
            yield from every(route.subcommands)

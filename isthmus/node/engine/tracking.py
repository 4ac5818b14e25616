"""Tracking: client-side caching, that is telling clients which keys they read have changed.

In the default mode the node remembers who read which key, and tells each of them once when the key
changes; in BCAST mode it remembers nothing and tells a client of every change under its prefixes.
A message is a push `invalidate [keys]` to a RESP3 client, or to another client it named with
REDIRECT; that one may speak RESP2 if it is a subscriber, and gets it as a message of the channel
`__redis__:invalidate`. A flush is told as null.

The table is keyed by name only, whatever the database, and holds at most
`tracking-table-max-keys` keys: beyond that, keys drawn at random are invalidated as if they had
changed. A client that left keeps its numbers in the table until those keys change.

Messages to the client being served come behind its reply (node.push sees to that). Broadcasts wait
for the end of the command, so a transaction sends each prefix's keys in one message.

While no client tracks, nothing here is called: `log.interest` has no TRACKED and no session has
GATE_TRACK.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.keyspace import TRACKED, Database
from isthmus.node.engine.spec import PUBSUB, CommandSpec
from isthmus.wire.reply import ReplyWriter

CHANNEL = b"__redis__:invalidate"
CONTAINER_KEEPS_CACHING = b"client|"

NEEDS_BCAST = b"ERR PREFIX option requires BCAST mode to be enabled"
NO_BCAST_SWITCH = (
    b"ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then "
    b"re-enabling it with a different mode."
)
NO_OPT_WITH_BCAST = b"ERR OPTIN and OPTOUT are not compatible with BCAST"
NO_BOTH_OPTS = b"ERR You can't specify both OPTIN mode and OPTOUT mode"
NO_OPT_SWITCH = (
    b"ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then "
    b"re-enabling it with a different mode."
)


class Tracked:
    """How one client tracks. `redirect` is a client's number, 0 for none."""

    __slots__ = ("redirect", "bcast", "optin", "optout", "noloop", "broken", "caching", "prefixes")

    def __init__(self) -> None:
        self.redirect = 0
        self.bcast = self.optin = self.optout = self.noloop = False
        # The redirection's target is gone; CLIENT CACHING was given for the next command.
        self.broken = False
        self.caching = False
        self.prefixes: set[bytes] = set()


class Prefix:
    """One broadcast prefix: who follows it, and what changed under it in this command, by whom."""

    __slots__ = ("clients", "keys")

    def __init__(self) -> None:
        self.clients: dict[ClientState, None] = {}
        self.keys: dict[bytes, ClientState | None] = {}


class Tracking:
    """The tracking clients of a node, the table of what they read, and the broadcasts."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.clients: dict[ClientState, Tracked] = {}
        # key -> numbers of the clients that read it; `_order` makes drawing one a single step.
        self.table: dict[bytes, set[int]] = {}
        self._order: list[bytes] = []
        self._place: dict[bytes, int] = {}
        self.items = 0
        self.prefixes: dict[bytes, Prefix] = {}
        self.pending = False
        self.own_first = False
        # A key expires or is evicted, whoever came upon it: who does not want to hear of its own
        # changes (NOLOOP) hears of this.
        self.by_nobody = False
        node.config.on_change("tracking-table-max-keys", lambda text: self.limit())

    # -- who tracks ---------------------------------------------------------------------------

    def enable(self, client: ClientState, asked: Tracked, prefixes: list[bytes]) -> None:
        """CLIENT TRACKING ON with the options in `asked`; raises RedisError."""
        had = self.clients.get(client)
        self._check(had, asked, prefixes)
        asked.prefixes = set() if had is None else had.prefixes
        asked.caching = had is not None and had.caching
        self.clients[client] = asked
        for prefix in (prefixes or [b""]) if asked.bcast else ():
            asked.prefixes.add(prefix)
            self.prefixes.setdefault(prefix, Prefix()).clients[client] = None
        client.tracking = True
        client.regate()
        self.node.keyspace.log.interest |= TRACKED

    def _check(self, had: Tracked | None, asked: Tracked, prefixes: list[bytes]) -> None:
        if prefixes and not asked.bcast:
            raise RedisError(NEEDS_BCAST)
        if had is not None and had.bcast != asked.bcast:
            raise RedisError(NO_BCAST_SWITCH)
        if asked.bcast and (asked.optin or asked.optout):
            raise RedisError(NO_OPT_WITH_BCAST)
        if asked.optin and asked.optout:
            raise RedisError(NO_BOTH_OPTS)
        if had is not None and ((asked.optin and had.optout) or (asked.optout and had.optin)):
            raise RedisError(NO_OPT_SWITCH)
        if asked.bcast:
            check_overlap([] if had is None else sorted(had.prefixes), prefixes)

    def disable(self, client: ClientState) -> None:
        """CLIENT TRACKING OFF, RESET, or the connection is gone."""
        had = self.clients.pop(client, None)
        if had is None:
            return
        for prefix in had.prefixes:
            entry = self.prefixes[prefix]
            del entry.clients[client]
            if not entry.clients:
                del self.prefixes[prefix]
        client.tracking = False
        client.regate()
        if not self.clients:
            self.node.keyspace.log.interest &= ~TRACKED
            # Nobody is left to be told of what is in the table.
            self._clear()

    # -- what they read -----------------------------------------------------------------------

    def remember(self, ctx: Any, spec: CommandSpec, argv: list[bytes]) -> None:
        """A tracking client has run a reading command: note the keys it asked for."""
        client: ClientState = ctx.session
        how = self.clients[client]
        if how.bcast or (how.optin and not how.caching) or (how.optout and how.caching):
            return
        # What a read-only script reads is told by the commands it runs.
        if spec.flags & PUBSUB or spec.group == "scripting":
            return
        if not (spec.one_key or spec.key_specs or spec.get_keys):
            return
        for position in spec.key_positions(argv):
            key = argv[position]
            readers = self.table.get(key)
            if readers is None:
                readers = self.table[key] = set()
                self._place[key] = len(self._order)
                self._order.append(key)
            if client.id not in readers:
                readers.add(client.id)
                self.items += 1
        self.limit()

    def done(self, client: ClientState, spec: CommandSpec) -> None:
        """A command of a tracking client is over: CLIENT CACHING holds for one, or for one EXEC."""
        if not client.in_multi and not spec.name.startswith(CONTAINER_KEEPS_CACHING):
            how = self.clients.get(client)
            if how is not None:
                how.caching = False

    def limit(self) -> None:
        """Let keys go, drawn at random, while there are more than the configuration allows."""
        most = self.node.config.integer("tracking-table-max-keys")
        while most and len(self.table) > most:
            self._invalidate(self._order[self.node.rng.below(len(self._order))], None)

    def _take(self, key: bytes) -> set[int] | None:
        readers = self.table.pop(key, None)
        if readers is not None:
            self.items -= len(readers)
            place, last = self._place.pop(key), self._order.pop()
            if last != key:
                self._order[place] = last
                self._place[last] = place
        return readers

    def _clear(self) -> None:
        self.table = {}
        self._order = []
        self._place = {}
        self.items = 0

    # -- what changed -------------------------------------------------------------------------

    def changed(self, db: Database, key: bytes) -> None:
        """A key changed, expired or was evicted: tell its readers now, the prefixes later."""
        by = None if self.by_nobody else self.node.ctx.session
        if self.prefixes:
            self._note_broadcast(key, by)
        if key in self.table:
            self._invalidate(key, by)

    def _invalidate(self, key: bytes, by: ClientState | None) -> None:
        for number in self._take(key) or ():
            client = self.node.clients.get(number)
            how = None if client is None else self.clients.get(client)
            # The client may have left, or begun to track in another way since it read.
            if how is None or how.bcast:
                continue
            if not (how.noloop and client is by):
                self._tell(client, how, [key])

    def _note_broadcast(self, key: bytes, by: ClientState | None) -> None:
        for prefix, entry in self.prefixes.items():
            if key.startswith(prefix):
                entry.keys[key] = by
                self.pending = True
                self.node.keyspace.log.pending = True

    def broadcast(self) -> None:
        """Send what changed under the prefixes since the last time."""
        self.pending = False
        for _, entry in sorted(self.prefixes.items()):
            if not entry.keys:
                continue
            changed, entry.keys = sorted(entry.keys.items()), {}
            for client in list(entry.clients):
                how = self.clients.get(client)
                if how is not None:
                    keys = [key for key, by in changed if not (how.noloop and by is client)]
                    if keys:
                        self._tell(client, how, keys)

    def flushed(self, waits: bool) -> None:
        """Every key of a database went at once: whatever a client holds may be stale.

        In Redis a flush that `waits` for the memory to be free is answered when it is, so the one
        who asked for it is told of it before its reply.
        """
        self._clear()
        self.own_first = waits and not self.node.ctx.deny_blocking
        for client, how in list(self.clients.items()):
            self._tell(client, how, None)

    # -- telling ------------------------------------------------------------------------------

    def _tell(self, client: ClientState, how: Tracked, keys: list[bytes] | None) -> None:
        """Send one message to client or where it wants its messages; `keys` None is a flush."""
        node = self.node
        target = client
        writer: ReplyWriter = node.encoder
        if how.redirect:
            found = node.clients.get(how.redirect)
            if found is None:
                how.broken = True
                if client.protocol >= 3:
                    writer.protocol = 3
                    writer.push(2)
                    writer.bulk(b"tracking-redir-broken")
                    writer.integer(how.redirect)
                    node.push(client, writer.take())
                return
            target = found
        writer.protocol = target.protocol
        if target.protocol >= 3:
            writer.push(2)
            writer.bulk(b"invalidate")
        elif how.redirect and target.subscriber:
            writer.push(3)
            writer.bulk(b"message")
            writer.bulk(CHANNEL)
        else:
            # RESP2 has no messages beside replies.
            return
        if keys is None:
            # As Redis does, null is spelt in the protocol of the client that tracks.
            writer.raw(b"_\r\n" if client.protocol >= 3 else b"$-1\r\n")
        else:
            writer.array(len(keys))
            for key in keys:
                writer.bulk(key)
        if keys is None and self.own_first and target is node.ctx.session:
            node.ctx.reply.raw(writer.take())
        else:
            node.push(target, writer.take())


def check_overlap(existing: list[bytes], prefixes: list[bytes]) -> None:
    """Raise RedisError if a key could fall under two of a client's prefixes."""
    for at, prefix in enumerate(prefixes):
        for other in existing:
            if overlap(prefix, other):
                raise RedisError(
                    b"ERR Prefix '" + prefix + b"' overlaps with an existing prefix '" + other
                    + b"'. Prefixes for a single client must not overlap."
                )  # fmt: skip
        for other in prefixes[at + 1 :]:
            if overlap(prefix, other):
                raise RedisError(
                    b"ERR Prefix '" + prefix + b"' overlaps with another provided prefix '" + other
                    + b"'. Prefixes for a single client must not overlap."
                )  # fmt: skip


def overlap(one: bytes, other: bytes) -> bool:
    """True if one begins with the other."""
    return one.startswith(other) or other.startswith(one)

"""Context: all a command may touch.

One Context serves every connection of a process (the loop runs one command at a time); execute()
points `session`, `db` and `spec` at the caller before each command. Look-ups check the type and
raise WRONGTYPE; `read` also counts hits and misses, as Redis does for reading commands only.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.config import Config
from isthmus.node.engine.effect_log import NOTE_MISS, EffectLog
from isthmus.node.engine.errors import WRONGTYPE, RedisError
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.lookahead import Lookahead
from isthmus.node.engine.spec import CommandSpec
from isthmus.node.engine.table import Table
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

ERROR_CODES_MAX = 128
NO_ERROR_COUNTS = b"ERRORSTATS_DISABLED"
# Bits of Context.gates.
GATE_CLUSTER = 1
GATE_MONITOR = 2
GATE_MEMORY = 4
GATE_PAUSE = 8
GATE_BUSY = 16
# A consistent cut is being taken; the data set is being loaded; persistence has failed.
GATE_CUT = 32
GATE_LOADING = 64
GATE_DISK = 128
# Fewer replicas are there than it takes to write.
GATE_REPLICAS = 256
# The node follows a primary (node/replicate).
GATE_REPLICA = 512
# The node may not serve its shard now, or not write (node/cluster/duty.py).
GATE_DUTY = 1024
# Slots are about to go to another shard, or have just gone (node/moves/moves.py).
GATE_MOVE = 2048
# Scripts that were paused have ended, whose clients come again for their replies.
GATE_ENDED = 4096
# What a command that waited in vain replies (in RESP2).
NULL_ARRAY_REPLY = b"*-1\r\n"
NULL_REPLY = b"$-1\r\n"
NEVER_NS = (1 << 63) - 1


class Context:
    """The arguments of every command function but its argv."""

    def __init__(self, node: Any, keyspace: Keyspace, reply: ReplyWriter) -> None:
        self.node = node
        self.config: Config = node.config
        self.keyspace = keyspace
        self.reply = reply
        self.clock = keyspace.clock
        self.log: EffectLog = keyspace.log
        self.rng = keyspace.rng
        self.db = keyspace.databases[0]
        self.session: ClientState = None  # type: ignore[assignment]
        self.spec: CommandSpec = None  # type: ignore[assignment]
        # The last command's name as it was sent, and what it names; written by execute() only.
        self.word = b""
        self.word_spec: CommandSpec | None = None
        self.now_ms = 0
        self.hits = 0
        self.misses = 0
        # Runs one queued or scripted command: set by execute(), which commands may not import.
        self.run: Any = None
        # Process-wide gates: zero means nothing special, the one test made before a command runs.
        self.gates = 0
        # The cluster view (node/cluster/view.py) in cluster mode, else None.
        self.cluster: Any = None
        self.lookahead: Lookahead = None  # type: ignore[assignment]
        self.mark_ns = 0
        self.error_counts: dict[bytes, int] = {}
        self.error_replies = 0
        self.commands = 0
        # True while nobody may be made to wait: inside EXEC and scripts.
        self.deny_blocking = False
        # When the first waiting client's time is up (Unix ms).
        self.wake_ms = NEVER_NS
        # What the client being served is sent behind its reply.
        self.own_pushes: list[bytes] = []
        # Calls that take longer are told to node.observe_slow.
        self.slow_ns = NEVER_NS

    def fail(self, text: bytes) -> None:
        """Write an error reply and count it by its code."""
        self.reply.error(text)
        self.count_error(text)

    def count_error(self, text: bytes) -> None:
        """Count an error reply by its code."""
        self.error_replies += 1
        counts = self.error_counts
        code = text.split(b" ", 1)[0]
        if code in counts:
            counts[code] += 1
        elif len(counts) < ERROR_CODES_MAX and NO_ERROR_COUNTS not in counts:
            counts[code] = 1
        elif NO_ERROR_COUNTS not in counts:
            # As in Redis: scripts can make up codes, so past a limit none is counted any more.
            self.error_counts = {NO_ERROR_COUNTS: 1}

    def block(
        self, kind: bytes, keys: list[bytes], argv: list[bytes], deadline_ms: int,
        timeout_reply: bytes = NULL_ARRAY_REPLY, nokey: bool = False,
    ) -> bool:  # fmt: skip
        """Let the client wait for one of keys to hold a `kind`; see engine/blocking.py.

        False where waiting is not allowed: the caller then replies at once that there is nothing.
        """
        if self.deny_blocking or self.session.shared:
            return False
        self.node.blocking.block(kind, keys, argv, deadline_ms, timeout_reply, nokey)
        return True

    def settle(self) -> None:
        """Hand effects to their sinks, and send the session what it was sent behind its reply."""
        self.log.flush()
        if self.node.tracking.pending:
            self.node.tracking.broadcast()
        if self.own_pushes:
            pushes, self.own_pushes = self.own_pushes, []
            self.node.deliver(self.session, b"".join(pushes))

    def push(self, client: ClientState, data: bytes) -> None:
        """Send a client what it did not ask for now: behind its reply if it is being served."""
        if client is self.session:
            self.own_pushes.append(data)
            self.log.pending = True
        elif client.held is not None:
            client.held.append(data)
        elif client.peer is None:
            client.outbox += data
        else:
            client.peer.push(data)

    def miss(self, key: bytes) -> None:
        """A command that reads found no key."""
        self.misses += 1
        if self.log.noting & NOTE_MISS:
            self.log.note(self.db.index, key, b"keymiss", b"m")

    def read(self, key: bytes, kind: Any) -> Any:
        """The value object at key if it is a `kind`, or None; raises WRONGTYPE."""
        value = self.db.lookup(key)
        if value is None:
            self.miss(key)
            return None
        self.hits += 1
        if type(value) is not kind:
            raise RedisError(WRONGTYPE)
        return value

    def write(self, key: bytes, kind: Any) -> Any:
        """As read(), for commands that write: does not count hits and misses."""
        value = self.db.lookup(key)
        if value is not None and type(value) is not kind:
            raise RedisError(WRONGTYPE)
        return value

    def string(self, key: bytes) -> Any:
        """The string at key (bytes or bytearray), or None; raises WRONGTYPE."""
        value = self.db.lookup(key)
        if value is None:
            self.miss(key)
            return None
        self.hits += 1
        if type(value) is not bytes and type(value) is not bytearray:
            raise RedisError(WRONGTYPE)
        return value

    def write_string(self, key: bytes) -> bool:
        """Write the string at key as a bulk string. False if there is none; raises WRONGTYPE.

        The same as string() and a reply, without making a Python object of the value.
        """
        found: i64 = 0
        table: Table | None = self.db.table_of(key)
        if table is not None:
            found = table.write_string(key, self.now_ms, self.reply)
        if found == 1:
            self.hits += 1
            return True
        if found == 0:
            if table is not None:
                self.db.missing(table, key)
            self.miss(key)
            return False
        self.hits += 1
        raise RedisError(WRONGTYPE)

    def string_for_write(self, key: bytes) -> Any:
        """As string(), for commands that write: does not count hits and misses."""
        value = self.db.lookup(key)
        if value is not None and type(value) is not bytes and type(value) is not bytearray:
            raise RedisError(WRONGTYPE)
        return value

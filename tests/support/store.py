"""Store: a node without sockets for tests of commands; every test also proves replay.

`store("SET", "k", "v")` runs one command and returns the decoded reply (errors as RedisReplyError
values, not raised). When the test ends, the effects its commands produced are applied to an empty
keyspace, are written as an AOF and run again as one, and a snapshot of what there is is read into
another: all must hold the same data, which is persistence and replication, for every command.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import hiredis

from isthmus.node.commands import load_all
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.effect import apply
from isthmus.node.engine.effect_log import Effect
from isthmus.node.engine.execute import execute
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.node import Node
from isthmus.node.engine.rng import Rng
from isthmus.node.persist.aof_format import NO_DB, encode_batch
from isthmus.node.persist.aof_scan import CLEAN, AofScanner
from isthmus.node.persist.cut import Cut
from isthmus.node.persist.replay import AofReplay
from isthmus.node.persist.snapshot_format import end_mark, header
from isthmus.node.persist.snapshot_read import KeyspaceLoader, read_snapshot
from isthmus.node.scripting.scripts import Scripts
from isthmus.node.sinks.notify import Notifier
from isthmus.wire.crc64 import crc64
from isthmus.wire.rdb_reader import RdbReader
from tests.support.shapes import complaint

START_MS = 1_700_000_000_000

load_all()


class RedisReplyError(Exception):
    """An error reply; compares equal to one with the same text."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exception) and str(other) == str(self)

    __hash__ = Exception.__hash__


def encode(arg: Any) -> bytes:
    if isinstance(arg, bytes):
        return arg
    if isinstance(arg, float):
        return repr(arg).encode()
    return str(arg).encode()


def plain(value: Any) -> Any:
    """A value of the keyspace as plain Python, equal for equal data."""
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value.plain()


def contents(keyspace: Keyspace) -> dict[tuple[int, bytes], tuple[Any, int]]:
    """Everything a keyspace holds: (database, key) -> (value, expiry)."""
    found = {}
    for db in keyspace.databases:
        for table in db.slots:
            if table is not None:
                table.check()
                for key, value in table.items():
                    found[db.index, key] = (plain(value), table.expiry(key))
        assert db.size == sum(1 for where in found if where[0] == db.index), "size"
    return found


def codes(keyspace: Keyspace) -> list[bytes]:
    """The code of all function libraries."""
    return sorted(keyspace.libraries.library_codes())


@cache
def aof_node() -> Node:
    """The node that every test's AOF is run on, empty; a new one each time would take longer."""
    node = Node(Clock(START_MS), Rng(2), Config({"databases": "64"}), "0" * 40)
    Scripts(node)
    return node


def check_aof(effects: list[Effect], keyspace: Keyspace) -> None:
    """Write effects as an AOF, run that, and compare what it makes with the keyspace."""
    node = aof_node()
    node.clock.now_ms = keyspace.clock.now_ms
    data, selected = b"", NO_DB
    for effect in effects:
        more, selected = encode_batch([effect], selected)
        data += more
    replay = AofReplay(node)
    replay.begin()
    scanner = AofScanner(data)
    try:
        for offset, argv in scanner:
            replay.run(offset, argv)
        assert scanner.end is not None and scanner.end.kind == CLEAN
        assert replay.first_failure is None, replay.first_failure
        assert contents(node.keyspace) == contents(keyspace)
        assert codes(node.keyspace) == codes(keyspace)
    finally:
        replay.end()
        for db in node.keyspace.databases:
            db.forget_all()
        if codes(node.keyspace):
            node.scripts.flush_libraries()


class Recorder:
    def __init__(self) -> None:
        self.effects_seen: list[Effect] = []

    def effects(self, batch: list[Effect]) -> None:
        # An effect without a command is an event only.
        self.effects_seen.extend(effect for effect in batch if effect.argv[0])


class Store:
    """A node on a manual clock with one client; see the module's first lines."""

    def __init__(self, protocol: int = 2, seed: int = 1, **config: str) -> None:
        values = {name.replace("_", "-"): value for name, value in config.items()}
        self.clock = Clock(START_MS)
        self.node = Node(self.clock, Rng(seed), Config(values), "0" * 40)
        Notifier(self.node)
        Scripts(self.node)
        self.client = self.node.new_client()
        self.client.protocol = protocol
        self.recorder = Recorder()
        self.node.keyspace.log.attach(self.recorder)
        # False where the effects, as in Redis, do not say all.
        self.aof = True

    def raw(self, *args: Any, client: Any = None) -> bytes:
        """Run one command and return the bytes of its reply."""
        client = client or self.client
        ctx = self.node.ctx
        ctx.reply.protocol = client.protocol
        ctx.mark_ns = ctx.clock.mono_ns()
        execute(ctx, client, [encode(arg) for arg in args])
        ctx.reply.protocol = 2
        self.node.keyspace.log.flush()
        reply: bytes = ctx.reply.take()
        wrong = complaint([encode(arg) for arg in args], reply, client.protocol)
        assert not wrong, wrong
        return reply

    def __call__(self, *args: Any, client: Any = None) -> Any:
        """Run one command and return its decoded reply."""
        data = self.raw(*args, client=client)
        reader = hiredis.Reader(replyError=RedisReplyError)
        reader.feed(data)
        reply = reader.gets()
        assert reader.gets() is False, "more than one reply"
        return reply

    def run(self, line: str) -> Any:
        """Run one command given as text split at blanks."""
        return self(*line.split())

    def error(self, *args: Any) -> str:
        """Run a command that must fail and return the error's text."""
        reply = self(*args)
        assert isinstance(reply, RedisReplyError), f"{args} replied {reply!r}"
        return str(reply)

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.clock.advance(ms)

    def check_replay(self) -> None:
        """Apply the recorded effects to an empty keyspace and compare."""
        self.node.keyspace.log.flush()
        copy = Keyspace(Clock(self.clock.now_ms), Rng(2), len(self.node.keyspace.databases))
        for effect in self.recorder.effects_seen:
            assert all(type(arg) is bytes for arg in effect.argv), (
                f"effect {effect.argv} is not bytes"
            )
            assert re.fullmatch(rb"[A-Z]+", effect.argv[0]), effect.argv
            apply(copy, effect.db, effect.argv)
        assert contents(copy) == contents(self.node.keyspace)
        if self.aof:
            check_aof(self.recorder.effects_seen, self.node.keyspace)

    def check_snapshot(self) -> None:
        """Write a snapshot, read it into an empty keyspace, and compare."""
        keyspace = self.node.keyspace
        copy = Keyspace(Clock(self.clock.now_ms), Rng(2), len(keyspace.databases))
        load_snapshot(snapshot_of(keyspace), copy)
        assert contents(copy) == contents(keyspace)


def snapshot_of(keyspace: Keyspace) -> bytes:
    """All keys as a snapshot file."""
    cut = Cut(keyspace)
    cut.begin()
    while cut.step(1 << 40):
        pass
    data = header([]) + cut.out.take() + end_mark()
    return data + crc64(data).to_bytes(8, "little")


def load_snapshot(data: bytes, keyspace: Keyspace) -> None:
    """Fill a keyspace with what a snapshot holds; keys whose time has come, too."""
    reader = RdbReader(data)
    for _ in read_snapshot(reader, KeyspaceLoader(keyspace), now_ms=0, keep_expired=True):
        pass
    assert not reader.left

"""A cut begun in the middle of random commands: what it loads as must be what was there then.

`Cutting(seed)` draws everything from one number: which commands of every group run, before the cut
and while it is taken, who waits, what time does, and how far the cut goes in between. Limits of the
cut are made tiny by the tests (`TINY`), so that every way through it is taken with a few dozen
keys; half of the keys carry one hash tag, which makes one slot a large one.

`Mirrored` does the same to a replica: effects of a store are applied to a second keyspace, and the
cut is taken there.
"""

from __future__ import annotations

import gc
import random
from typing import Any

from isthmus.node.engine import heap
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.context import GATE_CUT
from isthmus.node.engine.effect import apply
from isthmus.node.engine.expiry import ExpiryCycle
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.rng import Rng
from isthmus.node.persist import cut as cut_module
from isthmus.node.persist.cut import Cut
from isthmus.node.persist.snapshot_format import end_mark, header
from isthmus.node.persist.snapshot_read import KeyspaceLoader, read_snapshot
from isthmus.wire.rdb_reader import RdbReader
from tests.oracle.differ import THRESHOLDS
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.support.store import START_MS, Store, contents

TINY = {
    "SLOT_KEYS_MAX": 4, "BIG_ELEMENTS": 5, "BIG_BYTES": 48, "BUCKETS_PER_LOOK": 2,
    "SLOTS_PER_LOOK": 2000, "ELEMENTS_PER_LOOK": 2,
}  # fmt: skip
TAG = b"{t}"
GRAMMARS = [Grammar(group, tag) for group in GROUPS for tag in (b"", TAG)]
LINES = """\
FLUSHALL|FLUSHDB|FLUSHALL ASYNC|SWAPDB 0 1|SWAPDB 1 2|SWAPDB 0 3|SELECT 0|SELECT 1|SELECT 2
SELECT 0|MOVE $k 1|MOVE $k 2|COPY $k $k REPLACE|COPY $k $k DB 1 REPLACE|RENAME $k $k
RENAMENX $k $k|DEL $k|UNLINK $k $k|PEXPIRE $k 40|PEXPIRE $k 5|PERSIST $k|EXPIRE $k 0|GETDEL $k
GETEX $k PX 30|SET $k $v|SET $k $v KEEPTTL|SET $k $v PX 20|APPEND $k $v|SETRANGE $k 70 $v
INCR $k|INCRBYFLOAT $k 1.5|PFADD $k $v|SETBIT $k 900 1|BITOP NOT $k $k|RPUSH $k a b c d e f g
LPOP $k 9|LMOVE $k $k LEFT RIGHT|LTRIM $k 1 3|SADD $k a b c d e f g h 1 2|SPOP $k 3
SMOVE $k $k a|SUNIONSTORE $k $k $k|HSET $k a 1 b 2 c 3 d 4 e 5 f 6|HPEXPIRE $k 7 FIELDS 2 a b
HPEXPIRE $k 90 FIELDS 3 a b c|HINCRBY $k a 4|HDEL $k a b|HGETALL $k|HGET $k a
ZADD $k 1 a 2 b 3 c 4 d 5 e 6 f 7 g|ZPOPMIN $k 2|ZRANGESTORE $k $k 0 -1|ZUNIONSTORE $k 2 $k $k
XADD $k * f v g w|XADD $k * f $v|XADD $k MAXLEN 3 * f v|XGROUP CREATE $k g1 0 MKSTREAM
XTRIM $k MAXLEN 2|XREADGROUP GROUP g1 c1 STREAMS $k >|XGROUP DESTROY $k g1|XGROUP SETID $k g1 0
XGROUP DELCONSUMER $k g1 c1|XAUTOCLAIM $k g1 c2 0 0|SORT $k ALPHA STORE $k|GET $k|MGET $k $k $k
EXISTS $k $k|PFMERGE $k $k|PFCOUNT $k|BLPOP $k 0|BLPOP $k $k 0|BLMOVE $k $k LEFT LEFT 0
BZPOPMIN $k 0|XREAD BLOCK 0 STREAMS $k $|WATCH $k|MULTI|MULTI|EXEC|EXEC|EXEC|DISCARD
DEBUG SLEEP 0|GETRANGE $k 0 9|LCS $k $k|TYPE $k|RANDOMKEY|SCAN 0
GEOADD $k 13 38 a 14 38 b 15 38 c 16 38 d 17 38 e 18 38 f
GEOSEARCHSTORE $k $k FROMLONLAT 13 38 BYRADIUS 999 km|MSET $k $v $k $v $k $v|MSETNX $k $v $k $v
SETEX $k 1 $v|GETSET $k $v|SINTERSTORE $k $k|LINSERT $k BEFORE c x"""
NAMES = [b"str1", b"str2", b"has1", b"has2", b"lis1", b"lis2", b"set1", b"set2", b"sor1", b"sor2",
         b"bit1", b"hyp1", b"geo1", b"xst1", b"xst2"]  # fmt: skip
VALUES = [b"1", b"value", b"x" * 60, b"y" * 1500, b"z" * 5000, b""]
# Scripts of which nobody knows what they will touch.
SCRIPTS = [
    b"for i = 1, 9 do redis.call('RPUSH', '{t}lis1', i) redis.pcall('HSET', '{t}has1', i, i) end",
    b"redis.call('APPEND', '{t}str1', 'more') redis.call('SADD', 'set1', 1, 2, 3, 4, 5, 6, 'x')",
    b"redis.pcall('RENAME', '{t}lis1', 'lis2') redis.call('ZADD', '{t}sor1', 3, 'z') return x",
    b"redis.call('SELECT', 1) redis.call('LPUSH', '{t}lis2', 'a') redis.call('DEL', '{t}has2')",
    b"redis.call('FLUSHDB') redis.call('SET', '{t}str1', 'new')",
]


class Cutting:
    """One run; `failed` texts carry the seed."""

    def __init__(self, seed: int, cancel: bool = False) -> None:
        self.rng = random.Random(seed)
        gc.collect()
        self.held_before = heap.used()
        self.store = Store(**THRESHOLDS)
        self.keyspace: Keyspace = self.store.node.keyspace
        self.cancel = cancel
        self.lines = [line.encode() for line in LINES.replace("\n", "|").split("|")]
        self.clients = [self.store.client] + [self.store.node.new_client() for _ in range(3)]
        self.runnable: list[ClientState] = []
        self.store.node.blocking.resume = self.runnable.append
        self.cycle = ExpiryCycle(self.keyspace)
        self.cut: Cut | None = None
        self.parts: list[bytes] = []
        self.postponed = 0
        if self.rng.random() < 0.3:
            self.store("CONFIG", "SET", "notify-keyspace-events", "KEA")

    # -- what happens -------------------------------------------------------------------------

    def key(self) -> bytes:
        return self.rng.choice((b"", TAG)) + self.rng.choice(NAMES)

    def request(self) -> list[bytes]:
        rng = self.rng
        how = rng.random()
        if how < 0.35:
            argv = rng.choice(GRAMMARS).request(rng.getrandbits(32))
            return [b"PING"] if argv[0].startswith(b"@") else argv
        if how < 0.40:
            return [b"EVAL", rng.choice(SCRIPTS), b"0"]
        words = rng.choice(self.lines).split(b" ")
        drawn = {b"$k": self.key, b"$v": lambda: rng.choice(VALUES)}
        return [drawn[word]() if word in drawn else word for word in words]

    def run(self, client: ClientState, argv: list[bytes]) -> None:
        if client.blocked is None:
            self.store.raw(*argv, client=client)
            self.postponed += client.postponed is not None
        # Those whose value has been written go on, as the server lets them.
        while self.runnable:
            other = self.runnable.pop()
            other.outbox.clear()
            if other.postponed is not None and other.blocked is None:
                argv, other.postponed = other.postponed, None
                self.store.raw(*argv, client=other)

    def restore(self) -> None:
        payload = self.store("DUMP", self.key())
        if isinstance(payload, bytes):
            ttl = self.rng.choice((0, 0, 25))
            self.store("RESTORE", self.key(), ttl, payload, "REPLACE")

    def evict(self) -> None:
        db = self.rng.choice(self.keyspace.databases[:3])
        key = self.keyspace.random_key(db)
        if key is not None:
            db.evict(key)

    def happen(self) -> None:
        """One thing that may change data."""
        how = self.rng.random()
        free = [client for client in self.clients if client.blocked is None]
        if how < 0.08:
            self.store.advance(self.rng.choice((1, 5, 30)))
            self.store.node.blocking.expire(self.store.clock.now_ms)
        elif how < 0.12:
            self.cycle.step(self.rng.choice((0, 10_000_000)))
        elif how < 0.16:
            self.evict()
        elif how < 0.20 and not self.store.client.blocked and not self.store.client.in_multi:
            self.restore()
        elif how < 0.25:
            self.keyspace.free_slice(3)
        elif free:
            self.run(self.rng.choice(free), self.request())

    # -- the cut ------------------------------------------------------------------------------

    def begin(self) -> None:
        ctx = self.store.node.ctx

        def finished() -> None:
            ctx.gates &= ~GATE_CUT

        self.cut = Cut(
            self.keyspace, 0, finished, bool(self.rng.getrandbits(1)),
            resume=self.store.node.blocking.resume_postponed,
        )  # fmt: skip
        self.cut.begin()
        ctx.gates |= GATE_CUT

    def go_on(self) -> bool:
        """Let the cut go on by one step or a slice; False at its end."""
        assert self.cut is not None
        more = True
        if self.rng.random() < 0.6:
            more = self.cut.step(0)
        else:
            self.cut.advance()
            more = not self.cut.finished
        if self.rng.random() < 0.5 or not more:
            self.parts.append(self.cut.out.take())
        # Who had to wait may run now.
        self.run(self.store.client, [b"PING"])
        return more

    def check_loaded(self, expected: dict[Any, Any]) -> None:
        data = header([]) + b"".join(self.parts) + end_mark() + bytes(8)
        loaded = loaded_from(data)
        for where, held in expected.items():
            assert loaded.get(where) == held, (where, loaded.get(where), held)
        assert loaded.keys() == expected.keys(), loaded.keys() - expected.keys()

    def run_all(self, before: int, during: int) -> None:
        for _ in range(before):
            self.happen()
        self.leave_waiting()
        expected = contents(self.keyspace)
        self.begin()
        assert self.cut is not None
        assert contents(self.keyspace) == expected
        pace = self.rng.choice((0.05, 0.3, 0.7))
        more, count = True, 0
        stop = self.rng.randrange(during) if self.cancel else -1
        while more:
            if count == stop:
                self.cut.end()
                break
            if count < during:
                self.happen()
                count += 1
            if count >= during or self.rng.random() < pace:
                more = self.go_on()
        self.check_over()
        if not self.cancel:
            self.check_loaded(expected)
        self.check_afterwards()

    def leave_waiting(self) -> None:
        """Transactions are ended, and who waits for a key is left waiting."""
        for client in self.clients:
            if client.in_multi and client.blocked is None:
                self.store.raw("DISCARD", client=client)

    def check_over(self) -> None:
        """The cut is over and holds nothing."""
        cut, ctx = self.cut, self.store.node.ctx
        assert cut is not None
        self.run(self.store.client, [b"PING"])
        assert self.keyspace.cut is None and not ctx.gates & GATE_CUT
        assert all(db.cut is None for db in self.keyspace.databases)
        assert (cut.kept_bytes, cut.ours, cut.queue, cut.urgent) == (0, {}, [], [])
        assert not cut.failure
        assert all(client.postponed is None for client in self.clients), "somebody still waits"

    def check_afterwards(self) -> None:
        """Nothing of what commands did is wrong, and nothing stays behind."""
        for client in self.clients[1:]:
            self.store.node.forget_client(client)
        self.store.node.blocking.forget(self.store.client)
        self.store.client.leave_multi()
        self.keyspace.log.flush()
        copy = Keyspace(Clock(self.store.clock.now_ms), Rng(2))
        # What was alive when a command ran may be due by now.
        copy.clock.loading = True
        for effect in self.store.recorder.effects_seen:
            apply(copy, effect.db, effect.argv)
        assert contents(copy) == contents(self.keyspace)
        empty(copy)
        empty(self.keyspace)
        del copy
        self.cut, self.parts, self.keyspace = None, [], None  # type: ignore[assignment]
        self.store = self.clients = self.cycle = self.runnable = None  # type: ignore[assignment]
        gc.collect()
        assert heap.used() == self.held_before, heap.used() - self.held_before


class Mirrored(Cutting):
    """The same, but the cut is of a replica: a keyspace that effects are applied to."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.replica = Keyspace(Clock(START_MS), Rng(2))
        self.applied = 0

    def happen(self) -> None:
        super().happen()
        self.store.node.keyspace.log.flush()
        effects = self.store.recorder.effects_seen
        for effect in effects[self.applied :]:
            apply(self.replica, effect.db, effect.argv)
        self.applied = len(effects)

    def run_all(self, before: int, during: int) -> None:
        for _ in range(before):
            self.happen()
        expected = contents(self.replica)
        self.cut = Cut(self.replica)
        self.cut.begin()
        more, count = True, 0
        while more:
            if count < during:
                self.happen()
                count += 1
            if count >= during or self.rng.random() < 0.2:
                more = self.go_on()
        assert self.replica.cut is None and all(db.cut is None for db in self.replica.databases)
        assert (self.cut.kept_bytes, self.cut.ours) == (0, {})
        self.check_loaded(expected)
        assert contents(self.replica) == contents(self.keyspace)


def loaded_from(data: bytes) -> dict[Any, Any]:
    """What a snapshot holds, as contents() says it."""
    keyspace = Keyspace(Clock(START_MS), Rng(3))
    for _ in read_snapshot(
        RdbReader(data), KeyspaceLoader(keyspace), now_ms=START_MS, keep_expired=True
    ):
        pass
    found = contents(keyspace)
    empty(keyspace)
    return found


def empty(keyspace: Keyspace) -> None:
    """Forget and free everything."""
    keyspace.forget_everything()
    while keyspace.free_slice(1000):
        pass
    assert not keyspace.garbage


def make_tiny(monkeypatch: Any, rng: random.Random) -> None:
    """Small limits, some of them now and then as they are."""
    for name, value in TINY.items():
        if rng.random() < 0.85:
            monkeypatch.setattr(cut_module, name, value)

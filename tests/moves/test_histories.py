"""Random histories of a move: whatever comes between its steps, a key is what clients made of it.

Clients write to whoever serves the slot; a server that is alone is given every command that was
carried out, in order and at the same time by the clock of whoever did (one for the slots that move,
one for the others). Connections break, orders are given, withdrawn, repeated and heard late, cuts
go on a little at a time, clocks differ. At every moment at most one side serves a slot, and whoever
serves it has exactly what that server has.
"""

from __future__ import annotations

import random

import pytest

from isthmus.node.engine.clock import Clock
from isthmus.node.engine.effect import apply
from isthmus.node.engine.expiry import ExpiryCycle
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.rng import Rng
from isthmus.node.moves.moves import CANCELLED, CLEANING, COPYING, FLIPPED, ORDERED
from isthmus.node.replicate.primary import ONLINE
from isthmus.wire.slots import SLOTS, key_slot
from tests.moves.sides import LONG_NS, Pair, Side
from tests.support.store import Store, contents

TAGS = ["{a}", "{b}", "{c}", "{0}"]
KEYS = [f"k{i}{tag}" for tag in TAGS for i in range(4)]
COMMANDS = """\
SET $k $v|SET $k $v PX 300|SET $k $v KEEPTTL|APPEND $k $v|DEL $k|INCR $k|PEXPIRE $k 200|PERSIST $k
HSET $k f $v g $v|HSET $k f $v|HDEL $k f|HINCRBY $k n 3|RPUSH $k $v $v $v
LPUSH $k $v|LPOP $k 2|LTRIM $k 1 2|SADD $k $v x y z|SREM $k x|ZADD $k 1 $v 2 b 3 c|ZPOPMIN $k
ZINCRBY $k 5 b|XADD $k * f $v|XTRIM $k MAXLEN 2|GETDEL $k|SETRANGE $k 3 $v|RENAME $k $k2
COPY $k $k2 REPLACE|RPOPLPUSH $k $k2|SUNIONSTORE $k $k2 $k|GETEX $k PX 100|EXPIRE $k 0|UNLINK $k $k2
SETBIT $k 77 1|PFADD $k $v|XGROUP CREATE $k g 0 MKSTREAM|XREADGROUP GROUP g c STREAMS $k >
EVAL redis.call('SET',KEYS[1],ARGV[1]);redis.call('APPEND',KEYS[2],'x') 2 $k $k2 $v"""


def moves(slot: int) -> bool:
    """True for the slots that move."""
    return slot < SLOTS // 2


class History:
    """One move, and everything that may happen to it, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.pair = Pair()
        self.truths = {moving: Store(**{"databases": "1"}) for moving in (True, False)}
        self.job_open = False
        self.order = 0
        for tag in TAGS:
            for i in range(30):
                self.write("SET", f"filler{i}{tag}", "v")

    # -- clients ------------------------------------------------------------------------------

    def command(self) -> list[str]:
        rng = self.rng
        line = rng.choice(COMMANDS.replace("\n", "|").split("|"))
        tag = rng.choice(TAGS)
        keys = {"$k": f"k{rng.randrange(4)}{tag}", "$k2": f"k{rng.randrange(4)}{tag}"}
        text = "v" * rng.choice([1, 3, 90]) + str(rng.randrange(99))
        if line.startswith("EVAL"):
            script, rest = line[5:].rsplit(" 2 ", 1)
            return ["EVAL", script, "2", *(keys.get(w, text) for w in rest.split())]
        return [keys.get(w, text if w == "$v" else w) for w in line.split()]

    def write(self, *argv: str) -> None:
        """A client that follows redirects; whoever would wait gives up."""
        for side in (self.pair.a, self.pair.b):
            client = side.node.new_client()
            before = contents(side.node.keyspace) if self.rng.random() < 0.02 else None
            reply = side.store.raw(*argv, client=client)
            waits = client.blocked is not None
            side.node.forget_client(client)
            if waits:
                assert before is None or before == contents(side.node.keyspace)
                return
            if reply.startswith((b"-MOVED", b"-TRYAGAIN")):
                continue
            truth = self.truths[moves(key_slot(next(w for w in argv if "{" in w).encode()))]
            truth.clock.now_ms = side.store.clock.now_ms
            told = truth.raw(*argv)
            if b"XADD" not in argv[0].encode():
                assert reply == told, (argv, reply, told)
            return

    # -- what may happen ----------------------------------------------------------------------

    def step(self) -> None:
        rng, pair = self.rng, self.pair
        what = rng.randrange(100)
        if what < 45:
            self.write(*self.command())
        elif what < 55:
            pair.deliver(rng.choice([7, 100, 5000, 1 << 20, 1 << 20]))
        elif what < 68:
            pair.take(rng.choice([0, LONG_NS]))
        elif what < 80:
            self.cut()
        elif what < 83:
            ms = rng.choice([1, 20, 120])
            if rng.random() < 0.7:
                pair.a.store.advance(ms)
            # The target's clock may be ahead.
            pair.b.store.advance(ms)
        elif what < 86:
            for node in (pair.a.node, pair.b.node):
                ExpiryCycle(node.keyspace).step(LONG_NS)
        elif what < 90:
            pair.tell(rng.choice([pair.a, pair.b]))
        elif what < 91:
            pair.hang_up()
            self.job_open = False
        elif what < 93:
            pair.a.moves.tick()
            pair.b.moves.tick()
            if rng.random() < 0.3:
                pair.a.moves.sweep_all(0)
                pair.b.moves.sweep_all(0)
        else:
            self.coordinate()
        if pair.client is None and pair.order() == 0 and not pair.flipped:
            pair.connect()
            self.job_open = False
        if pair.client is not None and pair.client.closing:
            pair.hang_up()
            self.job_open = False
        if pair.client is not None and pair.order() < 0:
            pair.hang_up()
            self.job_open = False

    def cut(self) -> None:
        pair = self.pair
        if not self.job_open:
            pair.deliver(1 << 20)
            self.job_open = pair.client is not None and pair.begin_cut()
        elif self.job_open and pair.cut(self.rng.choice([1, 3, 50])):
            self.job_open = False

    def coordinate(self) -> None:
        """The coordinator's next word, by what it was told."""
        rng, pair = self.rng, self.pair
        if pair.state in ("", CANCELLED):
            if pair.flipped:
                return
            pair.decide(COPYING)
        elif pair.state == COPYING:
            follows = pair.given() is not None and pair.given().state >= ONLINE
            if rng.random() < 0.05:
                pair.decide(CANCELLED)
            elif follows or rng.random() < 0.1:
                pair.decide(ORDERED)
        elif pair.state == ORDERED:
            reports = [*pair.a.moves.report(), *(f["moves"][0] for f in pair.a.said)]
            told = any(row["state"] == "yielded" and row["order"] == pair.since for row in reports)
            if told and rng.random() < 0.7:
                pair.decide(FLIPPED, flip=True)
            elif rng.random() < 0.3:
                pair.decide(COPYING)
        elif pair.state == FLIPPED and pair.b.view.epoch >= pair.since:
            pair.decide(CLEANING)

    # -- what must hold -----------------------------------------------------------------------

    def serving(self, slot: int) -> list[Side]:
        """The sides that would carry out a command for a slot."""
        return [
            side for side in (self.pair.a, self.pair.b)
            if side.view.mine[slot] and not side.moves.waiting[slot]
        ]  # fmt: skip

    def check(self) -> None:
        for tag in TAGS:
            slot = key_slot(tag.encode())
            sides = self.serving(slot)
            assert len(sides) < 2, (tag, self.pair.state)
            for side in sides:
                now = side.store.clock.now_ms
                found, wanted = (
                    {
                        k: v for k, v in contents(store.node.keyspace).items()
                        if key_slot(k[1]) == slot and not 0 <= v[1] <= now
                    }
                    for store in (side.store, self.truths[moves(slot)])
                )  # fmt: skip
                assert found == wanted

    def finish(self) -> None:
        """Let the move come to its end, and look at everything."""
        pair = self.pair
        for _ in range(200):
            if pair.state == CLEANING:
                break
            self.coordinate()
            pair.publish()
            if pair.client is None and pair.order() == 0:
                pair.connect()
                self.job_open = False
            if pair.state == COPYING:
                pair.shake_hands()
                if not self.job_open:
                    self.job_open = pair.begin_cut()
                while self.job_open and not pair.cut(100):
                    pass
                self.job_open = False
            pair.settle()
            if pair.client is not None and (pair.client.closing or pair.order() < 0):
                pair.hang_up()
        assert pair.state == CLEANING, (pair.state, pair.given())
        pair.publish()
        pair.hang_up()
        while pair.a.moves.sweep_all(LONG_NS):
            pass
        self.check()
        for slot in (key_slot(tag.encode()) for tag in TAGS):
            assert self.serving(slot) == [pair.b if moves(slot) else pair.a]
        assert not any(moves(key_slot(k[1])) for k in contents(pair.a.node.keyspace))
        for side in (pair.a, pair.b):
            self.check_replay(side)

    def check_replay(self, side: Side) -> None:
        """Replicas and files of a side have what it has."""
        side.node.keyspace.log.flush()
        clock = Clock(0)
        clock.loading = True
        copy = Keyspace(clock, Rng(2), 1)
        for effect in side.store.recorder.effects_seen:
            apply(copy, effect.db, effect.argv)
        assert contents(copy) == contents(side.node.keyspace)


def run(seed: int) -> None:
    history = History(seed)
    for _ in range(400):
        history.step()
        if history.rng.random() < 0.2:
            history.check()
    history.check()
    history.finish()


@pytest.mark.parametrize("seed", range(8))
def test_a_history(seed: int) -> None:
    run(seed)


@pytest.mark.slow
def test_many_histories() -> None:
    for seed in range(100, 160):
        run(seed)


def test_the_keys_are_on_both_sides() -> None:
    assert {moves(key_slot(tag.encode())) for tag in TAGS} == {True, False}

"""A move of slots between two nodes, step by step."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.engine.context import GATE_MOVE
from isthmus.node.moves.give import YIELDED, YIELDING
from isthmus.node.moves.moves import (
    CANCELLED,
    CLEANING,
    COPYING,
    FLIPPED,
    LEAVE_MS,
    ORDERED,
    PATIENCE_MS,
)
from isthmus.wire.slots import SLOTS, key_slot
from tests.moves.sides import LONG_NS, Pair
from tests.persist.holdings import fill
from tests.support.store import contents


def moves(key: bytes) -> bool:
    return key_slot(key) < SLOTS // 2


def names(prefix: str, moving: bool, count: int = 5) -> list[str]:
    """Keys in slots that move, or in slots that stay."""
    found = (f"{prefix}{i}" for i in range(100_000))
    return [name for name in found if moves(name.encode()) == moving][:count]


GOING, STAYING = names("key", True), names("key", False)


@pytest.fixture
def pair() -> Pair:
    found = Pair()
    for name in (*GOING, *STAYING):
        found.a("SET", name, f"value of {name}")
    return found


def only(keyspace: Any, moving: bool) -> dict[Any, Any]:
    return {k: v for k, v in contents(keyspace).items() if moves(k[1]) == moving}


def test_all_kinds_of_values_arrive_as_they_are() -> None:
    pair = Pair(((0, SLOTS - 1),))
    fill(lambda *args: None if args[0] == "SELECT" or args[1:2] == ("elsewhere",) else
         pair.a(*args), True)  # fmt: skip
    pair.copy()
    assert contents(pair.b.node.keyspace) == contents(pair.a.node.keyspace)
    pair.b.store.check_replay()


def test_only_what_moves_is_taken_and_it_is_hidden(pair: Pair) -> None:
    pair.copy()
    assert contents(pair.b.node.keyspace) == only(pair.a.node.keyspace, True)
    b = pair.b
    assert (b("DBSIZE"), b("KEYS", "*"), b("SCAN", 0)[1], b("RANDOMKEY")) == (0, [], [], None)
    slot = key_slot(GOING[0].encode())
    assert b("CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    assert b("CLUSTER", "GETKEYSINSLOT", slot, 10) == []
    assert pair.a("DBSIZE") == len(GOING + STAYING)


def test_what_changes_meanwhile_follows(pair: Pair) -> None:
    pair.copy()
    pair.a("SET", STAYING[0], "other")
    pair.a("DEL", GOING[0])
    pair.a("APPEND", GOING[1], "more")
    pair.a("PEXPIRE", GOING[2], 5000)
    pair.a("MULTI")
    pair.a("HSET", "h" + GOING[3].join("{}"), "f", "v")
    pair.a("SET", GOING[3], "x")
    pair.a("EXEC")
    pair.settle()
    assert contents(pair.b.node.keyspace) == only(pair.a.node.keyspace, True)
    pair.b.store.check_replay()


def test_changes_during_the_cut_are_in_the_stream(pair: Pair) -> None:
    pair.decide(COPYING)
    pair.publish()
    pair.connect()
    pair.shake_hands()
    assert pair.begin_cut()
    pair.a("APPEND", GOING[0], "more")
    pair.a("INCR", "n" + GOING[1].join("{}"))
    while not pair.cut(1):
        pair.a("INCR", "n" + GOING[1].join("{}"))
    pair.settle()
    assert contents(pair.b.node.keyspace) == only(pair.a.node.keyspace, True)


def test_a_flip_from_beginning_to_end(pair: Pair) -> None:
    pair.copy()
    pair.a("SET", GOING[0], "last")
    pair.decide(ORDERED)
    pair.tell(pair.a)
    given = pair.given()
    assert given.state == YIELDING and pair.a.node.ctx.gates & GATE_MOVE
    waiting = pair.a.node.new_client()
    assert pair.a.store.raw("GET", GOING[0], client=waiting) == b""
    assert pair.a("GET", STAYING[0]) == b"value of " + STAYING[0].encode()
    pair.settle()
    # The target has everything, but has not heard of the order.
    assert given.state == YIELDING and given.acked == given.final
    pair.tell(pair.b)
    pair.settle()
    assert given.state == YIELDED
    report = pair.a.said[-1]["moves"][0]
    assert (report["state"], report["order"]) == ("yielded", pair.epoch)

    pair.decide(FLIPPED, flip=True)
    pair.tell(pair.b)
    assert pair.b("GET", GOING[0]) == b"last" and pair.b("DBSIZE") == len(GOING)
    pair.tell(pair.a)
    # Nobody is sent on before the target has hung up, which means that it knows.
    assert pair.a.store.raw("GET", GOING[1], client=pair.a.node.new_client()) == b""
    assert pair.a("DBSIZE") == len(STAYING)
    pair.hang_up()
    assert waiting in pair.a.resumed and not pair.a.node.ctx.gates & GATE_MOVE
    assert pair.a.store.error("GET", GOING[0]).startswith("MOVED")

    pair.decide(CLEANING)
    pair.publish()
    assert pair.a.moves.report()[0]["state"] == "cleaning"
    assert not pair.a.moves.sweep_all(LONG_NS)
    assert pair.a.moves.report()[0]["state"] == "clean"
    assert set(contents(pair.a.node.keyspace)) == {(0, name.encode()) for name in STAYING}
    pair.a.store.check_replay()
    pair.b.store.check_replay()


def yielded(pair: Pair) -> Any:
    pair.copy()
    pair.decide(ORDERED)
    pair.publish()
    pair.settle()
    given = pair.given()
    assert given.state == YIELDED
    return given


def test_a_pledge_outlives_the_connection(pair: Pair) -> None:
    yielded(pair)
    pair.hang_up()
    assert pair.a.store.raw("SET", GOING[0], "x", client=pair.a.node.new_client()) == b""
    assert pair.a.moves.report()[0]["state"] == "yielded"
    # Only a newer word of the coordinator ends it: the order is withdrawn.
    pair.decide(COPYING)
    pair.publish()
    assert pair.a("SET", GOING[0], "x") == b"OK"
    assert pair.a.moves.report() == []


def test_a_pledge_ends_with_the_flip(pair: Pair) -> None:
    yielded(pair)
    pair.hang_up()
    pair.decide(FLIPPED, flip=True)
    pair.publish()
    assert pair.a.store.error("SET", GOING[0], "x").startswith("MOVED")
    assert pair.b("GET", GOING[1]) == f"value of {GOING[1]}".encode()


def test_an_order_that_is_repeated_is_another_order(pair: Pair) -> None:
    given = yielded(pair)
    first = given.order
    pair.decide(COPYING)
    pair.decide(ORDERED)
    pair.publish()
    # What was said under the first order is not said under this one.
    assert given.order == pair.epoch != first and given.state == YIELDING
    pair.settle()
    assert given.state == YIELDED


def test_who_waits_too_long_is_told_to_try_again(pair: Pair) -> None:
    yielded(pair)
    client = pair.a.node.new_client()
    assert pair.a.store.raw("GET", GOING[0], client=client) == b""
    pair.a.store.advance(PATIENCE_MS + 1)
    pair.a.moves.tick()
    assert client in pair.a.resumed
    assert pair.a.store.error("GET", GOING[0]).startswith("TRYAGAIN")


def test_a_source_that_hears_nothing_of_the_target_sends_clients_on_in_the_end(pair: Pair) -> None:
    yielded(pair)
    pair.decide(FLIPPED, flip=True)
    pair.tell(pair.a)
    pair.a.store.advance(LEAVE_MS + 1)
    pair.a.moves.tick()
    assert pair.a.store.error("GET", GOING[0]).startswith("MOVED")
    assert not pair.connected()


def test_what_names_no_key_waits_if_it_may_change_some(pair: Pair) -> None:
    yielded(pair)

    def waits(*args: str) -> bool:
        return pair.a.store.raw(*args, client=pair.a.node.new_client()) == b""

    assert waits("FLUSHALL") and waits("EVAL", "return redis.call('FLUSHALL')", "0")
    assert not waits("DBSIZE") and not waits("PING") and not waits("SCAN", "0")


def test_a_transaction_waits_and_is_redirected_as_a_whole(pair: Pair) -> None:
    pair.copy()
    client = pair.a.node.new_client()
    pair.a("MULTI", client=client)
    pair.a("SET", GOING[0], "x", client=client)
    pair.decide(ORDERED)
    pair.publish()
    assert pair.a.store.raw("EXEC", client=client) == b""
    pair.settle()
    pair.decide(FLIPPED, flip=True)
    pair.publish()
    pair.hang_up()
    client.blocked = client.postponed = None
    assert pair.a.store.raw("EXEC", client=client).startswith(b"-MOVED")
    assert not client.in_multi and pair.a("PING", client=client) == b"PONG"


def test_clients_that_wait_for_keys_are_redirected(pair: Pair) -> None:
    pair.copy()
    client = pair.a.node.new_client()
    tag = GOING[0].join("{}")
    assert pair.a.store.raw("BLPOP", f"list{tag}", 0, client=client) == b""
    pair.decide(ORDERED)
    pair.publish()
    pair.settle()
    pair.decide(FLIPPED, flip=True)
    pair.publish()
    pair.hang_up()
    assert bytes(client.outbox).startswith(b"-MOVED")


def test_a_flush_at_the_source_lets_the_target_begin_anew(pair: Pair) -> None:
    pair.copy()
    pair.a("FLUSHALL")
    pair.a("SET", GOING[0], "new")
    pair.a.moves.turn()
    assert not pair.connected()
    pair.copy()
    assert contents(pair.b.node.keyspace) == only(pair.a.node.keyspace, True)


def test_what_was_fetched_of_a_move_that_is_off_is_deleted(pair: Pair) -> None:
    pair.copy()
    pair.decide(CANCELLED)
    pair.publish()
    assert not pair.connected()
    assert not pair.b.moves.sweep_all(LONG_NS)
    assert contents(pair.b.node.keyspace) == {}
    assert pair.b.moves.report()[0] == {
        "id": "m1", "side": "target", "epoch": 5, "state": "clean", "left": 0,
    }  # fmt: skip
    assert pair.a("GET", GOING[0]) == f"value of {GOING[0]}".encode()


def test_a_sweep_touches_nothing_that_is_shown(pair: Pair) -> None:
    pair.decide(CLEANING)  # an order that makes no sense: the slots are the source's
    pair.publish()
    assert not pair.a.moves.sweep_all(LONG_NS)
    assert pair.a("DBSIZE") == len(GOING + STAYING)


def test_nothing_expires_where_it_is_hidden(pair: Pair) -> None:
    from isthmus.node.engine.expiry import ExpiryCycle

    pair.a("PEXPIRE", GOING[0], 50)
    pair.a("HSET", "h" + GOING[1].join("{}"), "f", "v", "g", "w")
    pair.a("HPEXPIRE", "h" + GOING[1].join("{}"), 50, "FIELDS", 1, "f")
    pair.copy()
    # The target's clock runs ahead.
    pair.b.store.advance(100)
    ExpiryCycle(pair.b.node.keyspace).step(LONG_NS)
    pair.a("PERSIST", GOING[0])
    pair.a("HPERSIST", "h" + GOING[1].join("{}"), "FIELDS", 1, "f")
    pair.settle()
    assert contents(pair.b.node.keyspace) == only(pair.a.node.keyspace, True)


def test_keys_expire_once_they_are_shown(pair: Pair) -> None:
    from isthmus.node.engine.expiry import ExpiryCycle

    pair.a("PEXPIRE", GOING[0], 50)
    pair.copy()
    pair.b.store.advance(100)
    cycle = ExpiryCycle(pair.b.node.keyspace)
    cycle.step(LONG_NS)
    assert pair.b.db.size == len(GOING)
    pair.decide(ORDERED)
    pair.decide(FLIPPED, flip=True)
    pair.publish()
    cycle.step(LONG_NS)
    assert pair.b.db.size == len(GOING) - 1


def test_nobody_is_notified_of_keys_that_move(pair: Pair) -> None:
    listener = pair.b.node.new_client()
    pair.b("CONFIG", "SET", "notify-keyspace-events", "KEA")
    pair.b("PSUBSCRIBE", "*", client=listener)
    pair.copy()
    pair.a("SET", GOING[0], "x")
    pair.settle()
    assert bytes(listener.outbox) == b""


def test_the_target_tells_only_what_its_replica_has(pair: Pair) -> None:
    pair.b.duty.counts = True
    pair.copy()
    assert pair.given().acked == 0 and pair.given().state < YIELDING
    ahead = pair.taker.ahead()  # type: ignore[union-attr]
    assert ahead == pair.b.node.replication.offset > 0
    pair.b.duty.acked = pair.b.node.replication.offset
    pair.decide(ORDERED)
    pair.publish()
    pair.settle()
    assert pair.given().state == YIELDED


def test_a_stranger_gets_nothing(pair: Pair) -> None:
    pair.decide(COPYING)
    pair.publish()
    client = pair.a.node.new_client()
    for facts in (("isthmus-move", "m2"), ("isthmus-node", "c" * 40), ("isthmus-epoch", "4")):
        pair.a("REPLCONF", "isthmus-node", "b" * 40, "isthmus-epoch", "5", client=client)
        pair.a("REPLCONF", "isthmus-move", "m1", client=client)
        pair.a("REPLCONF", *facts, client=client)
        assert pair.a.store.raw("PSYNC", "?", "-1", client=client).startswith(b"-ERR no such move")


def test_a_big_value_comes_in_pieces(pair: Pair) -> None:
    tag = GOING[0].join("{}")
    for start in range(0, 20_000, 1000):
        pair.a("HSET", "h" + tag, *(f"f{i // 2}-{start}" for i in range(2000)))
        pair.a("RPUSH", "l" + tag, *range(start, start + 1000))
        pair.a("ZADD", "z" + tag, *(x for i in range(start, start + 1000) for x in (i / 3, i)))
        pair.a("SADD", "s" + tag, *(f"m{i}" for i in range(start, start + 1000)))
    pair.a("SET", "t" + tag, "x" * 2_000_000)
    pair.a("PEXPIRE", "h" + tag, 100_000)
    before = len(pair.b.store.recorder.effects_seen)
    pair.copy()
    assert contents(pair.b.node.keyspace) == only(pair.a.node.keyspace, True)
    pair.b.store.check_replay()
    effects = pair.b.store.recorder.effects_seen[before:]
    assert max(sum(map(len, effect.argv)) for effect in effects) < 1 << 20

"""The tracking table: bounded, drawn from fairly, empty when nobody tracks, told once."""

from __future__ import annotations

import pytest

from isthmus.node.engine.keyspace import TRACKED
from isthmus.node.engine.tracking import Tracking, overlap
from tests.support.store import Store


def told(store: Store, keys: list[bytes] | None = None) -> bytes:
    data = bytes(store.client.outbox)
    store.client.outbox.clear()
    return data


def invalidation(*keys: bytes) -> bytes:
    body = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in keys)
    return b">2\r\n$10\r\ninvalidate\r\n*%d\r\n%b" % (len(keys), body)


def test_nothing_is_kept_while_nobody_tracks() -> None:
    store = Store(protocol=3)
    tracking: Tracking = store.node.tracking
    log = store.node.keyspace.log
    store("CLIENT", "TRACKING", "ON")
    assert log.interest & TRACKED
    store("MGET", "a", "b")
    assert set(tracking.table) == {b"a", b"b"}
    store("CLIENT", "TRACKING", "OFF")
    assert not log.interest & TRACKED
    assert not tracking.table and not tracking.items
    store("GET", "a")
    assert not tracking.table


def test_the_table_never_outgrows_its_limit() -> None:
    store = Store(protocol=3, tracking_table_max_keys="10")
    tracking: Tracking = store.node.tracking
    other = store.node.new_client()
    store("CLIENT", "TRACKING", "ON")
    for number in range(100):
        store.raw("GET", f"k{number}")
        assert len(tracking.table) == min(number + 1, 10)
        assert tracking.items == len(tracking.table)
        assert sorted(tracking.table) == sorted(tracking._order)
        assert all(tracking._order[at] == key for key, at in tracking._place.items())
    told(store)
    store("SET", next(iter(tracking.table)), "1", client=other)
    assert len(tracking.table) == 9
    assert told(store).startswith(b">2\r\n$10\r\ninvalidate")


def test_a_lower_limit_holds_at_once() -> None:
    store = Store(protocol=3)
    tracking: Tracking = store.node.tracking
    store("CLIENT", "TRACKING", "ON")
    for number in range(100):
        store("GET", f"k{number}")
    store.raw("CONFIG", "SET", "tracking-table-max-keys", "1")
    assert len(tracking.table) == 1


def test_expiry_and_flush_are_told() -> None:
    store = Store(protocol=3)
    other = store.node.new_client()
    store("SET", "a", "1", "PX", "10")
    store("CLIENT", "TRACKING", "ON")
    store("GET", "a")
    store.advance(20)
    store("EXISTS", "a", client=other)
    assert told(store) == invalidation(b"a")
    store("GET", "a")
    store("FLUSHALL", client=other)
    assert told(store) == b">2\r\n$10\r\ninvalidate\r\n_\r\n"
    assert not store.node.tracking.table


def test_broadcasts_of_a_command_come_together() -> None:
    store = Store(protocol=3)
    other = store.node.new_client()
    store("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "k", "PREFIX", "x")
    store("MSET", "kb", "1", "ka", "1", "no", "1", "xa", "1", client=other)
    assert told(store) == invalidation(b"ka", b"kb") + invalidation(b"xa")
    store("SET", "kc", "1", "PX", "5", client=other)
    told(store)
    store.advance(10)
    store.node.ctx.session = None  # type: ignore[assignment]
    assert not store.node.keyspace.databases[0].exists(b"kc")
    store.node.tracking.broadcast()
    assert told(store) == invalidation(b"kc")


def test_a_client_that_left_is_not_told() -> None:
    store = Store(protocol=3)
    tracking: Tracking = store.node.tracking
    gone = store.node.new_client()
    gone.protocol = 3
    store("CLIENT", "TRACKING", "ON")
    store("CLIENT", "TRACKING", "ON", client=gone)
    store("GET", "a", client=gone)
    store("CLIENT", "TRACKING", "ON", "BCAST", client=store.node.new_client())
    store.node.forget_client(gone)
    store("SET", "a", "1")
    assert not gone.outbox
    assert gone not in tracking.clients


def test_overlap() -> None:
    assert overlap(b"", b"a") and overlap(b"ab", b"a") and overlap(b"a", b"a")
    assert not overlap(b"ab", b"ac")


def test_evicted_keys_are_told_before_the_reply() -> None:
    store = Store(protocol=3, maxmemory_policy="allkeys-random")
    store("SET", "a", "1")
    store("CLIENT", "TRACKING", "ON")
    store("GET", "a")
    store("CONFIG", "SET", "maxmemory", "1")
    told(store)
    reply = store.raw("SET", "b", "1")
    assert reply.startswith(invalidation(b"a") + b"-OOM")


@pytest.mark.parametrize("bcast", [(), ("BCAST",)])
def test_what_nobody_did_is_told_in_spite_of_noloop(bcast: tuple[str, ...]) -> None:
    store = Store(protocol=3)
    store("CLIENT", "TRACKING", "ON", "NOLOOP", *bcast)
    store.raw("SET", "k", "v", "PX", 5)
    store.raw("GET", "k")
    assert told(store) == b""
    store.advance(5)
    assert invalidation(b"k") in store.raw("GET", "k") + told(store)
    store.raw("SET", "k", "v")
    store.raw("GET", "k")
    assert told(store) == b""
    store.node.ctx.session = store.client
    store.client.db.evict(b"k")
    store.node.tracking.broadcast()
    store.node.ctx.settle()
    assert told(store) == invalidation(b"k")


def test_who_said_noloop_hears_of_keys_that_the_table_lost() -> None:
    store = Store(protocol=3)
    store("CLIENT", "TRACKING", "ON", "NOLOOP")
    store.raw("MGET", "a", "b")
    shown = store.raw("CONFIG", "SET", "tracking-table-max-keys", "1") + told(store)
    assert any(invalidation(key) in shown for key in (b"a", b"b"))

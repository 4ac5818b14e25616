"""Commands of an AOF on a node: what is done, what is passed over, what is refused."""

from __future__ import annotations

import pytest

from isthmus.node.engine.effect_log import REPLAY, Effect
from isthmus.node.persist.aof_format import NO_DB, encode_batch
from isthmus.node.persist.aof_scan import CLEAN, AofScanner
from isthmus.node.persist.replay import AofReplay, ReplayError
from tests.support.store import START_MS, Store, contents


class Replayed(Store):
    """A store that is filled by an AOF."""

    def __init__(self, *lines: str, **config: str) -> None:
        super().__init__(**config)
        self.replay = AofReplay(self.node)
        self.replay.begin()
        self.replay.begin_file()
        self.play(*lines)

    def play(self, *lines: str) -> None:
        for at, line in enumerate(lines):
            self.replay.run(at, line.encode().split(b" "))

    def refused(self, *words: bytes) -> str:
        with pytest.raises(ReplayError) as caught:
            self.replay.run(77, list(words))
        assert caught.value.offset == 77
        return caught.value.reason


def test_any_form_of_a_command() -> None:
    store = Replayed("set a 1 NX", "InCr a", "Select 2", "LPUSH l x y", "XADD s 5-1 f v")
    store.play("XGROUP create s g 0", "SELECT 0", "OBJECT ENCODING a", "PING")
    store.replay.end()
    assert store("GET", "a") == b"2"
    assert store("SELECT", 2) == b"OK" and store("LRANGE", "l", 0, -1) == [b"y", b"x"]
    assert store.replay.commands == 9 and store.replay.failed == 0
    assert {effect.origin for effect in store.recorder.effects_seen} == {REPLAY}


def test_the_client_beside_it_notices_nothing() -> None:
    store = Replayed()
    node, ctx = store.node, store.node.ctx
    store("MULTI")
    before = (ctx.session, ctx.db, ctx.spec, ctx.gates, ctx.deny_blocking, ctx.commands)
    calls = node.commands[b"set"].calls
    store.play("SELECT 1", "SET a 1", "GET a", "LPUSH a 1")
    assert before == (ctx.session, ctx.db, ctx.spec, ctx.gates, ctx.deny_blocking, ctx.commands)
    assert (node.commands[b"set"].calls, ctx.reply.take()) == (calls, b"")
    assert store("EXEC") == []
    assert set(node.clients) == {store.client.id}
    store.replay.end()


def test_a_transaction_is_done_at_its_end() -> None:
    store = Replayed("MULTI", "SET a 1", "SELECT 1", "SET b 1")
    assert contents(store.node.keyspace) == {}
    store.play("EXEC", "SET c 1")
    store.replay.end()
    assert set(contents(store.node.keyspace)) == {(0, b"a"), (1, b"b"), (1, b"c")}


def test_a_transaction_without_an_end_changes_nothing() -> None:
    store = Replayed("MULTI", "SET a 1")
    store.replay.begin_file()
    store.play("SET b 1", "SELECT 3", "MULTI", "SET c 1")
    assert store.replay.drop_transaction() and not store.replay.drop_transaction()
    store.replay.end()
    assert set(contents(store.node.keyspace)) == {(0, b"b")}


def test_each_file_begins_with_database_0() -> None:
    store = Replayed("SELECT 3", "SET a 1")
    store.replay.begin_file()
    store.play("SET a 1")
    store.replay.end()
    assert set(contents(store.node.keyspace)) == {(3, b"a"), (0, b"a")}


def test_what_is_refused() -> None:
    store = Replayed()
    assert store.refused(b"NOSUCH", b"a") == "unknown command 'NOSUCH'"
    assert store.refused(b"OBJECT", b"NOSUCH", b"a") == "unknown command 'OBJECT NOSUCH'"
    assert store.refused(b"OBJECT") == "unknown command 'OBJECT'"
    assert store.refused(b"\xff" * 100).endswith("...")
    assert store.refused(b"SET", b"a") == "wrong number of arguments for 'set'"
    for index in (b"16", b"-1", b"x", b"99999999999", b"\xb2"):
        assert store.refused(b"SELECT", index).endswith("and there are 16")
    for line in ("SHUTDOWN", "CONFIG SET maxmemory 1", "SUBSCRIBE a", "MONITOR", "DEBUG RELOAD",
                 "CLIENT KILL ID 3", "REPLICAOF a 1", "ACL SETUSER a", "RESET"):  # fmt: skip
        assert store.refused(*line.encode().split()).endswith("does not belong in an AOF"), line
    assert store.refused(b"EXEC") == "EXEC without MULTI"
    store.play("MULTI")
    assert store.refused(b"MULTI") == "MULTI inside MULTI"
    assert store.refused(b"NOSUCH").startswith("unknown command")
    store.replay.end()


def test_errors_are_passed_over_and_counted() -> None:
    store = Replayed("SET a x", "INCR a", "LPUSH a 1", "SET b 1")
    store.replay.end()
    assert store.replay.failed == 2
    assert store.replay.first_failure == (
        1, b"incr", b"ERR value is not an integer or out of range",
    )  # fmt: skip
    assert store("GET", "b") == b"1"


def test_nothing_blocks_and_nothing_is_published() -> None:
    store = Replayed("BLPOP l 0", "BLMOVE l m LEFT RIGHT 0", "XREAD BLOCK 0 STREAMS s $")
    listener = store.node.new_client()
    store("SUBSCRIBE", "news", client=listener)
    store.play("PUBLISH news x", "SPUBLISH news x")
    assert listener.outbox == b""
    store.replay.end()
    assert store.client.blocked is None and not store.node.blocking.clients


def test_maxmemory_and_permissions_are_for_clients() -> None:
    store = Replayed(maxmemory="1", requirepass="secret")
    store.play("SET a 1", "APPEND a 2")
    store.replay.end()
    assert store.node.keyspace.databases[0].lookup(b"a") == b"12"


def test_nothing_expires_while_it_is_loaded() -> None:
    past = START_MS - 1000
    store = Replayed(
        f"SET a 5 PXAT {past}", "INCR a", "SET b 1", f"PEXPIREAT b {past}", "APPEND b 2",
        "HSET h f 1 g 2", f"HPEXPIREAT h {past} FIELDS 1 f", "HINCRBY h f 1", "HSTRLEN h f",
        f"GETEX b PXAT {past}", "RPUSH l 1", f"EXPIREAT l {past // 1000}", "RPUSH l 2",
        "SET k 1", f"PEXPIREAT k {past}", "PERSIST k", f"HPEXPIREAT h {past} FIELDS 1 g",
        "HPERSIST h FIELDS 1 g", "SADD s 1", f"PEXPIREAT s {past}", "RENAME s t", "COPY t u",
    )  # fmt: skip
    held = contents(store.node.keyspace)
    assert held[0, b"a"] == (b"6", past)
    assert held[0, b"b"] == (b"12", past)
    assert held[0, b"l"][1] == past // 1000 * 1000 and held[0, b"t"] == held[0, b"u"]
    hash_ = store.node.keyspace.databases[0].lookup(b"h")
    assert {field: hash_.expiry(field) for field in (b"f", b"g")} == {b"f": past, b"g": -1}
    assert store.node.keyspace.expired_keys == 0
    # Then it does.
    store.replay.end()
    assert store("EXISTS", "a", "b", "l", "t", "u", "k") == 1
    assert store("HGETALL", "h") == [b"g", b"2"]


def test_relative_times_count_from_now() -> None:
    store = Replayed("SET a 1 EX 10", "SET b 1", "PEXPIRE b 10")
    store.replay.end()
    assert (store("PTTL", "a"), store("PTTL", "b")) == (10_000, 10)


def test_delivery_times_stay() -> None:
    when = START_MS - 5000
    claim = f"XCLAIM s g me 0 5-1 TIME {when} RETRYCOUNT 3 FORCE JUSTID LASTID 5-1"
    store = Replayed("XADD s 5-1 f v", "XGROUP CREATE s g 0", claim)
    store.replay.end()
    assert store("XPENDING", "s", "g", "-", "+", 9) == [[b"5-1", b"me", 5000, 3]]


def test_scripts_and_libraries() -> None:
    store = Replayed()
    code = (
        b"#!lua name=lib\n"
        b"redis.register_function('f', function(k) return redis.call('INCR', k[1]) end)"
    )
    store.node.scripts.stage.may_pause = True
    store.node.scripts.stage.slice_ns = 0
    store.replay.begin()
    store.replay.run(0, [b"FUNCTION", b"LOAD", b"REPLACE", code])
    store.replay.run(1, [b"FCALL", b"f", b"1", b"n"])
    loop = b"for i = 1, 5000 do redis.call('INCR', KEYS[1]) end"
    store.replay.run(2, [b"EVAL", loop, b"1", b"n"])
    store.play("MULTI", "FCALL f 1 n", "EXEC", "SCRIPT FLUSH")
    store.replay.end()
    assert store.node.scripts.stage.may_pause
    assert store.replay.failed == 0
    assert store("GET", "n") == b"5002"


def test_every_effect_of_a_store_comes_back() -> None:
    """What the encoder writes is what the command layer makes again."""
    store = Store()
    for line in ("SET a 1 PX 5000", "INCRBYFLOAT a 1.5", "RPUSH l a b c", "LREM l 1 b",
                 "HSET h f v", "HPEXPIRE h 700 FIELDS 1 f", "ZADD z 1.5 m", "ZINCRBY z 1 m",
                 "XADD s 1-1 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >",
                 "SADD t 1 2 3", "SPOP t", "PFADD p a b", "SETBIT b 7 1", "SELECT 3", "SET o 1",
                 "MOVE o 0", "SWAPDB 0 3", "COPY t u", "SELECT 3", "SETRANGE a 2 xx"):  # fmt: skip
        assert not isinstance(store.run(line), Exception), line
    data, db = b"", NO_DB
    seen: list[Effect] = store.recorder.effects_seen
    for effect in seen:
        more, db = encode_batch([effect], db)
        data += more
    again = Replayed()
    scanner = AofScanner(data)
    for offset, argv in scanner:
        again.replay.run(offset, argv)
    again.replay.end()
    assert scanner.end is not None and scanner.end.kind == CLEAN
    assert again.replay.first_failure is None
    assert contents(again.node.keyspace) == contents(store.node.keyspace)

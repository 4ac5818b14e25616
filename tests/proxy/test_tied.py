"""What is tied to one client, through the proxy: transactions, waiting, subscriptions."""

from __future__ import annotations

import pytest

from isthmus.wire.slots import key_slot
from tests.proxy.world import Caller, World, resp


def test_a_transaction_is_one(caller: Caller) -> None:
    assert caller.ask(b"MULTI") == b"+OK\r\n"
    assert caller.ask(b"SET", b"{t}a", b"1") == b"+QUEUED\r\n"
    assert caller.ask(b"INCR", b"{t}a") == b"+QUEUED\r\n"
    assert caller.ask(b"LPUSH", b"{t}a", b"x") == b"+QUEUED\r\n"
    assert caller.ask(b"PING") == b"+QUEUED\r\n"
    reply = caller.ask(b"EXEC")
    assert reply.startswith(b"*4\r\n+OK\r\n:2\r\n-WRONGTYPE ") and reply.endswith(b"+PONG\r\n")
    assert caller.ask(b"GET", b"{t}a") == b"$1\r\n2\r\n"


def test_a_pipelined_transaction_keeps_its_place(caller: Caller) -> None:
    requests = [resp(b"SET", b"x", b"0"), resp(b"MULTI"), resp(b"INCR", b"k"), resp(b"INCR", b"k"),
                resp(b"EXEC"), resp(b"GET", b"k"), resp(b"GET", b"x")]  # fmt: skip
    caller.send(*requests)
    assert caller.received() == (
        b"+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n$1\r\n2\r\n$1\r\n0\r\n"
    )


def test_an_empty_transaction(caller: Caller) -> None:
    assert caller.ask(b"MULTI") == b"+OK\r\n"
    assert caller.ask(b"MULTI") == b"-ERR MULTI calls can not be nested\r\n"
    assert caller.ask(b"EXEC") == b"*0\r\n"
    assert caller.ask(b"EXEC") == b"-ERR EXEC without MULTI\r\n"
    assert caller.ask(b"DISCARD") == b"-ERR DISCARD without MULTI\r\n"


@pytest.mark.parametrize(
    "bad",
    [
        (b"NOSUCH",),
        (b"GET",),
        (b"CLIENT", b"NOSUCH"),
        (b"DBSIZE",),
        (b"MSET", b"a", b"1", b"b", b"2"),
    ],
)
def test_what_cannot_be_queued_ends_it(world: World, bad: tuple[bytes, ...]) -> None:
    caller = world.caller()
    caller.ask(b"MULTI")
    assert caller.ask(b"SET", b"k", b"v") == b"+QUEUED\r\n"
    assert caller.ask(*bad).startswith(b"-")
    assert caller.ask(b"EXEC").startswith(b"-EXECABORT ")
    assert caller.ask(b"GET", b"k") == b"$-1\r\n"


def test_discard(caller: Caller) -> None:
    caller.ask(b"MULTI")
    caller.ask(b"SET", b"k", b"v")
    assert caller.ask(b"DISCARD") == b"+OK\r\n"
    assert caller.ask(b"GET", b"k") == b"$-1\r\n"


def test_watch(world: World) -> None:
    one, two = world.caller(), world.caller()
    for changed, expected in ((False, b"*1\r\n+OK\r\n"), (True, b"*-1\r\n")):
        assert one.ask(b"WATCH", b"k") == b"+OK\r\n"
        if changed:
            assert two.ask(b"SET", b"k", b"other") == b"+OK\r\n"
        one.ask(b"MULTI")
        assert one.ask(b"WATCH", b"k") == b"-ERR WATCH inside MULTI is not allowed\r\n"
        assert one.ask(b"SET", b"k", b"mine") == b"+QUEUED\r\n"
        assert one.ask(b"EXEC") == expected
    assert two.ask(b"GET", b"k") == b"$5\r\nother\r\n"
    one.ask(b"WATCH", b"k")
    two.ask(b"SET", b"k", b"again")
    assert one.ask(b"UNWATCH") == b"+OK\r\n"
    one.ask(b"MULTI")
    one.ask(b"PING")
    assert one.ask(b"EXEC") == b"*1\r\n+PONG\r\n"


def test_a_lost_watch_counts_as_changed(alone: World) -> None:
    one = alone.caller()
    assert one.ask(b"WATCH", b"k") == b"+OK\r\n"
    alone.pump.close(one.session.watch_line.link)
    alone.turn()
    one.ask(b"MULTI")
    one.ask(b"SET", b"k", b"v")
    assert one.ask(b"EXEC") == b"*-1\r\n"


def test_a_watched_slot_that_moves_counts_as_changed(world: World) -> None:
    if len(world.proxy.router.shards) == 1:
        return
    one = world.caller()
    slots = world.proxy.router.slots
    slot = key_slot(b"k")
    before = slots[slot]
    other = next(b for b in world.proxy.router.shards if b is not before)
    for again in (False, True):
        assert one.ask(b"WATCH", b"k") == b"+OK\r\n"
        slots[slot] = other
        if again:
            assert one.ask(b"WATCH", b"k") == b"+OK\r\n"
        one.ask(b"MULTI")
        one.ask(b"SET", b"k", b"v")
        assert one.ask(b"EXEC") == b"*-1\r\n"
        slots[slot] = before
    assert one.ask(b"GET", b"k") == b"$-1\r\n"


def test_waiting_for_an_element(world: World) -> None:
    one, two = world.caller(), world.caller()
    one.send(resp(b"BLPOP", b"q", b"0"), resp(b"PING"))
    assert one.received() == b""
    assert two.ask(b"RPUSH", b"q", b"a", b"b") == b":2\r\n"
    assert one.received() == b"*2\r\n$1\r\nq\r\n$1\r\na\r\n+PONG\r\n"
    assert one.ask(b"BLPOP", b"q", b"0") == b"*2\r\n$1\r\nq\r\n$1\r\nb\r\n"
    assert one.ask(b"BLPOP", b"a{1}", b"b{2}", b"0").startswith(b"-CROSSSLOT ")
    assert one.ask(b"BLPOP", b"q", b"x").startswith(b"-ERR timeout is not a float")


def test_a_client_that_left_takes_nothing(world: World) -> None:
    one, two = world.caller(), world.caller()
    one.send(resp(b"BLPOP", b"q", b"0"))
    one.socket.close()
    world.turn()
    assert two.ask(b"RPUSH", b"q", b"a") == b":1\r\n"
    assert two.ask(b"LLEN", b"q") == b":1\r\n"


def test_lines_are_used_again(alone: World) -> None:
    one = alone.caller()
    for _ in range(5):
        one.ask(b"MULTI")
        one.ask(b"INCR", b"n")
        one.ask(b"EXEC")
    real = next(iter(alone.nodes.values()))
    # The shared link, its session, and one line.
    assert len(real.node.clients) <= 3
    assert one.ask(b"GET", b"n") == b"$1\r\n5\r\n"


def test_streams_wait_only_if_asked(world: World) -> None:
    one, two = world.caller(), world.caller()
    assert one.ask(b"XREAD", b"STREAMS", b"s", b"$") == b"*-1\r\n"
    one.send(resp(b"XREAD", b"BLOCK", b"0", b"STREAMS", b"s", b"$"))
    assert two.ask(b"XADD", b"s", b"1-1", b"f", b"v") == b"$3\r\n1-1\r\n"
    assert b"1-1" in one.received()


def test_subscriptions_in_resp2(alone: World) -> None:
    one, two = alone.caller(), alone.caller()
    assert one.ask(b"SUBSCRIBE", b"a", b"b").endswith(b":2\r\n")
    assert one.ask(b"PSUBSCRIBE", b"c*") == b"*3\r\n$10\r\npsubscribe\r\n$2\r\nc*\r\n:3\r\n"
    assert one.ask(b"GET", b"k").startswith(b"-ERR Can't execute 'get': only ")
    assert one.ask(b"PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    assert two.ask(b"PUBLISH", b"a", b"hello") == b":1\r\n"
    assert one.received() == b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"
    assert two.ask(b"PUBLISH", b"cat", b"x") == b":1\r\n"
    assert one.received().startswith(b"*4\r\n$8\r\npmessage\r\n")
    assert two.ask(b"PUBSUB", b"NUMSUB", b"a") == b"*2\r\n$1\r\na\r\n:1\r\n"
    assert one.ask(b"UNSUBSCRIBE").count(b"unsubscribe") == 2
    assert one.ask(b"PUNSUBSCRIBE", b"c*").endswith(b":0\r\n")
    assert one.ask(b"GET", b"k") == b"$-1\r\n"
    one.socket.close()
    alone.turn()
    assert two.ask(b"PUBLISH", b"a", b"nobody") == b":0\r\n"


def test_subscriptions_in_resp3(alone: World) -> None:
    one, two = alone.caller(), alone.caller()
    one.ask(b"HELLO", b"3")
    assert one.ask(b"SUBSCRIBE", b"a") == b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    assert one.ask(b"SET", b"k", b"v") == b"+OK\r\n"
    assert two.ask(b"PUBLISH", b"a", b"m") == b":1\r\n"
    assert one.received() == b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n"
    assert one.ask(b"RESET") == b"+RESET\r\n"
    assert two.ask(b"PUBLISH", b"a", b"m") == b":0\r\n"


def test_subscriptions_are_confirmed_in_silence(alone: World) -> None:
    one, two = alone.caller(), alone.caller()
    one.ask(b"HELLO", b"3")
    assert one.ask(b"CLIENT", b"REPLY", b"OFF") == b""
    assert one.ask(b"SUBSCRIBE", b"a") == b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    assert two.ask(b"PUBLISH", b"a", b"m") == b":1\r\n"
    assert one.received() == b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n"
    assert one.ask(b"GET", b"k") == b""
    assert one.ask(b"UNSUBSCRIBE", b"a").startswith(b">3\r\n$11\r\nunsubscribe\r\n")


def test_shard_channels(world: World) -> None:
    one, two = world.caller(), world.caller()
    one.ask(b"HELLO", b"3")
    for channel in (b"x{1}", b"x{2}", b"x{3}"):
        assert one.ask(b"SSUBSCRIBE", channel).startswith(b">3\r\n$10\r\nssubscribe\r\n")
        assert two.ask(b"SPUBLISH", channel, b"m") == b":1\r\n"
        assert one.received() == b">3\r\n$8\r\nsmessage\r\n$4\r\n" + channel + b"\r\n$1\r\nm\r\n"
    assert one.ask(b"SSUBSCRIBE", b"x{1}", b"x{2}").startswith(b"-CROSSSLOT ")


def test_a_subscriber_whose_node_is_lost_is_told_by_its_end(alone: World) -> None:
    one = alone.caller()
    one.ask(b"SUBSCRIBE", b"a")
    alone.pump.close(one.session.feed.link)
    alone.turn()
    one.received()
    assert one.closed


def test_scripts_run_where_their_keys_are(world: World) -> None:
    one = world.caller()
    assert one.ask(b"EVAL", b"return 1", b"0") == b":1\r\n"
    script = b"redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])"
    assert one.ask(b"EVAL", script, b"1", b"k", b"v") == b"$1\r\nv\r\n"
    digest = one.ask(b"SCRIPT", b"LOAD", script)[5:-2]
    assert one.ask(b"SCRIPT", b"EXISTS", digest, b"0" * 40) == b"*2\r\n:1\r\n:0\r\n"
    for key in (b"a", b"b", b"c"):
        assert one.ask(b"EVALSHA", digest, b"1", key, b"w") == b"$1\r\nw\r\n"
    assert one.ask(b"EVAL", script, b"2", b"a", b"b").startswith(b"-CROSSSLOT ")
    assert one.ask(b"SCRIPT", b"FLUSH") == b"+OK\r\n"
    assert one.ask(b"SCRIPT", b"KILL").startswith(b"-NOTBUSY ")

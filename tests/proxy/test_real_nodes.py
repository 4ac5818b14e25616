"""Commands through the proxy to real nodes in this process: what clients see is one Redis."""

from __future__ import annotations

import pytest

from tests.proxy.world import Caller, Make, World, resp
from tests.wire.hostile import VECTORS, Vector


def bulks(*values: bytes | None) -> bytes:
    parts = [b"$-1\r\n" if v is None else b"$%d\r\n%b\r\n" % (len(v), v) for v in values]
    return b"*%d\r\n" % len(values) + b"".join(parts)


def test_plain_commands(caller: Caller) -> None:
    assert caller.ask(b"SET", b"k", b"v") == b"+OK\r\n"
    assert caller.ask(b"get", b"k") == b"$1\r\nv\r\n"
    assert caller.ask(b"GeT", b"absent") == b"$-1\r\n"
    assert caller.ask(b"INCR", b"n") == b":1\r\n"
    assert caller.ask(b"LPUSH", b"n", b"x").startswith(b"-WRONGTYPE ")


def test_the_six(caller: Caller) -> None:
    pairs = [b"a", b"1", b"b", b"2", b"c", b"3", b"d", b"4"]
    assert caller.ask(b"MSET", *pairs) == b"+OK\r\n"
    assert caller.ask(b"MGET", b"d", b"a", b"x", b"c", b"b") == bulks(b"4", b"1", None, b"3", b"2")
    assert caller.ask(b"EXISTS", b"a", b"b", b"x", b"a") == b":3\r\n"
    assert caller.ask(b"TOUCH", b"a", b"b", b"x") == b":2\r\n"
    assert caller.ask(b"DEL", b"a", b"x", b"b") == b":2\r\n"
    assert caller.ask(b"UNLINK", b"c", b"d", b"a") == b":2\r\n"
    assert caller.ask(b"MSET", b"a", b"1", b"b") == (
        b"-ERR wrong number of arguments for 'mset' command\r\n"
    )


def test_mget_in_protocol_3(caller: Caller) -> None:
    assert caller.ask(b"HELLO", b"3").startswith(b"%7\r\n")
    caller.ask(b"SET", b"a", b"\r\n$1\r\n")
    assert caller.ask(b"MGET", b"b", b"a", b"c") == b"*3\r\n_\r\n$6\r\n\r\n$1\r\n\r\n_\r\n"


def test_commands_on_all_shards(world: World, caller: Caller) -> None:
    names = [b"key:%d" % i for i in range(40)]
    for name in names:
        caller.ask(b"SET", name, b"v")
    assert caller.ask(b"DBSIZE") == b":40\r\n"
    found = caller.ask(b"KEYS", b"*").split(b"\r\n")
    assert found[0] == b"*40"
    assert sorted(found[2::2]) == sorted(names)
    assert caller.ask(b"RANDOMKEY").split(b"\r\n")[1] in names
    assert caller.ask(b"FLUSHALL") == b"+OK\r\n"
    assert caller.ask(b"DBSIZE") == b":0\r\n"
    assert caller.ask(b"RANDOMKEY") == b"$-1\r\n"


def test_scan_walks_every_shard(caller: Caller) -> None:
    names = {b"key:%d" % i for i in range(60)}
    for name in names:
        caller.ask(b"SET", name, b"v")
    cursor, seen, steps = b"0", set(), 0
    while True:
        parts = caller.ask(b"SCAN", cursor, b"COUNT", b"7").split(b"\r\n")
        cursor = parts[2]
        seen |= set(parts[5:-1:2])
        steps += 1
        if cursor == b"0":
            break
    assert seen == names
    assert steps > 3
    assert caller.ask(b"SCAN", b"x") == b"-ERR invalid cursor\r\n"


def test_cross_slot(make_world: Make) -> None:
    world = make_world(2)
    world.reals()
    caller = world.caller()
    assert caller.ask(b"RENAME", b"a", b"b").startswith(b"-CROSSSLOT ")
    assert caller.ask(b"SET", b"{t}a", b"1") == b"+OK\r\n"
    assert caller.ask(b"RENAME", b"{t}a", b"{t}b") == b"+OK\r\n"


def test_pipelines_of_everything_stay_in_order(world: World, caller: Caller) -> None:
    requests, expected = [], []
    for i in range(200):
        key = b"k%d" % i
        requests += [resp(b"SET", key, b"%d" % i), resp(b"PING"), resp(b"MGET", key, b"none")]
        requests += [b"GET " + key + b"\r\n", resp(b"NOSUCH"), resp(b"ECHO", key)]
        number = b"%d" % i
        expected += [b"+OK\r\n", b"+PONG\r\n", bulks(number, None)]
        expected += [b"$%d\r\n%b\r\n" % (len(number), number)]
        expected += [b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n"]
        expected += [b"$%d\r\n%b\r\n" % (len(key), key)]
    caller.send(b"".join(requests))
    assert caller.received() == b"".join(expected)
    assert caller.session.waiting == 0


def test_any_node_answers(caller: Caller) -> None:
    assert caller.ask(b"COMMAND", b"COUNT").startswith(b":")
    assert caller.ask(b"CONFIG", b"GET", b"save").startswith(b"*2\r\n$4\r\nsave\r\n")
    assert caller.ask(b"COMMAND", b"GETKEYS", b"SET", b"k", b"v") == bulks(b"k")


def test_a_value_of_several_megabytes(caller: Caller) -> None:
    value = bytes(range(256)) * 4096 * 3
    request = resp(b"SET", b"k", value)
    for at in range(0, len(request), 65536):
        caller.send(request[at : at + 65536])
    assert caller.received() == b"+OK\r\n"
    caller.send(resp(b"GET", b"k"))
    found = bytearray()
    while piece := caller.received():
        found += piece
        caller.world.turn()
    assert found == b"$%d\r\n%b\r\n" % (len(value), value)


def test_nodes_want_the_password(make_world: Make) -> None:
    world = make_world(2, password=b"secret")
    world.reals("secret")
    caller = world.caller()
    assert caller.ask(b"GET", b"k") == b"-NOAUTH Authentication required.\r\n"
    assert caller.ask(b"AUTH", b"wrong").startswith(b"-WRONGPASS ")
    assert caller.ask(b"AUTH", b"secret") == b"+OK\r\n"
    assert caller.ask(b"SET", b"k", b"v") == b"+OK\r\n"


def test_a_wrong_password_makes_no_link(make_world: Make) -> None:
    world = make_world(1, password=b"other")
    (node,) = world.reals("secret")
    assert not node.link.up
    assert "wrong password" in node.link.problem


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
@pytest.mark.parametrize("step", [1000000, 7])
def test_hostile_input(make_world: Make, vector: Vector, step: int) -> None:
    """The error is Redis', it comes behind the replies to what was good, and then the end."""
    if step == 7 and len(vector.data) > 20000:
        pytest.skip("too long to feed in small pieces")
    world = make_world(2, password=b"" if vector.authenticated else b"secret")
    world.reals("" if vector.authenticated else "secret")
    caller = world.caller()
    for at in range(0, len(vector.data), step):
        caller.send(vector.data[at : at + step])
    data = caller.received()
    if vector.error is not None:
        shown = vector.error.replace(b"\r", b" ").replace(b"\n", b" ")
        assert data.endswith(b"-ERR Protocol error: " + shown + b"\r\n")
        caller.received()
        assert caller.closed
    else:
        assert not caller.closed
        assert vector.waits or data or not vector.requests
    assert world.caller().ask(b"PING") == (
        b"+PONG\r\n" if vector.authenticated else b"-NOAUTH Authentication required.\r\n"
    )

"""What concerns servers and not keys, through the proxy: all shards together look like one Redis.

Where a reply's shape is what matters, a node is asked the same.
"""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.proxy.servers import histogram, history, latest, read, slow_calls
from tests.proxy.world import Caller, Make, RealNode, World, resp


def nodes(world: World) -> list[RealNode]:
    return list(world.nodes.values())


def value(caller: Caller, *argv: bytes) -> Any:
    """The reply in protocol 3 as a value; an error as its text."""
    caller.ask(b"HELLO", b"3")
    data = caller.ask(*argv)
    return data[1:-2] if data[:1] == b"-" else read(data)


def of_node(world: World, protocol: int, *argv: bytes) -> bytes:
    """What the first node replies."""
    backend = world.proxy.router.shards[0]
    ends: list[bytes] = []

    class End:
        def add(self, part: Any, data: bytes) -> None:
            part.gather = None
            ends.append(data)

    from isthmus.proxy.pending import Pending

    part = Pending()
    part.gather = End()
    part.argv = list(argv)
    part.backend = backend
    part.protocol = protocol
    part.route = world.proxy.routes[b"ping"]
    world.proxy.router.submit(part, None)
    world.turn()
    return ends[0]


SAME = [
    (b"ROLE",),
    (b"ACL", b"WHOAMI"),
    (b"ACL", b"CAT"),
    (b"ACL", b"CAT", b"string"),
    (b"ACL", b"CAT", b"nosuch"),
    (b"ACL", b"GENPASS", b"x"),
    (b"MODULE", b"LIST"),
    (b"CLIENT", b"TRACKINGINFO"),
    (b"CLIENT", b"GETREDIR"),
    (b"CLIENT", b"TRACKING", b"OFF"),
    (b"CLIENT", b"TRACKING", b"OFF", b"NOSUCH"),
    (b"CLIENT", b"TRACKING", b"NOSUCH"),
    (b"CLIENT", b"CACHING", b"YES"),
    (b"CLIENT", b"UNBLOCK", b"9999999"),
    (b"CLIENT", b"UNBLOCK", b"x"),
    (b"CLIENT", b"UNBLOCK", b"1", b"x"),
    (b"CLIENT", b"UNBLOCK", b"1", b"error", b"x"),
    (b"CONFIG", b"RESETSTAT"),
    (b"CONFIG", b"SET", b"nosuch", b"1"),
    (b"CONFIG", b"SET", b"maxmemory", b"x"),
    (b"CONFIG", b"SET", b"maxmemory"),
    (b"CONFIG", b"SET", b"maxmemory", b"1gb", b"hz"),
    (b"SLOWLOG", b"RESET"),
    (b"SLOWLOG", b"LEN"),
    (b"SLOWLOG", b"GET"),
    (b"SLOWLOG", b"GET", b"-2"),
    (b"SLOWLOG", b"GET", b"1", b"2"),
    (b"LATENCY", b"RESET"),
    (b"LATENCY", b"LATEST"),
    (b"LATENCY", b"HISTORY", b"command"),
    (b"LATENCY", b"HISTOGRAM", b"getrange"),
    (b"LATENCY", b"GRAPH", b"nosuch"),
    (b"LATENCY", b"DOCTOR"),
    (b"MEMORY", b"DOCTOR"),
    (b"MEMORY", b"MALLOC-STATS"),
    (b"MEMORY", b"PURGE"),
    (b"WAIT", b"x", b"0"),
    (b"WAIT", b"0", b"-1"),
    (b"WAIT", b"0", b"0"),
    (b"WAIT", b"1", b"x"),
    (b"WAITAOF", b"2", b"0", b"0"),
    (b"WAITAOF", b"0", b"0", b"0"),
]


@pytest.mark.parametrize("argv", SAME, ids=lambda argv: b" ".join(argv).decode())
@pytest.mark.parametrize("protocol", [2, 3])
def test_the_reply_is_a_nodes(world: World, argv: tuple[bytes, ...], protocol: int) -> None:
    caller = world.caller()
    caller.ask(b"HELLO", b"%d" % protocol)
    assert caller.ask(*argv) == of_node(world, protocol, *argv)


def test_settings_go_to_every_shard(world: World, caller: Caller) -> None:
    assert caller.ask(b"CONFIG", b"SET", b"maxmemory", b"64mb", b"hz", b"50") == b"+OK\r\n"
    assert [real.node.config.integer("maxmemory") for real in nodes(world)] == [64 << 20] * len(
        world.nodes
    )
    reply = caller.ask(b"CONFIG", b"SET", b"hz", b"20", b"maxmemory", b"x")
    assert reply.startswith(b"-ERR CONFIG SET failed (possibly related to argument 'maxmemory')")
    assert {real.node.config.integer("hz") for real in nodes(world)} == {50}


def test_settings_that_links_rest_on_are_not_for_clients(world: World, caller: Caller) -> None:
    assert caller.ask(b"CONFIG", b"SET", b"hz", b"20", b"RequirePass", b"x") == (
        b"-ERR CONFIG SET failed (possibly related to argument 'requirepass') - "
        b"it cannot be set through the proxy\r\n"
    )
    assert {real.node.config.integer("hz") for real in nodes(world)} != {20}


def test_counters_start_anew(world: World, caller: Caller) -> None:
    caller.ask(b"NOSUCH")
    caller.ask(b"SET", b"k", b"v")
    assert caller.ask(b"CONFIG", b"RESETSTAT") == b"+OK\r\n"
    text = caller.ask(b"INFO", b"stats")
    assert b"total_error_replies:0\r\n" in text
    assert b"total_commands_processed:1\r\n" in text
    assert all(real.node.ctx.error_replies == 0 for real in nodes(world))
    assert world.proxy.routes[b"set"].calls == 0


def test_the_slow_log_is_that_of_all_shards(world: World, caller: Caller) -> None:
    for at, real in enumerate(nodes(world)):
        for second in (10, 20):
            at_s = second + at
            real.node.slowlog.note(b"get", [b"GET", b"%d" % at_s], 99999, at_s, b"a", b"n")
    count = 2 * len(world.nodes)
    assert caller.ask(b"SLOWLOG", b"LEN") == b":%d\r\n" % count
    entries = value(caller, b"SLOWLOG", b"GET", b"-1")
    times = [entry[1] for entry in entries]
    assert times == sorted(times, reverse=True) and len(times) == count
    assert len({entry[0] for entry in entries}) == count
    assert entries[0][2:] == [99999, [b"GET", b"%d" % times[0]], b"a", b"n"]
    assert value(caller, b"SLOWLOG", b"GET", b"1") == entries[:1]
    assert value(caller, b"SLOWLOG", b"GET", b"0") == []
    assert caller.ask(b"SLOWLOG", b"RESET") == b"+OK\r\n"
    assert caller.ask(b"SLOWLOG", b"LEN") == b":0\r\n"


def test_the_slow_log_shows_ten_unless_asked_for_more() -> None:
    shard = [[number, 100 - number, 1, [], b"", b""] for number in range(10)]
    assert len(slow_calls([b"SLOWLOG", b"GET"], [shard, shard])) == 10
    assert len(slow_calls([b"SLOWLOG", b"GET", b"15"], [shard, shard])) == 15


def test_spikes_of_all_shards(world: World, caller: Caller) -> None:
    caller.ask(b"CONFIG", b"SET", b"latency-monitor-threshold", b"1")
    reals = nodes(world)
    for at, real in enumerate(reals):
        real.node.latency.sample(b"command", 10 + at)
    now_s = 1_700_000_000
    worst = 9 + len(reals)
    assert value(caller, b"LATENCY", b"LATEST") == [[b"command", now_s, worst, worst]]
    assert value(caller, b"LATENCY", b"HISTORY", b"command") == [[now_s, worst]]
    assert caller.ask(b"LATENCY", b"GRAPH", b"command").count(b"all time high") == len(reals)
    assert b"command: 1 spikes" in caller.ask(b"LATENCY", b"DOCTOR")
    assert caller.ask(b"LATENCY", b"RESET", b"command") == b":%d\r\n" % len(reals)
    assert value(caller, b"LATENCY", b"LATEST") == []


def test_spikes_are_merged_by_time() -> None:
    one, two = [[b"a", 10, 5, 50], [b"b", 9, 1, 1]], [[b"a", 11, 4, 8]]
    assert latest([], [one, two]) == [[b"a", 11, 4, 50], [b"b", 9, 1, 1]]
    assert history([], [[[1, 5], [3, 5]], [[1, 9], [2, 1]]]) == [[1, 9], [2, 1], [3, 5]]


def test_histograms_are_added(world: World, caller: Caller) -> None:
    for i in range(30):
        caller.ask(b"SETRANGE", b"key:%d" % i, b"0", b"v")
    caller.ask(b"CONFIG", b"RESETSTAT")
    assert value(caller, b"LATENCY", b"HISTOGRAM", b"setrange") == {}
    for i in range(30):
        caller.ask(b"SETRANGE", b"key:%d" % i, b"0", b"v")
    found = value(caller, b"LATENCY", b"HISTOGRAM", b"setrange")[b"setrange"]
    # Nodes of one process count their calls together.
    assert found[b"calls"] == 30 * len(world.nodes)
    assert max(found[b"histogram_usec"].values()) == found[b"calls"]


def test_histograms_with_different_bounds() -> None:
    one = {b"get": {b"calls": 3, b"histogram_usec": {1: 2, 4: 3}}}
    two = {b"get": {b"calls": 5, b"histogram_usec": {2: 1, 8: 5}}}
    assert histogram([], [one, two]) == {
        b"get": {b"calls": 8, b"histogram_usec": {1: 2, 2: 3, 4: 4, 8: 8}}
    }


def test_memory_is_that_of_all_shards(world: World, caller: Caller) -> None:
    for i in range(20):
        caller.ask(b"SET", b"key:%d" % i, b"v" * 100)
    found = value(caller, b"MEMORY", b"STATS")
    alone = read(of_node(world, 3, b"MEMORY", b"STATS"))
    assert list(found) == list(alone)
    assert {name: type(it) for name, it in found.items()} == {
        name: type(it) for name, it in alone.items()
    }
    assert found[b"keys.count"] == 20
    assert found[b"total.allocated"] >= alone[b"total.allocated"]
    assert found[b"fragmentation"] == pytest.approx(
        found[b"allocator.resident"] / found[b"total.allocated"], rel=0.01
    )
    caller.ask(b"HELLO", b"2")
    assert caller.ask(b"MEMORY", b"STATS").startswith(b"*%d\r\n" % (2 * len(alone)))


def test_the_last_save_is_the_oldest(world: World, caller: Caller) -> None:
    reals = nodes(world)
    for at, real in enumerate(reals):
        real.node.started_ms = (100 + at) * 1000
    assert caller.ask(b"LASTSAVE") == b":100\r\n"


@pytest.mark.slow
def test_pfselftest(caller: Caller) -> None:
    assert caller.ask(b"PFSELFTEST") == b"+OK\r\n"


def test_one_database_cannot_be_swapped(caller: Caller) -> None:
    assert caller.ask(b"SWAPDB", b"0", b"0") == b"+OK\r\n"
    assert caller.ask(b"SWAPDB", b"0", b"1") == b"-ERR DB index is out of range\r\n"
    assert caller.ask(b"SWAPDB", b"x", b"1") == b"-ERR invalid first DB index\r\n"
    assert caller.ask(b"SWAPDB", b"0", b"99999999999") == b"-ERR invalid second DB index\r\n"


def test_tracking_is_refused_with_a_reason(caller: Caller) -> None:
    assert caller.ask(b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", b"a") == (
        b"-ERR client-side caching is not available through the proxy\r\n"
    )


def test_a_client_is_shown_with_every_field_of_a_nodes(caller: Caller) -> None:
    caller.ask(b"MULTI")
    other = caller.world.caller()
    mine = other.ask(b"CLIENT", b"LIST", b"ID", b"%d" % caller.session.id)
    assert b" flags=x " in mine and b" multi=0 " in mine
    theirs = of_node(caller.world, 2, b"CLIENT", b"INFO")
    fields = [[word.split(b"=")[0] for word in line.split()] for line in (mine, theirs)]
    assert [name for name in fields[0] if not name.startswith(b"tot-")][1:] == [
        name for name in fields[1] if not name.startswith(b"tot-")
    ][1:]
    reply = caller.world.caller().ask(b"CLIENT", b"KILL", b"MAXAGE", b"0")
    assert reply == b"-ERR maxage should be greater than 0\r\n"


def test_without_shards_there_is_an_error(make_world: Make) -> None:
    caller = make_world(0).caller()
    for words in (
        b"CONFIG RESETSTAT", b"CONFIG SET hz 1", b"SLOWLOG GET", b"LATENCY DOCTOR",
        b"LATENCY LATEST", b"WAIT 0 0", b"CLIENT UNBLOCK x", b"MEMORY STATS", b"LASTSAVE",
    ):  # fmt: skip
        assert caller.ask(*words.split()).startswith(b"-CLUSTERDOWN "), words
    assert caller.ask(b"CLIENT", b"UNBLOCK", b"1") == b":0\r\n"


# -- waiting ------------------------------------------------------------------------------------


def test_a_wait_is_ended_by_another_client(world: World) -> None:
    one, two = world.caller(), world.caller()
    number = b"%d" % one.session.id
    assert two.ask(b"CLIENT", b"UNBLOCK", number) == b":0\r\n"
    one.send(resp(b"BLPOP", b"q", b"0"))
    assert b"blocked_clients:1\r\n" in two.ask(b"INFO", b"clients")
    assert b"flags=b " in two.ask(b"CLIENT", b"LIST", b"ID", number)
    assert two.ask(b"CLIENT", b"UNBLOCK", number) == b":1\r\n"
    assert one.received() == b"*-1\r\n"
    one.send(resp(b"BLPOP", b"q", b"0"))
    assert two.ask(b"CLIENT", b"UNBLOCK", number, b"ERROR") == b":1\r\n"
    assert one.received() == b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
    assert b"blocked_clients:0\r\n" in two.ask(b"INFO", b"clients")
    one.send(resp(b"WAIT", b"1", b"0"))
    assert one.received() == b""
    assert two.ask(b"CLIENT", b"UNBLOCK", number) == b":1\r\n"
    assert one.received() == b":0\r\n"


def test_a_line_whose_wait_was_ended_has_no_next_client(alone: World) -> None:
    one, two = alone.caller(), alone.caller()
    one.send(resp(b"BLPOP", b"q", b"0"))
    two.ask(b"CLIENT", b"UNBLOCK", b"%d" % one.session.id)
    assert alone.proxy.router.shards[0].idle == []


def test_a_script_that_does_not_end_can_be_killed(make_world: Make) -> None:
    world = make_world(2)
    reals = world.reals()
    for real in reals:
        real.node.scripts.stage.may_pause = True
        real.node.scripts.stage.slice_ns = 0
    one, two = world.caller(), world.caller()
    one.send(resp(b"EVAL", b"while true do end", b"1", b"a"))
    assert one.received() == b""
    (busy,) = [real for real in reals if real.node.scripts.paused is not None]
    busy.node.clock.advance(5000)
    assert busy.node.scripts.step()
    two.send(resp(b"GET", b"a"))
    assert two.received() == b""
    three = world.caller()
    assert three.ask(b"SCRIPT", b"KILL") == b"+OK\r\n"
    while busy.node.scripts.step():
        pass
    world.turn()
    assert b"Script killed by user with SCRIPT KILL" in one.received()
    assert two.received() == b"$-1\r\n"
    assert three.ask(b"FUNCTION", b"KILL").startswith(b"-NOTBUSY ")


class Acks:
    """Stands for what a node knows of its replicas: how many have which offset."""

    def __init__(self, real: RealNode, acked: int) -> None:
        self.role = "primary"
        self.primary = self
        self.backlog = self
        self.end = 0
        self.acked = acked
        self.count = 0
        self.real = real
        real.node.replication = self

    def count_acked(self, offset: int) -> int:
        return self.count if self.acked >= offset else 0

    count_acked_aof = count_acked

    def ask_acks(self) -> None:
        pass

    def acknowledge(self, offset: int) -> None:
        """The replicas have the stream so far."""
        self.acked = offset
        for blocked in self.real.node.blocking.waiting_for(b"replicas"):
            self.real.node.blocking.rerun(blocked)


def test_wait_is_the_least_of_the_shards_written_to(make_world: Make) -> None:
    world = make_world(3)
    acks = [Acks(real, 0) for real in world.reals()]
    for count, each in enumerate(acks, 2):
        each.count = count
    caller, other = world.caller(), world.caller()
    # a, b and c are of slots of the last, the first and the second shard.
    assert caller.ask(b"WAIT", b"1", b"0") == b":2\r\n"
    caller.ask(b"SET", b"a", b"1")
    assert caller.ask(b"WAIT", b"1", b"0") == b":4\r\n"
    caller.ask(b"MSET", b"a", b"1", b"c", b"1")
    assert caller.ask(b"WAIT", b"1", b"0") == b":3\r\n"
    for each in acks:
        each.end = 50
    caller.send(resp(b"INCR", b"a"), resp(b"WAIT", b"1", b"0"), resp(b"PING"))
    assert caller.received() == b":2\r\n"
    # Neither the shared link nor other clients wait.
    assert other.ask(b"INCR", b"a") == b":3\r\n"
    acks[2].end = 60
    acks[2].acknowledge(49)
    acks[1].acknowledge(50)
    world.turn()
    assert caller.received() == b""
    acks[2].acknowledge(50)
    world.turn()
    assert caller.received() == b":3\r\n+PONG\r\n"
    assert caller.ask(b"WAITAOF", b"0", b"3", b"1") in (b"", b"*2\r\n:0\r\n:0\r\n")


def test_wait_in_a_transaction_does_not_wait(world: World, caller: Caller) -> None:
    caller.ask(b"MULTI")
    assert caller.ask(b"SET", b"a", b"1") == b"+QUEUED\r\n"
    assert caller.ask(b"WAIT", b"1", b"0") == b"+QUEUED\r\n"
    assert caller.ask(b"EXEC") == b"*2\r\n+OK\r\n:0\r\n"


def test_an_errand_follows_what_was_asked_before(alone: World) -> None:
    """A line is another connection than the link: its requests wait for the link's replies."""
    (real,) = nodes(alone)
    caller = alone.caller()
    caller.ask(b"LPUSH", b"q", b"x")
    assert caller.ask(b"BLPOP", b"q", b"0") == b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n"
    caller.socket.sendall(
        resp(b"SET", b"k", b"5") + resp(b"MULTI") + resp(b"INCR", b"k") + resp(b"EXEC")
    )
    alone.pump.poll(0)
    assert len(caller.session.delayed) == 1
    alone.turn()
    assert caller.received().endswith(b"+OK\r\n+QUEUED\r\n*1\r\n:6\r\n")
    assert caller.session.delayed == [] and real.node.blocking.clients == {}


def test_a_client_that_leaves_before_its_errand(alone: World) -> None:
    caller = alone.caller()
    caller.socket.sendall(resp(b"SET", b"k", b"5") + resp(b"BLPOP", b"q", b"0"))
    alone.pump.poll(0)
    caller.socket.close()
    alone.turn()
    other = alone.caller()
    assert other.ask(b"RPUSH", b"q", b"x") == b":1\r\n"
    assert other.ask(b"LLEN", b"q") == b":1\r\n"

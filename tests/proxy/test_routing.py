"""Order, redirects, lost links and limits, with nodes that answer when the test says so."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.proxy import backend as backend_module
from isthmus.proxy import pending as pending_module
from isthmus.proxy.router import PARK_MS_MAX
from isthmus.proxy.topology import BadTopology, read
from isthmus.wire.frames import ERROR, SPLIT, hello_frame
from isthmus.wire.link_hello import greeting
from isthmus.wire.slots import key_slot
from tests.proxy.world import FakeNode, Make, node_id, resp, topology

# Of the first and of the second half of the slots.
LOW, HIGH = b"b", b"a"
assert key_slot(LOW) < 8192 <= key_slot(HIGH)
LOST = b"-ERR outcome unknown: connection to the shard was lost\r\n"


def get(key: bytes) -> bytes:
    return resp(b"GET", key)


def moved(key: bytes, shard: int) -> bytes:
    return b"-MOVED %d 127.0.0.1:%d\r\n" % (key_slot(key), 8500 + shard)


# -- order ----------------------------------------------------------------------------------------


def test_replies_come_in_the_order_of_the_requests(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(get(LOW), get(HIGH), resp(b"PING"), get(HIGH), get(LOW))
    assert high.requests() == [[b"GET", HIGH], [b"GET", HIGH]]
    high.answer(b"+h1\r\n", b"+h2\r\n")
    assert caller.received() == b""
    low.answer(b"+l1\r\n")
    assert caller.received() == b"+l1\r\n+h1\r\n+PONG\r\n+h2\r\n"
    low.answer(b"+l2\r\n")
    assert caller.received() == b"+l2\r\n"


def test_many_clients_share_a_frame(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    callers = [world.caller() for _ in range(5)]
    for i, caller in enumerate(callers):
        caller.socket.send(get(b"k%d" % i))
    world.turn()
    assert len(node.requests()) == 5
    assert len(node.frames) < 5
    node.answer(*[b":%d\r\n" % i for i in range(5)])
    assert [caller.received() for caller in callers] == [b":%d\r\n" % i for i in range(5)]


def test_replies_of_a_client_that_left_are_dropped(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    gone, stays = world.caller(), world.caller()
    gone.send(get(LOW), resp(b"PING"), get(LOW))
    stays.send(get(LOW))
    gone.socket.close()
    world.turn()
    assert list(world.proxy.sessions.values()) == [stays.session]
    node.answer(b"+1\r\n", b"+2\r\n", b"+3\r\n")
    assert stays.received() == b"+3\r\n"


def test_client_reply_off_and_skip(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(resp(b"CLIENT", b"REPLY", b"SKIP"), get(LOW), get(HIGH))
    node.answer(b"+1\r\n", b"+2\r\n")
    assert caller.received() == b"+2\r\n"
    caller.send(resp(b"CLIENT", b"REPLY", b"OFF"), get(LOW), resp(b"PING"), resp(b"NOSUCH"))
    node.answer(b"+3\r\n")
    assert caller.received() == b""
    assert caller.ask(b"CLIENT", b"REPLY", b"ON") == b"+OK\r\n"


def test_quit_waits_for_the_replies_before_it(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(get(LOW), resp(b"QUIT"), get(LOW))
    assert caller.received() == b""
    assert node.requests() == [[b"GET", LOW]]
    node.answer(b"+1\r\n")
    assert caller.received() == b"+1\r\n+OK\r\n"
    assert caller.closed


def test_a_protocol_error_waits_for_the_replies_before_it(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(get(LOW), b"*x\r\n")
    node.answer(b"+1\r\n")
    assert caller.received() == b"+1\r\n-ERR Protocol error: invalid multibulk length\r\n"
    assert caller.closed


# -- requests that span nodes ---------------------------------------------------------------------


def test_split_requests_are_merged_and_say_so_in_their_frame(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    assert key_slot(b"f") < 8192
    caller.send(resp(b"MGET", HIGH, LOW, b"f"), resp(b"DEL", LOW, HIGH))
    assert low.requests() == [[b"MGET", LOW, b"f"], [b"DEL", LOW]]
    assert high.requests() == [[b"MGET", HIGH], [b"DEL", HIGH]]
    assert [flags for flags, _ in low.frames] == [SPLIT, 0]
    low.answer(b"*2\r\n$1\r\nb\r\n$-1\r\n", b":1\r\n")
    assert caller.received() == b""
    high.answer(b"*1\r\n$1\r\na\r\n", b":1\r\n")
    assert caller.received() == b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n:2\r\n"


def test_the_first_error_of_a_part_is_the_reply(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(resp(b"MSET", LOW, b"1", HIGH, b"2"))
    low.answer(b"+OK\r\n")
    high.answer(b"-OOM no\r\n")
    assert caller.received() == b"-OOM no\r\n"


def test_a_part_is_divided_again_when_its_slot_has_moved(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(resp(b"EXISTS", LOW, b"f"), resp(b"PING"))
    low.answer(moved(LOW, 1))
    assert high.requests() == [[b"EXISTS", LOW]]
    assert low.requests() == [[b"EXISTS", b"f"]]
    low.answer(b":1\r\n")
    high.answer(b":1\r\n")
    assert caller.received() == b":2\r\n+PONG\r\n"


def test_scan_goes_from_shard_to_shard(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SCAN", b"0", b"COUNT", b"5"))
    assert low.requests() == [[b"SCAN", b"0", b"COUNT", b"5"]]
    low.answer(b"*2\r\n$1\r\n9\r\n*0\r\n")
    assert caller.received() == b"*2\r\n$1\r\n9\r\n*0\r\n"
    caller.send(resp(b"SCAN", b"9"))
    low.answer(b"*2\r\n$4\r\n8192\r\n*0\r\n")
    assert caller.received() == b"*2\r\n$4\r\n8192\r\n*0\r\n"
    # A cursor has the slot in its lowest 14 bits.
    second = b"%d" % (5 << 14 | 8192)
    caller.send(resp(b"SCAN", second))
    assert high.requests() == [[b"SCAN", second]]
    high.answer(b"-MOVED 8192 " + low.backend.address + b"\r\n")
    assert low.requests() == [[b"SCAN", second]]
    low.answer(b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n")
    assert caller.received() == b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n"


def test_randomkey_is_weighted_by_the_sizes_of_the_shards(make_world: Make) -> None:
    world = make_world(2, chance=lambda: 0.75)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(resp(b"RANDOMKEY"))
    low.answer(b"$1\r\nl\r\n", b":7\r\n")
    high.answer(b"$1\r\nh\r\n", b":3\r\n")
    assert caller.received() == b"$1\r\nh\r\n"


# -- redirects ------------------------------------------------------------------------------------


def test_moved_is_followed_and_learnt(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(get(LOW))
    low.answer(moved(LOW, 1))
    high.answer(b"+1\r\n")
    assert caller.received() == b"+1\r\n"
    caller.send(get(LOW))
    assert high.requests() == [[b"GET", LOW]]


def test_a_redirected_request_is_not_overtaken(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SET", LOW, b"1"), resp(b"SET", LOW, b"2"))
    low.answer(moved(LOW, 1))
    caller.send(resp(b"SET", LOW, b"3"))
    low.answer(moved(LOW, 1))
    assert high.requests() == [[b"SET", LOW, b"1"], [b"SET", LOW, b"2"]]
    high.answer(b"+1\r\n", b"+2\r\n")
    assert high.requests() == [[b"SET", LOW, b"3"]]
    high.answer(b"+3\r\n")
    assert caller.received() == b"+1\r\n+2\r\n+3\r\n"


def test_a_new_topology_lets_nothing_overtake(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SET", LOW, b"1"))
    frame = topology(2, epoch=2)
    frame["shards"][0]["slots"], frame["shards"][1]["slots"] = [], [[0, 16383]]
    world.proxy.router.apply(read(frame))
    caller.send(resp(b"SET", LOW, b"2"))
    assert high.requests() == []
    low.answer(moved(LOW, 1), epoch=2)
    high.answer(b"+1\r\n", epoch=2)
    assert high.requests() == [[b"SET", LOW, b"2"]]
    high.answer(b"+2\r\n", epoch=2)
    assert caller.received() == b"+1\r\n+2\r\n"


def test_what_an_outdated_node_says_is_followed_but_not_learnt(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    world.proxy.router.apply(read(topology(2, epoch=2)))
    caller = world.caller()
    caller.send(get(LOW))
    low.answer(moved(LOW, 1), epoch=1)
    high.answer(b"+1\r\n", epoch=2)
    assert caller.received() == b"+1\r\n"
    caller.send(get(LOW))
    assert low.requests() == [[b"GET", LOW]]


def test_redirects_in_a_circle_end(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(get(LOW))
    for _ in range(200):
        if low.requests():
            low.answer(moved(LOW, 1))
        if high.requests():
            high.answer(moved(LOW, 0))
        if caller.session.waiting == 0:
            break
        world.later(PARK_MS_MAX // 4)
    assert caller.received() == b"-CLUSTERDOWN Hash slot not served\r\n"


def test_ask_is_followed_with_asking(make_world: Make) -> None:
    world = make_world(2)
    low, high = world.fakes()
    caller = world.caller()
    caller.send(get(LOW))
    low.answer(b"-ASK %d 127.0.0.1:8501\r\n" % key_slot(LOW))
    assert high.requests() == [[b"ASKING"], [b"GET", LOW]]
    high.answer(b"+OK\r\n", b"+1\r\n")
    assert caller.received() == b"+1\r\n"
    caller.send(get(LOW))
    assert low.requests() == [[b"GET", LOW]]


def test_a_node_that_is_loading_is_asked_again(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SET", LOW, b"1"))
    node.answer(b"-LOADING wait\r\n")
    assert caller.received() == b""
    caller.send(resp(b"SET", LOW, b"2"))
    assert node.requests() == []
    world.later(10)
    assert node.requests() == [[b"SET", LOW, b"1"], [b"SET", LOW, b"2"]]
    node.answer(b"+OK\r\n", b"+OK\r\n")
    assert caller.received() == b"+OK\r\n+OK\r\n"


def test_a_node_that_stays_down_is_reported(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(get(LOW))
    down = b"-CLUSTERDOWN The cluster is down\r\n"
    node.answer(down)
    world.later(PARK_MS_MAX + 1)
    node.answer(down)
    assert caller.received() == down


def test_a_request_with_others_behind_it_is_not_parked(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SET", LOW, b"1"), resp(b"SET", LOW, b"2"))
    node.answer(b"-LOADING wait\r\n")
    assert caller.received() == b"-LOADING wait\r\n"
    node.answer(b"+OK\r\n")
    assert caller.received() == b"+OK\r\n"


# -- lost links -----------------------------------------------------------------------------------


def test_a_lost_link_leaves_writes_unknown_and_repeats_reads(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    writer, reader = world.caller(), world.caller()
    writer.send(resp(b"SET", LOW, b"1"))
    reader.send(get(LOW), get(HIGH), resp(b"PING"))
    node.lose()
    assert writer.received() == LOST
    assert reader.received() == b""
    (node,) = world.fakes()
    world.later(10)
    assert node.requests() == [[b"GET", LOW], [b"GET", HIGH]]
    node.answer(b"+1\r\n", b"+2\r\n")
    assert reader.received() == b"+1\r\n+2\r\n+PONG\r\n"


def test_a_read_is_repeated_once(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(get(LOW))
    node.lose()
    (node,) = world.fakes()
    world.later(10)
    node.lose()
    assert caller.received() == b"-CLUSTERDOWN the shard cannot be reached\r\n"


def test_without_a_link_requests_wait_a_little_then_fail_at_once(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    node.lose()
    caller = world.caller()
    assert caller.ask(b"GET", LOW) == b""
    world.later(PARK_MS_MAX + 1)
    error = b"-CLUSTERDOWN the shard cannot be reached\r\n"
    assert caller.received() == error
    assert caller.ask(b"GET", LOW) == error
    assert caller.ask(b"DBSIZE") == error


def test_without_a_topology(make_world: Make) -> None:
    world = make_world(0)
    caller = world.caller()
    assert caller.ask(b"GET", LOW).startswith(b"-CLUSTERDOWN ") or caller.session.parked
    world.later(PARK_MS_MAX + 1)
    assert caller.received().startswith(b"-CLUSTERDOWN ") or not caller.session.parked
    assert caller.ask(b"DBSIZE").startswith(b"-CLUSTERDOWN ")
    assert caller.ask(b"COMMAND").startswith(b"-CLUSTERDOWN ")
    assert caller.ask(b"PING") == b"+PONG\r\n"


def test_a_parked_client_that_leaves_is_forgotten(make_world: Make) -> None:
    world = make_world(1)
    caller = world.caller()
    caller.send(get(LOW))
    caller.socket.close()
    world.turn()
    world.later(10)
    assert world.proxy.router.parked == []


def test_replies_of_an_outdated_topology_are_not_passed_on(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(get(LOW))
    node.answer(b"+1\r\n", epoch=5)
    caller.send(get(LOW))
    node.answer(b"+2\r\n", epoch=4)
    assert caller.received().startswith(b"+1\r\n-ERR outcome unknown")


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(16),
        b"\xff" * 64,
        hello_frame(0, 1, greeting(node_id(0))),
    ],
)
def test_a_node_that_breaks_the_format_loses_its_link(make_world: Make, garbage: bytes) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SET", LOW, b"1"))
    node.send(garbage)
    assert caller.received() == LOST
    assert node.backend.link is None


def test_the_wrong_node_gets_no_requests(make_world: Make) -> None:
    world = make_world(1)
    node = FakeNode(world, 0, identity=node_id(9))
    assert node.backend.link is None
    assert "answers where" in node.link.problem


def test_a_refusal_says_why(make_world: Make) -> None:
    world = make_world(1)
    node = FakeNode(world, 0, greet=False)
    node.send(hello_frame(ERROR, 0, b"wrong password"))
    assert node.link.problem == "refused: wrong password"


# -- topology -------------------------------------------------------------------------------------


def test_topologies_replace_each_other_but_never_go_back(make_world: Make) -> None:
    world = make_world(2)
    router = world.proxy.router
    new, gone = router.apply(read(topology(3, epoch=4)))
    assert [b.shard for b in new] == [2] and gone == []
    assert router.apply(read(topology(1, epoch=3))) == ([], [])
    assert len(router.shards) == 3
    new, gone = router.apply(read(topology(1, epoch=5)))
    assert new == [] and sorted(b.shard for b in gone) == [1, 2]


@pytest.mark.parametrize("key", ["shards", "nodes", "epoch", "cluster"])
def test_a_topology_that_lacks_something_is_refused(key: str) -> None:
    frame = topology(2)
    del frame[key]
    with pytest.raises(BadTopology):
        read(frame)


def test_a_topology_with_impossible_slots_is_refused() -> None:
    frame = topology(1)
    frame["shards"][0]["slots"] = [[0, 16384]]
    with pytest.raises(BadTopology):
        read(frame)


# -- limits ---------------------------------------------------------------------------------------


def test_a_slow_node_is_not_given_more_than_the_limit(
    make_world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    many = backend_module.LINK_PENDING_MAX
    for pending in range(3):
        caller.send(get(b"%d" % pending))
    node.link.waiting += many
    caller.send(get(LOW))
    node.link.waiting -= many
    node.answer(b"+0\r\n", b"+1\r\n", b"+2\r\n")
    assert caller.received().startswith(b"+0\r\n+1\r\n+2\r\n-BUSY ")


def test_a_client_that_asks_too_much_is_read_again_later(make_world: Make) -> None:
    world = make_world(1)
    (node,) = world.fakes()
    caller = world.caller()
    many = pending_module.PENDING_PER_CLIENT_MAX
    caller.session.waiting += many
    caller.send(get(LOW))
    assert node.requests() == []
    caller.session.waiting -= many
    caller.session.attend()
    world.turn()
    assert node.requests() == [[b"GET", LOW]]
    node.answer(b"+1\r\n")
    assert caller.received() == b"+1\r\n"


# -- a shard gets another node --------------------------------------------------------------------


def takeover(planned: bool) -> dict[str, Any]:
    """One shard whose primary is now the second node, since epoch 2."""
    frame = topology(2, epoch=2)
    frame["shards"] = [{
        "number": 0, "id": "s0", "epoch": 2, "primary": node_id(1), "replicas": [node_id(0)],
        "slots": [[0, 16383]], "planned": planned,
    }]  # fmt: skip
    return frame


def taken_over(make_world: Make, planned: bool) -> tuple[Any, FakeNode, FakeNode]:
    """A caller with two requests under way at the old node, and the new node."""
    world = make_world(1)
    (old,) = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SET", LOW, b"1"), get(LOW))
    assert len(old.requests()) == 2
    _, gone = world.proxy.router.apply(read(takeover(planned)))
    for backend in gone:
        backend.link.retire()
    return caller, old, FakeNode(world, 1)


def test_who_handed_a_shard_over_is_believed(make_world: Make) -> None:
    caller, old, new = taken_over(make_world, True)
    caller.send(get(LOW))
    assert new.requests() == [], "it must not overtake what is under way"
    old.answer(b"+OK\r\n", b"$1\r\n1\r\n", epoch=1)
    assert caller.received() == b"+OK\r\n$1\r\n1\r\n"
    assert not old.link.open
    assert new.requests() == [[b"GET", LOW]]


def test_what_waited_at_the_old_node_is_sent_on_in_order(make_world: Make) -> None:
    caller, old, new = taken_over(make_world, True)
    old.answer(moved(LOW, 1), moved(LOW, 1), epoch=2)
    assert new.requests() == [[b"SET", LOW, b"1"], [b"GET", LOW]]
    new.answer(b"+OK\r\n", b"$1\r\n1\r\n", epoch=2)
    assert caller.received() == b"+OK\r\n$1\r\n1\r\n"


def test_a_pipeline_that_is_sent_to_a_node_not_heard_of_yet_waits_for_it(make_world: Make) -> None:
    world = make_world(1)
    (old,) = world.fakes()
    caller = world.caller()
    caller.send(resp(b"SET", LOW, b"1"), get(LOW))
    old.answer(moved(LOW, 1), moved(LOW, 1), epoch=2)
    assert caller.received() == b""
    world.later(10)
    assert old.requests() == [[b"SET", LOW, b"1"], [b"GET", LOW]], "asked again, in order"
    old.answer(moved(LOW, 1), moved(LOW, 1), epoch=2)
    world.proxy.router.apply(read(takeover(True)))
    new = FakeNode(world, 1)
    world.later(10)
    assert new.requests() == [[b"SET", LOW, b"1"], [b"GET", LOW]]
    new.answer(b"+OK\r\n", b"$1\r\n1\r\n", epoch=2)
    assert caller.received() == b"+OK\r\n$1\r\n1\r\n"


def test_who_lost_a_shard_without_knowing_is_not_believed(make_world: Make) -> None:
    caller, old, _ = taken_over(make_world, False)
    old.answer(b"+OK\r\n", b"$1\r\n1\r\n", epoch=1)
    unknown = b"-ERR outcome unknown: the shard answered by an outdated topology\r\n"
    assert caller.received() == unknown * 2
    assert not old.link.open


def test_a_node_that_knows_the_new_topology_is_believed_again(make_world: Make) -> None:
    caller, old, new = taken_over(make_world, False)
    old.answer(moved(LOW, 1), moved(LOW, 1), epoch=2)
    new.answer(b"+OK\r\n", b"$1\r\n1\r\n", epoch=2)
    assert caller.received() == b"+OK\r\n$1\r\n1\r\n"

"""What nodes tell of themselves, how clients are told to call them, and where MOVED leads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.cluster.gossip import AGAIN_MS, FEW_NODES_MAX, Gossip
from isthmus.node.cluster.view import ClusterView
from tests.cluster.test_commands import Client
from tests.cluster.test_view import A, B, D, topology

MS = 1_000_000


def with_replica(epoch: int = 5, **changes: Any) -> dict[str, Any]:
    """Shard 0 has D as a replica."""
    shards = topology()["shards"]
    shards[0] |= {"replicas": [D], "synced": [D], **changes}
    nodes = [{**node, "shard": 0} if node["id"] == D else node for node in topology()["nodes"]]
    return topology(epoch, shards=shards, nodes=nodes)


@pytest.fixture
def view() -> ClusterView:
    it = ClusterView(A)
    it.apply(with_replica())
    return it


def test_what_is_said_when() -> None:
    it = Gossip(A)
    offset = 10
    it.offset = lambda: offset
    first = it.to_say(AGAIN_MS * MS, 3)
    assert first == {"type": "about", "offset": 10, "hostname": ""}
    now = AGAIN_MS * MS
    assert it.to_say(now + 1500 * MS, 3) is None, "nothing is new"
    offset = 11
    assert it.to_say(now + 900 * MS, 3) is None, "not so soon"
    assert it.to_say(now + 1500 * MS, FEW_NODES_MAX + 1) is None, "too many for an offset"
    assert it.to_say(now + 1500 * MS, 3)
    it.announce("a.example")
    assert (it.to_say(now + 2600 * MS, 999) or {})["hostname"] == "a.example"
    assert it.to_say(now + 4000 * MS, 3) is None
    it.again(now + 4000 * MS)
    assert it.to_say(now + 5100 * MS, 3), "others have come"
    assert it.to_say(now + 5100 * MS + AGAIN_MS * MS, 3), "from time to time"


@pytest.mark.parametrize(
    "frame",
    [{}, {"offset": -1, "hostname": ""}, {"offset": 1, "hostname": "a b"},
     {"offset": 1, "hostname": "x" * 256}, {"offset": 1, "hostname": "a\r\n"},
     {"offset": "1", "hostname": ""}, {"offset": 1, "hostname": b"a"}],
)  # fmt: skip
def test_what_makes_no_sense_is_not_believed(frame: dict[str, Any]) -> None:
    it = Gossip(A)
    with pytest.raises(ValueError, match="that is none"):
        it.hear(B, frame)
    assert it.offset_of(B) == 0


def test_nodes_that_left_are_forgotten(view: ClusterView) -> None:
    for name in (B, "e" * 40):
        view.gossip.hear(name, {"offset": 5, "hostname": "h"})
    view.apply(with_replica(6))
    assert (view.gossip.offset_of(B), view.gossip.offset_of("e" * 40)) == (5, 0)


def test_offsets_and_health_of_copies(view: ClusterView) -> None:
    view.gossip.offset = lambda: 77
    view.gossip.hear(D, {"offset": 70, "hostname": ""})
    client = Client(view)
    said = client("CLUSTER", "SHARDS")
    assert b"replication-offset\r\n:77\r\n" in said and b"replication-offset\r\n:70\r\n" in said
    assert said.count(b"online") == 3 and b"replica\r\n" in said
    # One that is not in sync, and has nothing, is no place to read from.
    view.apply(with_replica(6, synced=[]))
    assert b"loading" not in client("CLUSTER", "SHARDS")
    view.gossip.hear(D, {"offset": 0, "hostname": ""})
    assert b"loading" in client("CLUSTER", "SHARDS")
    assert D.encode() not in client("CLUSTER", "SLOTS")


def test_the_dead_are_dropped_but_for_a_primary_without_successor(view: ClusterView) -> None:
    client = Client(view)
    assert D.encode() in client("CLUSTER", "SLOTS")
    dead = with_replica(6)
    dead["nodes"][2]["alive"] = False
    view.apply(dead)
    assert D.encode() not in client("CLUSTER", "SLOTS")
    assert b"slave,fail " + A.encode() in client("CLUSTER", "NODES")
    assert b"health\r\n$4\r\nfail" in client("CLUSTER", "SHARDS")
    assert b"slave,fail" in client("CLUSTER", "REPLICAS", A)
    dead = with_replica(7)
    dead["nodes"][0]["alive"] = False
    view.apply(dead)
    slots = client("CLUSTER", "SLOTS")
    assert slots.index(A.encode()) < slots.index(D.encode())
    assert b"myself,master,fail" in client("CLUSTER", "NODES")


def test_endpoints_by_name(view: ClusterView) -> None:
    client = Client(view, protocol=3)
    gossip = view.gossip
    gossip.hear(B, {"offset": 1, "hostname": "b.example"})
    node = b"\r\n:8502\r\n$40\r\n" + B.encode() + b"\r\n"
    assert b"$8\r\n10.0.0.2" + node + b"%1\r\n$8\r\nhostname\r\n$9\r\nb.example" in client(
        "CLUSTER", "SLOTS"
    )
    assert b"10.0.0.2:8502@9502,b.example master" in client("CLUSTER", "NODES")
    gossip.endpoint_type = "hostname"
    slots = client("CLUSTER", "SLOTS")
    assert b"$9\r\nb.example" + node + b"%1\r\n$2\r\nip\r\n$8\r\n10.0.0.2" in slots
    assert b"$1\r\n?\r\n:8501" in slots, "it has announced none"
    assert view.moved(100) == b"MOVED 100 b.example:8502"
    assert b"$8\r\nhostname\r\n$9\r\nb.example" in client("CLUSTER", "SHARDS")
    gossip.endpoint_type = "unknown-endpoint"
    assert b"_" + node + b"%2\r\n$2\r\nip" in client("CLUSTER", "SLOTS")
    assert view.moved(100) == b"MOVED 100 :8502"
    # A proxy knows nodes by the addresses of its topology.
    gossip.to_proxy = lambda: True
    assert view.moved(100) == b"MOVED 100 10.0.0.2:8502"


def test_links_are_the_lanes(view: ClusterView) -> None:
    view.links = lambda: [(B, 1234, 0)]
    assert Client(view, protocol=3)("CLUSTER", "LINKS") == (
        b"*1\r\n%6\r\n$9\r\ndirection\r\n$2\r\nto\r\n$4\r\nnode\r\n$40\r\n" + B.encode() + b"\r\n"
        b"$11\r\ncreate-time\r\n:1234\r\n$6\r\nevents\r\n$1\r\nr\r\n"
        b"$21\r\nsend-buffer-allocated\r\n:0\r\n$16\r\nsend-buffer-used\r\n:0\r\n"
    )


NODES = (A, B, D)
SLOTS_TRIED = (0, 100, 9000)
plans = st.lists(
    st.tuples(st.permutations(NODES), st.sets(st.sampled_from(NODES), max_size=1)), min_size=1,
    max_size=6,
)  # fmt: skip
deliveries = st.lists(st.tuples(st.sampled_from(NODES), st.integers(0, 5)), max_size=12)


def numbered(epoch: int, order: list[str], dead: set[str]) -> dict[str, Any]:
    """Two shards, whose primaries and one replica are the nodes in this order."""
    shards = topology()["shards"]
    for shard, primary in zip(shards, order, strict=False):
        shard |= {"primary": primary, "epoch": epoch, "replicas": [], "synced": []}
    shards[0]["replicas"] = [order[2]]
    place = {order[0]: 0, order[1]: 1, order[2]: 0}
    nodes = [
        {**node, "shard": place[node["id"]], "alive": node["id"] not in dead}
        for node in topology()["nodes"]
    ]
    return topology(epoch, shards=shards, nodes=nodes)


def hop(views: dict[str, ClusterView], at: str, slot: int) -> str | None:
    """Where a client is sent from a node; None: it is served, or told that nobody serves it."""
    view = views[at]
    error = b"" if view.mine[slot] else view.redirect_error(slot)
    if not error.startswith(b"MOVED"):
        return None
    port = int(error.rpartition(b":")[2])
    return next(node.id for node in view.nodes if node.port == port)


@settings(max_examples=200, deadline=None)
@given(plans, deliveries, st.sampled_from(NODES), st.sampled_from(SLOTS_TRIED))
def test_moved_leads_somewhere(
    plan: list[tuple[list[str], set[str]]], sent: list[tuple[str, int]], start: str, slot: int
) -> None:
    """Whatever a node has heard in whatever order: two of the same epoch never send a client in
    circles, and once all have the newest topology a client is sent on once at most."""
    frames = [numbered(7 + place, order, dead) for place, (order, dead) in enumerate(plan)]
    views = {name: ClusterView(name) for name in NODES}
    for view in views.values():
        view.apply(frames[0])
    for name, which in sent:
        views[name].apply(frames[min(which, len(frames) - 1)])
    at, seen = start, set()
    while (there := hop(views, at, slot)) is not None:
        if views[at].epoch == views[there].epoch:
            assert hop(views, there, slot) is None
        if there in seen:
            break  # they know different epochs: it lasts until the older one hears of the newer
        seen.add(there)
        at = there
    for view in views.values():
        view.apply(frames[-1])
        assert view.epoch == frames[-1]["epoch"]
    there = hop(views, at, slot)
    assert there is None or hop(views, there, slot) is None

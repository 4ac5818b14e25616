"""The node's view: what it takes over, what it refuses, what it tells clients."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.cluster.view import BadTopology, ClusterView

A, B, D = "a" * 40, "b" * 40, "d" * 40


def topology(epoch: int = 3, *, dead: str = "", **changes: Any) -> dict[str, Any]:
    def node(name: str, port: int, shard: int | None) -> dict[str, Any]:
        return {
            "id": name, "region": "eu", "zone": "z", "address": f"10.0.0.{port % 10}:{port}",
            "link_address": f"10.0.0.1:{port + 1000}", "alive": name != dead, "shard": shard,
        }  # fmt: skip

    return {
        "type": "topology", "cluster": "c" * 40, "region": "eu", "epoch": epoch,
        "shards": [
            {"number": 0, "id": "0" * 40, "epoch": 2, "primary": A, "replicas": [],
             "slots": [[0, 99], [101, 8191]]},
            {"number": 1, "id": "1" * 40, "epoch": 3, "primary": B, "replicas": [],
             "slots": [[100, 100], [8192, 16383]]},
        ],
        "nodes": [node(A, 8501, 0), node(B, 8502, 1), node(D, 8503, None)],
        **changes,
    }  # fmt: skip


@pytest.fixture
def view() -> ClusterView:
    it = ClusterView(A)
    assert it.apply(topology())
    return it


def test_before_the_first_topology_nothing_is_served() -> None:
    it = ClusterView(A, port=8501)
    assert not it.state_ok and not any(it.mine)
    assert it.redirect_error(5) == b"CLUSTERDOWN Hash slot not served"
    assert b"cluster_state:fail\r\n" in it.info_text()
    assert it.nodes_text() == f"{A} 127.0.0.1:8501@0 myself,master - 0 0 0 connected\n".encode()


def test_own_slots_and_the_way_to_others(view: ClusterView) -> None:
    assert view.state_ok and view.slots_served() == 8191
    assert view.mine[99] and not view.mine[100] and view.mine[101]
    assert view.redirect_error(100) == b"MOVED 100 10.0.0.2:8502"


def test_an_older_topology_changes_nothing(view: ClusterView) -> None:
    assert not view.apply(topology(2, dead=B))
    assert view.state_ok and view.epoch == 3
    assert view.apply(topology(3)), "the same one again is fine"


def test_the_array_of_slots_stays_the_same_object(view: ClusterView) -> None:
    before = view.mine
    view.apply(topology(4))
    view.fence("taken")
    assert view.mine is before


def test_a_dead_primary_takes_the_cluster_down(view: ClusterView) -> None:
    view.apply(topology(4, dead=B))
    assert not view.state_ok
    assert view.redirect_error(100) == b"CLUSTERDOWN The cluster is down"
    assert b"cluster_slots_ok:8191\r\n" in view.info_text()
    assert b"cluster_slots_fail:8193\r\n" in view.info_text()
    assert b"master,fail - 0 0 3 disconnected 100 8192-16383\n" in view.nodes_text()


def test_a_dead_spare_does_not(view: ClusterView) -> None:
    view.apply(topology(4, dead=D))
    assert view.state_ok


def test_slots_without_an_owner(view: ClusterView) -> None:
    view.apply(topology(4, shards=topology()["shards"][:1]))
    assert not view.state_ok
    assert view.redirect_error(100) == b"CLUSTERDOWN Hash slot not served"
    assert view.redirect_error(99) == b"CLUSTERDOWN The cluster is down"


def test_a_fenced_node_serves_nothing_until_told_otherwise(view: ClusterView) -> None:
    view.fence("another process has this id")
    assert not view.state_ok and not any(view.mine)
    view.apply(topology(4))
    assert view.state_ok and not view.fenced


def bad(**changes: Any) -> dict[str, Any]:
    return {**topology(9), **changes}


def shard_with(**changes: Any) -> list[dict[str, Any]]:
    first, second = topology()["shards"]
    return [{**first, **changes}, second]


@pytest.mark.parametrize(
    "frame",
    [
        {}, bad(epoch="x"), bad(shards=None), bad(nodes=[{}]), bad(cluster="f" * 40),
        bad(shards=shard_with(slots=[[5, 4]])), bad(shards=shard_with(slots=[[0, 16384]])),
        bad(shards=shard_with(slots=[[-1, 3]])), bad(shards=shard_with(primary="e" * 40)),
        bad(shards=shard_with(slots=7)),
    ],
)  # fmt: skip
def test_a_frame_that_makes_no_sense_changes_nothing(
    view: ClusterView, frame: dict[str, Any]
) -> None:
    with pytest.raises(BadTopology):
        view.apply(frame)
    assert view.epoch == 3 and view.slots_served() == 8191


def test_ranges_come_in_the_order_of_slots(view: ClusterView) -> None:
    assert [(a, b, s.number) for a, b, s in view.ranges()] == [
        (0, 99, 0), (100, 100, 1), (101, 8191, 0), (8192, 16383, 1),
    ]  # fmt: skip


def test_lines_of_cluster_nodes(view: ClusterView) -> None:
    view.heard_ms = 1700
    assert view.nodes_text().decode().splitlines() == [
        f"{A} 10.0.0.1:8501@9501 myself,master - 0 0 2 connected 0-99 101-8191",
        f"{B} 10.0.0.2:8502@9502 master - 0 1700 3 connected 100 8192-16383",
        f"{D} 10.0.0.3:8503@9503 master - 0 1700 0 connected",
    ]


def test_slots_of_the_shard_a_replica_copies() -> None:
    shards = topology()["shards"]
    shards[1]["replicas"] = [D]
    nodes = topology()["nodes"]
    nodes[2]["shard"] = 1
    it = ClusterView(D)
    assert it.apply(topology(shards=shards, nodes=nodes))
    assert not any(it.mine)
    assert it.copied[100] and not it.copied[101] and it.copied[8192]
    it.fence("another process took its place")
    assert not any(it.copied)

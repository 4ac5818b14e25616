"""Scripts on a node of a cluster: which keys they may touch."""

from __future__ import annotations

import pytest

from isthmus.wire.slots import SLOTS, key_slot
from tests.support.store import Store

CALL = "return redis.call(unpack(ARGV))"
STRICT = "#!lua\n" + CALL
LOOSE = "#!lua flags=allow-cross-slot-keys\n" + CALL


class View:
    """A cluster in which this node serves all slots but that of the key `away`."""

    def __init__(self) -> None:
        self.mine = bytearray(b"\x01" * SLOTS)
        self.mine[key_slot(b"away")] = 0
        self.state_ok = True

    def redirect_error(self, slot: int) -> bytes:
        return b"MOVED %d 127.0.0.1:1" % slot


@pytest.fixture
def cluster() -> Store:
    store = Store()
    store.node.use_cluster(View())
    return store


def test_keys_of_other_nodes(cluster: Store) -> None:
    assert cluster.error("EVAL", CALL, 1, "away", "GET", "away") == (
        f"MOVED {key_slot(b'away')} 127.0.0.1:1"
    )
    for script in (CALL, STRICT, LOOSE):
        assert cluster.error("EVAL", script, 0, "GET", "away").startswith(
            "ERR Script attempted to access a non local key in a cluster node script: "
        )
    assert cluster("EVAL", CALL, 0, "GET", "here") is None


def test_keys_of_several_slots(cluster: Store) -> None:
    assert cluster.error("EVAL", CALL, 0, "MGET", "a", "b").startswith(
        "ERR Command 'mget' in script attempted to access keys that don't hash to the same slot"
    )
    both = "redis.call('GET', 'a') return redis.call('SET', 'b', '1')"
    assert cluster("EVAL", both, 0) == b"OK"
    text = "ERR Script attempted to access keys that do not hash to the same slot script: "
    assert cluster.error("EVAL", "#!lua\n" + both, 0).startswith(text)
    assert cluster("EVAL", "#!lua flags=allow-cross-slot-keys\n" + both, 0) == b"OK"
    assert cluster.error("EVAL", STRICT, 1, "a", "GET", "b").startswith(text)
    assert cluster("EVAL", STRICT, 1, "{a}1", "GET", "{a}2") is None
    assert cluster("EVAL", LOOSE, 1, "a", "GET", "b") == b"1"


def test_a_cluster_that_is_down(cluster: Store) -> None:
    cluster.node.cluster.state_ok = False
    assert cluster.error("EVAL", CALL, 0, "GET", "a").startswith(
        "ERR Script attempted to execute a command while the cluster is down script: "
    )


def test_no_cluster_flag(cluster: Store) -> None:
    assert cluster.error("EVAL", "#!lua flags=no-cluster\nreturn 1", 0) == (
        "ERR Can not run script on cluster, 'no-cluster' flag is set."
    )

"""The model of subscriptions: nothing stays behind, counts are right, lost slots are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.pubsub import PubSub
from isthmus.wire.slots import SLOTS, key_slot
from tests.support.store import Store

NAMES = [b"a", b"b", b"ab"]
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.sampled_from(NAMES)), max_size=40
)


@pytest.fixture
def store() -> Iterator[Store]:
    yield Store()


class Meddler:
    """A connection that makes another one end while something is sent to it."""

    output_bytes_max = 0

    def __init__(self, store: Store, victim: ClientState) -> None:
        self.store = store
        self.victim = victim

    def push(self, data: bytes) -> None:
        self.store.node.forget_client(self.victim)


def leftovers(pubsub: PubSub) -> list[object]:
    return [pubsub.clients, pubsub.channels, pubsub.patterns, pubsub.shards]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps=STEPS)
def test_both_directions_always_agree(steps: list[tuple[int, int, bytes]]) -> None:
    store = Store()
    pubsub: PubSub = store.node.pubsub
    clients = [store.node.new_client() for _ in range(3)]
    actions = (
        pubsub.subscribe, pubsub.unsubscribe, pubsub.subscribe_pattern, pubsub.unsubscribe_pattern,
        pubsub.subscribe_shard, pubsub.unsubscribe_shard,
    )  # fmt: skip
    for who, action, name in steps:
        if action == len(actions):
            pubsub.forget(clients[who])
        else:
            actions[action](clients[who], name)
        for client in clients:
            mine = pubsub.of(client)
            held = bool(mine.channels or mine.patterns or mine.shards)
            assert held == (client in pubsub.clients) == client.subscriber
            assert pubsub.count(client) == len(mine.channels) + len(mine.patterns)
        for kind, space in (
            ("channels", pubsub.channels), ("patterns", pubsub.patterns), ("shards", pubsub.shards)
        ):  # fmt: skip
            assert all(space.values())
            pairs = {(name, client) for name, those in space.items() for client in those}
            assert pairs == {
                (name, client)
                for client in pubsub.clients
                for name in getattr(pubsub.of(client), kind)
            }
    for client in clients:
        store.node.forget_client(client)
    assert not any(leftovers(pubsub))


def test_a_message_is_counted_each_time_it_is_sent(store: Store) -> None:
    pubsub: PubSub = store.node.pubsub
    two, three = store.node.new_client(), store.node.new_client()
    three.protocol = 3
    for client in (two, three):
        pubsub.subscribe(client, b"news")
        pubsub.subscribe_pattern(client, b"n*")
    assert pubsub.publish(b"news", b"x") == 4
    assert bytes(two.outbox) == (
        b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"
        b"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$1\r\nx\r\n"
    )
    assert bytes(three.outbox) == bytes(two.outbox).replace(b"*", b">").replace(b"n>", b"n*")
    assert pubsub.publish_shard(b"news", b"x") == 0


def test_shard_channels_of_slots_that_are_gone(store: Store) -> None:
    pubsub: PubSub = store.node.pubsub
    client: ClientState = store.node.new_client()
    pubsub.subscribe_shard(client, b"gone")
    pubsub.subscribe_shard(client, b"kept")
    mine = bytearray(b"\x01" * SLOTS)
    mine[key_slot(b"gone")] = 0
    assert pubsub.drop_shards(mine) == 1
    assert bytes(client.outbox) == b"*3\r\n$12\r\nsunsubscribe\r\n$4\r\ngone\r\n:1\r\n"
    assert list(pubsub.shards) == [b"kept"]
    assert pubsub.drop_shards(mine) == 0


def test_a_listener_that_leaves_while_a_message_is_sent(store: Store) -> None:
    pubsub: PubSub = store.node.pubsub
    clients = [store.node.new_client() for _ in range(3)]
    for client in clients:
        pubsub.subscribe(client, b"a")
    clients[0].peer = Meddler(store, clients[1])
    assert pubsub.publish(b"a", b"x") == 3
    assert list(pubsub.channels[b"a"]) == [clients[0], clients[2]]

"""What clients hold: counted in turns, and who is closed when it is too much."""

from __future__ import annotations

import pytest

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.client_memory import CLIENT_BYTES, bytes_of, limit_of
from tests.support.store import Store


class Buffers:
    """A connection with so many bytes waiting each way."""

    def __init__(self, pending: int, output: int) -> None:
        self.parser = self
        self.pending = pending
        self.output = output

    def pending_output(self) -> int:
        return self.output


def connect(store: Store, pending: int, output: int) -> ClientState:
    client = store.node.new_client()
    client.peer = Buffers(pending, output)
    return client


def test_bytes_by_purpose(store: Store) -> None:
    client = connect(store, 10, 20)
    client.name = b"four"
    store("WATCH", "key", client=client)
    store("MULTI", client=client)
    store("SET", "k", "v", client=client)
    held = bytes_of(client, [b"abc", b"de"])
    on_the_wire = len(b"*2\r\n$3\r\nabc\r\n$2\r\nde\r\n")
    assert (held.input, held.argv, held.output) == (10 + on_the_wire, 5, 20)
    assert held.queued == client.queued_bytes > 5
    assert held.total > CLIENT_BYTES + 10 + 5 + 20 + 4 + held.queued


def test_total_follows_the_clients(store: Store) -> None:
    held = store.node.client_memory
    client = connect(store, 1000, 0)
    held.step()
    assert (held.total, held.buffers()) == (2 * CLIENT_BYTES + 1000, 1000)
    store.node.forget_client(client)
    assert (held.total, held.buffers()) == (CLIENT_BYTES, 0)


def test_recent_peaks_are_of_the_last_rounds(store: Store) -> None:
    held = store.node.client_memory
    client = connect(store, 700, 900)
    held.step()
    assert (held.recent_input(), held.recent_output()) == (700, 900)
    assert b"client_recent_max_output_buffer:900" in store.run("INFO clients")
    client.peer = Buffers(0, 0)
    held.step()
    assert held.recent_input() == 700
    held.step()
    assert (held.recent_input(), held.recent_output()) == (0, 0)


def test_many_clients_take_several_steps(store: Store) -> None:
    held = store.node.client_memory
    for _ in range(600):
        store.node.new_client()
    held.step()
    assert len(held.sizes) == 256
    held.step()
    held.step()
    assert len(held.sizes) == 601


def test_the_largest_goes_first(store: Store) -> None:
    held = store.node.client_memory
    small, large, spared = connect(store, 10, 0), connect(store, 5000, 0), connect(store, 9000, 0)
    spared.no_evict = True
    held.step()
    assert held.over_limit(held.total) == []
    assert held.over_limit(held.total - 1) == [large]
    assert held.over_limit(1) == [large, small]
    large.peer.pending = 0
    assert held.over_limit(held.total - 1) == [], "it has sent off what it held"


@pytest.mark.parametrize(
    ("text", "maxmemory", "limit"), [("0", "0", 0), ("1mb", "0", 1 << 20), ("5%", "1000", 50)]
)
def test_limit(store: Store, text: str, maxmemory: str, limit: int) -> None:
    store("CONFIG", "SET", "maxmemory-clients", text, "maxmemory", maxmemory)
    assert limit_of(store.node.config) == limit


def test_what_a_client_listens_to_is_held(store: Store) -> None:
    client = connect(store, 0, 0)
    held = store.node.client_memory
    store.raw("SUBSCRIBE", *(f"channel:{n}" for n in range(100)), client=client)
    store("PSUBSCRIBE", "x" * 5000, client=client)
    assert held.bytes_of(client).total > CLIENT_BYTES + 100 * 100 + 5000
    store.raw("UNSUBSCRIBE", client=client)
    assert CLIENT_BYTES + 5000 < held.bytes_of(client).total < CLIENT_BYTES + 6000
    store("RESET", client=client)
    assert held.bytes_of(client).total == CLIENT_BYTES
    store("HELLO", "3", client=client)
    for n in range(50):
        store("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", f"{n:02}", client=client)
    assert held.bytes_of(client).total > CLIENT_BYTES + 50 * 100

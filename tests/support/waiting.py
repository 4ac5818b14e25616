"""Several clients of one store, some of which wait for keys."""

from __future__ import annotations

from typing import Any

import hiredis

from isthmus.node.engine.client import ClientState
from tests.support.store import RedisReplyError, Store


def read_one(data: bytes) -> Any:
    """The one reply that data is."""
    reader = hiredis.Reader(replyError=RedisReplyError)
    reader.feed(data)
    reply = reader.gets()
    assert reader.gets() is False, "more than one reply"
    return reply


class Clients:
    """Clients by name; "main" is the one of the store. What waiting ones got is handed out once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.by_name: dict[str, ClientState] = {}

    def of(self, name: str) -> ClientState:
        """The client with that name, connected if need be."""
        if name not in self.by_name:
            client = self.store.node.new_client()
            client.protocol = self.store.client.protocol
            self.by_name[name] = client
        return self.by_name[name]

    def waits(self, name: str, *args: Any) -> bool:
        """Run a command that makes the client wait."""
        client = self.of(name)
        assert self.store.raw(*args, client=client) == b"", "it did not wait"
        return client.blocked is not None

    def may_wait(self, name: str, *args: Any) -> Any:
        """Run a command that may wait: its reply, or None."""
        client = self.of(name)
        data = self.store.raw(*args, client=client)
        return read_one(data) if data else None

    def served(self) -> dict[str, Any]:
        """What clients that waited have got since the last time."""
        found = {}
        for name, client in self.by_name.items():
            if client.outbox:
                found[name] = read_one(bytes(client.outbox))
                client.outbox.clear()
                assert client.blocked is None
        return found

    def run(self, *args: Any) -> tuple[Any, dict[str, Any]]:
        """Run a command of the main client; its reply, and what others were served by it."""
        reply = self.store(*args)
        return reply, self.served()

    def advance(self, ms: int) -> dict[str, Any]:
        """Let time pass; what clients got because theirs was up."""
        self.store.advance(ms)
        self.store.node.blocking.expire(self.store.clock.now_ms)
        return self.served()

    def leave(self, name: str) -> None:
        """The client's connection is gone."""
        self.store.node.forget_client(self.by_name.pop(name))

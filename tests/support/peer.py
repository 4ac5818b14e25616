"""One connection to a server whose requests and replies need not alternate."""

from __future__ import annotations

import socket
from typing import Any

import hiredis

from tests.support.store import RedisReplyError, encode


class Peer:
    """A connection in one protocol; `id` is what the server calls it."""

    def __init__(self, port: int, protocol: int = 2, seconds_max: float = 10) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds_max)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader(replyError=RedisReplyError)
        self("HELLO", protocol)
        self.id = self("CLIENT", "ID")

    def send(self, *args: Any) -> None:
        self.socket.sendall(hiredis.pack_command(tuple(encode(arg) for arg in args)))

    def receive(self) -> Any:
        while (reply := self.reader.gets()) is False:
            data = self.socket.recv(1 << 16)
            assert data, "the server closed the connection"
            self.reader.feed(data)
        return reply

    def __call__(self, *args: Any) -> Any:
        self.send(*args)
        return self.receive()

    def close(self) -> None:
        self.socket.close()

"""Listeners of a node (io): TCP and unix sockets, and who is let in.

A unix socket is bound under a umask, so it never exists with wider permissions than asked for. A
connection past maxclients, or from another machine while protected mode forbids it, gets Redis'
error and is closed; it costs one short-lived socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.errors import MAX_CLIENTS
from isthmus.node.engine.node import Node
from isthmus.node.server.session import Session
from isthmus.wire.pump import Peer

BACKLOG = 511
DENIED = (
    b"DENIED Redis is running in protected mode because protected mode is enabled and no password "
    b"is set for the default user. Only connections from the same machine are accepted: set a "
    b"password with requirepass, or turn protected-mode off if the network is trusted."
)


def listen_tcp(host: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """A listening TCP socket (port 0: any free one); OSError if it cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The same port of every IPv4 address is another socket's.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def listen_unix(path: Path, permissions: int) -> socket.socket:
    """A listening unix socket at `path`, replacing a stale one; OSError if it cannot be bound."""
    if path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~permissions)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


class Door:
    """Makes the Peer for each accepted connection of one listener."""

    def __init__(self, node: Node, make: Callable[[Node, ClientState], Peer] | None = None) -> None:
        self.node = node
        self.make = make

    def admit(self, fd: int) -> Peer | None:
        """A Session for the connection, or None after refusing and closing it."""
        node = self.node
        accepted = socket.socket(fileno=fd)
        here, there = addresses(accepted)
        refusal = self.refusal(there)
        if refusal:
            node.connections_rejected += 1
            try:
                accepted.send(b"-" + refusal + b"\r\n", socket.MSG_DONTWAIT)
            except OSError:
                pass  # the client is gone already: there is nobody to tell
            accepted.close()
            return None
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keepalive(accepted, node.config.integer("tcp-keepalive"))
        accepted.detach()
        node.connections_received += 1
        state = node.new_client()
        state.fd = fd
        state.address, state.local_address = there, here
        return Session(node, state) if self.make is None else self.make(node, state)

    def refusal(self, address: bytes) -> bytes:
        """Why a connection from `address` is not taken, as an error text; empty if it is."""
        node = self.node
        if len(node.clients) >= node.config.integer("maxclients"):
            return MAX_CLIENTS
        local = address.startswith((b"127.", b"[::1]", b"[::ffff:127.", b"/"))
        if not local and node.config.boolean("protected-mode") and node.acl.default.nopass:
            return DENIED
        return b""


def addresses(connection: socket.socket) -> tuple[bytes, bytes]:
    """(local, remote) of a connection as CLIENT LIST shows them."""
    if connection.family == socket.AF_UNIX:
        path = os.fsencode(connection.getsockname() or "/unix") + b":0"
        return path, path
    try:
        return spell(connection.getsockname()), spell(connection.getpeername())
    except OSError:
        return b"?:0", b"?:0"


def spell(address: tuple[str, int]) -> bytes:
    host, port = address[0], address[1]
    return f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()


def keepalive(connection: socket.socket, seconds: int) -> None:
    """Let the kernel find out that the other end is gone."""
    if seconds <= 0:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

"""Endpoints (io): the sockets on which clients connect, as `bind`, `port` and `unixsocket` say.

`bind` lists addresses: `*` is every IPv4 address, `::*` every IPv6 one; an address behind a dash
may be missing on this machine. With CONFIG SET of bind or port the sockets that are still wanted
stay open, new ones are opened first, and if one cannot be, nothing changes. Connections that exist
stay in any case. Port 0 means any free port, or no TCP at all where there is a unix socket.
"""

from __future__ import annotations

import socket
from pathlib import Path

from isthmus.node.engine.config import ConfigError
from isthmus.node.engine.node import Node
from isthmus.node.server.listener import Door, listen_tcp, listen_unix
from isthmus.wire.pump import Pump

PRIVATE = 0o700
ANY = {"*": "0.0.0.0", "::*": "::"}


def addresses_of(text: str) -> list[tuple[str, bool]]:
    """The addresses that `bind` lists, and whether each may be missing."""
    found = []
    for word in text.split():
        host = word.removeprefix("-")
        found.append((ANY.get(host, host), host != word))
    return found


class Endpoints:
    """The listening sockets for clients of one node."""

    def __init__(self, node: Node, pump: Pump) -> None:
        self.node = node
        self.pump = pump
        self.tcp: dict[tuple[str, int], socket.socket] = {}
        self.unix: socket.socket | None = None
        self.unix_path: Path | None = None
        self.door = Door(node)
        node.config.on_apply("bind", lambda text: self.change("bind"))
        node.config.on_apply("port", lambda text: self.change("port"))

    def open(self) -> str:
        """Open what the configuration says; the first address. Raises OSError."""
        config = self.node.config
        path = config.text("unixsocket")
        if path:
            mode = config.integer("unixsocketperm") or PRIVATE
            self.unix = listen_unix(Path(path), mode)
            self.unix_path = Path(path)
            self.pump.listen(self.unix.fileno(), self.door.admit)
        if path and not config.integer("port"):
            return path
        self.listen()
        (host, port) = next(iter(self.tcp))
        return f"{host}:{port}"

    def listen(self) -> None:
        """Open what is wanted and close what is not; OSError, and then nothing has changed."""
        config = self.node.config
        port = config.integer("port")
        opened: dict[tuple[str, int], socket.socket] = {}
        kept: dict[tuple[str, int], socket.socket] = {}
        try:
            for host, optional in addresses_of(config.text("bind")):
                if (host, port) in self.tcp:
                    kept[host, port] = self.tcp[host, port]
                    continue
                try:
                    listener = listen_tcp(host, port, config.integer("tcp-backlog"))
                except OSError:
                    if optional:
                        continue
                    raise
                # Every address gets the same port, also where any will do.
                port = listener.getsockname()[1]
                opened[host, port] = listener
            if not opened and not kept:
                raise OSError("no address to listen on")
        except OSError:
            for listener in opened.values():
                listener.close()
            raise
        for place, listener in self.tcp.items():
            if place not in kept:
                self.pump.unlisten(listener.fileno())
                listener.close()
        for listener in opened.values():
            self.pump.listen(listener.fileno(), self.door.admit)
        self.tcp = {**kept, **opened}

    def change(self, name: str) -> None:
        """CONFIG SET of bind or port; raises ConfigError if one cannot listen there."""
        why = {
            "port": "Unable to listen on this port. Check server logs.",
            "bind": "Failed to bind to specified addresses.",
        }
        if not self.tcp:
            raise ConfigError(name, why[name])
        try:
            self.listen()
        except OSError:
            raise ConfigError(name, why[name]) from None

    def sockets(self) -> list[socket.socket]:
        """All listening sockets."""
        return [*self.tcp.values(), *([] if self.unix is None else [self.unix])]

    def close(self) -> None:
        """Close all of them and remove the unix socket's file."""
        for listener in self.sockets():
            self.pump.unlisten(listener.fileno())
            listener.close()
        self.tcp = {}
        self.unix = None
        if self.unix_path is not None:
            self.unix_path.unlink(missing_ok=True)

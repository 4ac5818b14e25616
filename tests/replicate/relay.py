"""A TCP relay between a replica and its primary that can cut the link and spoil what goes over it.

One thread moves the bytes; a test tells it what to do by plain attributes. Nothing sleeps.
"""

from __future__ import annotations

import select
import socket
import threading

PIECE_BYTES = 65536
POLL_SECONDS = 0.02


class Relay:
    """Listens on `port` and connects each caller to the target."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.connections = 0
        # Refuse callers.
        self.closed = False
        # Let nothing through.
        self.stalled = False
        # Flip a bit of the byte at this place of what the target says to the next caller.
        self.flip_at = -1
        # Cut the link behind so many bytes of what the target says.
        self.cut_at = -1
        self.said = 0
        self.cutting = threading.Event()
        self.ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.ending = True
        self.thread.join(5)
        self.drop()
        self.listener.close()

    def cut(self) -> None:
        """Break every link; returns when it is broken."""
        self.cutting.set()
        while self.cutting.is_set() and self.thread.is_alive():
            self.thread.join(POLL_SECONDS)

    def drop(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()
        self.pairs = []

    def run(self) -> None:
        while not self.ending:
            if self.cutting.is_set():
                self.drop()
                self.cutting.clear()
            ends = {} if self.stalled else dict(self.pairs)
            ends |= {b: a for a, b in ends.items()}
            ready, _, _ = select.select([self.listener, *ends], [], [], POLL_SECONDS)
            for end in ready:
                if end is self.listener:
                    self.accept()
                elif end.fileno() >= 0:
                    self.move(end, ends[end])

    def accept(self) -> None:
        caller, _ = self.listener.accept()
        if self.closed:
            caller.close()
            return
        try:
            target = socket.create_connection(("127.0.0.1", self.target_port))
        except OSError:
            caller.close()
            return
        self.said = 0
        self.connections += 1
        self.pairs.append((caller, target))

    def move(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            data = source.recv(PIECE_BYTES)
            if data and any(source is target for _, target in self.pairs):
                data = self.spoilt(data)
            if data:
                sink.sendall(data)
                return
        except OSError:
            pass
        for pair in [pair for pair in self.pairs if source in pair]:
            self.pairs.remove(pair)
            for end in pair:
                end.close()

    def spoilt(self, data: bytes) -> bytes:
        """What the target says, as it goes on to the caller."""
        before, self.said = self.said, self.said + len(data)
        if before <= self.flip_at < self.said:
            changed = bytearray(data)
            changed[self.flip_at - before] ^= 1
            self.flip_at = -1
            data = bytes(changed)
        if 0 <= self.cut_at < self.said:
            data = data[: max(self.cut_at - before, 0)]
            self.cut_at = -1
            self.cutting.set()
        return data

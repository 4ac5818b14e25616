"""Several clients of one server, a step at a time: what did each get to read, byte for byte?

A step is one request of one client. After it, a connection nobody else uses is asked twice: the
answer to the second question is given in a later turn of the server's loop, and by then everything
that the step made the server send to anybody lies in the sockets, unless the kernel itself is late:
so before two servers are said to differ, both are asked a few times more.

`$name` in a request is the number that the client of that index has on its server (`$id0`); in what
is compared, these numbers are spelt `$id0` again, because the two servers count differently.
"""

from __future__ import annotations

import socket

import hiredis

from tests.support.servers import Server

Step = tuple[int, str]
PING = b"PING\r\n"
PONG = b"+PONG\r\n"
AGAIN = 5


class Clients:
    """Connections to one server; `protocols` has the protocol of each."""

    def __init__(self, host: str, port: int, protocols: list[int]) -> None:
        self.control = socket.create_connection((host, port), timeout=10)
        self.sockets: list[socket.socket] = []
        self.numbers: list[bytes] = []
        for protocol in protocols:
            made = socket.create_connection((host, port), timeout=10)
            self.sockets.append(made)
            made.sendall(b"HELLO %d\r\nPING\r\nCLIENT ID\r\n" % protocol)
            got = b""
            while not (PONG in got and got.rpartition(PONG)[2].endswith(b"\r\n")):
                got += made.recv(65536)
            made.setblocking(False)
            self.numbers.append(got.rpartition(b":")[2].strip())

    def settle(self) -> None:
        """Return once all that the server has to send is sent."""
        for _ in range(2):
            self.ask(PING, PONG)

    def ask(self, request: bytes, answer: bytes) -> None:
        """Send a request on the connection nobody else uses and read its answer."""
        self.control.sendall(request)
        got = b""
        while got != answer:
            got += self.control.recv(100)

    def own(self, line: str) -> bytes:
        """A request as bytes, with the numbers of clients filled in."""
        words = line.encode().split(b" ")
        for index, number in enumerate(self.numbers):
            words = [number if word == b"$id%d" % index else word for word in words]
        packed: bytes = hiredis.pack_command(tuple(words))
        return packed

    def step(self, index: int, line: str) -> list[bytes]:
        """Let one client send a request; what each client read afterwards."""
        try:
            self.sockets[index].sendall(self.own(line))
        except OSError:
            pass  # the server has closed it; that it did is among what is read
        return self.more([b""] * len(self.sockets))

    def more(self, before: list[bytes]) -> list[bytes]:
        """What each client has read, with what has come since."""
        self.settle()
        now = [self.read(each) for each in self.sockets]
        return [old + new for old, new in zip(before, now, strict=True)]

    def read(self, stream: socket.socket) -> bytes:
        got = b""
        while stream.fileno() >= 0:
            try:
                data = stream.recv(65536)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                stream.close()
                got += b"<closed>"
                break
            got += data
        return self.neutral(got)

    def neutral(self, text: bytes) -> bytes:
        for index, number in enumerate(self.numbers):
            text = text.replace(b":%b\r\n" % number, b":$id%d\r\n" % index)
        return text

    def close(self) -> None:
        for each in (self.control, *self.sockets):
            each.close()


def both(left: Clients, right: Clients, index: int, line: str) -> tuple[list[bytes], list[bytes]]:
    """A step on both servers: what their clients read."""
    mine, real = left.step(index, line), right.step(index, line)
    for _ in range(AGAIN):
        if mine == real:
            break
        mine, real = left.more(mine), right.more(real)
    return mine, real


def compare(ours: tuple[str, int], theirs: Server, protocols: list[int], steps: list[Step]) -> None:
    """Play the steps on both servers, new clients each; all clients must read the same."""
    left = Clients(*ours, protocols)
    right = Clients(theirs.host, theirs.port, protocols)
    try:
        for each in (left, right):
            each.ask(b"FLUSHALL\r\n", b"+OK\r\n")
        for at, (index, line) in enumerate(steps):
            mine, real = both(left, right, index, line)
            if mine != real:
                shown = "\n".join(f"{index}: {line}" for index, line in steps[: at + 1])
                raise AssertionError(f"\n  ours:   {mine}\n  theirs: {real}\nafter\n{shown}")
    finally:
        left.close()
        right.close()

"""Four clients on each side: who waits, who is woken, and what is pushed to whom.

A step is (client, request). After each the outputs of all clients are compared: the replies of the
one who asked, of those whom it woke, and pushes. A client without a reply waits, and is not asked
again before it has one. `@id:N` stands for the id of client N, which is another on each side.

A server has sent all that a request causes when a second PING on a further connection has been
answered: the first may still be served in the same turn of its loop, the second cannot.
"""

from __future__ import annotations

import random
import re
import select
import socket
from typing import Any

import hiredis

from isthmus.node.engine.registry import COMMANDS
from tests.oracle.differ import InProcess, Real, Request, compare_contents, show
from tests.oracle.pools import CROWDS, POOLS
from tests.oracle.replies import Incomplete, agree, parse
from tests.support.servers import Server

PROTOCOLS = (2, 2, 3, 3)
PATIENCE_SECONDS = 0.3
Step = tuple[int, Request]
Outputs = list[list[bytes]]


class Fault(AssertionError):
    """The two sides told their clients different things."""

    def __init__(self, steps: list[Step], ours: object, theirs: object) -> None:
        self.argv = steps[-1][1] if steps else []
        shown = "\n".join(f"{client}> {show(argv)}" for client, argv in steps)
        super().__init__(f"  ours:   {ours!r}\n  theirs: {theirs!r}\nafter\n{shown}")


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole replies, and the rest."""
    found, at = [], 0
    while True:
        try:
            _, end = parse(data, at)
        except Incomplete:
            return found, data[at:]
        found.append(data[at:end])
        at = end


class RealCrowd:
    """Clients of a server behind sockets."""

    def __init__(self, server: Server) -> None:
        self.fence = Real(server, 2).configure()
        self.server = server
        self.members: list[socket.socket] = []
        self.ids: list[bytes] = []

    def reset(self) -> None:
        """New connections, an empty server, events of all keys."""
        self.close()
        self.fence([b"FLUSHALL"])
        self.fence([b"CONFIG", b"SET", b"notify-keyspace-events", b"AKE"])
        self.fence([b"FUNCTION", b"FLUSH"])
        for protocol in PROTOCOLS:
            real = Real(self.server, protocol)
            self.ids.append(real([b"CLIENT", b"ID"])[1:-2])
            real.socket.setblocking(False)
            self.members.append(real.socket)
        self.rests = [b""] * len(PROTOCOLS)

    def close(self) -> None:
        for member in self.members:
            member.close()
        self.members, self.ids = [], []
        # The server has only seen it in a later turn of its loop.
        for _ in range(2):
            self.fence([b"PING"])

    def __call__(self, client: int, argv: Request, expected: list[int]) -> Outputs:
        """The outputs; of whom more replies are expected than have come is waited for a little."""
        self.members[client].sendall(hiredis.pack_command(tuple(argv)))
        for _ in range(2):
            self.fence([b"PING"])
        outputs: Outputs = [[] for _ in self.members]
        late = self.members
        patience = 0.0
        while late:
            for member in select.select(late, [], [], patience)[0]:
                number = self.members.index(member)
                self.rests[number] += member.recv(1 << 20)
                found, self.rests[number] = split(self.rests[number])
                outputs[number] += found
            if patience:
                break
            # The kernel may be late with what the server has sent.
            late = [
                member for member, found, count in zip(self.members, outputs, expected, strict=True)
                if len(found) < count
            ]  # fmt: skip
            patience = PATIENCE_SECONDS
        return outputs


class OurCrowd:
    """Clients of our node, in process."""

    def __init__(self, now_ms: int) -> None:
        self.side = InProcess(2, now_ms)
        self.store = self.side.store
        self.store("CONFIG", "SET", "notify-keyspace-events", "AKE")
        self.members = [self.store.node.new_client() for _ in PROTOCOLS]
        for member, protocol in zip(self.members, PROTOCOLS, strict=True):
            member.protocol = protocol
        self.ids = [b"%d" % member.id for member in self.members]

    def __call__(self, client: int, argv: Request) -> Outputs:
        outputs = []
        reply = self.store.raw(*argv, client=self.members[client])
        for number, member in enumerate(self.members):
            data = (reply if number == client else b"") + bytes(member.outbox)
            member.outbox.clear()
            found, rest = split(data)
            assert not rest, data
            outputs.append(found)
        return outputs


def steps_of(crowd: str, seeds: list[int]) -> list[Step]:
    """The steps that these seeds draw from the lines of a crowd."""
    steps = []
    # Of commands that exist; one that does not is the business of the tests of declarations.
    lines = [line for line in CROWDS[crowd] if line.split(" ")[0].encode() in COMMANDS]
    for seed in seeds:
        rng = random.Random(seed)
        line = rng.choice(lines)
        argv = [
            rng.choice(POOLS[word[1:]]) if word[1:] in POOLS and word[0] == "$" else word.encode()
            for word in line.split(" ")
        ]
        steps.append((rng.randrange(len(PROTOCOLS)), argv))
    return steps


def run(theirs: RealCrowd, steps: list[Step]) -> None:
    """The steps on both sides; Fault at the first difference."""
    theirs.reset()
    try:
        compare_steps(OurCrowd(theirs.fence.now_ms()), theirs, steps)
    finally:
        # Whoever still waits would take what later streams push.
        theirs.close()


def compare_steps(ours: OurCrowd, theirs: RealCrowd, steps: list[Step]) -> None:
    # The command whose reply each client has not got yet, and what its transaction holds.
    pending: list[Request | None] = [None] * len(PROTOCOLS)
    queues: list[list[Request]] = [[] for _ in PROTOCOLS]
    for at, (client, argv) in enumerate(steps):
        if pending[client] is not None:
            continue
        pending[client] = argv
        mine = ours(client, addressed(argv, ours.ids))
        real = theirs(client, addressed(argv, theirs.ids), [len(replies) for replies in mine])
        done = steps[: at + 1]
        for number, (one, other) in enumerate(zip(mine, real, strict=True)):
            compare_outputs(done, pending, queues, number, one, other)
    compare_contents(ours.side, theirs.fence, [argv for _, argv in steps])
    ours.store.check_replay()


def nameless(reply: bytes) -> bytes:
    """Channels have no order, so of an unsubscription the count that is left is not compared."""
    return re.sub(rb"(subscribe\r\n(?:\$\d+\r\n.*\r\n|[$_].*\r\n)):\d+", rb"\1", reply)


def addressed(argv: Request, ids: list[bytes]) -> Request:
    return [ids[int(word[4:])] if word.startswith(b"@id:") else word for word in argv]


def compare_outputs(
    done: list[Step], pending: list[Any], queues: list[list[Request]], number: int,
    ours: list[bytes], theirs: list[bytes],
) -> None:  # fmt: skip
    """What one client was told by the two sides."""
    argv = pending[number] or [b""]
    same = len(ours) == len(theirs) and all(
        agree(argv, queues[number], one, other) for one, other in zip(ours, theirs, strict=True)
    )
    if not same and sorted(map(nameless, ours)) != sorted(map(nameless, theirs)):
        raise Fault(done, (number, ours), (number, theirs))
    if theirs and not all(each.startswith(b">") for each in theirs):
        if theirs[0] == b"+QUEUED\r\n":
            queues[number].append(argv)
        elif argv[0] in (b"EXEC", b"DISCARD", b"RESET"):
            queues[number] = []
        pending[number] = None
    elif theirs and argv[0].upper().endswith(b"SUBSCRIBE"):
        pending[number] = None

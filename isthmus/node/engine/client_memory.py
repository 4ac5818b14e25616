"""What a connection holds of our memory, for CLIENT LIST, INFO, and maxmemory-clients.

A connection costs its objects, the input that waits in its parser, the output that waits for its
socket, what it has queued in a transaction, what it watches and what it listens to. Replies are
written into one buffer for all connections and sent at once, so there is no reply buffer of its own
to count; what the socket does not take is the output here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.config import Config

# The objects of one connection, measured over a thousand idle ones.
CLIENT_BYTES = 2600
WATCHED_KEY_BYTES = 200
PREFIX_BYTES = 200
LOOKS_PER_STEP_MIN = 256
STEPS_PER_ROUND = 10


class ClientBytes(NamedTuple):
    """Bytes by purpose; `total` is all of them and the connection's own objects."""

    input: int
    argv: int
    queued: int
    output: int
    total: int


def bytes_of(client: ClientState, argv: list[bytes] | None = None) -> ClientBytes:
    """The memory of a client; `argv` is the request it is running, if any.

    While a request runs, its bytes are still in the buffer it was received into.
    """
    peer = client.peer
    pending = 0 if peer is None else peer.parser.pending
    if argv is not None:
        pending += request_bytes(argv)
    elif client.blocked is not None:
        argv = client.blocked.argv
    waiting = sum(map(len, argv)) if argv else 0
    output = len(client.outbox) if peer is None else peer.pending_output()
    watched = sum(WATCHED_KEY_BYTES + len(key) for _, key in client.watched)
    names = len(client.name) + len(client.lib_name) + len(client.lib_version)
    total = CLIENT_BYTES + names + pending + waiting + client.queued_bytes + output + watched
    return ClientBytes(pending, waiting, client.queued_bytes, output, total)


def request_bytes(argv: list[bytes]) -> int:
    """How long a request is on the wire: "*2", "$3", "GET" ... each with CR and LF."""
    return 3 + len(str(len(argv))) + sum(5 + len(str(len(arg))) + len(arg) for arg in argv)


def limit_of(config: Config) -> int:
    """maxmemory-clients in bytes, a share of maxmemory if it is written so; 0: no limit."""
    text = config.text("maxmemory-clients")
    if text.endswith("%"):
        return int(config.integer("maxmemory")) * int(text[:-1]) // 100
    return int(text)


class ClientMemory:
    """The memory of all connections, as of the last look at each.

    Looking at every connection at once would hold the loop up when there are thousands, so `step`
    looks at some of them in turn: all within about a second, and few ones every time.
    """

    def __init__(self, node: Any, clients: dict[int, ClientState]) -> None:
        self.node = node
        self.clients = clients
        self.sizes: dict[int, int] = {}
        self.total = 0
        # The most that waited in one connection, each way: in the last round, and in this one.
        self.recent = (0, 0)
        self._peak = (0, 0)
        self._round: list[int] = []

    def step(self) -> None:
        """Look at the next connections."""
        if not self._round:
            self._round = list(self.clients)
            self.recent, self._peak = self._peak, (0, 0)
        count = max(LOOKS_PER_STEP_MIN, len(self.clients) // STEPS_PER_ROUND)
        for _ in range(min(count, len(self._round))):
            client = self.clients.get(self._round.pop())
            if client is not None:
                self._look(client)

    def bytes_of(self, client: ClientState, argv: list[bytes] | None = None) -> ClientBytes:
        """As the function of this name, and what the client listens to."""
        held = bytes_of(client, argv)
        more: int = self.node.pubsub.of(client).held
        how = self.node.tracking.clients.get(client)
        if how is not None:
            # Prefixes of one client do not overlap, so they are short if they are many.
            more += PREFIX_BYTES * len(how.prefixes)
        return held._replace(total=held.total + more)

    def _look(self, client: ClientState) -> int:
        held = self.bytes_of(client)
        size = held.total
        self._peak = max(self._peak[0], held.input), max(self._peak[1], held.output)
        self.total += size - self.sizes.get(client.id, 0)
        self.sizes[client.id] = size
        return size

    def forget(self, client: ClientState) -> None:
        """The connection is gone."""
        self.total -= self.sizes.pop(client.id, 0)

    def recent_input(self) -> int:
        """The most input that waited in one connection lately, in bytes."""
        return max(self.recent[0], self._peak[0])

    def recent_output(self) -> int:
        """The most output that waited for one connection lately, in bytes."""
        return max(self.recent[1], self._peak[1])

    def buffers(self) -> int:
        """The part that is not the objects of the connections."""
        return max(0, self.total - CLIENT_BYTES * len(self.sizes))

    def over_limit(self, limit: int) -> list[ClientState]:
        """The clients to close so that the others hold at most `limit` bytes: the largest first.

        Those that asked to be spared (CLIENT NO-EVICT) count, but are not closed,
        and so do replicas.
        """
        total = self.total
        if total <= limit:
            return []
        chosen = []
        for client_id in sorted(self.sizes, key=self.sizes.__getitem__, reverse=True):
            client = self.clients.get(client_id)
            if client is None or client.no_evict or client.peer is None or client.replica:
                continue
            # The last look may be old: nobody is closed for what it has sent off meanwhile.
            total -= self.sizes[client_id]
            size = self._look(client)
            if total + size <= limit:
                break
            chosen.append(client)
            if total <= limit:
                break
        return chosen

"""The router: which node a request goes to, and what becomes of one that a node did not answer.

A node's error is passed on as it is, but for those that say "not me" or "not now". After these
the request has not been carried out, so it may be sent again without harm:

    MOVED   to the node named, at most `TRIES_MAX` times; if the node that said so knew at least our
            topology, the slot is the other's from now on (the next topology replaces all)
    ASK     to the node named, behind an ASKING
    CLUSTERDOWN, LOADING, or no link to the node: *parked* and sent again every few milliseconds
            until `PARK_MS_MAX` have passed; the client sees a pause instead of an error

Order. A client's requests for one slot reach its node in the order they were made. So a request
that a node refused is parked only if nothing that its client sent after it is under way, and its
client is not read while it is parked; otherwise its client gets the error. One whose node has no
link, or is not known yet, is always parked: what follows it there is parked behind it, and sent
behind it. When a slot goes to another node, clients with requests under way are not read until
these are answered: one of them may come back with a MOVED.

A shard gets another node in one of two ways. If the old one agreed (`planned`), it has handed over
all it had, and what it still answers is true. Else it may not know yet that it is not asked any
more: what it says under its old topology is not passed on (`Link.distrust`).

A link that is lost takes the answers with it. A write that was under way may or may not have been
carried out: its client is told so. A read is sent once more.

The router is pure: `now_ms` (any clock that does not go back) and the sockets come from outside.
"""

from __future__ import annotations

from typing import Any

from isthmus.proxy.backend import LINK_BYTES_MAX, LINK_PENDING_MAX, Backend
from isthmus.proxy.pending import Client, Pending
from isthmus.proxy.topology import Topology
from isthmus.wire.parser import RequestParser
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64
from isthmus.wire.slots import SLOTS

TRIES_MAX = 5
PARK_MS_MAX = 6000
PARKED_MAX = 8192
BUSY = b"-BUSY too many requests wait for the shard, try again later\r\n"
UNSERVED = b"-CLUSTERDOWN Hash slot not served\r\n"
UNREACHABLE = b"-CLUSTERDOWN the shard cannot be reached\r\n"
LOST = b"-ERR outcome unknown: connection to the shard was lost\r\n"
NOT_NOW = frozenset({b"-CLUSTERDOWN", b"-LOADING", b"-MASTERDOWN"})


class Router:
    """The topology in force, the nodes in it, and the requests that wait for better times."""

    def __init__(self) -> None:
        self.slots: list[Backend | None] = [None] * SLOTS
        self.backends: dict[str, Backend] = {}
        self.by_address: dict[bytes, Backend] = {}
        self.shards: list[Backend] = []
        self.parked: list[Pending] = []
        self.clients: dict[int, Any] = {}
        self.scratch = ReplyWriter()
        # Moves now_ms, which is otherwise coarse; and sees to it that `retry` is called soon.
        self.refresh: Any = None
        self.on_park: Any = None
        self.cluster = ""
        self.epoch = 0
        self.now_ms = 0
        self.turn = 0
        self.requests = 0
        self.redirects = 0
        self.retries = 0
        self.unknown = 0
        self.refused = 0
        self.error_replies = 0

    # -- topology -----------------------------------------------------------------------------

    def apply(self, topology: Topology) -> tuple[list[Backend], list[Backend]]:
        """Take over a topology; (nodes that are new, nodes that are gone).

        A node whose link address changed counts as gone and new. An older topology changes nothing.
        """
        if topology.epoch < self.epoch:
            return [], []
        self.doubt(topology)
        self.cluster, self.epoch = topology.cluster, topology.epoch
        before, self.backends, self.shards = self.backends, {}, []
        slots: list[Backend | None] = [None] * SLOTS
        new = []
        for shard in topology.shards:
            backend = before.get(shard.id)
            if backend is None or backend.link_address != shard.link_address:
                backend = Backend(shard.id, shard.shard, shard.address, shard.link_address)
                new.append(backend)
            else:
                backend.shard, backend.address = shard.shard, shard.address.encode()
            self.backends[shard.id] = backend
            self.shards.append(backend)
            for first, last in shard.slots:
                slots[first : last + 1] = [backend] * (last + 1 - first)
        if slots != self.slots:
            self.slots = slots
            self.rerouted()
        self.by_address = {backend.address: backend for backend in self.shards}
        gone = [old for name, old in before.items() if self.backends.get(name) is not old]
        return new, gone

    def doubt(self, topology: Topology) -> None:
        """Do not believe nodes that lose a shard and may not know it."""
        owners = {shard.shard: shard for shard in topology.shards}
        for backend in self.shards:
            owner = owners.get(backend.shard)
            if owner is None or backend.link is None:
                continue
            if owner.id != backend.id and not owner.planned:
                backend.link.distrust(owner.epoch)

    def rerouted(self) -> None:
        """A slot has another node: no client's next request may overtake one sent to the old."""
        for client in self.clients.values():
            client.drain()

    def any_backend(self) -> Backend | None:
        """A node that can be asked now, in turn; else any; None if there is none."""
        count = len(self.shards)
        for _ in range(count):
            self.turn += 1
            backend = self.shards[self.turn % count]
            if backend.link is not None:
                return backend
        return self.shards[0] if count else None

    # -- requests out -------------------------------------------------------------------------

    def place(self, pending: Pending) -> Backend | None:
        """The node a request is for."""
        backend: Backend | None = pending.backend
        if backend is None and pending.slot >= 0:
            backend = self.slots[pending.slot]
        return backend

    def submit(self, pending: Pending, parser: RequestParser | None) -> i64:
        """Send a request to its node; with `parser`, as the bytes it was read from."""
        backend = self.place(pending)
        link = None if backend is None else backend.link
        if link is None:
            self.unplaced(pending, backend)
            return 0
        if link.waiting >= LINK_PENDING_MAX or link.pending_output() > LINK_BYTES_MAX:
            self.refused += 1
            pending.finish(BUSY)
            return 0
        if parser is not None:
            link.add_request(parser, pending.flags, pending.protocol, self.epoch)
        else:
            link.add_argv(pending.argv, pending.flags, pending.protocol, self.epoch)
        self.requests += 1
        link.push(pending)
        return 0

    def unplaced(self, pending: Pending, backend: Backend | None) -> None:
        """The node of a request has no link, or its slot no node."""
        if backend is None:
            error = UNSERVED if self.epoch else UNREACHABLE
        else:
            error = UNREACHABLE
            if backend.lost_ms and self.now_ms - backend.lost_ms > PARK_MS_MAX:
                pending.finish(error)
                return
        if not self.park(pending, alone=backend is None):
            pending.finish(error)

    # -- requests that were not answered ------------------------------------------------------

    def failed(self, pending: Pending, data: bytes, epoch: int) -> None:
        """A node of topology `epoch` answered with an error."""
        code = data.split(b" ", 1)[0]
        if code == b"-MOVED" and self.moved(pending, data, epoch):
            return
        if code == b"-ASK" and self.asked(pending, data):
            return
        if code in NOT_NOW and self.park(pending):
            return
        self.error_replies += 1
        pending.finish(data)

    def moved(self, pending: Pending, data: bytes, epoch: int) -> bool:
        """Follow a MOVED. False if it leads nowhere, which is the end of it."""
        self.redirects += 1
        words = data.split()
        target = self.by_address.get(words[2]) if len(words) == 3 else None
        pending.tries += 1
        if target is None or not words[1].isdigit() or pending.tries > TRIES_MAX:
            pending.backend = None
            # A node that we shall hear of soon. What follows this is told the same, and waits too.
            if not self.park(pending, alone=target is not None):
                pending.finish(UNSERVED)
            return True
        slot = int(words[1])
        if epoch >= self.epoch & 0xFFFFFFFF and slot < SLOTS and self.slots[slot] is not target:
            self.slots[slot] = target
            self.rerouted()
        if pending.gather is not None and pending.slot >= 0 and pending.flags:
            pending.gather.divide_again(pending)
            return True
        pending.backend = target
        self.submit(pending, None)
        pending.backend = None
        return True

    def asked(self, pending: Pending, data: bytes) -> bool:
        """Follow an ASK. False if the node it names cannot be reached."""
        words = data.split()
        target = self.by_address.get(words[2]) if len(words) == 3 else None
        pending.tries += 1
        if target is None or target.link is None or pending.tries > TRIES_MAX:
            return False
        self.redirects += 1
        permit = Pending()
        permit.argv = [b"ASKING"]
        permit.backend = pending.backend = target
        permit.protocol = pending.protocol
        permit.route = pending.route
        self.submit(permit, None)
        self.submit(pending, None)
        pending.backend = None
        return True

    def lost(self, pending: Pending) -> None:
        """The link on which a request was under way is gone."""
        if pending.route.write:
            self.unknown += 1
            pending.finish(LOST)
        elif pending.retried or not self.park(pending, alone=False):
            pending.finish(UNREACHABLE)
        else:
            pending.retried = True

    def park(self, pending: Pending, *, alone: bool = True) -> bool:
        """Send a request again later. False if it may not wait (any longer).

        `alone` refuses if its client has sent more since: the order would not be kept.
        """
        client = pending.owner()
        if client is None or not client.open or len(self.parked) >= PARKED_MAX:
            return False
        whole = pending if pending.gather is None else pending.gather.whole
        if alone and client.last is not whole:
            return False
        if self.on_park is not None:
            self.refresh()
            self.on_park()
        if not pending.deadline_ms:
            pending.deadline_ms = self.now_ms + PARK_MS_MAX
        if self.now_ms >= pending.deadline_ms:
            return False
        client.parked += 1
        client.held = client.attention = True
        self.parked.append(pending)
        return True

    def retry(self) -> None:
        """Send what is parked; whoever calls this has set now_ms."""
        parked, self.parked = self.parked, []
        released: dict[Client, None] = {}
        for pending in parked:
            client = pending.owner()
            if client is None or not client.open:
                continue
            client.parked -= 1
            pending.tries = 0
            self.retries += 1
            released[client] = None
            self.submit(pending, None)
        for client in released:
            if client.attention:
                client.attend()

"""Give: the side of a move that has the slots: a cut of them, then what changes in them (pure).

The primary of the other shard comes as a replica would, with `REPLCONF isthmus-move ID` before its
PSYNC, and is sent a snapshot of the slots that move and behind it every effect that concerns them:
a stream of its own, whose offsets begin at 0 with the snapshot. States:

    WAITING     until no other cut is being taken, and no script stands still half done
    SENDING     the snapshot goes out (replicate/full_sync.py)
    READY       it is out; nothing follows before the other has applied it and says so
    ONLINE      the stream goes out as it arises
    YIELDING    clients that ask for these slots wait; the other does not have everything yet
    YIELDED     it has, and the coordinator was told: the slots may change hands

What cannot be sent on faithfully ends the connection, and the other side begins anew: a flush of
the whole database, an effect with keys inside and outside, more of the stream than fits into
`FEED_BYTES_MAX` (it changes faster than it is taken). An effect without keys concerns no slot.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.effect_log import Effect
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.spec import CommandSpec
from isthmus.node.moves.masks import mask_of
from isthmus.node.persist.aof_format import NO_DB, encode_batch
from isthmus.node.replicate.primary import ONLINE, READY, SENDING, WAITING, WINDOW_BYTES
from isthmus.wire.slots import key_slot

YIELDING, YIELDED = ONLINE + 1, ONLINE + 2
WORDS = {
    WAITING: "waiting", SENDING: "sending", READY: "sent", ONLINE: "following",
    YIELDING: "yielding", YIELDED: "yielded",
}  # fmt: skip
FEED_BYTES_MAX = 256 << 20
FLUSHES = (b"FLUSHDB", b"FLUSHALL", b"SWAPDB")
FLUSHED = "all data was flushed"
MIXED = "one change concerns slots that move and slots that stay"
TOO_FAST = f"more than {FEED_BYTES_MAX} bytes of changes wait to be taken"


class Unfaithful(Exception):
    """What happened cannot be told to the other side."""


def keys_of(argv: list[bytes]) -> list[bytes]:
    """The keys of a canonical command; none for one that concerns no key."""
    spec: CommandSpec = COMMANDS[argv[0].lower()]
    if spec.handler is None:
        spec = spec.subcommands[argv[1].lower()]
    if spec.one_key:
        return [argv[spec.first_key]]
    return [argv[at] for at in spec.key_positions(argv)]


def concerning(batch: list[Effect], mask: bytes) -> list[Effect]:
    """The effects whose keys are in slots of `mask`; raises Unfaithful."""
    found = []
    for effect in batch:
        argv = effect.argv
        if not argv[0]:
            continue
        if argv[0] in FLUSHES:
            raise Unfaithful(FLUSHED)
        inside = [mask[key_slot(key)] for key in keys_of(argv)]
        if not any(inside):
            continue
        if not all(inside):
            raise Unfaithful(MIXED)
        found.append(effect)
    return found


class Given:
    """One move, and the connection over which its slots are fetched."""

    def __init__(self, move: Any, client: ClientState, replid: str) -> None:
        self.move = move
        self.client = client
        self.replid = replid
        self.mask = mask_of(move.slots)
        self.state = WAITING
        self.greeting = b""
        # What was sent of the stream, what there is of it, and what the other side has for good.
        self.sent = 0
        self.end = 0
        self.acked = 0
        # Where it ended when clients began to wait, and the epoch of the order to let them.
        self.final = 0
        self.order = 0
        # The order that the other side knows of.
        self.known = 0
        self.queue: deque[bytes] = deque()
        self.db = NO_DB
        self.cut: Any = None
        self.problem = ""

    def peer(self) -> Any:
        """Its connection, or None if that is gone."""
        peer = self.client.peer
        return peer if peer is not None and peer.open else None

    def effects(self, batch: list[Effect]) -> None:
        """Changes of data: those that concern us go into the stream."""
        if self.problem:
            return
        try:
            chosen = concerning(batch, self.mask)
            if not chosen:
                return
            data, self.db = encode_batch(chosen, self.db)
            if self.end - self.sent + len(data) > FEED_BYTES_MAX:
                raise Unfaithful(TOO_FAST)
        except Unfaithful as reason:
            # Whoever looks next cuts the connection; here others are being served.
            self.problem = str(reason)
            return
        self.queue.append(data)
        self.end += len(data)

    def hand_on(self) -> None:
        """Give the connection what it may take."""
        peer = self.peer()
        if peer is None:
            return
        if self.greeting:
            peer.send(self.greeting)
            self.greeting = b""
        if self.state < ONLINE:
            return
        queue = self.queue
        while queue and peer.pending_output() < WINDOW_BYTES:
            # A turn makes many small pieces: together they are one copy less each.
            taken = [queue.popleft()]
            size = len(taken[0])
            while queue and size < WINDOW_BYTES // 8:
                taken.append(queue.popleft())
                size += len(taken[-1])
            self.sent += size
            peer.send(b"".join(taken))
        peer.fed = bool(queue)

    def report(self, epoch: int) -> dict[str, Any]:
        """How it stands, for the coordinator."""
        cut = self.cut
        return {
            "id": self.move.id, "side": "source", "epoch": epoch, "state": WORDS[self.state],
            "order": self.order, "lag": self.end - self.acked,
            "keys": 0 if cut is None else cut.keys_total,
            "keys_done": 0 if cut is None else min(cut.keys_done(), cut.keys_total),
        }  # fmt: skip

"""Take: the side of a move to which slots come: what is fetched becomes this node's own (pure).

Two phases. First the snapshot of the slots, as commands (entries.py); then the stream behind it,
which is what any stream of a primary is (replicate/apply.py), but for offsets of its own: 0 is the
snapshot. Both are run as if a client had asked for them, so that the node's own replicas, its
append only file and whoever else follows its effects have them too; but no time has come for
anything meanwhile (`Clock.loading`): when a key expires is for the source to say.

`acknowledged` is what the source may be told: what is applied here, and is also on a replica whose
word counts, if there is such a one. Then a failover of this shard loses nothing of it, and the
slots may change hands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.spec import CommandSpec
from isthmus.node.moves.entries import entries
from isthmus.node.moves.give import keys_of
from isthmus.node.replicate.apply import StreamApplier, StreamError
from isthmus.wire.rdb_reader import RdbError, RdbReader
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

COMMANDS_PER_LOOK = 8
# No more than this goes ahead of what a counted replica has.
AHEAD_BYTES_MAX = 4 << 20
Call = tuple[CommandSpec, list[bytes]]


class Taker(StreamApplier):
    """Applies what comes of the slots in `mask`."""

    def __init__(self, node: Any, mask: bytes) -> None:
        self.mask = mask
        self.applied = 0
        # (offset of the move's stream, end of this node's stream when that was applied).
        self.notes: deque[tuple[int, int]] = deque()
        self.safe = -1
        self.told = (-1, 0)
        self.entries: Iterator[list[bytes]] | None = None
        self.keys = 0
        super().__init__(node)

    # -- the snapshot -------------------------------------------------------------------------

    def open(self, reader: RdbReader) -> None:
        """Begin with a snapshot."""
        self.entries = entries(reader)

    def load(self, deadline_ns: i64) -> bool:
        """Take some of the snapshot. True while more is left; raises StreamError."""
        assert self.entries is not None
        clock = self.node.clock
        clock.refresh()
        while True:
            for _ in range(COMMANDS_PER_LOOK):
                try:
                    argv = next(self.entries, None)
                except (RdbError, ValueError) as error:
                    raise StreamError(0, str(error)) from None
                if argv is None:
                    self.entries = None
                    self.note()
                    return False
                if argv[0] == b"FUNCTION":
                    self.library(argv[2])
                else:
                    self.perform([(COMMANDS[argv[0].lower()], argv)])
                    self.keys += 1
            if clock.mono_ns() >= deadline_ns:
                return True

    def library(self, code: bytes) -> None:
        """A library of functions: a shard that is new has none, and clients expect the same ones
        everywhere."""
        scripts = self.node.scripts
        if scripts is None or code in scripts.library_codes():
            return
        load = COMMANDS[b"function"].subcommands[b"load"]
        try:
            self.perform([(load, [b"FUNCTION", b"LOAD", code])])
        except StreamError:
            # There is one of that name: clients have changed it here, and that is newer.
            return

    # -- the stream ---------------------------------------------------------------------------

    def offset(self) -> int:
        """Where the command that is being applied ends."""
        return self.applied + len(self.raw) - int(self.parser.pending)

    def commit(self, count: int) -> None:
        """The first `count` bytes of `raw` have been applied."""
        if count:
            del self.raw[:count]
            self.applied += count
            self.note()

    def perform(self, calls: list[Call]) -> None:
        """Run commands as one; raises StreamError, also for what is not of the slots."""
        for spec, argv in calls:
            if spec.name != b"select" and not all(
                self.mask[key_slot(key)] for key in keys_of(argv)
            ):
                raise StreamError(self.offset(), f"{argv[0]!r} concerns slots that do not move")
        super().perform(calls)

    # -- what the source may be told ----------------------------------------------------------

    def note(self) -> None:
        """What was applied so far is in this node's stream up to here."""
        self.notes.append((self.applied, int(self.node.replication.offset)))

    def ahead(self) -> int:
        """Bytes of this node's stream that no counted replica has; 0 where none counts."""
        duty = self.node.duty
        if not duty.counts_replicas():
            return 0
        return max(0, int(self.node.replication.offset) - int(duty.acked))

    def acknowledged(self, order: int) -> int | None:
        """What the source may be told, if that is news to it under this order; else None."""
        duty = self.node.duty
        safe = int(duty.acked) if duty.counts_replicas() else (1 << 62)
        while self.notes and self.notes[0][1] <= safe:
            self.safe = self.notes.popleft()[0]
        if self.safe < 0 or (self.safe, order) == self.told:
            return None
        self.told = self.safe, order
        return self.safe

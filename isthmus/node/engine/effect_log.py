"""EffectLog: the ordered record of every change of data, and the sinks that react to it.

An effect is a canonical write command, decided in full where it began: absolute times, the members
that were drawn at random, resolved scores. Applying it again reads no clock and no randomness, so
the encoded log is what AOF, replicas, slot moves and geo links carry.

`dirty` counts changes always; effects themselves are built only while `recording`, that is while a
sink listens, so a node without persistence or replicas does not pay for them. Sinks get the batch
after the command (`flush`), never in the middle of it. An effect whose command has an empty name is
an event without a change; it is made only while a sink asked for such by `noting`.

While a script is paused in the middle (`held`) nothing is handed over: a sink sees all of a
script or nothing.

`interest` says who else must hear of each changed key (keyspace.py), and `pending` that something
waits for the end of the command.
"""

from __future__ import annotations

from typing import Protocol

from isthmus.wire.scalars import i64

LOCAL = 0
REPLAY = 1
REMOTE = 2
# What `noting` may ask for: events that are no changes at all, of new keys, of missing keys.
NOTE_EVENTS = 1
NOTE_NEW = 2
NOTE_MISS = 4


class Effect:
    """One change: the database, the canonical command, and the keyspace event it stands for."""

    __slots__ = ("db", "argv", "event", "event_class", "origin")

    def __init__(
        self, db: i64, argv: list[bytes], event: bytes, event_class: bytes, origin: i64
    ) -> None:
        self.db = db
        self.argv = argv
        self.event = event
        self.event_class = event_class
        self.origin = origin

    def __repr__(self) -> str:
        return f"Effect({self.db}, {self.argv}, {self.event!r}, origin={self.origin})"


class Sink(Protocol):
    """Whatever reacts to changes; called after each command that had effects, in order."""

    def effects(self, batch: list[Effect]) -> None: ...


class EffectLog:
    """Counts and collects effects; `origin` tells where the ones being applied come from."""

    __slots__ = (
        "recording", "dirty", "offset", "origin", "batch", "sinks", "interest", "noting", "pending",
        "held",
    )  # fmt: skip

    def __init__(self) -> None:
        self.recording = False
        self.dirty = 0
        self.offset = 0
        self.origin = LOCAL
        self.batch: list[Effect] = []
        self.sinks: list[Sink] = []
        self.interest = 0
        self.noting = 0
        self.pending = False
        self.held = False

    def append(self, db: i64, argv: list[bytes], event: bytes, event_class: bytes) -> None:
        """Add one effect; only called while recording."""
        self.offset += 1
        self.pending = True
        # Filled in by hand: a call with five arguments costs as much as all the rest.
        effect = Effect.__new__(Effect)
        effect.db = db
        effect.argv = argv
        effect.event = event
        effect.event_class = event_class
        effect.origin = self.origin
        self.batch.append(effect)

    def note(self, db: i64, key: bytes, event: bytes, event_class: bytes) -> None:
        """Add an event that is no change of data."""
        self.pending = True
        self.batch.append(Effect(db, [b"", key], event, event_class, self.origin))

    def attach(self, sink: Sink) -> None:
        """Let sink see every effect from now on."""
        self.sinks.append(sink)
        self.recording = True

    def detach(self, sink: Sink) -> None:
        """Stop feeding sink; effects are no longer built when it was the last one."""
        self.sinks.remove(sink)
        self.recording = bool(self.sinks)

    def flush(self) -> None:
        """Hand the effects so far to every sink."""
        if self.batch and not self.held:
            batch, self.batch = self.batch, []
            for sink in self.sinks:
                sink.effects(batch)

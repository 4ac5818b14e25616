"""Keyspace notifications: every event of a key as messages of two channels.

`notify-keyspace-events` chooses: K and E are the two channels,

    __keyspace@<db>__:<key>     the event is the text
    __keyevent@<db>__:<event>   the key is the text

and the other letters the classes of events: g generic, $ strings, l lists, s sets, h hashes, z
sorted sets, t streams, d module types, x expired, e evicted, n new keys, m missing keys. A is all
of them but n and m. Events are sent in the order in which they happened, those of a transaction or
script together at its end.

An effect carries the event it stands for. Where Redis has two events for one change, the second is
derived here from the canonical command: SET with PXAT is also an `expire`, RENAME, COPY and MOVE
name a second key or database. Events without a change of data come as notes (effect_log.py).

Of keys in hidden slots (engine/keyspace.py) nothing is told: nobody has written them here, they are
being moved.

The sink hangs on the effect log only while the parameter asks for something.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.effect_log import NOTE_EVENTS, NOTE_MISS, NOTE_NEW, Effect
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.pubsub import PubSub
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

PARAMETER = "notify-keyspace-events"
ALL = "g$lshzxetd"


class Notifier:
    """Publishes events through node.pubsub."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.pubsub: PubSub = node.pubsub
        # Slots are hidden in a cluster only, which has no other database.
        self.data: Database = node.keyspace.databases[0]
        self.classes: frozenset[bytes] = frozenset()
        self.keyspace = False
        self.keyevent = False
        databases = range(len(node.keyspace.databases))
        self.heads = [b"__keyspace@%d__:" % db for db in databases]
        self.event_heads = [b"__keyevent@%d__:" % db for db in databases]
        self._attached = False
        node.config.on_change(PARAMETER, self.configure)
        self.configure(node.config.text(PARAMETER))

    def configure(self, text: str) -> None:
        """Listen for what the parameter asks; for nothing while it is empty."""
        letters = text.replace("A", ALL)
        self.keyspace, self.keyevent = "K" in letters, "E" in letters
        self.classes = frozenset(letter.encode() for letter in letters if letter not in "KE")
        wanted = bool(self.classes) and (self.keyspace or self.keyevent)
        log = self.node.keyspace.log
        log.noting = 0
        if wanted:
            log.noting = (
                NOTE_EVENTS
                | (NOTE_NEW if b"n" in self.classes else 0)
                | (NOTE_MISS if b"m" in self.classes else 0)
            )
        if wanted and not self._attached:
            log.attach(self)
        elif self._attached and not wanted:
            log.detach(self)
        self._attached = wanted

    def effects(self, batch: list[Effect]) -> None:
        """Tell the events of a command."""
        if not (self.pubsub.channels or self.pubsub.patterns):
            return
        for effect in batch:
            if effect.event:
                self.tell(effect)

    def tell(self, effect: Effect) -> None:
        """The event or events of one effect."""
        db, argv = effect.db, effect.argv
        event, event_class = effect.event, effect.event_class
        name, key = argv[0], argv[1]
        if name == b"XGROUP":
            # Its second word is a sub-command.
            key = argv[2]
        elif name == b"COPY":
            self.send(int(argv[4]), argv[2], event, event_class)
            return
        self.send(db, key, event, event_class)
        if name == b"SET" and event == b"set" and len(argv) > 4:
            self.send(db, key, b"expire", b"g")
        elif name == b"RENAME":
            self.send(db, argv[2], b"rename_to", b"g")
        elif name == b"MOVE":
            self.send(int(argv[2]), key, b"move_to", b"g")

    def send(self, db: i64, key: bytes, event: bytes, event_class: bytes) -> None:
        """Publish one event if its class is asked for."""
        if event_class not in self.classes:
            return
        if self.data.hidden is not None and self.data.hides(key_slot(key)):
            return
        if self.keyspace:
            self.pubsub.publish(self.heads[db] + key, event)
        if self.keyevent:
            self.pubsub.publish(self.event_heads[db] + event, key)

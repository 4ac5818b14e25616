"""AofBuffer: what the append only file is to be given next, as bytes.

This is the part of the append only file that every command that writes passes through, so it is
typed; what happens to the bytes, and when, is `Aof`'s (aof.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.engine.effect_log import Effect
from isthmus.node.persist.aof_format import NO_DB, encode_batch, timestamp

STAMPS = "aof-timestamp-enabled"


class AofBuffer:
    """A sink of the effect log while there is an append only file."""

    def __init__(self, node: Any) -> None:
        self.clock = node.clock
        self.config = node.config
        self.data = bytearray()
        # The database selected at its end.
        self.db = NO_DB
        # Offset in the stream of all bytes ever appended.
        self.appended = 0
        # True if a command was let through in this turn whose effect is still to be kept; none is
        # once the file is known to refuse (`refused`).
        self.promised = False
        self.refused = False
        # When the last annotation of the time was made; 0: none is in this file yet.
        self.stamped_s = 0
        self.stamping = node.config.boolean(STAMPS)
        node.config.on_change(STAMPS, self._stamps_changed)
        # Called once a turn changes data: nothing is sent before `Ticker.commit`. Set by the
        # server.
        self.hold: Callable[[], object] | None = None

    def effects(self, batch: list[Effect]) -> None:
        """Changes of data: what one command did."""
        if self.stamping:
            self.stamp()
        data, db = encode_batch(batch, self.db)
        self.db = db
        if not data:
            return
        self.add(data)
        if not self.refused:
            self.promised = True
        if self.hold is not None:
            self.hold()

    def add(self, data: bytes) -> None:
        """Bytes to append: commands, or a line between them."""
        self.data += data
        self.appended += len(data)

    def stamp(self) -> None:
        """Note the time, once a second."""
        now_s = self.clock.now_ms // 1000
        if now_s != self.stamped_s:
            self.stamped_s = now_s
            self.add(timestamp(now_s))

    def clear(self) -> None:
        """All of it is in the file, or never will be."""
        self.data = bytearray()

    def begin_file(self) -> None:
        """What comes is for a new file: nothing is selected there, and no time noted."""
        self.db = NO_DB
        self.stamped_s = 0

    def _stamps_changed(self, text: str) -> None:
        self.stamping = self.config.boolean(STAMPS)

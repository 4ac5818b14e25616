"""Sweep: the deletion of all keys of slots that are not ours, a slice at a time (pure).

Keys go by ordinary effects, one each, so that replicas and append only file follow; nobody is
notified, for the slots are hidden (engine/keyspace.py). A slot that is not hidden is never touched,
whatever was ordered: its keys are somebody's.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.moves.masks import Ranges, slots_of
from isthmus.node.values.keys import delete

KEYS_PER_LOOK = 32


class Sweep:
    """One deletion under way."""

    def __init__(self, node: Any, ranges: Ranges) -> None:
        self.node = node
        self.db = node.keyspace.databases[0]
        self.slots = slots_of(ranges)
        self.deleted = 0

    def left(self) -> int:
        """How many keys are left."""
        db = self.db
        return sum(db.counts.of(slot) for slot in self.slots if db.hides(slot))

    def step(self, deadline_ns: int) -> bool:
        """Delete until the time of the monotonic clock has come. True while some are left."""
        db, clock = self.db, self.node.clock
        clock.refresh()
        while self.slots:
            table = db.slots[self.slots[-1]] if db.slots else None
            if table is None or not table.count or not db.hides(self.slots[-1]):
                self.slots.pop()
                continue
            found: list[bytes] = []
            cursor = 0
            while len(found) < KEYS_PER_LOOK:
                cursor = table.scan(cursor, found, False, -1)
                if cursor == 0:
                    break
            for key in dict.fromkeys(found):
                delete(db, key)
                self.deleted += 1
            db.log.flush()
            if clock.mono_ns() >= deadline_ns:
                break
        return bool(self.slots)

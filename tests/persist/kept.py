"""A store that keeps its data on disk, in the working folder, without a server around it.

Turns of the loop are made by hand: `turn` is what the pump does at the end of one. Jobs that the
server writes in a task are written by `work`, with trio, to their end.
"""

from __future__ import annotations

from typing import Any

import trio

from isthmus.node.persist.persistence import Persistence
from isthmus.node.persist.recover import Recovery
from tests.support.store import Store, contents


class Kept(Store):
    """A node with persistence; `load` starts it from what is on the disk."""

    def __init__(self, **config: str) -> None:
        super().__init__(**config)
        self.kept = self.node.persistence = Persistence(self.node)
        self.aof = self.kept.aof

    def load(self) -> Kept:
        """Start: RecoverError if what is there cannot be used."""
        for _ in Recovery(self.node).run():
            pass
        return self

    def turn(self, *requests: tuple[Any, ...]) -> tuple[list[bytes], bool]:
        """Requests of one turn; their replies, and whether they may be sent."""
        replies = [self.raw(*request) for request in requests]
        return replies, self.kept.commit()

    def work(self) -> None:
        """Write the cuts that have begun, and those that wait for them."""

        async def write() -> None:
            snapshots = self.kept.snapshots
            while snapshots.job is not None:
                await snapshots.write(snapshots.job)

        trio.run(write)

    def held(self) -> dict[Any, Any]:
        """All keys and values."""
        return contents(self.node.keyspace)

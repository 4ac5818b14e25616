"""FullSync payloads (io): a snapshot of the primary, kept in a file until it is whole, then loaded.

The bytes go to a nameless file in the data folder, so a large data set costs no memory while it
comes, and nothing is left over if the process ends. It is loaded into a keyspace of its own, in
pieces, while clients go on reading the old data; only a snapshot that was read to its end, with the
right checksum, takes the place of what was there, and does so at once. Until then both are in
memory, the price of never holding half of anything.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Any

from isthmus.node.engine.clock import Clock
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.persist.snapshot_read import KeyspaceLoader, read_snapshot
from isthmus.node.values.restore import limits_of
from isthmus.wire.rdb_reader import RdbReader


class PayloadRefused(Exception):
    """The snapshot is not one, or damaged; nothing was changed."""


class Spool:
    """A payload on its way in. `close` when done with it, whatever happened."""

    def __init__(self, folder: str) -> None:
        """Raises OSError."""
        path = os.path.join(folder, f"temp-sync-{os.getpid()}.rdb")
        self.file = open(path, "w+b")
        os.unlink(path)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take a piece; raises OSError."""
        self.file.write(data)
        self.size += len(data)

    def close(self) -> None:
        """Forget it."""
        self.file.close()


class Loaded:
    """A payload as a keyspace, the libraries of functions beside it, and facts about it."""

    def __init__(self, node: Any) -> None:
        # Its keys are moved over one database at a time; nothing else of it is used. A clock of its
        # own: whatever the node does with its clock between the pieces, here nothing expires.
        clock = Clock()
        clock.loading = True
        self.keyspace = Keyspace(clock, node.rng, len(node.keyspace.databases))
        self.loader = KeyspaceLoader(self.keyspace)
        self.registry: Any = None

    def discard(self, node: Any) -> None:
        """It is not to be used: free it in slices."""
        self.keyspace.forget_everything()
        node.keyspace.garbage += self.keyspace.garbage


def load(node: Any, spool: Spool, into: Loaded) -> Iterator[int]:
    """Load a payload; bytes done, again and again. Raises PayloadRefused, OSError."""
    spool.file.flush()
    if spool.size == 0:
        raise PayloadRefused("it is empty")
    with mmap.mmap(spool.file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        reader = RdbReader(view)
        try:
            yield from read_snapshot(
                reader, into.loader, now_ms=node.clock.now_ms, keep_expired=True,
                limits=limits_of(node.config),
            )  # fmt: skip
            if reader.position != spool.size:
                raise PayloadRefused(f"{spool.size - reader.position} bytes behind its end")
        except ValueError as error:
            raise PayloadRefused(str(error)) from None
        finally:
            reader.close()
            view.release()
    if node.scripts is not None:
        try:
            into.registry = node.scripts.registry_of(into.loader.functions)
        except ValueError as error:
            raise PayloadRefused(f"a library of functions: {error}") from None


def take_over(node: Any, loaded: Loaded) -> None:
    """Let what was loaded be the data of the node, in place of what it has."""
    log = node.keyspace.log
    log.flush()
    if node.scripts is not None:
        node.scripts.take_registry(loaded.registry)
    for db, other in zip(node.keyspace.databases, loaded.keyspace.databases, strict=True):
        db.adopt(other)
        for key in list(db.waiting):
            db.ready(key)
    node.tracking.flushed(False)
    node.blocking.serve()

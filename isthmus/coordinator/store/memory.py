"""A store in memory: the reference for the contract, used by tests and simulations.

`Shelf` plays the disk: it outlives the stores opened on it, as a data folder outlives processes.
Bodies go through JSON on their way in, so that what SQLite would refuse is refused here too and
no caller can change what was stored.
"""

from __future__ import annotations

import json

from isthmus.coordinator.store.base import (
    Batch,
    Body,
    EpochWentBack,
    Key,
    Saved,
    StaleTerm,
    Store,
    StoreError,
    StoreLocked,
)


class Shelf:
    """What survives a coordinator: open stores on it one after the other."""

    def __init__(self) -> None:
        self.term = 0
        self.holder: MemoryStore | None = None
        self.header: tuple[str, str] | None = None
        self.epoch = 0
        self.objects: dict[Key, str] = {}

    def open(self) -> MemoryStore:
        """A store on this shelf, in a new term. Raises StoreLocked while another is open."""
        if self.holder is not None:
            raise StoreLocked("another coordinator uses this store")
        self.term += 1
        self.holder = MemoryStore(self)
        return self.holder


class MemoryStore(Store):
    """An open store on a `Shelf`."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.term = shelf.term

    def load(self) -> Saved | None:
        shelf = self._shelf
        if shelf.header is None:
            return None
        objects: dict[Key, Body] = {key: json.loads(text) for key, text in shelf.objects.items()}
        return Saved(shelf.header[0], shelf.header[1], shelf.epoch, objects)

    def create(self, cluster_id: str, region: str) -> None:
        self._guard()
        if self._shelf.header is not None:
            raise StoreError("this store already holds a cluster")
        self._shelf.header = (cluster_id, region)

    def commit(self, batch: Batch) -> None:
        self._guard()
        shelf = self._shelf
        if shelf.header is None:
            raise StoreError("this store holds no cluster yet")
        if batch.epoch < shelf.epoch:
            raise EpochWentBack(f"epoch {batch.epoch} is below the stored {shelf.epoch}")
        written = {key: json.dumps(body) for key, body in batch.objects.items() if body is not None}
        shelf.epoch = batch.epoch
        for key in batch.objects:
            shelf.objects.pop(key, None)
        shelf.objects.update(written)

    def close(self) -> None:
        if self._shelf.holder is self:
            self._shelf.holder = None

    def _guard(self) -> None:
        if self._shelf.term != self.term:
            raise StaleTerm(f"term {self.term} is over: term {self._shelf.term} holds the store")
        if self._shelf.holder is not self:
            raise StoreError("this store is closed")

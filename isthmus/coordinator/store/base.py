"""What the coordinator must be able to keep, whatever keeps it.

A store holds one cluster: a fixed header (cluster id, region), the topology epoch, and objects,
each a small dictionary under a kind ("shard", "member", "settings") and an id. The model decides
what is in them; a store promises:

1. **Atomic and durable.** `commit` writes a whole batch or nothing, and returns only when a power
   cut would keep it. The coordinator sends nothing that it has not committed.
2. **One writer.** `open` takes a new term, one higher than any before. A commit by a holder whose
   term is no longer the newest raises `StaleTerm` and changes nothing.
3. **The epoch only grows.** A batch whose epoch is lower than the stored one raises
   `EpochWentBack` and changes nothing.

A store that raises leaves its user one choice: stop. Carrying on from memory would publish what
a restart forgets. Where several coordinators share a store, stopping is to step down: the user ends
every connection, forgets what it has in memory, and opens the store anew when it can.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

Body = dict[str, object]
Key = tuple[str, str]


class StoreError(Exception):
    """The store could not do its work; the coordinator must stop."""


class StoreLocked(StoreError):
    """Another coordinator uses this store."""


class StaleTerm(StoreError):
    """A newer coordinator has taken over this store."""


class StoreUnreachable(StoreError):
    """The store did not answer in time; whether it did what it was asked is unknown."""


class EpochWentBack(StoreError):
    """A commit would have lowered the topology epoch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One atomic change: the epoch after it, objects written (None deletes)."""

    epoch: int
    objects: dict[Key, Body | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saved:
    """Everything a store holds, as read when a coordinator starts."""

    cluster_id: str
    region: str
    epoch: int
    objects: dict[Key, Body]


class Store(ABC):
    """An open store that owns its term; close it to let another coordinator in."""

    term: int

    @abstractmethod
    def load(self) -> Saved | None:
        """The stored cluster; None if this store never held one."""

    @abstractmethod
    def create(self, cluster_id: str, region: str) -> None:
        """Write the header of a new cluster, at epoch 0. Raises StoreError if there is one."""

    @abstractmethod
    def commit(self, batch: Batch) -> None:
        """Write `batch` durably. Raises StaleTerm, EpochWentBack or StoreError."""

    def confirm(self, now_ns: int) -> None:  # noqa: B027
        """Raise StaleTerm if this holder may no longer act, commit or no commit.

        Only a store that can be taken from its holder has to say anything here. `now_ns` is the
        very reading of the clock that the holder is about to act on.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the store back. Safe to call twice."""

"""Coordinator processes as a store on etcd sees them, without the processes."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from isthmus.coordinator.store.etcd import Etcd, EtcdStore
from isthmus.coordinator.store.gateway import place
from tests.support.etcd import EtcdServer


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Processes:
    """Ways to the same stored data, each as one process has it; closed with the block."""

    def __init__(self, server: EtcdServer, prefix: str) -> None:
        self.where = place(server.url(prefix), "")
        self.made: list[Etcd] = []

    def another(self, **more: Any) -> Etcd:
        """One more process; its name is its address."""
        etcd = Etcd(self.where, boot_ns, address=f"10.0.0.{len(self.made)}:9400", **more)
        self.made.append(etcd)
        return etcd

    def open(self) -> EtcdStore:
        """The store of one more process; it acts at once, as if there had been none before."""
        store = self.another().open()
        store.begin()
        return store

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for etcd in self.made:
            etcd.close()

"""A node's bond with its coordinator (io): what it tells, and what it does with the answers.

Everything about connections is in `isthmus.wire.membership`; here its frames meet the view. Losing
the coordinator changes nothing for clients: the node serves what its view says. Being refused
because another process holds this node's id is different: that process has this node's place,
so this one must stop serving (`view.fence`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isthmus.node.cluster.view import BadTopology, ClusterView
from isthmus.wire.logs import log
from isthmus.wire.membership import Membership

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Announcement:
    """What this node says of itself. Addresses are `host:port` as others reach them."""

    incarnation: str
    region: str
    zone: str
    address: str
    link_address: str = ""
    metrics_address: str = ""


class CoordinatorLink:
    """Keeps `view` as the coordinator has it, and tells `changed` of each change.

    `copy` says what state the copy of its shard is in, `moves` how slots come and go. `message`
    hears what else the coordinator has to say: grants of leases, orders for a failover.

    `keys` counts this node's keys, quickly. `persistence` hears the policy that came with each
    topology; `disk` says how the node fares with keeping data.
    """

    def __init__(
        self, view: ClusterView, me: Announcement, keys: Callable[[], int],
        changed: Callable[[], None] = lambda: None,
        persistence: Callable[[object], None] = lambda text: None,
        disk: Callable[[], Frame | None] = lambda: None,
        copy: Callable[[], Frame | None] = lambda: None,
        message: Callable[[Frame], None] = lambda frame: None,
        moves: Callable[[], list[Frame]] = lambda: [],
    ) -> None:  # fmt: skip
        self._view = view
        self._changed = changed
        self._me = me
        self._keys = keys
        self._persistence = persistence
        self._disk = disk
        self._copy = copy
        self._moves = moves
        self._membership = Membership(
            self._describe, self._apply, on_refused=self._refused, on_message=message
        )

    def beat_soon(self) -> None:
        """Tell the coordinator now how this node is."""
        self._membership.beat_soon()

    def say(self, frame: Frame) -> None:
        """Send the coordinator a frame; lost if it cannot be reached now."""
        self._membership.say(frame)

    @property
    def connected(self) -> bool:
        """True while the coordinator has this node registered."""
        return self._membership.connected

    async def run(self, address: str) -> None:
        """Stay with the coordinator at `address` until cancelled, then say goodbye."""
        await self._membership.run(address)

    def _describe(self) -> Frame:
        view, me = self._view, self._me
        view.messages_sent = self._membership.sent
        view.messages_received = self._membership.received
        if self._membership.connected:
            view.heard_ms = int(time.time() * 1000)
        return {
            "id": view.my_id,
            "role": "node",
            "region": me.region,
            "zone": me.zone,
            "address": me.address,
            "link_address": me.link_address,
            "metrics_address": me.metrics_address,
            "pid": os.getpid(),
            "incarnation": me.incarnation,
            "cluster": view.cluster_id,
            "epoch": view.epoch,
            "slots": view.slots_served(),
            "keys": self._keys(),
            "disk": self._disk(),
            "copy": self._copy(),
            "moves": self._moves(),
        }

    def _apply(self, frame: Frame) -> None:
        view = self._view
        before = (view.epoch, view.state_ok)
        try:
            current = view.apply(frame)
        except BadTopology as error:
            log("topology_refused", level="ERROR", why=str(error))
            return
        # A coordinator of an older version knows of no policies: what is in force stays.
        if current and "persistence" in frame:
            self._persistence(frame["persistence"])
        if before != (view.epoch, view.state_ok):
            self._changed()
            log(
                "topology", epoch=view.epoch, state="ok" if view.state_ok else "fail",
                slots=view.slots_served(), nodes=len(view.nodes),
            )  # fmt: skip

    def _refused(self, code: str, text: str) -> None:
        if code == "DUPLICATE_ID" and not self._view.fenced:
            self._view.fence(text)
            self._changed()
            log("fenced", level="ERROR", why=text)

"""Member (io): a node as a member of its cluster: what it hears from whom, and what it answers.

    the coordinator's link    topologies, policies, grants of the witness, orders for a failover
    the bus                   what was published elsewhere; requests and grants of leases; what
                              nodes tell of themselves
    the duty                  what follows from all that for the shard this node has a copy of

Here they meet, with the clock and the timers they need. A frame that makes no sense is logged and
dropped: one member that is mistaken, or of another version, stops nobody else.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import trio

from isthmus.node.cluster.bus import Bus
from isthmus.node.cluster.duty import Duty
from isthmus.node.cluster.leadership import Leadership
from isthmus.node.cluster.link import Announcement, CoordinatorLink
from isthmus.node.cluster.receipts import Receipts
from isthmus.node.cluster.view import ClusterView
from isthmus.wire.beats import until_next
from isthmus.wire.lease import WITNESS
from isthmus.wire.logs import log

Frame = dict[str, Any]
# How often renewals, lags and time limits are looked at.
CRON_SECONDS = 0.25
# And while this node should have a lease and has none.
ACQUIRE_SECONDS = 0.05
# In the data folder: {"shard": number, "data_epoch": shard epoch of the last write}.
FILE = "node.copy"
TALK_BYTES_MAX = 4096


def boot_ns() -> int:
    """A clock that nobody sets and that goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Member:
    """A node's membership, made before the first topology comes."""

    def __init__(
        self, node: Any, me: Announcement, persistence: Callable[[object], None],
        disk: Callable[[], Frame | None], started_ns: int, folder: Path | None,
    ) -> None:  # fmt: skip
        self.node = node
        host, _, port = me.address.rpartition(":")
        self.view = ClusterView(node.run_id, host=host, port=int(port))
        node.use_cluster(self.view)
        self.leadership = Leadership(node.run_id, started_ns, self.send)
        self.duty = node.duty = Duty(node, self.view, self.leadership, boot_ns)
        self.link = CoordinatorLink(
            self.view, me, lambda: node.keyspace.databases[0].visible(), self.topology_changed,
            persistence, disk, self.duty.copy, self.ordered, self.moves,
        )  # fmt: skip
        self.duty.say = self.link.say
        self.receipts = Receipts(self.link.say)
        self.duty.say_soon = self.link.beat_soon
        if folder is not None:
            self.remember_in(folder)
        self.bus = Bus(self.view, lambda: os.fsencode(node.config.text("requirepass")))
        node.pubsub.forward = self.bus.forward
        node.hear = self.hear
        self.view.links = self.bus.links
        self.announce()

    def announce(self) -> None:
        """Be called as the configuration says, now and when that changes."""
        config, gossip = self.node.config, self.view.gossip
        kind, name = "cluster-preferred-endpoint-type", "cluster-announce-hostname"

        def prefer(text: str) -> None:
            gossip.endpoint_type = text

        def linked() -> bool:
            session = self.node.ctx.session
            return session is not None and bool(session.linked)

        gossip.offset = lambda: int(self.node.replication.offset)
        gossip.to_proxy = linked
        prefer(config.text(kind))
        gossip.announce(config.text(name))
        config.on_change(kind, prefer)
        config.on_change(name, gossip.announce)

    def remember_in(self, folder: Path) -> None:
        """Keep in the data folder which shard the data is of and since which epoch, and recall it
        if data was loaded: without, it is none."""
        path = folder / FILE

        def remember(shard: int, data_epoch: int) -> None:
            try:
                draft = path.with_suffix(".new")
                with open(draft, "wb") as file:
                    file.write(json.dumps({"shard": shard, "data_epoch": data_epoch}).encode())
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, path)
            except OSError as error:
                log("copy_not_remembered", level="WARN", file=str(path), why=str(error))

        self.duty.remember = remember
        loading = self.node.persistence.loading
        if loading.stream is None and not loading.keys_loaded:
            return
        try:
            found = json.loads(path.read_bytes())
            shard, epoch = int(found["shard"]), int(found["data_epoch"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log("copy_not_recalled", level="WARN", file=str(path), why=str(error))
            return
        self.duty.data_shard, self.duty.data_epoch = shard, epoch

    async def run(self, coordinator: str) -> None:
        """Be a member until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.bus.run)
            nursery.start_soon(self.cron)
            nursery.start_soon(self.link.run, coordinator)

    async def cron(self) -> None:
        """Renew the lease, and look at lags and time limits."""
        while True:
            seconds = ACQUIRE_SECONDS if self.duty.acquiring() else CRON_SECONDS
            await trio.sleep(until_next(seconds, time.monotonic()))
            self.duty.cron()
            about = self.view.gossip.to_say(boot_ns(), len(self.bus.lanes))
            if about is not None:
                self.bus.tell_all(msgpack.packb(about))
            if self.link.connected:
                self.receipts.tick(boot_ns())

    def topology_changed(self) -> None:
        """The view is another one: the duty, lanes to other nodes and shard channels follow it."""
        node = self.node
        node.ctx.session = None
        self.bus.topology_changed()
        self.view.gossip.again(boot_ns())
        self.duty.topology_changed()
        if node.moves is not None:
            node.moves.topology_changed()
        node.pubsub.drop_shards(self.view.mine)

    def moves(self) -> list[Frame]:
        """How the moves of slots stand that concern this node."""
        return [] if self.node.moves is None else list(self.node.moves.report())

    # -- what is said -------------------------------------------------------------------------

    def send(self, voter: str, frame: Frame) -> None:
        """Send a frame about leases to a voter; it is lost if that cannot be reached now."""
        if voter == WITNESS:
            self.link.say(frame)
        else:
            self.bus.tell(voter, msgpack.packb(frame))

    def hear(self, node_id: str, message: bytes) -> None:
        """Another node said something."""
        try:
            if len(message) > TALK_BYTES_MAX:
                raise ValueError(f"{len(message)} bytes")
            frame = msgpack.unpackb(message)
            if not isinstance(frame, dict):
                raise ValueError("no map")
            if frame.get("type") == "about":
                self.view.gossip.hear(node_id, frame)
                return
            self.leadership.hear(node_id, frame, boot_ns())
        except (ValueError, TypeError) as error:
            log("talk_not_understood", level="WARN", node=node_id, why=str(error))
            return
        self.look_again()

    def ordered(self, frame: Frame) -> None:
        """The coordinator said something."""
        try:
            if frame.get("type") == "grant":
                self.leadership.hear(WITNESS, frame, boot_ns())
            elif frame.get("type") == "receipt_noted":
                self.receipts.noted(frame)
            else:
                self.node.ctx.session = None
                self.duty.hear(frame)
        except (ValueError, TypeError) as error:
            log("order_not_understood", level="WARN", why=str(error))
            return
        self.look_again()

    def look_again(self) -> None:
        """A grant may have given the lease, or a newer epoch taken it."""
        self.node.ctx.session = None
        self.duty.turn()

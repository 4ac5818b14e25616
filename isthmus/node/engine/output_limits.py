"""Output limits: how much may wait for a client that does not read (client-output-buffer-limit).

Three classes of client: normal, replica, pubsub (whoever has a subscription). Each has a hard limit
in bytes, and a soft one that may be exceeded for a number of seconds; 0 is no limit of ours, which
leaves the ceiling of the pump. A monitor counts as normal in Redis, where that means no limit; here
it has at least the limit of replicas, because it is sent what everybody else does.

The hard limit is enforced by the pump (`peer.output_bytes_max`), the soft one here, by the
server's timer. Both cut the client off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.node.engine.client import ClientState

CEILING_BYTES = 1 << 30
NORMAL, REPLICA, PUBSUB = b"normal", b"replica", b"pubsub"
PARAMETER = "client-output-buffer-limit"
_CLASSES = {"normal": NORMAL, "slave": REPLICA, "pubsub": PUBSUB}


class Limit(NamedTuple):
    """The limits of one class; bytes and seconds, 0 for none."""

    hard_bytes: int
    soft_bytes: int
    soft_seconds: int


class OutputLimits:
    """The limits in force, and since when clients exceed a soft one."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.limits: dict[bytes, Limit] = {}
        self.exceeded_ms: dict[ClientState, int] = {}
        self._read(node.config.text(PARAMETER))
        node.config.on_change(PARAMETER, self._changed)

    def _read(self, text: str) -> None:
        words = text.split()
        for at in range(0, len(words), 4):
            hard, soft, seconds = (int(word) for word in words[at + 1 : at + 4])
            self.limits[_CLASSES[words[at]]] = Limit(hard, soft, seconds)

    def _changed(self, text: str) -> None:
        self._read(text)
        for client in self.node.clients.values():
            self.apply(client)

    def kind(self, client: ClientState) -> bytes:
        """The class of a client."""
        if client.replica is not None:
            return REPLICA
        return PUBSUB if client.subscriber else NORMAL

    def apply(self, client: ClientState) -> None:
        """Set the hard limit of a client that is new or has changed its class."""
        if client.peer is None or client.shared:
            return
        hard = self.limits[self.kind(client)].hard_bytes
        if client.replica is not None:
            # What waits for it waits in the backlog, where it is counted (node/replicate).
            hard = 0
        if not hard and client in self.node.monitors.clients:
            hard = self.limits[REPLICA].hard_bytes
        client.peer.output_bytes_max = min(hard or CEILING_BYTES, CEILING_BYTES)

    def overdue(self, now_ms: int, everybody: bool = True) -> list[ClientState]:
        """The clients that have exceeded their soft limit for too long.

        Without `everybody` only those are looked at that exceeded it the last time.
        """
        watched: set[ClientState] = set(self.exceeded_ms)
        if everybody:
            if self.limits[NORMAL].soft_bytes:
                watched.update(self.node.clients.values())
            if self.limits[PUBSUB].soft_bytes:
                watched.update(self.node.pubsub.clients)
        return [client for client in watched if self._is_overdue(client, now_ms)]

    def _is_overdue(self, client: ClientState, now_ms: int) -> bool:
        limit = self.limits[self.kind(client)]
        peer = client.peer
        over = (
            peer is not None
            and not client.shared
            and limit.soft_bytes > 0
            and peer.pending_output() > limit.soft_bytes
        )
        if not over:
            self.exceeded_ms.pop(client, None)
            return False
        since_ms = self.exceeded_ms.setdefault(client, now_ms)
        return now_ms - since_ms > limit.soft_seconds * 1000

    def forget(self, client: ClientState) -> None:
        """The connection is gone."""
        self.exceeded_ms.pop(client, None)

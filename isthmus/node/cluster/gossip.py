"""What nodes tell each other of themselves, for clients that ask (pure).

Who is a member and who serves which slots is the coordinator's to say, in topologies. How far each
node's data is, and by which name it wants to be called, no decision depends on: nodes say it to
each other over the bus, as Redis' nodes do, and CLUSTER SHARDS, SLOTS and NODES repeat it.

    {"type": "about", "offset": int, "hostname": str}

It is said when it has changed, once a second at most, and otherwise every `AGAIN_MS`, for those who
have just come. In a cluster of many nodes an offset alone is no occasion.

`endpoint` is how a node is called towards clients (cluster-preferred-endpoint-type): by its
address; by its hostname, or "?" if it has told none; or not at all, which to clients means the
host they are connected to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Frame = dict[str, Any]
SAID_MS_MIN = 1000
AGAIN_MS = 5000
# Beyond so many nodes offsets are told every AGAIN_MS only.
FEW_NODES_MAX = 64
HOSTNAME_CHARS_MAX = 255
OFFSET_MAX = (1 << 63) - 1
MS = 1_000_000
HOSTNAME, UNKNOWN = "hostname", "unknown-endpoint"


class Gossip:
    """What is known of nodes beside the topology. `offset` is this node's own, as it is now."""

    def __init__(self, my_id: str) -> None:
        self.my_id = my_id
        self.endpoint_type = "ip"
        self.offset: Callable[[], int] = lambda: 0
        # True while what is said goes to a proxy: that knows nodes by their addresses.
        self.to_proxy: Callable[[], bool] = lambda: False
        self._hostnames: dict[str, str] = {}
        self._offsets: dict[str, int] = {}
        self._said: Frame = {}
        self._said_ns = 0

    # -- what clients are told ----------------------------------------------------------------

    def offset_of(self, node_id: str) -> int:
        """How far a node's data is, as it last told; 0 if it never did."""
        return self.offset() if node_id == self.my_id else self._offsets.get(node_id, 0)

    def hostname_of(self, node_id: str) -> str:
        """The hostname a node has announced; empty if none."""
        return self._hostnames.get(node_id, "")

    def endpoint(self, node_id: str, host: str) -> bytes | None:
        """How the node at `host` is called; None: not at all."""
        if self.endpoint_type == UNKNOWN:
            return None
        if self.endpoint_type == HOSTNAME:
            return (self.hostname_of(node_id) or "?").encode()
        return host.encode()

    # -- talking ------------------------------------------------------------------------------

    def announce(self, hostname: str) -> None:
        """This node wants to be called so, from now on; empty: it has no name."""
        self._hostnames[self.my_id] = hostname

    def again(self, now: int) -> None:
        """Others may have come: say everything once more, a little later, when lanes are up."""
        self._said_ns = min(self._said_ns, now - (AGAIN_MS - SAID_MS_MIN) * MS)

    def to_say(self, now: int, nodes: int) -> Frame | None:
        """What is to be said to all of so many nodes at this time (ns); None: nothing."""
        about = {"type": "about", "offset": self.offset(), "hostname": self.hostname_of(self.my_id)}
        since = now - self._said_ns
        renamed = self._said.get("hostname") != about["hostname"]
        moved = nodes <= FEW_NODES_MAX and self._said.get("offset") != about["offset"]
        news = since >= SAID_MS_MIN * MS and (renamed or moved)
        if self._said and not news and since < AGAIN_MS * MS:
            return None
        self._said, self._said_ns = about, now
        return about

    def hear(self, node_id: str, frame: Mapping[str, Any]) -> None:
        """Another node told of itself. Raises ValueError."""
        offset, hostname = frame.get("offset"), frame.get("hostname")
        if not isinstance(offset, int) or not 0 <= offset <= OFFSET_MAX:
            raise ValueError("an offset that is none")
        printable = isinstance(hostname, str) and hostname.isascii() and hostname.isprintable()
        if not printable or len(str(hostname)) > HOSTNAME_CHARS_MAX or " " in str(hostname):
            raise ValueError("a hostname that is none")
        self._offsets[node_id] = offset
        self._hostnames[node_id] = str(hostname)

    def forget_others(self, known: set[str]) -> None:
        """Nodes that are no longer known need no memory."""
        for name in (set(self._offsets) | set(self._hostnames)) - known - {self.my_id}:
            self._offsets.pop(name, None)
            self._hostnames.pop(name, None)

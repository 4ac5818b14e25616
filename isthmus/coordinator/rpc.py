"""Connections of the coordinator (io): frames in become messages, what the model sends goes out.

Each connection has a number, a reader (its task) and a writer with a queue of at most
`QUEUE_FRAMES_MAX`. The model's side puts frames into the queue without waiting; a peer that does
not read gets its connection closed instead of a longer queue, and learns all it missed when it
returns, because a topology is always sent whole.

Frames in, told apart by "type": `register`, `heartbeat`, `leave` (see messages.py), `lease` and
`release` (wire/lease.py), `drained` and `failover_wanted` (failover.py), `receipt` (receipts.py),
`moves` (slot_moves.py); and calls as `isthmus.wire.link.RpcClient` makes them, from anybody on the
RPC port. `status`, `explain`, `whatif` and `preview` only ask, and the model's state stays as it
is. `set_persistence` and `set_durability` change a policy (their parameter is "policy") and are
answered when that is committed, with the status; so are `scale` ("shards"), `rebalance` and `drain`
("node", "drained"), whose effect `preview` tells beforehand. `failover` is answered when it is
decided, which may take seconds. A peer must greet and send its first frame within
`FIRST_FRAME_SECONDS_MAX` and then may not be silent for `SILENCE_SECONDS_MAX`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import trio

from isthmus.coordinator import model
from isthmus.wire import durability, policy
from isthmus.wire.link import Link, LinkClosed, LinkError
from isthmus.wire.logs import log

Frame = dict[str, Any]
QUEUE_FRAMES_MAX: Final = 256
CONNECTIONS_MAX: Final = 4096
FIRST_FRAME_SECONDS_MAX: Final = 5.0
SILENCE_SECONDS_MAX: Final = 30.0
FLUSH_SECONDS_MAX: Final = 1.0
FRAME_BYTES_MAX: Final = 4 << 20  # the status of a thousand members fits several times
METHODS: Final = (
    "status", "explain", "whatif", "preview", "failover", "settle_receipt", "set_persistence",
    "set_durability", "scale", "rebalance", "drain",
)  # fmt: skip


@dataclass(slots=True)
class _Peer:
    frames: trio.MemorySendChannel[Frame]
    scope: trio.CancelScope
    closing: bool = False  # told to go: what it still says is not heard, nothing more is queued


def _nothing(method: str, params: Frame) -> Frame:
    raise ValueError(f"nobody knows {method}")


class Hub:
    """All connections. `handle` takes each message; `status` and `ask` answer those who only ask.

    `ask(method, parameters)` may raise ValueError, whose text is the answer then.
    """

    def __init__(
        self,
        handle: Callable[[model.Message], None],
        status: Callable[[], Frame],
        ask: Callable[[str, Frame], Frame] = _nothing,
    ) -> None:
        self._handle = handle
        self._status = status
        self._ask = ask
        self._peers: dict[int, _Peer] = {}
        self._last = 0
        self.frames_received = 0
        self.frames_sent = 0
        self.slow_peers_closed = 0

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._peers)

    def send(self, connection: int, frame: Frame) -> None:
        """Queue a frame; a connection that is gone takes none, a full one is closed."""
        peer = self._peers.get(connection)
        if peer is None or peer.closing:
            return
        try:
            peer.frames.send_nowait(frame)
        except trio.WouldBlock:
            self.slow_peers_closed += 1
            log("peer_too_slow", level="WARN", connection=connection, frames=QUEUE_FRAMES_MAX)
            peer.scope.cancel()
        except trio.BrokenResourceError:
            return  # its writer has just ended; the reader follows

    def close(self, connection: int) -> None:
        """End a connection once what is queued has been written."""
        peer = self._peers.get(connection)
        if peer is not None:
            peer.closing = True
            peer.frames.close()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Run one connection to its end."""
        if len(self._peers) >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        self._last += 1
        connection = self._last
        send, receive = trio.open_memory_channel[Frame](QUEUE_FRAMES_MAX)
        link = Link(stream, frame_bytes_max=FRAME_BYTES_MAX)
        try:
            async with trio.open_nursery() as nursery:
                self._peers[connection] = _Peer(send, nursery.cancel_scope)
                nursery.start_soon(self._write, link, receive, nursery.cancel_scope)
                await self._read(link, connection)
                # Gone, or told to go: let the writer finish what is queued, but not for ever.
                nursery.cancel_scope.deadline = trio.current_time() + FLUSH_SECONDS_MAX
                self.close(connection)
        finally:
            del self._peers[connection]
            self._handle(model.Closed(connection))
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FLUSH_SECONDS_MAX):
                await link.aclose()

    async def _read(self, link: Link, connection: int) -> None:
        patience = FIRST_FRAME_SECONDS_MAX
        try:
            await link.greet("coordinator", timeout_seconds=patience)
            while not self._peers[connection].closing:
                with trio.fail_after(patience):
                    frame = await link.receive()
                patience = SILENCE_SECONDS_MAX
                self.frames_received += 1
                self._take(connection, frame)
        except (LinkClosed, trio.TooSlowError):
            return
        except LinkError as error:
            log("peer_malformed", level="WARN", connection=connection, why=str(error))

    def _take(self, connection: int, frame: Frame) -> None:
        if "method" in frame:
            try:
                answer = self._call(connection, frame)
            except ValueError as error:
                answer = {"error": str(error)}
            if answer is not None:
                self.send(connection, {"id": frame.get("id"), **answer})
            return
        kind = frame.get("type")
        if kind == "heartbeat":
            self._handle(model.Heartbeat(connection, frame))
        elif kind in ("lease", "release"):
            self._handle(model.Lease(connection, frame))
        elif kind == "register":
            self._handle(model.Register(connection, frame))
        elif kind == "leave":
            self._handle(model.Leave(connection))
        elif kind == "drained":
            self._handle(model.Drained(connection, frame))
        elif kind == "moves":
            self._handle(model.MovesSaid(connection, frame))
        elif kind == "receipt":
            self._handle(model.Receipt(connection, frame))
        elif kind == "failover_wanted":
            self._handle(model.Wanted(connection, frame))
        else:
            text = (
                "a frame's type is register, heartbeat, lease, release, drained, receipt,"
                " failover_wanted, moves or leave"
            )
            self.send(connection, {"type": "refused", "code": "BAD_MESSAGE", "error": text})
            self.close(connection)

    def _call(self, connection: int, frame: Frame) -> Frame | None:
        """The answer to a call; None if it comes later. Raises ValueError."""
        method, params = frame["method"], frame.get("params")
        if not isinstance(params, dict):
            params = {}
        if method == "failover":
            self._handle(_failover(connection, frame.get("id"), params))
            return None
        if method in ("explain", "whatif", "preview"):
            return {"result": self._ask(method, params)}
        if method == "settle_receipt":
            self._handle(model.Settle(str(params.get("receipt"))))
        elif method == "set_persistence":
            self._handle(model.SetPersistence(policy.parse(params.get("policy"))))
        elif method == "set_durability":
            self._handle(model.SetDurability(durability.parse(params.get("policy"))))
        elif method in ("scale", "rebalance", "drain"):
            # Whatever makes no sense is said before anything is stored.
            self._ask("preview", params)
            self._handle(_goal(method, params))
        elif method != "status":
            raise ValueError(f"the methods are {', '.join(METHODS)}")
        return {"result": self._status()}

    async def _write(
        self, link: Link, frames: trio.MemoryReceiveChannel[Frame], session: trio.CancelScope
    ) -> None:
        try:
            async for frame in frames:
                await link.send(frame)
                self.frames_sent += 1
        except LinkError:
            pass  # the peer is gone
        session.cancel()


def _goal(method: str, params: Frame) -> model.Message:
    if method == "rebalance":
        return model.Rebalance()
    if method == "drain":
        if not isinstance(params.get("node"), str):
            raise ValueError("node must be the id of a node")
        return model.Drain(str(params["node"]), params.get("drained", True) is not False)
    if not isinstance(params.get("shards"), int):
        raise ValueError("shards must be a number")
    return model.SetShards(int(params["shards"]))


def _failover(connection: int, call: object, params: Frame) -> model.Failover:
    shard, to = params.get("shard"), params.get("to")
    if not isinstance(shard, int) or isinstance(shard, bool):
        raise ValueError("shard must be the number of a shard")
    if to is not None and not isinstance(to, str):
        raise ValueError("to must be the id of a node")
    accept_loss = params.get("accept_loss", False) is True
    return model.Failover(connection, call, shard, to or None, accept_loss)

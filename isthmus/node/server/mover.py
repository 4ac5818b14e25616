"""Moving keys to another server for MIGRATE (io): a connection for each request, and what is sent.

The keys are sent as RESTORE commands. While the other server has not confirmed, they are watched:
one that changes meanwhile is sent again, `ATTEMPTS_MAX` times at most. Deleting goes through the
door like any other change.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import trio

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.node import Node
from isthmus.node.values.keys import delete
from isthmus.node.values.rdb_encode import dump
from isthmus.wire.client import Client, ConnectionLost, ReplyError, connect

ATTEMPTS_MAX = 10
NOT_REACHED = b"-IOERR error or timeout connecting to the client\r\n"
PORT_MAX = 65535
LOST = b"-IOERR error or timeout reading from target instance\r\n"


class NotReached(Exception):
    """There is nobody at that address, or it is none."""


def port_of(text: bytes) -> int:
    """The number of a port; ValueError."""
    if not text.isdigit() or not 0 < int(text[:6]) <= PORT_MAX:
        raise ValueError("no port")
    return int(text)


class Mover:
    """Carries out MIGRATE for the clients of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Move what is asked for until cancelled."""
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            await trio.sleep_forever()

    def begin(self, client: ClientState, db: Database, order: Any) -> None:
        """Move the keys of an order, and reply to the client that waits."""
        assert self.nursery is not None
        self.nursery.start_soon(self._carry_out, client, db, order)

    async def _carry_out(self, client: ClientState, db: Database, order: Any) -> None:
        try:
            reply = await self._move(db, order)
        except NotReached:
            reply = NOT_REACHED
        except (ConnectionLost, OSError):
            reply = LOST
        except ReplyError as error:
            text = str(error).encode("utf-8", "replace").replace(b"\r", b" ").replace(b"\n", b" ")
            reply = b"-ERR Target instance replied with error: " + text + b"\r\n"
        if client.blocked is not None and client.blocked.kind == b"migration":
            self.node.blocking.answer(client, reply)

    async def _move(self, db: Database, order: Any) -> bytes:
        seconds = order.timeout_ms / 1000
        async with AsyncExitStack() as stack:
            try:
                # Whatever host and port may be: what is none cannot be reached either.
                address = order.host.decode("utf-8"), port_of(order.port)
                peer = await stack.enter_async_context(connect(address, timeout_seconds=seconds))
            except (ConnectionLost, OSError, ValueError) as error:
                raise NotReached from error
            if order.login:
                await peer.call(*order.login)
            if order.database:
                await peer.call(b"SELECT", order.database)
            await self._send(peer, db, order)
        return b"+OK\r\n"

    async def _send(self, peer: Client, db: Database, order: Any) -> None:
        left = list(order.keys)
        sent: set[bytes] = set()
        refusal: ReplyError | None = None
        for _ in range(ATTEMPTS_MAX):
            batch = [key for key in left if db.exists(key)]
            if not batch:
                break
            versions = [db.watch(key) for key in batch]
            try:
                commands = [self._restore(db, key, order, key in sent) for key in batch]
                replies = await peer.pipeline(commands)
                left = []
                for key, version, reply in zip(batch, versions, replies, strict=True):
                    if isinstance(reply, ReplyError):
                        refusal = refusal or reply
                        continue
                    sent.add(key)
                    if not order.copy and db.version(key) != version:
                        left.append(key)
                    elif not order.copy:
                        self._delete(db, key)
            finally:
                for key in batch:
                    db.unwatch(key)
            if not left:
                break
        if refusal is not None:
            raise refusal
        if left:
            raise ConnectionLost(f"{len(left)} keys changed each time they were sent")

    def _restore(self, db: Database, key: bytes, order: Any, again: bool) -> list[Any]:
        value = db.peek(key)
        expire = db.expiry(key)
        ttl = max(expire - self.node.clock.now_ms, 1) if expire >= 0 else 0
        name = b"RESTORE" if self.node.cluster is None else b"RESTORE-ASKING"
        command = [name, key, ttl, dump(value)]
        return [*command, b"REPLACE"] if order.replace or again else command

    def _delete(self, db: Database, key: bytes) -> None:
        """The key is at the other server: it is gone here."""
        ctx = self.node.ctx
        ctx.session = None  # type: ignore[assignment]
        delete(db, key)
        ctx.settle()

"""A keyspace of our own for a moment, to run one command on keys that were fetched for it (pure).

Nothing expires in it: whether a key's time has come is for the source to say.
"""

from __future__ import annotations

from isthmus.node.commands import load_all
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.execute import execute
from isthmus.node.engine.node import Node
from isthmus.node.engine.rng import Rng

load_all()


class Scratch:
    """Keys as DUMP has them, in and out, and a command between."""

    def __init__(self) -> None:
        clock = Clock()
        clock.loading = True
        self.node = Node(clock, Rng(1), Config({"databases": "1"}), "0" * 40)
        self.client = self.node.new_client()

    def call(self, argv: list[bytes]) -> bytes:
        """The reply to a command, as it would be sent."""
        ctx = self.node.ctx
        execute(ctx, self.client, argv)
        self.node.keyspace.log.flush()
        return bytes(ctx.reply.take())

    def put(self, key: bytes, dump: bytes | None, expire_ms: int) -> None:
        """Have a key; -1: it does not expire."""
        if dump is not None:
            self.call([b"RESTORE", key, b"0", dump])
            if expire_ms >= 0:
                self.call([b"PEXPIREAT", key, b"%d" % expire_ms])

    def get(self, key: bytes) -> tuple[bytes | None, int]:
        """A key as DUMP and PEXPIRETIME have it."""
        head, _, dump = self.call([b"DUMP", key]).partition(b"\r\n")
        when = int(self.call([b"PEXPIRETIME", key])[1:])
        return None if head == b"$-1" else dump[:-2], when

    def run(self, argv: list[bytes]) -> str:
        """Run the command; what was wrong, or an empty text."""
        reply = self.call(argv)
        return reply[1:].strip().decode(errors="replace") if reply[:1] == b"-" else ""

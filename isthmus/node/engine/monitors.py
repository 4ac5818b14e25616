"""Monitors: the clients that are told of every command, as MONITOR asks.

A line is a simple string:

    1339518083.107412 [0 127.0.0.1:60866] "keys" "*"

with Unix time to the microsecond, the database, who sent it (an address, `unix:path`, or `lua` for
a command of a script), and the arguments quoted so that any bytes fit on a line. Administrative
commands and those flagged SKIP_MONITOR are not shown, passwords are replaced by `(redacted)`.

While there is no monitor this costs nothing: ctx.gates has no GATE_MONITOR.
"""

from __future__ import annotations

import re
from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_MONITOR
from isthmus.node.engine.spec import ADMIN, SKIP_MONITOR, CommandSpec

REDACTED = b"(redacted)"
# How many of the arguments behind a word are secret.
SECRETS = {b"hello": {b"auth": 2}, b"migrate": {b"auth": 1, b"auth2": 2}}
_ESCAPES = {
    0x5C: b"\\\\", 0x22: b'\\"', 0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t", 0x07: b"\\a",
    0x08: b"\\b",
}  # fmt: skip
_PLAIN = re.compile(rb"[ !#-\[\]-~]*")
_SPELT = tuple(
    _ESCAPES.get(byte, bytes((byte,)) if 32 <= byte <= 126 else b"\\x%02x" % byte)
    for byte in range(256)
)


def quoted(text: bytes) -> bytes:
    """Any bytes as one quoted word of visible ASCII."""
    if _PLAIN.fullmatch(text):
        return b'"' + text + b'"'
    return b'"' + b"".join([_SPELT[byte] for byte in text]) + b'"'


def shown(spec: CommandSpec, argv: list[bytes]) -> list[bytes]:
    """The arguments as others may see them."""
    if spec.name == b"auth":
        return [argv[0], *([REDACTED] * (len(argv) - 1))]
    if spec.name not in (b"hello", b"migrate"):
        return argv
    safe = list(argv)
    for at, word in enumerate(argv):
        secrets = SECRETS[spec.name].get(word.lower(), 0)
        if at > 1 and at + secrets < len(argv):
            safe[at + 1 : at + 1 + secrets] = [REDACTED] * secrets
    return safe


class Monitors:
    """The monitoring clients of a node."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.clients: dict[ClientState, None] = {}

    def add(self, client: ClientState) -> None:
        """Show client every command from now on."""
        self.clients[client] = None
        self.node.ctx.gates |= GATE_MONITOR
        self.node.output_limits.apply(client)

    def remove(self, client: ClientState) -> None:
        """Client has left, or asked for RESET."""
        if client in self.clients:
            del self.clients[client]
            if not self.clients:
                self.node.ctx.gates &= ~GATE_MONITOR
            self.node.output_limits.apply(client)

    def feed(self, ctx: Any, spec: CommandSpec, argv: list[bytes]) -> None:
        """A command was run: show it, unless it is one to be kept from others."""
        if not spec.flags & (SKIP_MONITOR | ADMIN):
            self.show(ctx, shown(spec, argv), from_script=False)

    def announce(self, ctx: Any, spec: CommandSpec, argv: list[bytes]) -> None:
        """A command is about to run: a script is shown before the commands it runs."""
        scripts = self.node.scripts
        # One that had been paused was shown when it began; now it only gets its reply.
        if scripts is not None and ctx.session.id in scripts.finished:
            return
        if spec.group == "scripting":
            self.show(ctx, argv, from_script=False)

    def show(self, ctx: Any, argv: list[bytes], *, from_script: bool) -> None:
        """Show a command as it is given; scripts call this for themselves and what they run."""
        micros = ctx.clock.wall_us()
        who = b"lua" if from_script else source(ctx.session)
        words = b" ".join([quoted(arg) for arg in argv])
        line = b"+%d.%06d [%d %b] %b\r\n" % (
            micros // 1_000_000, micros % 1_000_000, ctx.session.db.index, who, words,
        )  # fmt: skip
        for client in list(self.clients):
            self.node.ctx.push(client, line)


def source(client: ClientState) -> bytes:
    """Where a client speaks from."""
    if client.address.startswith(b"/"):
        return b"unix:" + client.address.removesuffix(b":0")
    return client.address

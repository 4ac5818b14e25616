"""MONITOR: be shown every command the node runs.

The lines are written by engine/monitors.py. A monitoring client may not touch keys, as Redis has
it, because its replies could not be told from the lines.
"""

from __future__ import annotations

from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import OK, command
from isthmus.node.engine.spec import ADMIN, LOADING, NOSCRIPT, STALE


@command("MONITOR", since="1.0.0", group="server", flags=ADMIN | NOSCRIPT | LOADING | STALE,
         complexity="O(1), and about as much for each command that anybody runs afterwards",
         reply=OK)  # fmt: skip
def monitor(ctx: Context, argv: list[bytes]) -> None:
    """Show every command to this connection from now on, until RESET or its end."""
    if ctx.deny_blocking:
        raise RedisError(b"ERR MONITOR isn't allowed for DENY BLOCKING client")
    monitors = ctx.node.monitors
    # A second MONITOR has no reply at all, as in Redis.
    if ctx.session not in monitors.clients:
        monitors.add(ctx.session)
        ctx.reply.ok()

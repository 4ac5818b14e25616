"""The stage: a greenlet in which scripts run, so that a long one can give the loop back.

Lua calls a hook every few thousand instructions (runtime.py). When the script has had its slice of
time, the hook calls `pause`, which switches back to where `play` was called: `play` returns False
and the loop goes on serving sockets and timers, while the script's stack, Lua's and Python's,
stands still. `resume` goes on with it for another slice. One script is on the stage at a time.

What a script has half done must not be seen: while it is paused, GATE_BUSY keeps everybody else's
commands out, and the effect log holds what it collected (`EffectLog.held`).

The fields of the Context that belong to the command being run are put away at a pause and put back
when it ends. Replies are written to a writer of the stage's own, because the one of the context is
everybody's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import greenlet

from isthmus.node.engine.context import Context
from isthmus.wire.reply import ReplyWriter

SLICE_NS = 10_000_000


class Stage:
    """See the module's first lines. Nothing pauses unless `may_pause` is set: somebody must be
    there to call `resume`."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.writer = ReplyWriter()
        self.slice_ns = SLICE_NS
        self.slice_end_ns = 0
        self.may_pause = False
        self.abandoned = False
        # A body is on the stage, running or paused; it is running now.
        self.occupied = False
        self.running = False
        self._house = ctx.reply
        self._worker: Any = None
        self._loop: Any = None

    def play(self, body: Callable[[Any], None], argument: Any) -> bool:
        """Run body(argument), whose replies go to `writer`. False if it was paused before its
        end."""
        if self._worker is None or self._worker.dead:
            self._worker = greenlet.greenlet(self._work)
        self._house = self.ctx.reply
        self.writer.protocol = self._house.protocol
        self.occupied = True
        return self._enter(body, argument)

    def resume(self) -> bool:
        """Go on with a paused body for another slice. False if it was paused again."""
        self._house = self.ctx.reply
        return self._enter(None, None)

    def pause(self) -> None:
        """Called on the stage: let the loop go on, return when `resume` is called."""
        ctx = self.ctx
        kept = ctx.session, ctx.db, ctx.spec, ctx.now_ms, ctx.deny_blocking, ctx.reply
        ctx.deny_blocking = False
        try:
            self._loop.switch(False)
        except greenlet.GreenletExit:
            # The process ends. No exception may reach Lua, so the script is told to end.
            self.abandoned = True
        ctx.session, ctx.db, ctx.spec, ctx.now_ms, ctx.deny_blocking, ctx.reply = kept

    def due(self) -> bool:
        """True if the running body's slice of time is over and it may be paused."""
        return self.may_pause and self.running and self.ctx.clock.mono_ns() >= self.slice_end_ns

    def _enter(self, body: Callable[[Any], None] | None, argument: Any) -> bool:
        ctx = self.ctx
        self._loop = greenlet.getcurrent()
        self.slice_end_ns = ctx.clock.mono_ns() + self.slice_ns
        ctx.reply = self.writer
        self.running = True
        ended = True
        try:
            ended = bool(self._worker.switch(body, argument))
        finally:
            self.running = False
            self.occupied = not ended
            ctx.reply = self._house
        return ended

    def _work(self, body: Callable[[Any], None], argument: Any) -> None:
        while True:
            body(argument)
            if self.abandoned:
                return
            body, argument = self._loop.switch(True)

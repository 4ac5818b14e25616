"""Driving long scripts (io): between two slices of a paused script the loop serves others.

The script's own slices are in node/scripting/stage.py; here is only who calls for the next one. A
task that is always ready keeps the pump from waiting (wire/loop.py), so sockets and timers get
their turn after each slice.
"""

from __future__ import annotations

import resource

import trio

from isthmus.node.scripting.scripts import Scripts


def script_bytes(wanted_mb: int) -> int:
    """What Lua may take: as much as asked for, but no large part of a limited address space."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    wanted = wanted_mb << 20
    return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit // 8)


class ScriptDriver:
    """Calls `Scripts.step` until nothing is paused."""

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts
        self.paused = trio.Event()

    async def run(self) -> None:
        """Drive until cancelled."""
        scripts = self.scripts
        scripts.wake = self._wake
        scripts.stage.may_pause = True
        try:
            while True:
                await self.paused.wait()
                self.paused = trio.Event()
                while True:
                    await trio.lowlevel.checkpoint()
                    if not scripts.step():
                        break
        finally:
            scripts.stage.may_pause = False
            scripts.wake = None

    def _wake(self) -> None:
        self.paused.set()

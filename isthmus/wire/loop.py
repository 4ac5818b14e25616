"""The one trio task that owns a pump.

While sockets are busy it stays inside `Pump.spin` for at most `BUDGET_US`, then lets the other
tasks of the process run; when all is quiet it parks in trio until the epoll set becomes readable.
"""

from __future__ import annotations

import trio

from isthmus.wire.pump import Pump

BUDGET_US = 5000
ACCEPT_REST_SECONDS = 0.1


async def run_pump(pump: Pump) -> None:
    """Serve pump's sockets until `pump.stopped` is set and the task is woken, or cancelled."""
    while not pump.stopped:
        if pump.spin(BUDGET_US):
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(pump.fileno())


async def keep_accepting(pump: Pump) -> None:
    """Let the listeners accept again after a rest whenever descriptors had run out."""
    while True:
        await trio.sleep(ACCEPT_REST_SECONDS)
        if pump.accept_paused:
            pump.resume_accepting()

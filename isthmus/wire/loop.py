"""The one trio task that owns a pump.

Both trio and the pump wait with epoll, and going from one to the other for every batch of
requests costs more CPU than the batch. So the pump does the waiting for both: its epoll set
contains trio's, and it waits no longer than trio's next deadline. trio gets its turn when one of
its descriptors is ready, when a deadline has come, when something inside the pump made a task
ready (`Bell`), and at least every `BUDGET_US` while sockets are busy.

Waiting is kept long on purpose: in a virtual machine a short timeout means reprogramming the timer
for every wait, which was measured as a tenth of a request.

Where trio's epoll set is stored is not part of its interface. If it is not there, the pump waits
for a millisecond at most and then parks in trio; a test says so when a new trio does that.
"""

from __future__ import annotations

import gc
import math

import trio

from isthmus.wire.pump import Pump

BUDGET_US = 5000
WAIT_MS_MAX = 1000
PARK_AFTER_MS = 1
YOUNG_OBJECTS_MAX = 100_000


def settle_collector() -> None:
    """Make the cyclic garbage collector fit a server; called once, when everything is set up.

    Requests make no cycles, and their objects are many and short-lived. With Python's thresholds a
    deep pipeline sets off full collections, each of which stops the process for up to 100 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, 100, 100)


async def run_pump(pump: Pump) -> None:
    """Serve pump's sockets until `pump.stopped` is set, or cancelled."""
    descriptor = scheduler_descriptor()
    if descriptor is None:
        await _run_parking(pump)
        return
    bell = Bell(pump)
    quiet = 0
    trio.lowlevel.add_instrument(bell)
    pump.watch(descriptor)
    try:
        while not pump.stopped:
            quiet = 0 if bell.rung else quiet + 1
            bell.rung = False
            pump.woken = False
            pump.spin(BUDGET_US, milliseconds_to_deadline() if quiet > 1 else 0)
            await trio.lowlevel.checkpoint()
    finally:
        pump.unwatch()
        trio.lowlevel.remove_instrument(bell)


class Bell(trio.abc.Instrument):
    """Rings when a task other than the pump's has something to do.

    The pump may wait only if nobody has. Between two turns of the pump every task that was ready
    before the first has run, but for those made ready by tasks that ran just before it; these run
    until the turn after. So two turns in silence mean that all others are waiting.
    """

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self.task = trio.lowlevel.current_task()
        self.rung = True

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """A task is ready to run."""
        if task is not self.task:
            self.rung = True
            self.pump.wake()


def scheduler_descriptor() -> int | None:
    """The descriptor of the running scheduler's epoll set, or None where it cannot be found."""
    runner = getattr(trio._core._run.GLOBAL_RUN_CONTEXT, "runner", None)
    epoll = getattr(getattr(runner, "io_manager", None), "_epoll", None)
    return None if epoll is None else int(epoll.fileno())


def milliseconds_to_deadline() -> int:
    """How long the pump may wait: until the scheduler's next deadline, rounded up."""
    seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
    return WAIT_MS_MAX if seconds > 1 else min(max(math.ceil(seconds * 1000), 0), WAIT_MS_MAX)


async def _run_parking(pump: Pump) -> None:
    while not pump.stopped:
        if pump.spin(BUDGET_US, PARK_AFTER_MS):
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(pump.fileno())

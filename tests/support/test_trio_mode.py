"""The suite runs `async def` tests under trio, on a clock that never really waits."""

from __future__ import annotations

import trio
from trio.testing import MockClock


async def test_async_tests_run_under_trio(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    await trio.sleep(3600)
    assert trio.current_time() - started == 3600

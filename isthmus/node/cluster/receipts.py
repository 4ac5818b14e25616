"""Receipts on their way: what this node gave up, told to the coordinator until it has noted it.

A loss receipt (node/replicate/quarantine.py) is a file of the node; the coordinator keeps a short
form of it in its journal, where people look. What is said over a link may be lost, so each is said
again every `AGAIN_MS` until `receipt_noted` comes, one coordinator or another. The coordinator
notes each name once, however often it hears it.

    {"type": "receipt", "name", ...} -> {"type": "receipt_noted", "name"}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Frame = dict[str, Any]
AGAIN_MS = 2000
# Of more at once the oldest are not told; their files stay.
WAITING_MAX = 64
# At a time: what the link has to say besides is more urgent.
SAID_MAX = 8
MS = 1_000_000


class Receipts:
    """Those that the coordinator has not noted. `say` sends a frame, `told(name)` hears of the end.

    `now` is nanoseconds of a clock that nobody sets.
    """

    def __init__(self, say: Callable[[Frame], None]) -> None:
        self._say = say
        self.told: Callable[[str], None] = lambda name: None
        self._waiting: dict[str, Frame] = {}
        self._said_ns = 0
        # How many this process gave its data for.
        self.count = 0

    @property
    def waiting(self) -> int:
        """How many the coordinator has not noted."""
        return len(self._waiting)

    def add(self, frame: Frame) -> None:
        """Tell of a receipt."""
        self._waiting[str(frame["name"])] = frame
        while len(self._waiting) > WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._said_ns = 0

    def tick(self, now: int) -> None:
        """Say what is to be said, again if need be."""
        if self._waiting and (not self._said_ns or now - self._said_ns >= AGAIN_MS * MS):
            self._said_ns = now
            for frame in list(self._waiting.values())[:SAID_MAX]:
                self._say(frame)

    def noted(self, frame: Frame) -> None:
        """The coordinator has it."""
        name = frame.get("name")
        if isinstance(name, str) and self._waiting.pop(name, None) is not None:
            self.told(name)

"""Durability of a cluster: when the reply to a write may go out, as text.

    async[:MS[:BYTES]]     at once; writes are refused while the oldest change that no replica has
                           is older than MS, or all such changes are more than BYTES: what a lost
                           primary can take with it is bounded
    replica[:MS[:BYTES]]   when a replica in sync has the change: a lost primary takes nothing that
                           was acknowledged. Writes are refused past the same limits
    fsync[:MS[:BYTES]]     when the append only file is on the primary's disk; for the rest as async

The limits are 5 s and 64 MiB unless given. They have to be longer than it takes to find a replica
dead (about 1.5 s), or each lost replica would stop writes until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ASYNC: Final = "async"
REPLICA: Final = "replica"
FSYNC: Final = "fsync"
KINDS: Final = (ASYNC, REPLICA, FSYNC)
LAG_MS: Final = 5000
LAG_BYTES: Final = 64 << 20
LAG_MS_MAX: Final = 3_600_000
LAG_BYTES_MAX: Final = 1 << 40
TEXT_CHARS_MAX: Final = 40
USAGE: Final = (
    "a durability is async, replica or fsync, with limits if wanted: async:MS:BYTES, as in "
    "replica:10000 or async:2000:16777216"
)


class DurabilityError(ValueError):
    """A text that is no durability; says what one is."""


@dataclass(frozen=True, slots=True)
class Durability:
    """A kind, and how far replicas may be behind before writes are refused."""

    kind: str = ASYNC
    lag_ms: int = LAG_MS
    lag_bytes: int = LAG_BYTES

    def __str__(self) -> str:
        return f"{self.kind}:{self.lag_ms}:{self.lag_bytes}"


def parse(text: object) -> Durability:
    """The durability of a text. Raises DurabilityError."""
    if not isinstance(text, str) or len(text) > TEXT_CHARS_MAX:
        raise DurabilityError(USAGE)
    kind, *limits = text.split(":")
    if kind not in KINDS or len(limits) > 2:
        raise DurabilityError(f"{USAGE}; not {text!r}")
    numbers = [LAG_MS, LAG_BYTES]
    for at, (word, most) in enumerate(zip(limits, (LAG_MS_MAX, LAG_BYTES_MAX), strict=False)):
        if not word.isdecimal() or not 0 < int(word) <= most:
            raise DurabilityError(f"{USAGE}; {word!r} is no number from 1 to {most}")
        numbers[at] = int(word)
    return Durability(kind, *numbers)

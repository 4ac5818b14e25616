"""Persistence policies: what a cluster keeps on disk, as one value and its text (pure).

    off              nothing is kept
    rdb:6h           a snapshot every six hours if anything changed; units are s, m, h and d
    aof:everysec     an append only file, synced once a second: a power cut takes 2 s at most
    aof:always       an append only file, synced before any reply to a write

The text is what people type, what the coordinator stores, what topologies carry, and what nodes
remember in their data folder; `parse` and `str` are the only two places that know it. A period has
one text: 60m is written 1h. In a node a policy is three parameters of Redis, `parameters`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

TEXT_CHARS_MAX: Final = 32
RDB, AOF = "rdb", "aof"
SYNCS: Final = ("everysec", "always")
# Snapshots written more often than this would be written all the time where data is large.
PERIOD_SECONDS_MIN: Final = 60
PERIOD_SECONDS_MAX: Final = 30 * 86400
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PERIOD: Final = re.compile(r"([0-9]{1,8})([smhd])")
_FORMS: Final = "a policy is off, rdb:PERIOD (such as rdb:1h), aof:everysec or aof:always"
# The parameters of a node that a policy decides.
PARAMETERS: Final = ("appendonly", "appendfsync", "save")


class PolicyError(ValueError):
    """A text that is no policy; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. `period_s` counts for snapshots, `sync` for the append only file."""

    kind: str = ""  # RDB, AOF, or empty: off
    period_s: int = 0
    sync: str = ""

    def __str__(self) -> str:
        if self.kind == RDB:
            return f"rdb:{_period(self.period_s)}"
        return f"aof:{self.sync}" if self.kind == AOF else "off"

    @property
    def save(self) -> str:
        """The parameter `save`: the save points of this policy."""
        return f"{self.period_s} 1" if self.kind == RDB else ""

    def parameters(self) -> dict[str, str]:
        """What the parameters of a node say under this policy; one that is open is left out."""
        found = {"appendonly": "yes" if self.kind == AOF else "no", "save": self.save}
        return {**found, "appendfsync": self.sync} if self.kind == AOF else found


OFF: Final = Policy()


def parse(text: object) -> Policy:
    """The policy of a text. Raises PolicyError."""
    if not isinstance(text, str) or len(text) > TEXT_CHARS_MAX:
        raise PolicyError(_FORMS)
    if text == "off":
        return OFF
    kind, colon, rest = text.partition(":")
    if kind == AOF and rest in SYNCS:
        return Policy(AOF, sync=rest)
    if kind != RDB or not colon:
        raise PolicyError(f"{_FORMS}, not {text!r}")
    match = _PERIOD.fullmatch(rest)
    if match is None:
        raise PolicyError(
            f"{rest!r} is no period: it is a number and one of s, m, h, d, such as rdb:6h"
        )
    seconds = int(match[1]) * _UNITS[match[2]]
    if not PERIOD_SECONDS_MIN <= seconds <= PERIOD_SECONDS_MAX:
        low, high = _period(PERIOD_SECONDS_MIN), _period(PERIOD_SECONDS_MAX)
        raise PolicyError(f"the period of {text} is not between {low} and {high}")
    return Policy(RDB, period_s=seconds)


def _period(seconds: int) -> str:
    for unit, length in _UNITS.items():
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    raise AssertionError("every period is some seconds")

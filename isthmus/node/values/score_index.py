"""ScoreIndex: a map from member to score that is also in order (Tier C twin).

The value behind Redis' sorted sets: the hash table gives a member's score, and an order index kept
beside it gives ranks and ranges. The order is by score, then by the member's bytes as unsigned
numbers; a rank counts from 0 at the lowest.

Invariant: table and order hold the same members with the same scores, whatever is called; `check`
asserts it. Only the methods of this class and the reading ones of Table may be used: `add`,
`put`, `put_keep` and `set_expiry` of Table would bring in members that the order knows nothing of.

Ranges are given as (start, count): `start` is the rank of the first entry, and with `reverse` the
walk goes down from it. The caller keeps them within the set. `count_lex_below` means something
only while all scores are equal, as Redis' commands by member do.

Three notes are kept for the owner, who tells OBJECT ENCODING from them: `widest` is the length of
the longest member that was ever here; `grown` is set when a member comes, until the owner clears
it, unless the owner has set `outgrown`.

It may not know keys, databases or effects, nor write replies beyond members and scores.
This twin keeps the order as lists of at most 512 (score, member) tuples.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import islice
from typing import Any

from isthmus.node.engine.table import Table
from isthmus.node.values.score_text import parse_score
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

_RUN_MAX = 512
_ITEM_BYTES = 16

Entry = tuple[float, bytes]


def read_score(text: bytes) -> float:
    """A score as clients write it; ValueError if it is none."""
    return parse_score(text)


def _first(run: list[Entry]) -> Entry:
    return run[0]


def _first_score(run: list[Entry]) -> float:
    return run[0][0]


def _first_member(run: list[Entry]) -> bytes:
    return run[0][1]


def _score(entry: Entry) -> float:
    return entry[0]


def _member(entry: Entry) -> bytes:
    return entry[1]


class ScoreIndex(Table):
    """Members with scores, in order; see the module essay for the contract."""

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[list[Entry]] = []
        self.widest = 0
        self.grown = False
        self.outgrown = False

    # -- the order ----------------------------------------------------------------------------

    def _place(self, entry: Entry) -> None:
        if not self._runs:
            self._runs.append([entry])
            return
        r = max(bisect_right(self._runs, entry, key=_first) - 1, 0)
        run = self._runs[r]
        insort(run, entry)
        if len(run) > _RUN_MAX:
            half = len(run) // 2
            self._runs[r : r + 1] = [run[:half], run[half:]]

    def _erase(self, entry: Entry) -> None:
        r = bisect_right(self._runs, entry, key=_first) - 1
        run = self._runs[r]
        del run[bisect_left(run, entry)]
        if not run:
            del self._runs[r]

    def _prefix(self, r: int) -> int:
        return sum(map(len, islice(self._runs, r)))

    def _select(self, rank: int) -> tuple[int, int]:
        if not 0 <= rank < self.count:
            raise IndexError("rank outside the set")
        r = 0
        while rank >= len(self._runs[r]):
            rank -= len(self._runs[r])
            r += 1
        return r, rank

    def _walk(self, start: int, count: int, reverse: bool) -> Iterator[Entry]:
        if count <= 0:
            return
        r, at = self._select(start)
        if reverse:
            yield from islice(self._down(r, at), count)
        else:
            yield from islice(self._up(r, at), count)

    def _up(self, r: int, at: int) -> Iterator[Entry]:
        for run in islice(self._runs, r, None):
            yield from islice(run, at, None)
            at = 0

    def _down(self, r: int, at: int) -> Iterator[Entry]:
        yield from self._runs[r][at::-1]
        for i in range(r - 1, -1, -1):
            yield from reversed(self._runs[i])

    # -- writing ------------------------------------------------------------------------------

    def upsert(self, member: bytes, score: float) -> i64:
        """Give member this score: 2 if it is new, 1 if its score has changed, else 0."""
        old = self.get(member)
        if old == score:
            return 0
        if old is not None:
            self._erase((old, member))
        super().put_score(member, score)
        self._place((score, member))
        if old is not None:
            return 1
        self.widest = max(self.widest, len(member))
        self.account(_ITEM_BYTES)
        self.grown = not self.outgrown
        return 2

    def put_score(self, key: bytes, score: float) -> bool:
        """As upsert(). True if key is new."""
        return self.upsert(key, score) == 2

    def discard(self, key: bytes) -> bool:
        """Remove a member. True if it was here."""
        return self.pop(key) is not None

    def pop(self, key: bytes) -> Any:
        """Remove a member and return its score, or None if it was not here."""
        score = super().pop(key)
        if score is not None:
            self._erase((score, key))
            self.account(-_ITEM_BYTES)
        return score

    def remove_range(self, start: i64, count: i64) -> None:
        """Remove `count` entries, upwards from rank `start`."""
        for member in self.members(start, min(count, self.count - start)):
            self.pop(member)

    def clear_slice(self, limit: i64) -> i64:
        """Free about `limit` entries; returns how many are left. Only for a set thrown away."""
        self._runs = []
        before = self.count
        left = super().clear_slice(limit)
        self.account(-_ITEM_BYTES * (before - left))
        return left

    # -- reading ------------------------------------------------------------------------------

    def rank(self, member: bytes) -> i64:
        """The rank of member, -1 if it is not here."""
        score = self.get(member)
        if score is None:
            return -1
        entry = (score, member)
        r = bisect_right(self._runs, entry, key=_first) - 1
        return self._prefix(r) + bisect_left(self._runs[r], entry)

    def count_below(self, score: float, inclusive: bool) -> i64:
        """How many entries have a score less than this (or equal to it, if inclusive)."""
        bisect = bisect_right if inclusive else bisect_left
        r = bisect(self._runs, score, key=_first_score) - 1
        return self._prefix(r) + bisect(self._runs[r], score, key=_score) if r >= 0 else 0

    def count_lex_below(self, member: bytes, inclusive: bool) -> i64:
        """How many entries come before this member (or are it, if inclusive)."""
        bisect = bisect_right if inclusive else bisect_left
        r = bisect(self._runs, member, key=_first_member) - 1
        return self._prefix(r) + bisect(self._runs[r], member, key=_member) if r >= 0 else 0

    def member_at(self, rank: i64) -> bytes:
        """The member of this rank; IndexError outside the set."""
        r, at = self._select(rank)
        return self._runs[r][at][1]

    def score_at(self, rank: i64) -> float:
        """The score of the entry of this rank; IndexError outside the set."""
        r, at = self._select(rank)
        return self._runs[r][at][0]

    def write_range(
        self, reply: ReplyWriter, start: i64, count: i64, reverse: bool, scores: bool, nested: bool
    ) -> None:
        """Write members, with their scores if asked for, each pair in its own array if nested."""
        for score, member in self._walk(start, count, reverse):
            if nested:
                reply.array(2)
            reply.bulk(member)
            if scores:
                reply.double(score)

    def members(self, start: i64, count: i64, reverse: bool = False) -> list[bytes]:
        """The members of a range, as a new list."""
        return [member for _, member in self._walk(start, count, reverse)]

    def slice(self, start: i64, count: i64, reverse: bool = False) -> list[tuple[bytes, float]]:
        """The (member, score) of a range, as a new list."""
        return [(member, score) for score, member in self._walk(start, count, reverse)]

    def check(self) -> None:
        """Assert the invariants; O(n), for tests."""
        super().check()
        entries = [entry for run in self._runs for entry in run]
        assert all(self._runs), "empty run"
        assert all(len(run) <= _RUN_MAX for run in self._runs), "overflowing run"
        assert all(a < b for a, b in zip(entries, entries[1:], strict=False)), "order"
        assert len(entries) == self.count, "count of the runs"
        assert all(self.get(member) == score for score, member in entries), "score"

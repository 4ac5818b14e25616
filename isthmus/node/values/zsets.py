"""Sorted sets: the sorted set value and its effect functions.

A sorted set is a ScoreIndex. `outgrown` is what Redis calls the encoding "skiplist": it is set once
the set has had more members, or a longer one, than a listpack may have, and never taken back.
Nothing is stored differently then; only OBJECT ENCODING and the paging of ZSCAN look at it. The
thresholds are configuration, which effects may not read: commands call `fit` behind an effect that
left `grown` set; a replayed effect goes by Redis' default thresholds.

Effects, each with its key: ZADD key score member... (the resolved scores of what was added or
changed, so no condition and no increment; spelt with the digits that read back to the same double)
and ZREM key member... (the members that were there; pops and removals of ranges are ZREM too, but
for one that takes everything, which is DEL). A set made by a command over other sets is DEL key and
then ZADD. Effects of very many members are cut into pieces, because whoever reads them back limits
the number of arguments; the event goes with the last piece. A sorted set that becomes empty is
deleted with its last member, wherever the effect is applied. Replayers pass over a set that has
expired meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.node.engine.effect import replays
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.keyspace import Database
from isthmus.node.values.keys import delete, drop_empty
from isthmus.node.values.score_index import ScoreIndex, read_score
from isthmus.wire.scalars import format_float, i64

LISTPACK_ENTRIES_MAX = 128
LISTPACK_VALUE_BYTES_MAX = 64
EFFECT_MEMBERS_MAX = 4096

# The conditions of ZADD, as bits.
NX, XX, GT, LT, INCR = 1, 2, 4, 8, 16

SCORE_NAN = b"ERR resulting score is not a number (NaN)"


class ZSetValue(ScoreIndex):
    """The value of a key that holds a sorted set."""

    kind = b"zset"

    def fit(self, entries_max: i64, value_bytes_max: i64) -> None:
        """Look again at whether this set would still be a listpack."""
        self.grown = False
        if self.count > entries_max or self.widest > value_bytes_max:
            self.outgrown = True

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"skiplist" if self.outgrown else b"listpack"

    def plain(self) -> dict[bytes, float]:
        """Member -> score."""
        return dict(self.items())

    def copy(self) -> ZSetValue:
        """An equal set that shares nothing with this one."""
        made = ZSetValue()
        for member, score in self.slice(0, self.count):
            made.upsert(member, score)
        made.outgrown = self.outgrown
        return made


class Added:
    """What a ZADD did: members added, scores changed, pairs not held back by a condition, and the
    score of the last of those."""

    def __init__(self) -> None:
        self.added = 0
        self.updated = 0
        self.processed = 0
        self.score = 0.0


def create(db: Database, key: bytes) -> ZSetValue:
    """An empty set at key, which the caller fills by an effect before anything else happens."""
    value = ZSetValue()
    db.store(key, value, -1)
    return value


def add_one(db: Database, key: bytes, value: ZSetValue, member: bytes, score: float) -> i64:
    """ZADD key score member: 2 if the member is new, 1 if its score has changed, else 0."""
    if not value.outgrown:
        score += 0.0  # a listpack keeps whole scores as integers, which have no -0
    state: i64 = value.upsert(member, score)
    if state and db.changed(key):
        db.record([b"ZADD", key, format_float(score), member], b"zadd", b"z")
    return state


def add_pairs(
    db: Database,
    key: bytes,
    value: ZSetValue,
    scores: Sequence[float],
    argv: list[bytes],
    first: i64,
    flags: i64,
) -> Added:
    """ZADD key score member... under conditions; raises RedisError if a sum is no number.

    The scores have been read from argv[first], argv[first + 2] ...; members stand behind them.
    """
    result = Added()
    changed: list[bytes] = []
    at = first + 1
    for score in scores:
        member = argv[at]
        at += 2
        old = value.score(member)
        if old is None:
            if flags & XX:
                continue
        else:
            if flags & NX:
                continue
            before = old
            if flags & INCR:
                score += before
                # As in Redis there is only one pair then, so nothing has been changed yet.
                if score != score:
                    raise RedisError(SCORE_NAN)
            if (flags & LT and score >= before) or (flags & GT and score <= before):
                continue
        result.processed += 1
        result.score = score
        if not value.outgrown:
            score += 0.0  # as in add_one()
        state: i64 = value.upsert(member, score)
        if state == 0:
            continue
        if state == 1:
            result.updated += 1
        else:
            result.added += 1
        if db.log.recording:
            changed += (format_float(score), member)
    if (result.added or result.updated) and db.changed(key):
        record_scores(db, key, changed, b"zincr" if flags & INCR else b"zadd")
    return result


def record_scores(db: Database, key: bytes, pairs: list[bytes], event: bytes) -> None:
    """Record ZADD of scores and members, alternating, in pieces."""
    for start in range(0, len(pairs), EFFECT_MEMBERS_MAX):
        last = start + EFFECT_MEMBERS_MAX >= len(pairs)
        argv = [b"ZADD", key, *pairs[start : start + EFFECT_MEMBERS_MAX]]
        db.record(argv, event if last else b"", b"z" if last else b"")


def record_removal(db: Database, key: bytes, members: list[bytes], event: bytes) -> None:
    """Record ZREM of the members in pieces."""
    for start in range(0, len(members), EFFECT_MEMBERS_MAX):
        last = start + EFFECT_MEMBERS_MAX >= len(members)
        argv = [b"ZREM", key, *members[start : start + EFFECT_MEMBERS_MAX]]
        db.record(argv, event if last else b"", b"z" if last else b"")


@replays(b"ZADD")
def replay_zadd(db: Database, argv: list[bytes]) -> None:
    """ZADD key score member..."""
    value: ZSetValue | None = db.lookup(argv[1])
    if value is None:
        value = create(db, argv[1])
    add_pairs(db, argv[1], value, [read_score(text) for text in argv[2::2]], argv, 2, 0)
    value.fit(LISTPACK_ENTRIES_MAX, LISTPACK_VALUE_BYTES_MAX)


def remove_members(db: Database, key: bytes, value: ZSetValue, members: list[bytes]) -> i64:
    """ZREM key member...; returns how many were there."""
    gone = [member for member in members if value.discard(member)]
    if gone:
        if db.changed(key):
            record_removal(db, key, gone, b"zrem")
        if value.count == 0:
            drop_empty(db, key)
    return len(gone)


@replays(b"ZREM")
def replay_zrem(db: Database, argv: list[bytes]) -> None:
    """ZREM key member..."""
    value: ZSetValue | None = db.lookup(argv[1])
    if value is not None:
        remove_members(db, argv[1], value, argv[2:])


def remove_range(
    db: Database, key: bytes, value: ZSetValue, start: i64, count: i64, event: bytes
) -> None:
    """ZREM of `count` >= 1 members from rank `start` on; the event names the command."""
    if count == value.count:
        # The members stay in the value, which is freed in slices once the key is deleted.
        if db.changed(key):
            db.record([b"DEL", key], event, b"z")
        drop_empty(db, key)
        return
    members = value.members(start, count) if db.log.recording else []
    value.remove_range(start, count)
    if db.changed(key):
        record_removal(db, key, members, event)


def without_signed_zeros(value: ZSetValue) -> None:
    """As add_one(), for a small set that was computed."""
    for member, score in value.slice(0, value.count):
        if score == 0.0 and format_float(score) == b"-0":
            value.discard(member)
            value.upsert(member, 0.0)


def store_result(db: Database, key: bytes, value: ZSetValue, event: bytes) -> None:
    """Put a set that was computed at key in place of what is there; an empty one deletes key."""
    if value.count == 0:
        delete(db, key)
        return
    if not value.outgrown:
        without_signed_zeros(value)
    db.note_end(key)
    if db.drop(key):
        # No event: to those who listen, the key was replaced and not deleted.
        if db.changed(key):
            db.record([b"DEL", key], b"", b"")
        db.store_again(key, value)
    else:
        db.store(key, value, -1)
    if db.changed(key):
        pairs: list[bytes] = []
        for member, score in value.slice(0, value.count):
            pairs += (format_float(score), member)
        record_scores(db, key, pairs, event)

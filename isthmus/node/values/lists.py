"""Lists: the list value and its effect functions.

A list is a PackedList that also knows what OBJECT ENCODING calls it: "listpack" until a change
would take it beyond list-max-listpack-size (-2: 8 KiB), "quicklist" from then on, and "listpack"
again once a removal leaves half of that or less, as in Redis 7.2 and later. (Redis looks at one
quicklist node; we look at the whole list, so that both storage twins answer alike.)

Effects, each with its key: LPUSH/RPUSH key element..., LPOP/RPOP key [count], LSET key index
element (index from the head), LINSERT key BEFORE|AFTER pivot element, LREM key count element, LTRIM
key start stop (resolved, from the head; "1 0" for nothing kept). Moving between lists is a push and
a pop, in this order, so that a list of one element that is rotated never becomes empty and keeps
its expiry. A list that becomes empty is deleted with that, wherever the effect is applied.
Replayers pass over a list that has expired meanwhile.
"""

from __future__ import annotations

from isthmus.node.engine.check import InvariantError
from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.node.values.keys import drop_empty
from isthmus.node.values.packed_list import PackedList
from isthmus.wire.scalars import i64, parse_int

# What -1 to -5 mean; a limit in elements is also one of SAFE_BYTES.
FIRST_BYTES = 4096
SMALLEST_LIMIT = -5
SAFE_BYTES = 8192


class ListValue(PackedList):
    """The value of a key that holds a list."""

    __slots__ = ()
    kind = b"list"

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"quicklist" if self.outgrown else b"listpack"

    def plain(self) -> list[bytes]:
        """The elements, for comparing data."""
        return list(self)


def bytes_limit(size: i64) -> i64:
    """The bytes of a listpack that a list-max-listpack-size below 0 allows."""
    return FIRST_BYTES << (-1 - max(size, SMALLEST_LIMIT))


def grows(db: Database, value: ListValue, count: i64, added: i64) -> None:
    """Convert a list that is about to get `count` elements of `added` bytes, if it is too much."""
    if value.outgrown:
        return
    size: i64 = db.keyspace.list_limit
    total: i64 = value.listpack_bytes() + added
    if size < 0:
        value.outgrown = total > bytes_limit(size)
    else:
        value.outgrown = total > SAFE_BYTES or len(value) + count > max(size, 1)
    if value.outgrown:
        value.forget_listpack_bytes()


def shrank(db: Database, value: ListValue) -> None:
    """Convert a list back that has lost elements, if it is short enough now."""
    if not value.outgrown:
        return
    size: i64 = db.keyspace.list_limit
    if size >= 0:
        value.outgrown = len(value) > max(size, 1) // 2
        return
    most: i64 = bytes_limit(size) // 2
    # Every element takes at least two bytes of a listpack: a longer list need not be measured.
    if len(value) > most // 2:
        value.forget_listpack_bytes()
    else:
        value.outgrown = value.listpack_bytes() > most


def push(
    db: Database, key: bytes, value: ListValue | None, argv: list[bytes], start: i64, front: bool
) -> ListValue:
    """LPUSH (front) or RPUSH key argv[start:]...; `value` is the list there now or None."""
    fresh = value is None
    if value is None:
        value = ListValue()
    end = len(argv)
    if not value.outgrown:
        added: i64 = 0
        for at in range(start, end):
            added += len(argv[at])
        grows(db, value, end - start, added)
    if front:
        for at in range(start, end):
            value.push_head(argv[at])
    else:
        for at in range(start, end):
            value.push_tail(argv[at])
    if fresh:
        db.store(key, value, -1)
    if db.changed(key):
        effect = [b"LPUSH" if front else b"RPUSH", key, *argv[start:]]
        db.record(effect, b"lpush" if front else b"rpush", b"l")
    return value


@replays(b"LPUSH")
def replay_lpush(db: Database, argv: list[bytes]) -> None:
    """LPUSH key element..."""
    push(db, argv[1], db.lookup(argv[1]), argv, 2, True)


@replays(b"RPUSH")
def replay_rpush(db: Database, argv: list[bytes]) -> None:
    """RPUSH key element..."""
    push(db, argv[1], db.lookup(argv[1]), argv, 2, False)


def pop_one(db: Database, key: bytes, value: ListValue, front: bool) -> bytes:
    """LPOP (front) or RPOP key; returns the element."""
    element = value.pop_head() if front else value.pop_tail()
    if element is None:
        raise InvariantError(f"an empty list was kept at {key!r}")
    if db.changed(key):
        db.record([b"LPOP" if front else b"RPOP", key], b"lpop" if front else b"rpop", b"l")
    if len(value) == 0:
        drop_empty(db, key)
    else:
        shrank(db, value)
    return element


def pop(db: Database, key: bytes, value: ListValue, count: i64, front: bool) -> None:
    """LPOP (front) or RPOP key count; count >= 1, what is missing is not asked for."""
    length: i64 = len(value)
    emptied = count >= length
    if emptied:
        # The elements stay in the value, which is freed in slices once the key is deleted.
        count = length
    else:
        value.remove_range(0 if front else length - count, count)
        shrank(db, value)
    if db.changed(key):
        argv = [b"LPOP" if front else b"RPOP", key, b"%d" % count]
        db.record(argv, b"lpop" if front else b"rpop", b"l")
    if emptied:
        drop_empty(db, key)


def replay_pop(db: Database, argv: list[bytes], front: bool) -> None:
    """LPOP or RPOP key [count]."""
    value = db.lookup(argv[1])
    if value is not None:
        pop(db, argv[1], value, parse_int(argv[2]) if len(argv) > 2 else 1, front)


@replays(b"LPOP")
def replay_lpop(db: Database, argv: list[bytes]) -> None:
    """LPOP key [count]."""
    replay_pop(db, argv, True)


@replays(b"RPOP")
def replay_rpop(db: Database, argv: list[bytes]) -> None:
    """RPOP key [count]."""
    replay_pop(db, argv, False)


def replace(db: Database, key: bytes, value: ListValue, index: i64, element: bytes) -> None:
    """LSET key index element; the index is within the list."""
    grows(db, value, 1, len(element))
    value.set(index, element)
    shrank(db, value)
    if db.changed(key):
        db.record([b"LSET", key, b"%d" % index, element], b"lset", b"l")


@replays(b"LSET")
def replay_lset(db: Database, argv: list[bytes]) -> None:
    """LSET key index element."""
    value = db.lookup(argv[1])
    if value is not None:
        replace(db, argv[1], value, parse_int(argv[2]), argv[3])


def insert(
    db: Database, key: bytes, value: ListValue, pivot: bytes, element: bytes, before: bool
) -> i64:
    """LINSERT key BEFORE|AFTER pivot element; returns the new length, -1 without the pivot."""
    # As in Redis the list is converted even if the pivot is missing then.
    grows(db, value, 1, len(element))
    index: i64 = value.find(pivot, 0, 1)
    if index < 0:
        return -1
    value.insert(index if before else index + 1, element)
    if db.changed(key):
        argv = [b"LINSERT", key, b"BEFORE" if before else b"AFTER", pivot, element]
        db.record(argv, b"linsert", b"l")
    return len(value)


@replays(b"LINSERT")
def replay_linsert(db: Database, argv: list[bytes]) -> None:
    """LINSERT key BEFORE|AFTER pivot element."""
    value = db.lookup(argv[1])
    if value is not None:
        insert(db, argv[1], value, argv[3], argv[4], argv[2] == b"BEFORE")


def remove(db: Database, key: bytes, value: ListValue, count: i64, element: bytes) -> i64:
    """LREM key count element; returns how many were removed."""
    removed: i64 = value.remove_equal(element, count)
    if removed:
        if db.changed(key):
            db.record([b"LREM", key, b"%d" % count, element], b"lrem", b"l")
        if len(value) == 0:
            drop_empty(db, key)
        else:
            shrank(db, value)
    return removed


@replays(b"LREM")
def replay_lrem(db: Database, argv: list[bytes]) -> None:
    """LREM key count element."""
    value = db.lookup(argv[1])
    if value is not None:
        remove(db, argv[1], value, parse_int(argv[2]), argv[3])


def trim(db: Database, key: bytes, value: ListValue, start: i64, stop: i64) -> None:
    """LTRIM key start stop: keep what lies between, both included; 0 <= start, stop < length."""
    emptied = start > stop
    if emptied:
        # The elements stay in the value, which is freed in slices once the key is deleted.
        start, stop = 1, 0
    else:
        value.remove_range(stop + 1, len(value) - stop - 1)
        value.remove_range(0, start)
        shrank(db, value)
    if db.changed(key):
        db.record([b"LTRIM", key, b"%d" % start, b"%d" % stop], b"ltrim", b"l")
    if emptied:
        drop_empty(db, key)


@replays(b"LTRIM")
def replay_ltrim(db: Database, argv: list[bytes]) -> None:
    """LTRIM key start stop, resolved."""
    value = db.lookup(argv[1])
    if value is not None:
        trim(db, argv[1], value, parse_int(argv[2]), parse_int(argv[3]))


def move(
    db: Database,
    source: bytes,
    value: ListValue,
    from_head: bool,
    destination: bytes,
    target: ListValue | None,
    to_head: bool,
) -> bytes:
    """Take an element off one list and put it on another, or the same; returns it."""
    element: bytes = value.get(0 if from_head else len(value) - 1)
    was_short = not value.outgrown
    push(db, destination, target, [element], 0, to_head)
    pop_one(db, source, value, from_head)
    # Two effects, and one change as Redis counts.
    db.log.dirty -= 1
    if target is value and was_short:
        # It never was longer than before.
        value.outgrown = False
    return element

"""A value as commands that make it piece by piece (pure).

For what RESTORE cannot take: values that are larger than a server lets one argument be, and types
that an older server does not know in that form (a set as a listpack is still a set). Nothing is
lost on the way but marks of use: expiries of fields, groups, consumers and what is pending are
written, in the commands in which Redis' own append only file has them. The key's expiry comes last,
so that a key whose making is slow does not go half made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any

from isthmus.node.values.hashes import HashValue
from isthmus.node.values.lists import ListValue
from isthmus.node.values.sets import SetValue
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id, next_id
from isthmus.node.values.streams import Group, StreamValue
from isthmus.node.values.zsets import ZSetValue

Argv = list[bytes]
# Below the lowest limit of an argument that a server can be given, 1 MiB.
STRING_BYTES = 512 << 10
ARGUMENTS = 512
BYTES = 1 << 20
STREAM_PAGE = 256


def commands(key: bytes, value: Any, expire_ms: int) -> Iterator[Argv]:
    """The commands that make a key that is not there; `expire_ms` is -1 for none."""
    if isinstance(value, (bytes, bytearray)):
        yield [b"SET", key, bytes(value[:STRING_BYTES])]
        for at in range(STRING_BYTES, len(value), STRING_BYTES):
            yield [b"APPEND", key, bytes(value[at : at + STRING_BYTES])]
    elif isinstance(value, ListValue):
        yield from grouped([b"RPUSH", key], ([item] for item in value))
    elif isinstance(value, SetValue):
        yield from grouped([b"SADD", key], ([member] for member in value.keys()))
    elif isinstance(value, ZSetValue):
        yield from grouped(
            [b"ZADD", key], ([spelt_score(score), member] for member, score in value.items())
        )
    elif isinstance(value, HashValue):
        yield from grouped([b"HSET", key], ([field, text] for field, text in value.items()))
        if value.volatile_count:
            for field, when in value.expiries().items():
                yield [b"HPEXPIREAT", key, b"%d" % when, b"FIELDS", b"1", field]
    elif isinstance(value, StreamValue):
        yield from _stream(key, value)
    else:
        raise TypeError(f"a value of {type(value)}")
    if expire_ms >= 0:
        yield [b"PEXPIREAT", key, b"%d" % expire_ms]


def grouped(head: Argv, items: Iterable[Argv]) -> Iterator[Argv]:
    """Commands with many elements each, but neither too many nor too large."""
    argv, size = list(head), 0
    for item in items:
        argv += item
        size += sum(map(len, item))
        if len(argv) >= ARGUMENTS or size >= BYTES:
            yield argv
            argv, size = list(head), 0
    if len(argv) > len(head):
        yield argv


def spelt_score(score: float) -> bytes:
    """A score as ZADD takes it, exactly."""
    return repr(score).encode()


def _stream(key: bytes, value: StreamValue) -> Iterator[Argv]:
    """Entries, groups, and then what is known of entries that are gone.

    XCLAIM forgets what is pending and no entry, so an entry stands there for it meanwhile.
    """
    gone = {
        id
        for group in value.groups.values()
        for id in _pages(group.pending)
        if not value.contains(id)
    }
    placeholders = sorted(gone)
    made = merge(_stream_entries(value), ((id, [b"x", b"y"]) for id in placeholders))
    for id, texts in made:
        yield [b"XADD", key, format_id(id), *texts]
    if not len(value) and not placeholders:
        # A stream of nothing is made by an entry that goes at once.
        last = value.last_id if value.last_id > ZERO_ID else _after(ZERO_ID)
        yield [b"XADD", key, b"MAXLEN", b"0", format_id(last), b"x", b"y"]
    for name, group in value.groups.items():
        yield from _group(key, name, group)
    for id in placeholders:
        yield [b"XDEL", key, format_id(id)]
    added, deleted = b"%d" % value.entries_added, format_id(value.top_deleted)
    last_id = format_id(value.last_id)
    yield [b"XSETID", key, last_id, b"ENTRIESADDED", added, b"MAXDELETEDID", deleted]


def _stream_entries(value: StreamValue) -> Iterator[tuple[bytes, list[bytes]]]:
    start = ZERO_ID
    while found := value.slice(start, MAX_ID, STREAM_PAGE, False):
        yield from found
        if found[-1][0] == MAX_ID:
            return
        start = _after(found[-1][0])


def _group(key: bytes, name: bytes, group: Group) -> Iterator[Argv]:
    read = b"%d" % group.entries_read
    yield [b"XGROUP", b"CREATE", key, name, format_id(group.last_id), b"ENTRIESREAD", read]
    for who in group.consumers:
        yield [b"XGROUP", b"CREATECONSUMER", key, name, who]
    for id in _pages(group.pending):
        when, count, owner = group.record(id)
        # fmt: off
        yield [
            b"XCLAIM", key, name, group.owners[owner].name, b"0", format_id(id), b"TIME",
            b"%d" % when, b"RETRYCOUNT", b"%d" % count, b"JUSTID", b"FORCE",
        ]
        # fmt: on


def _pages(pending: Any) -> Iterator[bytes]:
    start = ZERO_ID
    while ids := pending.page(start, MAX_ID, STREAM_PAGE):
        yield from islice(ids, STREAM_PAGE)
        if len(ids) < STREAM_PAGE or ids[-1] == MAX_ID:
            return
        start = _after(ids[-1])


def _after(id: bytes) -> bytes:
    """The next id; there is one, for the last of all was looked at before."""
    found = next_id(id)
    assert found is not None
    return found

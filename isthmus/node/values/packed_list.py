"""PackedList: an ordered list of byte strings, cheap at both ends and in memory (Tier C twin).

The value behind Redis' LIST type. The compiled form (packed_list.pyx) packs the elements into
chunks of about 8 KiB, so that a million short elements cost little more than their bytes; this
twin keeps them in a `deque` and states the contract that both are tested against.

Indexes are 0-based from the head; the caller resolves negative ones. `get`, `set` and `insert`
raise IndexError outside the list; the range operations clip at the ends. `find*` return indexes
from the head whichever way they walk.

`listpack_bytes` is the size that the same elements would have in one Redis listpack (6 bytes of
header, 1 of end mark, and per element its encoding with numbers in binary): OBJECT ENCODING and
the conversion limits are stated in it. It is kept up to date while it is known and small lists
ask for it; `forget_listpack_bytes` stops the book-keeping for a list that has outgrown it. The
attribute `outgrown` is the owner's note of that; it is copied with the list and not used here.

It may not: know keys, databases, effects or replies beyond writing bulk strings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Self

from isthmus.node.engine import heap
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64, parse_int

_OBJECT_BYTES = 88
_ELEMENT_BYTES = 2
_CHUNK_ELEMENTS = 128
_LISTPACK_FRAME = 7
_SLICE_BATCH = 1024


def _listpack_entry(element: bytes) -> int:
    """The bytes that Redis' listpack spends on this element (its header, body, back length)."""
    if 0 < len(element) <= 20 and element[0] in b"-0123456789":
        try:
            value = parse_int(element)
        except ValueError:
            pass
        else:
            if 0 <= value <= 127:
                return 2
            for size, bits in ((3, 12), (4, 15), (5, 23), (6, 31)):
                if -(1 << bits) <= value < 1 << bits:
                    return size
            return 10
    size = len(element)
    size += 1 if size < 64 else 2 if size < 4096 else 5
    for back, limit in ((1, 128), (2, 16383), (3, 2097151), (4, 268435455)):
        if size < limit:
            return size + back
    return size + 5


class PackedList:
    """An ordered list of byte strings; see the module essay for the contract."""

    __slots__ = ("_items", "_listpack", "_payload", "outgrown")

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._payload = 0
        self._listpack = _LISTPACK_FRAME
        self.outgrown = False
        heap.add(_OBJECT_BYTES)

    def __del__(self) -> None:
        heap.add(-self.nbytes)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def nbytes(self) -> int:
        """Bytes allocated, about: what the compiled form would spend."""
        return _OBJECT_BYTES + self._payload + _ELEMENT_BYTES * len(self._items)

    def _count(self, element: bytes, times: int) -> None:
        self._payload += times * len(element)
        heap.add(times * (len(element) + _ELEMENT_BYTES))
        if self._listpack >= 0:
            self._listpack += times * _listpack_entry(element)

    def push_head(self, element: bytes) -> None:
        """Put an element before the first."""
        self._items.appendleft(element)
        self._count(element, 1)

    def push_tail(self, element: bytes) -> None:
        """Put an element behind the last."""
        self._items.append(element)
        self._count(element, 1)

    def pop_head(self) -> bytes | None:
        """Take the first element away; None when there is none."""
        if not self._items:
            return None
        element = self._items.popleft()
        self._count(element, -1)
        return element

    def pop_tail(self) -> bytes | None:
        """Take the last element away; None when there is none."""
        if not self._items:
            return None
        element = self._items.pop()
        self._count(element, -1)
        return element

    def _index(self, i: i64, end: int) -> None:
        if not 0 <= i < end:
            raise IndexError(i)

    def get(self, i: i64) -> bytes:
        """The element at index i."""
        self._index(i, len(self._items))
        return self._items[i]

    def set(self, i: i64, element: bytes) -> None:
        """Replace the element at index i."""
        self._index(i, len(self._items))
        self._count(self._items[i], -1)
        self._items[i] = element
        self._count(element, 1)

    def insert(self, i: i64, element: bytes) -> None:
        """Put an element before index i; i may be the length."""
        self._index(i, len(self._items) + 1)
        self._items.insert(i, element)
        self._count(element, 1)

    def remove_range(self, start: i64, count: i64) -> None:
        """Remove `count` elements from index `start` on."""
        if start < 0 or start >= len(self._items) or count <= 0:
            return
        items = list(self._items)
        for element in items[start : start + count]:
            self._count(element, -1)
        del items[start : start + count]
        self._items = deque(items)
        if not items:
            self._listpack = _LISTPACK_FRAME

    def remove_equal(self, element: bytes, count: i64) -> i64:
        """Remove the first (count < 0: the last) |count| equal elements, 0: all; how many."""
        most = abs(count) or len(self._items)
        walk = reversed(self._items) if count < 0 else iter(self._items)
        kept: deque[bytes] = deque()
        removed = 0
        for item in walk:
            if removed < most and item == element:
                removed += 1
            elif count < 0:
                kept.appendleft(item)
            else:
                kept.append(item)
        self._items = kept
        self._count(element, -removed)
        return removed

    def write_range(
        self, reply: ReplyWriter, start: i64, count: i64, reverse: bool = False
    ) -> None:
        """Write `count` bulk strings from index `start` on (reverse: towards the head)."""
        for element in self.slice(start, count, reverse):
            reply.bulk(element)

    def slice(self, start: i64, count: i64, reverse: bool = False) -> list[bytes]:
        """Copies of `count` elements from index `start` on (reverse: towards the head)."""
        if count <= 0 or start < 0 or start >= len(self._items):
            return []
        if reverse:
            skip = len(self._items) - 1 - start
            return list(islice(reversed(self._items), skip, skip + count))
        return list(islice(self._items, start, start + count))

    def iter_from(self, i: i64) -> Iterator[bytes]:
        """The elements from index i on; a list that changes meanwhile may repeat or skip some."""
        while i < len(self._items):
            yield from self.slice(i, _SLICE_BATCH)
            i += _SLICE_BATCH

    def __iter__(self) -> Iterator[bytes]:
        return self.iter_from(0)

    def find(self, element: bytes, start: i64, step: i64) -> i64:
        """The index of the first equal element from `start` on, walking by step 1 or -1; or -1."""
        if start < 0 or start >= len(self._items):
            return -1
        end = -1 if step < 0 else len(self._items)
        walk = self.slice(start, len(self._items), step < 0)
        for i, item in zip(range(start, end, -1 if step < 0 else 1), walk, strict=True):
            if item == element:
                return i
        return -1

    def find_all(self, element: bytes, rank: i64, count: i64, compared_max: i64) -> list[int]:
        """The indexes of equal elements, as LPOS asks for them.

        Begins with the rank-th match (negative: from the tail, walking back), stops after `count`
        matches (0: all) and after comparing `compared_max` elements (0: all).
        """
        length = len(self._items)
        walk = islice(reversed(self._items) if rank < 0 else self._items, compared_max or None)
        found = [i for i, item in enumerate(walk) if item == element][abs(rank) - 1 :]
        if count:
            found = found[:count]
        return [length - 1 - i for i in found] if rank < 0 else found

    def listpack_bytes(self) -> i64:
        """The size of these elements as one Redis listpack; known from now on."""
        if self._listpack < 0:
            self._listpack = _LISTPACK_FRAME + sum(map(_listpack_entry, self._items))
        return self._listpack

    def forget_listpack_bytes(self) -> i64:
        """Stop keeping `listpack_bytes` up to date until it is asked for again."""
        self._listpack = -1
        return 0

    def clear_slice(self, chunks_max: i64) -> i64:
        """Free at most so many chunks from the head; returns the elements that are left."""
        self.forget_listpack_bytes()
        for _ in range(min(chunks_max * _CHUNK_ELEMENTS, len(self._items))):
            self.pop_head()
        return len(self._items)

    def copy(self) -> Self:
        """An independent list of the same class and elements."""
        other = type(self).__new__(type(self))
        PackedList.__init__(other)
        other._items = self._items.copy()
        other._payload = self._payload
        heap.add(other.nbytes - _OBJECT_BYTES)
        other._listpack = self._listpack
        other.outgrown = self.outgrown
        return other

    def check(self) -> None:
        """Assert the invariants of the book-keeping."""
        assert self._payload == sum(map(len, self._items)), "payload"
        exact = _LISTPACK_FRAME + sum(map(_listpack_entry, self._items))
        assert self._listpack in (-1, exact), "listpack bytes"

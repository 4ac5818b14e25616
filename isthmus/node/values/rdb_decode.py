"""RDB values decoded: what a type byte and the bytes behind it mean, and whether it can be true.

Every type that Redis 2.8 to 8.0 writes (the table at the end of this text). `read_value` reads one
whole; `begin` reads those that may be long a step at a time. The checksum of a file or payload says
that nothing happened to the bytes on their way, not that whoever wrote them was honest or sane: so
what no sequence of commands could have brought about is refused here, with RdbError and the offset.
No field or member twice, pairs whole, scores that are numbers, numbers of an intset in order,
counts that are true, expiries in range; in streams (read in stream_decode.py) ids that rise, no
pending entry without an owner or with two.

A collection without elements is EmptyValue, an RdbError of its own: Redis passes over such keys in
files, which old versions wrote, and refuses them in RESTORE.

What OBJECT ENCODING answers afterwards is what Redis answers after loading the same: small-looking
encodings stay as they are stored, however long their elements, unless they have more elements than
the thresholds allow (`Limits`); others become small if they fit. What is stored as a listpack is
not measured, because Redis compares only what is written later with the length thresholds.

It may not: read clocks or configuration (thresholds are handed in), or touch a keyspace.

     0 string        1 list         2 set           3 zset          4 hash        5 zset, binary
     6, 7 modules    9 zipmap      10 ziplist      11 intset       12 zset, ziplist
    13 hash, ziplist     14 quicklist of ziplists    15, 19, 21 streams     16 hash, listpack
    17 zset, listpack    18 quicklist of listpacks   20 set, listpack
    22, 24 hash with field expiries (22: before they were final)  23, 25 the same as listpack
"""

from __future__ import annotations

from typing import Any

from isthmus.node.values.hashes import HashValue
from isthmus.node.values.lists import SAFE_BYTES, ListValue, bytes_limit
from isthmus.node.values.sets import SetValue
from isthmus.node.values.stream_decode import stream_parts
from isthmus.node.values.streams import StreamValue
from isthmus.node.values.zsets import ZSetValue, without_signed_zeros
from isthmus.wire.rdb_reader import RdbError, RdbReader, read_double
from isthmus.wire.scalars import i64

(STRING, LIST, SET, ZSET, HASH, ZSET_2, MODULE, MODULE_2) = range(8)
(ZIPMAP, LIST_ZIPLIST, SET_INTSET, ZSET_ZIPLIST, HASH_ZIPLIST, QUICKLIST, STREAM) = range(9, 16)
(HASH_LISTPACK, ZSET_LISTPACK, QUICKLIST_2, STREAM_2, SET_LISTPACK, STREAM_3) = range(16, 22)
(HASH_METADATA_EARLY, HASH_LISTPACKEX_EARLY, HASH_METADATA, HASH_LISTPACKEX) = range(22, 26)

# Redis' own limit of a field's expiry, Unix ms.
FIELD_EXPIRY_MAX = (1 << 48) - 2
PLAIN, PACKED = 1, 2
NO_LIMIT: i64 = 1 << 62
_MODULE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class EmptyValue(RdbError):
    """A collection without elements."""


class Limits:
    """The thresholds of small encodings, Redis' defaults."""

    def __init__(self) -> None:
        self.hash_entries = 512
        self.hash_bytes = 64
        self.set_ints = 512
        self.set_entries = 128
        self.set_bytes = 64
        self.zset_entries = 128
        self.zset_bytes = 64
        self.list_size = -2


DEFAULT_LIMITS = Limits()


def read_value(reader: RdbReader, kind: i64, limits: Limits = DEFAULT_LIMITS) -> Any:
    """The value behind a type byte; RdbError (EmptyValue) if there is none that could be."""
    at = reader.position
    if kind == STRING:
        return reader.string()
    reading = begin(reader, kind, limits)
    if reading is not None:
        reading.step(NO_LIMIT, NO_LIMIT)
        return reading.whole()
    if kind in (HASH_LISTPACK, HASH_ZIPLIST, ZIPMAP):
        return read_packed_hash(reader, kind, limits)
    if kind == LIST_ZIPLIST:
        return read_ziplist_list(reader, limits)
    if kind == SET_LISTPACK:
        return set_of(reader, reader.listpack(), 1, limits.set_entries)
    if kind == SET_INTSET:
        return set_of(reader, reader.intset(), 0, limits.set_ints)
    if kind == ZSET_LISTPACK:
        return zset_of(reader, reader.listpack(), limits)
    if kind == ZSET_ZIPLIST:
        return zset_of(reader, reader.ziplist(), limits)
    if kind in (HASH_LISTPACKEX, HASH_LISTPACKEX_EARLY):
        return read_hash_listpackex(reader, kind == HASH_LISTPACKEX, limits)
    if kind in (MODULE, MODULE_2):
        raise reader.error(f"a value of the module type {module_name(reader.number())!r}", at)
    raise reader.error(f"unknown type {kind} of a value", at)


def begin(reader: RdbReader, kind: i64, limits: Limits = DEFAULT_LIMITS) -> Reading | None:
    """The reading of a value whose elements stand there one by one; None if it is no such type."""
    if kind == QUICKLIST_2 or kind == QUICKLIST:
        return QuicklistReading(reader, kind, limits)
    if kind == HASH:
        return HashReading(reader, kind, limits)
    if kind == ZSET_2 or kind == ZSET:
        return ZSetReading(reader, kind, limits)
    if kind == SET:
        return SetReading(reader, kind, limits)
    if kind == HASH_METADATA or kind == HASH_METADATA_EARLY:
        return TimedHashReading(reader, kind, limits)
    if kind == STREAM or kind == STREAM_2 or kind == STREAM_3:
        return StreamReading(reader, kind, limits)
    if kind == LIST:
        return ListReading(reader, kind, limits)
    return None


class Reading:
    """A value of any size on its way in, a step at a time: `step` until it says that it was the
    last, then `whole`. All raise RdbError."""

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        self.reader = reader
        self.kind = kind
        self.limits = limits
        # Elements that are still to be read.
        self.left: i64 = 0

    def count(self, bytes_min: i64, what: str) -> None:
        """Read how many elements follow, of which each takes so many bytes at least."""
        self.left = self.reader.count(bytes_min, what)
        if self.left == 0:
            raise empty(self.reader, what)

    def element(self) -> None:
        """Read the next one."""
        raise NotImplementedError

    def step(self, elements: i64, stop: i64) -> bool:
        """Read so many elements, or until the reader has come to `stop`. True once all were."""
        reader = self.reader
        while self.left > 0 and elements > 0 and reader.position < stop:
            self.element()
            self.left -= 1
            elements -= 1
        return self.left == 0

    def whole(self) -> Any:
        """The value."""
        raise NotImplementedError


def module_name(number: int) -> str:
    """The name of a module type: nine letters of six bits, above ten bits of its version."""
    return "".join(_MODULE_LETTERS[number >> 10 + 6 * i & 63] for i in range(8, -1, -1))


def empty(reader: RdbReader, what: str) -> EmptyValue:
    """The error for a collection without elements."""
    return EmptyValue(reader.base + reader.position, f"a {what} without elements")


# -- hashes ---------------------------------------------------------------------------------------


class HashReading(Reading):
    """Fields and values as strings."""

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        super().__init__(reader, kind, limits)
        self.count(2, "hash")
        self.value = HashValue()
        self.value.reserve(self.left)

    def element(self) -> None:
        """A field and its value."""
        reader = self.reader
        if not self.value.write(reader.string(), reader.string()):
            raise reader.error("a field that the hash has already")

    def whole(self) -> HashValue:
        """The value."""
        limits = self.limits
        self.value.fit(limits.hash_entries, limits.hash_bytes)
        return self.value


def read_packed_hash(reader: RdbReader, kind: i64, limits: Limits) -> HashValue:
    """Fields and values in one blob."""
    if kind == HASH_LISTPACK:
        items = reader.listpack()
    else:
        items = reader.ziplist() if kind == HASH_ZIPLIST else reader.zipmap()
    value = hash_of_pairs(reader, items, 2)
    if value.count > limits.hash_entries or (
        # Redis makes a listpack of a zipmap only if nothing in it is long.
        kind == ZIPMAP and max(map(len, items)) > limits.hash_bytes
    ):
        value.outgrown = True
    return value


def hash_of_pairs(reader: RdbReader, items: list[bytes], width: i64) -> HashValue:
    """A hash of fields and values that stand in `items`, `width` elements for each field."""
    length = len(items)
    if length == 0:
        raise empty(reader, "hash")
    if length % width:
        raise reader.error(f"a hash of {length} elements, which should be a multiple of {width}")
    value = HashValue()
    value.reserve(length // width)
    at = 0
    while at < length:
        if not value.put(items[at], items[at + 1]):
            raise reader.error(f"the field {items[at][:40]!r} twice in a hash")
        at += width
    return value


class TimedHashReading(Reading):
    """Expiry, field, value; expiries count from the soonest of them, but for early files.

    Once all fields are there they are given their expiries, which counts as elements, too.
    """

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        super().__init__(reader, kind, limits)
        self.soonest: i64 = reader.i64() if kind == HASH_METADATA else 1
        if not 0 <= self.soonest <= FIELD_EXPIRY_MAX:
            raise reader.error(f"{self.soonest} is no expiry of a field")
        self.count(3, "hash")
        self.value = HashValue()
        self.value.reserve(self.left)
        self.due: list[tuple[bytes, i64]] = []

    def element(self) -> None:
        """An expiry, a field and its value."""
        reader = self.reader
        ttl = reader.number()
        if ttl > FIELD_EXPIRY_MAX or self.soonest + ttl - 1 > FIELD_EXPIRY_MAX:
            raise reader.error(f"an expiry of a field {ttl} ms from {self.soonest}")
        field = reader.string()
        if not self.value.write(field, reader.string()):
            raise reader.error(f"the field {field[:40]!r} twice in a hash")
        if ttl:
            self.due.append((field, self.soonest + ttl - 1))

    def step(self, elements: i64, stop: i64) -> bool:
        """Read so many elements, or until the reader has come to `stop`. True once all were."""
        before = self.left
        if not Reading.step(self, elements, stop):
            return False
        return set_expiries(self.value, self.due, elements - before)

    def whole(self) -> HashValue:
        """The value."""
        limits = self.limits
        self.value.timed = True
        self.value.fit(limits.hash_entries, limits.hash_bytes)
        return self.value


def set_expiries(value: HashValue, due: list[tuple[bytes, i64]], count: i64) -> bool:
    """Give so many fields their expiries, in the order in which Redis has them: of those that are
    due together the last one set comes first. True once all have theirs."""
    while due and count > 0:
        field, when = due.pop()
        value.set_expiry(field, when)
        count -= 1
    return not due


def read_hash_listpackex(reader: RdbReader, relative: bool, limits: Limits) -> HashValue:
    """Field, value, expiry (0: none), soonest first and those without one last."""
    if relative:
        reader.skip(8)  # the soonest expiry, which the first field has as well
    items = reader.listpack()
    value = hash_of_pairs(reader, items, 3)
    due: list[tuple[bytes, i64]] = []
    before: i64 = 0
    for at in range(2, len(items), 3):
        when = expiry_of(reader, items[at])
        if before < 0 and when or 0 < when < before:
            raise reader.error("expiries of fields out of order")
        before = when or -1
        if when:
            due.append((items[at - 2], when))
    set_expiries(value, due, NO_LIMIT)
    value.timed = True
    if value.count > limits.hash_entries:
        value.outgrown = True
    return value


def expiry_of(reader: RdbReader, text: bytes) -> int:
    """An expiry that stands in a listpack, Unix ms; 0 for none."""
    if not text.isdigit() or len(text) > 15 or int(text) > FIELD_EXPIRY_MAX:
        raise reader.error(f"{text[:40]!r} is no expiry of a field")
    return int(text)


# -- lists ----------------------------------------------------------------------------------------


def append_all(value: ListValue, items: list[bytes]) -> None:
    for item in items:
        value.push_tail(item)


def settle(value: ListValue, one_listpack: bool, limits: Limits) -> None:
    """Note whether Redis would keep this list as a single listpack."""
    size: i64 = limits.list_size
    packed: i64 = value.listpack_bytes()
    if size < 0:
        fits = packed <= bytes_limit(size)
    else:
        fits = packed <= SAFE_BYTES and len(value) <= max(size, 1)
    if not (fits and one_listpack):
        value.outgrown = True
        value.forget_listpack_bytes()


class ListReading(Reading):
    """Elements as strings."""

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        super().__init__(reader, kind, limits)
        self.count(1, "list")
        self.value = ListValue()

    def element(self) -> None:
        """One string."""
        self.value.push_tail(self.reader.string())

    def whole(self) -> ListValue:
        """The value."""
        settle(self.value, True, self.limits)
        return self.value


def read_ziplist_list(reader: RdbReader, limits: Limits) -> ListValue:
    """One ziplist."""
    value = ListValue()
    append_all(value, reader.ziplist())
    if len(value) == 0:
        raise empty(reader, "list")
    # Redis makes a quicklist of it and does not look whether a listpack would do.
    settle(value, False, limits)
    return value


class QuicklistReading(Reading):
    """Nodes: ziplists, or each either a listpack or a single long element. A node is an element."""

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        super().__init__(reader, kind, limits)
        self.count(1, "list")
        self.value = ListValue()
        self.nodes: i64 = 0
        self.one_listpack = True

    def element(self) -> None:
        """One node."""
        reader, value = self.reader, self.value
        before = len(value)
        if self.kind == QUICKLIST:
            append_all(value, reader.ziplist())
        else:
            container = reader.number()
            if container == PLAIN:
                element = reader.string()
                if not element:
                    raise reader.error("a list's node of its own for an empty element")
                value.push_tail(element)
                self.one_listpack = False
            elif container == PACKED:
                append_all(value, reader.listpack())
            else:
                raise reader.error(f"a list's node of the unknown kind {container}")
        if len(value) > before:
            self.nodes += 1

    def whole(self) -> ListValue:
        """The value."""
        if self.nodes == 0:
            raise empty(self.reader, "list")
        settle(self.value, self.one_listpack and self.nodes == 1, self.limits)
        return self.value


# -- sets -----------------------------------------------------------------------------------------


class SetReading(Reading):
    """Members as strings."""

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        super().__init__(reader, kind, limits)
        self.count(1, "set")
        self.value = SetValue()
        self.value.reserve(self.left)
        if self.left > max(limits.set_ints, limits.set_entries):
            self.value.shape = 2

    def element(self) -> None:
        """One member."""
        if not self.value.insert_member(self.reader.string()):
            raise self.reader.error("a member that the set has already")

    def whole(self) -> SetValue:
        """The value."""
        limits = self.limits
        self.value.fit(limits.set_ints, limits.set_entries, limits.set_bytes)
        return self.value


def set_of(reader: RdbReader, items: list[bytes], shape: i64, most: i64) -> SetValue:
    """A set of members that stood in one blob."""
    value = SetValue()
    for member in items:
        if not value.add(member):
            raise reader.error(f"the member {member[:40]!r} twice in a set")
    if value.count == 0:
        raise empty(reader, "set")
    value.shape = 2 if value.count > most else shape
    return value


# -- sorted sets ----------------------------------------------------------------------------------


class ZSetReading(Reading):
    """Member and score, as eight bytes or spelt."""

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        super().__init__(reader, kind, limits)
        self.count(9 if kind == ZSET_2 else 2, "sorted set")
        self.value = ZSetValue()
        self.value.reserve(self.left)
        self.zero = False

    def element(self) -> None:
        """A member and its score."""
        reader = self.reader
        member = reader.string()
        score = reader.double() if self.kind == ZSET_2 else reader.old_double()
        if score != score:
            raise reader.error(f"a score of {member[:40]!r} that is not a number")
        if score == 0.0:
            self.zero = True
        if self.value.upsert(member, score) != 2:
            raise reader.error(f"the member {member[:40]!r} twice in a sorted set")

    def whole(self) -> ZSetValue:
        """The value."""
        value = self.value
        value.fit(self.limits.zset_entries, self.limits.zset_bytes)
        if self.zero and not value.outgrown:
            without_signed_zeros(value)
        return value


def zset_of(reader: RdbReader, items: list[bytes], limits: Limits) -> ZSetValue:
    """A sorted set of members and scores that stood in one blob."""
    length = len(items)
    if length == 0:
        raise empty(reader, "sorted set")
    if length & 1:
        raise reader.error(f"a sorted set of {length} elements, which should be even")
    value = ZSetValue()
    for at in range(0, length, 2):
        score = read_double(reader, items[at + 1], reader.position)
        if score != score:
            raise reader.error(f"a score of {items[at][:40]!r} that is not a number")
        # A whole score is stored as an integer, which has no -0.
        if value.upsert(items[at], score + 0.0) != 2:
            raise reader.error(f"the member {items[at][:40]!r} twice in a sorted set")
    value.grown = False
    value.widest = 0
    if value.count > limits.zset_entries:
        value.outgrown = True
    return value


# -- streams --------------------------------------------------------------------------------------


class StreamReading(Reading):
    """A stream of any format. A block is an element, and so is what is pending."""

    def __init__(self, reader: RdbReader, kind: i64, limits: Limits) -> None:
        super().__init__(reader, kind, limits)
        self.value = StreamValue()
        version = (STREAM, STREAM_2, STREAM_3).index(kind) + 1
        self.parts = stream_parts(reader, self.value, version)

    def step(self, elements: i64, stop: i64) -> bool:
        """Read so many elements, or until the reader has come to `stop`. True once all were."""
        while elements > 0 and self.reader.position < stop:
            if next(self.parts, None) is None:
                return True
            elements -= 1
        return False

    def whole(self) -> StreamValue:
        """The value."""
        return self.value

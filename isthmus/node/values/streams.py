"""Streams: the stream value with its consumer groups, and their effect functions.

A stream is a StreamLog and its groups. A group knows the last id that it delivered, how many
entries that was (`entries_read`; -1: not known), and what is pending: delivered and not yet
acknowledged. The group's own list says who has an entry; each consumer's bare list is its part of
it. When a consumer was seen or active last is an observation of this server, as in Redis: it is in
no effect and no part of the data.

Effects, each with its key:

    XADD key id field value...                      XSETID key id ENTRIESADDED n MAXDELETEDID id
    XTRIM key MAXLEN|MINID = threshold              XDEL key id...
    XGROUP CREATE key group id [MKSTREAM] ENTRIESREAD n         XGROUP DESTROY key group
    XGROUP SETID key group id ENTRIESREAD n         XGROUP CREATECONSUMER key group consumer
    XACK key group id...                            XGROUP DELCONSUMER key group consumer
    XCLAIM key group consumer 0 id... TIME ms RETRYCOUNT n FORCE JUSTID LASTID id

Ids are whole and times absolute. What approximate trimming removed depends on blocks, so it is
recorded as the exact trim to what was left. A delivery is an XGROUP SETID to what the group has
read now and, unless NOACK, an XCLAIM behind it. A stream is never deleted for being empty.
Replayers pass over streams and groups that are gone meanwhile.

Redis tells WATCH and client-side caches only of changes of entries, not of groups: those effects go
through `noted` and not through `Database.changed`.
"""

from __future__ import annotations

from isthmus.node.engine.check import check
from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.node.values.pending_list import PendingList
from isthmus.node.values.stream_ids import (
    MAX_ID,
    ZERO_ID,
    format_id,
    parse_id,
    wrap64,
)
from isthmus.node.values.stream_log import StreamLog
from isthmus.wire.scalars import i64, parse_int

NODE_BYTES_MAX = 4096
NODE_ENTRIES_MAX = 100
EFFECT_IDS_MAX = 4096
UNKNOWN = -1


class Consumer:
    """One consumer of a group: its number there, when it was seen, and what it has (Unix ms)."""

    def __init__(self, name: bytes, number: i64, now_ms: i64) -> None:
        self.name = name
        self.number = number
        self.seen_ms = now_ms
        self.active_ms = -1
        self.pending = PendingList(True)


class Group:
    """A consumer group."""

    def __init__(self, last_id: bytes, entries_read: i64) -> None:
        self.last_id = last_id
        self.entries_read = entries_read
        self.pending = PendingList(False)
        self.consumers: dict[bytes, Consumer] = {}
        self.owners: dict[int, Consumer] = {}
        self.next_number = 0

    def add_consumer(self, name: bytes, now_ms: i64) -> Consumer:
        """A new consumer."""
        made = Consumer(name, self.next_number, now_ms)
        self.next_number += 1
        self.consumers[name] = made
        self.owners[made.number] = made
        return made

    def record(self, id: bytes) -> tuple[int, int, int]:
        """(delivery time, deliveries, owner) of an id that is pending."""
        found = self.pending.get(id)
        check(found is not None, "a consumer has what its group has not")
        assert found is not None
        return found

    def give(self, id: bytes, consumer: Consumer, time_ms: i64, count: i64) -> None:
        """Let consumer have id, whoever had it before."""
        before = self.pending.get(id)
        if before is not None and before[2] != consumer.number:
            owner = self.owners[before[2]]
            owner.pending.remove(id)
        self.pending.put(id, time_ms, count, consumer.number)
        consumer.pending.put(id, 0, 0, 0)

    def forget(self, id: bytes) -> bool:
        """Id is pending no longer. False if it was not."""
        found = self.pending.get(id)
        if found is None:
            return False
        self.pending.remove(id)
        owner = self.owners[found[2]]
        owner.pending.remove(id)
        return True

    def plain(self) -> dict[str, object]:
        """What replay must bring about."""
        pending = {}
        for id in self.pending.page(ZERO_ID, MAX_ID, 0):
            found = self.record(id)
            pending[id] = (found[0], found[1], self.owners[found[2]].name)
        for name, consumer in self.consumers.items():
            mine = consumer.pending.page(ZERO_ID, MAX_ID, 0)
            assert mine == [id for id, found in pending.items() if found[2] == name], "owner"
        return {
            "last": self.last_id,
            "read": self.entries_read,
            "pending": pending,
            "consumers": sorted(self.consumers),
        }

    def copy(self) -> Group:
        """An equal group that shares nothing with this one."""
        made = Group(self.last_id, self.entries_read)
        made.next_number = self.next_number
        made.pending.take_copy(self.pending)
        for consumer in self.consumers.values():
            twin = Consumer(consumer.name, consumer.number, consumer.seen_ms)
            twin.active_ms = consumer.active_ms
            twin.pending.take_copy(consumer.pending)
            made.consumers[twin.name] = twin
            made.owners[twin.number] = twin
        return made


class StreamValue(StreamLog):
    """The value of a key that holds a stream."""

    kind = b"stream"

    def __init__(self) -> None:
        StreamLog.__init__(self)
        self.groups: dict[bytes, Group] = {}

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"stream"

    def plain(self) -> dict[str, object]:
        """All that is data, in plain Python."""
        return {
            "entries": self.slice(ZERO_ID, MAX_ID, 0, False),
            "first": self.first_id,
            "last": self.last_id,
            "top deleted": self.top_deleted,
            "added": self.entries_added,
            "groups": {name: group.plain() for name, group in self.groups.items()},
        }

    def copy(self) -> StreamValue:
        """An equal stream that shares nothing with this one."""
        made = StreamValue()
        made.take_copy(self)
        for name, group in self.groups.items():
            made.groups[name] = group.copy()
        return made

    def clear_slice(self, blocks_max: i64) -> i64:
        """Free at most so many blocks; returns what is left, at least 1 while anything is."""
        for name in list(self.groups):
            group = self.groups[name]
            if group.pending.clear_slice(blocks_max):
                return len(self) or 1
            for consumer in list(group.consumers.values()):
                if consumer.pending.clear_slice(blocks_max):
                    return len(self) or 1
                del group.consumers[consumer.name]
            del self.groups[name]
        return StreamLog.clear_slice(self, blocks_max)

    def held_bytes(self) -> i64:
        """What the stream and its groups take, about."""
        total: i64 = self.nbytes
        for name, group in self.groups.items():
            total += 600 + len(name) + group.pending.nbytes
            for consumer in group.consumers.values():
                total += 400 + len(consumer.name) + consumer.pending.nbytes
        return total

    # -- counting what was read ---------------------------------------------------------------

    def has_gap(self, start: bytes) -> bool:
        """True if an entry behind start may have been deleted by its id."""
        top = self.top_deleted
        return len(self) > 0 and top != ZERO_ID and start <= top

    def distance(self, id: bytes) -> i64:
        """How many entries were ever added up to id; UNKNOWN if that cannot be told."""
        if self.entries_added == 0:
            return 0
        if len(self) == 0 and id <= self.last_id:
            return self.entries_added
        if id != ZERO_ID and id < self.top_deleted:
            return UNKNOWN
        if id == self.last_id:
            return self.entries_added
        if id > self.last_id:
            return UNKNOWN
        if self.top_deleted == ZERO_ID or self.top_deleted < self.first_id:
            if id < self.first_id:
                return wrap64(self.entries_added - len(self))
            if id == self.first_id:
                return wrap64(self.entries_added - len(self) + 1)
        return UNKNOWN

    def lag(self, group: Group) -> int | None:
        """How many entries the group has still to deliver; None if that cannot be told."""
        if self.entries_added == 0 or len(self) == 0:
            return 0
        if group.last_id < self.first_id and self.top_deleted < self.first_id:
            return len(self)
        if group.entries_read != UNKNOWN and not self.has_gap(group.last_id):
            return wrap64(self.entries_added - group.entries_read)
        read: i64 = self.distance(group.last_id)
        return None if read == UNKNOWN else wrap64(self.entries_added - read)

    def delivered(self, group: Group, id: bytes) -> bool:
        """Move the group on to id, which it delivers. False if it had been there."""
        if id <= group.last_id:
            return False
        if (
            group.entries_read != UNKNOWN
            and group.last_id >= self.first_id
            and not self.has_gap(group.last_id)
        ):
            group.entries_read = wrap64(group.entries_read + 1)
        elif self.entries_added:
            group.entries_read = self.distance(id)
        group.last_id = id
        return True


def noted(db: Database) -> bool:
    """Count a change that WATCH does not see. True if the effect must be recorded."""
    db.log.dirty += 1
    return db.log.recording


# -- entries --------------------------------------------------------------------------------------


def create(db: Database, key: bytes) -> StreamValue:
    """An empty stream at key, which an effect is about to tell of."""
    value = StreamValue()
    db.store(key, value, -1)
    return value


def add(
    db: Database,
    key: bytes,
    value: StreamValue,
    argv: list[bytes],
    first: i64,
    id: bytes,
    bytes_max: i64,
    entries_max: i64,
) -> None:
    """XADD key id argv[first:]...; id is behind the last one."""
    value.append(argv, first, id, bytes_max, entries_max)
    if db.changed(key):
        db.record([b"XADD", key, format_id(id), *argv[first:]], b"xadd", b"t")


@replays(b"XADD")
def replay_xadd(db: Database, argv: list[bytes]) -> None:
    """XADD key id field value..."""
    value: StreamValue | None = db.lookup(argv[1])
    if value is None:
        value = create(db, argv[1])
    add(db, argv[1], value, argv, 3, whole_id(argv[2]), NODE_BYTES_MAX, NODE_ENTRIES_MAX)


def whole_id(text: bytes) -> bytes:
    """An id of an effect."""
    id = parse_id(text, False)
    assert id is not None, text
    return id


def trim_length(
    db: Database, key: bytes, value: StreamValue, most: i64, exact: bool, limit: i64
) -> i64:
    """XTRIM key MAXLEN: remove the oldest entries; returns how many."""
    removed: i64 = value.trim_length(most, exact, limit)
    if removed and db.changed(key):
        left = most if exact else len(value)
        db.record([b"XTRIM", key, b"MAXLEN", b"=", b"%d" % left], b"xtrim", b"t")
    return removed


def trim_before(
    db: Database, key: bytes, value: StreamValue, id: bytes, exact: bool, limit: i64
) -> i64:
    """XTRIM key MINID: remove the entries before id; returns how many."""
    removed: i64 = value.trim_before(id, exact, limit)
    if removed and db.changed(key):
        if not exact:
            id = value.first_id if len(value) else MAX_ID
        db.record([b"XTRIM", key, b"MINID", b"=", format_id(id)], b"xtrim", b"t")
    return removed


@replays(b"XTRIM")
def replay_xtrim(db: Database, argv: list[bytes]) -> None:
    """XTRIM key MAXLEN|MINID = threshold"""
    value: StreamValue | None = db.lookup(argv[1])
    if value is None:
        return
    if argv[2] == b"MAXLEN":
        trim_length(db, argv[1], value, parse_int(argv[4]), True, 0)
    else:
        trim_before(db, argv[1], value, whole_id(argv[4]), True, 0)


def remove(db: Database, key: bytes, value: StreamValue, ids: list[bytes]) -> i64:
    """XDEL key id...; returns how many were there."""
    gone = [id for id in ids if value.remove(id)]
    if gone and db.changed(key):
        record_ids(db, [b"XDEL", key], gone, b"xdel", b"t")
    return len(gone)


def record_ids(
    db: Database, head: list[bytes], ids: list[bytes], event: bytes, event_class: bytes
) -> None:
    """Record an effect over ids in pieces; the event goes with the last."""
    for start in range(0, len(ids), EFFECT_IDS_MAX):
        last = start + EFFECT_IDS_MAX >= len(ids)
        argv = [*head, *map(format_id, ids[start : start + EFFECT_IDS_MAX])]
        db.record(argv, event if last else b"", event_class if last else b"")


@replays(b"XDEL")
def replay_xdel(db: Database, argv: list[bytes]) -> None:
    """XDEL key id..."""
    value: StreamValue | None = db.lookup(argv[1])
    if value is not None:
        remove(db, argv[1], value, [whole_id(text) for text in argv[2:]])


def set_state(
    db: Database, key: bytes, value: StreamValue, last: bytes, top: bytes, added: i64
) -> None:
    """XSETID key last ENTRIESADDED added MAXDELETEDID top"""
    value.set_state(last, top, added)
    if noted(db):
        argv = [b"XSETID", key, format_id(last), b"ENTRIESADDED", b"%d" % added]
        db.record([*argv, b"MAXDELETEDID", format_id(top)], b"xsetid", b"t")


@replays(b"XSETID")
def replay_xsetid(db: Database, argv: list[bytes]) -> None:
    """XSETID key last ENTRIESADDED added MAXDELETEDID top"""
    value: StreamValue | None = db.lookup(argv[1])
    if value is not None:
        top = whole_id(argv[6])
        set_state(db, argv[1], value, whole_id(argv[2]), top, parse_int(argv[4]))

"""Sets: the set value and its effect functions.

A set is a Table of bare members. `shape` is what Redis would store it as, and only grows: an intset
while every member ever added was a whole number, a listpack, a hashtable. Nothing is stored
differently; only OBJECT ENCODING, the paging of SSCAN and the order of replies look at it: an
intset is sorted, a listpack in the order in which the members came. The thresholds are
configuration, which effects may not read: commands call `fit` behind an effect that left `grown`
set; a replayed effect goes by Redis' default thresholds.

Effects, each with its key: SADD key member..., SREM key member... (the members that were there;
SPOP is an SREM of the members drawn). A set made by a command over other sets is DEL key and then
SADD. Commands of very many members are cut into pieces, because whoever reads them back limits the
number of arguments; the event goes with the last piece. A set that becomes empty is deleted with
its last member, wherever the effect is applied. Replayers pass over a set that has expired.
"""

from __future__ import annotations

from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.ordered_table import OrderedTable
from isthmus.node.engine.table import Table
from isthmus.node.values.keys import delete, drop_empty
from isthmus.wire.digits import parse_int
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

INTSET, LISTPACK, HASHTABLE = 0, 1, 2
ENCODINGS = (b"intset", b"listpack", b"hashtable")

INTSET_ENTRIES_MAX = 512
LISTPACK_ENTRIES_MAX = 128
LISTPACK_VALUE_BYTES_MAX = 64

EFFECT_MEMBERS_MAX = 4096
INT_DIGITS_MAX = 20


def is_integer(member: bytes) -> bool:
    """True if the member is an int64 in its one spelling, which an intset could hold."""
    if not 0 < len(member) <= INT_DIGITS_MAX or member[0] > 0x39:
        return False
    try:
        parse_int(member)
    except ValueError:
        return False
    return True


class SetValue(OrderedTable):
    """The value of a key that holds a set."""

    kind = b"set"

    def __init__(self) -> None:
        super().__init__()
        self.shape = 0
        self.grown = False
        self.longest = 0

    def insert_member(self, member: bytes) -> bool:
        """Add a member. True if it is new."""
        if not self.add(member):
            return False
        if self.shape < 2:
            self.grown = True
            if len(member) > self.longest:
                self.longest = len(member)
            if self.shape == 0 and not is_integer(member):
                # The members of the intset come first, sorted as they were in it.
                self.shape = 1
                self.rearrange(True)
        return True

    def fit(self, intset_max: i64, listpack_max: i64, value_bytes_max: i64) -> None:
        """Look again at whether this set would still be an intset or a listpack."""
        self.grown = False
        if self.shape == 0:
            if self.count > intset_max:
                self.shape = 2
        elif self.count > listpack_max or self.longest > value_bytes_max:
            self.shape = 2

    def fit_default(self) -> None:
        """As fit(), with Redis' default thresholds."""
        self.fit(INTSET_ENTRIES_MAX, LISTPACK_ENTRIES_MAX, LISTPACK_VALUE_BYTES_MAX)

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return ENCODINGS[self.shape]

    def keys(self) -> list[bytes]:
        """All members, as a new list; in Redis' order while this would be an intset or listpack."""
        return Table.keys(self) if self.shape == 2 else self.ordered(False, self.shape == 0, -1)

    def write_members(self, reply: ReplyWriter) -> None:
        """Write all members as bulk strings, without a header."""
        if self.shape == 2:
            self.write_all(reply, True, False)
        else:
            self.write_ordered(reply, True, False, self.shape == 0)

    def plain(self) -> set[bytes]:
        """The members."""
        return set(self.keys())

    def copy(self) -> SetValue:
        """An equal set that shares nothing with this one."""
        made = SetValue()
        for member in self.keys():
            made.add(member)
        made.shape = self.shape
        made.longest = self.longest
        return made


def create(db: Database, key: bytes) -> SetValue:
    """An empty set at key, which the caller fills by an effect before anything else happens."""
    value = SetValue()
    db.store(key, value, -1)
    return value


def add_members(db: Database, value: SetValue, argv: list[bytes]) -> i64:
    """SADD key member..., as `argv`, whose first word is ignored; returns how many are new."""
    added: i64 = 0
    at: i64 = 2
    while at < len(argv):
        if value.insert_member(argv[at]):
            added += 1
        at += 1
    if added:
        key = argv[1]
        if db.changed(key):
            db.record([b"SADD", *argv[1:]], b"sadd", b"s")
    return added


@replays(b"SADD")
def replay_sadd(db: Database, argv: list[bytes]) -> None:
    """SADD key member..."""
    value: SetValue | None = db.lookup(argv[1])
    if value is None:
        value = create(db, argv[1])
    add_members(db, value, argv)
    value.fit_default()


def record_members(
    db: Database, name: bytes, key: bytes, members: list[bytes], event: bytes
) -> None:
    """Record SADD or SREM of the members in pieces; only while somebody records."""
    for start in range(0, len(members), EFFECT_MEMBERS_MAX):
        piece = members[start : start + EFFECT_MEMBERS_MAX]
        last = start + EFFECT_MEMBERS_MAX >= len(members)
        db.record([name, key, *piece], event if last else b"", b"s" if last else b"")


def remove_member(db: Database, key: bytes, value: SetValue, member: bytes, event: bytes) -> bool:
    """SREM key member; the event names the command (srem, spop). False if it was not there."""
    if not value.discard(member):
        return False
    if db.changed(key):
        db.record([b"SREM", key, member], event, b"s")
    if value.count == 0:
        drop_empty(db, key)
    return True


def remove_members(
    db: Database, key: bytes, value: SetValue, members: list[bytes], event: bytes
) -> i64:
    """SREM key member...; returns how many were there."""
    gone = [member for member in members if value.discard(member)]
    if gone:
        if db.changed(key):
            record_members(db, b"SREM", key, gone, event)
        if value.count == 0:
            drop_empty(db, key)
    return len(gone)


def take_all(db: Database, key: bytes, value: SetValue) -> None:
    """SREM key member... of all members, by SPOP; the value is freed in slices later."""
    # As in Redis, the members are not written out: a deletion says the same and stays small.
    if db.changed(key):
        db.record([b"DEL", key], b"spop", b"s")
    drop_empty(db, key)


@replays(b"SREM")
def replay_srem(db: Database, argv: list[bytes]) -> None:
    """SREM key member..."""
    value: SetValue | None = db.lookup(argv[1])
    if value is not None:
        remove_members(db, argv[1], value, argv[2:], b"srem")


def set_result(db: Database, key: bytes, members: list[bytes], event: bytes) -> SetValue | None:
    """Put a set of the (distinct) members at key in place of what is there; none: delete key."""
    if not members:
        delete(db, key)
        return None
    db.note_end(key)
    if db.drop(key):
        # No event: to those who listen, the key was replaced and not deleted.
        if db.changed(key):
            db.record([b"DEL", key], b"", b"")
        value = SetValue()
        db.store_again(key, value)
    else:
        value = create(db, key)
    for member in members:
        value.insert_member(member)
    if db.changed(key):
        record_members(db, b"SADD", key, members, event)
    return value


# Named, because the .pxd declares them as plain lists.
Sets = list[SetValue]
Operands = list[SetValue | None]


def as_collected(members: list[bytes]) -> list[bytes]:
    """The members as Redis has them, which collects them in a set: sorted if that is an intset.

    (Where one of the sets is no intset, it collects in a hashtable, of no certain order.)
    """
    if len(members) > INTSET_ENTRIES_MAX:
        return members
    for member in members:
        if not is_integer(member):
            return members
    return sorted(members, key=int)


def union(values: Operands) -> list[bytes]:
    """The members of any of the sets, each once; None is an empty set."""
    seen: dict[bytes, None] = {}
    for value in values:
        if value is not None:
            for member in value.keys():
                seen[member] = None
    return as_collected(list(seen))


def difference(values: Operands) -> list[bytes]:
    """The members of the first set that are in none of the others."""
    first = values[0]
    if first is None:
        return []
    others = [value for value in values[1:] if value is not None]
    left: list[bytes] = []
    for member in first.keys():
        if not held_by_any(others, member):
            left.append(member)
    return as_collected(left)


def intersection(values: Operands, limit: i64) -> list[bytes]:
    """The members that are in all of the sets; stops at `limit` of them (0: no limit)."""
    common: list[bytes] = []
    if None in values:
        return common
    others = sorted([value for value in values if value is not None], key=len)
    smallest = others.pop(0)
    if limit == 0:
        for member in smallest.keys():
            if held_by_all(others, member):
                common.append(member)
        return common
    # Few may be wanted of very many: those are not even listed.
    cursor = 0
    while True:
        page: list[bytes] = []
        cursor = smallest.scan(cursor, page, False, -1)
        for member in page:
            if held_by_all(others, member):
                common.append(member)
                if len(common) == limit:
                    return common
        if cursor == 0:
            return common


def held_by_any(values: Sets, member: bytes) -> bool:
    for value in values:
        if value.contains(member):
            return True
    return False


def held_by_all(values: Sets, member: bytes) -> bool:
    for value in values:
        if not value.contains(member):
            return False
    return True

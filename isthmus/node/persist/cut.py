"""Cut: the data set as it stood at one moment, written out while commands go on changing it.

Background saves, the rewriting of the append only file, exports and full syncs all need the same
thing: every key as it was when the cut began, in bounded memory, without a pause and without a
fork. A move of slots needs it of some slots only (`chosen`).

A cut walks the slots of each database, a slice whenever `step` is called, and writes what it passes
to `out` as RDB. Before anything changes that it has not passed, it is asked (engine/keyspace.py)
and writes the old state out first:

    visit(key)      the expiry of key, or the number it holds, is about to change
    leaving(key)    the value at key is about to be replaced or removed
    before(key)     a command is about to run that may change the value at key where it lies

The answer is usually one look into a table of slot states:

    FRESH     not looked at yet
    PARTLY    the walk stands in it, or single keys were written out of turn
    PASSED    nothing in it concerns the cut any more

A FRESH slot of few keys is written out whole when the first of its keys is asked for: the work is
what the walk would have done, and nothing has to be remembered. In a slot of many keys only the key
that is asked for is written; it is remembered in `handled` until the walk has passed the slot. A
key that was not there is remembered too: it is no part of the cut. In a slot in which the walk
stands the position of a key in the order of Table.scan says whether it has been passed.

Big values are not written on the way, which would take long, but listed as *owed* and written in
slices behind everything else. A big value that is replaced or deleted is handed over as it is:
nobody changes it any more, and it is freed once it is written. A command that would change one
where it lies has to wait (`must_wait`): its client is postponed, the value is written next, and the
client goes on. Where waiting is not possible (in the middle of a script, at a replica) it is
written at once. While one is written in slices, the entries of other keys go to a second writer,
and only the keys that are asked for are written, so that this writer stays small.

Memory: what is written and not yet taken (`pending_bytes`), the values handed over and the tables
of flushed databases (`kept_bytes`, which do not count against maxmemory), and `handled`. If the
first outgrows `pending_bytes_max` because the taker is too slow, the cut fails and says so; the
data set is never in danger.

It may not change data, and it reads no clock but the one it is given for the length of its slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.engine import heap
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.field_expiry import FieldExpiries
from isthmus.node.engine.keyspace import Database, Keyspace
from isthmus.node.engine.spec import WRITE, CommandSpec
from isthmus.node.engine.table import Table
from isthmus.node.engine.table_rdb import position, save_all, save_bucket, save_key
from isthmus.node.persist.piece_writer import PieceWriter
from isthmus.node.persist.snapshot_format import resize_db, select_db, slot_info
from isthmus.node.values.rdb_encode import BodyWriter, write_entry, write_prefix
from isthmus.wire.rdb_writer import RdbWriter
from isthmus.wire.scalars import i64
from isthmus.wire.slots import SLOTS, key_slot

FRESH, PARTLY, PASSED = 0, 1, 2
# From what is chosen to the states in which a cut begins.
TO_STATES = bytes((PASSED, FRESH)) + bytes(254)
# A slot of more keys is not written out whole because of one of them; and not by the walk, which
# writes larger ones at once while nobody asks for anything.
SLOT_KEYS_MAX = 32
IDLE_SLOT_KEYS_MAX = 512
# A value of more elements, or of more bytes, is big.
BIG_ELEMENTS = 4096
BIG_BYTES = 256 * 1024
# Between two looks at the clock: buckets of one table, empty slots, elements of a big value.
BUCKETS_PER_LOOK = 16
SLOTS_PER_LOOK = 256
ELEMENTS_PER_LOOK = 512
# Between two turns of the loop; and what may be ready to be taken before that ends.
SLICE_NS = 40_000
SLICE_NS_PER_SOCKET = 2_000
PIECE_BYTES = 64 * 1024
READY_BYTES_MAX = 1024 * 1024
PENDING_BYTES_MAX = 64 * 1024 * 1024
# Commands that replace or remove whole values, or change the expiry only: the raw methods say all.
WHOLE = frozenset(
    b"del unlink set setnx setex psetex getset getdel getex mset msetnx incr decr incrby decrby "
    b"expire pexpire expireat pexpireat persist flushall flushdb swapdb".split()
)
TOO_SLOW = "more than {} bytes wait to be written: the disk, or who reads, is slower than changes"


class Owed:
    """A big value that is to be written, and the key that it has, or had when the cut began."""

    def __init__(self, source: Source, key: bytes, value: Any, expire: int, mark: int) -> None:
        self.source = source
        self.key = key
        self.value = value
        self.expire = expire
        self.mark = mark
        # No key holds it any more: it is ours to free.
        self.handed_over = False


class Source:
    """One database of a cut: the tables it had, and how far they have been passed."""

    def __init__(self, cut: Cut, db: Database, chosen: bytes | None) -> None:
        self.cut = cut
        self.db: Database | None = db
        self.index = db.index
        self.slots: list[Table | None] = db.slots
        # Slots that were not chosen are as good as passed.
        self.states = bytearray(SLOTS if chosen is None else chosen.translate(TO_STATES))
        self.handled: dict[int, set[bytes]] = {}
        self.owed: dict[bytes, Owed] = {}
        # Where the walk stands: a slot and a position in its table.
        self.slot = 0
        self.cursor = 0
        self.keys = db.size if chosen is None else keys_in(db, chosen)
        self.volatile = volatile_keys(db)
        self.announced = False
        # The keys it had when it was flushed, whose tables are ours to discard; -1: it was not.
        self.flushed = -1
        # What these tables take, about.
        self.flushed_bytes = 0
        self.fields: FieldExpiries | None = None

    # -- what the keyspace asks ---------------------------------------------------------------

    def leaving(self, key: bytes) -> None:
        """The value at key is about to be replaced or removed."""
        self.visit(key)
        if self.owed and key in self.owed:
            self.cut.hand_over(self.owed.pop(key))

    def before(self, key: bytes) -> None:
        """The value at key may be changed where it lies: it is written out now."""
        self.visit(key)
        if self.owed and key in self.owed:
            self.cut.write_now(self.owed[key])

    def visit(self, key: bytes) -> None:
        """See that key, as it is, has been written or is owed."""
        slot: i64 = key_slot(key)
        state = self.states[slot]
        if state == PASSED:
            return
        table: Table | None = self.slots[slot]
        if state == FRESH:
            if table is None or table.count == 0:
                self.states[slot] = PASSED
                return
            if table.count <= SLOT_KEYS_MAX and self.cut.body is None:
                self.cut.write_slot(self, slot)
                self.cut.check_pending()
                return
        if slot == self.slot and table is not None and position(table, key) < self.cursor:
            return
        handled = self.handled.get(slot)
        if handled is None:
            handled = self.handled[slot] = set()
            self.states[slot] = PARTLY
        if key not in handled:
            handled.add(key)
            if table is not None:
                self.cut.write_key(self, table, key)
                self.cut.check_pending()

    def detach(self, slots: list[Table | None], size: int, fields: FieldExpiries) -> None:
        """The database is flushed: its tables are the cut's alone from now on."""
        self.slots = slots
        self.fields = fields
        self.db = None
        self.flushed = size
        self.owed = {}
        if size:
            total = size + sum(
                db.size for db in self.cut.keyspace.databases if db.slots is not slots
            )
            self.flushed_bytes = heap.used() * size // total
            self.cut.kept_bytes += self.flushed_bytes
        if self.slot >= SLOTS:
            self.cut.discard_tables(self)


class Cut:
    """A cut of all databases of a keyspace; see the module essay."""

    def __init__(
        self, keyspace: Keyspace, marks: int = 0, on_finished: Callable[[], None] | None = None,
        compress: bool = True, pending_bytes_max: int = PENDING_BYTES_MAX,
        resume: Callable[[], None] | None = None, slot_hints: bool = False,
        chosen: bytes | None = None,
    ) -> None:  # fmt: skip
        self.keyspace = keyspace
        self.marks = marks
        # By this second it is told how long a key has not been used.
        self.now_s = keyspace.clock.now_ms // 1000
        self.pending_bytes_max = pending_bytes_max
        self.out = RdbWriter()
        self.side = RdbWriter()
        self.out.compress = self.side.compress = compress
        self.sources: list[Source] = []
        self.walking = 0
        self.turned_to: Source | None = None
        self.turned_aside: Source | None = None
        self.body: BodyWriter | None = None
        self.body_of: Owed | None = None
        # Owed values in the order in which they are written: those somebody waits for are first.
        self.queue: list[Owed] = []
        self.urgent: list[Owed] = []
        self.ours: dict[int, Owed] = {}
        self.kept_bytes = 0
        self.keys_total = 0
        self.failure = ""
        self.finished = False
        # Called when a client that had to wait may go on.
        self.resume = resume
        # Say how many keys a slot has before they come, as Redis does in a cluster.
        self.slot_hints = slot_hints
        # One byte a slot, 1 where it is to be written; None: all are.
        self.chosen = chosen
        # Somebody may be waiting for his turn: the walk goes in small steps.
        self.gentle = False
        # What was written between turns of a loop and is ready to be taken.
        self.pieces: list[bytes] = []
        self.ready_bytes = 0
        # Who takes pieces at once, if there is somebody; and the most that ever waited.
        self.taker: PieceWriter | None = None
        self.peak_bytes = 0
        self.on_finished = on_finished

    # -- beginning and ending -----------------------------------------------------------------

    def begin(self) -> None:
        """From now on what changes is written out before."""
        for db in self.keyspace.databases:
            if db.size:
                source = Source(self, db, self.chosen)
                self.sources.append(source)
                db.cut = source
                self.keys_total += source.keys
        self.keyspace.cut = self

    def end(self) -> None:
        """Let go of the keyspace, once; also before the walk is over, if nobody wants the rest."""
        if self.finished:
            return
        self.finished = True
        for db in self.keyspace.databases:
            db.cut = None
        if self.keyspace.cut is self:
            self.keyspace.cut = None
        for source in self.sources[self.walking :]:
            self.discard_tables(source)
        for source in self.sources:
            # It may end while one of them is being asked.
            source.states = bytearray(b"\2" * SLOTS)
            source.owed = {}
        for owed in (*self.queue, *self.urgent):
            self.release(owed)
        if self.body_of is not None:
            self.release(self.body_of)
        self.sources, self.queue, self.urgent = [], [], []
        self.body = self.body_of = None
        self.go_on()
        if self.on_finished is not None:
            self.on_finished()

    def go_on(self) -> None:
        """Clients that had to wait for a value to be written try again."""
        if self.resume is not None:
            self.resume()

    # -- what is asked for each command -------------------------------------------------------

    def before_command(self, db: Database, spec: CommandSpec, argv: list[bytes]) -> None:
        """A command that writes is about to run on db."""
        source: Source | None = db.cut
        if source is None or spec.name in WHOLE:
            return
        if spec.one_key:
            source.before(argv[spec.first_key])
            return
        for at in spec.key_positions(argv):
            source.before(argv[at])

    def must_wait(
        self, db: Database, session: ClientState, spec: CommandSpec, argv: list[bytes]
    ) -> bool:
        """True if the client has to wait until a big value is written that it would change."""
        if spec.name == b"exec":
            waits = [self.must_wait(db, session, *each) for each in session.queue]
            return any(waits)
        if spec.group != "scripting" and (not spec.flags & WRITE or spec.name in WHOLE):
            return False
        source: Source | None = db.cut
        if source is None:
            return False
        wait = False
        for at in spec.key_positions(argv):
            key = argv[at]
            source.visit(key)
            owed = source.owed.get(key)
            if owed is not None:
                wait = True
                if owed is not self.body_of and owed not in self.urgent:
                    self.queue.remove(owed)
                    self.urgent.append(owed)
        return wait

    # -- writing ------------------------------------------------------------------------------

    def writer(self, source: Source) -> RdbWriter:
        """Where an entry of source goes now, turned to its database."""
        if self.body is not None:
            if self.turned_aside is not source:
                self.turned_aside = source
                self.side.raw(select_db(source.index))
            return self.side
        if self.turned_to is not source:
            self.turned_to = source
            self.out.raw(select_db(source.index))
            if not source.announced:
                source.announced = True
                self.out.raw(resize_db(source.keys, source.volatile))
        return self.out

    def write_slot(self, source: Source, slot: i64) -> None:
        """All of a slot that has not been looked at."""
        source.states[slot] = PASSED
        table = source.slots[slot]
        if table is None or table.count == 0:
            return
        out = self.writer(source)
        if self.slot_hints:
            out.raw(slot_info(slot, table.count, table.volatile_count))
        objects: list[Any] = []
        save_all(table, out, self.marks, self.now_s, objects)
        if objects:
            self.write_objects(source, out, objects)

    def write_key(self, source: Source, table: Table, key: bytes) -> None:
        """One key, out of turn."""
        out = self.writer(source)
        objects: list[Any] = []
        save_key(table, key, out, self.marks, self.now_s, objects)
        if objects:
            self.write_objects(source, out, objects)

    def write_objects(self, source: Source, out: RdbWriter, objects: list[Any]) -> None:
        """Values that are objects: small ones now, big ones later."""
        for key, value, expire, mark in objects:
            if is_big(value):
                owed = Owed(source, key, value, expire, mark)
                self.queue.append(owed)
                self.ours[id(value)] = owed
                if source.db is not None:
                    source.owed[key] = owed
            else:
                write_entry(out, key, value, expire, self.marks, mark, self.now_s)

    # -- big values ---------------------------------------------------------------------------

    def keeps(self, value: Any) -> bool:
        """True if a value that left the keyspace is still to be written; it is freed then."""
        owed = self.ours.get(id(value))
        return owed is not None and owed.handed_over

    def hand_over(self, owed: Owed) -> None:
        """No key holds the value any more, or it may be so soon."""
        owed.handed_over = True
        self.kept_bytes += bytes_of(owed.value)

    def write_now(self, owed: Owed) -> None:
        """Write an owed value to its end before anything else happens."""
        if self.body is not None and self.body_of is not owed:
            self.finish_body()
        if self.body_of is not owed:
            (self.urgent if owed in self.urgent else self.queue).remove(owed)
            self.begin_body(owed)
        self.finish_body()

    def finish_body(self) -> None:
        """Write the big value that is being written to its end."""
        assert self.body is not None
        while self.body.step():
            pass
        self.end_body()

    def begin_body(self, owed: Owed) -> None:
        """Write the head of an owed value; what follows goes in slices."""
        out = self.writer(owed.source)
        write_prefix(out, owed.key, owed.value, owed.expire, self.marks, owed.mark, self.now_s)
        self.body_of = owed
        self.body = BodyWriter(out, owed.value, ELEMENTS_PER_LOOK)

    def end_body(self) -> None:
        """A big value has been written: what was written aside comes behind it."""
        owed, self.body, self.body_of = self.body_of, None, None
        assert owed is not None
        if self.side.size:
            self.out.raw(self.side.take())
            self.turned_to = self.turned_aside
        self.turned_aside = None
        owed.source.owed.pop(owed.key, None)
        self.release(owed)
        self.go_on()

    def release(self, owed: Owed) -> None:
        """The value is the keyspace's alone again, or is freed if it left that."""
        self.ours.pop(id(owed.value), None)
        if owed.handed_over:
            self.kept_bytes -= bytes_of(owed.value)
            if type(owed.value) is not bytes:
                self.keyspace.discard(owed.value)

    def discard_tables(self, source: Source) -> None:
        """The tables of a database that was flushed meanwhile are freed in slices."""
        if source.flushed <= 0:
            return
        self.kept_bytes -= source.flushed_bytes
        for owed in self.ours.values():
            if owed.source is source and not owed.handed_over:
                # Big values that are still to be written outlive their table.
                self.hand_over(owed)
        assert source.fields is not None
        self.keyspace.discard_slots(source.slots, source.flushed, source.fields)
        source.flushed = -1

    # -- the walk -----------------------------------------------------------------------------

    def pending_bytes(self) -> int:
        """Bytes written and not taken."""
        waiting = self.ready_bytes if self.taker is None else self.taker.waiting()
        return self.out.size + self.side.size + waiting

    def check_pending(self) -> None:
        """Give up if more waits to be taken than may. Also asked where commands make it grow: who
        takes may stand still for as long as he likes."""
        if self.pending_bytes() > self.pending_bytes_max:
            self.failure = TOO_SLOW.format(self.pending_bytes_max)
            self.end()
            self.take()
            self.side.take()

    def keys_done(self) -> int:
        """How many keys have been passed, about."""
        passed = 0
        for source in self.sources:
            passed += source.keys * min(source.slot, SLOTS) // SLOTS
        return passed

    def step(self, budget_ns: i64) -> bool:
        """Walk for about so long. True while more is left."""
        clock = self.keyspace.clock
        deadline: i64 = clock.mono_ns() + budget_ns
        while not self.finished:
            self.check_pending()
            if self.failure:
                break
            self.advance()
            if clock.mono_ns() >= deadline:
                break
        return not self.finished

    def between_turns(self, ready: i64) -> i64:
        """Walk a little between two turns of a loop in which so many sockets were ready, unless
        enough waits to be taken; 1 if it did. A turn of many may be followed by more."""
        taker = self.taker
        waiting: i64 = self.ready_bytes if taker is None else taker.waiting()
        if self.finished or waiting >= READY_BYTES_MAX:
            return 0
        if self.out.size < PIECE_BYTES:
            self.gentle = True
            self.step(SLICE_NS + ready * SLICE_NS_PER_SOCKET)
            return 1
        # In small pieces: a large one would be memory that has to be fetched from the system. And
        # in a turn of its own: copying it and its checksum take as long as a step.
        self.note_peak()
        piece = self.out.take()
        if taker is not None:
            taker.put(piece)
        else:
            self.ready_bytes += len(piece)
            self.pieces.append(piece)
        return 1

    def note_peak(self) -> None:
        """Look how much waits."""
        self.peak_bytes = max(self.peak_bytes, self.pending_bytes() + self.kept_bytes)

    def take(self) -> list[bytes]:
        """All that was written, in pieces."""
        self.note_peak()
        pieces, self.pieces, self.ready_bytes = self.pieces, [], 0
        pieces.append(self.out.take())
        return pieces

    def advance(self) -> None:
        """Do a little of what comes next: a value somebody waits for, the walk, owed values."""
        if self.body is not None:
            if not self.body.step():
                self.end_body()
        elif self.urgent:
            self.begin_body(self.urgent.pop(0))
        elif self.walking < len(self.sources):
            self.walk(self.sources[self.walking])
        elif self.queue:
            self.begin_body(self.queue.pop(0))
        else:
            self.end()

    def walk(self, source: Source) -> None:
        """Pass some more of a database."""
        states = source.states
        for _ in range(SLOTS_PER_LOOK):
            slot: i64 = source.slot
            if slot >= SLOTS:
                self.walking += 1
                self.discard_tables(source)
                return
            table = source.slots[slot]
            if states[slot] != PASSED and table is not None and table.count:
                whole = SLOT_KEYS_MAX if self.gentle else IDLE_SLOT_KEYS_MAX
                if states[slot] == FRESH and table.count <= whole:
                    self.write_slot(source, slot)
                    source.slot += 1
                else:
                    self.walk_slot(source, slot, table)
                return
            states[slot] = PASSED
            source.handled.pop(slot, None)
            source.slot += 1
            source.cursor = 0

    def walk_slot(self, source: Source, slot: i64, table: Table) -> None:
        """Some buckets of a slot that is large, or of which single keys have been written."""
        source.states[slot] = PARTLY
        out = self.writer(source)
        skip = source.handled.get(slot)
        objects: list[Any] = []
        cursor = source.cursor
        for _ in range(BUCKETS_PER_LOOK):
            cursor = save_bucket(table, cursor, out, self.marks, self.now_s, skip, objects)
            if cursor == 0:
                break
        source.cursor = cursor
        if cursor == 0:
            source.states[slot] = PASSED
            source.handled.pop(slot, None)
            source.slot += 1
        if objects:
            self.write_objects(source, out, objects)


def keys_in(db: Database, chosen: bytes) -> i64:
    """How many keys of a database are in the slots where `chosen` has no zero."""
    return sum(db.counts.of(slot) for slot in range(SLOTS) if chosen[slot])


def volatile_keys(db: Database) -> i64:
    """How many keys of a database have an expiry."""
    slots: list[Table | None] = db.slots
    total: i64 = 0
    for slot in db.volatile_slots:
        table = slots[slot]
        if table is not None:
            total += table.volatile_count
    return total


def is_big(value: Any) -> bool:
    """True if writing the value takes long enough to be done in slices."""
    if isinstance(value, (bytes, bytearray)):
        return len(value) > BIG_BYTES
    return len(value) > BIG_ELEMENTS or value.nbytes > BIG_BYTES


def bytes_of(value: Any) -> int:
    """What a value takes, about."""
    return len(value) if isinstance(value, (bytes, bytearray)) else int(value.nbytes)

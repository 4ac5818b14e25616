"""Memory: how much is used, what the limit is, and what goes when it is reached.

Used memory is what the data takes (heap.py, exact) plus the buffers of clients (sampled by the
cron) and whatever other parts `report`; the interpreter and the program are not in it, as little as
a server's code is. Values that wait to be freed in slices are in it, but do not count against the
limit: they are going already.

Eviction works as Redis': for each key to go, a few keys of each database are drawn (from random
places, every slot by its number of keys) into a pool that keeps the sixteen best candidates seen,
and the best of the pool goes. A command that finds the process over its limit evicts before it
runs, for no longer than `maxmemory-eviction-tenacity` allows; what is left, the cron goes on with.
Only when nothing more can go, commands that need memory are refused.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine import access
from isthmus.node.engine.config import Config
from isthmus.node.engine.context import GATE_MEMORY, Context
from isthmus.node.engine.heap import used as heap_used
from isthmus.node.engine.keyspace import Database, Keyspace
from isthmus.node.engine.table import Table
from isthmus.wire.scalars import i64

POOL_ENTRIES = 16
# How many keys go between two looks at the clock.
EVICTIONS_PER_CLOCK = 16
NEVER_NS = (1 << 63) - 1
# When many clients send commands in one turn of the loop, so many may evict for their whole time,
# each of the others only few keys; unless what they write outgrows what goes.
TURN_LIMITS = 2
LATE_EVICTIONS = 4
BY_CLOCK, BY_COUNTER, BY_EXPIRY = range(3)
VOLATILE_SLOTS_AGE_MS = 100
PARAMETERS = (
    "maxmemory", "maxmemory-policy", "maxmemory-samples", "maxmemory-eviction-tenacity",
    "lfu-log-factor", "lfu-decay-time",
)  # fmt: skip


class Candidate:
    """A key that may be evicted; the higher the score the sooner."""

    __slots__ = ("score", "db", "key")

    def __init__(self, score: i64, db: Database, key: bytes) -> None:
        self.score = score
        self.db = db
        self.key = key


class Memory:
    """The memory of a node: one number, one limit, and the pool of candidates."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.keyspace: Keyspace = ctx.keyspace
        self.config: Config = ctx.config
        self.limit_bytes = 0
        self.policy = "noeviction"
        self.order = BY_CLOCK
        self.volatile_only = False
        self.samples = 5
        self.time_limit_ns = 500_000
        # How long this turn of the loop has evicted, the server begins each with 0; and by how much
        # the limit was exceeded when it began to.
        self.turn_ns = 0
        self.turn_excess = 0
        # Set by the server's cron: what the buffers of clients take.
        self.buffers_bytes = 0
        # What other parts (scripts, backlog ...) hold, as they last reported.
        self.extra: dict[str, int] = {}
        self.extra_bytes = 0
        self.peak_bytes = 0
        self.peak_ms = 0
        self.running = False
        self.exceeded_since_ms = 0
        self.exceeded_total_ms = 0
        self._pool: list[Candidate] = []
        self._next_db = 0
        self._slots: dict[int, list[int]] = {}
        self._slots_ms = 0
        for name in PARAMETERS:
            self.config.on_change(name, self.configure)
        self.configure("")

    def configure(self, _text: str) -> None:
        """Read the parameters again."""
        config = self.config
        self.limit_bytes = config.integer("maxmemory")
        self.policy = config.text("maxmemory-policy")
        self.volatile_only = self.policy.startswith("volatile")
        if self.policy == "volatile-ttl":
            self.order = BY_EXPIRY
        else:
            self.order = BY_COUNTER if self.policy.endswith("lfu") else BY_CLOCK
        self.samples = config.integer("maxmemory-samples")
        tenacity = config.integer("maxmemory-eviction-tenacity")
        if tenacity <= 10:
            self.time_limit_ns = 50_000 * tenacity
        elif tenacity < 100:
            self.time_limit_ns = int(500_000 * 1.15 ** (tenacity - 10))
        else:
            self.time_limit_ns = NEVER_NS
        self._pool.clear()
        access.use_counter(
            self.policy.endswith("lfu"),
            config.integer("lfu-log-factor"),
            config.integer("lfu-decay-time"),
            self.ctx.clock.now_ms // 1000,
        )
        if self.limit_bytes:
            self.ctx.gates |= GATE_MEMORY
            # What is too much goes also if no command comes.
            self.running = self.policy != "noeviction" and self.excess() > 0
        else:
            self.ctx.gates &= ~GATE_MEMORY
            self.running = False

    # -- how much -----------------------------------------------------------------------------

    def report(self, part: str, held: int) -> None:
        """A part of the process holds so many bytes that count."""
        self.extra[part] = held
        self.extra_bytes = sum(self.extra.values())

    def held(self) -> i64:
        """Bytes of data, of client buffers and of what other parts reported.

        What a database takes with its first key counts from the start, so that a limit above what
        is used leaves room for keys, whatever their database.
        """
        return heap_used() + self.buffers_bytes + self.extra_bytes + self.keyspace.ahead_bytes

    def used(self) -> i64:
        """As held(), and the highest so far is noted."""
        used = self.held()
        if used > self.peak_bytes:
            self.peak_bytes = used
            self.peak_ms = self.ctx.clock.now_ms
        return used

    def excess(self) -> i64:
        """Bytes above the limit; negative below, and without a limit."""
        if not self.limit_bytes:
            return -1
        used = self.held()
        used -= self.keyspace.garbage_bytes
        if self.keyspace.cut is not None:
            # As little would be won by evicting more: it waits to be written, and is freed then.
            used -= self.keyspace.cut.kept_bytes
        return used - self.limit_bytes

    # -- making room --------------------------------------------------------------------------

    def make_room(self, ctx: Context, session: Any = None) -> bool:
        """Evict until under the limit or out of time. False if nothing more can go."""
        if self.excess() <= 0:
            self._settled()
            return True
        if self.keyspace.follows and ctx.config.boolean("replica-ignore-maxmemory"):
            # Its primary evicts, and says so.
            self._settled()
            return True
        now_ms = ctx.clock.now_ms
        if not self.exceeded_since_ms:
            self.exceeded_since_ms = now_ms
        if self.policy == "noeviction" or ctx.node.blocking.pause_until_ms > now_ms:
            return False
        started = ctx.clock.mono_ns()
        deadline: i64 = started
        if self.time_limit_ns == NEVER_NS:
            deadline = NEVER_NS
        elif self.turn_ns < TURN_LIMITS * self.time_limit_ns or self.excess() > self.turn_excess:
            deadline += self.time_limit_ns
        if self.turn_ns == 0:
            self.turn_excess = self.excess()
        pace = LATE_EVICTIONS if deadline == started else EVICTIONS_PER_CLOCK
        done = 0
        try:
            while self.excess() > 0:
                victim = self.victim()
                if victim is None:
                    self.running = False
                    # What waits to be freed was taken off already: there is nothing else.
                    return False
                victim.db.evict(victim.key)
                done += 1
                if done % pace == 0:
                    if ctx.clock.mono_ns() >= deadline:
                        self.running = True
                        return True
            self._settled()
            return True
        finally:
            spent: i64 = ctx.clock.mono_ns() - started
            self.turn_ns += spent
            ctx.node.latency.sample(b"eviction-cycle", spent // 1_000_000)

    def _settled(self) -> None:
        self.running = False
        if self.exceeded_since_ms:
            self.exceeded_total_ms += self.ctx.clock.now_ms - self.exceeded_since_ms
            self.exceeded_since_ms = 0

    def exceeded_ms(self) -> int:
        """For how long the limit has been exceeded now; 0 if it is not."""
        return self.ctx.clock.now_ms - self.exceeded_since_ms if self.exceeded_since_ms else 0

    # -- who goes -----------------------------------------------------------------------------

    def victim(self) -> Candidate | None:
        """The key to go next, or None if no key may go."""
        if self.policy.endswith("random"):
            return self._any()
        while True:
            drawn = 0
            for db in self.keyspace.databases:
                if db.visible():
                    drawn += self._sample(db)
            if not drawn:
                return None
            while self._pool:
                best = self._pool.pop()
                if best.db.holds(best.key, self.volatile_only):
                    return best

    def _any(self) -> Candidate | None:
        databases = self.keyspace.databases
        for _ in databases:
            db = databases[self._next_db % len(databases)]
            self._next_db += 1
            if db.visible():
                found = self._draw(db, 1)
                if found:
                    return Candidate(0, db, found[0][0])
        return None

    def _draw(self, db: Database, count: i64) -> list[Any]:
        """About `count` (key, access mark, expiry) of db, which is not empty."""
        found: list[Any] = []
        rng = self.keyspace.rng
        table: Table | None
        if not self.volatile_only:
            for _ in range(count):
                table = db.slots[db.random_slot(rng)]
                if table is not None:
                    table.sample(rng, False, count - len(found), found)
                if len(found) >= count:
                    break
            return found
        slots = self._volatile_slots(db)
        for _ in range(POOL_ENTRIES):
            if not slots:
                break
            at = rng.below(len(slots))
            table = db.slots[slots[at]] if db.slots else None
            if table is not None and table.volatile_count:
                table.sample(rng, True, count - len(found), found)
                if len(found) >= count:
                    break
            else:
                slots[at] = slots[-1]
                slots.pop()
        if not found and slots:
            # Volatile keys are rare where they were looked for: look at all of one slot.
            table = db.slots[slots[rng.below(len(slots))]]
            if table is not None:
                table.sample(rng, True, table.count, found)
        return found[:count] if count == 1 else found

    def _volatile_slots(self, db: Database) -> list[int]:
        now_ms = self.ctx.clock.now_ms
        if now_ms - self._slots_ms > VOLATILE_SLOTS_AGE_MS:
            self._slots_ms = now_ms
            self._slots.clear()
        slots = self._slots.get(db.index)
        if not slots:
            slots = []
            for slot in db.volatile_slots:
                table: Table | None = db.slots[slot] if db.slots else None
                if table is not None and table.volatile_count and not db.hides(slot):
                    slots.append(slot)
            self._slots[db.index] = slots
        return slots

    def _sample(self, db: Database) -> i64:
        found = self._draw(db, self.samples)
        seconds: i64 = self.ctx.clock.now_ms // 1000
        for key, mark, expiry in found:
            if self.order == BY_EXPIRY:
                self._offer(-expiry, db, key)
            elif self.order == BY_COUNTER:
                self._offer(255 - access.decayed(mark), db, key)
            else:
                self._offer((seconds - mark) & 0xFFFFFF, db, key)
        return len(found)

    def _offer(self, score: i64, db: Database, key: bytes) -> None:
        """Take a key into the pool, in the order of scores, if it is among the best."""
        pool = self._pool
        full = len(pool) == POOL_ENTRIES
        candidate: Candidate
        if full:
            candidate = pool[0]
            if candidate.score >= score:
                return
        at = len(pool)
        for candidate in pool:
            if candidate.key == key and candidate.db is db:
                return
            if candidate.score > score:
                at -= 1
        pool.insert(at, Candidate(score, db, key))
        if full:
            del pool[0]

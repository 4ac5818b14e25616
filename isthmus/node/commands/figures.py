"""Figures that INFO, MEMORY STATS and MEMORY DOCTOR share: what memory is used for.

`used` is what the node counts as its data and its clients' (engine/memory.py); what the allocator
and the system say comes from the server. Figures that only the process knows are 0 in a node
without a server (in a test): there is no process to speak of.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from isthmus.node.engine.context import Context
from isthmus.node.engine.keyspace import SLOTS_BYTES, Database

Facts = dict[str, str]

# The table of a slot: its object and its first buckets.
TABLE_BYTES = 200
# What an entry of the keyspace costs beside its key and its value: record header, bucket, link.
ENTRY_BYTES = 32
EXPIRY_BYTES = 8
SAMPLED_TABLES_MAX = 16


@dataclass(frozen=True)
class Memory:
    """Bytes, by what they are used for."""

    used: int
    rss: int
    peak: int
    # The interpreter and the program do not count as used, so a node begins with nothing.
    startup: int
    clients: int
    # What is no data: buffers of clients, the keyspace's own structures, scripts.
    overhead: int
    allocated: int
    active: int

    @property
    def dataset(self) -> int:
        """Keys and values."""
        return max(0, self.used - self.overhead)


def percent(part: float, whole: float) -> float:
    """part as a percentage of whole; 0 of nothing."""
    return part * 100 / whole if whole else 0.0


def ratio(part: float, whole: float) -> float:
    """part / whole; 0 if there is no whole."""
    return part / whole if whole else 0.0


def tables(db: Database) -> int:
    """How many tables a database has."""
    return len(db.slots) - db.slots.count(None)


def main_overhead(db: Database) -> int:
    """Bytes of a database's own structures, without those for expiry and those that count from
    the start (`Memory.held`)."""
    return tables(db) * TABLE_BYTES + db.size * ENTRY_BYTES


def expires_overhead(db: Database) -> int:
    """Bytes that expiries of a database's keys cost."""
    return volatile_keys(db) * EXPIRY_BYTES


def volatile_keys(db: Database) -> int:
    """How many keys of a database have an expiry."""
    slots = (slot for slot in db.volatile_slots if not db.hides(slot))
    found = [db.slots[slot] for slot in slots] if db.slots else []
    return sum(table.volatile_count for table in found if table is not None)


def sampled_expiries(ctx: Context, db: Database) -> tuple[int, int]:
    """(mean time to live in ms, percentage already due) of some of the keys with an expiry."""
    lives: list[int] = []
    for slot in islice(db.volatile_slots, SAMPLED_TABLES_MAX):
        table = db.slots[slot] if db.slots else None
        if table is None or not table.volatile_count:
            continue
        keys: list[bytes] = []
        cursor = 0
        while not keys:
            # Due keys count here, so no time is "now".
            cursor = table.scan(cursor, keys, False, -1)
            if cursor == 0:
                break
        lives += [table.expiry(key) - ctx.now_ms for key in keys if table.expiry(key) >= 0]
    if not lives:
        return 0, 0
    live = [life for life in lives if life > 0]
    mean = sum(live) // len(live) if live else 0
    return mean, (len(lives) - len(live)) * 100 // len(lives)


@dataclass(frozen=True)
class Scripts:
    """Bytes and counts of scripts and functions."""

    vm_eval: int = 0
    eval_text: int = 0
    function_text: int = 0
    cached: int = 0
    functions: int = 0
    libraries: int = 0
    evicted: int = 0


def scripts(ctx: Context) -> Scripts:
    """What scripts and functions hold; they share one interpreter, counted as that of scripts."""
    found = ctx.node.scripts
    if found is None:
        return Scripts()
    return Scripts(
        vm_eval=found.vm_bytes, eval_text=found.scripts_bytes, function_text=found.registry.bytes,
        cached=len(found.scripts), functions=found.functions_count,
        libraries=len(found.registry.libraries), evicted=found.evicted,
    )  # fmt: skip


def memory(ctx: Context, facts: Facts) -> Memory:
    """What memory is used for, now."""
    node = ctx.node
    used = node.memory.used()
    keyspace = sum(
        main_overhead(db) + expires_overhead(db) for db in ctx.keyspace.databases if db.size
    )
    startup = SLOTS_BYTES * len(ctx.keyspace.databases)
    rss = node.server.process_memory() if node.server is not None else 0
    return Memory(
        used=used,
        rss=rss,
        peak=node.memory.peak_bytes,
        startup=startup,
        clients=node.client_memory.total,
        overhead=startup + keyspace + node.memory.buffers_bytes + node.memory.extra_bytes,
        # All that is resident counts as held, as in a Redis with the C library's allocator.
        allocated=int(facts.get("allocator_allocated", used)),
        active=int(facts.get("allocator_active", rss)),
    )

"""MEMORY: what keys cost, what memory is used for, and whether something is wrong with it.

A value knows what it holds (`nbytes`), exactly where it is compiled, so MEMORY USAGE needs no
sampling; SAMPLES is read and changes nothing. The report of MEMORY DOCTOR is in our own words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.node.commands.client import write_help
from isthmus.node.commands.figures import (
    ENTRY_BYTES,
    EXPIRY_BYTES,
    Memory,
    expires_overhead,
    main_overhead,
    memory,
    percent,
    ratio,
    scripts,
)
from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.registry import ARRAY, BULK, INTEGER, MAP, NULL, OK, command, container
from isthmus.node.engine.spec import LOADING, READONLY, STALE
from isthmus.node.values.streams import StreamValue

MERGED = "NONDETERMINISTIC_OUTPUT,REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:SPECIAL"
SLOW = "Depends on how much memory is allocated, could be slow"
# Below this there is nothing to say about fragmentation and peaks.
SMALL_BYTES = 5 << 20
PEAK_RATIO_MAX = 1.5
RSS_RATIO_MAX = 1.4
CLIENT_MEAN_BYTES_MAX = 200 << 10

HELP = (
    b"MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"DOCTOR",
    b"    Whether something is wrong with how memory is used, for people.",
    b"MALLOC-STATS",
    b"    What the allocator says of itself.",
    b"PURGE",
    b"    Return free pages to the system.",
    b"STATS",
    b"    What memory is used for.",
    b"USAGE <key> [SAMPLES <count>]",
    b"    How many bytes a key and its value take.",
    b"HELP",
    b"    This text.",
)

container("MEMORY", since="4.0.0", group="server")


def value_bytes(value: Any) -> int:
    """What a value holds, in bytes."""
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, StreamValue):
        return int(value.held_bytes())
    return int(value.nbytes)


@command("MEMORY USAGE key [SAMPLES count]", since="4.0.0", group="server", flags=READONLY,
         keys="idx:2>range:0,1,0(RO)", complexity="O(1)", reply=INTEGER | NULL)  # fmt: skip
def memory_usage(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the bytes that a key and its value take."""
    if len(argv) > 3:
        if len(argv) != 5 or argv[3].lower() != b"samples":
            raise syntax()
        if integer(argv[4]) < 0:
            raise syntax()
    key = argv[2]
    if not ctx.db.exists(key):
        ctx.reply.null()
        return
    volatile = EXPIRY_BYTES if ctx.db.expiry(key) >= 0 else 0
    ctx.reply.integer(ENTRY_BYTES + volatile + len(key) + value_bytes(ctx.db.peek(key)))


Row = tuple[str, object]


def rows(ctx: Context, held: Memory) -> Iterator[Row]:
    """The fields of MEMORY STATS; a list of rows is a map within the map."""
    keys = sum(db.size for db in ctx.keyspace.databases)
    script = scripts(ctx)
    yield "peak.allocated", held.peak
    yield "total.allocated", held.used
    yield "startup.allocated", held.startup
    replication = ctx.node.replication
    yield "replication.backlog", 0 if replication is None else replication.backlog.memory()
    yield "clients.slaves", 0 if replication is None else replication.primary.buffers()
    yield "clients.normal", held.clients
    yield "cluster.links", 0
    yield "aof.buffer", 0
    yield "lua.caches", script.eval_text
    yield "functions.caches", script.function_text
    yield "script.VMs", script.vm_eval
    lut = 0
    for db in ctx.keyspace.databases:
        if db.size:
            lut += len(db.slots) * 8
            overhead: list[Row] = [
                ("overhead.hashtable.main", main_overhead(db)),
                ("overhead.hashtable.expires", expires_overhead(db)),
            ]
            yield f"db.{db.index}", overhead
    yield "overhead.db.hashtable.lut", lut
    # Tables grow a bucket at a time: there is never a second one.
    yield "overhead.db.hashtable.rehashing", 0
    yield "overhead.total", held.overhead
    yield "db.dict.rehashing.count", 0
    yield "keys.count", keys
    yield "keys.bytes-per-key", held.dataset // keys if keys else 0
    yield "dataset.bytes", held.dataset
    yield "dataset.percentage", percent(held.dataset, held.used - held.startup)
    yield "peak.percentage", percent(held.used, held.peak)
    yield "allocator.allocated", held.allocated
    yield "allocator.active", held.active
    yield "allocator.resident", held.rss
    yield "allocator.muzzy", 0
    yield "allocator-fragmentation.ratio", ratio(held.active, held.allocated)
    yield "allocator-fragmentation.bytes", held.active - held.allocated
    yield "allocator-rss.ratio", ratio(held.rss, held.active)
    yield "allocator-rss.bytes", held.rss - held.active
    yield "rss-overhead.ratio", 1.0
    yield "rss-overhead.bytes", 0
    yield "fragmentation", ratio(held.rss, held.used)
    yield "fragmentation.bytes", held.rss - held.used


def write_rows(ctx: Context, listed: list[Row]) -> None:
    """A map of names to numbers or maps."""
    reply = ctx.reply
    reply.map(len(listed))
    for name, value in listed:
        reply.bulk(name.encode())
        if isinstance(value, list):
            write_rows(ctx, value)
        elif isinstance(value, float):
            reply.double(value)
        else:
            assert isinstance(value, int)
            reply.integer(value)


def held_now(ctx: Context) -> Memory:
    server = ctx.node.server
    return memory(ctx, {} if server is None else server.process_facts())


@command("MEMORY STATS", since="4.0.0", group="server", complexity="O(1)", reply=MAP,
         tips=MERGED)  # fmt: skip
def memory_stats(ctx: Context, argv: list[bytes]) -> None:
    """Reply with what memory is used for."""
    write_rows(ctx, list(rows(ctx, held_now(ctx))))


@command("MEMORY DOCTOR", since="4.0.0", group="server", complexity="O(1)", reply=BULK,
         tips=MERGED)  # fmt: skip
def memory_doctor(ctx: Context, argv: list[bytes]) -> None:
    """Reply with what is wrong with how memory is used, if anything is."""
    held = held_now(ctx)
    clients = len(ctx.node.clients)
    found = []
    if held.used < SMALL_BYTES:
        text = "So little memory is used that there is nothing to examine.\n"
    else:
        if held.peak > held.used * PEAK_RATIO_MAX:
            found.append(
                f"Memory use was {held.peak} bytes at its peak and is {held.used} now. The process "
                "may still hold what it needed then; MEMORY PURGE returns some of it."
            )
        if held.rss > held.used * RSS_RATIO_MAX + SMALL_BYTES * 10:
            found.append(
                f"The process holds {held.rss} bytes for {held.used} bytes of data and buffers. "
                "If this grows while the data does not, memory is fragmented."
            )
        if clients and held.clients / clients > CLIENT_MEAN_BYTES_MAX:
            found.append(
                f"Clients hold {held.clients // clients} bytes each on the average: some do not "
                "read what they are sent, or send large requests. CLIENT LIST shows which."
            )
        lines = [f"{number}. {line}" for number, line in enumerate(found, 1)]
        text = "\n".join([*lines, ""]) if found else "Nothing is wrong with the use of memory.\n"
    ctx.reply.verbatim(b"txt", text.encode())


@command("MEMORY MALLOC-STATS", since="4.0.0", group="server", complexity=SLOW, reply=BULK,
         tips=MERGED)  # fmt: skip
def memory_malloc_stats(ctx: Context, argv: list[bytes]) -> None:
    """Reply with what the allocator says of itself."""
    server = ctx.node.server
    text = "There is no process to speak of.\n" if server is None else server.allocator_report()
    ctx.reply.verbatim(b"txt", text.encode())


@command("MEMORY PURGE", since="4.0.0", group="server", complexity=SLOW, reply=OK,
         tips="REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:ALL_SUCCEEDED")  # fmt: skip
def memory_purge(ctx: Context, argv: list[bytes]) -> None:
    """Return free pages to the system."""
    if ctx.node.server is not None:
        ctx.node.server.give_back_memory()
    ctx.reply.ok()


@command("MEMORY HELP", since="4.0.0", group="server", flags=LOADING | STALE, complexity="O(1)",
         reply=ARRAY)  # fmt: skip
def memory_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of MEMORY."""
    write_help(ctx, HELP)

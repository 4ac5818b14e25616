"""Commands on keys of any type: delete, rename, copy, move, look at, list.

KEYS walks everything and replies in one piece, as it does in Redis; SCAN (scan.py) is the one for
large databases. What is said here about OBJECT ENCODING is what Redis would use for such a value:
programs compare it to learn whether a value is small.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.commands.client import write_help
from isthmus.node.commands.connection import int32
from isthmus.node.engine import access
from isthmus.node.engine.args import syntax
from isthmus.node.engine.client import GATE_NO_TOUCH
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import (
    DB_INDEX_OUT_OF_RANGE,
    NO_SUCH_KEY,
    SAME_OBJECT,
    RedisError,
)
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.registry import (
    ARRAY,
    BULK,
    INTEGER,
    NULL,
    OK,
    SIMPLE,
    command,
    container,
)
from isthmus.node.engine.spec import (
    DENYOOM,
    FAST,
    LOADING,
    READONLY,
    STALE,
    TOUCHES_ARBITRARY_KEYS,
    WRITE,
)
from isthmus.node.values.keys import copy, delete, move, rename
from isthmus.wire.scalars import i64, parse_int

INT_DIGITS_MAX = 20
EMBSTR_BYTES_MAX = 44
ACCESS_CLOCK_MASK = 0xFFFFFF
# How many databases Redis has unless it is told otherwise.
DATABASES = 16
NO_LFU = (
    b"ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that "
    b"when switching between policies at runtime LRU and LFU data will take some time to adjust."
)
LFU_ONLY = (
    b"ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
    b"switching between policies at runtime LRU and LFU data will take some time to adjust."
)
SUM_OF_SHARDS = "REQUEST_POLICY:MULTI_SHARD,RESPONSE_POLICY:AGG_SUM"

OBJECT_HELP = (
    b"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"ENCODING <key>",
    b"    The form in which the value is kept.",
    b"FREQ <key>",
    b"    How often the key is used, where a policy of eviction counts that.",
    b"IDLETIME <key>",
    b"    Seconds since the key was used last.",
    b"REFCOUNT <key>",
    b"    How many references to the value there are.",
    b"HELP",
    b"    This text.",
)


def type_name(value: Any) -> bytes:
    """What TYPE calls a value."""
    if type(value) is bytes or type(value) is bytearray:
        return b"string"
    kind: bytes = value.kind
    return kind


def encoding_of(value: Any) -> bytes:
    """What OBJECT ENCODING calls the form of a value."""
    if type(value) is bytearray:
        return b"raw"
    if type(value) is not bytes:
        encoding: bytes = value.encoding()
        return encoding
    if len(value) <= INT_DIGITS_MAX:
        try:
            parse_int(value)
            return b"int"
        except ValueError:
            pass
    return b"embstr" if len(value) <= EMBSTR_BYTES_MAX else b"raw"


def glance(ctx: Context, key: bytes) -> bool:
    """True if key exists; counts a hit or a miss, leaves the access time alone."""
    if ctx.db.exists(key):
        ctx.hits += 1
        return True
    ctx.miss(key)
    return False


def delete_all(ctx: Context, argv: list[bytes]) -> None:
    at: i64
    count: i64 = 0
    for at in range(1, len(argv)):
        # Asked first, so that a key whose time has come is not counted.
        if ctx.db.exists(argv[at]) and delete(ctx.db, argv[at]):
            count += 1
    ctx.reply.integer(count)


@command("DEL key [key ...]", since="1.0.0", group="generic", flags=WRITE, categories="KEYSPACE",
         keys="idx:1>range:-1,1,0(RM|DELETE)", complexity="O(N) in the number of keys",
         reply=INTEGER, tips=SUM_OF_SHARDS)  # fmt: skip
def del_(ctx: Context, argv: list[bytes]) -> None:
    """Delete keys; reply with how many there were. Big values are freed in slices afterwards."""
    delete_all(ctx, argv)


@command("UNLINK key [key ...]", since="4.0.0", group="generic", flags=WRITE | FAST,
         categories="KEYSPACE", keys="idx:1>range:-1,1,0(RM|DELETE)",
         complexity="O(N) in the number of keys", reply=INTEGER, tips=SUM_OF_SHARDS)  # fmt: skip
def unlink(ctx: Context, argv: list[bytes]) -> None:
    """Delete keys; reply with how many there were. The same as DEL here."""
    delete_all(ctx, argv)


@command("EXISTS key [key ...]", since="1.0.0", group="generic", flags=READONLY | FAST,
         categories="KEYSPACE", keys="idx:1>range:-1,1,0(RO)",
         complexity="O(N) in the number of keys", reply=INTEGER, tips=SUM_OF_SHARDS)  # fmt: skip
def exists(ctx: Context, argv: list[bytes]) -> None:
    """Reply with how many of the keys exist; one that is named twice counts twice."""
    at: i64
    count: i64 = 0
    for at in range(1, len(argv)):
        if glance(ctx, argv[at]):
            count += 1
    ctx.reply.integer(count)


@command("TOUCH key [key ...]", since="3.2.1", group="generic", flags=READONLY | FAST,
         categories="KEYSPACE", keys="idx:1>range:-1,1,0(RO)",
         complexity="O(N) in the number of keys", reply=INTEGER, tips=SUM_OF_SHARDS)  # fmt: skip
def touch(ctx: Context, argv: list[bytes]) -> None:
    """Set the access time of keys to now; reply with how many exist."""
    at: i64
    count: i64 = 0
    # What it is for, it does for a client that said CLIENT NO-TOUCH too.
    unmarked = ctx.session.gates & GATE_NO_TOUCH
    if unmarked:
        access.hold(False)
    for at in range(1, len(argv)):
        if ctx.db.lookup(argv[at]) is not None:
            count += 1
        else:
            ctx.miss(argv[at])
    if unmarked:
        access.hold(True)
    ctx.hits += count
    ctx.reply.integer(count)


@command("TYPE key", since="1.0.0", group="generic", flags=READONLY | FAST, categories="KEYSPACE",
         keys="idx:1>range:0,1,0(RO)", complexity="O(1)", reply=SIMPLE)  # fmt: skip
def type_(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the type of the value at key, or none."""
    ctx.reply.simple(type_name(ctx.db.peek(argv[1])) if glance(ctx, argv[1]) else b"none")


@command("RENAME key newkey", since="1.0.0", group="generic", flags=WRITE, categories="KEYSPACE",
         keys="idx:1>range:0,1,0(RW|ACCESS|DELETE); idx:2>range:0,1,0(OW|UPDATE)",
         complexity="O(1)", reply=OK)  # fmt: skip
def rename_(ctx: Context, argv: list[bytes]) -> None:
    """Give the value of key another name; what that name held is deleted."""
    if not ctx.db.exists(argv[1]):
        raise RedisError(NO_SUCH_KEY)
    if argv[1] != argv[2]:
        # What is overwritten may have expired: then it is deleted, and known to be, first.
        ctx.db.exists(argv[2])
        rename(ctx.db, argv[1], argv[2])
    ctx.reply.ok()


@command("RENAMENX key newkey", since="1.0.0", group="generic", flags=WRITE | FAST,
         categories="KEYSPACE",
         keys="idx:1>range:0,1,0(RW|ACCESS|DELETE); idx:2>range:0,1,0(OW|INSERT)",
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def renamenx(ctx: Context, argv: list[bytes]) -> None:
    """Give the value of key another name, unless that name is taken."""
    if not ctx.db.exists(argv[1]):
        raise RedisError(NO_SUCH_KEY)
    if argv[1] == argv[2] or ctx.db.exists(argv[2]):
        ctx.reply.integer(0)
        return
    rename(ctx.db, argv[1], argv[2])
    ctx.reply.integer(1)


def database(ctx: Context, text: bytes, not_in_cluster: bytes) -> Database:
    """The database with the number `text`; in a cluster there is only the first."""
    index = int32(text)
    # As in Redis, the number is looked at as if there were the usual 16 in a cluster, too.
    count = len(ctx.keyspace.databases) if ctx.cluster is None else DATABASES
    if not 0 <= index < count:
        raise RedisError(DB_INDEX_OUT_OF_RANGE)
    if ctx.cluster is not None and index != 0:
        raise RedisError(not_in_cluster)
    found: Database = ctx.keyspace.databases[index]
    return found


@command("COPY source destination [DB destination-db] [REPLACE]", since="6.2.0", group="generic",
         flags=WRITE | DENYOOM, categories="KEYSPACE",
         keys="idx:1>range:0,1,0(RO|ACCESS); idx:2>range:0,1,0(OW|UPDATE)",
         complexity="O(N) in the number of elements of the value", reply=INTEGER)  # fmt: skip
def copy_(ctx: Context, argv: list[bytes]) -> None:
    """Copy the value and expiry of a key to another, in this database or another."""
    source, destination = argv[1], argv[2]
    target, replace = ctx.db, False
    at = 3
    while at < len(argv):
        word = argv[at].upper()
        if word == b"REPLACE":
            replace = True
        elif word == b"DB" and at + 1 < len(argv):
            at += 1
            refusal = b"ERR Copying to another database is not allowed in cluster mode"
            target = database(ctx, argv[at], refusal)
        else:
            raise syntax()
        at += 1
    if target is ctx.db and source == destination:
        raise RedisError(SAME_OBJECT)
    if not glance(ctx, source) or (target.exists(destination) and not replace):
        ctx.reply.integer(0)
        return
    copy(ctx.db, source, target, destination)
    ctx.reply.integer(1)


@command("MOVE key db", since="1.0.0", group="generic", flags=WRITE | FAST, categories="KEYSPACE",
         keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)", reply=INTEGER)  # fmt: skip
def move_(ctx: Context, argv: list[bytes]) -> None:
    """Move a key to another database, unless that has such a key."""
    refusal = b"ERR MOVE is not allowed in cluster mode"
    if ctx.cluster is not None:
        raise RedisError(refusal)
    target = database(ctx, argv[2], refusal)
    if target is ctx.db:
        raise RedisError(SAME_OBJECT)
    if not ctx.db.exists(argv[1]) or target.exists(argv[1]):
        ctx.reply.integer(0)
        return
    move(ctx.db, argv[1], target)
    ctx.reply.integer(1)


@command("RANDOMKEY", since="1.0.0", group="generic", flags=READONLY | TOUCHES_ARBITRARY_KEYS,
         categories="KEYSPACE", complexity="O(1)", reply=BULK | NULL,
         tips="REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:SPECIAL,"
              "NONDETERMINISTIC_OUTPUT")  # fmt: skip
def randomkey(ctx: Context, argv: list[bytes]) -> None:
    """Reply with a key drawn at random, every key with the same chance."""
    key = ctx.keyspace.random_key(ctx.db)
    if key is None:
        ctx.reply.null()
    else:
        ctx.reply.bulk(key)


@command("KEYS pattern", since="1.0.0", group="generic", flags=READONLY,
         categories="KEYSPACE,DANGEROUS", complexity="O(N) in the number of keys", reply=ARRAY,
         tips="REQUEST_POLICY:ALL_SHARDS,NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def keys(ctx: Context, argv: list[bytes]) -> None:
    """Reply with every key that matches a glob-style pattern."""
    pattern, now = argv[1], ctx.now_ms
    everything = pattern == b"*"
    found: list[bytes] = []
    for slot, table in enumerate(ctx.db.slots):
        if table is None or not table.count or ctx.db.hides(slot):
            continue
        volatile = table.volatile_count > 0
        for key in table.keys():
            if (everything or glob_match(pattern, key)) and not (
                volatile and table.expired(key, now)
            ):
                found.append(key)
    ctx.reply.array(len(found))
    for key in found:
        ctx.reply.bulk(key)


@command("DBSIZE", since="1.0.0", group="server", flags=READONLY | FAST, categories="KEYSPACE",
         complexity="O(1)", reply=INTEGER,
         tips="REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:AGG_SUM")  # fmt: skip
def dbsize(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of keys in the selected database."""
    ctx.reply.integer(ctx.db.visible())


container("OBJECT", since="2.2.3", group="generic")


@command("OBJECT ENCODING key", since="2.2.3", group="generic", flags=READONLY,
         categories="KEYSPACE", keys="idx:2>range:0,1,0(RO)", complexity="O(1)", reply=BULK | NULL,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def object_encoding(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the form in which the value at key is kept."""
    value = ctx.db.peek(argv[2])
    if value is None:
        ctx.reply.null()
    else:
        ctx.reply.bulk(encoding_of(value))


@command("OBJECT REFCOUNT key", since="2.2.3", group="generic", flags=READONLY,
         categories="KEYSPACE", keys="idx:2>range:0,1,0(RO)", complexity="O(1)",
         reply=INTEGER | NULL, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def object_refcount(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of references to the value at key: one, values are never shared."""
    if ctx.db.exists(argv[2]):
        ctx.reply.integer(1)
    else:
        ctx.reply.null()


@command("OBJECT IDLETIME key", since="2.2.3", group="generic", flags=READONLY,
         categories="KEYSPACE", keys="idx:2>range:0,1,0(RO)", complexity="O(1)",
         reply=INTEGER | NULL, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def object_idletime(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the seconds since the key was used last."""
    key = argv[2]
    if not ctx.db.exists(key):
        ctx.reply.null()
        return
    if ctx.config.text("maxmemory-policy").endswith("lfu"):
        raise RedisError(LFU_ONLY)
    table = ctx.db.table_of(key)
    assert table is not None
    # The access clock is the low 24 bits of Unix seconds; the difference survives its wrap.
    ctx.reply.integer((ctx.now_ms // 1000 - table.access(key)) & ACCESS_CLOCK_MASK)


@command("OBJECT FREQ key", since="4.0.0", group="generic", flags=READONLY, categories="KEYSPACE",
         keys="idx:2>range:0,1,0(RO)", complexity="O(1)", reply=INTEGER | NULL,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def object_freq(ctx: Context, argv: list[bytes]) -> None:
    """Reply with how often the key is used, as a logarithm; an error unless the policy counts."""
    key = argv[2]
    if not ctx.db.exists(key):
        ctx.reply.null()
        return
    if not ctx.config.text("maxmemory-policy").endswith("lfu"):
        raise RedisError(NO_LFU)
    table = ctx.db.table_of(key)
    assert table is not None
    ctx.reply.integer(access.decayed(table.access(key)))


@command("OBJECT HELP", since="6.2.0", group="generic", flags=LOADING | STALE,
         categories="KEYSPACE", complexity="O(1)", reply=ARRAY)  # fmt: skip
def object_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of OBJECT."""
    write_help(ctx, OBJECT_HELP)

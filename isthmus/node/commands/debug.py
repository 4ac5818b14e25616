"""DEBUG: what test suites and people who look for a fault ask of a server.

It works only where `enable-debug-command` allows it: some of it stops the process or shows what
others store. Sub-commands are functions in a table of their own, because Redis declares DEBUG as
one command; each has a range of how many arguments it takes, and any other number is the error for
an unknown one. What needs files or replicas says that there are none. Sub-commands about parts that
Redis has and this server has not (a second hash table while one grows, reply buffers of clients,
list nodes of a single element) are read and answered, and change nothing: there is nothing to
switch.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.node.commands.client import write_help, wrong_form
from isthmus.node.commands.keys import encoding_of
from isthmus.node.commands.memory import value_bytes
from isthmus.node.commands.saving import disk
from isthmus.node.engine.args import bounded, integer
from isthmus.node.engine.client_memory import limit_of
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NO_SUCH_KEY, NOT_POSITIVE, RedisError
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.registry import ANY, command
from isthmus.node.engine.spec import ADMIN, LOADING, NOSCRIPT, PROTECTED, STALE
from isthmus.node.engine.table import Table
from isthmus.node.values.digest import of_key, of_keyspace, spelt
from isthmus.node.values.strings import put
from isthmus.wire.scalars import INT64_MAX, parse_float

Handler = Callable[[Context, list[bytes]], None]
SUBCOMMANDS: dict[bytes, tuple[int, int, Handler]] = {}
MANY = 1 << 30
SLEEP_SECONDS_MAX = 3600.0
PACKED_BYTES_MAX = 1 << 32
LISTED_ENTRIES_MAX = 1000

NO_RESTART = b"ERR a node does not start itself anew: stop it, and start it as before"
NO_FLUSH_SLEEP = b"ERR writing the append only file cannot be made slow"
NO_REPLICATE = b"ERR replicas are sent what changes data here, and nothing else"
PROTOCOL_TYPES = (
    b"ERR Wrong protocol type name. Please use one of the following: "
    b"string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
)
HELP = (
    b"DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"ASSERT, OOM, PANIC, SEGFAULT",
    b"    End the process as a fault would.",
    b"CHANGE-REPL-ID",
    b"    Take a new replication id.",
    b"CLIENT-EVICTION",
    b"    What clients hold, for maxmemory-clients.",
    b"DIGEST",
    b"    A digest of all data.",
    b"DIGEST-VALUE <key> [<key> ...]",
    b"    Digests of the values of keys.",
    b"ERROR <text>",
    b"    Reply with an error.",
    b"HTSTATS <dbid> [FULL]",
    b"    The tables of a database.",
    b"HTSTATS-KEY <key> [FULL]",
    b"    The table that a value is.",
    b"LISTPACK <key>",
    b"    Write a small value to the log.",
    b"LONGEST-TURN <0|1>",
    b"    Measure turns of the loop, or stop; the longest since this was last asked, in CPU us.",
    b"LOG <text>",
    b"    Write a line to the log.",
    b"OBJECT <key>",
    b"    How a value is stored.",
    b"PAUSE-CRON <0|1>",
    b"    Stop the timers of the server, or let them run.",
    b"POPULATE <count> [<prefix>] [<size>]",
    b"    Make strings prefix:0, prefix:1 and so on, where there are none.",
    b"PROTOCOL <type>",
    b"    Reply with an example of a type: string, integer, double, bignum, null, array, set, map,",
    b"    attrib, push, verbatim, true, false.",
    b"LOADAOF",
    b"    Write what waits to the append only file, and load all of it anew.",
    b"RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
    b"    Save, forget everything, and load the file. NOSAVE: load the file that is there;",
    b"    NOFLUSH: forget nothing; MERGE: what is in the file replaces keys of that name.",
    b"SDSLEN <key>",
    b"    The lengths of a key and of the string there.",
    b"SET-ACTIVE-EXPIRE <0|1>",
    b"    Whether keys are removed at their time though nobody asks for them.",
    b"SET-DISABLE-DENY-SCRIPTS <0|1>",
    b"    Whether scripts may call commands that are not for scripts.",
    b"SLEEP <seconds>",
    b"    Do nothing for a time, and let everybody wait.",
    b"STRINGMATCH-TEST",
    b"    Match random patterns.",
    b"STRUCTSIZE",
    b"    Bytes that structures take.",
    b"HELP",
    b"    This text.",
)


def sub(name: str, least: int, most: int) -> Callable[[Handler], Handler]:
    """Register a sub-command that takes so many arguments behind its name."""

    def register(handler: Handler) -> Handler:
        SUBCOMMANDS[name.lower().encode()] = (least, most, handler)
        return handler

    return register


@command("DEBUG subcommand [argument [argument ...]]", since="1.0.0", group="server",
         flags=ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED, doc_flags="SYSCMD", arity=-2,
         complexity="Depends on subcommand.", reply=ANY)  # fmt: skip
def debug(ctx: Context, argv: list[bytes]) -> None:
    """Look into the server, or make it do what it would not do by itself."""
    found = SUBCOMMANDS.get(argv[1].lower())
    if found is None or not found[0] <= len(argv) - 2 <= found[1]:
        raise wrong_form(argv)
    found[2](ctx, argv)


def number_prefix(text: bytes) -> int:
    """As C's atoi: the digits at the start, 0 if there are none."""
    digits = b""
    for byte in text:
        if not 48 <= byte <= 57:
            break
        digits += bytes((byte,))
    return int(digits or b"0")


# -- time ---------------------------------------------------------------------------------------


@sub("SLEEP", 1, 1)
def sleep(ctx: Context, argv: list[bytes]) -> None:
    try:
        seconds = parse_float(argv[2])
    except ValueError:
        seconds = 0.0
    if ctx.node.server is not None and seconds > 0:
        ctx.node.server.hold(min(seconds, SLEEP_SECONDS_MAX))
        # In a script or a transaction, what follows sees no other time.
        ctx.clock.late = True
        ctx.log.pending = True
    ctx.reply.ok()


@sub("SET-ACTIVE-EXPIRE", 1, 1)
def set_active_expire(ctx: Context, argv: list[bytes]) -> None:
    ctx.keyspace.active_expiry = number_prefix(argv[2]) != 0
    ctx.reply.ok()


@sub("PAUSE-CRON", 1, 1)
def pause_cron(ctx: Context, argv: list[bytes]) -> None:
    ctx.node.cron_paused = number_prefix(argv[2]) != 0
    ctx.reply.ok()


@sub("LONGEST-TURN", 1, 1)
def longest_turn(ctx: Context, argv: list[bytes]) -> None:
    server = ctx.node.server
    on = number_prefix(argv[2]) != 0
    ctx.reply.integer(server.longest_turn_us(on) if server is not None else 0)


# -- data ---------------------------------------------------------------------------------------


@sub("DIGEST", 0, 0)
def digest(ctx: Context, argv: list[bytes]) -> None:
    ctx.reply.simple(spelt(of_keyspace(ctx.keyspace)))


@sub("DIGEST-VALUE", 0, MANY)
def digest_value(ctx: Context, argv: list[bytes]) -> None:
    ctx.reply.array(len(argv) - 2)
    for key in argv[2:]:
        ctx.reply.simple(spelt(of_key(ctx.db, key)))


def peek(ctx: Context, key: bytes) -> object:
    """The value at key, expired or not, its access time left alone; raises "no such key"."""
    table = ctx.db.table_of(key)
    value: object = None if table is None else table.get(key)
    if value is None:
        raise RedisError(NO_SUCH_KEY)
    return value


@sub("OBJECT", 1, 2)
def object_(ctx: Context, argv: list[bytes]) -> None:
    value = peek(ctx, argv[2])
    table = ctx.db.table_of(argv[2])
    assert table is not None
    mark = table.access(argv[2])
    idle = (ctx.now_ms // 1000 - mark) & 0xFFFFFF
    ctx.reply.simple(
        b"Value at:0x%x refcount:1 encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d"
        % (id(value), encoding_of(value), value_bytes(value), mark, idle)
    )


@sub("SDSLEN", 1, 1)
def sdslen(ctx: Context, argv: list[bytes]) -> None:
    value = peek(ctx, argv[2])
    if not isinstance(value, (bytes, bytearray)) or encoding_of(value) == b"int":
        raise RedisError(b"ERR Not an sds encoded string.")
    key = len(argv[2])
    # Keys and short strings are stored without room to grow.
    ctx.reply.simple(
        b"key_sds_len:%d, key_sds_avail:0, key_zmalloc: %d, val_sds_len:%d, val_sds_avail:0, "
        b"val_zmalloc: %d" % (key, key, len(value), len(value))
    )


@sub("LISTPACK", 1, 1)
def listpack(ctx: Context, argv: list[bytes]) -> None:
    value = peek(ctx, argv[2])
    if encoding_of(value) not in (b"listpack", b"listpackex"):
        raise RedisError(b"ERR Not a listpack encoded object.")
    if ctx.node.server is not None:
        shown = repr(value.plain())[:LISTED_ENTRIES_MAX]  # type: ignore[attr-defined]
        ctx.node.server.debug_log(shown)
    ctx.reply.simple(b"Listpack structure printed on stdout")


@sub("QUICKLIST", 1, 2)
def quicklist(ctx: Context, argv: list[bytes]) -> None:
    value = peek(ctx, argv[2])
    if encoding_of(value) != b"quicklist":
        raise RedisError(b"ERR Not a quicklist encoded object.")
    if ctx.node.server is not None:
        count = len(value)  # type: ignore[arg-type]
        ctx.node.server.debug_log(f"list of {count} elements in {value_bytes(value)} bytes")
    ctx.reply.simple(b"Quicklist structure printed on stdout")


@sub("POPULATE", 1, 3)
def populate(ctx: Context, argv: list[bytes]) -> None:
    count = bounded(argv[2], 0, INT64_MAX, NOT_POSITIVE)
    prefix = argv[3] if len(argv) > 3 else b"key"
    size = bounded(argv[4], 0, INT64_MAX, NOT_POSITIVE) if len(argv) > 4 else 0
    if size > ctx.config.integer("proto-max-bulk-len"):
        raise RedisError(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    for number in range(count):
        key = b"%s:%d" % (prefix, number)
        if not ctx.db.exists(key):
            text = b"value:%d" % number
            put(ctx.db, key, text[:size].ljust(size, b"\0") if size else text, -1, b"set")
    ctx.reply.ok()


# -- structures ---------------------------------------------------------------------------------


def table_report(tables: list[Table], full: bool) -> str:
    """What tables hold, for people."""
    entries = sum(table.count for table in tables)
    lines = [
        f" tables: {len(tables)}",
        f" number of elements: {entries}",
        f" with an expiry: {sum(table.volatile_count for table in tables)}",
        f" bytes: {sum(table.nbytes for table in tables)}",
    ]
    if full and tables:
        lines.append(f" largest: {max(table.count for table in tables)} elements")
    return "\n".join(lines) + "\n"


def is_full(argv: list[bytes]) -> bool:
    """True if the last word is FULL; raises the error for any other."""
    if len(argv) == 4 and argv[3].lower() != b"full":
        raise wrong_form(argv)
    return len(argv) == 4


@sub("HTSTATS", 1, 2)
def htstats(ctx: Context, argv: list[bytes]) -> None:
    full = is_full(argv)
    index = integer(argv[2])
    if not 0 <= index < len(ctx.keyspace.databases):
        raise RedisError(b"ERR Out of range database")
    db = ctx.keyspace.databases[index]
    tables = [table for table in db.slots if table is not None]
    text = "[Dictionary HT]\nHash table 0 stats (main hash table):\n" + table_report(tables, full)
    ctx.reply.verbatim(b"txt", text.encode())


@sub("HTSTATS-KEY", 1, 2)
def htstats_key(ctx: Context, argv: list[bytes]) -> None:
    full = is_full(argv)
    value = peek(ctx, argv[2])
    if not isinstance(value, Table) or encoding_of(value) not in (b"hashtable", b"skiplist"):
        raise RedisError(
            b"ERR The value stored at the specified key is not represented using an hash table"
        )
    text = "Hash table 0 stats (main hash table):\n" + table_report([value], full)
    ctx.reply.verbatim(b"txt", text.encode())


@sub("STRUCTSIZE", 0, 0)
def structsize(ctx: Context, argv: list[bytes]) -> None:
    ctx.reply.simple(
        b"bits:64 table:%d client:%d spec:%d context:%d"
        % (
            Table.__basicsize__,
            type(ctx.session).__basicsize__,
            type(ctx.spec).__basicsize__,
            type(ctx).__basicsize__,
        )
    )


@sub("CLIENT-EVICTION", 0, 0)
def client_eviction(ctx: Context, argv: list[bytes]) -> None:
    limit = limit_of(ctx.config)
    if not limit:
        raise RedisError(b"ERR maxmemory-clients is disabled.")
    held = ctx.node.client_memory
    lines = [f"limit: {limit} total: {held.total} clients: {len(held.sizes)}"]
    ctx.reply.verbatim(b"txt", "\n".join([*lines, ""]).encode())


# -- replies ------------------------------------------------------------------------------------


@sub("ERROR", 1, 1)
def error(ctx: Context, argv: list[bytes]) -> None:
    ctx.reply.error(argv[2])


@sub("PROTOCOL", 1, 1)
def protocol(ctx: Context, argv: list[bytes]) -> None:
    reply, kind = ctx.reply, argv[2].lower()
    if kind == b"string":
        reply.bulk(b"Hello World")
    elif kind == b"integer":
        reply.integer(12345)
    elif kind == b"double":
        reply.double(3.141)
    elif kind == b"bignum":
        reply.big_number(b"1234567999999999999999999999999999999")
    elif kind == b"null":
        reply.null()
    elif kind == b"verbatim":
        reply.verbatim(b"txt", b"This is a verbatim\nstring")
    elif kind in (b"true", b"false"):
        reply.boolean(kind == b"true")
    else:
        aggregate(ctx, kind)


def aggregate(ctx: Context, kind: bytes) -> None:
    """The examples of PROTOCOL that have parts."""
    reply = ctx.reply
    if kind in (b"array", b"set"):
        if kind == b"array":
            reply.array(3)
        else:
            reply.set(3)
        for number in range(3):
            reply.integer(number)
    elif kind == b"map":
        reply.map(3)
        for number in range(3):
            reply.integer(number)
            reply.boolean(number == 1)
    elif kind == b"attrib":
        if reply.protocol >= 3:
            reply.raw(b"|1\r\n")
            reply.bulk(b"key-popularity")
            reply.array(2)
            reply.bulk(b"key:123")
            reply.integer(90)
        reply.bulk(b"Some real reply following the attribute")
    elif kind == b"push":
        if reply.protocol < 3:
            raise RedisError(b"ERR RESP2 is not supported by this command")
        reply.push(2)
        reply.bulk(b"server-cpu-usage")
        reply.integer(42)
    else:
        raise RedisError(PROTOCOL_TYPES)


# -- the process --------------------------------------------------------------------------------


@sub("LOG", 1, 1)
def log_(ctx: Context, argv: list[bytes]) -> None:
    if ctx.node.server is not None:
        ctx.node.server.debug_log(argv[2].decode("utf-8", "replace"))
    ctx.reply.ok()


@sub("CHANGE-REPL-ID", 0, 0)
def change_repl_id(ctx: Context, argv: list[bytes]) -> None:
    if ctx.node.replication is not None:
        ctx.node.replication.new_id()
    ctx.reply.ok()


@sub("SET-DISABLE-DENY-SCRIPTS", 1, 1)
def set_disable_deny_scripts(ctx: Context, argv: list[bytes]) -> None:
    ctx.node.scripts_call_all = number_prefix(argv[2]) != 0
    ctx.reply.ok()


@sub("SET-SKIP-CHECKSUM-VALIDATION", 1, 1)
def set_skip_checksum_validation(ctx: Context, argv: list[bytes]) -> None:
    ctx.node.skip_checksums = number_prefix(argv[2]) != 0
    ctx.reply.ok()


@sub("STRINGMATCH-TEST", 0, 0)
def stringmatch_test(ctx: Context, argv: list[bytes]) -> None:
    letters = b"ab*?[]^-\\"
    for _ in range(10_000):
        pattern, text = (
            bytes(letters[ctx.rng.below(len(letters))] for _ in range(ctx.rng.below(32)))
            for _ in range(2)
        )
        glob_match(pattern, text)
    ctx.reply.simple(b"Every pattern was matched without a fault")


def crash(ctx: Context, argv: list[bytes]) -> None:
    """End the process at once, as a fault of its own would."""
    if ctx.node.server is None:
        raise RedisError(b"ERR there is no process to end")
    ctx.node.server.crash(argv[1].decode("utf-8", "replace"))


for _name in ("SEGFAULT", "PANIC", "ASSERT", "OOM"):
    sub(_name, 0, 0)(crash)


# -- what there is nothing to switch for, or nothing to act on ------------------------------------


@sub("QUICKLIST-PACKED-THRESHOLD", 1, 1)
def quicklist_packed_threshold(ctx: Context, argv: list[bytes]) -> None:
    digits = argv[2].lower().removesuffix(b"b")
    unit = {b"k": 10, b"m": 20, b"g": 30}.get(digits[-1:], 0)
    number = digits[:-1] if unit else digits
    if not number.isdigit() or int(number) << unit > PACKED_BYTES_MAX:
        raise RedisError(b"ERR argument must be a memory value bigger than 1 and smaller than 4gb")
    ctx.reply.ok()


@sub("REPLYBUFFER", 2, 2)
def replybuffer(ctx: Context, argv: list[bytes]) -> None:
    word, value = argv[2].lower(), argv[3].lower()
    if word == b"peak-reset-time":
        if value not in (b"never", b"reset"):
            integer(value)
    elif word != b"resizing":
        raise wrong_form(argv)
    ctx.reply.ok()


@sub("DICT-RESIZING", 1, 1)
def dict_resizing(ctx: Context, argv: list[bytes]) -> None:
    ctx.reply.ok()


@sub("RELOAD", 0, 3)
def reload(ctx: Context, argv: list[bytes]) -> None:
    words = {word.lower() for word in argv[2:]}
    if not words <= {b"merge", b"noflush", b"nosave"}:
        raise RedisError(b"ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    disk(ctx).reload(b"nosave" not in words, b"noflush" not in words, b"merge" in words)
    ctx.reply.ok()


@sub("LOADAOF", 0, 0)
def load_aof(ctx: Context, argv: list[bytes]) -> None:
    disk(ctx).reload_aof()
    ctx.reply.ok()


def refused(text: bytes) -> Handler:
    """A sub-command that says why it is none."""

    def refuse(ctx: Context, argv: list[bytes]) -> None:
        raise RedisError(text)

    return refuse


sub("RESTART", 0, MANY)(refused(NO_RESTART))
sub("CRASH-AND-RECOVER", 0, MANY)(refused(NO_RESTART))
sub("AOF-FLUSH-SLEEP", 1, 1)(refused(NO_FLUSH_SLEEP))
sub("REPLICATE", 1, MANY)(refused(NO_REPLICATE))


@sub("HELP", 0, 0)
def help_(ctx: Context, argv: list[bytes]) -> None:
    write_help(ctx, HELP)

"""RESTORE: make a key of what DUMP answered, here or in any Redis.

Arguments are looked at in Redis' order, which decides what a request with two faults is told:
options, then whether the key is there, then the time to live, then the payload. That is checked for
what it means before anything is changed (values/restore.py), so a refused one changes nothing, and
with REPLACE what was there stays. A time to live that has passed already makes no key, but takes
away what was there.

RESTORE-ASKING is what MIGRATE sends in a cluster: the same, allowed in a slot that is being
imported.
"""

from __future__ import annotations

from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NOT_INTEGER, SYNTAX, RedisError
from isthmus.node.engine.registry import OK, command
from isthmus.node.engine.spec import ASKING, DENYOOM, WRITE
from isthmus.node.values.keys import delete
from isthmus.node.values.restore import decode, limits_of, resealed, restore
from isthmus.wire.scalars import INT64_MAX, parse_int

BUSY_KEY = b"BUSYKEY Target key name already exists."
NEGATIVE_TTL = b"ERR Invalid TTL value, must be >= 0"
NEGATIVE_IDLE = b"ERR Invalid IDLETIME value, must be >= 0"
FREQ_RANGE = b"ERR Invalid FREQ value, must be >= 0 and <= 255"
FREQ_MAX = 255
RESTORE_KEYS = "idx:1>range:0,1,0(OW|UPDATE)"
RESTORE_COST = (
    "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N "
    "is the number of elements composing the value and M their average size."
)


def integer(text: bytes) -> int:
    """An int64 argument; raises RedisError."""
    try:
        return parse_int(text)
    except ValueError:
        raise RedisError(NOT_INTEGER) from None


class Options:
    """What follows the payload; raises RedisError."""

    def __init__(self, words: list[bytes]) -> None:
        self.replace = self.absolute = False
        self.idle_s = self.freq = -1
        at = 0
        while at < len(words):
            word = words[at].upper()
            more = at + 1 < len(words)
            if word == b"REPLACE":
                self.replace = True
            elif word == b"ABSTTL":
                self.absolute = True
            elif word == b"IDLETIME" and more and self.freq == -1:
                at += 1
                self.idle_s = integer(words[at])
                if self.idle_s < 0:
                    raise RedisError(NEGATIVE_IDLE)
            elif word == b"FREQ" and more and self.idle_s == -1:
                at += 1
                self.freq = integer(words[at])
                if not 0 <= self.freq <= FREQ_MAX:
                    raise RedisError(FREQ_RANGE)
            else:
                raise RedisError(SYNTAX)
            at += 1


def restore_key(ctx: Context, argv: list[bytes]) -> None:
    """RESTORE and RESTORE-ASKING."""
    options = Options(argv[4:])
    key = argv[1]
    there = ctx.db.exists(key)
    if there and not options.replace:
        raise RedisError(BUSY_KEY)
    ttl = integer(argv[2])
    if ttl < 0:
        raise RedisError(NEGATIVE_TTL)
    # What is recorded has a right checksum: who replays it, compares.
    payload = resealed(argv[3]) if ctx.node.skip_checksums else argv[3]
    value = decode(payload, limits_of(ctx.config))
    ctx.reply.ok()
    expire = -1
    if ttl:
        expire = ttl if options.absolute else min(ttl + ctx.now_ms, INT64_MAX)
        if expire <= ctx.clock.expiry_ms():
            delete(ctx.db, key)
            return
    restore(ctx.db, key, value, payload, expire, options.idle_s, options.freq)


@command("RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
         since="2.6.0", group="generic", flags=WRITE | DENYOOM, categories="KEYSPACE,DANGEROUS",
         keys=RESTORE_KEYS, complexity=RESTORE_COST, reply=OK)  # fmt: skip
def restore_(ctx: Context, argv: list[bytes]) -> None:
    """Make a key of its serialized form."""
    restore_key(ctx, argv)


@command("RESTORE-ASKING key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds]"
         " [FREQ frequency]", since="3.0.0", group="server", flags=WRITE | DENYOOM | ASKING,
         categories="KEYSPACE,DANGEROUS", keys=RESTORE_KEYS, complexity=RESTORE_COST, reply=OK,
         doc_flags="SYSCMD")  # fmt: skip
def restore_asking(ctx: Context, argv: list[bytes]) -> None:
    """Make a key of its serialized form, also in a slot that is being imported."""
    restore_key(ctx, argv)

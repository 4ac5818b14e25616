"""SCAN: walk the keys of a database a few at a time.

The walk goes slot by slot, and within a slot bucket by bucket. The cursor is the bucket's cursor
shifted left by 14 bits, and the slot in those 14 bits: the form Redis 7.4 has in cluster mode, here
in standalone mode too. Every key that is there from the first call to the last is returned at least
once, however the tables grow or shrink meanwhile; a bucket is never split between two calls.

In a cluster the walk passes over slots that are not of this node's shard. Over a proxy's link it
also ends where a run of the node's slots ends, with the next slot in the cursor, and a cursor whose
slot is another node's is answered MOVED: so a proxy walks the slots of the whole cluster in order,
and a slot that changes hands meanwhile is neither missed nor walked for nothing.

One call stops after COUNT keys or ten times as many buckets, whichever comes first. Empty slots
cost one step of a loop and do not count. Any number is a valid cursor: one that no call returned
starts somewhere, as in Redis, and ends like any other.
"""

from __future__ import annotations

from isthmus.node.commands.keys import type_name
from isthmus.node.commands.scan_options import parse_cursor
from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.registry import ARRAY, command
from isthmus.node.engine.spec import READONLY, TOUCHES_ARBITRARY_KEYS
from isthmus.wire.scalars import INT64_MAX, i64
from isthmus.wire.slots import SLOTS

SLOT_BITS = 14
COUNT_DEFAULT = 10
BUCKETS_PER_KEY = 10
# More than there can be keys; keeps ten times as many an int64.
COUNT_MAX = 1 << 48


class KeyScanOptions:
    """MATCH, COUNT and TYPE of a SCAN; None means everything."""

    __slots__ = ("pattern", "count", "kind")

    def __init__(self, argv: list[bytes]) -> None:
        self.pattern: bytes | None = None
        self.count = COUNT_DEFAULT
        self.kind: bytes | None = None
        for at in range(2, len(argv), 2):
            word = argv[at].lower()
            if at + 1 == len(argv) or word not in (b"match", b"count", b"type"):
                raise syntax()
            value = argv[at + 1]
            if word == b"match":
                self.pattern = None if value == b"*" else value
            elif word == b"type":
                self.kind = value.lower()
            else:
                self.count = integer(value)
                if self.count < 1:
                    raise syntax()
                self.count = min(self.count, COUNT_MAX)


def last_of_run(ctx: Context, slot: int) -> int:
    """The slot behind the run of this node's slots that `slot` is in; raises a redirect."""
    mine: bytearray = ctx.cluster.mine
    if not mine[slot]:
        raise RedisError(ctx.cluster.redirect_error(slot))
    end = mine.find(0, slot)
    return SLOTS if end < 0 else end


def walk(ctx: Context, cursor: i64, count: i64, out: list[bytes], stop: i64) -> i64:
    """Append about `count` keys from cursor on to out; returns the next cursor, 0 at the end.

    It goes no further than slot `stop`, and stands there then.
    """
    db = ctx.db
    slots = db.slots
    slot: i64 = cursor & (SLOTS - 1)
    inner: i64 = cursor >> SLOT_BITS
    buckets: i64 = count * BUCKETS_PER_KEY
    found: i64 = 0
    end: i64 = min(len(slots), stop)
    while slot < end:
        table = slots[slot]
        if table is None or table.count == 0 or db.hides(slot):
            slot, inner = slot + 1, 0
            continue
        if found >= count or buckets <= 0:
            return inner << SLOT_BITS | slot
        # With those whose time has come: the caller deletes them.
        inner = table.scan(inner, out, False, -1)
        found = len(out)
        buckets -= 1
        if inner == 0:
            slot += 1
    return stop if stop < SLOTS else 0


@command("SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]", since="2.8.0", group="generic",
         flags=READONLY | TOUCHES_ARBITRARY_KEYS, categories="KEYSPACE",
         complexity="O(1) for every call, O(N) for a whole walk", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT,REQUEST_POLICY:SPECIAL,RESPONSE_POLICY:SPECIAL")  # fmt: skip
def scan(ctx: Context, argv: list[bytes]) -> None:
    """Reply with some keys and the cursor from which to go on; cursor 0 means all were seen."""
    # Cursors of ours have 46 bits; the highest bit of a made-up one is dropped.
    cursor = parse_cursor(argv[1]) & INT64_MAX
    options = KeyScanOptions(argv)
    found: list[bytes] = []
    stop = SLOTS
    if ctx.cluster is not None and ctx.session.linked:
        stop = last_of_run(ctx, cursor & (SLOTS - 1))
    following = walk(ctx, cursor, options.count, found, stop)
    pattern, kind = options.pattern, options.kind
    if pattern is not None:
        found = [key for key in found if glob_match(pattern, key)]
    if ctx.db.volatile_slots:
        found = [key for key in found if ctx.db.exists(key)]
    if kind is not None:
        found = [key for key in found if type_name(ctx.db.peek(key)) == kind]
    ctx.reply.array(2)
    ctx.reply.bulk(b"%d" % following)
    ctx.reply.array(len(found))
    for key in found:
        ctx.reply.bulk(key)

"""Random draws from a table of members or fields: SPOP, SRANDMEMBER, HRANDFIELD, ZRANDMEMBER.

A draw of distinct keys takes one of two ways: a shuffle of all keys if at least a third of them are
wanted, else single draws, of which repeats are thrown away. Both give every subset the same chance.

A draw with repeats may ask for any number of them (SRANDMEMBER key -9000000000000000000), so the
request and not the data would decide over memory and time. Redis has no bound there but the output
buffer limit of the client; here `REPEATS_MAX` and `REPLY_BYTES_MAX` are bounds, and the command
that crosses one is refused.
"""

from __future__ import annotations

from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.rng import Rng
from isthmus.node.engine.table import Table
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

REPLY_BYTES_MAX = 512 * 1024 * 1024
# No element of a reply is shorter than that of an empty string: what would cross the other bound
# for certain is refused before anything is drawn.
REPEATS_MAX = REPLY_BYTES_MAX // len(b"$0\r\n\r\n")
SHUFFLE_FRACTION = 3

TOO_MANY_REPEATS = b"ERR value is out of range, at most %d elements may be drawn with repeats" % (
    REPEATS_MAX
)
REPLY_TOO_LARGE = b"ERR the reply would be larger than %d bytes" % REPLY_BYTES_MAX


def distinct_keys(table: Table, count: i64, rng: Rng) -> list[bytes]:
    """`count` different keys in random order; all of them, in theirs, if there are not more."""
    if count >= table.count:
        return table.keys()
    if count * SHUFFLE_FRACTION >= table.count:
        keys = table.keys()
        shuffle(keys, count, rng)
        return keys[:count]
    drawn: dict[bytes, None] = {}
    while len(drawn) < count:
        key = table.random_key(rng)
        if key is None:
            break
        drawn[key] = None
    return list(drawn)


def shuffle(keys: list[bytes], count: i64, rng: Rng) -> None:
    """Fill the first `count` places with a random choice of all, in place (Fisher and Yates)."""
    size: i64 = len(keys)
    at: i64
    other: i64
    for at in range(min(count, size - 1)):
        other = at + rng.below(size - at)
        keys[at], keys[other] = keys[other], keys[at]


def write_repeats(
    table: Table, count: i64, rng: Rng, reply: ReplyWriter, values: bool, nested: bool
) -> None:
    """Write an array of `count` keys drawn with repeats from a table that is not empty.

    With `values` each is followed by its value; `nested` makes pairs of them (RESP3).
    """
    start: i64 = reply.mark()
    if count > REPEATS_MAX:
        raise RedisError(TOO_MANY_REPEATS)
    reply.array(count * 2 if values and not nested else count)
    while count > 0:
        count -= 1
        key = table.random_key(rng)
        assert key is not None
        if nested:
            reply.array(2)
        reply.bulk(key)
        if values:
            table.write_value(key, reply)
        if reply.size - start > REPLY_BYTES_MAX:
            raise RedisError(REPLY_TOO_LARGE)


def write_distinct(
    table: Table, count: i64, rng: Rng, reply: ReplyWriter, values: bool, nested: bool
) -> None:
    """As write_repeats(), of `count` different keys, or all if there are not more."""
    keys = distinct_keys(table, count, rng)
    count = len(keys)
    reply.array(count * 2 if values and not nested else count)
    for key in keys:
        if nested:
            reply.array(2)
        reply.bulk(key)
        if values:
            table.write_value(key, reply)

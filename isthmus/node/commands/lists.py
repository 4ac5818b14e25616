"""List commands, but the blocking ones: LPUSH ... LMPOP.

Indexes of the manual count from the head, negative ones from the tail; they are resolved here, and
the value and its effects know only indexes from the head. Order of checks (arguments before or
after the look-up of the key) is Redis' own, because it decides which error a client sees.
"""

from __future__ import annotations

from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import (
    INDEX_OUT_OF_RANGE,
    NO_SUCH_KEY,
    NOT_POSITIVE,
    RedisError,
    wrong_arity,
)
from isthmus.node.engine.registry import ARRAY, BULK, INTEGER, NULL, OK, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.lists import (
    ListValue,
    grows,
    insert,
    move,
    pop,
    pop_one,
    push,
    remove,
    replace,
    trim,
)
from isthmus.wire.scalars import i64

LONG_MAX = 2**63 - 1
COUNT_NEGATIVE = b"ERR COUNT can't be negative"
MAXLEN_NEGATIVE = b"ERR MAXLEN can't be negative"
RANK_ZERO = (
    b"ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    b"or use negative to start from the end of the list"
)
COUNT_RANGE = b"ERR value is out of range, value must between %d and %d" % (-LONG_MAX, LONG_MAX)
NUMKEYS_TOO_SMALL = b"ERR numkeys should be greater than 0"
COUNT_TOO_SMALL = b"ERR count should be greater than 0"

PUSH_KEYS = "idx:1>range:0,1,0(RW|INSERT)"
POP_KEYS = "idx:1>range:0,1,0(RW|ACCESS|DELETE)"
READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"
MOVE_KEYS = "idx:1>range:0,1,0(RW|ACCESS|DELETE); idx:2>range:0,1,0(RW|INSERT)"
PUSH_COST = (
    "O(1) for each element added, so O(N) to add N elements when the command is called with "
    "multiple arguments."
)


def is_left(word: bytes) -> bool:
    """LEFT or RIGHT in any case; raises RedisError."""
    upper = word.upper()
    if upper == b"LEFT":
        return True
    if upper == b"RIGHT":
        return False
    raise syntax()


# --- pushing -------------------------------------------------------------------------------------


@command("LPUSH key element [element ...]", since="1.0.0", group="list",
         flags=WRITE | DENYOOM | FAST, categories="LIST", keys=PUSH_KEYS, complexity=PUSH_COST,
         reply=INTEGER)  # fmt: skip
def lpush(ctx: Context, argv: list[bytes]) -> None:
    """Put elements before the first of a list, which is made if need be; reply with its length."""
    value = push(ctx.db, argv[1], ctx.write(argv[1], ListValue), argv, 2, True)
    ctx.reply.integer(len(value))


@command("RPUSH key element [element ...]", since="1.0.0", group="list",
         flags=WRITE | DENYOOM | FAST, categories="LIST", keys=PUSH_KEYS, complexity=PUSH_COST,
         reply=INTEGER)  # fmt: skip
def rpush(ctx: Context, argv: list[bytes]) -> None:
    """Put elements behind the last of a list, which is made if need be; reply with its length."""
    value = push(ctx.db, argv[1], ctx.write(argv[1], ListValue), argv, 2, False)
    ctx.reply.integer(len(value))


def push_existing(ctx: Context, argv: list[bytes], front: bool) -> None:
    """LPUSHX and RPUSHX."""
    value: ListValue | None = ctx.write(argv[1], ListValue)
    if value is None:
        ctx.reply.integer(0)
        return
    push(ctx.db, argv[1], value, argv, 2, front)
    ctx.reply.integer(len(value))


@command("LPUSHX key element [element ...]", since="2.2.0", group="list",
         flags=WRITE | DENYOOM | FAST, categories="LIST", keys=PUSH_KEYS, complexity=PUSH_COST,
         reply=INTEGER)  # fmt: skip
def lpushx(ctx: Context, argv: list[bytes]) -> None:
    """Put elements before the first of a list, only if the list exists."""
    push_existing(ctx, argv, True)


@command("RPUSHX key element [element ...]", since="2.2.0", group="list",
         flags=WRITE | DENYOOM | FAST, categories="LIST", keys=PUSH_KEYS, complexity=PUSH_COST,
         reply=INTEGER)  # fmt: skip
def rpushx(ctx: Context, argv: list[bytes]) -> None:
    """Put elements behind the last of a list, only if the list exists."""
    push_existing(ctx, argv, False)


@command("LINSERT key <BEFORE | AFTER> pivot element", since="2.2.0", group="list",
         flags=WRITE | DENYOOM, categories="LIST", keys=PUSH_KEYS,
         complexity="O(N) where N is the number of elements to traverse before seeing the value "
         "pivot. This means that inserting somewhere on the left end on the list (head) can be "
         "considered O(1) and inserting somewhere on the right end (tail) is O(N).",
         reply=INTEGER)  # fmt: skip
def linsert(ctx: Context, argv: list[bytes]) -> None:
    """Put an element before or after the first that equals pivot; -1 if there is none."""
    where = argv[2].upper()
    if where not in (b"BEFORE", b"AFTER"):
        raise syntax()
    value: ListValue | None = ctx.write(argv[1], ListValue)
    if value is None:
        ctx.reply.integer(0)
        return
    ctx.reply.integer(insert(ctx.db, argv[1], value, argv[3], argv[4], where == b"BEFORE"))


# --- popping -------------------------------------------------------------------------------------


def write_end(ctx: Context, value: ListValue, count: i64, front: bool) -> None:
    """Reply an array of the first (or last, from the tail on) `count` elements."""
    length = len(value)
    count = min(count, length)
    ctx.reply.array(count)
    value.write_range(ctx.reply, 0 if front else length - 1, count, not front)


def pop_end(ctx: Context, argv: list[bytes], front: bool) -> None:
    """LPOP and RPOP."""
    key = argv[1]
    if len(argv) == 2:
        single: ListValue | None = ctx.write(key, ListValue)
        if single is None:
            ctx.reply.null()
        else:
            ctx.reply.bulk(pop_one(ctx.db, key, single, front))
        return
    if len(argv) > 3:
        raise wrong_arity(ctx.spec.name)
    count = bounded(argv[2], 0, LONG_MAX, NOT_POSITIVE)
    value: ListValue | None = ctx.write(key, ListValue)
    if value is None:
        ctx.reply.null_array()
        return
    write_end(ctx, value, count, front)
    if count:
        pop(ctx.db, key, value, count, front)


@command("LPOP key [count]", since="1.0.0", group="list", flags=WRITE | FAST, categories="LIST",
         keys=POP_KEYS, complexity="O(N) where N is the number of elements returned",
         reply=BULK | NULL | ARRAY)  # fmt: skip
def lpop(ctx: Context, argv: list[bytes]) -> None:
    """Take the first element or elements of a list away and reply with them."""
    pop_end(ctx, argv, True)


@command("RPOP key [count]", since="1.0.0", group="list", flags=WRITE | FAST, categories="LIST",
         keys=POP_KEYS, complexity="O(N) where N is the number of elements returned",
         reply=BULK | NULL | ARRAY)  # fmt: skip
def rpop(ctx: Context, argv: list[bytes]) -> None:
    """Take the last element or elements of a list away and reply with them."""
    pop_end(ctx, argv, False)


def parse_mpop(argv: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """numkeys key... LEFT|RIGHT [COUNT count], from `at` on; the keys, whether left, the count."""
    numkeys = bounded(argv[at], 1, LONG_MAX, NUMKEYS_TOO_SMALL)
    where = at + numkeys + 1
    if where >= len(argv):
        raise syntax()
    front = is_left(argv[where])
    count = 0
    for option in range(where + 1, len(argv), 2):
        if count or argv[option].upper() != b"COUNT" or option + 1 == len(argv):
            raise syntax()
        count = bounded(argv[option + 1], 1, LONG_MAX, COUNT_TOO_SMALL)
    return argv[at + 1 : where], front, count or 1


def pop_first(ctx: Context, keys: list[bytes], front: bool, count: i64) -> bool:
    """Pop `count` elements off the first list there is and reply with its key and them."""
    for key in keys:
        value: ListValue | None = ctx.write(key, ListValue)
        if value is not None:
            ctx.reply.array(2)
            ctx.reply.bulk(key)
            write_end(ctx, value, count, front)
            pop(ctx.db, key, value, count, front)
            return True
    return False


@command("LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", since="7.0.0", group="list",
         flags=WRITE, categories="LIST", keys="idx:1>keynum:0,1,1(RW|ACCESS|DELETE)",
         complexity="O(N+M) where N is the number of provided keys and M is the number of elements "
         "returned.", reply=ARRAY | NULL)  # fmt: skip
def lmpop(ctx: Context, argv: list[bytes]) -> None:
    """Pop elements off the first of several lists that is not empty."""
    keys, front, count = parse_mpop(argv, 1)
    if not pop_first(ctx, keys, front, count):
        ctx.reply.null_array()


def move_one(
    ctx: Context, source: bytes, from_head: bool, destination: bytes, to_head: bool
) -> None:
    """LMOVE and RPOPLPUSH."""
    value: ListValue | None = ctx.write(source, ListValue)
    if value is None:
        ctx.reply.null()
        return
    target: ListValue | None = ctx.write(destination, ListValue)
    ctx.reply.bulk(move(ctx.db, source, value, from_head, destination, target, to_head))


@command("LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>", since="6.2.0", group="list",
         flags=WRITE | DENYOOM, categories="LIST", keys=MOVE_KEYS, complexity="O(1)",
         reply=BULK | NULL)  # fmt: skip
def lmove(ctx: Context, argv: list[bytes]) -> None:
    """Take an element off one end of a list, put it on an end of another, and reply with it."""
    move_one(ctx, argv[1], is_left(argv[3]), argv[2], is_left(argv[4]))


@command("RPOPLPUSH source destination", since="1.2.0", group="list", flags=WRITE | DENYOOM,
         categories="LIST", keys=MOVE_KEYS, complexity="O(1)", doc_flags="DEPRECATED",
         reply=BULK | NULL)  # fmt: skip
def rpoplpush(ctx: Context, argv: list[bytes]) -> None:
    """Take the last element off a list, put it first on another, and reply with it."""
    move_one(ctx, argv[1], False, argv[2], True)


# --- reading -------------------------------------------------------------------------------------


@command("LLEN key", since="1.0.0", group="list", flags=READONLY | FAST, categories="LIST",
         keys="idx:1>range:0,1,0(RO)", complexity="O(1)", reply=INTEGER)  # fmt: skip
def llen(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the length of a list."""
    value: ListValue | None = ctx.read(argv[1], ListValue)
    ctx.reply.integer(0 if value is None else len(value))


@command("LINDEX key index", since="1.0.0", group="list", flags=READONLY, categories="LIST",
         keys=READ_KEYS,
         complexity="O(N) where N is the number of elements to traverse to get to the element at "
         "index. This makes asking for the first or the last element of the list O(1).",
         reply=BULK | NULL)  # fmt: skip
def lindex(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the element at an index."""
    value: ListValue | None = ctx.read(argv[1], ListValue)
    if value is None:
        ctx.reply.null()
        return
    index: i64 = integer(argv[2])
    if index < 0:
        index += len(value)
    if 0 <= index < len(value):
        value.write_range(ctx.reply, index, 1, False)
    else:
        ctx.reply.null()


@command("LRANGE key start stop", since="1.0.0", group="list", flags=READONLY, categories="LIST",
         keys=READ_KEYS,
         complexity="O(S+N) where S is the distance of start offset from HEAD for small lists, "
         "from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the "
         "specified range.", reply=ARRAY)  # fmt: skip
def lrange(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the elements from one index to another, both included."""
    start: i64 = integer(argv[2])
    stop: i64 = integer(argv[3])
    value: ListValue | None = ctx.read(argv[1], ListValue)
    if value is None:
        ctx.reply.empty_array()
        return
    length: i64 = len(value)
    if start < 0:
        start = max(start + length, 0)
    stop = min(stop if stop >= 0 else stop + length, length - 1)
    if start > stop:
        ctx.reply.empty_array()
        return
    ctx.reply.array(stop - start + 1)
    value.write_range(ctx.reply, start, stop - start + 1, False)


@command("LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]", since="6.0.6",
         group="list", flags=READONLY, categories="LIST", keys=READ_KEYS,
         complexity="O(N) where N is the number of elements in the list, for the average case. "
         "When searching for elements near the head or the tail of the list, or when the MAXLEN "
         "option is provided, the command may run in constant time.",
         reply=INTEGER | NULL | ARRAY)  # fmt: skip
def lpos(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the index or indexes of the elements that equal one."""
    rank, count, compared_max = 1, -1, 0
    at = 3
    while at < len(argv):
        option = argv[at].upper()
        if at + 1 == len(argv):
            raise syntax()
        if option == b"RANK":
            rank = integer(argv[at + 1])
            if rank < -LONG_MAX:
                raise RedisError(COUNT_RANGE)
            if rank == 0:
                raise RedisError(RANK_ZERO)
        elif option == b"COUNT":
            count = bounded(argv[at + 1], 0, LONG_MAX, COUNT_NEGATIVE)
        elif option == b"MAXLEN":
            compared_max = bounded(argv[at + 1], 0, LONG_MAX, MAXLEN_NEGATIVE)
        else:
            raise syntax()
        at += 2
    value: ListValue | None = ctx.read(argv[1], ListValue)
    found: list[int] = []
    if value is not None:
        found = value.find_all(argv[2], rank, 1 if count < 0 else count, compared_max)
    if count >= 0:
        ctx.reply.array(len(found))
        for index in found:
            ctx.reply.integer(index)
    elif found:
        ctx.reply.integer(found[0])
    else:
        ctx.reply.null()


# --- changing ------------------------------------------------------------------------------------


@command("LSET key index element", since="1.0.0", group="list", flags=WRITE | DENYOOM,
         categories="LIST", keys="idx:1>range:0,1,0(RW|UPDATE)",
         complexity="O(N) where N is the length of the list. Setting either the first or the last "
         "element of the list is O(1).", reply=OK)  # fmt: skip
def lset(ctx: Context, argv: list[bytes]) -> None:
    """Replace the element at an index."""
    value: ListValue | None = ctx.write(argv[1], ListValue)
    if value is None:
        raise RedisError(NO_SUCH_KEY)
    # Redis keeps 32 bits of this index, and of no other: 4294967296 is the first element.
    index: i64 = ((integer(argv[2]) + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    if index < 0:
        index += len(value)
    if not 0 <= index < len(value):
        # Redis makes room before it looks, which shows in the encoding.
        grows(ctx.db, value, 1, len(argv[3]))
        raise RedisError(INDEX_OUT_OF_RANGE)
    replace(ctx.db, argv[1], value, index, argv[3])
    ctx.reply.ok()


@command("LREM key count element", since="1.0.0", group="list", flags=WRITE, categories="LIST",
         keys="idx:1>range:0,1,0(RW|DELETE)",
         complexity="O(N+M) where N is the length of the list and M is the number of elements "
         "removed.", reply=INTEGER)  # fmt: skip
def lrem(ctx: Context, argv: list[bytes]) -> None:
    """Remove the first (count < 0: the last) |count| elements that equal one; 0 removes all."""
    count: i64 = integer(argv[2])
    if count < -LONG_MAX:
        raise RedisError(COUNT_RANGE)
    value: ListValue | None = ctx.write(argv[1], ListValue)
    ctx.reply.integer(0 if value is None else remove(ctx.db, argv[1], value, count, argv[3]))


@command("LTRIM key start stop", since="1.0.0", group="list", flags=WRITE, categories="LIST",
         keys="idx:1>range:0,1,0(RW|DELETE)",
         complexity="O(N) where N is the number of elements to be removed by the operation.",
         reply=OK)  # fmt: skip
def ltrim(ctx: Context, argv: list[bytes]) -> None:
    """Keep only the elements from one index to another, both included."""
    start: i64 = integer(argv[2])
    stop: i64 = integer(argv[3])
    value: ListValue | None = ctx.write(argv[1], ListValue)
    if value is not None:
        length: i64 = len(value)
        if start < 0:
            start = max(start + length, 0)
        stop = min(stop if stop >= 0 else stop + length, length - 1)
        trim(ctx.db, argv[1], value, start, stop)
    ctx.reply.ok()

"""SORT and SORT_RO: the elements of a list, set or sorted set in another order.

Elements are sorted as numbers or as bytes, by themselves or by what a BY pattern finds for them; a
GET pattern finds what is replied in their place. A pattern names a string key, or a hash key and
a field behind "->", with the element in place of the first "*"; "#" is the element itself. Such
keys are in no argument, so patterns are refused where they could lead to another slot, and to users
who may not read every key.

Equal weights are ordered by the elements' bytes. Where Redis leaves an order open (equal texts
found by BY ... ALPHA) elements keep the one they came in.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.acl_check import reads_every_key
from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import WRONGTYPE, RedisError
from isthmus.node.engine.registry import ARRAY, INTEGER, command
from isthmus.node.engine.spec import DENYOOM, READONLY, WRITE
from isthmus.node.values.hashes import HashValue
from isthmus.node.values.lists import ListValue
from isthmus.node.values.sets import SetValue
from isthmus.node.values.sorting import store_list, weight
from isthmus.node.values.zsets import ZSetValue
from isthmus.wire.slots import key_slot

NOT_NUMBERS = b"ERR One or more scores can't be converted into double"
COST = (
    "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number "
    "of returned elements. When the elements are not sorted, complexity is O(N)."
)


class Pattern:
    """Where to find a value for an element: a key, or a hash and its field."""

    def __init__(self, text: bytes) -> None:
        # C text ends at the first zero byte, as far as stars and arrows are looked for.
        shown = text.partition(b"\0")[0]
        self.itself = text == b"#"
        star = shown.find(b"*")
        self.fixed = star < 0
        self.before = text[:star]
        self.behind = text[star + 1 :]
        self.field = b""
        arrow = shown.find(b"->", star + 1)
        if not self.fixed and 0 <= arrow < len(shown) - 2:
            self.behind = text[star + 1 : arrow]
            self.field = text[arrow + 2 :]

    def value(self, ctx: Context, element: bytes) -> bytes | None:
        """What this pattern finds for an element, or None."""
        if self.itself:
            return element
        if self.fixed:
            return None
        key = self.before + element + self.behind
        value = ctx.db.lookup(key)
        if value is None:
            ctx.miss(key)
            return None
        ctx.hits += 1
        if self.field:
            if type(value) is not HashValue:
                return None
            value = value.fetch(self.field, ctx.now_ms)
            return None if value is None else bytes(value)
        return bytes(value) if type(value) is bytes or type(value) is bytearray else None


def slot_of_pattern(text: bytes) -> int:
    """The slot of every key a pattern can name; -1 if they may be in several."""
    opened = -1
    for at, char in enumerate(text):
        if char in b"*?[\\":
            return -1
        if char == 0x7B and opened < 0:
            opened = at
        elif char == 0x7D and opened >= 0 and at != opened + 1:
            return key_slot(text[opened + 1 : at])
    return key_slot(text)


class Request:
    """The parsed arguments of SORT."""

    def __init__(self, ctx: Context, argv: list[bytes], stores: bool) -> None:
        self.descending = self.alpha = False
        self.start, self.count = 0, -1
        self.target: bytes | None = None
        self.by: Pattern | None = None
        # True if BY has no "*": elements are not to be sorted at all.
        self.as_they_are = False
        self.gets: list[Pattern] = []
        at = 2
        while at < len(argv):
            word = argv[at].upper()
            left = len(argv) - at - 1
            if word in (b"ASC", b"DESC"):
                self.descending = word == b"DESC"
            elif word == b"ALPHA":
                self.alpha = True
            elif word == b"LIMIT" and left >= 2:
                self.start, self.count = integer(argv[at + 1]), integer(argv[at + 2])
                at += 2
            elif stores and word == b"STORE" and left >= 1:
                at += 1
                self.target = argv[at]
            elif word == b"BY" and left >= 1:
                at += 1
                self.by = Pattern(argv[at])
                if self.by.fixed:
                    self.as_they_are = True
                else:
                    self.check(ctx, argv, argv[at], word)
            elif word == b"GET" and left >= 1:
                at += 1
                self.check(ctx, argv, argv[at], word)
                self.gets.append(Pattern(argv[at]))
            else:
                raise syntax()
            at += 1

    def check(self, ctx: Context, argv: list[bytes], pattern: bytes, word: bytes) -> None:
        """Refuse a pattern that could lead to keys the client may not ask this node for."""
        if (
            ctx.cluster is not None
            and (pattern != b"#" or word == b"BY")
            and slot_of_pattern(pattern) != key_slot(argv[1])
        ):
            raise RedisError(
                b"ERR " + word + b" option of SORT denied in Cluster mode when keys formed by the "
                b"pattern may be in different slots."
            )
        if not reads_every_key(ctx.session.user, ctx.spec, argv):
            raise RedisError(
                b"ERR " + word + b" option of SORT denied due to insufficient ACL permissions."
            )


def elements_of(value: Any, request: Request) -> list[bytes]:
    """What there is to sort; in the order that BY nosort shows, if that is asked for."""
    if value is None:
        return []
    reverse = request.as_they_are and request.descending
    if type(value) is ListValue:
        listed: list[bytes] = value.slice(0, len(value))
        return listed[::-1] if reverse else listed
    if type(value) is ZSetValue:
        start = value.count - 1 if reverse else 0
        return list(value.members(start, value.count, reverse))
    return list(value.keys())


def ordered(ctx: Context, elements: list[bytes], request: Request) -> list[bytes]:
    """The elements sorted; raises RedisError if they have to be numbers and are not."""
    by = request.by
    if request.alpha:
        if by is None:
            return sorted(elements, reverse=request.descending)
        keyed = [(by.value(ctx, element), element) for element in elements]
        # What BY finds nothing for comes first.
        keyed.sort(key=_text_first_missing, reverse=request.descending)
        return [element for _, element in keyed]
    weighed: list[tuple[float, bytes]] = []
    try:
        for element in elements:
            text = element if by is None else by.value(ctx, element)
            weighed.append((0.0 if text is None else weight(text), element))
    except ValueError:
        raise RedisError(NOT_NUMBERS) from None
    weighed.sort(reverse=request.descending)
    return [element for _, element in weighed]


def _text_first_missing(pair: tuple[bytes | None, bytes]) -> tuple[bool, bytes]:
    return pair[0] is not None, pair[0] or b""


def limited(elements: list[bytes], request: Request) -> list[bytes]:
    """The elements that LIMIT leaves."""
    start = min(max(request.start, 0), len(elements))
    count = len(elements) if request.count < 0 else min(request.count, len(elements))
    return elements[start : start + count]


def sort(ctx: Context, argv: list[bytes], stores: bool) -> None:
    """SORT (stores) and SORT_RO."""
    request = Request(ctx, argv, stores)
    value = ctx.db.lookup(argv[1])
    if value is None:
        ctx.miss(argv[1])
    else:
        ctx.hits += 1
        if type(value) not in (ListValue, SetValue, ZSetValue):
            raise RedisError(WRONGTYPE)
        if type(value) is ZSetValue:
            # Redis sorts from the large encoding, and leaves it so.
            value.outgrown = True
    elements = elements_of(value, request)
    if request.as_they_are and type(value) is SetValue and must_repeat(ctx, request):
        request.as_they_are = False
        request.alpha = True
        request.by = None
    if not request.as_they_are:
        elements = ordered(ctx, elements, request)
    chosen = limited(elements, request)
    if request.target is None:
        write_result(ctx, chosen, request.gets)
        return
    if request.gets:
        chosen = [get.value(ctx, element) or b"" for element in chosen for get in request.gets]
    store_list(ctx.db, request.target, chosen)
    ctx.reply.integer(len(chosen))


def must_repeat(ctx: Context, request: Request) -> bool:
    """True where the order of a set, which is none, would be written down or seen by a script."""
    scripts = ctx.node.scripts
    return request.target is not None or (scripts is not None and scripts.running())


def write_result(ctx: Context, elements: list[bytes], gets: list[Pattern]) -> None:
    ctx.reply.array(len(elements) * (len(gets) or 1))
    for element in elements:
        if not gets:
            ctx.reply.bulk(element)
        for get in gets:
            found = get.value(ctx, element)
            if found is None:
                ctx.reply.null()
            else:
                ctx.reply.bulk(found)


def keys_with_target(argv: list[bytes]) -> list[int]:
    """The places of SORT's own key and of the one after the last STORE."""
    target = 0
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        if word == b"STORE" and at + 1 < len(argv):
            target = at + 1
            at += 1
        elif word in (b"BY", b"GET"):
            at += 1
        elif word == b"LIMIT":
            at += 2
        at += 1
    return [1, target] if target else [1]


def only_key(argv: list[bytes]) -> list[int]:
    """The place of SORT_RO's key."""
    return [1]


@command("SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] "
         "[ALPHA] [STORE destination]", since="1.0.0", group="generic", flags=WRITE | DENYOOM,
         categories="SET,SORTEDSET,LIST,DANGEROUS",
         keys="idx:1>range:0,1,0(RO|ACCESS); unknown>unknown(RO|ACCESS); "
         "unknown>unknown(OW|UPDATE)", complexity=COST, reply=ARRAY | INTEGER,
         get_keys=keys_with_target)  # fmt: skip
def sort_(ctx: Context, argv: list[bytes]) -> None:
    """Sort the elements of a list, set or sorted set; reply with them or store them."""
    sort(ctx, argv, True)


@command("SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] "
         "[ASC | DESC] [ALPHA]", since="7.0.0", group="generic", flags=READONLY,
         categories="SET,SORTEDSET,LIST,DANGEROUS",
         keys="idx:1>range:0,1,0(RO|ACCESS); unknown>unknown(RO|ACCESS)", complexity=COST,
         reply=ARRAY, get_keys=only_key)  # fmt: skip
def sort_ro(ctx: Context, argv: list[bytes]) -> None:
    """Sort the elements of a list, set or sorted set; reply with them."""
    sort(ctx, argv, False)

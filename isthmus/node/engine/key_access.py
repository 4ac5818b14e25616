"""Which keys a request touches, and whether it reads or writes each: what permissions ask.

The declared key specifications say it for nearly every command. They are read as strictly as Redis
reads them: a request in which one of them cannot be found (a count that is no number, a range past
the end) is a request whose keys are not known that way. Then, and for the commands whose access
depends on their arguments (SET with GET, BITFIELD), a function of the command's own says; where
there is none the request touches no key, and the command itself will refuse it.

A key is told as one number, `position * 4 + access`, because this runs for every request of a
restricted user.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.node.engine.spec import READ_KEY, WRITE_KEY, CommandSpec, KeySpec
from isthmus.wire.scalars import parse_int

READ_WRITE = READ_KEY | WRITE_KEY
ONE_READ = [1 * 4 + READ_KEY]
ONE_WRITTEN = [1 * 4 + WRITE_KEY]
ONE_CHANGED = [1 * 4 + READ_WRITE]


def accesses(spec: CommandSpec, argv: list[bytes]) -> list[int]:
    """The keys of a request whose arity is right, in Redis' order."""
    if not spec.key_specs:
        return []
    own = OWN.get(spec.name)
    if own is not None and has_variable_flags(spec):
        return own(argv)
    found: list[int] = []
    for keys in spec.key_specs:
        if "NOT_KEY" in keys.flags:
            continue
        positions = strict_positions(keys, argv)
        if positions is None:
            return own(argv) if own is not None else []
        access = keys.access()
        found += [position * 4 + access for position in positions]
        if "INCOMPLETE" in keys.flags and own is not None:
            return own(argv)
    return found


def has_variable_flags(spec: CommandSpec) -> bool:
    """True if what is done with a key depends on the other arguments."""
    for keys in spec.key_specs:
        if "VARIABLE_FLAGS" in keys.flags:
            return True
    return False


def strict_positions(keys: KeySpec, argv: list[bytes]) -> range | None:
    """Where the keys of one specification stand; None if the request does not fit it."""
    count = len(argv)
    first = keys.begin(argv)
    if first is None or keys.find == "unknown":
        return None
    if keys.find == "keynum":
        number_at, key_at, step = keys.numbers
        try:
            number = parse_int(argv[first + number_at])
        except (IndexError, ValueError):
            return None
        first += key_at
        last = first + (number - 1) * step
    else:
        end, step, limit = keys.numbers
        if end >= 0:
            last = first + end
        else:
            last = first + (count - first) // limit + end if limit else count + end
    if last >= count or last < first or first >= count:
        return None
    return range(first, last + 1, step)


def _set(argv: list[bytes]) -> list[int]:
    return ONE_CHANGED if any(arg.lower() == b"get" for arg in argv[3:]) else ONE_WRITTEN


def _bitfield(argv: list[bytes]) -> list[int]:
    at, count = 2, len(argv)
    while at < count:
        word, left = argv[at].lower(), count - at - 1
        if word == b"get" and left >= 2:
            at += 3
        elif word == b"overflow" and left >= 1:
            at += 2
        else:
            # It writes, or it is no proper request.
            return ONE_CHANGED
    return ONE_READ


def _sort(argv: list[bytes]) -> list[int]:
    at, stored = 2, 0
    while at < len(argv):
        word = argv[at].lower()
        if word == b"store" and at + 1 < len(argv):
            stored = at + 1
        at += {b"limit": 3, b"get": 2, b"by": 2}.get(word, 1)
    return [*ONE_READ, stored * 4 + WRITE_KEY] if stored else ONE_READ


def _sort_ro(argv: list[bytes]) -> list[int]:
    return ONE_READ


def _migrate(argv: list[bytes]) -> list[int]:
    positions = range(3, 4)
    at = 6
    while at < len(argv):
        word = argv[at].lower()
        if word == b"keys":
            positions = range(at + 1, len(argv)) if not argv[3] else range(0)
            break
        at += {b"auth": 2, b"auth2": 3}.get(word, 1)
    return [position * 4 + READ_WRITE for position in positions]


def _georadius(argv: list[bytes]) -> list[int]:
    at, stored = 5, 0
    while at < len(argv):
        if argv[at].lower() in (b"store", b"storedist") and at + 1 < len(argv):
            at += 1
            stored = at
        at += 1
    return [*ONE_READ, stored * 4 + WRITE_KEY] if stored else ONE_READ


OWN: dict[bytes, Callable[[list[bytes]], list[int]]] = {
    b"set": _set, b"bitfield": _bitfield, b"sort": _sort, b"sort_ro": _sort_ro,
    b"migrate": _migrate, b"georadius": _georadius, b"georadiusbymember": _georadius,
}  # fmt: skip

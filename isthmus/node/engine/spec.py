"""CommandSpec: everything the system knows about one command, declared beside its function.

COMMAND, ACL rules, MOVED checks, proxy routing, key extraction, metrics labels and the docs page
all read this; nothing about a command is written down twice. Flags, categories, key specifications
and tips are spelt as Redis' own command table spells them (a test compares every row).

A key specification reads "idx:1>range:0,-1,1(RW|UPDATE)": begin at argument 1; keys run to the last
argument in steps of 1; "kw:STREAMS@1" begins after
a word looked for from argument 1; "keynum:0,1,1" reads a count first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from isthmus.node.engine.histogram import Histogram

WRITE = 1 << 0
READONLY = 1 << 1
DENYOOM = 1 << 2
ADMIN = 1 << 3
PUBSUB = 1 << 4
NOSCRIPT = 1 << 5
BLOCKING = 1 << 6
LOADING = 1 << 7
STALE = 1 << 8
SKIP_MONITOR = 1 << 9
SKIP_SLOWLOG = 1 << 10
ASKING = 1 << 11
FAST = 1 << 12
NO_AUTH = 1 << 13
MAY_REPLICATE = 1 << 14
SENTINEL = 1 << 15
ONLY_SENTINEL = 1 << 16
NO_MANDATORY_KEYS = 1 << 17
PROTECTED = 1 << 18
NO_ASYNC_LOADING = 1 << 19
NO_MULTI = 1 << 20
ALLOW_BUSY = 1 << 21
TOUCHES_ARBITRARY_KEYS = 1 << 22
# Ours, not shown to clients: the command runs at once inside MULTI instead of being queued.
NOT_QUEUED = 1 << 30

FLAG_BITS: dict[str, int] = {
    name: value
    for name, value in globals().items()
    if name.isupper() and isinstance(value, int) and name not in ("NOT_QUEUED",)
}

# What a request does to a key, as far as permissions tell it apart.
READ_KEY = 1
WRITE_KEY = 2

# What COMMAND INFO calls a flag, in the order Redis lists them; it does not show them all.
FLAG_REPLY_NAMES: tuple[tuple[int, bytes], ...] = (
    (WRITE, b"write"), (READONLY, b"readonly"), (DENYOOM, b"denyoom"), (ADMIN, b"admin"),
    (PUBSUB, b"pubsub"), (NOSCRIPT, b"noscript"), (BLOCKING, b"blocking"), (LOADING, b"loading"),
    (STALE, b"stale"), (SKIP_MONITOR, b"skip_monitor"), (SKIP_SLOWLOG, b"skip_slowlog"),
    (ASKING, b"asking"), (FAST, b"fast"), (NO_AUTH, b"no_auth"),
    (NO_MANDATORY_KEYS, b"no_mandatory_keys"),
    (NO_ASYNC_LOADING, b"no_async_loading"), (NO_MULTI, b"no_multi"), (ALLOW_BUSY, b"allow_busy"),
)  # fmt: skip

_KEY_SPEC = re.compile(
    r"(?:idx:(?P<index>-?\d+)|kw:(?P<word>\w+)@(?P<from>-?\d+)|unknown)"
    r">(?:range:(?P<range>-?\d+,-?\d+,-?\d+)|keynum:(?P<keynum>-?\d+,-?\d+,-?\d+)|unknown)"
    r"\((?P<flags>[^)]*)\)"
)


class KeySpec(NamedTuple):
    """Where keys stand: begin at `start` or after `word`; then a range or a counted run."""

    start: int
    word: bytes | None
    find: str  # "range" | "keynum" | "unknown"
    numbers: tuple[int, int, int]
    flags: frozenset[str]
    text: str

    def says_all(self) -> bool:
        """True if this is a plain run of keys to all of which the same happens."""
        special = {"NOT_KEY", "VARIABLE_FLAGS", "INCOMPLETE"}
        return self.is_plain_run() and not self.numbers[2] and not self.flags & special

    def access(self) -> int:
        """What happens to the keys: READ_KEY if data is returned, WRITE_KEY if it may change."""
        written = WRITE_KEY if self.flags & {"UPDATE", "INSERT", "DELETE"} else 0
        return written | (READ_KEY if "ACCESS" in self.flags else 0)

    def is_plain_run(self) -> bool:
        """True if a first index, a last index and a step say all."""
        return self.word is None and self.find == "range" and self.start > 0

    def positions(self, argv: list[bytes]) -> Iterator[int]:
        """Indexes of the keys in argv, which holds at least the arity's arguments."""
        first = self.begin(argv)
        if first is None or self.find == "unknown":
            return
        if self.find == "keynum":
            number_at, key_at, step = self.numbers
            count = _count(argv[first + number_at]) if first + number_at < len(argv) else 0
            start = first + key_at
            stop = start + count * step
            yield from range(start, min(stop, len(argv)), step)
            return
        last, step, limit = self.numbers
        stop = first + last if last >= 0 else len(argv) + last
        if last < 0 and limit > 1:
            stop = first + (len(argv) - first) // limit - 1
        yield from range(first, min(stop, len(argv) - 1) + 1, step)

    def begin(self, argv: list[bytes]) -> int | None:
        """Where the search for keys begins; None if its word is not there."""
        if self.word is None:
            return self.start if self.start < len(argv) else None
        if self.start > 0:
            span = range(self.start, len(argv))
        else:
            span = range(len(argv) + self.start, 0, -1)
        for at in span:
            if argv[at].upper() == self.word:
                return at + 1
        return None


def _count(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) < 10 else 0


def parse_key_specs(text: str) -> tuple[KeySpec, ...]:
    """Read "idx:1>range:0,1,0(RO|ACCESS); idx:2>..." (an empty text: no keys)."""
    specs = []
    for part in filter(None, (p.strip() for p in text.split("; "))):
        match = _KEY_SPEC.fullmatch(part)
        if match is None:
            raise ValueError(f"unreadable key specification {part!r}")
        numbers = match["range"] or match["keynum"] or "0,0,0"
        first, second, third = (int(n) for n in numbers.split(","))
        find = "range" if match["range"] else "keynum" if match["keynum"] else "unknown"
        index = int(match["index"] or match["from"] or 0)
        word = match["word"].encode().upper() if match["word"] else None
        flags = frozenset(match["flags"].split("|")) if match["flags"] else frozenset()
        specs.append(KeySpec(index, word, find, (first, second, third), flags, part))
    return tuple(specs)


class CommandSpec:
    """One command or sub-command; `arity` counts the name(s), negative means "at least"."""

    def __init__(
        self, name: str, handler: Callable[..., None] | None, syntax: str, *, arity: int,
        flags: int, flag_names: tuple[str, ...], group: str, since: str, complexity: str,
        categories: tuple[str, ...], key_specs: tuple[KeySpec, ...], tips: tuple[str, ...],
        doc_flags: str, reply: int, summary: str,
        get_keys: Callable[[list[bytes]], list[int]] | None,
    ) -> None:  # fmt: skip
        self.name = name.encode()
        # Small and dense, given by the registry: an index into tables of permissions.
        self.id = 0
        self.handler: Any = handler
        self.syntax = syntax
        self.arity = arity
        self.flags = flags
        self.flag_names = flag_names
        self.group = group
        self.since = since
        self.complexity = complexity
        self.categories = categories
        self.key_specs = key_specs
        self.tips = tips
        self.doc_flags = doc_flags
        self.reply = reply
        self.summary = summary
        self.get_keys = get_keys
        self.subcommands: dict[bytes, CommandSpec] = {}
        self.parent: CommandSpec | None = None
        # What a container does when it is called without a sub-command (COMMAND only).
        self.alone: CommandSpec | None = None
        self.calls = 0
        self.nanos = 0
        self.histogram = Histogram()
        self.rejected = 0
        self.failed = 0
        # True if (first, last, step) does not tell where all keys are: ask key_positions.
        self.movable_keys = get_keys is not None
        self.first_key, self.last_key, self.key_step = self._legacy_range()
        # What the gates ask of every request, as plain attributes.
        self.no_auth = bool(flags & NO_AUTH)
        self.no_multi = bool(flags & NO_MULTI)
        self.not_queued = bool(flags & NOT_QUEUED)
        self.one_key = (
            self.first_key > 0 and self.first_key == self.last_key and len(key_specs) == 1
        )
        # What happens to the keys (READ_KEY | WRITE_KEY) where they are one run that first_key,
        # last_key and key_step describe; -1 if it takes more to tell.
        self.key_access = -1
        if len(key_specs) == 1 and key_specs[0].says_all():
            self.key_access = key_specs[0].access()

    def _legacy_range(self) -> tuple[int, int, int]:
        """COMMAND's (first, last, step) by Redis' rule: the one run of keys, or the neighbouring
        runs of step 1 taken together; whatever does not fit makes the keys movable."""
        if len(self.key_specs) == 1 and self.key_specs[0].is_plain_run():
            last, step, _ = self.key_specs[0].numbers
            first = self.key_specs[0].start
            return first, first + last if last >= 0 else last, step
        first = last = 0
        for spec in self.key_specs:
            if not spec.is_plain_run() or spec.numbers[1] != 1 or (last and last != spec.start - 1):
                self.movable_keys = True
                continue
            if "INCOMPLETE" in spec.flags:
                self.movable_keys = True
            first = min(first or spec.start, spec.start)
            end = spec.numbers[0] + spec.start if spec.numbers[0] >= 0 else spec.numbers[0]
            last = end if end < 0 or last < 0 else max(last, end)
        return (first, last, 1) if first else (0, 0, 0)

    def key_positions(self, argv: list[bytes]) -> list[int]:
        """Indexes of every key in argv, in order; argv satisfies the arity."""
        if self.get_keys is not None:
            return self.get_keys(argv)
        found: list[int] = []
        for spec in self.key_specs:
            found.extend(spec.positions(argv))
        return found

    def arity_fits(self, count: int) -> bool:
        """True if a request of `count` arguments (names included) has the right number."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity

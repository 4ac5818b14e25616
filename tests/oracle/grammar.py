"""Requests drawn from the commands' own syntax: mostly right, sometimes wrong, always repeatable.

`Grammar(group).request(seed)` walks the syntax tree of one command of the group and fills its
arguments from small pools of keys, members and numbers, so that types clash, keys are missing,
encodings change and counts exceed. The same seed gives the same request. One in ten is spoilt: an
argument too few or too many, an odd number, words swapped. A line of EXTRA is used as it stands,
with `$name` drawn from the pool of that name; it says what the syntax cannot.
"""

from __future__ import annotations

import random
import re
import shlex
from dataclasses import dataclass, field

from isthmus.node.commands import load_all
from isthmus.node.commands.syntax_tree import Argument, arguments_of
from isthmus.node.engine.registry import specs
from isthmus.node.engine.spec import BLOCKING, CommandSpec
from tests.oracle.pools import (
    ADDERS,
    EXTRA,
    KEY_POOLS,
    KEYS,
    MAY_WAIT,
    ODD,
    POOLS,
    SHARED,
    SKIPPED,
    SKIPPED_TOKENS,
    SPECIFIC,
    comparable,
)

load_all()

SPOILT = 0.1
OPTIONAL = 0.35
AGAIN = 0.4
TIMES_MAX = 5


@dataclass
class Grammar:
    """Requests for one group of commands; keys carry `tag` in front (a hash tag, or nothing)."""

    group: str
    tag: bytes = b""
    choices: list[CommandSpec | str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for spec in specs():
            name = spec.name.decode()
            waits = spec.flags & BLOCKING and name not in MAY_WAIT
            if spec.handler is None or name in SKIPPED or waits:
                continue
            if spec.group == self.group:
                self.choices += [spec] * (5 if name in ADDERS else 2)
            elif name in SHARED:
                self.choices.append(spec)
        self.choices += EXTRA.get(self.group, ()) * 2
        # The keys of the group three times as often as those of all others together.
        mine = [key for key in KEYS if key.startswith(self.group[:2].encode())]
        others = [key for key in KEYS if key not in mine]
        self.keys = (mine or others) * (len(others) // max(len(mine), 1) * 3 or 1) + others

    def request(self, seed: int) -> list[bytes]:
        """The request of this seed; another one if this seed's is not to be compared."""
        argv = self.drawn(seed)
        return argv if comparable(argv) else [b"PING"]

    def drawn(self, seed: int) -> list[bytes]:
        rng = random.Random(seed)
        choice = rng.choice(self.choices)
        if isinstance(choice, str):
            return [
                self.draw(rng, word[1:]) if word.startswith("$") else word.encode()
                for word in shlex.split(choice)
            ]
        argv = choice.syntax.split()[: choice.name.count(b"|") + 1]
        out = [word.encode() for word in argv]
        self.spec = choice
        self.row(rng, self.arranged(rng, choice), out)
        # In a cluster a spoilt key lies in another slot.
        return self.spoilt(rng, out) if not self.tag and rng.random() < SPOILT else out

    def arranged(self, rng: random.Random, spec: CommandSpec) -> list[Argument]:
        """The arguments, the options at the end now and then in another order."""
        row = arguments_of(spec)
        at = len(row)
        while at and row[at - 1].optional and row[at - 1].kind in ("pure-token", "block", "oneof"):
            at -= 1
        options = row[at:]
        if rng.random() < 0.3:
            rng.shuffle(options)
        return row[:at] + options

    def row(self, rng: random.Random, row: list[Argument], out: list[bytes]) -> None:
        counted = -1
        for arg in row:
            if arg.optional and rng.random() > OPTIONAL:
                continue
            if arg.token.lower() in SKIPPED_TOKENS:
                continue
            start = len(out)
            self.argument(rng, arg, out)
            if arg.name in ("numkeys", "numfields"):
                counted = len(out) - 1
            elif counted >= 0 and arg.multiple:
                if rng.random() < 0.93:
                    out[counted] = b"%d" % (len(out) - start)
                counted = -1

    def argument(self, rng: random.Random, arg: Argument, out: list[bytes]) -> None:
        if arg.token:
            word = arg.token.encode()
            out.append(word.lower() if rng.random() < 0.1 else word)
        if arg.kind == "pure-token":
            return
        times = 1
        while arg.multiple and times < TIMES_MAX and rng.random() < AGAIN:
            times += 1
        for _ in range(times):
            if arg.kind == "oneof":
                self.row(rng, [rng.choice(arg.parts)], out)
            elif arg.kind == "block":
                self.row(rng, arg.parts, out)
            else:
                out.append(self.value(rng, arg))

    def value(self, rng: random.Random, arg: Argument) -> bytes:
        name = self.spec.name.decode()
        specific = SPECIFIC.get((name, arg.name))
        if specific is not None:
            return self.draw(rng, specific)
        if arg.kind == "key" or re.fullmatch(r"\w*key|source|destination|src|dst", arg.name):
            return self.draw(rng, "key")
        for pool in (f"{self.group}.{arg.name}", arg.name, arg.kind):
            if pool in POOLS:
                return self.draw(rng, pool)
        return self.draw(rng, "string")

    def draw(self, rng: random.Random, pool: str) -> bytes:
        if pool == "key":
            return self.tag + rng.choice(self.keys)
        word = rng.choice(POOLS[pool])
        return self.tag + word if pool.endswith("key") or pool in KEY_POOLS else word

    def spoilt(self, rng: random.Random, argv: list[bytes]) -> list[bytes]:
        """The request with one thing wrong."""
        out = list(argv)
        how = rng.randrange(6)
        at = rng.randrange(1, len(out)) if len(out) > 1 else 0
        if how == 0 and len(out) > 1:
            del out[at]
        elif how == 1:
            out.append(rng.choice(ODD))
        elif how == 2:
            out[0] = out[0].lower()
        elif how == 3 and at:
            out.insert(at, out[rng.randrange(1, len(out))])
        elif at and out[at]:
            out[at] = rng.choice(ODD)
        return out

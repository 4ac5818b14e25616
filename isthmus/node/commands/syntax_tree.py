"""The arguments of a command as a tree, read from its syntax line.

The line is the manual's: `lower` is an argument, `UPPER` a token; `[...]` is optional; `<a | b>`
and `[a | b]` are choices; `name [name ...]` repeats what stands before it. A token just before an
argument belongs to it (`EX seconds`), a token before several makes them a block.

    item   = "[" choice "]" | "<" choice ">" | word
    choice = row { "|" row }
    row    = item { item }
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from isthmus.node.engine.spec import CommandSpec

_WORD = re.compile(r"[\[\]<>|]|[^\s\[\]<>|]+")
_INTEGERS = frozenset(
    "count cursor db decrement destination-db end index increment len limit milliseconds "
    "minmatchlen-value num-matches numkeys offset port rank seconds start stop timeout "
    "client-id maxage protover threshold slot".split()
)
_DOUBLES = frozenset({"score", "weight"})


@dataclass
class Argument:
    """One argument: kind is key, string, integer, double, pattern, unix-time, pure-token, oneof or
    block; `parts` are the members of the last two."""

    name: str
    kind: str
    token: str = ""
    optional: bool = False
    multiple: bool = False
    key_spec: int = -1
    parts: list[Argument] = field(default_factory=list)


class _Reader:
    """A recursive-descent reader of one syntax line."""

    def __init__(self, words: list[str], spec: CommandSpec) -> None:
        self.words = words
        self.at = 0
        self.spec = spec
        self.key_specs_used = 0

    def choice(self, closing: str) -> list[list[Argument]]:
        """Rows up to `closing`, which is taken too."""
        rows = [self.row()]
        while self.at < len(self.words) and self.words[self.at] == "|":
            self.at += 1
            rows.append(self.row())
        if closing:
            if self.at >= len(self.words) or self.words[self.at] != closing:
                raise ValueError(f"unbalanced syntax {' '.join(self.words)!r}")
            self.at += 1
        return rows

    def row(self) -> list[Argument]:
        found: list[Argument] = []
        while self.at < len(self.words) and self.words[self.at] not in ("|", "]", ">"):
            word = self.words[self.at]
            self.at += 1
            if word == "[":
                again = self.repeats(found)
                if again:
                    continue
                item = one(self.choice("]"))
                item.optional = True
                found.append(item)
            elif word == "<":
                found.append(one(self.choice(">")))
            elif word == "...":
                if found:
                    found[-1].multiple = True
            else:
                found.append(self.word(word))
        return joined(found)

    def repeats(self, found: list[Argument]) -> bool:
        """Take `[a b ...]` if it repeats the last arguments, and mark those as multiple."""
        end = self.at
        while end < len(self.words) and self.words[end] not in "[]<>|":
            end += 1
        names = self.words[self.at : end]
        if not names or names[-1] != "..." or end >= len(self.words) or self.words[end] != "]":
            return False
        names.pop()
        if [arg.name for arg in found[-len(names) :]] != names:
            return False
        self.at = end + 1
        if len(names) == 1:
            found[-1].multiple = True
        else:
            block = Argument("-".join(names), "block", multiple=True, parts=found[-len(names) :])
            found[-len(names) :] = [block]
        return True

    def word(self, word: str) -> Argument:
        if word.upper() == word and any(letter.isalpha() for letter in word):
            return Argument(word.lower(), "pure-token", token=word)
        if re.fullmatch(r"(new|dest|source)?key\d*|source|destination|src|dst|store", word):
            number = min(self.key_specs_used, len(self.spec.key_specs) - 1)
            self.key_specs_used += 1
            if number >= 0:
                return Argument(word, "key", key_spec=number)
        return Argument(word, kind_of(word))


def kind_of(name: str) -> str:
    """The type of a plain argument, from its name."""
    if name.startswith("unix-time"):
        return "unix-time"
    if name in _INTEGERS:
        return "integer"
    if name in _DOUBLES:
        return "double"
    return "pattern" if name == "pattern" else "string"


def joined(row: list[Argument]) -> list[Argument]:
    """Give each token that stands before a plain argument to that argument."""
    out: list[Argument] = []
    for arg in row:
        takes = arg.kind != "pure-token" and not arg.token and not arg.optional
        if out and takes and out[-1].kind == "pure-token" and not out[-1].optional:
            arg = replace(arg, token=out.pop().token)
        out.append(arg)
    return out


def one(rows: list[list[Argument]]) -> Argument:
    """What stands between brackets, as one argument."""
    items = [as_block(row) for row in rows]
    if len(items) == 1:
        return items[0]
    return Argument(items[0].name + "-or-other", "oneof", parts=items)


def as_block(row: list[Argument]) -> Argument:
    if len(row) == 1:
        return row[0]
    first = row[0]
    if first.token and first.kind != "pure-token":
        # A token before several arguments is the token of them all.
        parts = [replace(first, token=""), *row[1:]]
        return Argument(first.token.lower(), "block", token=first.token, parts=parts)
    return Argument(first.name, "block", parts=row)


def arguments_of(spec: CommandSpec) -> list[Argument]:
    """The arguments of a command, its names left out."""
    words = _WORD.findall(spec.syntax)[spec.name.count(b"|") + 1 :]
    (row,) = _Reader(words, spec).choice("")
    return row

"""What the stream of a source becomes at a target: steps, in the order of the stream (pure).

    kind        what is to be done
    SEND        send the calls to the owner of their slot; several are one transaction
    EVERYWHERE  send the call to every server: functions, FLUSHALL
    COMPUTE     the command's keys are in several slots: nobody can run it as it stands, so its keys
                are fetched, it is run here, and what it made is put back
    DOUBT       it concerns keys that must be copied anew once the source stands still
    UNKNOWN     this version does not know the command: its keys, which the source tells, likewise

A target without slots (one server with all databases) is sent everything as it came. One with slots
has database 0 only; there DEL, UNLINK and MSET are split, a transaction within one slot stays one,
and any other is sent command by command.

What is left out: commands of other databases than `only_db`, keys in `kept` (which the target had
before and keeps), and what is no data: messages, pings, questions.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from isthmus.node.spec import spec_of
from isthmus.wire.slots import key_slot

Argv = list[bytes]
SEND, EVERYWHERE, COMPUTE, DOUBT, UNKNOWN = range(5)
NO_DATA = frozenset(b"ping replconf publish spublish script".split())
SPLIT = {b"del": 1, b"unlink": 1, b"mset": 2}
ACROSS = frozenset((b"move", b"copy", b"swapdb"))


class CannotFollow(Exception):
    """The source did something that has no place in the target; the text says what to do."""


class Step(NamedTuple):
    """One thing to be done in a database of the target."""

    kind: int
    db: int
    calls: list[Argv]
    keys: list[bytes]


class Translator:
    """The stream's commands as steps. `slots`: the target has slots, and one database."""

    def __init__(
        self, slots: bool, only_db: int | None, kept: Set[tuple[int, bytes]], owned: bool
    ) -> None:
        self.slots = slots
        self.only_db = only_db
        self.kept = kept
        # The target held nothing before, so a flush of the source may flush it.
        self.owned = owned
        self.db = 0
        self.queue: list[Step] | None = None

    def to(self, db: int) -> int:
        """The target's database for one of the source."""
        return 0 if self.slots else db

    def take(self, argv: Argv) -> list[Step]:
        """The next command; CannotFollow."""
        name = argv[0].lower()
        if name == b"select":
            self.db = int(argv[1])
        elif name == b"multi":
            self.queue = []
        elif name == b"exec":
            queue, self.queue = self.queue or [], None
            return self.transaction(queue)
        elif name not in NO_DATA:
            steps = self.one(name, argv)
            if self.queue is None:
                return steps
            self.queue += steps
        return []

    def transaction(self, queue: list[Step]) -> list[Step]:
        """The steps of a transaction, as one where they can be one."""
        whole = all(step.kind == SEND and step.db == queue[0].db for step in queue)
        if len(queue) < 2 or not whole:
            return queue
        keys = [key for step in queue for key in step.keys]
        if self.slots and len({key_slot(key) for key in keys}) > 1:
            return queue
        return [Step(SEND, queue[0].db, [call for step in queue for call in step.calls], keys)]

    def one(self, name: bytes, argv: Argv) -> list[Step]:
        """One command outside of a transaction."""
        if name in (b"flushall", b"flushdb"):
            return self.flush(name)
        if name == b"function":
            return [Step(EVERYWHERE, 0, [argv], [])]
        if name in ACROSS and (found := self.across(name, argv)) is not None:
            return found
        if self.only_db is not None and self.db != self.only_db:
            return []
        if self.slots and self.db != 0 and self.only_db is None:
            raise CannotFollow(
                f"the source writes to its database {self.db}, and the target has database 0 only: "
                "--db N moves one database"
            )
        db = self.to(self.db)
        spec = spec_of(argv)
        if spec is None or not spec.arity_fits(len(argv)):
            return [Step(UNKNOWN, db, [argv], [])]
        keys = [argv[at] for at in spec.key_positions(argv)]
        if self.kept and any((db, key) in self.kept for key in keys):
            return self.beside_kept(name, db, argv, keys)
        return self.by_slot(name, db, argv, keys)

    def beside_kept(self, name: bytes, db: int, argv: Argv, keys: list[bytes]) -> list[Step]:
        """Some of the keys are not to be touched."""
        left = [key for key in keys if (db, key) not in self.kept]
        if name in SPLIT and left:
            return self.by_slot(name, db, self.picked(argv, set(left)), left)
        return [Step(DOUBT, db, [argv], left)] if left else []

    def by_slot(self, name: bytes, db: int, argv: Argv, keys: list[bytes]) -> list[Step]:
        """A command where its keys are."""
        slots = {key_slot(key) for key in keys} if self.slots else set()
        if len(slots) < 2:
            return [Step(SEND, db, [argv], keys)]
        if name not in SPLIT:
            return [Step(COMPUTE, db, [argv], list(dict.fromkeys(keys)))]
        parts: dict[int, set[bytes]] = {}
        for key in keys:
            parts.setdefault(key_slot(key), set()).add(key)
        return [
            Step(SEND, db, [self.picked(argv, part)], list(dict.fromkeys(part)))
            for part in parts.values()
        ]

    def picked(self, argv: Argv, keys: Set[bytes]) -> Argv:
        """DEL, UNLINK or MSET of some of its keys."""
        each = SPLIT[argv[0].lower()]
        found = [argv[0]]
        for at in range(1, len(argv), each):
            if argv[at] in keys:
                found += argv[at : at + each]
        return found

    def flush(self, name: bytes) -> list[Step]:
        """FLUSHALL, FLUSHDB."""
        only = self.only_db
        if name == b"flushdb" and only is not None and self.db != only:
            return []
        if not self.owned:
            raise CannotFollow(
                f"the source ran {name.decode().upper()}, and the target held keys of its own "
                "before: they were left alone; begin again with what is left"
            )
        all_of_it = name == b"flushall" and (only is None or self.slots)
        db = self.to(self.db if only is None else only)
        return [Step(EVERYWHERE, db, [[b"FLUSHALL" if all_of_it else b"FLUSHDB"]], [])]

    def across(self, name: bytes, argv: Argv) -> list[Step] | None:
        """MOVE, COPY and SWAPDB between databases; None if it is within one."""
        if name == b"copy":
            words = [word.lower() for word in argv]
            if b"db" not in words[3:]:
                return None
            other = int(argv[words.index(b"db", 3) + 1])
            if other == self.db:
                return None
            here: list[Step] = []
            there = argv[2]
        elif name == b"move":
            other = int(argv[2])
            there = argv[1]
            here = [Step(SEND, self.to(self.db), [[b"DEL", there]], [there])]
        else:
            return self.swap(argv)
        if self.only_db is None:
            if self.slots:
                raise CannotFollow(
                    f"the source ran {name.decode().upper()} between databases, and the target has "
                    "database 0 only: --db N moves one database"
                )
            return None
        if self.db == self.only_db:
            return here
        return [Step(DOUBT, self.to(other), [argv], [there])] if other == self.only_db else []

    def swap(self, argv: Argv) -> list[Step]:
        """SWAPDB."""
        if self.only_db is None and not self.slots:
            return [Step(EVERYWHERE, 0, [argv], [])]
        one = 0 if self.only_db is None else self.only_db
        if one in (int(argv[1]), int(argv[2])):
            raise CannotFollow("the source ran SWAPDB; begin again")
        return []

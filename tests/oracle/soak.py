"""Random streams against redis-server 8.0 for as long as one likes: `make soak`.

    python -m tests.oracle.soak [--seconds N] [--seed N] [--group G ...]

A stream is made from one seed; a failing one is made shorter and printed with its seed as a file
for tests/oracle/found/. `--seed` repeats that stream alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.oracle import crowd, differ
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.oracle.pools import CROWDS
from tests.support import servers

FAULTS = (AssertionError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)


class Group:
    """How to draw, run and show the streams of one group."""

    def __init__(self, name: str, server: servers.Server) -> None:
        self.name = name
        self.crowd = crowd.RealCrowd(server) if name in CROWDS else None
        self.sides = [(differ.Real(server, n).configure(), n) for n in (2, 3)]
        self.grammar = None if self.crowd else Grammar(name)

    def stream(self, rng: random.Random) -> list[Any]:
        draws = [rng.getrandbits(32) for _ in range(rng.randint(5, 60))]
        if self.grammar is None:
            return list(crowd.steps_of(self.name, draws))
        return list(differ.stream_of(self.grammar, draws))

    def failure(self, stream: list[Any], number: int) -> Exception | None:
        """What is wrong with this stream, if anything."""
        try:
            if self.crowd:
                crowd.run(self.crowd, stream)
            else:
                differ.run(*self.sides[number % 2], stream)
        except FAULTS as error:
            return error
        return None

    def show(self, step: Any) -> str:
        return f"{step[0]}> {differ.show(step[1])}" if self.crowd else differ.show(step)


def kind_of(error: Exception | None) -> tuple[bytes, type]:
    return getattr(error, "argv", [b""])[0].upper(), type(error)


def shorter(group: Group, stream: list[Any], number: int) -> Exception | None:
    """Print the shortest stream found that fails in the same way; returns its failure."""
    wanted = kind_of(group.failure(stream, number))
    small = differ.shrunk(stream, lambda some: kind_of(group.failure(some, number)) == wanted)
    for step in small:
        print(group.show(step))
    return group.failure(small, number)


def soak(groups: list[Group], seconds: float, seed: int | None) -> int:
    started, count, failed = time.monotonic(), 0, 0
    seen: set[tuple[str, bytes, type]] = set()
    while count == 0 or (seed is None and time.monotonic() - started < seconds):
        number = seed if seed is not None else random.getrandbits(48)
        rng = random.Random(number)
        group = rng.choice(groups)
        stream = group.stream(rng)
        error = group.failure(stream, number)
        count += 1
        if error is None:
            continue
        failed += 1
        where = group.name, *kind_of(error)
        if where in seen and seed is None:
            continue
        seen.add(where)
        print(f"# seed {number}, group {group.name}, RESP{2 + number % 2}")
        small = shorter(group, stream, number)
        shown = small or error
        lines = str(shown) if isinstance(shown, AssertionError) else repr(shown)
        print("#", "" if small else "not repeatable:", *lines.splitlines()[:3], sep="\n# ")
        print(flush=True)
    print(f"{count} streams, {failed} failed")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--group", action="append", choices=[*GROUPS, *CROWDS])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with servers.redis8(Path(folder), ["--enable-debug-command", "yes"]) as server:
            names = options.group or [*GROUPS, *CROWDS]
            groups = [Group(name, server) for name in names]
            return soak(groups, options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())

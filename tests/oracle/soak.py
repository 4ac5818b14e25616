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

from tests.oracle import differ
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.support import servers

FAULTS = (AssertionError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)


def failure(real: differ.Real, protocol: int, stream: list[differ.Request]) -> Exception | None:
    """What is wrong with this stream, if anything."""
    try:
        differ.run(real, protocol, stream)
    except FAULTS as error:
        return error
    return None


def shorter(real: differ.Real, protocol: int, stream: list[differ.Request]) -> Exception | None:
    """Print the shortest stream found that fails in the same way; returns its failure."""
    first = failure(real, protocol, stream)
    wanted = getattr(first, "argv", [b""])[0].upper(), type(first)

    def fails(some: list[differ.Request]) -> bool:
        error = failure(real, protocol, some)
        return (getattr(error, "argv", [b""])[0].upper(), type(error)) == wanted

    small = differ.shrunk(stream, fails)
    for argv in small:
        print(differ.show(argv))
    return failure(real, protocol, small)


def soak(server: servers.Server, groups: list[str], seconds: float, seed: int | None) -> int:
    sides = [(differ.Real(server, protocol).configure(), protocol) for protocol in (2, 3)]
    started, count, failed = time.monotonic(), 0, 0
    seen: set[tuple[str, bytes]] = set()
    grammars = [Grammar(group) for group in groups]
    while count == 0 or (seed is None and time.monotonic() - started < seconds):
        number = seed if seed is not None else random.getrandbits(48)
        rng = random.Random(number)
        real, protocol = rng.choice(sides)
        grammar = rng.choice(grammars)
        draws = [rng.getrandbits(32) for _ in range(rng.randint(5, 60))]
        stream = differ.stream_of(grammar, draws)
        error = failure(real, protocol, stream)
        count += 1
        if error is None:
            continue
        failed += 1
        where = grammar.group, getattr(error, "argv", [repr(error).encode()])[0].upper()
        if where in seen and seed is None:
            continue
        seen.add(where)
        print(f"# seed {number}, group {grammar.group}, RESP{protocol}")
        small = shorter(real, protocol, stream)
        print("#", *(str(small).splitlines()[:3] if small else ["not repeatable"]), sep="\n# ")
        print(flush=True)
    print(f"{count} streams, {failed} failed")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--group", action="append", choices=GROUPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with servers.redis8(Path(folder), ["--enable-debug-command", "yes"]) as server:
            return soak(server, options.group or list(GROUPS), options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())

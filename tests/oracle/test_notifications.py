"""Keyspace notifications beside a real server: the same events, in the same order, after each step.

Both servers have every class of event on, new and missing keys included, and a client that listens
to everything. Streams are those of test_differ.py; what matters here is what the listener was sent
by each request. A client that is told of everything is also asked: PING comes back behind all that
was sent before it, so nothing waits and nothing is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle import differ
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.support.servers import Server

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

EVERYTHING = b"AKEnm"
SEQUENCES = 100
Events = list[tuple[bytes, bytes]]

seeds = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=40)


def events(messages: list[Any]) -> Events:
    """(channel, text) of pmessage arrays."""
    return [(message[2], message[3]) for message in messages]


class RealWatched(differ.Real):
    """A real server, with a second connection that listens."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, 2)
        self.configure()
        self.listener = differ.Real(server, 2)
        self([b"CONFIG", b"SET", b"notify-keyspace-events", EVERYTHING])
        self.listener([b"PSUBSCRIBE", b"__key*"])

    def heard(self) -> Events:
        """What the listener was sent since it was asked last."""
        self.listener.socket.sendall(b"PING\r\n")
        reader, messages = hiredis.Reader(), []
        while True:
            reader.feed(self.listener.socket.recv(1 << 16))
            while (message := reader.gets()) is not False:
                if message[0] == b"pong":
                    return events(messages)
                messages.append(message)


class OursWatched(differ.InProcess):
    """Our node, with a second client that listens."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(2, now_ms)
        self.listener = self.store.node.new_client()
        self.store("CONFIG", "SET", "notify-keyspace-events", EVERYTHING)
        self.store.raw("PSUBSCRIBE", "__key*", client=self.listener)

    def heard(self) -> Events:
        """What the listener was sent since it was asked last."""
        reader, messages = hiredis.Reader(), []
        reader.feed(bytes(self.listener.outbox))
        self.listener.outbox.clear()
        while (message := reader.gets()) is not False:
            messages.append(message)
        return events(messages)


@pytest.fixture(scope="module")
def real(redis8: Server) -> Iterator[RealWatched]:
    made = RealWatched(redis8)
    yield made
    made([b"CONFIG", b"SET", b"notify-keyspace-events", b""])
    made([b"FLUSHALL"])
    made.close()
    made.listener.close()


def told(ours: OursWatched, theirs: RealWatched, stream: list[differ.Request]) -> None:
    """Run the stream on both; the events of each request must be the same."""
    for at, argv in enumerate(stream):
        if argv[0] == b"@lapse":
            differ.lapse(ours, theirs, argv[1])
        else:
            ours(argv)
            real = theirs(argv)
            if argv[0].upper() in differ.DRAWN and real[:1] in b"$*~":
                heard = ours.heard(), theirs.heard()
                assert heard[0] == heard[1], (argv, stream[: at + 1])
                differ.level(ours, theirs, argv[1])
                ours.heard(), theirs.heard()
        heard = ours.heard(), theirs.heard()
        if argv[0] != b"@lapse" and real[:1] == b"-":
            # A command that is refused may have looked for its key before, or not.
            heard = without_misses(heard[0]), without_misses(heard[1])
        if heard[0] != heard[1]:
            shown = "\n".join(map(differ.show, stream[: at + 1]))
            raise AssertionError(f"{argv}\n  ours:   {heard[0]}\n  theirs: {heard[1]}\n{shown}")


def without_misses(heard: Events) -> Events:
    return [pair for pair in heard if b"keymiss" not in pair[0] and pair[1] != b"keymiss"]


def run(theirs: RealWatched, stream: list[differ.Request]) -> None:
    theirs([b"FLUSHALL"])
    theirs.heard()
    ours = OursWatched(theirs.now_ms())
    told(ours, theirs, stream)
    ours.store.check_replay()


@pytest.mark.parametrize("group", GROUPS)
@settings(
    max_examples=SEQUENCES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seeds=seeds)
def test_events_agree(real: RealWatched, group: str, seeds: list[int]) -> None:
    stream = differ.stream_of(Grammar(group), seeds)
    # Which expired keys RANDOMKEY meets is a matter of chance.
    run(real, [argv for argv in stream if argv[0].upper() != b"RANDOMKEY"])

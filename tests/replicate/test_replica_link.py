"""ReplicaLink: what it says and what it hears, however the bytes are cut."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from isthmus.node.replicate.replica import (
    Event,
    Failed,
    FullSync,
    Introduction,
    PartialSync,
    Payload,
    PayloadBegins,
    PayloadEnds,
    ReplicaLink,
    Send,
    Stream,
)
from isthmus.wire.resp import pack

ID, OTHER, MARK = "ab" * 20, "cd" * 20, b"0123456789" * 3 + b"abcdefghij"
HELLO = b"+PONG\r\n"
ME = Introduction(6379, ID, 101)
FULL = f"+FULLRESYNC {OTHER} 77\r\n".encode()


def joined(events: list[Event]) -> list[Any]:
    """Events, with pieces that follow one another as one."""
    found: list[Any] = []
    for event in events:
        if found and isinstance(event, (Payload, Stream)) and type(found[-1]) is type(event):
            found[-1] = type(event)(found[-1].data + event.data)
        else:
            found.append(event)
    return found


def heard(said: bytes, cuts: list[int], me: Introduction = ME) -> list[Any]:
    """What a link makes of `said`, cut at these places."""
    link = ReplicaLink(me)
    events: list[Event] = []
    places = sorted({at for at in cuts if at <= len(said)} | {0, len(said)})
    for begin, end in zip(places, places[1:], strict=False):
        events += link.feed(said[begin:end])
    return joined(events)


# It looks like the beginning of the mark, and is none.
BYTES = b"pay\r\nload 01234567890123456789abc"
READY = HELLO + b"+OK\r\n+OK\r\n"
SCRIPTS = {
    "marked": (
        READY + b"\n\n" + FULL + b"\n\n$EOF:" + MARK + b"\r\n" + BYTES
        + MARK + b"*1\r\n$4\r\nPING\r\n",
        [FullSync(OTHER, 77), PayloadBegins(-1), Payload(BYTES), PayloadEnds(True),
         Stream(b"*1\r\n$4\r\nPING\r\n")],
    ),
    "sized": (
        READY + FULL + b"$7\r\npay\r\nloSTREAM",
        [FullSync(OTHER, 77), PayloadBegins(7), Payload(b"pay\r\nlo"), PayloadEnds(False),
         Stream(b"STREAM")],
    ),
    "empty": (
        READY + FULL + b"$0\r\nSTREAM",
        [FullSync(OTHER, 77), PayloadBegins(0), PayloadEnds(False), Stream(b"STREAM")],
    ),
    "partial": (
        HELLO + b"-ERR unknown\r\n+OK\r\n+CONTINUE\r\n\nSTREAM",
        [PartialSync(ID), Stream(b"\nSTREAM")],
    ),
    "renamed": (
        READY + b"+CONTINUE " + OTHER.encode() + b"\r\nSTREAM",
        [PartialSync(OTHER), Stream(b"STREAM")],
    ),
    "not now": (
        READY + b"-NOMASTERLINK Can't SYNC\r\n",
        [Failed("PSYNC was answered by -NOMASTERLINK Can't SYNC")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_follows_the_introduction(name: str) -> None:
    said, expected = SCRIPTS[name]
    found = heard(said, list(range(len(said))))
    assert found[0] == Send(
        pack([b"REPLCONF", b"listening-port", b"6379"])
        + pack([b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])
    )
    assert found[1] == Send(pack([b"PSYNC", ID.encode(), b"101"]))
    assert found[2:] == expected


@given(st.sampled_from(sorted(SCRIPTS)), st.lists(st.integers(0, 250), max_size=12))
def test_cuts_change_nothing(name: str, cuts: list[int]) -> None:
    said, expected = SCRIPTS[name]
    assert heard(said, cuts)[2:] == expected


def test_a_first_connection_asks_for_everything() -> None:
    found = heard(READY + b"+CONTINUE\r\n", [], Introduction(1))
    assert found[1] == Send(pack([b"PSYNC", b"?", b"-1"]))
    assert isinstance(found[2], Failed)


@pytest.mark.parametrize("answer", ["-NOAUTH x", "-NOPERM x", "-ERR operation not permitted"])
def test_a_primary_that_asks_who_we_are_is_told(answer: str) -> None:
    me = Introduction(7, address="h", user="u", password="p", node_id="n", epoch=4)
    link = ReplicaLink(me)
    assert link.begin() == pack([b"PING"])
    assert link.feed(answer.encode() + b"\r\n") == [
        Send(
            pack([b"AUTH", b"u", b"p"])
            + pack([b"REPLCONF", b"listening-port", b"7"])
            + pack([b"REPLCONF", b"ip-address", b"h"])
            + pack([b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])
            + pack([b"REPLCONF", b"isthmus-node", b"n", b"isthmus-epoch", b"4"])
        )
    ]
    assert link.feed(b"+OK\r\n-ERR old\r\n+OK\r\n+OK\r\n") == []
    refused = link.feed(b"-ERR not of this epoch\r\n")
    assert refused == [Failed("isthmus-node was answered by -ERR not of this epoch", True)]
    assert link.feed(b"+CONTINUE\r\n") == []


@pytest.mark.parametrize(
    "said",
    [
        b"-LOADING x\r\n", b"-DENIED x\r\n", b"-MASTERDOWN x\r\n", b"x" * 20000,
        READY + b"+FULLRESYNC short 1\r\n",
        READY + b"+FULLRESYNC " + ID.encode() + b" -1\r\n",
        READY + FULL + b"$x\r\n", READY + FULL + b"-ERR\r\n",
    ],
)  # fmt: skip
def test_nonsense_ends_it(said: bytes) -> None:
    link = ReplicaLink(ME)
    assert isinstance(link.feed(said)[-1], Failed)
    assert link.feed(b"+PONG\r\n") == []

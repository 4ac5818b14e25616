"""Durability policies: what is one, what is none, and that each has one text."""

from __future__ import annotations

import pytest

from isthmus.wire.durability import Durability, DurabilityError, parse


@pytest.mark.parametrize(
    ("text", "policy", "again"),
    [
        ("async", Durability(), "async:5000:67108864"),
        ("async:500", Durability(lag_ms=500), "async:500:67108864"),
        ("async:500:65536", Durability(lag_ms=500, lag_bytes=65536), "async:500:65536"),
        ("replica", Durability("replica"), "replica:5000:67108864"),
        ("replica:9000", Durability("replica", lag_ms=9000), "replica:9000:67108864"),
        ("fsync", Durability("fsync"), "fsync:5000:67108864"),
    ],
)
def test_policies(text: str, policy: Durability, again: str) -> None:
    assert parse(text) == policy
    assert str(policy) == again
    assert parse(again) == policy


@pytest.mark.parametrize(
    "text",
    ["", "sync", "async:", "async:0", "async:500:0", "async:500:65536:1", "replica:x", "async:-500",
     "async:99999999", "ASYNC", 5, None, "async:" + "1" * 99],
)  # fmt: skip
def test_what_is_none(text: object) -> None:
    with pytest.raises(DurabilityError, match="a durability is"):
        parse(text)

"""RESTORE: options and errors, every encoding, lies, and every way to damage a payload."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.engine.errors import RedisError
from isthmus.node.values.restore import decode
from isthmus.wire.crc64 import crc64
from tests.persist.holdings import holdings
from tests.persist.samples import EARLY, GOOD, LIES
from tests.support.blobs import listpack, payload, string
from tests.support.store import START_MS, Store

BAD_VALUE = "ERR Bad data format"
BAD_FRAME = "ERR DUMP payload version or checksum are wrong"


@pytest.fixture
def store() -> Any:
    made = Store()
    yield made
    made.check_replay()
    made.check_snapshot()


def sound(value: Any) -> None:
    """Assert that a value keeps its own invariants and can be read from end to end."""
    if hasattr(value, "check"):
        value.check()
    if not isinstance(value, bytes):
        assert len(value) or value.kind == b"stream"
        value.plain()
        value.encoding()
        value.copy()


@pytest.mark.parametrize("name", [*GOOD, *EARLY])
def test_every_encoding(name: str, store: Store) -> None:
    data = {**GOOD, **EARLY}[name]
    assert store("RESTORE", "k", 0, data) == b"OK"
    sound(decode(data))
    assert store("COPY", "k", "other") == 1
    found = holdings(store, True)
    assert found[0, b"k"] == found[0, b"other"]


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused(name: str, store: Store) -> None:
    store("SET", "k", "before")
    assert store.error("RESTORE", "k", 0, LIES[name], "REPLACE") == BAD_VALUE
    assert store("GET", "k") == b"before"


@pytest.mark.parametrize("name", [*GOOD, *EARLY])
def test_truncation_at_every_byte(name: str) -> None:
    data = {**GOOD, **EARLY}[name]
    for cut in range(1, len(data) - 10):
        body = data[:cut] + data[-10:-8]
        with pytest.raises(RedisError) as caught:
            decode(body + crc64(body).to_bytes(8, "little"))
        assert caught.value.text.decode() == BAD_VALUE


@pytest.mark.parametrize("name", [*GOOD, *EARLY])
def test_every_byte_changed(name: str) -> None:
    data = {**GOOD, **EARLY}[name]
    step = 1 if len(data) < 700 else 7
    for at in range(0, len(data) - 10, step):
        for change in (0x01, 0x80, 0xFF):
            body = bytearray(data[:-8])
            body[at] ^= change
            try:
                value = decode(bytes(body) + crc64(body).to_bytes(8, "little"))
            except RedisError as error:
                assert error.text.decode() == BAD_VALUE
            else:
                sound(value)


def test_options(store: Store) -> None:
    data = GOOD["string"]
    assert store("RESTORE", "k", 0, data) == b"OK"
    assert store("TTL", "k") == -1
    assert store.error("RESTORE", "k", 0, data) == "BUSYKEY Target key name already exists."
    assert store("RESTORE", "k", 5000, data, "replace") == b"OK"
    assert store("PEXPIRETIME", "k") == START_MS + 5000
    assert store("RESTORE", "k", START_MS + 7, data, "ABSTTL", "REPLACE") == b"OK"
    assert store("PEXPIRETIME", "k") == START_MS + 7
    assert store("RESTORE", "idle", 0, data, "IDLETIME", 1000) == b"OK"
    assert store("OBJECT", "IDLETIME", "idle") == 1000
    assert store("RESTORE", "k", 0, GOOD["hash"], "REPLACE") == b"OK"
    assert store("HGETALL", "k") == [b"f", b"v", b"g", b""]
    assert store("TTL", "k") == -1


def test_frequency() -> None:
    store = Store(maxmemory_policy="allkeys-lfu")
    assert store("RESTORE", "k", 0, GOOD["string"], "FREQ", 77) == b"OK"
    assert store("OBJECT", "FREQ", "k") == 77
    assert store("RESTORE", "idle", 0, GOOD["string"], "IDLETIME", 77) == b"OK"
    Store()  # the policy is the process's


def test_an_expiry_that_has_passed(store: Store) -> None:
    data = GOOD["string"]
    assert store("RESTORE", "k", START_MS - 1, data, "ABSTTL") == b"OK"
    assert store("EXISTS", "k") == 0
    store("SET", "k", "before")
    assert store("RESTORE", "k", 1, data, "ABSTTL", "REPLACE") == b"OK"
    assert store("EXISTS", "k") == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((-1, "data"), "ERR Invalid TTL value, must be >= 0"),
        (("x", "data"), "ERR value is not an integer or out of range"),
        ((0, "data", "NOSUCH"), "ERR syntax error"),
        ((0, "data", "IDLETIME"), "ERR syntax error"),
        ((0, "data", "IDLETIME", -1), "ERR Invalid IDLETIME value, must be >= 0"),
        ((0, "data", "IDLETIME", "x"), "ERR value is not an integer or out of range"),
        ((0, "data", "FREQ", 256), "ERR Invalid FREQ value, must be >= 0 and <= 255"),
        ((0, "data", "FREQ", 1, "IDLETIME", 1), "ERR syntax error"),
        ((0, "data"), BAD_FRAME),
        ((0, ""), BAD_FRAME),
        ((0, b"\0" * 10), BAD_VALUE),
        ((0, GOOD["string"][:-1] + b"?"), BAD_FRAME),
        ((0, payload(0, string(b"x"), 13)), BAD_FRAME),
        ((0, payload(0, string(b"x"), 65535)), BAD_FRAME),
    ],
)
def test_errors(arguments: Any, error: str, store: Store) -> None:
    assert store.error("RESTORE", "k", *arguments) == error
    assert store("EXISTS", "k") == 0


def test_a_checksum_that_is_not_compared(store: Store) -> None:
    damaged = GOOD["string"][:-1] + bytes([GOOD["string"][-1] ^ 1])
    store.node.skip_checksums = True
    assert store("RESTORE", "k", 0, damaged) == b"OK"
    assert store.error("RESTORE", "other", 0, damaged[:9]) == BAD_FRAME
    assert store.error("RESTORE", "other", 0, payload(0, string(b"x"), 13)) == BAD_FRAME


def test_thresholds_are_those_of_the_server() -> None:
    store = Store(hash_max_listpack_entries="1", set_max_intset_entries="2")
    store("RESTORE", "h", 0, payload(16, string(listpack([b"a", 1, b"b", 2]))))
    store("RESTORE", "s", 0, GOOD["set of numbers"])
    assert store("OBJECT", "ENCODING", "h") == b"hashtable"
    assert store("OBJECT", "ENCODING", "s") == b"hashtable"


def test_a_long_element_of_a_listpack_stays_in_it(store: Store) -> None:
    store("RESTORE", "h", 0, payload(16, string(listpack([b"a", b"x" * 900]))))
    store("HSET", "h", "b", "short")
    assert store("OBJECT", "ENCODING", "h") == b"listpack"
    store("HSET", "h", "b", "y" * 65)
    assert store("OBJECT", "ENCODING", "h") == b"hashtable"
    store("RESTORE", "z", 0, payload(17, string(listpack([b"x" * 900, 1]))))
    store("ZADD", "z", 1, "short")
    assert store("OBJECT", "ENCODING", "z") == b"listpack"
    store("ZADD", "z", 1, "y" * 65)
    assert store("OBJECT", "ENCODING", "z") == b"skiplist"


def test_field_expiries_are_active_at_once(store: Store) -> None:
    store("RESTORE", "h", 0, GOOD["hash listpackex"])
    assert store("HPEXPIRETIME", "h", "FIELDS", 3, "a", "b", "c") == [
        4_000_000_000_000, 4_000_000_000_007, -1,
    ]  # fmt: skip
    assert store.node.keyspace.databases[0].field_expiries.count == 1
    assert store("OBJECT", "ENCODING", "h") == b"listpackex"
    store("RESTORE", "h", 0, GOOD["hash metadata"], "REPLACE")
    assert store("HPEXPIRETIME", "h", "FIELDS", 3, "a", "b", "c") == [
        -1, 4_000_000_000_000, 4_000_000_000_005,
    ]  # fmt: skip

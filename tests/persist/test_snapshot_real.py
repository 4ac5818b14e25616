"""Whole files of ours: redis-check-rdb takes them, and a real redis 8.0 then holds the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.persist.snapshot_format import header, resize_db, select_db, slot_info
from isthmus.node.values.rdb_encode import dump, type_of, write_body
from isthmus.wire.rdb_writer import RdbWriter
from tests.persist.holdings import fill, holdings
from tests.support.peer import Peer
from tests.support.servers import check_rdb, redis8
from tests.support.store import Store, snapshot_of

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

# What makes everything an encoding of its own kind, here and there.
THRESHOLDS = {
    "default": {},
    "small": {"hash-max-listpack-entries": "3", "zset-max-listpack-entries": "3",
              "set-max-intset-entries": "3", "list-max-listpack-size": "4"},
    "wide": {"hash-max-listpack-entries": "20000", "hash-max-listpack-value": "9000",
             "zset-max-listpack-entries": "20000", "zset-max-listpack-value": "9000",
             "set-max-intset-entries": "20000", "set-max-listpack-entries": "20000",
             "list-max-listpack-size": "-5"},
}  # fmt: skip


def store_of(thresholds: dict[str, str]) -> Store:
    store = Store(**thresholds)
    fill(store, True)
    return store


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_file_is_read_by_a_real_server(name: str, tmp_path: Path) -> None:
    store = store_of(THRESHOLDS[name])
    path = tmp_path / "dump.rdb"
    path.write_bytes(snapshot_of(store.node.keyspace))
    said = check_rdb(path)
    assert "RDB looks OK" in said
    keys = sum(db.size for db in store.node.keyspace.databases)
    assert f"{keys} keys read" in said
    options = [word for pair in THRESHOLDS[name].items() for word in ("--" + pair[0], pair[1])]
    with redis8(tmp_path, options) as server:
        peer = Peer(server.port)
        theirs = holdings(peer, True)
        peer.close()
    ours = holdings(store, True)
    assert sorted(ours) == sorted(theirs)
    for place, found in theirs.items():
        assert ours[place] == found, place


def test_bytes_are_those_of_a_real_server(tmp_path: Path) -> None:
    """But for what lies in each one's hash tables in an order of its own, and for times of day."""
    store = store_of({})
    differing = set()
    with redis8(tmp_path) as server:
        peer = Peer(server.port)
        fill(peer, True)
        for compress in ("yes", "no"):
            peer("CONFIG", "SET", "rdbcompression", compress)
            for key in peer("KEYS", "*"):
                value = store.node.keyspace.databases[0].peek(key)
                theirs = peer("DUMP", key)
                if compress == "yes":
                    ours = dump(value)
                else:
                    ours = uncompressed(value)
                    theirs = theirs[:-10]
                if ours != theirs:
                    assert len(ours) == len(theirs) or type_of(value) in (2, 4, 24), key
                    differing.add(key)
        peer.close()
    assert differing <= {
        b"set middle", b"set large", b"set long", b"numbers large", b"hash large", b"hash long",
        b"timed long",
        # It calls the soonest expiry what once was.
        b"timed few",
        # Its consumers were seen at other times.
        b"stream", b"stream emptied",
        # We keep no negative zero where we began with a listpack.
        b"zset long",
    }  # fmt: skip


def test_compressed_strings_are_those_of_a_real_server(tmp_path: Path) -> None:
    with redis8(tmp_path) as server:
        peer = Peer(server.port)
        for seed in range(300):
            data = repetitive(random.Random(seed))
            peer("SET", "key", data)
            assert dump(data) == peer("DUMP", "key"), seed
        peer.close()


def repetitive(rng: random.Random) -> bytes:
    """Words in a row, in front of it what repeats nothing, sometimes a repeat from far away."""
    words = [bytes(rng.choices(b"abcdefgh\0\xff", k=rng.randrange(1, 30))) for _ in range(12)]
    words = words[: rng.randrange(1, 12)]
    data = b"".join(rng.choices(words, k=rng.randrange(1, 200)))[: rng.randrange(15, 3000)]
    if rng.random() < 0.3:
        data = rng.randbytes(rng.randrange(20, 300)) + data
    if rng.random() < 0.05:
        data += rng.randbytes(9000) + data
    return data


def uncompressed(value: Any) -> bytes:
    out = RdbWriter()
    out.compress = False
    out.byte(type_of(value))
    write_body(out, value)
    return out.take()


def test_hints_of_cluster_mode(tmp_path: Path) -> None:
    out = RdbWriter()
    out.raw(header([(b"redis-ver", b"7.4.0"), (b"redis-bits", b"64")]))
    out.raw(select_db(0) + resize_db(1, 0) + slot_info(16383, 1, 0))
    out.raw(b"\0\1k\1v\xff" + bytes(8))
    path = tmp_path / "dump.rdb"
    path.write_bytes(out.take())
    assert "RDB looks OK" in check_rdb(path)

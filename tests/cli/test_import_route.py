"""Routing of an import, what replies mean, databases; and values as commands."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.cli import import_route
from isthmus.cli.import_route import Redirect, Router
from isthmus.cli.shards import Cluster, Shard, shards_of
from isthmus.cli.sync import Server, server_of
from isthmus.node.persist import pieces
from isthmus.node.values.restore import decode
from isthmus.wire.slots import key_slot
from tests.persist.samples import GOOD
from tests.support.store import Store, contents

ONE, TWO = Server("h1", 1, "u", "p"), Server("h2", 2, "u", "p")


def router() -> Router:
    shards = [Shard("0", ONE, [(0, 100), (8000, 16383)]), Shard("1", TWO, [(101, 7999)])]
    return Router(Cluster("c", True, shards))


def test_keys_go_where_their_slots_are() -> None:
    found = router()
    assert found.servers() == [ONE, TWO]
    for key in (b"a", b"foo{bar}", b"{bar}", b""):
        slot = key_slot(key)
        assert found.owner(key) == (TWO if 101 <= slot <= 7999 else ONE)
    alone = Router(Cluster("x", False, [Shard("0", ONE)]))
    assert alone.owner(b"anything") == ONE and alone.servers() == [ONE]


def test_moved_is_remembered_and_ask_is_not() -> None:
    found = router()
    slot = key_slot(b"a")
    before = found.owner(b"a")
    asked = found.learn(Redirect(True, slot, "h3", 3), ONE)
    assert asked == Server("h3", 3, "u", "p") and found.owner(b"a") == before
    assert found.learn(Redirect(False, slot, "", 9), ONE) == Server("h1", 9, "u", "p")
    assert found.owner(b"a") == Server("h1", 9, "u", "p")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, import_route.DONE),
        ("BUSYKEY Target key name already exists.", import_route.THERE),
        ("MOVED 866 127.0.0.1:7001", import_route.ELSEWHERE),
        ("ASK 866 [::1]:7001", import_route.ELSEWHERE),
        ("TRYAGAIN Multiple keys", import_route.LATER),
        ("LOADING Redis is loading", import_route.LATER),
        ("CLUSTERDOWN Hash slot not served", import_route.LATER),
        ("ERR Bad data format", import_route.OTHER_FORM),
        ("ERR DUMP payload version or checksum are wrong", import_route.OTHER_FORM),
        ("OOM command not allowed", import_route.FAILED),
        ("MOVED to somewhere", import_route.FAILED),
    ],
)
def test_verdicts(text: str | None, wanted: int) -> None:
    assert import_route.verdict(text) == wanted


def test_redirects() -> None:
    assert import_route.redirect("MOVED 866 h:7001") == Redirect(False, 866, "h", 7001)
    assert import_route.redirect("ASK 1 :7001") == Redirect(True, 1, "", 7001)
    assert import_route.redirect("ERR x") is None


def test_databases() -> None:
    told = import_route.mapping(["3:0", "4:1"])
    assert import_route.mapped([0, 3], told, True) == {0: 0, 3: 0}
    assert import_route.mapped([0, 4, 5], told, False) == {0: 0, 4: 1, 5: 5}
    with pytest.raises(import_route.BadMapping, match="--database 5:0"):
        import_route.mapped([0, 5], told, True)
    for words in (["3"], ["a:0"], ["3:0", "3:1"], ["3:-1"]):
        with pytest.raises(import_route.BadMapping):
            import_route.mapping(words)


def test_cluster_slots() -> None:
    rows = [
        [5461, 16383, [b"", 7001, b"id", []]],
        [0, 5000, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.9", 7000, b"replica"]],
        [5001, 5460, [b"10.0.0.1", 7000, b"id", []]],
    ]
    found = shards_of(rows, Server("asked", 7001))
    assert [(s.server.name, s.slots) for s in found] == [
        ("10.0.0.1:7000", [(0, 5000), (5001, 5460)]), ("asked:7001", [(5461, 16383)]),
    ]  # fmt: skip


def test_urls() -> None:
    assert server_of("redis://:p%40ss@h") == Server("h", 6379, "default", "p@ss")
    assert server_of("redis://me:x@[::1]:7000") == Server("::1", 7000, "me", "x")
    assert server_of("127.0.0.1:10000") == Server("127.0.0.1", 10000)
    for text in ("rediss://h", "redis://", "redis://h:99999", "http://h"):
        with pytest.raises(ValueError):
            server_of(text)


def big_values() -> dict[str, Any]:
    store = Store()
    store("RPUSH", "l", *range(2000))
    store("SADD", "s", *(f"m{i}" for i in range(2000)))
    store("ZADD", "z", *(x for i in range(2000) for x in (i / 3, f"m{i}")), "inf", "top")
    store("HSET", "h", *(x for i in range(2000) for x in (f"f{i}", i)))
    store("SET", "t", "ab" * (pieces.STRING_BYTES + 7))
    for i in range(1, 700):
        store("XADD", "x", f"{i}-1", "a", i)
    return {key.decode(): value for (_, key), (value, _) in _values(store).items()}


def _values(store: Store) -> dict[tuple[int, bytes], tuple[Any, int]]:
    return {
        (db.index, key): (value, 0)
        for db in store.node.keyspace.databases
        for table in db.slots
        if table is not None
        for key, value in table.items()
    }


@pytest.mark.slow
def test_values_as_commands() -> None:
    """What the commands make is what the payload holds, and no command is too long."""
    values = {name: decode(payload) for name, payload in GOOD.items()} | big_values()
    store = Store()
    for name, value in values.items():
        due = 4_000_000_000_000 if len(name) % 2 else -1
        for argv in pieces.commands(name.encode(), value, due):
            assert len(argv) <= pieces.ARGUMENTS + 2
            assert sum(map(len, argv)) <= pieces.STRING_BYTES + 1000
            assert not isinstance(store(*argv), Exception), argv[:6]
    held = contents(store.node.keyspace)
    for name, value in values.items():
        wanted = bytes(value) if isinstance(value, (bytes, bytearray)) else value.plain()
        found, due = held[0, name.encode()]
        if name == "stream 1":
            # Its format does not tell what was deleted; the commands find it out.
            assert found.pop("top deleted") > wanted.pop("top deleted")
        assert found == wanted, name
        assert due == (4_000_000_000_000 if len(name) % 2 else -1)

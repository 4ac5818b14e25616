"""What the stream of a source becomes at a target, and what is waited for, without a server."""

from __future__ import annotations

import pytest

from isthmus.cli.migrate_route import (
    COMPUTE,
    DOUBT,
    EVERYWHERE,
    SEND,
    UNKNOWN,
    CannotFollow,
    Step,
    Translator,
)
from isthmus.cli.migrate_scratch import Scratch
from isthmus.cli.migrate_source import Spool
from isthmus.cli.migrate_target import Target
from isthmus.cli.shards import Cluster, Shard
from isthmus.cli.sync import Server
from isthmus.wire.client import ReplyError

KINDS = {SEND: "send", EVERYWHERE: "everywhere", COMPUTE: "compute", DOUBT: "doubt",
         UNKNOWN: "unknown"}  # fmt: skip


def made(lines: str, slots: bool = True, only_db: int | None = None, kept: str = "") -> list[str]:
    """What commands become, in short: kind, database, calls."""
    it = Translator(slots, only_db, {(0, key.encode()) for key in kept.split()}, not kept)
    found = []
    for line in lines.split("|"):
        for step in it.take(line.encode().split()):
            calls = ";".join(b" ".join(call).decode() for call in step.calls)
            found.append(f"{KINDS[step.kind]} {step.db} {calls}")
    return found


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        ("SELECT 0|SET a 1|PING|REPLCONF GETACK *|PUBLISH c m", ["send 0 SET a 1"]),
        ("DEL a b", ["send 0 DEL a", "send 0 DEL b"]),
        ("UNLINK {t}a {t}b", ["send 0 UNLINK {t}a {t}b"]),
        ("MSET {a}1 1 b 2 {a}3 3", ["send 0 MSET {a}1 1 {a}3 3", "send 0 MSET b 2"]),
        ("RENAME a b", ["compute 0 RENAME a b"]),
        ("MULTI|SET a 1|INCR {a}b|EXEC", ["send 0 SET a 1;INCR {a}b"]),
        ("MULTI|SET a 1|INCR b|EXEC", ["send 0 SET a 1", "send 0 INCR b"]),
        ("MULTI|SET a 1|RENAME a b|EXEC", ["send 0 SET a 1", "compute 0 RENAME a b"]),
        ("MULTI|SET a 1|EXEC|SET b 2", ["send 0 SET a 1", "send 0 SET b 2"]),
        ("FUNCTION FLUSH", ["everywhere 0 FUNCTION FLUSH"]),
        ("FLUSHDB ASYNC", ["everywhere 0 FLUSHDB"]),
        ("NOSUCH a", ["unknown 0 NOSUCH a"]),
    ],
)
def test_steps_of_a_cluster(lines: str, steps: list[str]) -> None:
    assert sorted(made(lines)) == sorted(steps)


def test_steps_of_a_server_with_databases() -> None:
    lines = "SELECT 3|RENAME a b|MULTI|SET a 1|INCR b|EXEC|MOVE a 2|SWAPDB 0 3|FLUSHALL"
    assert made(lines, slots=False) == [
        "send 3 RENAME a b", "send 3 SET a 1;INCR b", "send 3 MOVE a 2", "everywhere 0 SWAPDB 0 3",
        "everywhere 3 FLUSHALL",
    ]  # fmt: skip


def test_one_database() -> None:
    lines = "SELECT 3|SET a 1|MOVE a 2|SELECT 2|SET a 2|MOVE b 3|COPY a c DB 3|FLUSHDB|FLUSHALL"
    assert made(lines, only_db=3) == [
        "send 0 SET a 1", "send 0 DEL a", "doubt 0 MOVE b 3", "doubt 0 COPY a c DB 3",
        "everywhere 0 FLUSHALL",
    ]  # fmt: skip
    assert made("SELECT 3|FLUSHALL", slots=False, only_db=3) == ["everywhere 3 FLUSHDB"]
    for line in ("SWAPDB 3 1", "SWAPDB 1 3"):
        with pytest.raises(CannotFollow):
            made(line, only_db=3)


@pytest.mark.parametrize("lines", ["SELECT 3|SET a 1", "MOVE a 1", "COPY a b DB 1", "SWAPDB 0 1"])
def test_a_cluster_has_one_database(lines: str) -> None:
    with pytest.raises(CannotFollow):
        made(lines)


def test_what_the_target_keeps_is_left_alone() -> None:
    lines = "SET mine 1|DEL mine a|MSET mine 1 a 2|SUNIONSTORE mine a|RENAME a mine"
    assert made(lines, kept="mine") == [
        "send 0 DEL a", "send 0 MSET a 2", "doubt 0 SUNIONSTORE mine a", "doubt 0 RENAME a mine"
    ]  # fmt: skip
    with pytest.raises(CannotFollow, match="of its own"):
        made("FLUSHALL", kept="mine")


def test_a_spool_gives_back_what_it_took_and_the_room() -> None:
    spool = Spool()
    spool.append(b"abcdef")
    assert spool.take(4) == b"abcd"
    spool.append(b"gh")
    assert (spool.take(100), spool.take(1), spool.end) == (b"efgh", b"", 0)
    spool.append(b"x")
    assert spool.take(9) == b"x"
    spool.close()


def test_a_command_is_run_on_keys_that_were_fetched() -> None:
    one = Scratch()
    one.call([b"SET", b"a", b"v"])
    dump, when = one.get(b"a")
    assert dump is not None and when == -1
    other = Scratch()
    other.put(b"a", dump, 1000)
    # Its time is long over: that is for the source to say.
    assert other.run([b"RENAME", b"a", b"b"]) == ""
    assert (other.get(b"b"), other.get(b"a")) == ((dump, 1000), (None, -2))
    assert other.run([b"LPUSH", b"b", b"x"]).startswith("WRONGTYPE")


@pytest.mark.parametrize(
    ("line", "replies", "again", "doubtful"),
    [
        ("SET a 1", ["OK"], False, False),
        ("SET a 1", [ReplyError("MOVED 1 10.0.0.2:7000")], True, False),
        ("SET a 1", [ReplyError("NOREPLICAS Not enough good replicas to write.")], True, False),
        ("LPUSH a 1", [ReplyError("WRONGTYPE Operation")], False, True),
        # Redis passes it on only where it changed something.
        ("PEXPIREAT a 5", [0], False, True),
        ("SADD a 1", [0], False, False),
        ("SET a 1|INCR a", ["OK", "QUEUED", "QUEUED", ["OK", 2]], False, False),
        ("SET a 1|INCR a", ["OK", "QUEUED", "QUEUED", ["OK", ReplyError("ERR x")]], False, True),
        ("SET a 1|INCR a", ["OK", ReplyError("MOVED 1 h:1"), "QUEUED", ReplyError("EXECABORT")],
         True, False),
    ],
)  # fmt: skip
def test_what_an_answer_means(
    line: str, replies: list[object], again: bool, doubtful: bool
) -> None:
    server = Server("127.0.0.1", 1)
    target = Target(server, Cluster("x", True, [Shard("0", server)]))
    step = Step(SEND, 0, [call.encode().split() for call in line.split("|")], [b"a"])
    assert bool(target.judge(step, replies, server)) is again
    assert ((0, b"a") in target.doubtful) is doubtful


def test_a_slot_that_went_elsewhere_is_known_from_then_on() -> None:
    server = Server("127.0.0.1", 1)
    target = Target(server, Cluster("x", True, [Shard("0", server)]))
    step = Step(SEND, 0, [[b"SET", b"a", b"1"]], [b"a"])
    assert target.judge(step, [ReplyError("MOVED 15495 10.0.0.2:7000")], server)
    assert target.router.owner(b"a") == server.at("10.0.0.2", 7000)
    # One that is on its way is not.
    assert target.judge(step, [ReplyError("ASK 15495 10.0.0.3:7000")], server)
    assert target.router.owner(b"a") == server.at("10.0.0.2", 7000)

"""Receipts on the command line, and what of a tail is sent again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from isthmus.cli import quarantine, replay
from isthmus.cli.app import run
from isthmus.cli.sync import Server
from isthmus.node.replicate.quarantine import Receipt, count, keep, read_receipt
from isthmus.wire.resp import pack
from tests.support import ports

SINCE_MS = 1000


def tail(*lines: str) -> bytes:
    return b"".join(pack([word.encode() for word in line.split()]) for line in lines)


TAIL = tail("SET a 1", "INCRBY n 2", "MSET {m}x 1 {m}y 2", "SET {m}x 3", "DEL a", "FLUSHALL")


def kept(folder: Path, data: bytes | None = TAIL, **changes: Any) -> str:
    fields = {
        "shard": 0, "epoch": 5, "node": "a" * 40, "new_primary": "b" * 40, "replid": "c" * 40,
        "from_offset": 11, "to_offset": 60, "written_ms": 5000, "first_ms": SINCE_MS,
        "last_ms": 4000, "kept": data is not None,
    }  # fmt: skip
    it = Receipt(**{**fields, **changes})
    count(it, data or b"")
    return keep(str(folder), it, data)


def test_groups_are_keys_that_commands_join() -> None:
    found, without = replay.groups(TAIL + tail("MSET n 1 z 2", "DEL z a"))
    assert without == 1
    assert [sorted(group.keys) for group in found] == [[b"a", b"n", b"z"], [b"{m}x", b"{m}y"]]
    words = [b" ".join(argv) for argv in found[0].commands]
    # Of each key in their order.
    assert words.index(b"SET a 1") < words.index(b"DEL a") < words.index(b"DEL z a")
    assert words.index(b"INCRBY n 2") < words.index(b"MSET n 1 z 2") < words.index(b"DEL z a")


def test_list_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path / "node-0")
    kept(tmp_path / "node-1", None, written_ms=6000)
    assert run(["quarantine", "list", "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "5000-0-5" in said and "not kept" in said and "2 of 2 not settled" in said
    assert run(["quarantine", "list", "--json", str(tmp_path / "node-1")]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["bytes"], told["kept"]) == ("6000-0-5", 50, False)
    assert run(["quarantine", "show", "5000-0-5", "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "6 writes of 4 keys" in said and 'MSET "{m}x" "1"' in said
    assert run(["quarantine", "show", "nothing", "--data-dir", str(tmp_path)]) == 1
    assert run(["quarantine", "list", "--data-dir", str(tmp_path / "nowhere")]) == 1


def test_settle(tmp_path: Path) -> None:
    path = kept(tmp_path)
    assert run(["quarantine", "settle", path, "--data-dir", str(tmp_path)]) == 0
    assert read_receipt(path).settled_ms
    # What is settled is sent again only if that is said.
    assert run(["quarantine", "replay", path, "--target", "127.0.0.1:1"]) == 1


@pytest.mark.parametrize("changes", [{"exact": False}, {"data": None}])
def test_what_would_do_harm_is_refused(
    tmp_path: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept(tmp_path, **changes)
    assert run(["quarantine", "replay", path, "--target", "127.0.0.1:1"]) == 1
    assert "begins before" in (said := capsys.readouterr().err) or "no commands" in said


def test_when_a_failover_was_decided() -> None:
    it = Receipt(0, 5, "a", "b", "c", 1, 2, 3)
    entries: list[dict[str, Any]] = [
        {"shard": 0, "epoch": 5, "event": "suspected", "at_ms": 1},
        {"shard": 0, "epoch": 5, "event": "handover", "promoted": "b", "at_ms": 9},
        {"shard": 1, "epoch": 5, "event": "failover", "promoted": "b", "at_ms": 8},
        {"shard": 0, "epoch": 5, "event": "failover", "promoted": "b", "at_ms": 7},
    ]
    assert quarantine.decided_ms(entries, it) == 7
    assert quarantine.decided_ms(entries[:3], it) == 0


class Store:
    """A server that keeps counters of what was used when, as far as replay asks."""

    def __init__(self, idle: dict[bytes, int]) -> None:
        self.idle = idle  # keys that are there, and for how many seconds nobody used them
        self.ran: list[bytes] = []
        self.interfere = False
        self._queue: list[bytes] | None = None

    async def serve(self, stream: trio.SocketStream) -> None:
        import hiredis

        reader = hiredis.Reader()
        async for data in stream:
            reader.feed(bytes(data))
            out = b""
            while (argv := reader.gets()) is not False:
                out += self.reply([bytes(word) for word in argv])
            await stream.send_all(out)

    def reply(self, argv: list[bytes]) -> bytes:
        name = argv[0].upper()
        if name == b"OBJECT":
            idle = self.idle.get(argv[2])
            return b"$-1\r\n" if idle is None else b":%d\r\n" % idle
        if name == b"EXISTS":
            return b":%d\r\n" % (argv[1] in self.idle)
        if name == b"MULTI":
            self._queue = []
        elif name == b"EXEC":
            queue, self._queue = self._queue or [], None
            if self.interfere:
                return b"*-1\r\n"
            self.ran += queue
            return b"*%d\r\n" % len(queue) + b"+OK\r\n" * len(queue)
        elif self._queue is not None:
            if argv[:2] == [b"SET", b"bad"]:
                return b"-WRONGTYPE no\r\n"
            self._queue.append(b" ".join(argv))
            return b"+QUEUED\r\n"
        return b"+OK\r\n"


HOUR = 3600


@pytest.mark.parametrize(
    ("which", "ran"),
    [
        (replay.UNTOUCHED, [b"SET new 1", b"SET old 1"]),
        (replay.MISSING, [b"SET new 1"]),
        (replay.ALL, [b"SET new 1", b"SET old 1", b"SET hot 1"]),
    ],
)
async def test_what_is_sent(which: str, ran: list[bytes], nursery: trio.Nursery) -> None:
    store = Store({b"old": 2 * HOUR, b"hot": 1})
    listeners = await nursery.start(
        lambda task_status: trio.serve_tcp(
            store.serve, 0, host="127.0.0.1", task_status=task_status
        )
    )
    server = Server("127.0.0.1", listeners[0].socket.getsockname()[1])
    data = tail("SET new 1", "SET old 1", "SET hot 1")
    since_ms = (int(replay.time.time()) - HOUR) * 1000
    told = await replay.run(data, server, which, since_ms, dry_run=True)
    assert told.sent_keys == len(ran) and store.ran == []
    assert "would be sent" in told.lines(dry_run=True)[0]
    # When the failover was is not known: whatever is there may have been used since.
    unknown = await replay.run(data, server, which, 0, dry_run=True)
    assert unknown.sent_keys == (3 if which == replay.ALL else 1)
    told = await replay.run(data, server, which, since_ms, dry_run=False)
    assert store.ran == ran and told.complete == (which == replay.ALL)
    store.interfere = True
    told = await replay.run(data, server, replay.ALL, since_ms, dry_run=False)
    assert (told.sent_keys, told.touched) == (0, 3), "somebody was quicker"
    told = await replay.run(tail("SET bad 1"), server, replay.ALL, since_ms, dry_run=False)
    assert told.failed == 1 and "WRONGTYPE" in told.lines(dry_run=False)[-2]


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(replay.Unreachable):
        await replay.run(TAIL, Server("127.0.0.1", ports.free_port()), replay.ALL, 0, False)

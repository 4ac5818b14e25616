"""A disk that is full, or fails: who writes is told, reads go on, nothing acknowledged is lost."""

from __future__ import annotations

import errno
import random
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from isthmus.node.persist import aof as aof_module
from isthmus.node.persist.recover import RecoverError
from tests.persist.crash import Link, Node
from tests.persist.disks import BadDisk
from tests.persist.kept import Kept

FULL = b"-MISCONF Errors writing to the AOF file: No space left on device\r\n"
FAILED = b"-MISCONF Errors writing to the AOF file: Input/output error\r\n"
NO_SNAPSHOT = b"-MISCONF Redis is configured to save RDB snapshots"
RECOVERY_SECONDS_MAX = 10.0
POLICIES = pytest.mark.parametrize("policy", ["always", "everysec", "no"])


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadDisk]:
    monkeypatch.chdir(tmp_path)
    # What is tried again is tried at once.
    monkeypatch.setattr(aof_module, "RETRY_SECONDS", 0.0)
    bad = BadDisk(monkeypatch)
    yield bad
    bad.finish()


def kept(policy: str, **more: str) -> Kept:
    return Kept(appendonly="yes", appendfsync=policy, save="", **more)


def restarted(store: Kept) -> Any:
    """What a node holds that is started on what is on the disk now, the old one killed."""
    again = Kept(appendonly="yes", save="").load()
    again.aof.close()
    return again.held()


@POLICIES
def test_full_at_append(policy: str, disk: BadDisk) -> None:
    store = kept(policy).load()
    assert store.turn(("SET", "a", 1)) == ([b"+OK\r\n"], True)
    store.raw("SET", "short", 1, "PX", 5)
    store.kept.commit()
    before = store.held()
    # A part of the write is taken: it may not stay.
    disk.full(room=9)
    _, told = store.turn(("SET", "b", 2))
    # As in Redis, only `always` promises that it is there already.
    assert told is (policy != "always")
    assert restarted(store) == before
    for request in (("SET", "c", 3), ("PING",), ("EVAL", "return redis.call('SET', 'c', 1)", 0)):
        replies, told = store.turn(request)
        assert FULL.strip()[1:] in replies[0] and told, request
    store.raw("MULTI")
    store.raw("INCR", "n")
    assert store.turn(("EXEC",))[0][0].startswith(b"-EXECABORT")
    # Reads go on, also one that finds a key whose time has come, which is a change.
    store.advance(10)
    assert store.turn(("GET", "a"), ("GET", "short")) == ([b"$1\r\n1\r\n", b"$-1\r\n"], True)
    store.kept.cron()
    assert store.kept.figures()["aof_last_write_status"] == "err"
    disk.well()
    store.kept.cron()
    assert store.kept.figures()["aof_last_write_status"] == "ok"
    assert store.turn(("SET", "c", 3)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()


@POLICIES
def test_full_and_cannot_be_cut_back(policy: str, disk: BadDisk) -> None:
    store = kept(policy).load()
    store.turn(("SET", "a", 1))
    disk.full(room=9)
    disk.refused["ftruncate"] = errno.EIO
    store.turn(("SET", "b", 2))
    assert store.turn(("SET", "c", 3))[0] == [FULL]
    disk.well()
    # The file may end in the middle of something: other files take its place.
    store.kept.cron()
    store.work()
    assert store.turn(("SET", "c", 3)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()


def test_a_failed_sync_with_always(disk: BadDisk) -> None:
    store = kept("always").load()
    store.turn(("SET", "a", 1))
    disk.refused = {"fdatasync": errno.EIO}
    assert store.turn(("SET", "b", 2)) == ([b"+OK\r\n"], False)
    # That the next sync would succeed proves nothing; BadDisk sees that nothing more is written.
    disk.well()
    disk.refused = {"fsync": errno.EIO}
    assert store.turn(("SET", "c", 3)) == ([FAILED], True)
    assert store.turn(("GET", "a")) == ([b"$1\r\n1\r\n"], True)
    store.kept.cron()
    store.work()
    assert store.turn(("SET", "c", 3)) == ([FAILED], True)
    disk.well()
    store.kept.cron()
    store.work()
    assert store.turn(("SET", "c", 3)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()
    assert len(disk.tainted) == 1


def test_a_failed_sync_with_everysec(disk: BadDisk) -> None:
    store = kept("everysec").load()
    store.turn(("SET", "a", 1))
    disk.refused = {"fdatasync": errno.EIO}
    trio.run(store.aof.sync_beside)
    assert store.turn(("SET", "b", 2)) == ([FAILED], True)
    disk.well()
    store.kept.cron()
    store.work()
    assert store.turn(("SET", "b", 2)) == ([b"+OK\r\n"], True)
    trio.run(store.aof.sync_beside)
    assert store.aof.synced == store.aof.written
    assert restarted(store) == store.held()


def test_a_failed_sync_where_a_rewrite_begins(disk: BadDisk) -> None:
    store = kept("everysec").load()
    store.turn(("SET", "a", 1))
    disk.refused = {"fdatasync": errno.EIO}
    assert store.raw("BGREWRITEAOF").startswith(b"-ERR Can't execute an AOF background rewriting")
    assert store.turn(("SET", "b", 2)) == ([FAILED], True)
    disk.well()
    store.kept.cron()
    store.work()
    assert store.turn(("SET", "b", 2)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_full_at_save(call: str, disk: BadDisk, tmp_path: Path) -> None:
    store = Kept(save="900 1")
    store("SET", "a", 1)
    assert store("SAVE") == b"OK"
    good = (tmp_path / "dump.rdb").read_bytes()
    store("SET", "a", 2)
    disk.refused = {call: errno.ENOSPC}
    assert store.raw("SAVE") == b"-ERR\r\n"
    assert store("SET", "a", 3) == b"OK"
    store("BGSAVE")
    store.work()
    assert store.kept.figures()["rdb_last_bgsave_status"] == "err"
    for request in (("SET", "a", 4), ("PING",), ("FLUSHALL",)):
        assert store.raw(*request).startswith(NO_SNAPSHOT), request
    assert store("GET", "a") == b"3"
    assert [path.name for path in tmp_path.iterdir()] == ["dump.rdb"]
    assert (tmp_path / "dump.rdb").read_bytes() == good
    disk.well()
    store("BGSAVE")
    store.work()
    assert store("SET", "a", 4) == b"OK"
    again = Kept(save="900 1").load()
    assert again("GET", "a") == b"3"


LIBRARY = "#!lua name=%s\nredis.register_function('%s', function() return 1 end)"


def test_what_was_rewritten_can_be_loaded_while_the_file_is_off(disk: BadDisk) -> None:
    store = Kept(enable_debug_command="yes")
    assert store.error("DEBUG", "LOADAOF") == "ERR the append only file is off"
    store("SET", "a", 1)
    store("FUNCTION", "LOAD", LIBRARY % ("one", "one"))
    store("BGREWRITEAOF")
    store.work()
    store("SET", "b", 2)
    store("FUNCTION", "LOAD", LIBRARY % ("two", "two"))
    assert store("DEBUG", "LOADAOF") == b"OK"
    assert [key for _, key in store.held()] == [b"a"]
    assert [each[1] for each in store("FUNCTION", "LIST")] == [b"one"]


def test_a_snapshot_is_loaded_with_its_libraries_alone(disk: BadDisk) -> None:
    store = Kept(enable_debug_command="yes", save="")
    store("FUNCTION", "LOAD", LIBRARY % ("one", "one"))
    store("SAVE")
    store("FUNCTION", "LOAD", LIBRARY % ("two", "two"))
    assert store.error("DEBUG", "RELOAD", "NOFLUSH", "NOSAVE").startswith("ERR Error trying to l")
    assert store("DEBUG", "RELOAD", "MERGE", "NOFLUSH", "NOSAVE") == b"OK"
    assert len(store("FUNCTION", "LIST")) == 2
    assert store("DEBUG", "RELOAD", "NOSAVE") == b"OK"
    assert [each[1] for each in store("FUNCTION", "LIST")] == [b"one"]


def test_what_was_flushed_does_not_come_back(disk: BadDisk) -> None:
    store = Kept(save="900 1")
    store("SET", "a", 1)
    assert store("SAVE") == b"OK"
    store("SET", "b", 2)
    # A save under way would bring it back as well, and to give it up is no failure.
    store("BGSAVE")
    assert store("FLUSHALL") == b"OK"
    store.work()
    figures = store.kept.figures()
    assert figures["rdb_last_bgsave_status"] == "ok"
    assert figures["rdb_changes_since_last_save"] == 0
    assert not Kept(save="900 1").load().held()
    # Without save points nobody asked for a file.
    store("CONFIG", "SET", "save", "")
    store("SET", "a", 1)
    store("SAVE")
    store("FLUSHALL")
    assert len(Kept(save="").load().held()) == 1
    # A rewrite under way goes on, and the save comes behind it.
    store("CONFIG", "SET", "save", "900 1")
    store("SET", "a", 1)
    store("BGREWRITEAOF")
    store("FLUSHALL")
    assert store.kept.snapshots.scheduled
    store.work()
    assert not Kept(save="900 1").load().held()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_full_at_rewrite(call: str, disk: BadDisk) -> None:
    store = kept("no").load()
    store.turn(("SET", "a", 1))
    store("BGREWRITEAOF")
    disk.refused = {call: errno.ENOSPC}
    store.work()
    assert store.kept.figures()["aof_last_bgrewrite_status"] == "err"
    disk.well()
    assert store.turn(("SET", "b", 2)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()
    # Now the beginning of one: the manifest cannot be written.
    disk.refused = {"fsync": errno.ENOSPC}
    assert store.raw("BGREWRITEAOF").startswith(b"-ERR Can't execute an AOF background rewriting")
    disk.well()
    assert store.turn(("SET", "c", 3)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()
    store("BGREWRITEAOF")
    store.work()
    assert store.kept.figures()["aof_last_bgrewrite_status"] == "ok"
    assert store.turn(("SET", "d", 4)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()


def test_turning_it_on_is_tried_until_there_is_a_base(disk: BadDisk) -> None:
    store = Kept(save="")
    store("SET", "a", 1)
    store("CONFIG", "SET", "appendonly", "yes")
    for round_ in range(2):
        store.turn(("SET", "b", round_))
        disk.refused = {"write": errno.ENOSPC}
        store.work()
        disk.well()
        assert store.kept.figures()["aof_last_bgrewrite_status"] == "err"
        store.aof.rewrite_tried = 0.0
        store.kept.cron()
        assert store.kept.snapshots.job is not None, "it is tried again"
    store.turn(("SET", "c", 3))
    store.work()
    assert store.kept.figures()["aof_last_bgrewrite_status"] == "ok"
    store.turn(("SET", "d", 4))
    assert restarted(store) == store.held()
    store.kept.cron()
    assert store.kept.snapshots.job is None


def test_a_cancelled_cut_is_no_fault(disk: BadDisk) -> None:
    store = kept("no").load()
    store.turn(("SET", "a", 1))
    store("BGREWRITEAOF")
    assert store("SAVE") == b"OK"
    store.work()
    assert store.kept.snapshots.job is None
    assert store.turn(("SET", "b", 1)) == ([b"+OK\r\n"], True)
    assert restarted(store) == store.held()


def test_what_an_unfinished_beginning_left_is_not_appended_to(
    disk: BadDisk, tmp_path: Path
) -> None:
    """Turned on while it ran, killed before the first rewrite was done."""
    store = Kept(save="")
    store("SET", "a", 1)
    assert store("CONFIG", "SET", "appendonly", "yes") == b"OK"
    store.turn(("SET", "b", 2))
    assert (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").stat().st_size
    for _ in range(2):
        again = kept("no").load()
        again.turn(("SET", "c", 3))
        again.aof.close()
    assert again("MGET", "a", "b", "c") == [None, None, b"3"]


def test_turning_it_on_spares_the_files_that_are_there(disk: BadDisk, tmp_path: Path) -> None:
    first = kept("no").load()
    first.turn(("SET", "old", 1))
    first.aof.close()
    folder = tmp_path / "appendonlydir"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    store = Kept(save="")
    store("SET", "new", 1)
    store("CONFIG", "SET", "appendonly", "yes")
    store.turn(("SET", "new", 2))
    # Killed here, the old state is still whole.
    assert {name: (folder / name).read_bytes() for name in before} == before
    store.work()
    assert restarted(store) == store.held() == {(0, b"new"): (b"2", -1)}
    assert not before.keys() - {"appendonly.aof.manifest"} & {p.name for p in folder.iterdir()}


# -- real processes -----------------------------------------------------------------------------


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[Node, Link]]:
    node = Node(folder, "--appendonly", "yes", "--save", "", *options).wait_ready()
    link = Link(node.port)
    try:
        yield node, link
    finally:
        link.close()
        node.kill()


def written(link: Link, first: int, stop: int) -> tuple[int, str]:
    """SETs of 2,000 bytes until one is refused: how many were acknowledged, and the refusal."""
    for number in range(first, stop):
        try:
            reply = link("SET", f"k{number}", "x" * 2000)
        except ConnectionError:
            return number, "closed"
        if isinstance(reply, Exception):
            return number, str(reply)
    return stop, ""


def full_then_well(folder: Path, policy: str, fill: Any, free: Any, text: str) -> None:
    """A process whose disk gets full and is given room again."""
    with served(folder, "--appendfsync", policy) as (node, link):
        assert written(link, 0, 50) == (50, "")
        fill(node)
        count, why = written(link, 50, 2000)
        if why == "closed":
            # What became of that one nobody was told.
            assert policy == "always"
            link.close()
            link = Link(node.port)
            unsure, (count, why) = count, written(link, count + 1, 2000)
            assert count == unsure + 1, "acknowledged while the disk is full"
        assert why == f"MISCONF Errors writing to the AOF file: {text}"
        assert link("GET", "k1") == b"x" * 2000
        free(node)
        deadline = time.monotonic() + RECOVERY_SECONDS_MAX
        while "aof_last_write_status:ok" not in link("INFO", "persistence").decode():
            assert time.monotonic() < deadline, "it does not notice that there is room again"
        last, why = written(link, count, count + 20)
        assert (last, why) == (count + 20, "")
        # With room again it can be rewritten, too.
        assert not isinstance(link("BGREWRITEAOF"), Exception)
        held = link("DBSIZE")
        link.close()
    with served(folder) as (node, link):
        assert link("DBSIZE") == held
        assert link("EXISTS", *(f"k{n}" for n in range(50))) == 50
        assert link("EXISTS", *(f"k{n}" for n in range(count, last))) == 20


@pytest.mark.slow
@POLICIES
def test_a_process_at_its_file_size_limit(policy: str, tmp_path: Path) -> None:
    def limit(node: Node, size: int) -> None:
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    full_then_well(
        tmp_path, policy, lambda node: limit(node, 300_000),
        lambda node: limit(node, resource.RLIM_INFINITY), "File too large",
    )  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@POLICIES
def test_a_process_on_a_full_file_system(policy: str, small: Path) -> None:
    ballast = small / "ballast"
    full_then_well(
        small, policy, lambda node: ballast.write_bytes(bytes(400_000)),
        lambda node: ballast.unlink(), "No space left on device",
    )  # fmt: skip


@pytest.mark.slow
def test_a_process_that_cannot_save(small: Path) -> None:
    node = Node(small, "--save", "3600 1000000").wait_ready()
    link = Link(node.port)

    def saved() -> str:
        assert not isinstance(link("BGSAVE"), Exception)
        while "rdb_bgsave_in_progress:1" in (info := link("INFO", "persistence").decode()):
            pass
        return "ok" if "rdb_last_bgsave_status:ok" in info else "err"

    try:
        written(link, 0, 50)
        assert saved() == "ok"
        ballast = small / "ballast"
        ballast.write_bytes(bytes(1_040_000))
        link("SET", "random", random.Random(1).randbytes(90_000))
        assert saved() == "err"
        reply = link("SET", "b", 1)
        assert isinstance(reply, Exception) and str(reply).startswith(NO_SNAPSHOT[1:].decode())
        assert link("GET", "k1") == b"x" * 2000
        ballast.unlink()
        assert saved() == "ok"
        assert link("SET", "b", 1) == b"OK"
    finally:
        link.close()
        node.kill()


def test_nothing_is_loaded_from_a_file_that_is_missing(disk: BadDisk, tmp_path: Path) -> None:
    store = kept("no").load()
    store.turn(("SET", "a", 1))
    store.aof.close()
    (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").unlink()
    with pytest.raises(RecoverError, match="is in the manifest and not on the disk"):
        kept("no").load()


def test_what_was_put_off_is_on_the_disk_when_a_sync_is_asked_for(disk: BadDisk) -> None:
    """With durability fsync: under everysec a write may wait for a sync that is under way."""
    store = kept("everysec").load()
    aof = store.aof
    store("SET", "a", "1")
    aof.buffer.data += b"*1\r\n$4\r\nPING\r\n"
    written = aof.written
    assert store.node.persistence.sync()
    assert aof.written > written and not aof.buffer.data
    assert aof.synced == aof.written

"""AOF files between us and real servers, both ways; their checkers are the judges of ours."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli.aof_report import examine
from isthmus.node.persist import aof_manifest
from isthmus.node.persist.aof_scan import CLEAN, AofScanner
from isthmus.wire.resp import pack
from tests.oracle.grammar import Grammar
from tests.support import aof_files as af
from tests.support.peer import Peer
from tests.support.servers import Server, redis8, redis_server
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

Start = Callable[..., AbstractContextManager[Server]]
versions = pytest.mark.parametrize(
    ("version", "start"),
    [pytest.param(7, redis_server, id="7.0"), pytest.param(8, redis8, id="8.0")],
)
GROUPS = ["string", "list", "set", "hash", "sorted-set", "stream", "generic", "bitmap"]
# What redis-server 7.0 does not know, or not in this form.
NEW_SINCE_7_0 = frozenset({b"HPEXPIREAT", b"HPERSIST"})
LINES = """\
SET a 1|SET a x EX 1000 GET|SETRANGE a 3 zz|APPEND a more|INCRBY n 5|INCRBYFLOAT n 0.1
SETBIT bits 100 1|GETEX a PERSIST|MSET m1 1 m2 2 m3 3|GETDEL m2|COPY m1 m4|RENAME m3 m5
PEXPIRE m5 90000|RPUSH l a b c d e b|LINSERT l BEFORE c x|LREM l 1 b|LSET l 0 first|LTRIM l 0 4
LMOVE l l2 LEFT RIGHT|LPOP l 2|LMPOP 1 l RIGHT|BLPOP l2 1|RPUSH l2 1 2 3
SORT l2 DESC STORE sorted|SADD s 1 2 3 4 x y|SREM s 2|SPOP s 2|SMOVE s s2 x|SADD s2 q
SUNIONSTORE s3 s s2|SINTERSTORE none s nosuch|HSET h f 1 g 2 k 3|HINCRBY h f 41
HINCRBYFLOAT h g 0.5|HDEL h k|HSETNX h new 1|ZADD z 1 a 2 b 3.5 c inf d|ZADD z GT CH 9 a
ZINCRBY z 2 b|ZREM z c|ZPOPMIN z|ZRANGESTORE z2 z 0 -1|ZUNIONSTORE z3 2 z z2 WEIGHTS 2 3
GEOADD geo 13.361389 38.115556 Palermo|ZREMRANGEBYSCORE z3 0 1|PFADD p a b c|PFMERGE p2 p
PFCOUNT p2|XADD x 5-1 f v|XADD x * g w|XADD x MAXLEN 5 * g w|XGROUP CREATE x grp 0
XREADGROUP GROUP grp me STREAMS x >|XACK x grp 5-1|XCLAIM x grp you 0 5-1
XAUTOCLAIM x grp you 0 0|XGROUP CREATECONSUMER x grp idle|XDEL x 5-1|XTRIM x MAXLEN 1
XSETID x 99999999999999-9|XGROUP SETID x grp 5-1|XADD gone 1-1 a b|XDEL gone 1-1|SELECT 3
SET o 1|MOVE o 0|SET p 2|SWAPDB 0 3|SELECT 0|SET q 3|SELECT 5|SET r 4|FLUSHDB|SELECT 0
EVAL return{redis.call('INCR',KEYS[1]),redis.call('EXPIRE',KEYS[1],500)} 1 counted|MULTI
SET t1 1|SET t2 2|SELECT 2|SET t3 3|EXEC|SELECT 0|SET late 1 PXAT 99999999999999"""


def traffic(groups: list[str], count: int, seed: int) -> Iterator[list[bytes]]:
    """Requests of every kind, the same in each run."""
    for line in LINES.replace("\n", "|").split("|"):
        yield line.encode().split(b" ")
    draw = random.Random(seed)
    for group in groups:
        grammar = Grammar(group)
        for _ in range(count):
            yield [*grammar.request(draw.getrandbits(32))]


DISTURBING = frozenset(
    b"FLUSHALL FLUSHDB SWAPDB SELECT WAIT WAITAOF MULTI WATCH DEBUG MIGRATE RESTORE".split()
)


def requests(count: int, seed: int) -> list[list[bytes]]:
    """LINES as they are, and of what was drawn what neither waits nor empties everything."""
    lines = len(LINES.replace("\n", "|").split("|"))
    return [
        argv
        for at, argv in enumerate(traffic(GROUPS, count, seed))
        if at < lines or argv[0].upper() not in DISTURBING
    ]


def our_store(peer: Peer) -> Store:
    store = Store()
    seconds, micros = peer("TIME")
    store.clock.now_ms = int(seconds) * 1000 + int(micros) // 1000
    return store


def filled_store(seconds: list[int]) -> tuple[Store, af.Writer]:
    store = Store()
    writer = af.Writer(seconds)
    store.node.keyspace.log.attach(writer)
    store.clock.now_ms = 4_000_000_000_000
    for argv in requests(400, 7):
        store.raw(*argv)
    return store, writer


@versions
def test_ours_is_accepted_and_loaded(version: int, start: Start, tmp_path: Path) -> None:
    """A file of effects, seals, times and transactions, in two parts, of which one is a base."""
    store, writer = filled_store([1_700_000_000 + at for at in range(200)])
    data = writer.data
    if version == 7:
        data = without(data, NEW_SINCE_7_0)
    scanner = AofScanner(data)
    offsets = [offset for offset, _ in scanner]
    assert len(offsets) > 800 and (version == 7 or scanner.seals > 400)
    path = af.save(tmp_path, data)
    status, said = af.check(version, path)
    assert status == 0 and "AOF files and manifest are valid" in said, said
    with start(tmp_path, af.KEEP) as server:
        peer = Peer(server.port)
        again = Store()
        again.clock.now_ms = store.clock.now_ms
        replay, ends = af.load(again, path)
        assert [end.kind for end in ends] == [CLEAN, CLEAN]
        assert replay.first_failure is None
        theirs = af.snapshot(peer)
        peer("CONFIG", "SET", "appendonly", "no")
        peer.close()
    ours = af.snapshot(again)
    expired = {where for where, (_, when, _) in ours.items() if 0 <= when < 4_000_000_000_000}
    assert {where: it for where, it in theirs.items() if where not in expired} == ours
    if version == 8:
        assert ours == af.snapshot(store)


def without(data: bytes, names: frozenset[bytes]) -> bytes:
    """The commands that are not named, without annotations."""
    return b"".join(pack(argv) for _, argv in AofScanner(data) if argv[0] not in names)


@versions
def test_seals_do_not_disturb(version: int, start: Start, tmp_path: Path) -> None:
    """A real server loads a sealed file, appends to it, and we read on behind our own seals."""
    store = Store()
    writer = af.Writer([1_700_000_000])
    store.node.keyspace.log.attach(writer)
    for line in ("SET a 1", "SELECT 3", "MULTI", "SET b 2", "INCR b", "EXEC"):
        store.run(line)
    assert writer.data.count(b"#CRC:") == 2
    path = af.save(tmp_path, writer.data)
    assert af.check(version, path)[0] == 0
    with start(tmp_path, [*af.KEEP, "--aof-timestamp-enabled", "yes"]) as server:
        peer = Peer(server.port)
        assert peer("SET", "theirs", 1) == b"OK"
        peer.close()
    again = Store()
    _, ends = af.load(again, path)
    incr = path.parent / "appendonly.aof.1.incr.aof"
    assert len(incr.read_bytes()) > len(writer.data), "the server appended to our file"
    assert [end.kind for end in ends] == [CLEAN, CLEAN]
    assert (again("GET", "a"), again("GET", "theirs")) == (b"1", b"1")
    # We go on with it.
    seal = ends[-1].seal
    incr.write_bytes(incr.read_bytes() + seal.line())
    assert af.load(Store(), path)[1][-1].kind == CLEAN
    assert af.check(version, path)[0] == 0


@versions
def test_theirs_is_loaded(version: int, start: Start, tmp_path: Path) -> None:
    """Every kind of write on a real server with an AOF; its files give us the same data."""
    options = [*af.KEEP, "--aof-use-rdb-preamble", "no", "--aof-timestamp-enabled", "yes"]
    with start(tmp_path, options) as server:
        peer = Peer(server.port)
        code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
        assert peer("FUNCTION", "LOAD", code) == b"lib"
        for number, argv in enumerate(requests(400, 5)):
            peer(*argv)
            if number == 700:
                rewrite(peer)
        settled(peer)
        peer.close()
    # What it loads itself is the measure: pending entries of deleted ones do not survive that.
    with start(tmp_path, options) as server:
        peer = Peer(server.port)
        store = our_store(peer)
        path = tmp_path / af.FOLDER / "appendonly.aof.manifest"
        replay, ends = af.load(store, path)
        assert [end.kind for end in ends] == [CLEAN] * len(ends), ends
        assert replay.first_failure is None
        theirs = af.snapshot(peer)
        ours = af.snapshot(store)
        libraries = store("FUNCTION", "LIST")
        peer.close()
    assert ours == theirs
    assert len(libraries) == 1
    manifest = aof_manifest.parse(path.read_bytes())
    assert aof_manifest.render(manifest) == path.read_bytes()
    assert manifest.base is not None and manifest.base.seq == 2


def rewrite(peer: Peer) -> None:
    """A rewrite from its beginning to its end, which is seen by asking."""
    peer("BGREWRITEAOF")
    settled(peer)


def settled(peer: Peer) -> None:
    for _ in range(20_000):
        info = peer("INFO", "persistence")
        if b"aof_rewrite_in_progress:0" in info and b"aof_rewrite_scheduled:0" in info:
            assert b"aof_last_bgrewrite_status:ok" in info
            return
    raise AssertionError("the rewrite did not end")


@versions
@pytest.mark.parametrize("name", ["a b.aof", "täst.aof", 'say "x".aof', "tab\t.aof"])
def test_manifests_of_odd_names(version: int, start: Start, tmp_path: Path, name: str) -> None:
    """What a server writes for a name that needs quotes is what we write; 8.0 adds two words.

    An apostrophe is not among them: real servers write it bare, and then cannot read it.
    """
    with start(tmp_path, [*af.KEEP, "--appendfilename", name]):
        pass
    text = (tmp_path / af.FOLDER / aof_manifest.manifest_name(name)).read_bytes()
    found = aof_manifest.parse(text)
    assert aof_manifest.render(found) == text
    for file, ours in zip(found.to_load(), aof_manifest.first(name).to_load(), strict=True):
        assert (file.name, file.seq, file.kind) == (ours.name, ours.seq, ours.kind)


@versions
def test_torn_and_corrupt_as_their_checker_says(
    version: int, start: Start, tmp_path: Path
) -> None:  # fmt: skip
    """Where redis-check-aof says a file is whole, so do we, at the same offset."""
    writer = af.Writer()
    for at in range(4):
        writer.write(b"*3\r\n$3\r\nSET\r\n$2\r\nk%d\r\n$3\r\nabc\r\n" % at)
    writer.write(b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n")
    data: Any = writer.data
    for cut in (len(data), len(data) - 1, len(data) - 20, len(data) - 60, 70, 67):
        piece = tmp_path / f"{cut}.aof"
        piece.write_bytes(data[:cut])
        status, said = af.check(version, piece)
        scanner = AofScanner(data[:cut])
        list(scanner)
        assert scanner.end is not None
        assert (status == 0) == (scanner.end.kind == CLEAN), said
        if status:
            assert f"ok_up_to={scanner.end.valid}," in said


@versions
def test_our_checker_reads_their_files(version: int, start: Start, tmp_path: Path) -> None:
    with start(tmp_path, [*af.KEEP, "--aof-timestamp-enabled", "yes"]) as server:
        peer = Peer(server.port)
        peer("SET", "before", "x" * 100)
        rewrite(peer)
        peer("SET", "after", 1)
        peer.close()
    report = examine(tmp_path)
    assert report.is_fine()
    base, incr = report.parts
    assert (base.role, base.format) == ("base", "RDB") and "checksum is right" in base.remark
    assert dict(incr.names) == {"select": 1, "set": 1}


@versions
def test_an_upgrade_as_they_do_it(version: int, start: Start, tmp_path: Path) -> None:
    """The one file of a server before 7 becomes a base, under its own name."""
    (tmp_path / af.NAME).write_bytes(pack([b"SELECT", b"0"]) + pack([b"SET", b"a", b"1"]))
    with start(tmp_path, af.KEEP) as server:
        peer = Peer(server.port)
        assert peer("GET", "a") == b"1"
        peer.close()
    text = (tmp_path / af.FOLDER / aof_manifest.manifest_name(af.NAME)).read_bytes()
    ours = aof_manifest.next_incr(aof_manifest.upgraded(af.NAME), af.NAME)
    theirs = aof_manifest.parse(text)
    assert [(file.name, file.seq, file.kind) for file in theirs.to_load()] == [
        (file.name, file.seq, file.kind) for file in ours.to_load()
    ]
    assert not (tmp_path / af.NAME).exists() and (tmp_path / af.FOLDER / af.NAME).exists()


@versions
def test_cut_to_a_time_as_their_checker_does(
    version: int, start: Start, tmp_path: Path
) -> None:  # fmt: skip
    writer = af.Writer([100, 200, 300])
    store = Store()
    store.node.keyspace.log.attach(writer)
    for line in ("SET a 1", "SET b 2", "SET c 3"):
        store.run(line)
    path = af.save(tmp_path, writer.data)
    incr = path.with_name("appendonly.aof.1.incr.aof")
    for until_s in (250, 150):
        scanner = AofScanner(incr.read_bytes(), until_s=until_s)
        list(scanner)
        status, said = af.check(version, path, "--truncate-to-timestamp", str(until_s))
        assert status == 0 and "Successfully truncated" in said, said
        assert incr.read_bytes() == writer.data[: scanner.later_at]
        assert af.check(version, path)[0] == 0


@versions
def test_a_torn_file_of_ours_is_cut_by_them(version: int, start: Start, tmp_path: Path) -> None:
    """With aof-load-truncated they load what we load.

    But they cut the file behind the last whole command, inside the transaction, and append to that;
    we cut before its MULTI, so that what is written next is not lost with it.
    """
    writer = af.Writer([100])
    store = Store()
    store.node.keyspace.log.attach(writer)
    for line in ("SET a 1", "MULTI", "SET b 2", "SET c 3", "EXEC"):
        store.run(line)
    data = writer.data[: writer.data.index(b"EXEC")]
    path = af.save(tmp_path, data)
    scanner = AofScanner(data)
    list(scanner)
    assert scanner.end is not None
    with start(tmp_path, af.KEEP) as server:
        peer = Peer(server.port)
        assert peer("KEYS", "*") == [b"a"]
        peer.close()
    left = path.with_name("appendonly.aof.1.incr.aof").read_bytes()
    list(again := AofScanner(left))
    assert data.startswith(left) and again.end is not None
    assert again.end.valid == scanner.end.valid < len(left)

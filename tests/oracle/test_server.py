"""CLIENT, COMMAND, INFO, SLOWLOG, LATENCY, MEMORY, OBJECT, DEBUG beside real servers.

What these answer depends on the server, so most of it is compared by shape: the same fields in the
same order, the same types. Errors and everything about commands themselves are compared whole.
7.4 lies between the releases there are, 7.0 and 8.0: the description of a command must be that of
one of them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.peers import Peer
from tests.support.servers import Server
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

LINES = Path(__file__).with_name("server_lines.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def both(request: pytest.FixtureRequest, redis8: Server) -> Iterator[tuple[Store, Peer]]:
    """One of our nodes and a real 8.0, in one protocol."""
    peer = Peer(redis8, request.param)
    peer("SELECT", "0")
    yield Store(protocol=request.param, enable_debug_command="yes"), peer
    peer.close()


def test_the_same_answers(both: tuple[Store, Peer]) -> None:
    store, peer = both
    for line in LINES:
        if not line or line.startswith("#"):
            continue
        words = shlex.split(line)
        assert repr(store(*words)) == repr(peer(*words)), line


def comparable(entry: Any) -> Any:
    """An entry of COMMAND INFO with its sets as sets, without tips and sub-commands."""
    name, arity, flags, first, last, step, categories, _tips, key_specs, _ = entry
    # A real server explains some of its key specifications.
    key_specs = [spec[2:] if spec[0] == b"notes" else spec for spec in key_specs]
    return name, arity, set(flags), first, last, step, set(categories), str(key_specs)


# Neither 7.0 nor 8.0 says what 7.4 does.
BETWEEN = {b"hexpire", b"hexpireat", b"hpexpire", b"hpexpireat"}


def test_commands_are_described_as_by_one_of_the_servers(
    redis_server: Server, redis8: Server
) -> None:
    store = Store()
    names = [name for name in store("COMMAND", "LIST") if name not in BETWEEN]
    old, new = Peer(redis_server, 2), Peer(redis8, 2)
    differing = {}
    described = (peer("COMMAND", "INFO", *names) for peer in (old, new))
    for mine, *theirs in zip(store("COMMAND", "INFO", *names), *described, strict=True):
        known = [comparable(entry) for entry in theirs if entry is not None]
        if known and comparable(mine) not in known:
            differing[mine[0]] = (comparable(mine), known[-1])
    old.close()
    new.close()
    assert differing == {}


def fields(line: bytes) -> list[bytes]:
    return [word.partition(b"=")[0] for word in line.split(b" ")]


def test_client_lines_have_the_same_fields(both: tuple[Store, Peer]) -> None:
    store, peer = both
    theirs = peer("CLIENT", "INFO").strip()
    # 8.0 shows in addition which thread serves a client.
    names = [name for name in fields(theirs) if name != b"io-thread"]
    assert fields(store("CLIENT", "INFO").strip()) == names
    # The request is still in the buffer while it runs.
    for part in (rb" qbuf=\d+ ", rb" argv-mem=\d+ ", rb" flags=\w+ ", rb" events=\w+ "):
        ours = re.search(part, store("CLIENT", "INFO"))
        assert ours is not None and ours[0] in peer("CLIENT", "INFO")
    assert fields(store("CLIENT", "LIST").splitlines()[0]) == names


def test_slow_log_entries(both: tuple[Store, Peer]) -> None:
    store, peer = both
    shapes = []
    for call in (store, peer):
        call("CONFIG", "SET", "slowlog-log-slower-than", "0")
        call("SLOWLOG", "RESET")
        call("SET", "k", "v" * 200)
        call("MSET", *("x" * at for at in range(40)))
        for words in (["MULTI"], ["SET", "a", "1"], ["EXEC"], ["GET"], ["NOSUCH"]):
            call(*words)
        call("CONFIG", "SET", "requirepass", "", "masterauth", "secret")
        call("ACL", "SETUSER", "somebody", ">secret")
        call("ACL", "GETUSER", "somebody")
        call("ACL", "DELUSER", "somebody")
        call("AUTH", "me", "secret")
        call("HELLO", "2", "AUTH", "me", "secret")
        entries = call("SLOWLOG", "GET", "-1")
        call("CONFIG", "SET", "slowlog-log-slower-than", "10000", "masterauth", "")
        shapes.append([(list(map(type, entry)), entry[3]) for entry in entries])
    assert shapes[0] == shapes[1]


def test_latency_shapes(both: tuple[Store, Peer]) -> None:
    store, peer = both
    peer("CONFIG", "SET", "latency-monitor-threshold", "1")
    store("CONFIG", "SET", "latency-monitor-threshold", "1")
    peer("DEBUG", "SLEEP", "0.002")
    store.node.latency.sample(b"command", 2)
    for words in (("LATEST",), ("HISTORY", "command")):
        ours, theirs = store("LATENCY", *words), peer("LATENCY", *words)
        assert [list(map(type, one)) for one in ours] == [list(map(type, one)) for one in theirs]
    drawn = [call("LATENCY", "GRAPH", "command") for call in (store, peer)]
    shapes = [re.sub(rb"\d+ ms", b"N ms", one) for one in drawn]
    assert shapes[0] == shapes[1]
    for call in (store, peer):
        call("CONFIG", "RESETSTAT")
        call("SET", "k", "v")
    shapes = [
        re.sub(r"\d+", "N", str(call("LATENCY", "HISTOGRAM", "set", "nosuch")))
        for call in (store, peer)
    ]
    assert shapes[0] == shapes[1]
    peer("LATENCY", "RESET")
    peer("CONFIG", "SET", "latency-monitor-threshold", "0")


def test_info_lines_have_the_same_form(both: tuple[Store, Peer]) -> None:
    store, peer = both
    forms = []
    for call in (store, peer):
        call("CONFIG", "RESETSTAT")
        call("SET", "k", "v", "PX", "100000")
        call("LPOP", "k")
        text = call("INFO", "commandstats", "errorstats", "latencystats", "keyspace")
        forms.append(
            [
                re.sub(rb"\d+(\.\d+)?", b"N", line)
                for line in text.split(b"\r\n")
                if line.startswith((b"#", b"cmdstat_set:", b"errorstat_W", b"db0:"))
                or b"usec_set:" in line
            ]
        )
    assert sorted(forms[0]) == sorted(forms[1])

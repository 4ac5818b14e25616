"""Client-side caching beside a real server: four clients that track, redirect, read and write.

Two clients speak RESP3 and two RESP2, so messages go to the client itself, to another one of either
protocol, to nobody, and to one that has left. Two prefixes that overlap in the second place of one
request are left out: there Redis answers twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.process import node
from tests.oracle.clients import Step, compare
from tests.support.servers import Server

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

MODES = (
    "CLIENT TRACKING ON|CLIENT TRACKING ON|CLIENT TRACKING OFF|CLIENT TRACKING ON NOLOOP"
    "|CLIENT TRACKING ON OPTIN|CLIENT TRACKING ON OPTOUT|CLIENT TRACKING ON OPTIN OPTOUT"
    "|CLIENT TRACKING ON BCAST|CLIENT TRACKING ON BCAST PREFIX a PREFIX b"
    "|CLIENT TRACKING ON BCAST PREFIX b NOLOOP|CLIENT TRACKING ON BCAST PREFIX ab PREFIX a"
    "|CLIENT TRACKING ON REDIRECT $id0|CLIENT TRACKING ON REDIRECT $id1"
    "|CLIENT TRACKING ON REDIRECT $id2 BCAST|CLIENT TRACKING ON REDIRECT $id3 NOLOOP"
    "|CLIENT TRACKING ON PREFIX a|CLIENT TRACKING ON REDIRECT 999999|CLIENT TRACKING MAYBE"
    "|CLIENT TRACKING ON REDIRECT x|CLIENT TRACKING ON REDIRECT $id0 REDIRECT $id1"
    "|CLIENT TRACKING ON NOPE|CLIENT CACHING YES|CLIENT CACHING NO|CLIENT CACHING x"
    "|CLIENT GETREDIR|CLIENT TRACKINGINFO|SUBSCRIBE __redis__:invalidate|UNSUBSCRIBE other"
    "|RESET|PING|QUIT"
).split("|")
READS = "GET a|GET ab|MGET a ab b|GET b|HGETALL h|LRANGE l 0 -1|EXISTS a c|GET a|LPUSH a x".split(
    "|"
)
WRITES = (
    "SET a 1|SET ab 1|MSET a 1 b 2 ab 3|DEL a b|INCR a|HSET h f v|DEL h|RPUSH l x|LPOP l|SET c 1"
    "|RENAME a ab|FLUSHALL ASYNC|FLUSHDB ASYNC|EXPIRE a 100|EXPIRE a -1|SELECT 1|SELECT 0|GETDEL b"
    "|COPY a b REPLACE|SINTERSTORE s1 none|SADD s1 a|SPOP s1|APPEND a x|SETRANGE b 0 x|PERSIST a"
).split("|")
# Without blanks, because a line is split at them.
SCRIPTS = [
    "EVAL return(redis.call('get',KEYS[1])) 1 a", "EVAL return(redis.call('set',KEYS[1],'x')) 1 a",
    "EVAL_RO return(redis.call('get',KEYS[1])) 1 b", "EVAL return(1) 1 a",
    "EVAL redis.call('get','a');return(redis.call('set','a','x')) 0",
]  # fmt: skip
GROUPS = ("MULTI|EXEC|EXEC|DISCARD").split("|")


def drawn(*groups: list[str]) -> st.SearchStrategy[list[Step]]:
    lines = st.one_of([st.sampled_from(group) for group in groups])
    return st.lists(st.tuples(st.integers(0, 3), lines), min_size=12, max_size=40)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with node(tmp_path_factory.mktemp("ours")) as process:
        yield "127.0.0.1", process.port
        process.check()


QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@QUICK
@given(chosen=drawn(MODES, READS, WRITES))
def test_messages(ours: tuple[str, int], redis8: Server, chosen: list[Step]) -> None:
    compare(ours, redis8, [3, 2, 3, 2], chosen)


@QUICK
@given(chosen=drawn(MODES, READS, WRITES, SCRIPTS))
def test_scripts(ours: tuple[str, int], redis8: Server, chosen: list[Step]) -> None:
    compare(ours, redis8, [3, 2, 3, 2], chosen)


@QUICK
@given(chosen=drawn(MODES, READS, WRITES, GROUPS))
def test_transactions(ours: tuple[str, int], redis8: Server, chosen: list[Step]) -> None:
    compare(ours, redis8, [3, 2, 3, 2], chosen)


@pytest.mark.parametrize("steps", [
    [(0, "CLIENT TRACKING ON REDIRECT $id1"), (0, "GET a"), (1, "QUIT"), (2, "SET a 1"),
     (0, "CLIENT TRACKINGINFO"), (0, "CLIENT GETREDIR")],
    [(1, "CLIENT TRACKING ON REDIRECT $id3"), (3, "SUBSCRIBE __redis__:invalidate"), (1, "GET a"),
     (0, "SET a 1"), (1, "FLUSHALL ASYNC")],
    [(1, "CLIENT TRACKING ON REDIRECT $id3"), (3, "SUBSCRIBE anything"), (1, "GET a"),
     (1, "SET a 1")],
    [(0, "CLIENT TRACKING ON OPTIN"), (0, "CLIENT CACHING YES"), (0, "MULTI"), (0, "GET a"),
     (0, "GET b"), (0, "EXEC"), (1, "SET a 1"), (1, "SET b 1"), (0, "GET a"), (1, "SET a 1")],
    [(0, "CLIENT TRACKING ON BCAST PREFIX a"), (1, "MULTI"), (1, "SET ab 1"), (1, "SET aa 2"),
     (1, "SET b 1"), (1, "EXEC")],
    [(0, "CLIENT TRACKING ON"), (0, "SELECT 1"), (0, "GET a"), (1, "SET a 1"), (0, "GET a"),
     (1, "SET a 2")],
])  # fmt: skip
def test_stories(ours: tuple[str, int], redis8: Server, steps: list[Step]) -> None:
    compare(ours, redis8, [3, 2, 3, 2], steps)

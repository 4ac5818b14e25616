"""Publish and subscribe beside a real server: three clients, real sockets, every byte they read.

One client speaks RESP2, one RESP3, the third either. Which channels a client leaves first when it
leaves all is a matter of hashing in Redis, so streams name what they leave, or hold one at most;
so is which of two matching patterns comes first, so no two match the same channel.
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

LINES = (
    "SUBSCRIBE a|SUBSCRIBE b|SUBSCRIBE a b a|UNSUBSCRIBE a|UNSUBSCRIBE b a|UNSUBSCRIBE none"
    "|PSUBSCRIBE a*|PSUBSCRIBE [b-z] a*|PUNSUBSCRIBE a*|PUNSUBSCRIBE a* [b-z] x|SSUBSCRIBE a"
    "|SSUBSCRIBE a s|SUNSUBSCRIBE a|SUNSUBSCRIBE s a|PUBLISH a hello|PUBLISH b x|PUBLISH c y"
    "|PUBLISH a hello|SPUBLISH a hello|SPUBLISH s x|PUBSUB NUMSUB a b c|PUBSUB NUMPAT"
    "|PUBSUB SHARDNUMSUB a s|PUBSUB SHARDNUMSUB|PUBSUB CHANNELS x*|PUBSUB NOPE|PUBSUB NUMPAT x"
    "|PUBSUB CHANNELS a b|PING|PING hi|PING a b|GET k|SET k v|RESET|SUBSCRIBE|PUBLISH a"
    "|HELLO 9|CLIENT GETNAME|ECHO x|NOSUCH|SELECT 1|SELECT 0"
).split("|")
IN_TRANSACTIONS = (
    "MULTI|MULTI|EXEC|EXEC|DISCARD|SUBSCRIBE a b|UNSUBSCRIBE a|PSUBSCRIBE *|SSUBSCRIBE a"
    "|EVAL return(redis.call('publish','a','s')) 0|PUBLISH a 1|PUBLISH b 2|PING"
    "|SET k v|SPUBLISH a 1|GET k"
).split("|")
SILENT = (
    "CLIENT REPLY OFF|CLIENT REPLY ON|CLIENT REPLY SKIP|SUBSCRIBE a|UNSUBSCRIBE a|PUBLISH a x|PING"
).split("|")


def steps(lines: list[str], least: int) -> st.SearchStrategy[list[Step]]:
    one = st.tuples(st.integers(0, 2), st.sampled_from(lines))
    return st.lists(one, min_size=least, max_size=25)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with node(tmp_path_factory.mktemp("ours")) as process:
        yield "127.0.0.1", process.port
        process.check()


QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.mark.parametrize("third", [2, 3])
@QUICK
@given(chosen=steps(LINES, 10))
def test_messages(ours: tuple[str, int], redis8: Server, third: int, chosen: list[Step]) -> None:
    compare(ours, redis8, [2, 3, third], chosen)


@QUICK
@given(chosen=steps(IN_TRANSACTIONS, 10))
def test_transactions(ours: tuple[str, int], redis8: Server, chosen: list[Step]) -> None:
    compare(ours, redis8, [2, 3, 3], chosen)


@QUICK
@given(chosen=steps(SILENT, 5))
def test_silence(ours: tuple[str, int], redis8: Server, chosen: list[Step]) -> None:
    compare(ours, redis8, [2, 3, 3], chosen)


@pytest.mark.parametrize("third", [2, 3])
def test_leaving_all(ours: tuple[str, int], redis8: Server, third: int) -> None:
    words = ("SUBSCRIBE a", "UNSUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE a", "SUBSCRIBE b",
             "UNSUBSCRIBE", "PUNSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE a", "SUNSUBSCRIBE",
             "SUNSUBSCRIBE", "GET k")  # fmt: skip
    compare(ours, redis8, [2, 3, third], [(2, word) for word in words])


def test_quit_while_subscribed(ours: tuple[str, int], redis8: Server) -> None:
    compare(ours, redis8, [2, 3], [
        (0, "SUBSCRIBE a"), (1, "SUBSCRIBE a"), (0, "QUIT"), (1, "PUBLISH a x"), (1, "QUIT"),
    ])  # fmt: skip

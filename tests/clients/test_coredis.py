"""coredis, which speaks trio natively: one node and a cluster."""

from __future__ import annotations

import coredis
import pytest
import trio

from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


async def test_a_node(node_port: int) -> None:
    client = coredis.Redis(port=node_port, decode_responses=True)
    async with client:
        await client.flushall()
        await client.set("a", "1")
        assert await client.incr("a") == 2
        await client.hset("h", {"f": "v"})
        assert await client.hgetall("h") == {"f": "v"}
        await client.zadd("z", {"m": 1.5})
        assert await client.zscore("z", "m") == 1.5
        async with client.pipeline(transaction=True) as pipe:
            first = pipe.incr("a")
            second = pipe.get("a")
        assert (await first, await second) == (3, "3")
        assert await client.eval("return ARGV[1]", args=["x"]) == "x"
        stamp = await client.xadd("s", field_values={"f": "v"})
        assert len(await client.xrange("s")) == 1 and stamp


async def test_a_waiting_pop(node_port: int) -> None:
    got = []

    async def wait(client: coredis.Redis[str]) -> None:
        got.append(await client.blpop(["queue"], timeout=10))

    client = coredis.Redis(port=node_port, decode_responses=True)
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(wait, client)
        await client.rpush("queue", ["job"])
    assert [list(one) for one in got] == [["queue", "job"]]


async def test_a_cluster(cluster: e2e.Cluster) -> None:
    client = coredis.RedisCluster("127.0.0.1", cluster.ports.node, decode_responses=True)
    async with client:
        for number in range(30):
            await client.set(f"k{number}", str(number))
        assert await client.get("k29") == "29"
        await client.flushall()

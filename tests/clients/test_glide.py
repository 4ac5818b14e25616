"""valkey-glide: its core is Rust's redis client, with another idea of connections than redis-py."""

from __future__ import annotations

import asyncio

import pytest
from glide import (
    GlideClient,
    GlideClientConfiguration,
    GlideClusterClient,
    GlideClusterClientConfiguration,
    NodeAddress,
    ProtocolVersion,
    Script,
)

from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
PROTOCOLS = [ProtocolVersion.RESP2, ProtocolVersion.RESP3]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_node(node_port: int, protocol: ProtocolVersion) -> None:
    async def use() -> None:
        address = NodeAddress("127.0.0.1", node_port)
        client = await GlideClient.create(GlideClientConfiguration([address], protocol=protocol))
        await client.flushall()
        await client.set("a", "1")
        assert await client.incr("a") == 2
        await client.hset("h", {"f": "v"})
        assert await client.hgetall("h") == {b"f": b"v"}
        await client.zadd("z", {"m": 1.5})
        assert await client.zscore("z", "m") == 1.5
        await client.sadd("s", ["x"])
        assert await client.smembers("s") == {b"x"}
        assert await client.invoke_script(Script("return ARGV[1]"), args=["x"]) == b"x"
        await client.close()

    asyncio.run(use())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_cluster(cluster: e2e.Cluster, protocol: ProtocolVersion) -> None:
    async def use() -> None:
        address = NodeAddress("127.0.0.1", cluster.ports.node)
        client = await GlideClusterClient.create(
            GlideClusterClientConfiguration([address], protocol=protocol)
        )
        await client.mset({f"k{number}": str(number) for number in range(30)})
        assert await client.mget(["k0", "k29"]) == [b"0", b"29"]
        assert await client.delete([f"k{number}" for number in range(30)]) == 30
        await client.close()

    asyncio.run(use())

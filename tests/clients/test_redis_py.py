"""redis-py in all its forms: blocking, asyncio, cluster; RESP2 and RESP3."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from redis.cache import CacheConfig
from redis.cluster import RedisCluster

from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40)]


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(request: pytest.FixtureRequest, node_port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=node_port, protocol=request.param, decode_responses=True) as made:
        made.flushall()
        yield made


def test_pipelines_and_transactions(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.set(f"k{number}", number)
        assert all(pipe.execute())
    with client.pipeline() as pipe:
        pipe.incr("k1").hset("h", mapping={"a": 1}).lpush("l", "x").get("k1")
        assert pipe.execute() == [2, 1, 1, "2"]

    def bump(pipe: redis.client.Pipeline) -> None:
        pipe.multi()
        pipe.incr("k1")

    assert client.transaction(bump, "k1") == [3]
    with client.pipeline() as pipe:
        pipe.watch("k1")
        client.set("k1", "other")
        pipe.multi()
        pipe.get("k1")
        with pytest.raises(redis.WatchError):
            pipe.execute()


def test_every_type(client: redis.Redis) -> None:
    client.zadd("z", {"a": 1.5, "b": 2})
    assert client.zrange("z", 0, -1, withscores=True) in (
        [("a", 1.5), ("b", 2.0)], [["a", 1.5], ["b", 2.0]]
    )  # fmt: skip
    client.sadd("s", "x", "y")
    assert client.smembers("s") == {"x", "y"}
    assert client.geoadd("g", (13.361389, 38.115556, "Palermo")) == 1
    assert client.geosearch("g", longitude=13, latitude=38, radius=200, unit="km") == ["Palermo"]
    assert client.pfadd("hll", "a", "b") == 1
    assert client.pfcount("hll") == 2
    assert client.setbit("bits", 7, 1) == 0
    assert client.bitcount("bits") == 1
    assert client.hset("h", mapping={"f": "v", "g": "w"}) == 2
    assert client.hexpire("h", 100, "f") == [1]
    assert client.httl("h", "f", "g") == [100, -1]
    assert sorted(client.scan_iter(count=2)) == ["bits", "g", "h", "hll", "s", "z"]
    assert client.object("encoding", "s") == "listpack"
    client.rpush("nums", 3, 1, 2)
    assert client.sort("nums") == ["1", "2", "3"]


def test_streams_and_groups(client: redis.Redis) -> None:
    first = client.xadd("st", {"a": 1})
    client.xadd("st", {"a": 2})
    client.xgroup_create("st", "g", id="0")
    (taken,) = dict(client.xreadgroup("g", "c", {"st": ">"}, count=10)).values()
    assert len(taken if len(taken) > 1 else taken[0]) == 2
    assert client.xack("st", "g", first) == 1
    assert client.xpending("st", "g")["pending"] == 1
    assert client.xinfo_stream("st")["length"] == 2
    assert client.xautoclaim("st", "g", "other", 0)[0] == "0-0"
    assert client.xtrim("st", maxlen=1, approximate=False) == 1


def test_scripts_and_functions(client: redis.Redis) -> None:
    script = client.register_script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
    assert script(keys=["n"], args=["x"]) == ["n", "x", 1]
    assert script(keys=["n"], args=["x"]) == ["n", "x", 2]
    client.function_load(
        "#!lua name=lib\nredis.register_function('f', function(k, a) return a[1] end)", replace=True
    )
    assert client.fcall("f", 0, "hi") == "hi"
    client.function_flush()
    with pytest.raises(redis.ResponseError, match="boom"):
        client.eval("return redis.error_reply('boom')", 0)


def test_locks(client: redis.Redis) -> None:
    with client.lock("lock", timeout=10, blocking_timeout=1) as lock:
        assert lock.locked()
        assert not client.lock("lock", blocking=False).acquire()
        assert lock.extend(5)
    assert client.exists("lock") == 0


def test_publish_and_subscribe(client: redis.Redis) -> None:
    with client.pubsub() as listener:
        listener.subscribe("news")
        listener.psubscribe("n*")
        kinds = [listener.get_message(timeout=5)["type"] for _ in range(2)]
        assert kinds == ["subscribe", "psubscribe"]
        assert client.publish("news", "hi") == 2
        got = [listener.get_message(timeout=5) for _ in range(2)]
        assert sorted(message["type"] for message in got) == ["message", "pmessage"]
        assert {message["data"] for message in got} == {"hi"}


def test_a_waiting_pop_is_served(client: redis.Redis, node_port: int) -> None:
    got = []
    with redis.Redis(port=node_port, decode_responses=True) as other:
        waiter = threading.Thread(target=lambda: got.append(other.blpop(["queue"], timeout=10)))
        waiter.start()
        while not any(one["flags"] == "b" for one in client.client_list()):
            assert waiter.is_alive()
        client.rpush("queue", "job")
        waiter.join(10)
    assert [list(one) for one in got] == [["queue", "job"]]


def test_the_client_side_cache(node_port: int) -> None:
    with (
        redis.Redis(
            port=node_port,
            protocol=3,
            cache_config=CacheConfig(max_size=100),
            decode_responses=True,
        ) as cached,
        redis.Redis(port=node_port) as other,
    ):
        cached.set("c", "1")
        assert cached.get("c") == "1"
        assert cached.get_cache().size == 1
        other.set("c", "2")
        # The invalidation is on its way; a reply on the same connection comes behind it.
        cached.ping()
        assert cached.get("c") == "2"


def test_asyncio(node_port: int) -> None:
    async def use() -> None:
        async with redis.asyncio.Redis(port=node_port, protocol=3, decode_responses=True) as many:
            await many.flushall()
            await asyncio.gather(*(many.set(f"k{n}", n) for n in range(50)))
            assert await many.mget("k0", "k49") == ["0", "49"]
            async with many.pipeline(transaction=True) as pipe:
                assert await pipe.incr("n").get("n").execute() == [1, "1"]
            async with many.pubsub() as listener:
                await listener.subscribe("a")
                await listener.get_message(timeout=5)
                await many.publish("a", "x")
                message = await listener.get_message(timeout=5)
                assert message is not None and message["data"] == "x"
            async with many.lock("l", timeout=5):
                assert await many.exists("l") == 1

    asyncio.run(use())


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_cluster_client(cluster: e2e.Cluster, protocol: int) -> None:
    with RedisCluster(
        host="127.0.0.1", port=cluster.ports.node, protocol=protocol, decode_responses=True
    ) as client:
        for number in range(60):
            client.set(f"k{number}", number)
        assert client.mget_nonatomic("k1", "k59") == ["1", "59"]
        with client.pipeline() as pipe:
            for number in range(60):
                pipe.get(f"k{number}")
            assert pipe.execute() == [str(number) for number in range(60)]
        assert sum(1 for _ in client.scan_iter("k*", count=7)) == 60
        assert client.eval("return KEYS[1]", 1, "k5") == "k5"
        client.lpush("{t}l", "a", "b")
        assert client.rpoplpush("{t}l", "{t}m") == "a"
        assert client.delete(*(f"k{number}" for number in range(60))) == 60
        client.flushall()


def test_asyncio_cluster(cluster: e2e.Cluster) -> None:
    async def use() -> None:
        client = redis.asyncio.RedisCluster(
            host="127.0.0.1", port=cluster.ports.node, decode_responses=True
        )
        async with client:
            await asyncio.gather(*(client.set(f"a{n}", n) for n in range(40)))
            assert await client.get("a39") == "39"
            async with client.pipeline() as pipe:
                assert await pipe.get("a1").get("a2").execute() == ["1", "2"]
            await client.flushall()

    asyncio.run(use())


def test_sharded_channels(cluster: e2e.Cluster) -> None:
    with RedisCluster(host="127.0.0.1", port=cluster.ports.node, decode_responses=True) as client:
        listener = client.pubsub()
        listener.ssubscribe("{a}news")
        message = None
        while message is None or message["type"] != "ssubscribe":
            message = listener.get_sharded_message(timeout=5)
        client.spublish("{a}news", "hi")
        while message is None or message["type"] != "smessage":
            message = listener.get_sharded_message(timeout=5)
        assert message["data"] == "hi"
        listener.close()

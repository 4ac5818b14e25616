"""Transactions, waiting, subscriptions and scripts through the proxy of a running cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis

from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ANSWER_SECONDS_MAX = 10


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    with e2e.running(tmp_path_factory.mktemp("tied")) as found:
        yield found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(cluster: e2e.Cluster, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with redis.Redis(
        port=cluster.ports.proxy, protocol=request.param, socket_timeout=ANSWER_SECONDS_MAX
    ) as made:
        made.flushall()
        yield made


def test_pipelines_are_transactions(client: redis.Redis) -> None:
    for tag in ("a", "b", "c"):
        with client.pipeline(transaction=True) as pipe:
            pipe.set(f"{{{tag}}}k", "v").incr(f"{{{tag}}}n").get(f"{{{tag}}}k")
            assert pipe.execute() == [True, 1, b"v"]


def test_optimistic_locking(client: redis.Redis) -> None:
    client.set("n", 5)

    def double(pipe: redis.client.Pipeline) -> None:
        value = int(pipe.get("n"))
        pipe.multi()
        pipe.set("n", 2 * value)

    assert client.transaction(double, "n") == [True]
    assert client.get("n") == b"10"
    with client.pipeline() as pipe:
        pipe.watch("n")
        client.set("n", 1)
        pipe.multi()
        pipe.set("n", 2)
        with pytest.raises(redis.WatchError):
            pipe.execute()


def test_a_queue_with_waiting_workers(cluster: e2e.Cluster, client: redis.Redis) -> None:
    taken: list[bytes] = []

    def work() -> None:
        with redis.Redis(port=cluster.ports.proxy, socket_timeout=ANSWER_SECONDS_MAX) as worker:
            for _ in range(3):
                found = worker.blpop(["queue"], timeout=5)
                if found is not None:
                    taken.append(found[1])

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for n in range(12):
        client.rpush("queue", n)
    for worker in workers:
        worker.join(ANSWER_SECONDS_MAX)
    assert sorted(taken, key=int) == [b"%d" % n for n in range(12)]
    assert client.llen("queue") == 0


def test_what_is_published_reaches_every_subscriber(
    cluster: e2e.Cluster, client: redis.Redis
) -> None:
    others = [redis.Redis(port=cluster.ports.proxy) for _ in range(4)]
    listeners = [other.pubsub(ignore_subscribe_messages=True) for other in others]
    try:
        for listener in listeners:
            listener.subscribe("news")
            listener.psubscribe("n*")
            # The confirmations: from then on nothing may be missed.
            assert listener.get_message(timeout=ANSWER_SECONDS_MAX) is None
            assert listener.get_message(timeout=ANSWER_SECONDS_MAX) is None
        client.publish("news", "hello")
        for listener in listeners:
            found = [listener.get_message(timeout=ANSWER_SECONDS_MAX) for _ in range(2)]
            assert sorted(one["type"] for one in found) == ["message", "pmessage"]
            assert {one["data"] for one in found} == {b"hello"}
    finally:
        for listener, other in zip(listeners, others, strict=True):
            listener.close()
            other.close()


def test_scripts(client: redis.Redis) -> None:
    add = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert [add(keys=[key], args=[5]) for key in ("x", "y", "z", "x")] == [5, 5, 5, 10]
    client.function_load(
        "#!lua name=lib\nredis.register_function('twice', function(k, a) return 2 * a[1] end)",
        replace=True,
    )
    assert client.fcall("twice", 1, "x", 21) == 42
    assert client.fcall("twice", 1, "zz", 4) == 8


def test_streams_and_groups(client: redis.Redis) -> None:
    client.xgroup_create("s", "g", mkstream=True)
    identity = client.xadd("s", {"f": "v"})
    found = client.xreadgroup("g", "me", {"s": ">"}, count=1, block=1000)
    assert identity in repr(found).encode()
    assert client.xack("s", "g", identity) == 1

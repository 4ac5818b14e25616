"""Applications that keep their state in Redis, each doing what it is for, on a node."""

from __future__ import annotations

import asyncio
import datetime
import threading

import pytest
import redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture(autouse=True)
def url(node_port: int) -> str:
    with redis.Redis(port=node_port) as client:
        client.flushall()
    return f"redis://127.0.0.1:{node_port}/0"


ran = threading.Event()


def mark() -> None:
    ran.set()


def twice(number: int) -> int:
    return 2 * number


def test_celery(url: str) -> None:
    from celery import Celery
    from celery.contrib.testing.worker import start_worker

    app = Celery("tests", broker=url, backend=url)
    task = app.task(name="twice")(twice)
    app.finalize()
    with start_worker(app, perform_ping_check=False, pool="solo"):
        assert task.delay(21).get(timeout=30) == 42
        results = [task.delay(number) for number in range(10)]
        assert [result.get(timeout=30) for result in results] == [2 * n for n in range(10)]


def test_rq(url: str) -> None:
    from rq import Queue, SimpleWorker

    with redis.Redis.from_url(url) as connection:
        queue = Queue(connection=connection)
        jobs = [queue.enqueue(twice, number) for number in range(5)]
        later = queue.enqueue_in(datetime.timedelta(seconds=1000), twice, 5)
        SimpleWorker([queue], connection=connection).work(burst=True)
        assert [job.return_value() for job in jobs] == [0, 2, 4, 6, 8]
        assert later.get_status() == "scheduled"


def test_dramatiq(url: str) -> None:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(url=url)
    backend = RedisBackend(url=url)
    broker.add_middleware(Results(backend=backend))
    actor = dramatiq.actor(twice, broker=broker, store_results=True)
    worker = dramatiq.Worker(broker, worker_timeout=100)
    worker.start()
    try:
        messages = [actor.send(number) for number in range(5)]
        got = [
            message.get_result(backend=backend, block=True, timeout=20_000) for message in messages
        ]
        assert got == [0, 2, 4, 6, 8]
    finally:
        worker.stop()
        broker.close()


def test_huey(url: str) -> None:
    from huey import RedisHuey

    huey = RedisHuey(url=url)
    task = huey.task()(twice)
    result = task(4)
    huey.execute(huey.dequeue())
    assert result.get(blocking=True, timeout=5) == 8


def test_django_caches(url: str) -> None:
    import django
    from django.conf import settings

    settings.configure(
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url},
            "other": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url},
        }
    )
    django.setup()
    from django.core.cache import caches

    for cache in (caches["default"], caches["other"]):
        cache.set("a", {"x": [1, 2]}, timeout=100)
        assert cache.get("a") == {"x": [1, 2]}
        assert cache.add("a", 1) is False
        cache.set_many({"n": 1, "m": 2})
        assert cache.incr("n") == 2
        assert cache.get_many(["n", "m"]) == {"n": 2, "m": 2}
        assert cache.touch("a", 50)
        assert cache.delete("a")
        cache.clear()
        assert cache.get("n") is None


def test_flask_sessions(url: str) -> None:
    from flask import Flask, session
    from flask_session import Session

    app = Flask("tests")
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(url))
    Session(app)

    @app.route("/")
    def count() -> str:
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    with app.test_client() as browser:
        assert [browser.get("/").data for _ in range(3)] == [b"1", b"2", b"3"]


def test_bullmq(url: str) -> None:
    from bullmq import Queue, Worker

    async def use() -> None:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def process(job, token):  # type: ignore[no-untyped-def]
            done.set_result(2 * job.data["n"])
            return 2 * job.data["n"]

        queue = Queue("q", {"connection": url})
        await queue.add("double", {"n": 21})
        worker = Worker("q", process, {"connection": url})
        assert await asyncio.wait_for(done, 30) == 42
        counts = await queue.getJobCounts("wait", "active", "completed", "delayed")
        assert counts["wait"] == 0
        await worker.close()
        await queue.close()

    asyncio.run(use())


def test_apscheduler(url: str, node_port: int) -> None:
    from apscheduler.jobstores.redis import RedisJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(jobstores={"default": RedisJobStore(port=node_port)})
    scheduler.start()
    try:
        ran.clear()
        scheduler.add_job(mark, id="soon", trigger="date")
        assert ran.wait(20)
        later = datetime.datetime.now() + datetime.timedelta(days=1)
        scheduler.add_job(twice, "date", run_date=later, args=[1], id="later")
        assert [job.id for job in scheduler.get_jobs()] == ["later"]
    finally:
        scheduler.shutdown()


def test_redis_om(url: str) -> None:
    from redis_om import HashModel, get_redis_connection

    class Person(HashModel, index=True):
        name: str
        age: int

        class Meta:
            database = get_redis_connection(url=url, decode_responses=True)

    person = Person(name="Ada", age=36)
    person.save()
    assert Person.get(person.pk).name == "Ada"
    person.update(age=37)
    assert Person.get(person.pk).age == 37
    person.expire(100)
    assert Person.delete(person.pk) == 1

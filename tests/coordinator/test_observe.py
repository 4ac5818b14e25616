"""Log lines, and the HTTP responder for metrics against good and bad clients."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from prometheus_client import CollectorRegistry, Gauge

from isthmus.coordinator.observe import CoordinatorCollector
from isthmus.coordinator.server import Coordinator, Settings
from isthmus.coordinator.store.memory import Shelf
from isthmus.wire import logs, metrics_http
from isthmus.wire.membership import open_stream


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    said = logs.line(
        1795444800.1239, "INFO", "peer",
        {"a": 1, "ok": True, "f": 0.25, "text": 'say "hi"\nnow', "raw": b"\xff=", "none": ""},
    )  # fmt: skip
    assert said == (
        "2026-11-23T14:40:00.123Z INFO peer a=1 ok=true f=0.25"
        ' text="say \\"hi\\"\\nnow" raw="\\\\xff=" none=""\n'
    )


def test_long_values_are_cut() -> None:
    assert len(logs.line(0, "INFO", "e", {"v": "x" * 10_000})) < 1200


def test_a_closed_stream_does_not_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    logs.log("event")


async def ask(address: str, request: bytes) -> bytes:
    stream = await open_stream(address)
    async with stream:
        await stream.send_all(request)
        answer = b""
        with trio.fail_after(5):
            while data := await stream.receive_some(65536):
                answer += data
        return answer


@pytest.fixture
async def address(nursery: trio.Nursery) -> str:
    registry = CollectorRegistry()
    Gauge("answer", "Of everything", registry=registry).set(42)
    start = partial(metrics_http.serve_metrics, "127.0.0.1", 0, registry)
    return str(await nursery.start(start))


async def test_metrics_and_health(address: str) -> None:
    said = await ask(address, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n") and b"\nanswer 42.0\n" in said
    assert (await ask(address, b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nok\n")
    assert (await ask(address, b"HEAD /healthz HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /secrets HTTP/1.1\r\n\r\n", b"404"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /metrics\r\n\r\n", b"400"),
    ],
)
async def test_other_requests(address: str, request_bytes: bytes, status: bytes) -> None:
    assert (await ask(address, request_bytes)).startswith(b"HTTP/1.1 " + status)


async def test_a_head_without_end_is_not_kept(address: str) -> None:
    stream = await open_stream(address)
    async with stream:
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
            while True:
                await stream.send_all(b"x" * 4096)


def test_a_coordinator_is_seen_as_it_is() -> None:
    coordinator = Coordinator(Settings(), Shelf().open(), lambda: 1)
    seen = {m.name: m for m in CoordinatorCollector(coordinator).collect()}
    assert seen["isthmus_coordinator_epoch"].samples[0].value == 0
    assert seen["isthmus_coordinator_term"].samples[0].value == 1
    assert seen["isthmus_coordinator_commits"].samples[0].name.endswith("_total")
    assert seen["isthmus_coordinator_receipts_open"].samples[0].value == 0
    decisions = seen["isthmus_coordinator_decisions"].samples
    assert {sample.labels["event"] for sample in decisions} >= {"failover", "planned", "receipt"}

"""What `isthmus failover explain`, `whatif` and `durability` show of the coordinator's answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.cli import inquiry, screen
from isthmus.cli.app import run
from isthmus.cli.failover import explained, foretold

A, B = "a" * 40, "b" * 40
STATUS: dict[str, Any] = {
    "epoch": 5, "durability": "replica:5000:67108864", "replicas_wanted": 1,
    "warnings": ["shard 0 has 1 living copies of the 2 wanted"],
    "processes": [
        {"role": "primary", "id": A, "address": "h:1", "zone": "x", "shard": 0, "state": "up",
         "topology_epoch": 5},
        {"role": "replica", "id": B, "address": "h:2", "zone": "y", "shard": 0, "state": "up",
         "topology_epoch": 5, "synced": True, "lag_bytes": 2048, "copy": {"state": "streaming"}},
    ],
}  # fmt: skip
ASK = ["--coordinator", "h:9400"]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    calls: list[Any] = []

    async def call(address: str, method: str, seconds: float = 5, **params: object) -> Any:
        calls.append((method, params))
        if method == "failover" and params["shard"] == 7:
            raise inquiry.Unanswered("there is no shard 7")
        answers: dict[str, Any] = {
            "failover": {"shard": 0, "epoch": 6, "primary": B},
            "explain": {"entries": []},
            "whatif": {"down": [{"address": "h:1"}], "shards": [], "outcomes": {"lost": 1}},
        }
        return answers.get(method, STATUS)

    monkeypatch.setattr(inquiry, "_ask", call)
    yield calls


def test_a_failover_names_its_target_by_address(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["failover", "0", "--to", "h:2", *ASK]) == 0
    assert "shard 0: h:2 in zone y is primary now, epoch 6" in capsys.readouterr().out
    assert ("failover", {"shard": 0, "to": B, "accept_loss": False}) in asked


def test_what_the_coordinator_says_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["failover", "7", *ASK]) == 1
    assert "there is no shard 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["failover", "x"], ["failover", "0", "1"], ["failover", "explain", "--accept-loss"],
     ["failover", "0", "--to", "h:9"], ["whatif", "planet", "x"], ["durability", "set", "maybe"]],
)  # fmt: skip
def test_command_lines_that_make_no_sense(words: list[str]) -> None:
    assert run([*words, *ASK]) == 2


def test_the_journal_for_people() -> None:
    assert explained([]) == ["nothing was decided yet"]
    sight = {
        "node": A, "role": "primary", "zone": "x", "connected": False, "alive": False,
        "silent_ms": 1100, "state": "serving", "offset": 9, "data_epoch": 3,
    }  # fmt: skip
    entry = {"at_ms": 1, "shard": 0, "epoch": 5, "event": "failover", "text": "b", "saw": [sight]}
    first, second = explained([entry])
    assert first.endswith(".001 shard 0, epoch 5: failover: b")
    assert second.strip() == (
        "aaaaaaaa, primary, zone x, no connection, dead, last heard 1100 ms before,"
        " serving at offset 9, data of epoch 3"
    )


def test_what_would_be() -> None:
    told = {
        "shard": 0, "outcome": "fails over", "promoted": B, "lost": [A], "text": "soon",
    }  # fmt: skip
    answer = {"down": [{"address": "h:1"}], "shards": [told], "outcomes": {"fails over": 1}}
    assert foretold(answer, STATUS) == [
        "1 nodes down: h:1",
        "  shard 0: fails over to h:2 (loses h:1): soon",
        "1 fails over",
    ]


def test_durability_is_shown_and_set(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["durability", *ASK]) == 0
    out = capsys.readouterr().out
    assert "replies go out when a replica in sync has the write" in out
    assert "replica h:2: in sync, 2.0 KiB behind" in out
    assert run(["durability", "set", "async:500", *ASK]) == 0
    assert ("set_durability", {"policy": "async:500:67108864"}) in asked


def test_status_shows_epoch_lag_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", *ASK]) == 0
    out = capsys.readouterr().out
    assert "durability replica" in out and "warning: shard 0 has 1 living copies" in out
    assert "epoch" in out and "2.0 KiB behind" in out


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"role": "primary"}, "-"),
        ({"role": "replica"}, "?"),
        ({"role": "replica", "lag_bytes": 0, "copy": {"state": "streaming"}}, "0"),
        ({"role": "replica", "lag_bytes": 9, "copy": {"state": "syncing"}}, "syncing"),
    ],
)
def test_lag(row: dict[str, Any], shown: str) -> None:
    assert screen.lag(row) == shown


def leading(left: int, role: str = "primary") -> dict[str, Any]:
    return {"role": "primary", "copy": {"role": role, "lease_left_ms": left}}


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"role": "proxy"}, "up"),
        ({"role": "coordinator", "state": "standby"}, "standby"),
        ({"role": "primary", "state": "dead"}, "dead"),
        ({"role": "primary"}, "up"),
        (leading(1840), "lease 1.8 s"),
        (leading(0), "no lease"),
        (leading(1 << 40), "leads"),
        (leading(0, "replica"), "taking over"),
        ({"role": "replica", "lag_bytes": 9, "copy": {"state": "streaming"}}, "not in sync"),
        ({"role": "replica", "synced": True, "lag_bytes": 0}, "0 behind"),
        ({"role": "replica", "copy": {"state": "syncing"}}, "syncing"),
    ],
)
def test_how_a_process_stands(row: dict[str, Any], shown: str) -> None:
    assert screen.standing(row) == shown

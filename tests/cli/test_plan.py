"""The shape of a local cluster, and when it counts as whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.cli.plan import BadPlan, Options, behind, make, ready, slot_count

OPTIONS = Options(
    shards=3,
    replicas=0,
    zones=("a", "b"),
    port=10000,
    node_port=8500,
    coordinator_port=9400,
    proxies=2,
    region="local",
    data_dir=Path("/data"),
)


def test_processes_in_the_order_of_their_start() -> None:
    specs = make(OPTIONS)
    assert [(spec.name, spec.port) for spec in specs] == [
        ("coordinator", 9400),
        ("node-0", 8500),
        ("node-1", 8501),
        ("node-2", 8502),
        ("proxy-0", 10000),
        ("proxy-1", 10001),
    ]


def test_command_lines() -> None:
    specs = {spec.name: " ".join(spec.arguments) for spec in make(OPTIONS)}
    assert specs["coordinator"] == (
        "coordinator --port 9400 --shards 3 --region local --persistence aof:everysec "
        "--metrics-port 0 --data-dir /data/coordinator"
    )
    assert specs["node-2"] == (
        "node --coordinator 127.0.0.1:9400 --port 8502 --link-port 0 --metrics-port 0 --zone a "
        "--region local --data-dir /data/node-2"
    )
    assert specs["proxy-1"] == (
        "proxy --coordinator 127.0.0.1:9400 --port 10001 --metrics-port 0 --zone b --region local"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"replicas": 7}, "--replicas"),
        ({"shards": 0}, "--shards"),
        ({"proxies": 0}, "--proxies"),
        ({"zones": ("a b",)}, "--zones"),
        ({"zones": ("a", "")}, "--zones"),
        ({"region": "a/b"}, "--region"),
        ({"port": 65535}, "--port 65535 leaves no room for 2"),
        ({"node_port": 0}, "--node-port"),
        ({"node_port": 9399}, "--node-port and --coordinator-port both want port 9400"),
        ({"port": 8502}, "--port and --node-port both want port 8502"),
    ],
)
def test_what_cannot_be(change: dict[str, object], says: str) -> None:
    with pytest.raises(BadPlan, match=says):
        make(replace(OPTIONS, **change))  # type: ignore[arg-type]


def line(role: str, slots: list[list[int]] | None = None, **more: object) -> dict[str, object]:
    return {"role": role, "state": "up", "topology_epoch": 4, "slots": slots or [], **more}


WHOLE = [
    line("coordinator", topology_epoch=None),
    line("primary", [[0, 8191]]),
    line("primary", [[8192, 16382], [16383, 16383]]),
    line("proxy"),
]


def test_ready() -> None:
    assert slot_count(WHOLE[2]) == 8192
    whole, text = ready({"epoch": 4, "processes": WHOLE}, shards=2, proxies=1)
    assert whole
    assert text == "2 of 2 nodes, 16,384 of 16,384 slots, 1 of 1 proxies"


@pytest.mark.parametrize(
    "processes",
    [
        [],
        WHOLE[:3],
        [*WHOLE[:2], WHOLE[3]],
        [*WHOLE[:2], {**WHOLE[2], "state": "dead"}, WHOLE[3]],
        [*WHOLE[:2], {**WHOLE[2], "topology_epoch": 3}, WHOLE[3]],
        [*WHOLE[:3], {**WHOLE[3], "topology_epoch": 3}],
    ],
    ids=["nobody", "no proxy", "no second shard", "dead", "node behind", "proxy behind"],
)
def test_not_ready(processes: list[dict[str, object]]) -> None:
    assert not ready({"epoch": 4, "processes": processes}, shards=2, proxies=1)[0]


def kept(policy: str, problem: str = "") -> dict[str, object]:
    return {"disk": {"policy": policy, "problem": problem}}


@pytest.mark.parametrize(
    ("primary", "late", "hopeless"),
    [
        ({"disk": None}, True, True),
        (kept("off"), True, True),
        (kept("off", "changing to rdb:1h"), True, True),
        (kept("off", "cannot change: the disk is full"), False, True),
        (kept("rdb:1h"), False, False),
        (kept("rdb:1h", "the last snapshot failed"), False, False),
        ({**kept("off"), "state": "dead"}, False, False),
    ],
)
def test_behind_with_its_policy(primary: dict[str, object], late: bool, hopeless: bool) -> None:
    process = line("primary", [[0, 16383]], address="h:1", **primary)  # type: ignore[arg-type]
    if "state" in primary:
        process["state"] = primary["state"]
    status = {"epoch": 4, "persistence": "rdb:1h", "processes": [process, line("proxy")]}
    assert behind(status, failed=False) == (["h:1"] if late else [])
    assert behind(status) == (["h:1"] if hopeless else [])
    assert ready(status, shards=1, proxies=1)[0] == (not late and process["state"] == "up")


def test_ready_of_an_unexpected_answer() -> None:
    assert not ready({}, shards=1, proxies=1)[0]
    assert not ready({"processes": "?"}, shards=1, proxies=1)[0]


def test_replicas_are_more_nodes_in_other_zones() -> None:
    specs = make(replace(OPTIONS, replicas=1, durability="replica:5000:67108864"))
    nodes = [spec for spec in specs if spec.role == "node"]
    assert [spec.port for spec in nodes] == list(range(8500, 8506))
    assert "--replicas 1 --durability replica:5000:67108864" in " ".join(specs[0].arguments)


def test_a_cluster_with_replicas_is_whole_when_its_primaries_hold_their_leases() -> None:
    primary = {
        "role": "primary", "state": "up", "topology_epoch": 4, "slots": [[0, 16383]],
        "copy": {"lease_left_ms": 0},
    }  # fmt: skip
    proxy = {"role": "proxy", "state": "up", "topology_epoch": 4}
    replica = {"role": "replica", "state": "up"}
    status = {"epoch": 4, "processes": [primary, replica, proxy]}
    assert not ready(status, shards=1, proxies=1, replicas=1)[0]
    leads = {**primary, "copy": {"lease_left_ms": 900}}
    status = {"epoch": 4, "processes": [leads, replica, proxy]}
    assert ready(status, shards=1, proxies=1, replicas=1)[0]
    assert not ready({**status, "processes": [leads, proxy]}, 1, 1, 1)[0]

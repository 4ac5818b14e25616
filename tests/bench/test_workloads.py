"""Each test does its named work: preparation holds what the test will look for."""

from __future__ import annotations

import pytest

from bench.__main__ import parse
from bench.large import LARGE, fill
from bench.workloads import RANDOM, WORKLOADS, Load, choose, cleaning, memory_load

LOAD = Load(requests=1000, pipeline=16, clients=5, keyspace=250, value_bytes=64)


def members(name: str) -> list[bytes]:
    """Everything a workload's preparation names, without command and key."""
    return [part for argv in WORKLOADS[name].prepare(LOAD) for part in argv[2:]]


@pytest.mark.parametrize("name", ["LPOP", "RPOP", "SPOP"])
def test_pops_find_more_than_they_take(name: str) -> None:
    assert len(members(name)) > LOAD.taken > LOAD.requests


def test_zpopmin_finds_more_than_it_takes() -> None:
    pairs = members("ZPOPMIN")
    assert len(set(pairs[1::2])) > LOAD.taken
    assert len(set(pairs[::2])) > LOAD.requests


@pytest.mark.parametrize("name", ["SET", "GET", "MSET"])
def test_every_key_of_the_keyspace_exists(name: str) -> None:
    keys = {part for argv in WORKLOADS[name].prepare(LOAD) for part in argv[1::2]}
    assert keys == {b"key:%012d" % i for i in range(250)}


def test_commands_carry_the_value_and_the_random_key() -> None:
    argv = WORKLOADS["MSET"].argv(LOAD)
    assert argv[0] == "MSET"
    assert argv[1::2] == [f"key:{RANDOM}"] * 10
    assert argv[2::2] == ["x" * 64] * 10


def test_memory_load_is_16_byte_keys_and_distinct_values() -> None:
    loaded = list(memory_load(300, 64))
    assert {len(argv[1]) for argv in loaded} == {16}
    assert {len(argv[2]) for argv in loaded} == {64}
    assert len({argv[1] for argv in loaded}) == len({argv[2] for argv in loaded}) == 300


def test_cleaning_removes_only_what_the_test_uses() -> None:
    assert list(cleaning(WORKLOADS["LPOP"])) == [[b"DEL", b"mylist"]]
    assert list(cleaning(WORKLOADS["SET"])) == list(cleaning(WORKLOADS["PING"])) == []


def test_choose() -> None:
    assert [workload.name for workload in choose("set, lrange")] == ["SET", "LRANGE_100"]
    with pytest.raises(KeyError, match="NOSUCH"):
        choose("SET,nosuch")


def test_options() -> None:
    assert parse([]).what == ["node", "proxy", "memory", "large", "stalls", "saving", "replication"]
    assert parse(["--memory"]).what == ["memory"]
    assert parse(["node", "--pipeline", "1,4"]).pipeline == (1, 4)


@pytest.mark.parametrize(
    "argv",
    [["nodes"], ["--pipeline", "x"], ["--pipeline", "0"], ["--tests", "EVAL"], ["--rounds", "0"]],
)
def test_wrong_options_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(argv)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_large_structures_are_filled_whole() -> None:
    load = Load(requests=10, pipeline=1, clients=1, keyspace=1200, value_bytes=4)
    commands = list(fill(load))
    stream = [argv for argv in commands if argv[0] == b"XADD"]
    assert len(stream) == 1200
    assert sum(len(argv) - 2 for argv in commands if argv[0] == b"SADD") == 1200
    assert sum(len(argv) - 2 for argv in commands if argv[0] == b"ZADD") == 2400
    # What they work on stays between the runs: no structure of theirs is cleaned away.
    assert not any(list(cleaning(workload)) for workload in LARGE.values())

"""The parameters: defaults as Redis has them, checks, atomic changes, callbacks, command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.node.engine.config import Config, ConfigError, find, normalize, read_options
from isthmus.node.engine.config_table import ALIASES, EFFECTIVE, PARAMETERS

LINES = (
    (Path(__file__).parent.parent / "data/redis-7.4-config-defaults.tsv")
    .read_text(encoding="utf-8")
    .splitlines()
)
DEFAULTS = dict(line.split("\t") for line in LINES)
# The list was taken from a server in the background, and its port was left out.
OURS = {"daemonize": "no", "port": "6379"}


def test_every_parameter_of_redis_is_there_with_its_default() -> None:
    assert {*PARAMETERS, *ALIASES} == set(DEFAULTS)
    config = Config()
    shown = {name: config.text(ALIASES.get(name, name)) for name in DEFAULTS}
    assert shown == {**DEFAULTS, **OURS}


def test_marks_name_parameters() -> None:
    assert set(PARAMETERS) >= EFFECTIVE
    assert all(row.effect == (row.name in EFFECTIVE) for row in PARAMETERS.values())


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_a_default_is_written_as_it_is_shown(name: str) -> None:
    row = PARAMETERS[name]
    if row.default or row.kind in ("text", "special"):
        assert normalize(row, row.default, row.default) == row.default


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("maxmemory", "1kb", "1024"), ("maxmemory", "1k", "1000"),
        ("maxmemory", "2GB", "2147483648"),
        ("maxmemory", "18446744073709551615", "18446744073709551615"), ("maxmemory", "", "0"),
        ("maxmemory-clients", "5%", "5%"), ("appendonly", "YES", "yes"), ("hz", "1000", "500"),
        ("hz", "0", "1"), ("appendfsync", "ALWAYS", "always"), ("unixsocketperm", "700", "700"),
        ("notify-keyspace-events", "KEA", "AKE"), ("notify-keyspace-events", "lKg", "glK"),
        ("notify-keyspace-events", "", ""), ("save", "3600 1  300 100", "3600 1 300 100"),
        ("shutdown-on-sigint", "now SAVE", "save now"), ("repl-backlog-size", "1", "16384"),
        ("latency-tracking-info-percentiles", "007 99.50", "7 99.5"),
        ("client-output-buffer-limit", "replica 1mb 2 3",
         "normal 0 0 0 slave 1048576 2 3 pubsub 33554432 8388608 60"),
    ],
)  # fmt: skip
def test_values_are_shown_as_redis_shows_them(name: str, text: str, shown: str) -> None:
    assert Config({name: text}).text(name) == shown


def test_numbers_are_kept_as_numbers() -> None:
    config = Config({"hash-max-ziplist-entries": "7", "proto-max-bulk-len": "1mb"})
    assert config.integer("hash-max-listpack-entries") == 7
    assert config.integer("proto-max-bulk-len") == 1024 * 1024
    assert Config({"unixsocketperm": "700"}).integer("unixsocketperm") == 0o700
    config.set_many([("hash-max-listpack-entries", "8")])
    assert config.integer("hash-max-listpack-entries") == 8


def test_all_or_nothing_then_callbacks() -> None:
    config = Config()
    seen: list[tuple[str, str, str]] = []
    config.on_change(
        "timeout", lambda text: seen.append(("timeout", text, config.text("maxclients")))
    )
    with pytest.raises(ConfigError):
        config.set_many([("timeout", "5"), ("maxclients", "0")])
    assert (config.text("timeout"), seen) == ("0", [])
    config.set_many([("timeout", "5"), ("maxclients", "9")])
    assert seen == [("timeout", "5", "9")], "called once, and sees the whole change"
    config.set_many([("timeout", "5")])
    assert len(seen) == 1, "nothing changed"


def test_command_line() -> None:
    config = Config()
    for name, words in read_options(
        ["--port", "7000", "--save", "900", "1", "--save", "300", "10", "--Bind", "a", "b",
         "--requirepass", "x y", "--replicaof"]
    ):  # fmt: skip
        config.load(name, words)
    assert {name: config.text(name) for name in config.given} == {
        "port": "7000", "save": "900 1 300 10", "bind": "a b", "requirepass": "x y",
        "replicaof": "",
    }  # fmt: skip
    assert config.integer("port") == 7000
    config.load("save", [""])
    assert config.text("save") == ""


@pytest.mark.parametrize(
    "line", ["port 1", "--nope 1", "--", "-p 1", "--logfile", "--port 1 2", "--maxclients x"]
)
def test_command_line_errors(line: str) -> None:
    with pytest.raises(ConfigError):
        for name, words in read_options(line.split()):
            Config().load(name, words)


def test_what_cannot_be_applied_is_put_back() -> None:
    config = Config()
    seen = []

    def fails(text: str) -> None:
        seen.append(text)
        if text == "9":
            raise ConfigError("tcp-keepalive", "no")

    config.on_apply("timeout", lambda text: seen.append("t" + text))
    config.on_apply("tcp-keepalive", fails)
    config.set_many([("timeout", "5"), ("tcp-keepalive", "8")])
    with pytest.raises(ConfigError):
        config.set_many([("timeout", "6"), ("tcp-keepalive", "9")])
    assert (config.text("timeout"), config.integer("tcp-keepalive")) == ("5", 8)
    assert seen == ["t5", "8", "t6", "9", "t5"]


def test_find_takes_older_names_in_any_case() -> None:
    assert find("SLAVE-priority") is PARAMETERS["replica-priority"]
    assert find("nope") is None


@pytest.mark.parametrize(
    "text", ["1.5gb", "x", "-1", "1 kb", "99999999999999999999999", "\u0661", "1\n"]
)
def test_memory_values_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Config({"maxmemory": text})

"""COMMAND and its sub-commands: shapes in both protocols, and the same words as a real server."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.commands.syntax_tree import Argument, arguments_of
from isthmus.node.engine.registry import specs
from tests.support.store import Store


def test_info_shape(either: Store) -> None:
    (entry, missing) = either("COMMAND", "INFO", "GET", "nope")
    assert missing is None
    index: Any = {b"index": 1}
    span: Any = {b"lastkey": 0, b"keystep": 1, b"limit": 0}
    key_spec: Any = {
        b"flags": [b"RO", b"access"],
        b"begin_search": {b"type": b"index", b"spec": index},
        b"find_keys": {b"type": b"range", b"spec": span},
    }
    if either.client.protocol == 2:
        key_spec = [
            b"flags", [b"RO", b"access"],
            b"begin_search", [b"type", b"index", b"spec", [b"index", 1]],
            b"find_keys", [b"type", b"range", b"spec",
                           [b"lastkey", 0, b"keystep", 1, b"limit", 0]],
        ]  # fmt: skip
    assert entry == [
        b"get", 2, [b"readonly", b"fast"], 1, 1, 1, [b"@read", b"@string", b"@fast"], [],
        [key_spec], [],
    ]  # fmt: skip


def test_info_of_containers_and_subcommands(store: Store) -> None:
    (entry,) = store("COMMAND", "INFO", "client")
    names = [sub[0] for sub in entry[9]]
    assert b"client|list" in names and len(set(names)) == len(names)
    (entry,) = store("COMMAND", "INFO", "CLIENT|list")
    assert entry[0] == b"client|list"
    assert entry[6] == [b"@admin", b"@slow", b"@dangerous", b"@connection"]
    assert store("COMMAND", "INFO", "client|", "get|x") == [None, None]


def test_all_of_them(either: Store) -> None:
    entries = either("COMMAND")
    assert len(entries) == either("COMMAND", "COUNT") == len(either("COMMAND", "INFO"))
    assert all(len(entry) == 10 for entry in entries)
    docs = either("COMMAND", "DOCS")
    assert len(docs) == len(entries) * (1 if either.client.protocol == 3 else 2)
    assert len(either("COMMAND", "LIST")) > len(entries)


def test_docs(store: Store) -> None:
    store.run("HELLO 3")
    docs = store("COMMAND", "DOCS", "set", "nope", "command")
    assert set(docs) == {b"set", b"command"}
    assert docs[b"set"][b"group"] == b"string"
    arguments = {arg[b"name"]: arg for arg in docs[b"set"][b"arguments"]}
    assert arguments[b"key"] == {
        b"name": b"key", b"type": b"key", b"display_text": b"key", b"key_spec_index": 0,
    }  # fmt: skip
    assert arguments[b"get"] == {
        b"name": b"get", b"type": b"pure-token", b"token": b"GET", b"flags": [b"optional"],
    }  # fmt: skip
    assert b"command|docs" in docs[b"command"][b"subcommands"]
    getset = store("COMMAND", "DOCS", "getset")[b"getset"]
    assert getset[b"doc_flags"] == [b"deprecated"]


def test_every_syntax_line_is_readable_and_declares_its_keys() -> None:
    def keys(arguments: list[Argument]) -> int:
        return sum((arg.kind == "key") + keys(arg.parts) for arg in arguments)

    for spec in specs():
        found = keys(arguments_of(spec))
        declared = [one for one in spec.key_specs if "NOT_KEY" not in one.flags]
        assert bool(found) == bool(declared), spec.syntax


def test_list_filters(store: Store) -> None:
    assert store.run("COMMAND LIST FILTERBY PATTERN getd*") == [b"getdel"]
    assert b"client|list" in store.run("COMMAND LIST FILTERBY PATTERN CLIENT|*")
    assert b"echo" in store.run("COMMAND LIST FILTERBY ACLCAT Connection")
    assert store.run("COMMAND LIST FILTERBY ACLCAT nope") == []
    assert store.run("COMMAND LIST FILTERBY MODULE x") == []
    for line in ("x", "FILTERBY x y", "FILTERBY PATTERN", "FILTERBY PATTERN a b"):
        assert store.error("COMMAND", "LIST", *line.split()) == "ERR syntax error"


def test_getkeys(store: Store) -> None:
    assert store.run("COMMAND GETKEYS mset a 1 b 2") == [b"a", b"b"]
    assert store.run("COMMAND GETKEYSANDFLAGS SET a 1") == [[b"a", [b"OW", b"update"]]]
    assert store.run("COMMAND GETKEYSANDFLAGS SET a 1 GET") == [
        [b"a", [b"RW", b"access", b"update"]]
    ]
    assert store.run("COMMAND GETKEYS object encoding k") == [b"k"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("get a b", "ERR Invalid number of arguments specified for command"),
        ("nope a", "ERR Invalid command specified"),
        ("config get x", "ERR The command has no key arguments"),
        ("ping x", "ERR The command has no key arguments"),
        ("lmpop x a left", "ERR Invalid arguments specified for command"),
        ("lmpop 5 a left", "ERR Invalid arguments specified for command"),
        ("lmpop -1 a left", "ERR Invalid arguments specified for command"),
    ],
)
def test_getkeys_errors(store: Store, line: str, text: str) -> None:
    assert store.error("COMMAND", "GETKEYS", *line.split()) == text


def test_errors_and_help(store: Store) -> None:
    assert store.error("COMMAND", "foo") == "ERR unknown subcommand 'foo'. Try COMMAND HELP."
    assert store.error("COMMAND", "") == "ERR unknown subcommand ''. Try COMMAND HELP."
    assert store.run("COMMAND HELP")[0].startswith(b"COMMAND <subcommand>")
    assert store.error("COMMAND", "COUNT", "x").startswith("ERR wrong number of arguments")

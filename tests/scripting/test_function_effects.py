"""Function libraries in the effect log: what persistence and replicas are told of them."""

from __future__ import annotations

from isthmus.node.engine.effect import apply
from tests.support.store import Store, codes


def library(name: str, function: str) -> bytes:
    return (
        f"#!lua name={name}\nredis.register_function('{function}', function() return 1 end)"
    ).encode()


ONE, TWO = library("one", "f"), library("two", "g")


def commands(store: Store) -> list[list[bytes]]:
    """What was recorded since it was asked last."""
    store.node.keyspace.log.flush()
    seen = [effect.argv[1:] for effect in store.recorder.effects_seen]
    assert all(effect.event == b"" for effect in store.recorder.effects_seen)
    store.recorder.effects_seen.clear()
    return seen


def test_each_change_is_an_effect() -> None:
    store = Store()
    store("FUNCTION", "LOAD", ONE)
    store("FUNCTION", "LOAD", "REPLACE", ONE)
    assert commands(store) == [[b"LOAD", b"REPLACE", ONE]] * 2
    assert store.node.keyspace.log.dirty == 2
    store.error("FUNCTION", "LOAD", ONE)
    store.error("FUNCTION", "DELETE", "nosuch")
    store("FUNCTION", "LIST")
    assert commands(store) == []
    dumped = store("FUNCTION", "DUMP")
    store("FUNCTION", "DELETE", "one")
    store("FUNCTION", "FLUSH")
    assert commands(store) == [[b"DELETE", b"one"], [b"FLUSH"]]
    store("FUNCTION", "LOAD", TWO)
    store("FUNCTION", "RESTORE", dumped)
    loads = [[b"LOAD", b"REPLACE", TWO], [b"LOAD", b"REPLACE", ONE]]
    assert commands(store) == [loads[0], [b"FLUSH"], *loads]
    store.error("FUNCTION", "RESTORE", dumped)
    assert commands(store) == []


def test_effects_are_applied_again() -> None:
    store, other = Store(), Store()
    store("FUNCTION", "LOAD", ONE)
    dumped = store("FUNCTION", "DUMP")
    store("FUNCTION", "FLUSH")
    store("FUNCTION", "LOAD", TWO)
    store("FUNCTION", "RESTORE", dumped, "APPEND")
    store("FUNCTION", "DELETE", "two")
    store.node.keyspace.log.flush()
    for effect in store.recorder.effects_seen:
        apply(other.node.keyspace, effect.db, effect.argv)
    assert codes(other.node.keyspace) == codes(store.node.keyspace) == [ONE]
    assert other("FCALL", "f", 0) == 1
    store.check_replay()

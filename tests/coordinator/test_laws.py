"""Laws of the model, on random histories of members that come, go, fall silent and clash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.coordinator import model
from isthmus.coordinator.store.memory import Shelf
from isthmus.wire.policy import parse

CLUSTER = "c" * 40

members = st.sampled_from("abdef")
connections = st.integers(1, 6)
events = st.one_of(
    st.tuples(st.just("register"), connections, members, st.integers(1, 3), st.integers(0, 40)),
    st.tuples(st.just("heartbeat"), connections),
    st.tuples(st.just("leave"), connections),
    st.tuples(st.just("close"), connections),
    st.tuples(st.just("tick"), st.sampled_from([50, 250, 900, 5000])),
    st.tuples(st.just("tick"), st.just(250)),
    st.tuples(st.just("persistence"), st.sampled_from(["off", "rdb:1h", "aof:always"])),
)


def message(event: tuple[Any, ...]) -> model.Message:
    kind = event[0]
    if kind == "tick":
        return model.Tick()
    if kind == "persistence":
        return model.SetPersistence(parse(event[1]))
    if kind == "heartbeat":
        return model.Heartbeat(event[1], {"epoch": 0, "slots": 1, "keys": 2})
    if kind == "leave":
        return model.Leave(event[1])
    if kind == "close":
        return model.Closed(event[1])
    _, connection, name, run, epoch = event
    body = {
        "id": name * 40, "role": "proxy" if name == "f" else "node", "region": "local",
        "zone": name, "address": f"h:{8000 + ord(name) * 10 + run}", "pid": run,
        "incarnation": f"run{run}", "epoch": epoch,
    }  # fmt: skip
    return model.Register(connection, body)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.lists(events, max_size=40))
def test_laws(history: list[tuple[Any, ...]]) -> None:
    store = Shelf().open()
    store.create(CLUSTER, "local")
    state = model.State(CLUSTER, "local", 2)
    now = 10**12
    for event in history:
        before = model.topology(state)
        now += (event[1] if event[0] == "tick" else 5) * model.MS
        out = model.step(state, message(event), now)
        if out.persist is not None:
            store.commit(out.persist)  # raises if the epoch went back
        after = model.topology(state)
        # One number, one topology: an epoch is never used twice.
        assert (after["epoch"] == before["epoch"]) == (after == before)
        pushed = {c for c, frame in out.send if frame == after}
        if after != before:
            assert pushed >= set(state.connections), "every change reaches everybody"
        # Nobody speaks for two, nobody is spoken for twice.
        holders = {m.connection: m.id for m in state.members.values() if m.connection}
        assert holders == state.connections
        if state.shards:
            slots = sorted(pair for shard in state.shards for pair in shard.slots)
            assert slots == [(0, 8191), (8192, 16383)]
            assert len({shard.primary for shard in state.shards}) == 2
        # What a restart finds is what was promised.
        saved = store.load()
        assert saved is not None
        again = model.restore(saved, 2, model.Limits(), now)
        assert model.topology(again) == after

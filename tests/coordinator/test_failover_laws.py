"""Laws of failover and placement, on random histories of copies that say whatever they like."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.coordinator import model
from isthmus.coordinator.store.base import Batch
from isthmus.coordinator.store.memory import Shelf
from isthmus.wire.durability import Durability

CLUSTER = "c" * 40
NODES = "abdef"
ZONES = dict(zip(NODES, "xyzxy", strict=True))
STATES = ("streaming", "streaming", "streaming", "syncing", "connecting", "empty", "serving")

nodes = st.sampled_from(NODES)
said = st.tuples(
    st.sampled_from(STATES), st.integers(0, 9), st.sampled_from([0, 0, 0, 1, 99]),
    st.sampled_from([-1, 10, 5000]), st.booleans(),
)  # fmt: skip
events = st.one_of(
    st.tuples(st.just("beat"), nodes, said),
    st.tuples(st.just("beats"), said),
    st.tuples(st.just("beats"), said),
    st.tuples(st.just("close"), nodes),
    st.tuples(st.just("refused"), nodes),
    st.tuples(st.just("leave"), nodes),
    st.tuples(st.just("register"), nodes, st.integers(1, 3), said),
    st.tuples(st.just("tick"), st.sampled_from([50, 250, 250, 900, 950])),
    st.tuples(st.just("tick"), st.sampled_from([50, 250, 250, 900, 950])),
    st.tuples(st.just("failover"), st.integers(0, 2), nodes, st.booleans()),
    st.tuples(st.just("drained"), nodes),
    st.tuples(st.just("strict"), st.booleans()),
    st.tuples(st.just("restart"), st.booleans()),
)


class History:
    """A cluster of two shards with one replica each, and a spare."""

    def __init__(self) -> None:
        self.store = Shelf().open()
        self.store.create(CLUSTER, "local")
        self.store.commit(Batch(0, {model.REPLICAS: {"count": 1}}))
        limits = model.Limits(replace_ms=3000)
        self.state = model.State(CLUSTER, "local", 2, limits, replicas_wanted=1)
        self.now = 10**12
        self.runs = dict.fromkeys(NODES, 1)
        self.primaries: dict[tuple[int, int], str] = {}
        self.connections = 0
        for name in NODES:
            self.play(("register", name, 1, ("empty", 0, 0, -1, False)))
        self.play(("tick", 250))
        assert len(self.state.shards) == 2

    def connection(self, name: str) -> int:
        member = self.state.members.get(name * 40)
        return 0 if member is None else member.connection

    def copy_of(self, name: str, said: tuple[Any, ...]) -> dict[str, object] | None:
        state, offset, older, silent, fenced = said
        shard = model.shard_of(self.state, name * 40)
        if shard is None:
            return None
        primary = shard.primary == name * 40
        return {
            "shard": shard.number, "epoch": max(0, shard.epoch - older),
            "role": "primary" if primary else "replica", "state": state, "replid": "",
            "offset": offset, "data_epoch": max(0, shard.epoch - older),
            "primary_silent_ms": silent, "lease_left_ms": 900 if primary else 0, "problem": "",
            **({"fenced": shard.epoch} if fenced else {}),
        }  # fmt: skip

    def messages(self, event: tuple[Any, ...]) -> list[model.Message]:
        kind = event[0]
        if kind == "tick":
            return [model.Tick()]
        if kind == "beats":
            return [self.beat(name, event[1]) for name in NODES]
        if kind == "failover":
            to = event[2] * 40 if event[3] else None
            return [model.Failover(77, 1, event[1], to, event[3])]
        if kind == "strict":
            return [model.SetDurability(Durability("replica" if event[1] else "async"))]
        if kind == "restart":
            return []
        name = event[1]
        if kind == "beat":
            return [self.beat(name, event[2])]
        if kind == "close":
            return [model.Closed(self.connection(name))]
        if kind == "refused":
            return [model.Probe(name * 40, f"run{self.runs[name]}")]
        if kind == "leave":
            return [model.Leave(self.connection(name))]
        if kind == "drained":
            shard = model.shard_of(self.state, name * 40)
            number, epoch = (shard.number, shard.epoch) if shard else (0, 0)
            body = {"shard": number, "epoch": epoch, "offset": 5}
            return [model.Drained(self.connection(name), body)]
        return [self.register(name, event[2], event[3])]

    def beat(self, name: str, said: tuple[Any, ...]) -> model.Message:
        body = {"epoch": self.state.epoch, "slots": 1, "keys": 2, "copy": self.copy_of(name, said)}
        return model.Heartbeat(self.connection(name), body)

    def register(self, name: str, run: int, said: tuple[Any, ...]) -> model.Message:
        self.runs[name] = run
        self.connections += 1
        body = {
            "id": name * 40, "role": "node", "region": "local", "zone": ZONES[name],
            "address": f"h:{8000 + ord(name)}", "pid": run, "incarnation": f"run{run}",
            "epoch": 0, "copy": self.copy_of(name, said),
        }  # fmt: skip
        return model.Register(self.connections, body)

    def play(self, event: tuple[Any, ...]) -> None:
        self.now += (event[1] if event[0] == "tick" else 1) * model.MS
        if event[0] == "restart":
            saved = self.store.load()
            assert saved is not None
            before = model.topology(self.state)
            self.state = model.restore(saved, 2, self.state.limits, self.now)
            assert model.topology(self.state) == before
        for message in self.messages(event):
            before_state = copy.deepcopy(self.state)
            out = model.step(self.state, message, self.now)
            if out.persist is not None:
                self.store.commit(out.persist)  # raises if the epoch went back
            self.check(before_state, message)

    # --- the laws ---

    def check(self, before: model.State, message: model.Message) -> None:
        state = self.state
        same = model.topology(before) == model.topology(state)
        assert same == (before.epoch == state.epoch)
        places = [name for shard in state.shards for name in shard.copies]
        assert len(places) == len(set(places)), "a node holds one shard"
        for old, new in zip(before.shards, state.shards, strict=False):
            self.check_shard(before, old, new, message)
        for new in state.shards:
            known = self.primaries.setdefault((new.number, new.epoch), new.primary)
            assert known == new.primary, "one primary in one epoch"
            assert set(new.synced) <= set(new.replicas)

    def check_shard(
        self, before: model.State, old: model.Shard, new: model.Shard, message: model.Message
    ) -> None:
        assert new.epoch >= old.epoch
        added = [e for n, e in self.state.journal.items() if n not in before.journal]
        decisions = {e["event"] for e in added if e["shard"] == new.number}
        if set(old.copies) != set(new.copies):
            assert (old.primary, old.epoch) == (new.primary, new.epoch)
            assert new.joint == old.copies and not old.joint
            assert "copies" in decisions
            self.check_zones(before, old, new)
        if old.primary == new.primary:
            return
        assert set(old.copies) == set(new.copies)
        assert new.epoch == self.state.epoch > old.epoch
        assert new.synced == []
        assert decisions & {"failover", "planned", "forced"}, "every decision is in the journal"
        said = self.state.members[new.primary].copy
        assert said is not None and said.whole
        if "forced" in decisions:
            assert isinstance(message, model.Failover) and message.accept_loss
        elif said.data_epoch != old.epoch:
            # Older data wins only where everybody who lives has been asked.
            living = [self.state.members[name] for name in new.replicas]
            others = [m.copy for m in living if m.alive and m.copy and m.copy.whole]
            assert all(said.data_epoch >= c.data_epoch for c in others)

    def check_zones(self, before: model.State, old: model.Shard, new: model.Shard) -> None:
        added = set(new.copies) - set(old.copies)
        held = {name for shard in before.shards for name in shard.copies}
        for name in added:
            member = self.state.members[name]
            kept = {self.state.members[n].zone for n in new.copies if n != name}
            if member.zone in kept:
                free = [
                    m for m in before.members.values()
                    if m.alive and m.connection and m.id not in held and m.zone not in kept
                ]  # fmt: skip
                assert not free, "another zone had room"


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=60))
def test_laws(events: list[tuple[Any, ...]]) -> None:
    history = History()
    for event in events:
        history.play(event)
    saved = history.store.load()
    assert saved is not None
    again = model.restore(saved, 2, history.state.limits, history.now)
    assert model.topology(again) == model.topology(history.state)
    assert again.journal == history.state.journal


def likely(draw: random.Random) -> tuple[Any, ...]:
    """An event of a cluster that is well most of the time."""
    word = (
        draw.choice(STATES), draw.randrange(10), draw.choice([0, 0, 0, 0, 1, 99]),
        draw.choice([-1, 10, 5000]), draw.random() < 0.5,
    )  # fmt: skip
    good = ("streaming", 5, 0, 10, False)
    name = draw.choice(NODES)
    kind = draw.choices(
        ("beats", "beat", "close", "refused", "leave", "register", "tick", "failover", "drained",
         "strict", "restart"),
        (30, 10, 10, 5, 2, 10, 23, 4, 3, 1, 1),
    )[0]  # fmt: skip
    more: dict[str, tuple[Any, ...]] = {
        "beats": (good if draw.random() < 0.8 else word,),
        "beat": (name, word),
        "register": (name, draw.randint(1, 3), word),
        "tick": (draw.choice([50, 250, 250, 900, 950]),),
        "failover": (draw.randrange(2), name, draw.random() < 0.5),
        "strict": (draw.random() < 0.5,),
        "restart": (True,),
    }
    return (kind, *more.get(kind, (name,)))


@pytest.mark.slow
def test_laws_where_much_is_decided() -> None:
    decided: set[object] = set()
    for seed in range(120):
        draw = random.Random(seed)
        history = History()
        for _ in range(draw.randrange(20, 100)):
            history.play(likely(draw))
        decided |= {entry["event"] for entry in history.state.journal.values()}
    assert decided == {
        "suspected", "cleared", "waiting", "failover", "stays", "handover", "planned",
        "cancelled", "forced", "copies",
    }  # fmt: skip

"""Laws of moving slots, on random histories of a cluster whose nodes are simulated.

The nodes act as node/moves does: by the topology that each has heard of, keeping what they pledged.
Clients write all the time; each write is a number that a shard's copies hold. Messages are late or
lost, the coordinator is killed and comes back from its store, primaries change on purpose while
slots move. Always: every slot has one owner in the store; at most one node serves it; and whoever
serves it has everything that was ever acknowledged. In the end what was asked for is so.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from isthmus.coordinator import model
from isthmus.coordinator.slot_plan import SLOTS, count
from isthmus.coordinator.store.base import Batch
from isthmus.coordinator.store.memory import Shelf

REPLICAS = 1
WATCHED = range(0, SLOTS, 331)


def inside(slot: int, ranges: Any) -> bool:
    return any(first <= slot <= last for first, last in ranges)


class Node:
    """One node: what it has heard, and what it does by that."""

    def __init__(self, name: str, connection: int) -> None:
        self.id = name
        self.connection = connection
        self.view: dict[str, Any] = {"epoch": 0, "shards": [], "moves": []}
        self.pledges: dict[str, int] = {}
        # It gave its lease up, and when: if nobody takes over in time, it takes it again.
        self.handed = False
        self.handed_ns = 0
        self.run = 1
        self.dead = False

    def shard(self) -> Any:
        """The shard that it is the primary of, as it believes."""
        found = (s for s in self.view["shards"] if s["primary"] == self.id)
        return None if self.handed else next(found, None)

    def copy_of(self) -> Any:
        everyone = self.view["shards"]
        return next((s for s in everyone if self.id in (s["primary"], *s["replicas"])), None)

    def serves(self, slot: int) -> bool:
        shard = self.shard()
        if shard is None or not inside(slot, shard["slots"]):
            return False
        waits = (m for m in self.view["moves"] if m["id"] in self.pledges)
        return not any(inside(slot, m["slots"]) for m in waits)

    def hear(self, frame: dict[str, Any]) -> None:
        if frame["epoch"] < self.view["epoch"]:
            return
        before, self.view = self.copy_of(), frame
        after = self.copy_of()
        if before is None or after is None or before["epoch"] != after["epoch"]:
            self.handed = False
        moves = {m["id"]: m for m in frame["moves"]}
        for name, order in list(self.pledges.items()):
            move = moves.get(name)
            if move is None or move["state"] != "yielding" or move["epoch"] != order:
                del self.pledges[name]


class World:
    """A cluster, and what clients were told."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.store = (shelf := Shelf()).open()
        self.shelf = shelf
        self.store.create("c" * 40, "local")
        self.store.commit(Batch(0, {model.REPLICAS: {"count": REPLICAS}}))
        self.state = model.State("c" * 40, "local", 2, replicas_wanted=REPLICAS)
        self.now = 10**12
        self.nodes = {f"{i:040x}": Node(f"{i:040x}", i) for i in range(1, 11)}
        self.late: list[tuple[Node, dict[str, Any]]] = []
        self.sayings: list[tuple[int, model.Message]] = []
        self.data: dict[int, dict[int, int]] = {}
        # What targets have fetched, by move (their replicas have it too), and what became theirs.
        self.fetched: dict[str, dict[int, int]] = {}
        self.done: set[str] = set()
        self.truth = dict.fromkeys(WATCHED, 0)
        self.flips = 0
        self.rush = False
        for node in self.nodes.values():
            self.register(node)
        self.quiet(2)

    # -- messages -----------------------------------------------------------------------------

    def step(self, message: model.Message) -> None:
        before = {shard.number: shard.epoch for shard in self.state.shards}
        slots = {shard.number: list(shard.slots) for shard in self.state.shards}
        out = model.step(self.state, message, self.now)
        if out.persist is not None:
            self.store.commit(out.persist)
        by_connection = {node.connection: node for node in self.nodes.values()}
        for connection, frame in out.send:
            node = by_connection.get(connection)
            if node is not None:
                self.late.append((node, frame))
        for shard in self.state.shards:
            if shard.number in slots and slots[shard.number] != shard.slots:
                assert before[shard.number] == shard.epoch, "a flip leaves leases alone"
                self.flips += 1
                # Before anybody hears of it, clients write where they always did.
                for slot in WATCHED:
                    self.write(slot)
        self.check()

    def register(self, node: Node) -> None:
        at = 8000 + node.connection
        self.step(model.Register(node.connection, {
            "id": node.id, "role": "node", "region": "local", "zone": "abc"[node.connection % 3],
            "address": f"127.0.0.1:{at}", "pid": 1, "incarnation": f"run{node.run}",
            "epoch": node.view["epoch"], "cluster": "", "copy": self.copy(node),
        }))  # fmt: skip

    def copy(self, node: Node) -> dict[str, Any] | None:
        shard = node.copy_of()
        if shard is None:
            return None if node.run == 1 else {
                "shard": 0, "epoch": 0, "offset": 0, "replid": "", "role": "replica",
                "data_epoch": 0, "state": "empty", "primary_silent_ms": -1, "lease_left_ms": 0,
                "problem": "",
            }  # fmt: skip
        leads = shard["primary"] == node.id
        return {
            "shard": shard["number"], "epoch": shard["epoch"], "offset": 5, "replid": "",
            "role": "primary" if leads else "replica", "data_epoch": shard["epoch"],
            "state": "serving" if leads else "streaming", "primary_silent_ms": 0,
            "lease_left_ms": 1900 if leads else 0, "problem": "",
        }  # fmt: skip

    def kill(self, node: Node) -> None:
        """A node's process ends, if a replica has what it has; all that was under way is lost."""
        shard = model.shard_of(self.state, node.id)
        others = [] if shard is None else [
            self.nodes[name] for name in shard.copies
            if name != node.id and (name in shard.synced or name == shard.primary)
        ]  # fmt: skip
        if node.dead or not any(not other.dead for other in others):
            return
        node.dead, node.handed = True, False
        node.view = {"epoch": 0, "shards": [], "moves": []}
        node.pledges = {}
        self.late = [(who, frame) for who, frame in self.late if who is not node]
        self.step(model.Closed(node.connection))
        self.step(model.Probe(node.id, f"run{node.run}"))

    def revive(self, node: Node) -> None:
        """Another process takes a node's place, with nothing."""
        if node.dead:
            node.dead = False
            node.run += 1
            self.beat(node)

    def beat(self, node: Node) -> None:
        if node.dead:
            return
        if self.now - node.handed_ns > 6000 * model.MS:
            node.handed = False
        if node.connection not in self.state.connections:
            self.register(node)
        self.step(model.Heartbeat(node.connection, {
            "epoch": node.view["epoch"], "slots": 0, "keys": 0, "copy": self.copy(node),
            "moves": self.reports(node),
        }))  # fmt: skip

    def deliver(self) -> None:
        """One frame arrives; frames for one node keep their order."""
        if not self.late:
            return
        node = self.rng.choice(self.late)[0]
        at = next(i for i, (who, _) in enumerate(self.late) if who is node)
        frame = self.late.pop(at)[1]
        if frame.get("type") == "topology":
            self.take_over(node, frame)
        elif frame.get("type") == "handover" and node.shard() is not None:
            node.handed, node.handed_ns = True, self.now
            self.step(model.Drained(node.connection, {
                "shard": frame["shard"], "epoch": frame["epoch"], "offset": 5,
            }))  # fmt: skip
        elif frame.get("type") == "handover_cancelled":
            node.handed = False

    def take_over(self, node: Node, frame: dict[str, Any]) -> None:
        node.hear(frame)
        shard = node.shard()
        if shard is None:
            return
        held = self.data.setdefault(shard["number"], {})
        if not self.done and not held:
            held |= {slot: 0 for slot in WATCHED if inside(slot, shard["slots"])}
        for name, fetched in self.fetched.items():
            target = int(name.rpartition(".")[2])
            ours = all(inside(slot, shard["slots"]) for slot in fetched)
            if target == shard["number"] and ours and name not in self.done:
                self.done.add(name)
                held |= fetched

    # -- what nodes do ------------------------------------------------------------------------

    def side(self, move: dict[str, Any], side: str) -> Node | None:
        """The node that believes it is the primary of a move's side, and knows the move."""
        for node in self.nodes.values():
            shard = node.shard()
            if shard is not None and shard["number"] == move[side]:
                if any(m["id"] == move["id"] for m in node.view["moves"]):
                    return node
        return None

    def fetch(self) -> None:
        """A target fetches, or is fetched from; a source finds that it has everything."""
        moves = {m["id"]: m for node in self.nodes.values() for m in node.view["moves"]}
        if not moves:
            return
        move = moves[self.rng.choice(sorted(moves))]
        source, target = self.side(move, "source"), self.side(move, "target")
        if source is None or target is None:
            return
        here = next(m for m in source.view["moves"] if m["id"] == move["id"])
        there = next(m for m in target.view["moves"] if m["id"] == move["id"])
        if here["state"] not in ("copying", "yielding"):
            return
        if there["state"] == "copying" or there["id"] in self.fetched:
            if there["state"] in ("copying", "yielding"):
                held = self.data.get(move["source"], {})
                self.fetched[move["id"]] = {
                    slot: held[slot] for slot in WATCHED
                    if inside(slot, move["slots"]) and slot in held
                }  # fmt: skip
        same = self.fetched.get(move["id"]) == {
            slot: number for slot, number in self.data.get(move["source"], {}).items()
            if inside(slot, move["slots"])
        }  # fmt: skip
        ordered = here["state"] == there["state"] == "yielding" and here["epoch"] == there["epoch"]
        if ordered and same and self.rng.random() < 0.7:
            source.pledges[move["id"]] = here["epoch"]
            # It says so at once, and is heard at once or later, or never.
            said = model.MovesSaid(source.connection, {"moves": self.reports(source)})
            self.sayings.append((source.run, said))

    def reports(self, node: Node) -> list[dict[str, Any]]:
        shard = node.shard()
        rows = []
        for move in node.view["moves"] if shard is not None else ():
            row = {"id": move["id"], "epoch": shard["epoch"]}
            if move["source"] == shard["number"]:
                word = "following"
                if move["id"] in node.pledges:
                    word = "yielded"
                elif move["state"] == "cleaning":
                    self.sweep(shard["number"], move)
                    word = "clean"
                rows.append({**row, "side": "source", "state": word,
                             "order": node.pledges.get(move["id"], 0)})  # fmt: skip
            if move["target"] == shard["number"]:
                cancelled = move["state"] == "cancelled"
                if cancelled:
                    self.fetched.pop(move["id"], None)
                word = "clean" if cancelled else "following"
                rows.append({**row, "side": "target", "state": word})
        return rows

    def sweep(self, number: int, move: dict[str, Any]) -> None:
        held = self.data.get(number, {})
        for slot in [slot for slot in held if inside(slot, move["slots"])]:
            del held[slot]

    def write(self, slot: int | None = None) -> None:
        """A client writes to whoever takes it."""
        if slot is None:
            slot = self.rng.choice(WATCHED)
        serving = [node for node in self.nodes.values() if node.serves(slot)]
        assert len(serving) < 2, f"{len(serving)} nodes serve slot {slot}"
        for node in serving:
            held = self.data[node.shard()["number"]]
            assert held.get(slot) == self.truth[slot], f"slot {slot} lacks something"
            held[slot] += 1
            self.truth[slot] += 1

    # -- what must hold -----------------------------------------------------------------------

    def check(self) -> None:
        if not self.state.shards:
            return
        assert count(pair for s in self.state.shards for pair in s.slots) == SLOTS
        assert sorted(first for shard in self.state.shards for first, _ in shard.slots) == sorted(
            {first for shard in self.state.shards for first, _ in shard.slots}
        )
        busy: list[int] = []
        for move in self.state.moves.values():
            if move.state in ("copying", "yielding"):
                busy += [move.source, move.target]
                source = self.state.shard(move.source)
                assert source is not None
                assert all(inside(first, source.slots) for first, _ in move.slots)
        assert len(busy) == len(set(busy)), "a shard is in one move at a time"

    # -- histories ----------------------------------------------------------------------------

    def random_event(self) -> None:
        rng = self.rng
        if self.rush:
            # Orders to yield are withdrawn all the time.
            for move in self.state.moves.values():
                move.since_ns -= rng.choice([0, 100, 900]) * model.MS
                move.again_ns = 0
        what = rng.random() * 100
        node = rng.choice(list(self.nodes.values()))
        if what < 25:
            self.write()
        elif what < 50:
            for _ in range(rng.choice([1, 3, 40])):
                self.deliver()
        elif what < 54:
            self.hear_late()
        elif what < 74:
            self.fetch()
        elif what < 85:
            self.now += 20 * model.MS
            self.beat(node)
        elif what < 98:
            self.now += 250 * model.MS
            for each in self.nodes.values():
                self.beat(each)
            self.step(model.Tick())
            self.revive(node)
        else:
            self.rare_event(node)

    def rare_event(self, node: Node) -> None:
        """What happens once in a while."""
        rng = self.rng
        what = rng.randrange(12)
        if what == 0:
            self.step(model.SetShards(rng.choice([1, 2, 3, 4])))
        elif what < 3:
            shard = rng.choice(self.state.shards)
            self.step(model.Failover(99, 1, shard.number))
        elif what < 5:
            self.restart()
        elif what < 9:
            self.kill(self.in_a_move() or node)
        else:
            # A connection is lost, and what was under way on it.
            self.late = [(who, frame) for who, frame in self.late if who is not node]
            self.step(model.Closed(node.connection))

    def in_a_move(self) -> Node | None:
        """A primary of a side of a move."""
        sides = [n for move in self.state.moves.values() for n in (move.source, move.target)]
        shards = [shard for shard in self.state.shards if shard.number in sides]
        return self.nodes[self.rng.choice(shards).primary] if shards else None

    def hear_late(self) -> None:
        """The coordinator hears what a node said a while ago."""
        if self.sayings:
            run, said = self.sayings.pop(self.rng.randrange(len(self.sayings)))
            node = next(n for n in self.nodes.values() if n.connection == said.connection)
            if said.connection in self.state.connections and node.run == run:
                self.step(said)

    def restart(self) -> None:
        self.store.close()
        self.store = self.shelf.open()
        saved = self.store.load()
        assert saved is not None
        before = model.topology(self.state)
        self.state = model.restore(saved, 2, self.state.limits, self.now)
        assert model.topology(self.state) == before
        self.late, self.sayings = [], []

    def quiet(self, rounds: int) -> None:
        """Nothing goes wrong for a while."""
        for _ in range(rounds):
            self.now += 250 * model.MS
            for node in self.nodes.values():
                self.revive(node)
                self.beat(node)
            while self.late:
                self.deliver()
            for _ in range(4):
                self.fetch()
            self.step(model.Tick())
            self.write()


def run(seed: int, events: int) -> World:
    world = World(seed)
    world.rush = seed % 2 == 0
    for _ in range(events):
        world.random_event()
    for _ in range(60):
        world.quiet(10)
        if model.status(world.state)["goal"]["reached"]:  # type: ignore[index]
            break
    status: Any = model.status(world.state)
    assert status["goal"]["reached"], status["goal"]
    world.quiet(3)
    sizes = [count(shard.slots) for shard in world.state.shards]
    assert max(sizes) - min(sizes) <= 1
    for slot in WATCHED:
        assert [node.serves(slot) for node in world.nodes.values()].count(True) == 1
    for _ in range(300):
        world.write()
    return world


@pytest.mark.slow
def test_laws_of_moves() -> None:
    assert sum(run(seed, 1500).flips for seed in range(25)) > 100


def test_a_cluster_grows_and_shrinks() -> None:
    world = World(1)
    for shards in (4, 1):
        world.step(model.SetShards(shards))
        for _ in range(100):
            world.quiet(5)
            if model.status(world.state)["goal"]["reached"]:  # type: ignore[index]
                break
        assert len(world.state.shards) == shards

"""A small world in which leases are asked for and granted: seeded, in ticks of 20 ms.

Four nodes and a coordinator (the witness), each with a clock of its own that runs up to 2 % too
fast or slow. Messages are lost, late, and out of order; links are cut in one direction; processes
are paused and restarted, forgetting all but what is on disk: the coordinator its topology, a node
nothing. The coordinator changes primaries and copies without any judgement at all. Whatever it
does, no two processes may hold the shard in the same tick.

The classes are parameters, so that a test can put a broken one in and see the model notice.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from isthmus.wire.lease import WITNESS, Frame, Holder, Voter, voter_sets

TICK_NS = 20_000_000
LEASE_MS = 2000
RENEW_MS = 100  # often, so that a short moment in which two could hold is not missed
NODES = ("a", "b", "c", "d")
SHARD = 0


@dataclass
class Protocol:
    """What the processes run."""

    voter: Callable[[int, int], Voter] = Voter
    holder: Callable[[str, int, int], Holder] = Holder
    joint: bool = True


@dataclass
class Process:
    """A process: its clock, its mail, and what it forgets when it restarts."""

    name: str
    voter: Voter
    holder: Holder
    offset_ns: int
    rate: float
    paused_until: int = 0
    mail: list[tuple[str, Frame]] = field(default_factory=list)
    epoch: int = 0  # of the topology it has


class World:
    """One run."""

    def __init__(self, seed: int, protocol: Protocol | None = None) -> None:
        self.random = random.Random(seed)
        self.protocol = protocol or Protocol()
        self.tick = 0
        self.flight: dict[int, list[tuple[str, str, Frame]]] = {}
        self.cuts: dict[tuple[str, str], int] = {}  # (from, to) -> the tick when it heals
        self.topology: Frame = {
            "type": "topology", "epoch": 1, "shard_epoch": 1,
            "primary": "a", "replicas": ["b"], "joint": [],
        }  # fmt: skip
        self.processes = {name: self.start(name) for name in (*NODES, WITNESS)}
        self.held_ticks = 0
        self.overlaps = 0
        self.learn_own()

    def start(self, name: str) -> Process:
        draw = self.random
        offset, rate = draw.randrange(10**15), draw.uniform(0.98, 1.02)
        now = self.clock(offset, rate)
        voter = self.protocol.voter(LEASE_MS, now)
        return Process(name, voter, self.protocol.holder(name, LEASE_MS, RENEW_MS), offset, rate)

    def clock(self, offset: int, rate: float) -> int:
        return offset + int(self.tick * TICK_NS * rate)

    def restart(self, name: str) -> None:
        old = self.processes[name]
        new = self.processes[name] = self.start(name)
        new.offset_ns, new.rate = old.offset_ns, old.rate
        now = self.clock(new.offset_ns, new.rate)
        new.voter = self.protocol.voter(LEASE_MS, now)
        if name == WITNESS:
            self.learn_own()
        elif name == self.topology["primary"]:
            # Another process at the primary's place is another primary (model.py).
            self.commit(self.topology["primary"], self.topology["replicas"], primary_changed=True)

    def learn_own(self) -> None:
        self.processes[WITNESS].voter.learn(SHARD, self.topology["shard_epoch"])

    # --- the network ---

    def send(self, source: str, target: str, frame: Frame) -> None:
        draw = self.random.random
        if source != target and (draw() < 0.05 or self.cuts.get((source, target), 0) > self.tick):
            return
        delay = 1 if source == target else int(1 + draw() * 3 if draw() < 0.8 else draw() * 100)
        self.flight.setdefault(self.tick + delay, []).append((source, target, frame))

    def disturb(self) -> None:
        draw = self.random
        chance = draw.random()
        names = (*NODES, WITNESS)
        if chance < 0.03:
            self.cuts[draw.choice(names), draw.choice(names)] = self.tick + draw.randrange(400)
        elif chance < 0.033:
            self.processes[draw.choice(names)].paused_until = self.tick + draw.randrange(200)
        elif chance < 0.041:
            self.restart(draw.choice(names))
        elif chance < 0.047:
            self.fail_over()
        elif chance < 0.054:
            self.replace_copy()

    # --- the coordinator ---

    def fail_over(self) -> None:
        copies = [self.topology["primary"], *self.topology["replicas"]]
        new = self.random.choice(copies[1:])
        self.commit(new, [name for name in copies if name != new], primary_changed=True)

    def replace_copy(self) -> None:
        """Another set of copies, of two or three, with the same primary; one change at a time."""
        primary = self.topology["primary"]
        if self.topology["joint"]:
            return
        before = [primary, *self.topology["replicas"]]
        others = self.random.sample([n for n in NODES if n != primary], self.random.choice((1, 2)))
        self.commit(primary, others, joint=before if self.protocol.joint else [])

    def confirm(self, source: str, beat: Frame) -> None:
        """The present primary *holds the lease* with both sets: nobody rests on the older alone.

        That it knows both sets is not enough: if it became primary after the change, the one
        before it may still hold the shard with the older set.
        """
        topology = self.topology
        present = (source, beat["holds"]) == (topology["primary"], topology["shard_epoch"])
        if topology["joint"] and present and beat["epoch"] >= topology["since"]:
            self.commit(source, topology["replicas"], joint=[])

    def commit(
        self,
        primary: str,
        replicas: list[str],
        *,
        primary_changed: bool = False,
        joint: list[str] | None = None,
    ) -> None:
        topology = {**self.topology, "epoch": self.topology["epoch"] + 1}
        topology |= {"primary": primary, "replicas": replicas}
        if joint is not None:
            topology |= {"joint": joint, "since": topology["epoch"]}
        if primary_changed:
            topology["shard_epoch"] = topology["epoch"]
        self.topology = topology
        self.learn_own()

    # --- the processes ---

    def deliver(self, process: Process, source: str, frame: Frame, now: int) -> None:
        kind = frame["type"]
        if kind == "topology":
            self.take_topology(process, frame)
        elif kind == "beat":
            self.confirm(source, frame)
        elif kind == "grant":
            process.holder.answered(source, frame, now)
        else:
            answer = process.voter.answer(frame, now)
            if answer is not None:
                self.send(process.name, source, answer)

    def take_topology(self, process: Process, frame: Frame) -> None:
        if frame["epoch"] <= process.epoch:
            return
        process.epoch = frame["epoch"]
        process.voter.learn(SHARD, frame["shard_epoch"])
        if frame["primary"] == process.name:
            process.holder.configure(SHARD, frame["shard_epoch"], voter_sets(frame))
        elif process.holder.held_until() and self.random.random() < 0.5:
            for voter, released in process.holder.release():
                self.send(process.name, voter, released)
        else:
            process.holder.stop()

    def run_one(self, process: Process) -> bool:
        """One tick of a process; whether it holds the lease."""
        now = self.clock(process.offset_ns, process.rate)
        mail, process.mail = process.mail, []
        for source, frame in mail:
            self.deliver(process, source, frame, now)
        for voter, frame in process.holder.requests(now):
            self.send(process.name, voter, frame)
        if self.tick % 12 == 0:
            if process.name == WITNESS:
                for node in NODES:
                    self.send(WITNESS, node, dict(self.topology))
            else:
                holds = process.holder.epoch if now < process.holder.held_until() else 0
                beat = {"type": "beat", "epoch": process.epoch, "holds": holds}
                self.send(process.name, WITNESS, beat)
        return now < process.holder.held_until()

    def step(self) -> None:
        self.tick += 1
        self.disturb()
        for source, target, frame in self.flight.pop(self.tick, ()):
            self.processes[target].mail.append((source, frame))
        running = [p for p in self.processes.values() if p.paused_until <= self.tick]
        holders = [process.name for process in running if self.run_one(process)]
        self.held_ticks += bool(holders)
        self.overlaps += len(holders) > 1

    def run(self, ticks: int) -> World:
        for _ in range(ticks):
            self.step()
        return self


def overlapping_runs(seeds: range, ticks: int, protocol: Protocol | None = None) -> int:
    """In how many runs two processes held the lease at once."""
    return sum(World(seed, protocol).run(ticks).overlaps > 0 for seed in seeds)

"""Runs a transcript of the coordinator's model: commands in, what the step wants done out.

A line that starts at the margin is a comment (`#`) or a command; indented lines below it are the
output, which the runner produces and the test compares. Ids are single letters standing for
forty of them, addresses are ports on 127.0.0.1. Commands:

    shards 3                         a new cluster that wants three shards (first command)
    +100 register c1 id=a zone=x port=8500 [role= run= epoch= cluster= region=]
    +0 heartbeat c1 [epoch=]         without an epoch: the one the coordinator holds
    +0 leave c1 | +0 close c1 | +0 tick
    +2000 pass c1 c2                 that long, in steps of 250 ms: these heartbeat, then a tick
    persistence aof:always           somebody sets the policy of what is kept on disk
    restart [shards=]                the coordinator dies and comes back from its store
    backup | restore                 a copy of the store is made, and put back (with a restart)
    status                           the processes as `isthmus status` gets them

`+N` is milliseconds after the command before. Heartbeat replies that carry no news are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from isthmus.coordinator import model
from isthmus.coordinator.store.memory import Shelf
from isthmus.wire.policy import parse

CLUSTER = "c" * 40
START_MS = 1_000_000


class Script:
    """The cluster a transcript acts on."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.store = self.shelf.open()
        self.state = model.State("", "local", 0)
        self.now_ms = START_MS
        self.saved: Shelf | None = None

    def run(self, text: str) -> str:
        """The transcript with its outputs as they are now."""
        lines: list[str] = []
        for line in text.splitlines():
            if line.startswith(" "):
                continue
            lines.append(line)
            if line and not line.startswith("#"):
                lines += [f"    {out}" for out in self.command(line)]
        return "\n".join(lines) + "\n"

    def command(self, line: str) -> Iterator[str]:
        words = line.split()
        if words[0].startswith("+"):
            later = int(words.pop(0)[1:])
            if words[0] == "pass":
                yield from self.pass_time(later, words[1:])
                return
            self.now_ms += later
        verb, rest = words[0], words[1:]
        if verb in ("shards", "restart", "backup", "restore"):
            yield from self.manage(verb, rest)
        elif verb == "status":
            yield from self.status()
        elif verb == "persistence":
            yield from self.step(model.SetPersistence(parse(rest[0])))
        else:
            yield from self.step(_message(verb, rest, self.state))

    def manage(self, verb: str, rest: list[str]) -> Iterator[str]:
        if verb == "shards":
            self.store.create(CLUSTER, "local")
            self.state = model.State(CLUSTER, "local", int(rest[0]))
            return
        if verb == "backup":
            self.store.close()
            self.saved = copy.deepcopy(self.shelf)
            self.store = self.shelf.open()
            return
        self.store.close()
        if verb == "restore":
            assert self.saved is not None, "nothing was backed up"
            self.shelf = copy.deepcopy(self.saved)
        self.store = self.shelf.open()
        saved = self.store.load()
        assert saved is not None
        wanted = int(_options(rest).get("shards", self.state.shards_wanted))
        self.state = model.restore(saved, wanted, model.Limits(), self.now_ms * model.MS)
        yield f"epoch={self.state.epoch} members={len(self.state.members)} {_shards(self.state)}"

    def pass_time(self, ms: int, connections: list[str]) -> Iterator[str]:
        for _ in range(ms // 250):
            self.now_ms += 250
            for connection in connections:
                yield from self.step(_message("heartbeat", [connection], self.state))
            yield from self.step(model.Tick())

    def step(self, message: model.Message) -> Iterator[str]:
        out = model.step(self.state, message, self.now_ms * model.MS)
        if out.persist is not None:
            self.store.commit(out.persist)
            objects = [
                f"{'-' if body is None else ''}{kind}/{_short(name)}"
                for (kind, name), body in out.persist.objects.items()
            ]
            yield " ".join([f"persist epoch={out.persist.epoch}", *objects])
        for connection, frame in out.send:
            if frame["type"] != "heartbeat":
                yield f"c{connection} <- {_frame(frame)}"
        yield from (f"close c{connection}" for connection in out.close)
        for event, fields in out.notes:
            told = [f"{k}={_short(v)}" for k, v in fields.items() if k not in ("pid", "address")]
            yield " ".join([f"note {event}", *told])

    def status(self) -> Iterator[str]:
        said: dict[str, Any] = model.status(self.state)
        yield f"{said['state']} epoch={said['epoch']} shards_wanted={said['shards_wanted']}"
        for p in said["processes"]:
            yield (
                f"{p['role']} {_short(p['id'])} zone={p['zone']} shard={p['shard']}"
                f" epoch={p['epoch']} {p['address']} slots={p['slots']} {p['state']}"
            )


def _message(verb: str, rest: list[str], state: model.State) -> model.Message:
    if verb == "tick":
        return model.Tick()
    connection = int(rest[0].removeprefix("c"))
    options = _options(rest[1:])
    if verb == "leave":
        return model.Leave(connection)
    if verb == "close":
        return model.Closed(connection)
    if verb == "heartbeat":
        epoch = int(options.get("epoch", state.epoch))
        return model.Heartbeat(connection, {"epoch": epoch, "slots": 0, "keys": 0})
    assert verb == "register", verb
    body: dict[str, object] = {
        "id": options["id"] * 40 if len(options["id"]) == 1 else options["id"],
        "role": options.get("role", "node"),
        "region": options.get("region", "local"),
        "zone": options.get("zone", "z"),
        "address": f"127.0.0.1:{options['port']}",
        "pid": int(options["port"]),
        "incarnation": f"run{options.get('run', 1)}",
        "epoch": int(options.get("epoch", 0)),
        "cluster": options.get("cluster", "") * 40,
    }
    return model.Register(connection, body)


def _options(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def _short(value: object) -> object:
    whole = isinstance(value, str) and len(value) == 40 and len(set(value)) == 1
    return value[0] if whole and isinstance(value, str) else value


def _shards(state: model.State) -> str:
    return " ".join(f"{s.number}:{_short(s.primary)}@{s.epoch}" for s in state.shards) or "-"


def _frame(frame: dict[str, Any]) -> str:
    if frame["type"] == "refused":
        return f"refused {frame['code']}: {frame['error'].replace(CLUSTER, 'c')}"
    if frame["type"] != "topology":
        return str(frame["type"])
    nodes = ",".join(str(_short(n["id"])) + ("" if n["alive"] else "!") for n in frame["nodes"])
    shards = " ".join(
        f"{s['number']}:{_short(s['primary'])}@{s['epoch']}"
        + "".join(f"[{first}-{last}]" for first, last in s["slots"])
        for s in frame["shards"]
    )
    kept = "" if frame["persistence"] == "off" else f" persistence={frame['persistence']}"
    return f"topology epoch={frame['epoch']} nodes={nodes} shards={shards or '-'}{kept}"

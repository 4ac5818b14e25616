"""Runs a transcript of the coordinator's model: commands in, what the step wants done out.

A line that starts at the margin is a comment (`#`) or a command; indented lines below it are the
output, which the runner produces and the test compares. Ids are single letters standing for
forty of them, addresses are ports on 127.0.0.1. Commands:

    shards 3 [replicas=]             a new cluster that wants three shards (first command)
    +100 register c1 id=a zone=x port=8500 [role= run= epoch= cluster= region=]
    +0 heartbeat c1 [epoch=]         without an epoch: the one the coordinator holds
       ... [state= offset= data= silent= lease= fenced=]   and how its copy of a shard is
       ... [moves=ID:SIDE:STATE[:ORDER]]                how a move of slots stands there
    +0 leave c1 | +0 close c1 | +0 tick
    +2000 pass c1 c2                 that long, in steps of 250 ms: these heartbeat, then a tick
    persistence aof:always           somebody sets the policy of what is kept on disk
    scale 4 | rebalance | drain id=a   somebody sets a goal
    durability replica               somebody sets when writes are acknowledged
    +0 refused id=a                  connections to a's address are refused
    +0 lease c1 shard=0 [number=]    a node asks the witness | +0 release c1 shard=0
    failover c9 shard=0 [to=] [loss=]  somebody wants another primary; c9 gets the answer
    +0 drained c1 shard=0 offset=9   the primary has handed over
    +0 wanted c2 shard=0             a client told a replica to lead (CLUSTER FAILOVER)
    +0 receipt c1 shard=0 name=r1 [kept=no exact=no]   a node tells what it gave up
    settle r1                        somebody is done with that
    explain [shard=]                 the journal
    restart [shards=]                the coordinator dies and comes back from its store
    backup | restore                 a copy of the store is made, and put back (with a restart)
    status                           the processes as `isthmus status` gets them

`+N` is milliseconds after the command before. Heartbeat replies that carry no news are left out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from isthmus.coordinator import model
from isthmus.coordinator.store.base import Batch
from isthmus.coordinator.store.memory import Shelf
from isthmus.wire import durability
from isthmus.wire.durability import Durability
from isthmus.wire.policy import parse

CLUSTER = "c" * 40
START_MS = 1_000_000
LASTING = ("state", "offset", "silent")  # of a copy, said again with each beat of `pass`


class Script:
    """The cluster a transcript acts on."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.store = self.shelf.open()
        self.state = model.State("", "local", 0)
        self.now_ms = START_MS
        self.saved: Shelf | None = None
        self.last: dict[str, list[str]] = {}  # connection -> what its copy said

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
        elif verb == "explain":
            yield from self.explain(_options(rest))
        elif verb == "durability":
            yield from self.step(model.SetDurability(durability.parse(rest[0])))
        elif verb == "settle":
            yield from self.step(model.Settle(rest[0]))
        elif verb in ("scale", "rebalance", "drain"):
            yield from self.step(_goal(verb, rest))
        elif verb == "persistence":
            yield from self.step(model.SetPersistence(parse(rest[0])))
        else:
            if verb == "heartbeat":
                self.last[rest[0]] = [w for w in rest[1:] if w.partition("=")[0] in LASTING]
            yield from self.step(_message(verb, rest, self.state))

    def manage(self, verb: str, rest: list[str]) -> Iterator[str]:
        if verb == "shards":
            self.store.create(CLUSTER, "local")
            count = int(_options(rest[1:]).get("replicas", 0))
            self.state = model.State(CLUSTER, "local", int(rest[0]), replicas_wanted=count)
            if count:
                self.store.commit(Batch(0, {model.REPLICAS: {"count": count}}))
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
                words = [connection, *self.last.get(connection, [])]
                yield from self.step(_message("heartbeat", words, self.state))
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
            if frame.get("type") != "heartbeat":
                yield f"c{connection} <- {_frame(frame)}"
        yield from (f"close c{connection}" for connection in out.close)
        for event, fields in out.notes:
            told = [
                f"{k}={_letters(str(_short(v)))}"
                for k, v in fields.items()
                if k not in ("pid", "address")
            ]
            yield " ".join([f"note {event}", *told])

    def explain(self, options: dict[str, str]) -> Iterator[str]:
        shard = int(options["shard"]) if "shard" in options else None
        for entry in model.journal(self.state, shard):
            at = entry["at_ms"] - START_MS
            yield f"{at} ms, shard {entry['shard']}, {entry['event']}: {_letters(entry['text'])}"

    def status(self) -> Iterator[str]:
        said: dict[str, Any] = model.status(self.state)
        yield f"{said['state']} epoch={said['epoch']} shards_wanted={said['shards_wanted']}"
        for p in said["processes"]:
            yield (
                f"{p['role']} {_short(p['id'])} zone={p['zone']} shard={p['shard']}"
                f" epoch={p['epoch']} {p['address']} slots={p['slots']} {p['state']}"
                + (f" lag={p['lag_bytes']}" if p["lag_bytes"] is not None else "")
            )
        if said["replicas_wanted"]:
            yield from (f"warning: {_letters(text)}" for text in said["warnings"])


def _message(verb: str, rest: list[str], state: model.State) -> model.Message:
    if verb == "tick":
        return model.Tick()
    if verb == "refused":
        name = _options(rest)["id"] * 40
        return model.Probe(name, state.members[name].incarnation)
    connection = int(rest[0].removeprefix("c"))
    options = _options(rest[1:])
    if verb in ("lease", "release", "drained", "failover", "wanted", "receipt"):
        return _of_shard(verb, connection, options, state)
    if verb == "leave":
        return model.Leave(connection)
    if verb == "close":
        return model.Closed(connection)
    if verb == "heartbeat":
        epoch = int(options.get("epoch", state.epoch))
        said = _copy(options, state, state.connections.get(connection, ""))
        return model.Heartbeat(connection, {
            "epoch": epoch, "slots": 0, "keys": 0, "copy": said,
            "moves": _moves(options.get("moves", ""), state),
        })  # fmt: skip
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
    body["copy"] = _copy(options, state, str(body["id"]))
    return model.Register(connection, body)


def _goal(verb: str, rest: list[str]) -> model.Message:
    if verb == "scale":
        return model.SetShards(int(rest[0]))
    return model.Rebalance() if verb == "rebalance" else model.Drain(_options(rest)["id"] * 40)


def _moves(text: str, state: model.State) -> list[dict[str, object]]:
    """What a node says of a move; the order is the one in force unless another is given."""
    if not text:
        return []
    name, side, word, *order = text.split(":")
    move = state.moves[name]
    shard = state.shard(move.source if side == "source" else move.target)
    assert shard is not None
    given = int(order[0]) if order else move.epoch
    return [{"id": name, "side": side, "epoch": shard.epoch, "state": word, "order": given}]


def _of_shard(
    verb: str, connection: int, options: dict[str, str], state: model.State
) -> model.Message:
    number = int(options["shard"])
    if verb == "failover":
        to = options["to"] * 40 if "to" in options else None
        return model.Failover(connection, 1, number, to, "loss" in options)
    if verb == "wanted":
        name = state.connections[connection]
        return model.Wanted(connection, {"shard": number, "node": name, "number": 4})
    if verb == "receipt":
        return model.Receipt(connection, {
            "shard": number, "epoch": state.shards[number].epoch, "name": options["name"],
            "keys": ["k", "\x07"], "from_offset": 11, "to_offset": 50, "commands": 3,
            "key_count": 2, "kept": options.get("kept") != "no",
            "exact": options.get("exact") != "no",
        })  # fmt: skip
    epoch = int(options.get("epoch", state.shards[number].epoch))
    body = {"type": verb, "shard": number, "epoch": epoch, "offset": int(options.get("offset", 0))}
    if verb == "drained":
        return model.Drained(connection, body)
    more = {"node": state.connections[connection], "number": int(options.get("number", 1))}
    return model.Lease(connection, {**body, **more})


def _copy(options: dict[str, str], state: model.State, name: str) -> dict[str, object] | None:
    """What a node says of its copy, if it says anything; by default all is well."""
    shard = model.shard_of(state, name)
    if "state" not in options or shard is None:
        return None
    role = "primary" if shard.primary == name else "replica"
    said: dict[str, object] = {
        "shard": shard.number, "epoch": int(options.get("under", shard.epoch)), "role": role,
        "state": options["state"], "replid": "", "offset": int(options.get("offset", 0)),
        "data_epoch": int(options.get("data", shard.epoch)),
        "primary_silent_ms": int(options.get("silent", 0)),
        "lease_left_ms": int(options.get("lease", 1900 if role == "primary" else 0)),
        "problem": "",
    }  # fmt: skip
    return {**said, "fenced": int(options["fenced"])} if "fenced" in options else said


def _letters(text: str) -> str:
    """Ids as letters."""
    return re.sub(r"\b([a-z0-9])\1{7}(?:\1{32})?\b", r"\1", text)


def _options(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def _short(value: object) -> object:
    whole = isinstance(value, str) and len(value) == 40 and len(set(value)) == 1
    return value[0] if whole and isinstance(value, str) else value


def _shards(state: model.State) -> str:
    return " ".join(f"{s.number}:{_short(s.primary)}@{s.epoch}" for s in state.shards) or "-"


def _frame(frame: dict[str, Any]) -> str:
    if "type" not in frame:
        return _letters(f"answer {frame.get('result') or frame.get('error')}")
    if frame["type"] in ("fence", "fence_lifted", "handover", "handover_cancelled", "grant",
                         "receipt_noted", "failover_answer"):  # fmt: skip
        told = [f"{k}={_short(v)}" for k, v in frame.items() if k != "type"]
        return " ".join([frame["type"], *told])
    if frame["type"] == "refused":
        return f"refused {frame['code']}: {frame['error'].replace(CLUSTER, 'c')}"
    if frame["type"] != "topology":
        return str(frame["type"])
    nodes = ",".join(str(_short(n["id"])) + ("" if n["alive"] else "!") for n in frame["nodes"])
    shards = " ".join(
        f"{s['number']}:{_short(s['primary'])}@{s['epoch']}"
        + "".join(f"[{first}-{last}]" for first, last in s["slots"])
        + "".join(f"+{_short(name)}{'' if name in s['synced'] else '?'}" for name in s["replicas"])
        + (f"(joint {''.join(str(_short(n)) for n in s['joint'])})" if s["joint"] else "")
        for s in frame["shards"]
    )
    if frame["durability"] != str(Durability()):
        shards += f" durability={frame['durability']}"
    if frame["moves"]:
        moves = ",".join(f"{m['id']}:{m['state']}" for m in frame["moves"])
        shards += f" moves={moves}"
    kept = "" if frame["persistence"] == "off" else f" persistence={frame['persistence']}"
    return f"topology epoch={frame['epoch']} nodes={nodes} shards={shards or '-'}{kept}"

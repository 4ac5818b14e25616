"""`isthmus failover` and `isthmus whatif`: another primary on purpose, why the last one changed,
and what an outage would do (io).

The coordinator decides and answers; here questions are put and answers shown. Nodes may be named
by their id, by the beginning of it, or by their address. Exit status: 0 if it was done or told, 1
if the coordinator says why not, 2 for a command line that makes no sense.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import trio
import typer

from isthmus.cli import inquiry, screen
from isthmus.cli.plan import processes
from isthmus.cli.target import AsJson, CoordinatorAddress, DataDir, coordinator_of, fail

FAILOVER_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus failover 0\n\n"
    "  isthmus failover 0 --to 127.0.0.1:8503\n\n"
    "  isthmus failover 0 --accept-loss\n\n"
    "  isthmus failover explain\n\n"
    "  isthmus failover explain 0 --json"
)
WHATIF_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus whatif zone a down\n\n"
    "  isthmus whatif node 127.0.0.1:8500 down\n\n"
    "  isthmus whatif zone a down --json"
)


def failover(
    shard: Annotated[
        str, typer.Argument(metavar="SHARD|explain", help="A shard's number; or the word explain.")
    ],
    data_dir: DataDir,
    of: Annotated[
        str | None, typer.Argument(metavar="[SHARD]", help="With explain: of this shard only.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="The replica that takes over; by default the best one."),
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Promote a replica even if writes that were acknowledged are lost by it.",
        ),
    ] = False,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Make a replica the primary of its shard, without losing a write; or explain what was decided.

    The primary holds new writes until the replica has everything, then the two change places.
    [bold]isthmus failover explain[/bold] shows who saw and decided what, and when.
    """
    address = coordinator_of(data_dir, coordinator)
    if shard == "explain":
        if to is not None or accept_loss:
            raise fail("explain takes no --to and no --accept-loss", 2)
        _explain(address, None if of is None else _number(of), as_json)
        return
    if of is not None:
        raise fail(f"one shard at a time, not {shard} and {of}", 2)
    number = _number(shard)
    begun = time.monotonic()
    try:
        target = None if to is None else node_named(trio.run(inquiry.status, address), to)
        done = trio.run(inquiry.failover, address, number, target, accept_loss)
        status = trio.run(inquiry.status, address)
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    if as_json:
        _dump({**done, "took_ms": round((time.monotonic() - begun) * 1000)})
        return
    where = next((p for p in processes(status) if p.get("id") == done.get("primary")), {})
    screen.output().print(
        f"shard {number}: {where.get('address')} in zone {where.get('zone') or '-'} is primary now,"
        f" epoch {done.get('epoch')}, after {time.monotonic() - begun:.2f} s",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise fail(f"a shard is a number (isthmus status shows them), not {text!r}", 2)
    return int(text)


def node_named(status: Mapping[str, object], name: str) -> str:
    """The id of a node that a user names."""
    nodes = [p for p in processes(status) if p.get("role") not in ("coordinator", "proxy")]
    found = [
        str(p.get("id")) for p in nodes
        if p.get("address") == name or str(p.get("id")).startswith(name)
    ]  # fmt: skip
    if len(found) != 1 or not name:
        raise fail(f"{name!r} names {len(found) or 'no'} nodes; isthmus status shows addresses", 2)
    return found[0]


def _explain(address: str, shard: int | None, as_json: bool) -> None:
    try:
        entries = trio.run(inquiry.explain, address, shard)
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    if as_json:
        _dump(entries)
        return
    console = screen.output()
    for line in explained(entries):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def explained(entries: list[dict[str, Any]]) -> list[str]:
    """The journal for people: a line for each entry, and below it what was seen of the copies."""
    if not entries:
        return ["nothing was decided yet"]
    lines = []
    for entry in entries:
        at_ms = int(entry.get("at_ms") or 0)
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms // 1000))
        lines.append(
            f"{moment}.{at_ms % 1000:03d} shard {entry.get('shard')}, epoch {entry.get('epoch')}: "
            f"{entry.get('event')}: {entry.get('text')}"
        )
        receipt = entry.get("receipt")
        if isinstance(receipt, dict):
            lines.append(f"    {_lost(receipt)}")
            continue  # how the copies are by then says nothing about the decision
        lines += [f"    {_seen(sight)}" for sight in entry.get("saw") or ()]
    return lines


def _lost(receipt: Mapping[str, Any]) -> str:
    keys = [str(key) for key in receipt.get("keys") or ()]
    more = int(receipt.get("key_count") or 0) - len(keys)
    told = f"keys {', '.join(keys)}" + (f" and {more} more" if more > 0 else "") if keys else ""
    done = "settled" if receipt.get("settled") else f"isthmus quarantine show {receipt.get('name')}"
    return f"{told}; {done}" if told else done


def _seen(sight: Mapping[str, Any]) -> str:
    words = [str(sight.get("node"))[:8], str(sight.get("role"))]
    words += [f"zone {sight['zone']}"] if sight.get("zone") else []
    words.append("connected" if sight.get("connected") else "no connection")
    if not sight.get("alive"):
        words.append("dead")
    words += ["synced"] if sight.get("synced") else []
    words.append(f"last heard {sight.get('silent_ms')} ms before")
    if "state" in sight:
        words.append(f"{sight['state']} at offset {sight.get('offset')}")
        words.append(f"data of epoch {sight.get('data_epoch')}")
    return ", ".join(words)


def whatif(
    kind: Annotated[str, typer.Argument(metavar="zone|node", help="What goes down.")],
    name: Annotated[str, typer.Argument(help="A zone's name, or a node's address or id.")],
    data_dir: DataDir,
    event: Annotated[str, typer.Argument(metavar="down", help="What happens to it.")] = "down",
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Tell what each shard would suffer if a zone or a node went down; nothing is touched."""
    if kind not in ("zone", "node") or event != "down":
        raise fail("ask: isthmus whatif zone NAME down, or isthmus whatif node NAME down", 2)
    address = coordinator_of(data_dir, coordinator)
    try:
        status = trio.run(inquiry.status, address)
        name = node_named(status, name) if kind == "node" else name
        answer = trio.run(inquiry.whatif, address, kind, name)
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    if as_json:
        _dump(answer)
        return
    console = screen.output()
    for line in foretold(answer, status):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def foretold(answer: Mapping[str, Any], status: Mapping[str, object]) -> list[str]:
    """An answer to `whatif` for people: a line for each shard, and a sum."""
    where = {p.get("id"): p.get("address") for p in processes(status)}
    down = answer.get("down") or []
    lines = [f"{len(down)} nodes down: " + ", ".join(str(node.get("address")) for node in down)]
    for told in answer.get("shards") or ():
        lost = ", ".join(str(where.get(name, name)) for name in told.get("lost") or ())
        promoted = told.get("promoted")
        line = f"  shard {told.get('shard')}: {told.get('outcome')}"
        line += f" to {where.get(promoted, promoted)}" if promoted else ""
        line += f" (loses {lost})" if lost else ""
        lines.append(f"{line}: {told.get('text')}")
    counts = answer.get("outcomes") or {}
    lines.append(", ".join(f"{count} {name}" for name, count in counts.items() if count))
    return lines


def _dump(what: object) -> None:
    json.dump(what, sys.stdout, indent=1)
    sys.stdout.write("\n")

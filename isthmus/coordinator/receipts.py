"""What failovers took away: loss receipts of nodes, kept in the journal.

A node that was primary and follows another now keeps what the other lacks in a file of its own, and
tells of it until it is noted (isthmus/node/cluster/receipts.py). Here it becomes an entry of the
journal, once for each node and name: `isthmus failover explain` shows it beside the decision that
caused it. While it is not *settled*, `status` warns of it. The files are the nodes'; an entry that
is the oldest of a full journal is gone, and they stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isthmus.coordinator import messages
from isthmus.coordinator.state import Member, State, Work, journal_key
from isthmus.coordinator.store.base import Body

WARNINGS_MAX = 3


def told(work: Work, member: Member, body: Mapping[str, Any]) -> None:
    """A node gave something up. It is answered when that is noted, also if it was before."""
    receipt = messages.receipt(body)
    state = work.state
    shard = next((each for each in state.shards if each.number == receipt["shard"]), None)
    known = any(
        (each["name"], each["node"]) == (receipt["name"], member.id) for each in noted(state)
    )
    if shard is not None and not known:
        body = {**receipt, "node": member.id, "settled": False}
        work.record(shard, "receipt", sentence(body), receipt=body)
    work.send(member.connection, {"type": "receipt_noted", "name": receipt["name"]})


def settle(work: Work, name: str) -> int:
    """Somebody is done with the receipts of that name; how many there are."""
    found = 0
    for number, entry in work.state.journal.items():
        receipt = receipt_in(entry)
        if receipt is None or receipt["name"] != name:
            continue
        found += 1
        if not receipt["settled"]:
            changed: Body = {**entry, "receipt": {**receipt, "settled": True}}
            work.state.journal[number] = changed
            work.objects[journal_key(number)] = changed
            work.note("receipt_settled", receipt=name, shard=entry["shard"])
    return found


def receipt_in(entry: Body) -> dict[str, Any] | None:
    """The receipt in an entry of the journal, if there is one."""
    found = entry.get("receipt")
    return found if isinstance(found, dict) else None


def noted(state: State) -> Iterator[dict[str, Any]]:
    """The receipts in the journal, oldest first."""
    for entry in state.journal.values():
        receipt = receipt_in(entry)
        if receipt is not None:
            yield receipt


def unsettled(state: State) -> list[dict[str, Any]]:
    """The receipts that nobody is done with, oldest first."""
    return [receipt for receipt in noted(state) if not receipt["settled"]]


def sentence(receipt: Mapping[str, Any]) -> str:
    """A receipt in words."""
    name, node = receipt["name"], str(receipt["node"])[:8]
    if not receipt["kept"]:
        count = receipt["to_offset"] - receipt["from_offset"] + 1
        return f"{node} gave up {count} bytes of its stream that it could not keep; receipt {name}"
    at_most = "" if receipt["exact"] else "at most "
    return (
        f"{node} gave up {at_most}{receipt['commands']} writes of {receipt['key_count']} keys,"
        f" kept in receipt {name}"
    )


def warnings(state: State) -> list[str]:
    """What an operator should look at: sentences."""
    open_ones = unsettled(state)
    said = [
        f"shard {receipt['shard']}: {sentence(receipt)}: isthmus quarantine show {receipt['name']}"
        for receipt in open_ones[-WARNINGS_MAX:]
    ]
    more = len(open_ones) - len(said)
    return said + ([f"and {more} older loss receipts: isthmus quarantine list"] if more else [])

"""Asking a coordinator (io): for its status, its journal, for changes; and nodes whether they load.

One connection, one call, bounded in time. Whatever goes wrong becomes `Unanswered` with a sentence
for the user: nobody listens there, somebody else does, or it is too busy to say.

An address may be several, with commas between them: the coordinators of one cluster, one of which
leads. All are asked for the status, and the leader's is the answer; an order goes to one after the
other until the leader takes it.
"""

from __future__ import annotations

import os
from typing import Any

import trio

from isthmus.cli import plan
from isthmus.wire.link import LinkError, RpcClient, RpcError
from isthmus.wire.membership import NOT_LEADER

ANSWER_SECONDS_MAX = 5.0
FAILOVER_SECONDS_MAX = 15.0
LOADING_SECONDS_MAX = 1.0


class Unanswered(Exception):
    """Nobody answered at that address, or not as a coordinator does; the text says which.

    `elsewhere` says that nothing was done there, and that another coordinator may do it.
    """

    def __init__(self, text: str, *, elsewhere: bool = False) -> None:
        super().__init__(text)
        self.elsewhere = elsewhere


async def status(address: str) -> dict[str, object]:
    """The coordinator's status: a map with "processes" and more. Raises Unanswered.

    Of several the leader's, and if none of them leads, what one that stands by can tell. The lines
    of the others stand behind its own.
    """
    addresses = _split(address)
    if len(addresses) == 1:
        return await _ask(address, "status")
    said: dict[str, dict[str, object]] = {}
    failures: dict[str, Unanswered] = {}

    async def ask(one: str) -> None:
        try:
            said[one] = await _ask(one, "status")
        except Unanswered as error:
            failures[one] = error

    async with trio.open_nursery() as nursery:
        for one in addresses:
            nursery.start_soon(ask, one)
    return _joined(addresses, said, failures)


async def set_persistence(address: str, policy: str) -> dict[str, object]:
    """Set the persistence policy; the status after it is committed. Raises Unanswered."""
    return await _call(address, "set_persistence", policy=policy)


async def set_durability(address: str, policy: str) -> dict[str, object]:
    """Set the durability policy; the status after it is committed. Raises Unanswered."""
    return await _call(address, "set_durability", policy=policy)


async def failover(
    address: str, shard: int, to: str | None, accept_loss: bool
) -> dict[str, object]:
    """Have another primary; the shard, its epoch and its primary. Raises Unanswered."""
    params = {"shard": shard, "to": to, "accept_loss": accept_loss}
    return await _call(address, "failover", FAILOVER_SECONDS_MAX, **params)


async def explain(address: str, shard: int | None) -> list[dict[str, Any]]:
    """The coordinator's journal of decisions, oldest first. Raises Unanswered."""
    entries = (await _call(address, "explain", shard=shard)).get("entries")
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


async def settle_receipt(address: str, name: str) -> dict[str, object]:
    """Have the coordinator warn of a loss receipt no more. Raises Unanswered."""
    return await _call(address, "settle_receipt", receipt=name)


async def whatif(address: str, kind: str, name: str) -> dict[str, object]:
    """What would happen if a "zone" or a "node" went down. Raises Unanswered."""
    params: dict[str, Any] = {kind: name}
    return await _call(address, "whatif", **params)


async def preview(address: str, **params: Any) -> dict[str, Any]:
    """What a number of "shards", or draining a "node", would take. Raises Unanswered."""
    return await _call(address, "preview", **params)


async def pursue(address: str, method: str, **params: Any) -> dict[str, Any]:
    """Set a goal: scale, rebalance, drain; the status after it is stored. Raises Unanswered."""
    return await _call(address, method, **params)


async def loading(host: str, port: int) -> bool:
    """True if a node answers there that it is loading its data."""
    with trio.move_on_after(LOADING_SECONDS_MAX):
        try:
            async with await trio.open_tcp_stream(host, port) as stream:
                await stream.send_all(b"PING\r\n")
                return bytes(await stream.receive_some(64)).startswith(b"-LOADING")
        except (OSError, trio.BrokenResourceError):
            return False
    return False


def _joined(
    addresses: list[str], said: dict[str, dict[str, object]], failures: dict[str, Unanswered]
) -> dict[str, object]:
    """One status of several; Unanswered if there is none."""
    if not said:
        raise failures[addresses[0]]
    asked = [one for one in addresses if one in said]
    chosen = min(asked, key=lambda one: bool(said[one].get("standby")))
    first, *rest = plan.processes(said[chosen])
    others = [plan.processes(said[one])[0] for one in asked if one != chosen]
    gone = [
        {"role": "coordinator", "address": one, "state": "dead", "problem": str(error)}
        for one, error in failures.items()
    ]
    return {**said[chosen], "processes": [first, *others, *gone, *rest]}


def _split(address: str) -> list[str]:
    """Several addresses, each once."""
    return list(dict.fromkeys(one.strip() for one in address.split(",")))


async def _call(
    address: str, method: str, seconds: float = ANSWER_SECONDS_MAX, **params: object
) -> dict[str, object]:
    """An order to the coordinator that leads."""
    failure: Unanswered | None = None
    for one in _split(address):
        try:
            return await _ask(one, method, seconds, **params)
        except Unanswered as error:
            # Who is not there, or only stands by, has done nothing; anybody else may have.
            if not error.elsewhere:
                raise
            failure = error
    assert failure is not None
    raise failure


async def _ask(
    address: str, method: str, seconds: float = ANSWER_SECONDS_MAX, **params: object
) -> dict[str, object]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise Unanswered(f"{address!r} is not HOST:PORT, such as 127.0.0.1:9400")
    with trio.move_on_after(seconds):
        try:
            stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
            async with RpcClient.over(stream, "cli") as client:
                answer = await client.call(method, **params)
        except OSError as error:
            why = f"no coordinator answers at {address}: {_why(error)}"
            raise Unanswered(why, elsewhere=True) from error
        except RpcError as error:
            code, _, text = str(error).partition(" ")
            if code == NOT_LEADER:
                raise Unanswered(f"{address} says: {text}", elsewhere=True) from error
            raise Unanswered(str(error)) from error
        except LinkError as error:
            raise Unanswered(f"the coordinator at {address} did not answer: {error}") from error
        if not isinstance(answer, dict):
            raise Unanswered(f"what answers at {address} is not a coordinator")
        return answer
    raise Unanswered(f"the coordinator at {address} did not answer in {seconds:g} s")


def _why(error: OSError) -> str:
    """The reason in words; trio joins one error per address that a name has."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup) and cause.exceptions:
        cause = cause.exceptions[0]
    found = cause if isinstance(cause, OSError) else error
    if found.errno is not None and found.errno > 0:
        return os.strerror(found.errno).lower()
    return (found.strerror or str(found)).lower()  # of a name that cannot be resolved

"""Which servers hold the data that a user named: one server, or the primaries of a cluster (io).

A server is asked CLUSTER SLOTS; one that is not in cluster mode, or that is a proxy, answers with
an error and stands for itself with all slots. A coordinator is asked for its status.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from isthmus.cli import inquiry, plan
from isthmus.cli.sync import Server
from isthmus.wire.client import Client, ConnectionLost, ReplyError, connect

SLOTS = 16384
ANSWER_SECONDS_MAX = 60.0


class Unreachable(Exception):
    """The servers cannot be asked; the text says which, and why."""


@dataclass
class Shard:
    """One server and the slots it has; all of them where it is alone."""

    name: str
    server: Server
    slots: list[tuple[int, int]] = field(default_factory=lambda: [(0, SLOTS - 1)])


@dataclass
class Cluster:
    """What was found: `is_cluster` if keys have to be sent where their slots are."""

    name: str
    is_cluster: bool
    shards: list[Shard]


@asynccontextmanager
async def talking(server: Server) -> AsyncIterator[Client]:
    """A connection to a server, logged in; Unreachable if that cannot be had."""
    try:
        async with connect(
            (server.host, server.port), timeout_seconds=ANSWER_SECONDS_MAX
        ) as client:
            if server.password is not None:
                user = () if server.user == "default" else (server.user,)
                await client.call("AUTH", *user, server.password)
            yield client
    except* ConnectionLost as group:
        raise Unreachable(f"{server.name}: {_first(group)}") from group
    except* ReplyError as group:
        raise Unreachable(f"{server.name} answers: {_first(group)}") from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def behind(server: Server) -> Cluster:
    """The cluster that a server is part of, or the server alone."""
    async with talking(server) as client:
        try:
            reply = await client.call("CLUSTER", "SLOTS")
        except ReplyError as error:
            # Not in cluster mode: redis and our proxy say so in these words.
            if "cluster" not in str(error).lower():
                raise
            return Cluster(server.name, False, [Shard("0", server)])
    shards = shards_of(reply, server)
    if not shards:
        raise Unreachable(f"{server.name} is in a cluster that has no slots yet")
    return Cluster(server.name, True, shards)


def shards_of(reply: Any, asked: Server) -> list[Shard]:
    """The primaries in a reply to CLUSTER SLOTS, in the order of their slots."""
    found: dict[tuple[str, int], Shard] = {}
    for first, last, primary, *_ in sorted(reply, key=lambda row: int(row[0])):
        # An empty or unknown host is that of the connection.
        host = primary[0].decode() if primary[0] and primary[0] != b"?" else asked.host
        where = (host, int(primary[1]))
        if where not in found:
            found[where] = Shard(str(len(found)), asked.at(*where), [])
        found[where].slots.append((int(first), int(last)))
    return list(found.values())


async def of_coordinator(address: str) -> Cluster:
    """The primaries of a cluster of ours; Unreachable."""
    try:
        status = await inquiry.status(address)
    except inquiry.Unanswered as error:
        raise Unreachable(str(error)) from error
    shards = []
    for row in plan.processes(status):
        slots = plan.slot_ranges(row)
        if row.get("role") != "primary" or not slots:
            continue
        if row.get("state") != "up":
            raise Unreachable(
                f"the node {row.get('address')} is not up: its slots would be left out"
            )
        host, _, port = str(row["address"]).rpartition(":")
        shards.append(Shard(str(row.get("shard")), Server(host.strip("[]"), int(port)), slots))
    if sum(last - first + 1 for shard in shards for first, last in shard.slots) != SLOTS:
        raise Unreachable(f"the cluster of {address} has slots that no node serves")
    shards.sort(key=lambda shard: shard.slots)
    return Cluster(str(status.get("region") or "cluster"), True, shards)


async def key_counts(server: Server) -> dict[int, int]:
    """Keys by database."""
    async with talking(server) as client:
        text = (await client.call("INFO", "keyspace")).decode()
    return {int(db): int(count) for db, count in re.findall(r"db(\d+):keys=(\d+)", text)}

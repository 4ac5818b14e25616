"""Where a key has to be sent, and what a reply to it means (pure).

A `Router` knows the owner of each slot and learns from MOVED; a server that is alone owns all. What
a server may answer to RESTORE is one of the verdicts below; whatever is not known is a failure of
that key, never of the import.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from isthmus.cli.shards import SLOTS, Cluster
from isthmus.cli.sync import Server
from isthmus.wire.slots import key_slot

DONE, THERE, ELSEWHERE, LATER, OTHER_FORM, FAILED = range(6)
_REDIRECT = re.compile(r"(MOVED|ASK) (\d{1,5}) (.*):(\d{1,5})")
_LATER = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "BUSY ", "MASTERDOWN")
_OTHER_FORM = ("bad data format", "dump payload version")


class Redirect(NamedTuple):
    """MOVED, or ASK if `asking`: who serves a slot; an empty host is that of who said so."""

    asking: bool
    slot: int
    host: str
    port: int


class BadMapping(ValueError):
    """Databases cannot be mapped like that; the text says why."""


class Router:
    """The owner of each slot."""

    def __init__(self, cluster: Cluster) -> None:
        self.is_cluster = cluster.is_cluster
        first = cluster.shards[0].server
        self.owners: list[Server] = [first] * SLOTS
        for shard in cluster.shards:
            for low, high in shard.slots:
                self.owners[low : high + 1] = [shard.server] * (high - low + 1)

    def owner(self, key: bytes) -> Server:
        """Who gets a key."""
        return self.owners[key_slot(key)] if self.is_cluster else self.owners[0]

    def servers(self) -> list[Server]:
        """Everyone who owns a slot."""
        return list(dict.fromkeys(self.owners))

    def learn(self, told: Redirect, by: Server) -> Server:
        """Follow a redirect; MOVED is remembered, ASK is for this once."""
        server = by.at(told.host or by.host, told.port)
        if not told.asking and told.slot < SLOTS:
            self.owners[told.slot] = server
        return server


def redirect(text: str) -> Redirect | None:
    """What MOVED and ASK say; None for other errors."""
    found = _REDIRECT.match(text)
    if not found:
        return None
    return Redirect(found[1] == "ASK", int(found[2]), found[3], int(found[4]))


def verdict(text: str | None) -> int:
    """What a reply to RESTORE means; None is for one that is no error."""
    if text is None:
        return DONE
    if text.startswith("BUSYKEY"):
        return THERE
    if redirect(text):
        return ELSEWHERE
    if text.startswith(_LATER):
        return LATER
    return OTHER_FORM if any(word in text.lower() for word in _OTHER_FORM) else FAILED


def mapping(words: Sequence[str]) -> dict[int, int]:
    """FROM:TO ... as a map of databases; BadMapping."""
    found: dict[int, int] = {}
    for word in words:
        before, _, after = word.partition(":")
        if not (before.isdecimal() and after.isdecimal()):
            raise BadMapping(f"--database {word}: FROM:TO is meant, such as 3:0")
        if int(before) in found:
            raise BadMapping(f"--database maps database {before} twice")
        found[int(before)] = int(after)
    return found


def mapped(dbs: Sequence[int], told: dict[int, int], is_cluster: bool) -> dict[int, int]:
    """Where the keys of each database go; BadMapping if there is no such place."""
    found = {db: told.get(db, db) for db in dbs}
    beyond = sorted(db for db, to in found.items() if to != 0)
    if is_cluster and beyond:
        raise BadMapping(
            f"there are keys of database {beyond[0]}, and a cluster has database 0 only: "
            f"--database {beyond[0]}:0 puts them there"
        )
    return found

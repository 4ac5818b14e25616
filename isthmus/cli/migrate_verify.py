"""Comparing a source that stands still with its target, key by key (io).

Both are asked for every key of the source as DUMP and as the time at which it expires. The same
bytes are the same value; other bytes may be (encodings differ between versions), so both are
decoded then and compared as values. What differs is copied from the source and compared again.

All keys are looked at before the source is asked to stand still, while both ends change; what is
left for the time in which clients wait are the keys that differed then, and those that were changed
since. Only after a change of everything (FLUSHALL) all are looked at then.

Keys that the target has and the source has not are looked for where the target held nothing before
and its count says that there are some; they are removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from isthmus.cli.migrate_target import Found, Key, Target, TargetFailed
from isthmus.cli.shards import talking
from isthmus.cli.sync import Server
from isthmus.wire.client import Client, ReplyError

PAGE_KEYS = 500
NAMED_MAX = 20
ATTEMPTS = 3
# How far a time may be off that is told as what is left of it.
SLACK_MS = 1000


@dataclass
class Verdict:
    """What was compared, and what was found."""

    keys: int = 0
    mended: int = 0
    removed: int = 0
    different: list[str] = field(default_factory=list)
    differing: int = 0

    def name(self, text: str) -> None:
        """One key is not right."""
        self.differing += 1
        if len(self.different) < NAMED_MAX:
            self.different.append(text)


def plain(dump: bytes) -> Any:
    """A payload as a value that can be compared; the payload itself if it cannot be decoded."""
    from isthmus.node.engine.errors import RedisError
    from isthmus.node.values.restore import decode

    try:
        value = decode(dump)
    except RedisError:
        return dump
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value.plain()


class Verifier:
    """Source and target; `dbs` maps databases of the source to those of the target."""

    def __init__(
        self, source: Server, target: Target, dbs: dict[int, int], kept: set[tuple[int, bytes]]
    ) -> None:
        self.source = source
        self.target = target
        self.dbs = dbs
        self.kept = kept
        self.verdict = Verdict()
        # The source tells when a key expires; an older one only how long that is from now.
        self.has_times = True
        self.surveyed = 0
        self.tell: Callable[[int], None] = lambda keys: None

    async def dumps(self, client: Client, keys: list[bytes]) -> list[Found]:
        """Keys as the source has them; keys whose time has come are not there."""
        word = b"PEXPIRETIME" if self.has_times else b"PTTL"
        asked = [[name, key] for key in keys for name in (b"DUMP", word)]
        (seconds, micros), *replies = await client.pipeline([[b"TIME"], *asked])
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise TargetFailed(f"{self.source.name} answers: {reply}")
        now_ms = 0 if self.has_times else int(seconds) * 1000 + int(micros) // 1000
        return [
            (dump, -2 if dump is None else when + now_ms if when >= 0 else when)
            for dump, when in zip(replies[::2], replies[1::2], strict=True)
        ]

    def same(self, one: Found, other: Found) -> bool:
        """True if both are the same value with the same expiry."""
        slack_ms = 0 if self.has_times or one[1] < 0 else SLACK_MS
        if abs(one[1] - other[1]) > slack_ms or (one[0] is None) != (other[0] is None):
            return False
        return one[0] == other[0] or plain(one[0] or b"") == plain(other[0] or b"")

    async def copy(self, keys: list[tuple[int, bytes]]) -> None:
        """Let these keys of the target's databases be as they are at the source."""
        back = {to: db for db, to in self.dbs.items()}
        async with talking(self.source) as client:
            for to, key in keys:
                if (to, key) in self.kept or to not in back:
                    continue
                await client.call("SELECT", back[to])
                [(dump, when)] = await self.dumps(client, [key])
                await self.target.put(to, key, dump, when)
        await self.target.flush()

    async def survey(self) -> set[Key]:
        """Look at all keys while both ends are written to: those that are not the same (yet).

        What is the same now, and is in no change that reaches the target from the beginning of this
        on (`Target.touched`), is the same at the end.
        """
        unsure: set[Key] = set()
        async with talking(self.source) as client:
            async for to, keys in self.pages(client):
                wanted, there = await self.both(client, to, keys)
                found = zip(keys, wanted, there, strict=True)
                unsure.update((to, key) for key, one, other in found if not self.same(one, other))
                self.surveyed += len(keys)
                self.tell(self.surveyed)
        return unsure

    async def compare(self, keys: set[Key] | None) -> Verdict:
        """These keys, or all, while both ends stand still; what differs is mended."""
        async with talking(self.source) as client:
            if keys is None:
                async for to, page in self.pages(client):
                    await self.page(client, to, page)
                return self.verdict
            for db, to in self.dbs.items():
                await client.call("SELECT", db)
                mine = [key for where, key in keys if where == to]
                for at in range(0, len(mine), PAGE_KEYS):
                    await self.page(client, to, mine[at : at + PAGE_KEYS])
        return self.verdict

    async def pages(self, client: Client) -> AsyncIterator[tuple[int, list[bytes]]]:
        """The keys of the source that are to be compared, and their database at the target."""
        for db, to in self.dbs.items():
            await client.call("SELECT", db)
            cursor: bytes = b"0"
            while True:
                cursor, keys = await client.call("SCAN", cursor, "COUNT", PAGE_KEYS)
                yield to, [key for key in keys if (to, key) not in self.kept]
                if cursor == b"0":
                    break

    async def both(
        self, client: Client, to: int, keys: list[bytes]
    ) -> tuple[list[Found], list[Found]]:
        """Keys as the source and as the target have them, asked side by side."""
        there: list[Found] = []

        async def ask() -> None:
            there.extend(await self.target.read(to, keys))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            wanted = await self.dumps(client, keys)
        return wanted, there

    async def page(self, client: Client, to: int, keys: list[bytes]) -> None:
        """Some keys; what differs is copied, and looked at again."""
        left = [key for key in keys if (to, key) not in self.kept]
        for attempt in range(ATTEMPTS):
            wanted, there = await self.both(client, to, left)
            if not attempt:
                self.verdict.keys += sum(dump is not None for dump, _ in wanted)
            found = zip(left, wanted, there, strict=True)
            wrong = {key: one for key, one, other in found if not self.same(one, other)}
            if attempt:
                # Those that are right now; a key whose time came meanwhile was no mistake.
                self.verdict.mended += sum(
                    key not in wrong and one[0] is not None
                    for key, one in zip(left, wanted, strict=True)
                )
            if not wrong:
                break
            for key, one in wrong.items():
                await self.target.put(to, key, *one)
            await self.target.flush()
            left = list(wrong)
        else:
            for key in left:
                self.verdict.name(f"{key[:80]!r} in database {to} is not as it is at the source")
        self.tell(self.verdict.keys)

    async def remove_extra(self) -> None:
        """Remove what the target has and the source has not."""
        async with talking(self.source) as client:
            for db, to in self.dbs.items():
                await client.call("SELECT", db)
                for server in self.target.router.servers():
                    await self._remove_at(client, server, to)
        await self.target.flush()

    async def _remove_at(self, client: Client, server: Server, to: int) -> None:
        cursor: bytes = b"0"
        while True:
            there = await self.target.client(server, to)
            cursor, keys = await there.call("SCAN", cursor, "COUNT", PAGE_KEYS)
            replies = await client.pipeline([[b"EXISTS", key] for key in keys])
            for key, reply in zip(keys, replies, strict=True):
                if reply == 0:
                    self.verdict.removed += 1
                    await self.target.put(to, key, None, -2)
            if cursor == b"0":
                return

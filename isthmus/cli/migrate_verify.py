"""Comparing a source that stands still with its target, key by key (io).

Both are asked for every key of the source as DUMP and as the time at which it expires. The same
bytes are the same value; other bytes may be (encodings differ between versions), so both are
decoded then and compared as values. What differs is copied from the source and compared again.

Keys that the target has and the source has not are looked for where the target held nothing before
and its count says that there are some; they are removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isthmus.cli.migrate_target import Target, TargetFailed
from isthmus.cli.shards import talking
from isthmus.cli.sync import Server
from isthmus.wire.client import Client, ReplyError

PAGE_KEYS = 500
NAMED_MAX = 20
ATTEMPTS = 3
# How far a time may be off that is told as what is left of it.
SLACK_MS = 1000
Found = tuple[bytes | None, int]


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

    async def compare(self) -> Verdict:
        """All keys of all databases."""
        async with talking(self.source) as client:
            for db, to in self.dbs.items():
                await client.call("SELECT", db)
                cursor: bytes = b"0"
                while True:
                    cursor, keys = await client.call("SCAN", cursor, "COUNT", PAGE_KEYS)
                    await self.page(client, to, keys)
                    if cursor == b"0":
                        break
        return self.verdict

    async def page(self, client: Client, to: int, keys: list[bytes]) -> None:
        """Some keys; what differs is copied, and looked at again."""
        left = [key for key in keys if (to, key) not in self.kept]
        wanted = await self.dumps(client, left)
        self.verdict.keys += sum(dump is not None for dump, _ in wanted)
        for attempt in range(ATTEMPTS):
            there = await self.target.read(to, left)
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
            wanted = await self.dumps(client, left)
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

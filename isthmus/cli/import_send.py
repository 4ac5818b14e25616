"""Sending keys to the servers that own them: batches, connections, redirects, retries (io).

Each server has a few connections and a short queue of batches; who fills it waits when it is full,
so memory is bounded by the queues. A batch is one pipeline of RESTORE commands of one database.
Replies are counted key by key: redirected ones are sent on, those that a server asks to repeat are
repeated, those that it does not take in this form are made by commands (persist/pieces.py). A lost
connection ends the import: whether its last keys arrived is not known, and the text says what to
do then.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import trio

from isthmus.cli import import_route
from isthmus.cli.import_route import DONE, ELSEWHERE, LATER, OTHER_FORM, THERE, Router
from isthmus.cli.rdb_entries import Entry, payload
from isthmus.cli.shards import talking
from isthmus.cli.sync import Server
from isthmus.node.persist import pieces
from isthmus.wire.client import Client, ReplyError

BATCH_KEYS = 128
BATCH_BYTES = 1 << 20
QUEUE = 2
ROUNDS_MAX = 150
AGAIN_SECONDS = 0.2
FAILURES_SHOWN = 20
SAMPLE_BYTES_MAX = 1 << 20
PIECES_PIPELINED = 64


class ImportFailed(Exception):
    """The import ended early; the text says why."""


@dataclass
class Item:
    """One key on its way; `data` is the file it stands in."""

    data: Any
    entry: Entry
    db: int
    replaces: bool = False

    def restore(self, replace: bool) -> list[bytes]:
        """RESTORE for it."""
        entry = self.entry
        argv = [b"RESTORE", entry.key, b"%d" % max(entry.expire_ms, 0), payload(self.data, entry)]
        if replace:
            argv.append(b"REPLACE")
        if entry.expire_ms >= 0:
            argv.append(b"ABSTTL")
        if entry.idle_s >= 0:
            argv += (b"IDLETIME", b"%d" % entry.idle_s)
        elif entry.freq >= 0:
            argv += (b"FREQ", b"%d" % entry.freq)
        return argv


@dataclass
class Tally:
    """What became of the keys."""

    restored: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    skipped: int = 0
    expired: int = 0
    in_pieces: int = 0
    volatile: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    sample_max: int = 0
    sample: list[Item] = field(default_factory=list)

    def good(self, item: Item, server: Server) -> None:
        """A key is there now."""
        self.restored[server.name] += 1
        self.replaced += item.replaces
        self.volatile += item.entry.expire_ms >= 0
        total = self.restored.total()
        if item.entry.size > SAMPLE_BYTES_MAX or not self.sample_max:
            return
        if len(self.sample) < self.sample_max:
            self.sample.append(item)
        elif (at := random.randrange(total)) < self.sample_max:
            self.sample[at] = item

    def bad(self, item: Item, server: Server, why: str) -> None:
        """A key could not be put there."""
        self.failed += 1
        if len(self.failures) < FAILURES_SHOWN:
            self.failures.append(f"{item.entry.key[:80]!r} at {server.name}: {why}")

    @property
    def done(self) -> int:
        """Keys that nothing more is to be done for."""
        return self.restored.total() + self.skipped + self.expired + self.failed


class Sender:
    """Sends keys; `run` owns the connections for as long as the block of `sending` lasts."""

    def __init__(
        self, router: Router, nursery: trio.Nursery, *, policy: str, parallel: int, big_bytes: int
    ) -> None:
        self.router = router
        self.nursery = nursery
        self.policy = policy
        self.parallel = parallel
        self.big_bytes = big_bytes
        self.tally = Tally()
        self.queues: dict[Server, trio.MemorySendChannel[list[Item]]] = {}
        self.batches: dict[tuple[Server, int], list[Item]] = {}
        self.sizes: Counter[tuple[Server, int]] = Counter()

    async def add(self, item: Item) -> None:
        """Send a key, soon."""
        where = self.router.owner(item.entry.key), item.db
        batch = self.batches.setdefault(where, [])
        batch.append(item)
        self.sizes[where] += item.entry.size
        if len(batch) >= BATCH_KEYS or self.sizes[where] >= BATCH_BYTES:
            await self.send(where)

    async def send(self, where: tuple[Server, int]) -> None:
        """Hand a batch over."""
        batch = self.batches.pop(where, [])
        self.sizes.pop(where, None)
        server = where[0]
        if not batch:
            return
        if server not in self.queues:
            self.queues[server], receive = trio.open_memory_channel[list[Item]](QUEUE)
            for _ in range(self.parallel):
                self.nursery.start_soon(self.work, server, receive.clone())
            receive.close()
        await self.queues[server].send(batch)

    async def finish(self) -> None:
        """Hand over what is left; the workers end when they have done it."""
        for where in list(self.batches):
            await self.send(where)
        for queue in self.queues.values():
            await queue.aclose()

    async def work(self, server: Server, batches: trio.MemoryReceiveChannel[list[Item]]) -> None:
        """One connection's task."""
        async with batches, talking(server) as client:
            db = 0
            async for batch in batches:
                if batch[0].db != db:
                    db = batch[0].db
                    await client.call("SELECT", db)
                await self.deliver(client, server, batch)

    async def deliver(self, client: Client, server: Server, batch: list[Item]) -> None:
        """A batch, until each of its keys has an outcome."""
        big = [item for item in batch if item.entry.size > self.big_bytes]
        rest = [item for item in batch if item.entry.size <= self.big_bytes]
        for item in big:
            await self.by_commands(client, server, item)
        for _ in range(ROUNDS_MAX):
            if not rest:
                return
            moved: dict[tuple[Server, bool], list[Item]] = {}
            again: list[Item] = []
            for item, text in await self.ask(client, rest):
                kind = import_route.verdict(text)
                if kind == ELSEWHERE and text and (told := import_route.redirect(text)):
                    to = self.router.learn(told, server)
                    moved.setdefault((to, told.asking), []).append(item)
                elif kind == LATER:
                    again.append(item)
                else:
                    await self.settle(client, server, item, kind, text or "")
            for (to, asking), items in moved.items():
                again += await self.elsewhere(to, asking, items)
            rest = again
            if rest:
                await trio.sleep(AGAIN_SECONDS)
        for item in rest:
            self.tally.bad(item, server, "the server asked to try later too often")

    async def settle(
        self, client: Client, server: Server, item: Item, kind: int, text: str
    ) -> None:
        """Count the outcome of a key."""
        if kind == DONE:
            self.tally.good(item, server)
        elif kind == THERE and self.policy != "fail":
            self.tally.skipped += 1
        elif kind == OTHER_FORM:
            await self.by_commands(client, server, item)
        else:
            self.tally.bad(item, server, text)

    async def ask(
        self, client: Client, items: list[Item], asking: bool = False
    ) -> list[tuple[Item, str | None]]:
        """Send RESTORE for keys; each with its error, or None."""
        replace = self.policy == "replace"
        before: list[list[bytes]] = [[b"ASKING"]] if asking else []
        commands: list[list[bytes]] = []
        for item in items:
            if replace:
                commands += [*before, [b"EXISTS", item.entry.key]]
            commands += [*before, item.restore(replace)]
        replies = await client.pipeline(commands)
        each = len(replies) // len(items)
        found: list[tuple[Item, str | None]] = []
        for at, item in enumerate(items):
            mine = replies[at * each : at * each + each]
            if replace:
                item.replaces = mine[1 if asking else 0] == 1
            found.append((item, str(mine[-1]) if isinstance(mine[-1], ReplyError) else None))
        return found

    async def elsewhere(self, server: Server, asking: bool, items: list[Item]) -> list[Item]:
        """Send keys where a redirect pointed; those that have to be sent again."""
        again: list[Item] = []
        async with talking(server) as client:
            for item, text in await self.ask(client, items, asking):
                kind = import_route.verdict(text)
                if kind in (ELSEWHERE, LATER):
                    again.append(item)
                else:
                    await self.settle(client, server, item, kind, text or "")
        return again

    async def by_commands(self, client: Client, server: Server, item: Item) -> None:
        """Make a key by commands; if it cannot be made whole, it is not left half made."""
        from isthmus.node.values.rdb_decode import read_value
        from isthmus.wire.rdb_reader import RdbError, RdbReader

        entry = item.entry
        there = await client.pipeline([[b"EXISTS", entry.key]])
        if isinstance(there[0], ReplyError):
            self.tally.bad(item, server, str(there[0]))
            return
        if there[0] and self.policy != "replace":
            if self.policy == "fail":
                self.tally.bad(item, server, "it is there already")
            else:
                self.tally.skipped += 1
            return
        reader = RdbReader(item.data[entry.start : entry.stop], entry.start)
        try:
            value = read_value(reader, entry.kind)
        except RdbError as error:
            self.tally.bad(item, server, str(error))
            return
        finally:
            reader.close()
        item.replaces = bool(there[0])
        wrong = await self.pipelined(client, entry, value, bool(there[0]))
        if wrong:
            await client.pipeline([[b"DEL", entry.key]])
            self.tally.bad(item, server, f"it cannot be made by commands: {wrong}")
            return
        self.tally.in_pieces += 1
        self.tally.good(item, server)

    async def pipelined(self, client: Client, entry: Entry, value: Any, there: bool) -> str:
        """Make a key by commands; the first error, or an empty text."""
        waiting: list[list[bytes]] = [[b"DEL", entry.key]] if there else []
        size = 0
        for argv in pieces.commands(entry.key, value, entry.expire_ms):
            waiting.append(argv)
            size += sum(map(len, argv))
            if len(waiting) >= PIECES_PIPELINED or size >= 4 * BATCH_BYTES:
                if wrong := _wrong(await client.pipeline(waiting)):
                    return wrong
                waiting, size = [], 0
        return _wrong(await client.pipeline(waiting)) if waiting else ""


def _wrong(replies: list[Any]) -> str:
    for reply in replies:
        if isinstance(reply, ReplyError):
            return str(reply)
    return ""

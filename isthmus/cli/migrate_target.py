"""The target of a migration: steps of the stream carried out in their order (io).

Steps are gathered and sent to the servers side by side, each server's in one pipeline; what one key
is changed by goes over one connection in the order of the stream, for a slot has one owner. A step
that needs several slots waits until all before it is done. What a server wants repeated, or has
given to another, is repeated before anything behind it is sent.

Where the outcome is not known (a connection that was lost with requests under way), or an answer is
not what the source's must have been, the keys are noted in `doubtful`: they are copied as they are,
once the source stands still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import trio

from isthmus.cli import import_route, shards
from isthmus.cli.import_route import ELSEWHERE, LATER, Router
from isthmus.cli.migrate_route import COMPUTE, EVERYWHERE, SEND, UNKNOWN, Argv, Step
from isthmus.cli.sync import Server
from isthmus.wire.client import Client, ConnectionLost, ReplyError

BATCH_CALLS = 2000
BATCH_BYTES = 4 << 20
AGAIN_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
NOTED_MAX = 20
# Redis passes these on only if they did something.
MUST_CHANGE = frozenset(b"pexpireat expireat persist pexpire expire".split())
# Of a server that has just lost its role, or waits for a replica.
ALSO_LATER = ("READONLY", "NOREPLICAS", "UNBLOCKED", "OOM", "MISCONF")
LOST, WRONG = "lost: ", "wrong: "
READS_MAX = 100
Key = tuple[int, bytes]
# A key as DUMP and PEXPIRETIME have it; -1: it stays, -2: it is not there.
Found = tuple[bytes | None, int]
# Steps that are to be sent again, by their place, and why.
Again = dict[int, tuple[Step, str]]


class TargetFailed(Exception):
    """The target does not take what it is sent; the text says why."""


class Target:
    """The servers of a target, and what became of what they were sent."""

    def __init__(self, entry: Server, cluster: shards.Cluster) -> None:
        self.entry = entry
        self.router = Router(cluster)
        self.links: dict[Server, tuple[AsyncExitStack, Client]] = {}
        self.selected: dict[Server, int] = {}
        self.batch: list[Step] = []
        self.batch_bytes = self.batch_calls = 0
        self.doubtful: dict[Key, None] = {}
        # What was changed since somebody began to look at all keys; None: nobody does.
        self.touched: set[Key] | None = None
        # Changes of more than can be told key by key.
        self.sweeping = 0
        self.surprises: list[str] = []
        self.counts: Counter[str] = Counter()
        # Set by the one who knows the source: the keys of a command.
        self.ask_keys: Callable[[Argv], Awaitable[list[bytes]]] | None = None

    # -- connections --------------------------------------------------------------------------

    async def client(self, server: Server, db: int = 0) -> Client:
        """The connection to a server, at a database; Unreachable, ConnectionLost."""
        if server not in self.links:
            stack = AsyncExitStack()
            client = await stack.enter_async_context(shards.talking(server))
            self.links[server] = stack, client
            self.selected[server] = 0
        client = self.links[server][1]
        if self.selected[server] != db:
            await client.call("SELECT", db)
            self.selected[server] = db
        return client

    async def drop(self, server: Server) -> None:
        """Give up a connection."""
        if server in self.links:
            stack, _ = self.links.pop(server)
            with trio.CancelScope(shield=True):
                await stack.aclose()

    async def close(self) -> None:
        """Give up all of them."""
        for server in list(self.links):
            await self.drop(server)

    # -- steps --------------------------------------------------------------------------------

    async def take(self, step: Step) -> None:
        """Do a step, now or with those behind it; TargetFailed."""
        if self.touched is not None:
            self.touched.update((step.db, key) for key in step.keys)
        if step.kind == SEND:
            self.batch.append(step)
            self.batch_calls += len(step.calls)
            self.batch_bytes += sum(len(word) for call in step.calls for word in call)
            if self.batch_calls >= BATCH_CALLS or self.batch_bytes >= BATCH_BYTES:
                await self.flush()
            return
        await self.flush()
        if step.kind == EVERYWHERE:
            await self.everywhere(step)
        elif step.kind == COMPUTE:
            await self.compute(step)
        else:
            if step.kind == UNKNOWN:
                step = step._replace(keys=await self.keys_at_source(step.calls[0]))
            self.doubt(step, f"{step.calls[0][0].decode(errors='replace')} is not carried over")

    async def flush(self) -> None:
        """Have everything done that was taken; TargetFailed."""
        steps, self.batch = self.batch, []
        self.batch_bytes = self.batch_calls = 0
        deadline = trio.current_time() + PATIENCE_SECONDS
        while steps:
            steps, why = await self.round(steps)
            if steps:
                if trio.current_time() > deadline:
                    raise TargetFailed(f"the target went on refusing what it was sent: {why}")
                await trio.sleep(AGAIN_SECONDS)

    async def round(self, steps: list[Step]) -> tuple[list[Step], str]:
        """Send steps once; those that are to be sent again, in their order, and why."""
        parts: dict[Server, list[tuple[int, Step]]] = {}
        for at, step in enumerate(steps):
            server = self.router.owner(step.keys[0]) if step.keys else self.router.owners[0]
            parts.setdefault(server, []).append((at, step))
        again: Again = {}
        async with trio.open_nursery() as nursery:
            for server, part in parts.items():
                nursery.start_soon(self.deliver, server, part, again)
        if any(why.startswith(LOST) for _, why in again.values()):
            await self.refresh()
        left: list[Step] = []
        why = ""
        for at in sorted(again):
            step, why = again[at]
            if not await self.asked_elsewhere(step, why, {k for one in left for k in one.keys}):
                left.append(step)
        return left, why

    async def asked_elsewhere(self, step: Step, why: str, waiting: set[bytes]) -> bool:
        """True if a key that is on its way to another server was changed there."""
        told = import_route.redirect(why)
        if told is None or not told.asking or len(step.calls) > 1 or waiting & set(step.keys):
            return False
        server = self.entry.at(told.host or self.entry.host, told.port)
        try:
            client = await self.client(server)
            replies = await client.pipeline([[b"ASKING"], step.calls[0]])
        except shards.Unreachable:
            return False
        except ConnectionLost:
            await self.drop(server)
            self.doubt(step, "")
            return True
        return not self.judge(step, replies[1:], server)

    async def refresh(self) -> None:
        """Ask anew who owns which slot."""
        if not self.router.is_cluster:
            return
        for server in dict.fromkeys([*self.router.servers(), self.entry]):
            try:
                self.router.owners = Router(await shards.behind(server)).owners
                return
            except (shards.Unreachable, ConnectionLost):
                continue

    async def deliver(self, server: Server, part: list[tuple[int, Step]], again: Again) -> None:
        """One server's part."""
        requests: list[Argv] = []
        try:
            client = await self.client(server)
        except (shards.Unreachable, ConnectionLost) as error:
            # Nothing of it was sent.
            await self.drop(server)
            again.update({at: (step, f"{LOST}{error}") for at, step in part})
            return
        db = self.selected[server]
        shape: list[int] = []
        for _, step in part:
            before = len(requests)
            if step.db != db:
                db = step.db
                requests.append([b"SELECT", b"%d" % db])
            if len(step.calls) > 1:
                requests += [[b"MULTI"], *step.calls, [b"EXEC"]]
            else:
                requests += step.calls
            shape.append(len(requests) - before)
        try:
            replies = await client.pipeline(requests)
        except ConnectionLost:
            await self.drop(server)
            for _, step in part:
                self.doubt(step, "")
            return
        self.selected[server] = db
        start = 0
        waiting: set[bytes] = set()
        for (at, step), size in zip(part, shape, strict=True):
            mine = replies[start : start + size]
            start += size
            if why := self.judge(step, mine, server):
                again[at] = step, why
                waiting.update(step.keys)
            elif waiting and not waiting.isdisjoint(step.keys):
                # It overtook one that is to be repeated.
                self.doubt(step, "")

    def judge(self, step: Step, replies: list[Any], server: Server) -> str:
        """Look at the answers to a step; why it is to be sent again, or an empty text."""
        errors = [str(reply) for reply in replies if isinstance(reply, ReplyError)]
        many = len(step.calls) > 1
        for text in errors:
            kind = import_route.verdict(text)
            if kind == ELSEWHERE and (told := import_route.redirect(text)) is not None:
                # A transaction in a slot that is on its way waits until that has arrived.
                if not told.asking:
                    self.router.learn(told, server)
                return text
            if kind == LATER or text.startswith(ALSO_LATER):
                return text
        results = replies[-1] if many and isinstance(replies[-1], list) else replies[-1:]
        self.counts["commands"] += len(step.calls)
        if many and not isinstance(replies[-1], list):
            self.doubt(step, errors[0] if errors else "the transaction was not carried out")
            return ""
        for call, result in zip(step.calls, results, strict=False):
            name = call[0].lower()
            if isinstance(result, ReplyError):
                self.doubt(step, f"{name.decode(errors='replace')}: {result}")
            elif result == 0 and name in MUST_CHANGE:
                # The key went here a moment before its time was changed there.
                self.doubt(step, "")
        return ""

    def doubt(self, step: Step, why: str) -> None:
        """Keys that are to be copied anew, and why, if that is worth telling."""
        for key in step.keys:
            self.doubtful[step.db, key] = None
        if why and len(self.surprises) < NOTED_MAX:
            self.surprises.append(f"{[key[:80] for key in step.keys[:3]]}: {why}")

    async def everywhere(self, step: Step) -> None:
        """A call for every server; TargetFailed if one does not take it."""
        self.sweeping += 1
        for server in self.router.servers():
            try:
                client = await self.client(server, step.db)
                await client.call(*step.calls[0])
            except (ReplyError, ConnectionLost, shards.Unreachable) as error:
                name = b" ".join(step.calls[0][:2]).decode(errors="replace")
                raise TargetFailed(f"{name} at {server.name}: {error}") from error
        self.counts["commands"] += 1

    async def keys_at_source(self, argv: Argv) -> list[bytes]:
        """The keys of a command that only the source knows."""
        return list(await self.ask_keys(argv)) if self.ask_keys is not None else []

    # -- keys as they are ---------------------------------------------------------------------

    async def read(self, db: int, keys: list[bytes]) -> list[Found]:
        """Keys as they are here; TargetFailed."""
        found: dict[bytes, Found] = {}
        problems: list[str] = []
        for attempt in range(READS_MAX):
            by_server: dict[Server, list[bytes]] = {}
            for key in keys:
                if key not in found:
                    by_server.setdefault(self.router.owner(key), []).append(key)
            if not by_server:
                return [found[key] for key in keys]
            if attempt:
                await trio.sleep(AGAIN_SECONDS)
            problems = []
            async with trio.open_nursery() as nursery:
                for server, mine in by_server.items():
                    nursery.start_soon(self.read_at, server, db, mine, found, problems)
            if any(text.startswith(WRONG) for text in problems):
                break
            if any(text.startswith(LOST) for text in problems):
                await self.refresh()
        raise TargetFailed(f"keys cannot be read back: {'; '.join(problems[:3])}")

    async def read_at(
        self, server: Server, db: int, keys: list[bytes], found: dict[bytes, Found],
        problems: list[str],
    ) -> None:  # fmt: skip
        """One server's keys; those that are not had from it are left out."""
        asked = [[word, key] for key in keys for word in (b"DUMP", b"PEXPIRETIME")]
        try:
            client = await self.client(server, db)
            replies = await client.pipeline(asked)
        except (shards.Unreachable, ConnectionLost) as error:
            await self.drop(server)
            problems.append(f"{LOST}{error}")
            return
        for key, dump, when in zip(keys, replies[::2], replies[1::2], strict=True):
            errors = [str(reply) for reply in (dump, when) if isinstance(reply, ReplyError)]
            if not errors:
                found[key] = dump, when if dump is not None else -2
                continue
            told, kind = import_route.redirect(errors[0]), import_route.verdict(errors[0])
            later = kind in (ELSEWHERE, LATER)
            problems.append(f"{'' if later else WRONG}{key[:80]!r} at {server.name}: {errors[0]}")
            if told is not None and not told.asking:
                self.router.learn(told, server)

    async def put(self, db: int, key: bytes, dump: bytes | None, expire_ms: int) -> None:
        """Let a key be as DUMP has it; None: let it not be there. Done with the next `flush`."""
        argv = [b"DEL", key]
        if dump is not None:
            argv = [b"RESTORE", key, b"%d" % max(expire_ms, 0), dump, b"REPLACE"]
            if expire_ms >= 0:
                argv.append(b"ABSTTL")
        await self.take(Step(SEND, db, [argv], [key]))

    async def compute(self, step: Step) -> None:
        """Run a command on keys of several slots here, and put back what it made."""
        from isthmus.cli.migrate_scratch import Scratch

        try:
            before = await self.read(step.db, step.keys)
        except TargetFailed as error:
            self.doubt(step, str(error))
            return
        scratch = Scratch()
        for key, (dump, when) in zip(step.keys, before, strict=True):
            scratch.put(key, dump, when)
        if wrong := scratch.run(step.calls[0]):
            self.doubt(step, wrong)
            return
        for key, was in zip(step.keys, before, strict=True):
            now = scratch.get(key)
            if now != was:
                await self.put(step.db, key, *now)
        await self.flush()
        self.counts["commands"] += 1
        self.counts["computed"] += 1

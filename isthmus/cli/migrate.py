"""`isthmus migrate-from`: a Redis that serves is moved into a server or a cluster (io).

    prepare    both ends are asked what they are; the policy is that of an import:
                 fail      refuse if the target holds a key
                 merge     keys that the target holds now stay as they are, come what may
                 replace   keys that are there are replaced
    snapshot   the source is followed as by a replica (migrate_source.py); the snapshot is checked
               to its end, and sent key by key as an import does (import_send.py)
    stream     what changed since is carried out in order (migrate_route.py, migrate_target.py)
    cut over   CLIENT PAUSE WRITE at the source, kept up by a task; wait until the last byte of its
               stream is applied; copy the keys that are in doubt; compare (migrate_verify.py) what
               was not compared before the pause, or has changed since

Writes at the source wait from the pause on; if anything fails behind it they go on there, and
nothing is lost, for clients have not been sent elsewhere. If all went well the source keeps them
waiting for --hold-seconds, so that nobody writes where it would be lost.

Exit status: 0 all is at the target; 1 it is not; 2 the command line asks for what cannot be done.
"""

from __future__ import annotations

import json
import mmap
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
import typer

from isthmus.cli import import_route, shards, sync
from isthmus.cli.data import POLICIES
from isthmus.cli.import_send import ImportFailed, Item, Sender
from isthmus.cli.importing import BIG_BYTES, function_payload
from isthmus.cli.migrate_route import CannotFollow, Translator
from isthmus.cli.migrate_source import PIECE_BYTES, Source, SourceFailed
from isthmus.cli.migrate_target import Target, TargetFailed
from isthmus.cli.migrate_verify import Verdict, Verifier
from isthmus.cli.rdb_entries import Summary, entries
from isthmus.cli.transfer import Bar, fail, first_error, say, size_text
from isthmus.wire.client import Client, ConnectionLost, ReplyError
from isthmus.wire.parser import RequestParser
from isthmus.wire.rdb_reader import RdbError

NEAR_BYTES = 1 << 20
LOOK_SECONDS = 0.05
TOLD_SECONDS = 10.0
PAUSE_MS = 15_000
PAUSE_AGAIN_SECONDS = 5.0
DRAIN_SECONDS_MAX = 120.0
BYTES_MAX = 1 << 40
SCAN_KEYS = 1000


class Refused(Exception):
    """It cannot be done as asked; the text says why, and what to do."""


class Facts:
    """What an end says of itself."""

    def __init__(self, text: str) -> None:
        self.fields = dict(re.findall(r"^([a-z0-9_]+):(.*?)\r?$", text, re.MULTILINE))
        self.dbs = [int(db) for db in re.findall(r"^db(\d+):keys=", text, re.MULTILINE)]
        self.volatile = sum(map(int, re.findall(r"^db\d+:keys=\d+,expires=(\d+)", text, re.M)))
        numbers = re.findall(r"\d+", self.fields.get("redis_version", ""))
        self.version = tuple(map(int, numbers[:2]))


async def facts_of(client: Client) -> Facts:
    """INFO."""
    return Facts((await client.call("INFO")).decode("utf-8", "replace"))


class Migration:
    """One run; `options` are those of the command line."""

    def __init__(self, source: sync.Server, target: sync.Server, **options: Any) -> None:
        self.server = source
        self.entry = target
        self.options = options
        self.policy: str = options["policy"]
        self.db: int | None = options["db"]
        self.source = Source(source)
        self.kept: set[tuple[int, bytes]] = set()
        self.slots = False
        self.target: Any = None
        self.bar: Bar = options["bar"]
        self.snapshot_keys = self.stream_bytes = 0
        self.head = 0
        self.idle = False
        self.near = trio.Event()
        self.asked = trio.Event()
        self.paused_s = 0.0
        # Keys that were looked at before the end; the changes of everything until then.
        self.surveyed, self.swept = 0, -1
        self.told = time.monotonic()

    # -- prepare ------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Ask both ends what they are; Refused."""
        await self.look_at_source()
        self.cluster = cluster = await shards.behind(self.entry)
        self.target = Target(self.entry, cluster)
        self.target.ask_keys = self.keys_at_source
        async with shards.talking(self.entry) as client:
            self.slots = cluster.is_cluster or not await has_databases(client)
        if self.slots and self.db is None and (beyond := [db for db in self.source_dbs if db]):
            raise Refused(
                f"the source has keys in database {beyond[0]}, and the target has database 0 only: "
                "--db N moves one database; several need a server that stands alone"
            )
        held = await self.target_keys()
        if self.policy == "fail" and held:
            raise Refused(
                f"the target is not empty, it holds {held:,} keys: --policy merge keeps what is "
                "there, --policy replace replaces it"
            )
        if self.policy == "merge":
            await self.note_kept()
        self.owned = held == 0
        self.translator = Translator(self.slots, self.db, self.kept, self.owned)

    async def look_at_source(self) -> None:
        """Whether the source can be moved; Refused."""
        name = self.server.name
        try:
            async with shards.talking(self.server) as client:
                found = await facts_of(client)
        except shards.Unreachable as error:
            if "NOAUTH" in str(error):
                raise Refused(f"{name} asks for a password: redis://:password@host:port") from error
            raise
        if found.version < (6, 2):
            version = found.fields.get("redis_version", "?")
            raise Refused(
                f"{name} is Redis {version}; 6.2 is the first that can pause writes alone"
            )
        if found.fields.get("role") == "slave":
            primary = f"{found.fields.get('master_host')}:{found.fields.get('master_port')}"
            raise Refused(f"{name} is a replica: name its primary, {primary}")
        if found.fields.get("cluster_enabled") == "1" and not self.options["shard"]:
            raise Refused(
                f"{name} is one node of a cluster: run this once for each of its primaries, "
                "with --shard, and with --policy merge from the second on"
            )
        self.source_dbs = found.dbs
        self.has_times = found.version >= (7, 0)

    async def target_keys(self) -> int:
        """How many keys the target holds, in all databases."""
        total = 0
        for server in self.target.router.servers():
            async with shards.talking(server) as client:
                if self.slots:
                    total += int(await client.call("DBSIZE"))
                else:
                    total += sum((await shards.key_counts(server)).values())
        return total

    async def note_kept(self) -> None:
        """The keys that the target holds now."""
        for server in self.target.router.servers():
            dbs = [0] if self.slots else sorted(await shards.key_counts(server))
            async with shards.talking(server) as client:
                for db in dbs:
                    if not self.slots:
                        await client.call("SELECT", db)
                    cursor = b"0"
                    while True:
                        cursor, keys = await client.call("SCAN", cursor, "COUNT", SCAN_KEYS)
                        self.kept.update((db, key) for key in keys)
                        if cursor == b"0":
                            break

    async def keys_at_source(self, argv: list[bytes]) -> list[bytes]:
        """The keys of a command that this version does not know."""
        async with shards.talking(self.server) as client:
            try:
                return list(await client.call("COMMAND", "GETKEYS", *argv))
            except ReplyError:
                return []

    # -- snapshot -----------------------------------------------------------------------------

    async def snapshot(self) -> None:
        """Wait for the snapshot, and send it."""
        self.bar.phase("", "the snapshot comes")
        while not self.source.whole.is_set():
            self.bar.bytes("snapshot", self.source.payload_bytes)
            with trio.move_on_after(LOOK_SECONDS):
                await self.source.whole.wait()
        with mapped(self.source) as data:
            summary = Summary()
            try:
                for _ in entries(data, summary):
                    pass
            except RdbError as error:
                raise SourceFailed(f"the snapshot of {self.server.name}: {error}") from error
            if (
                self.slots
                and self.db is None
                and any(summary.keys[db] for db in summary.keys if db)
            ):
                raise CannotFollow("the source has keys beyond database 0 by now: see --db")
            await self.load_functions(summary.functions)
            self.bar.expect("snapshot", summary.keys.total())
            self.bar.phase("", "the snapshot is loaded")
            await self.load(data)
        self.source.payload.truncate(0)

    async def load_functions(self, codes: list[bytes]) -> None:
        """Libraries go to every server."""
        word = "APPEND" if self.policy == "merge" else "REPLACE"
        for server in self.target.router.servers() if codes else ():
            async with shards.talking(server) as client:
                for code in codes:
                    try:
                        await client.call("FUNCTION", "RESTORE", function_payload(code), word)
                    except ReplyError as error:
                        if self.policy != "merge" or "already exists" not in str(error):
                            raise TargetFailed(f"a library at {server.name}: {error}") from error

    async def load(self, data: Any) -> None:
        """Send the keys of the snapshot."""
        done = 0
        async with trio.open_nursery() as nursery:
            policy = "replace" if self.policy == "replace" else "fail"
            sender = Sender(
                self.target.router, nursery, policy=policy, parallel=self.options["parallel"],
                big_bytes=BIG_BYTES,
            )  # fmt: skip
            for entry in entries(data, Summary()):
                done += 1
                if not done % 64:
                    self.bar.keys("snapshot", done)
                    await trio.lowlevel.checkpoint()
                to = self.translator.to(entry.db)
                if self.db not in (None, entry.db) or (to, entry.key) in self.kept:
                    continue
                # What expires is sent whatever time it is here: the source says when it is gone.
                await sender.add(Item(data, entry, to))
            await sender.finish()
        tally = sender.tally
        if tally.failed:
            raise TargetFailed(
                f"{tally.failed} keys are not taken: {'; '.join(tally.failures[:3])}"
            )
        self.snapshot_keys = tally.restored.total()
        self.bar.finished("snapshot", done)

    # -- stream -------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Carry out the stream, until cancelled."""
        source, target = self.source, self.target
        parser = RequestParser()
        parser.authenticated = True
        parser.query_buffer_bytes_max = parser.bulk_bytes_max = BYTES_MAX
        parser.args_max = 1 << 31
        fed = source.applied
        while True:
            source.more = trio.Event()
            data = source.stream.take(PIECE_BYTES)
            if not data:
                self.idle = True
                await source.more.wait()
                self.idle = False
                continue
            parser.feed(data)
            fed += len(data)
            self.stream_bytes += len(data)
            while (argv := parser.next()) is not None:
                for step in self.translator.take(argv):
                    await target.take(step)
            await target.flush()
            source.applied = fed - parser.pending

    def lag(self) -> int:
        """Bytes of the source's stream that the target does not have."""
        return max(self.head - self.source.applied, 0)

    async def watch(self) -> None:
        """Ask the source how far its stream is, and show the lag; until cancelled."""
        while True:
            try:
                async with shards.talking(self.server) as client:
                    while True:
                        await self.look(client)
                        await trio.sleep(LOOK_SECONDS if not self.near.is_set() else 0.5)
            except (shards.Unreachable, ConnectionLost):
                await trio.sleep(1)

    async def look(self, client: Client) -> None:
        """Once."""
        self.head = await offset_of(client)
        if self.source.connected and self.lag() < NEAR_BYTES:
            self.near.set()
        self.bar.note(f"{size_text(self.lag())} behind, {size_text(self.stream_bytes)} applied")
        if not self.bar.is_shown and time.monotonic() - self.told > TOLD_SECONDS:
            self.told = time.monotonic()
            say(f"the target is {size_text(self.lag())} behind")

    # -- cut over -----------------------------------------------------------------------------

    async def ask(self) -> None:
        """Wait until somebody says that the time has come."""
        await self.near.wait()
        if self.options["cutover"]:
            self.asked.set()
            return
        say("the target follows the source; press Enter to stop writes at the source and cut over")
        if await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            self.asked.set()

    async def catch_up(self) -> None:
        """Wait until little is missing, so that clients need not wait for it."""
        self.bar.phase("", "the source is followed")
        while not self.source.connected or self.lag() > NEAR_BYTES:
            await trio.sleep(LOOK_SECONDS)

    async def cut_over(self) -> Verdict:
        """Pause writes, drain, compare; SourceFailed, TargetFailed."""
        begun = time.monotonic()
        self.bar.phase("", "writes are paused")
        async with shards.talking(self.server) as client, trio.open_nursery() as nursery:
            done = False
            try:
                await client.call("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
                nursery.start_soon(self.keep_paused)
                await self.drain(client)
                verdict = await self.settle(client)
                done = not verdict.differing
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
                    hold_ms = self.options["hold_seconds"] * 1000
                    if done and hold_ms:
                        # It only grows: no write gets through in between.
                        await client.call("CLIENT", "PAUSE", hold_ms, "WRITE")
                    else:
                        await client.call("CLIENT", "UNPAUSE")
            self.paused_s = time.monotonic() - begun
        return verdict

    async def keep_paused(self) -> None:
        """A pause that ends by itself, should this process end; until cancelled."""
        async with shards.talking(self.server) as client:
            while True:
                await trio.sleep(PAUSE_AGAIN_SECONDS)
                await client.call("CLIENT", "PAUSE", PAUSE_MS, "WRITE")

    async def drain(self, client: Client) -> None:
        """Wait until the target has all of the stream."""
        with trio.move_on_after(DRAIN_SECONDS_MAX):
            while True:
                self.head = await offset_of(client)
                if self.idle and self.source.applied >= self.head:
                    return
                await trio.sleep(LOOK_SECONDS)
        raise TargetFailed(
            f"the target was {size_text(self.lag())} behind after {DRAIN_SECONDS_MAX:.0f} s "
            "without writes; they go on at the source: try again"
        )

    def verifier(self, target: Target, dbs: set[int]) -> Verifier:
        """Who compares, and says how far it is."""
        mapping = {db: self.translator.to(db) for db in sorted(dbs)}
        found = Verifier(self.server, target, mapping, self.kept)
        found.has_times = self.has_times
        found.tell = lambda keys: self.bar.note(f"{keys:,} keys")
        return found

    def dbs(self, found: Facts) -> set[int]:
        """The databases of the source that are moved."""
        return {self.db} if self.db is not None else {0, *found.dbs, *self.source_dbs}

    async def survey(self) -> None:
        """Look at all keys while clients write, so that they need not wait for that."""
        target = self.target
        await self.near.wait()
        self.bar.phase("", "keys are compared")
        async with shards.talking(self.server) as client:
            dbs = self.dbs(await facts_of(client))
        target.touched, swept = set(), target.sweeping
        # Connections of its own: those of the stream have a database selected.
        reader = Target(self.entry, self.cluster)
        try:
            verifier = self.verifier(reader, dbs)
            target.touched |= await verifier.survey()
            self.surveyed, self.swept = verifier.surveyed, swept
        except* (TargetFailed, shards.Unreachable, ConnectionLost) as group:
            say(f"all keys will be compared at the end: {first_error(group)}", "yellow")
        finally:
            await reader.close()

    async def settle(self, client: Client) -> Verdict:
        """Copy what is in doubt, and compare."""
        target = self.target
        dbs = self.dbs(await facts_of(client))
        if self.db is None and not self.slots:
            dbs |= {db for db, _ in target.doubtful}
        verifier = self.verifier(target, dbs)
        doubtful = list(target.doubtful)
        await verifier.copy(doubtful)
        if self.options["verify"]:
            self.bar.phase("", "keys are compared")
            left = target.touched if target.sweeping == self.swept else None
            await verifier.compare(None if left is None else left | set(doubtful))
        if self.owned:
            await self.count(client, verifier)
        return verifier.verdict

    async def count(self, client: Client, verifier: Verifier) -> None:
        """The target held nothing before: both have as many keys."""
        for attempt in range(2):
            here = 0
            for db in verifier.dbs:
                await client.call("SELECT", db)
                here += int(await client.call("DBSIZE"))
            there = await self.target_keys()
            if there <= here:
                break
            if not attempt and self.options["verify"]:
                await verifier.remove_extra()
        found = await facts_of(client)
        # While writes are paused the source counts what has expired, too.
        if not here - found.volatile <= there <= here:
            verifier.verdict.name(f"the source has {here:,} keys, the target {there:,}")

    # -- all of it ----------------------------------------------------------------------------

    async def run(self) -> dict[str, Any]:
        """From beginning to end; the outcome."""
        try:
            await self.prepare()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.source.run)
                await self.snapshot()
                say(f"{self.snapshot_keys:,} keys of the snapshot are at the target")
                self.bar.phase("", "the source is followed")
                nursery.start_soon(self.follow)
                nursery.start_soon(self.watch)
                nursery.start_soon(self.ask)
                await self.asked.wait()
                if self.options["verify"]:
                    await self.survey()
                    await self.catch_up()
                verdict = await self.cut_over()
                nursery.cancel_scope.cancel()
        finally:
            self.source.close()
            if self.target is not None:
                await self.target.close()
        return self.outcome(verdict)

    def outcome(self, verdict: Verdict) -> dict[str, Any]:
        """What is told at the end."""
        return {
            "ok": not verdict.differing,
            "source": self.server.name,
            "target": self.entry.name,
            "snapshot_keys": self.snapshot_keys,
            "stream_bytes": self.stream_bytes,
            "commands": self.target.counts["commands"],
            "computed": self.target.counts["computed"],
            "reconnects": self.source.reconnects,
            "in_doubt": len(self.target.doubtful),
            "surprises": self.target.surprises,
            "verified": verdict.keys + self.surveyed if self.options["verify"] else None,
            "compared_while_paused": verdict.keys,
            "mended": verdict.mended,
            "removed": verdict.removed,
            "different": verdict.different,
            "paused_seconds": round(self.paused_s, 3),
            "held_seconds": self.options["hold_seconds"],
        }


async def has_databases(client: Client) -> bool:
    """False if there is database 0 only."""
    try:
        await client.call("SELECT", 1)
    except ReplyError:
        return False
    return True


async def offset_of(client: Client) -> int:
    """How far the stream of a server is."""
    text = (await client.call("INFO", "replication")).decode()
    found = re.search(r"master_repl_offset:(\d+)", text)
    return int(found[1]) if found else 0


@contextmanager
def mapped(source: Source) -> Iterator[Any]:
    """The snapshot as bytes, for the length of the block."""
    with mmap.mmap(source.payload.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        try:
            yield view
        finally:
            view.release()


def command(*, source: str, to: str, policy: str, as_json: bool, **options: Any) -> None:
    """The command; its options are described in cli/migration.py."""
    if policy not in POLICIES:
        raise fail(f"--policy {policy}: one of {', '.join(POLICIES)} is meant", 2)
    try:
        servers = sync.server_of(source), sync.server_of(to)
    except ValueError as error:
        raise fail(str(error), 2) from error
    outcome = _run(*servers, policy=policy, **options)
    if as_json:
        typer.echo(json.dumps(outcome))
    else:
        _print(outcome)
    if not outcome["ok"]:
        raise typer.Exit(1)


def _run(source: sync.Server, target: sync.Server, **options: Any) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        with Bar("migrate") as bar:
            return await Migration(source, target, bar=bar, **options).run()

    try:
        return trio.run(run)
    except* KeyboardInterrupt as group:
        say("given up; the source goes on as if nothing had happened", "yellow")
        raise typer.Abort from group
    except* Refused as group:
        raise fail(str(first_error(group)), 2) from group
    except* (
        SourceFailed, TargetFailed, CannotFollow, ImportFailed, shards.Unreachable, ReplyError,
        ConnectionLost, import_route.BadMapping, OSError,
    ) as group:  # fmt: skip
        raise fail(str(first_error(group))) from group


def _print(outcome: dict[str, Any]) -> None:
    for text in outcome["surprises"]:
        say(f"copied anew: {text}", "yellow")
    for text in outcome["different"]:
        say(text, "red")
    if not outcome["ok"]:
        say("the target is not as the source is: writes go on at the source", "red")
        return
    if outcome["mended"] or outcome["removed"]:
        say(f"{outcome['mended']:,} keys were mended, {outcome['removed']:,} removed", "yellow")
    told = f"{outcome['snapshot_keys']:,} keys, {outcome['commands']:,} changes"
    compared = "" if outcome["verified"] is None else f"; {outcome['verified']:,} keys compared"
    say(f"{told}{compared}; writes waited for {outcome['paused_seconds']:.1f} s")
    say(
        f"all is at {outcome['target']}: send clients there. {outcome['source']} takes no writes "
        f"for {outcome['held_seconds']} s; CLIENT UNPAUSE there ends that",
        "green",
    )

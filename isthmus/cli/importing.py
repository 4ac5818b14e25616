"""`isthmus import`: RDB files, from any Redis, into a server or a cluster that serves (io).

    fail      refuse if the target holds a key in the databases that are written to
    merge     keys that are there stay as they are
    replace   keys that are there are replaced

Every file is read to its end first (import_source.py); then keys are routed by slot and sent
(import_send.py). A key whose time has passed is counted and not sent. Functions go to every server.
Afterwards the servers' own counts are compared with ours, and with --verify a sample of keys is
read back. Exit status: 0 every key has its outcome and none failed; 1 something failed; 2 the
command line asks for what cannot be done.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Annotated, Any

import trio
import typer

from isthmus.cli import import_route, import_source, shards, sync
from isthmus.cli.import_send import ImportFailed, Item, Sender, Tally
from isthmus.cli.rdb_entries import Summary, entries, framed
from isthmus.cli.transfer import Bar, fail, first_error, say
from isthmus.wire.client import ReplyError

POLICIES = ("fail", "merge", "replace")
BIG_BYTES = 64 << 20
SAMPLE_KEYS = 1000
FUNCTION_VERSION = 10
EXAMPLES = (
    "Examples:\n\n"
    "  isthmus import /backup/today --to redis://127.0.0.1:10000\n\n"
    "  isthmus import dump.rdb old-shard-*.rdb.gz --to redis://10.0.0.7:8500 --policy merge\n\n"
    "  isthmus import s3://bucket/backup/today --dry-run\n\n"
    "  isthmus import dump.rdb --database 3:0 --policy replace --verify"
)


class Import:
    """One run."""

    def __init__(
        self,
        sources: list[import_source.Source],
        cluster: shards.Cluster,
        policy: str,
        parallel: int,
        told: dict[int, int],
        bar: Bar,
    ) -> None:
        self.sources = sources
        self.cluster = cluster
        self.policy = policy
        self.parallel = parallel
        self.router = import_route.Router(cluster)
        self.dbs = import_route.mapped(
            list(import_source.keys_by_database(sources)), told, cluster.is_cluster
        )
        self.functions = import_source.functions(sources)
        self.bar = bar
        self.libraries: Counter[str] = Counter()
        self.library_failures: list[str] = []
        self.planned: Counter[str] = Counter()

    def plan(self) -> None:
        """Count where keys would go."""
        for source in self.sources:
            for entry in entries(source.data, Summary()):
                self.planned[self.router.owner(entry.key).name] += 1

    async def run(self, sample_max: int) -> tuple[Tally, dict[str, Any]]:
        """Everything; what became of the keys, and what the servers count. ImportFailed if not."""
        before = await self.counts()
        if self.policy == "fail" and any(before.values()):
            held = ", ".join(f"{name} {count:,}" for name, count in before.items() if count)
            raise ImportFailed(
                f"the target is not empty: {held} keys; --policy merge keeps what is there, "
                "--policy replace replaces it"
            )
        big = await self.big_bytes()
        await self.load_functions()
        async with trio.open_nursery() as nursery:
            sender = Sender(
                self.router, nursery, policy=self.policy, parallel=self.parallel, big_bytes=big
            )
            sender.tally.sample_max = sample_max
            for source in self.sources:
                self.bar.expect(source.name, source.summary.keys.total())
            for source in self.sources:
                await self.one(source, sender)
            await sender.finish()
        after = await self.counts()
        return sender.tally, self.compared(sender.tally, before, after)

    async def one(self, source: import_source.Source, sender: Sender) -> None:
        """One file."""
        done = 0
        now_ms = int(time.time() * 1000)
        for entry in entries(source.data, Summary()):
            done += 1
            if not done % 64:
                self.bar.bytes(source.name, entry.stop)
                self.bar.keys(source.name, done)
            if 0 <= entry.expire_ms <= now_ms:
                sender.tally.expired += 1
                continue
            await sender.add(Item(source.data, entry, self.dbs[entry.db]))
        self.bar.bytes(source.name, len(source.data))
        self.bar.keys(source.name, done)

    async def counts(self) -> dict[str, int]:
        """Keys of each server, in the databases that are written to."""
        found: dict[str, int] = {}
        for server in self.router.servers():
            async with shards.talking(server) as client:
                total = 0
                for db in sorted(set(self.dbs.values()) or {0}):
                    if db:
                        await client.call("SELECT", db)
                    total += int(await client.call("DBSIZE"))
                found[server.name] = total
        return found

    def compared(
        self, tally: Tally, before: dict[str, int], after: dict[str, int]
    ) -> dict[str, Any]:
        """Whether the servers have as many keys more as were put there."""
        more = sum(after.values()) - sum(before.values())
        made = tally.restored.total() - tally.replaced
        return {
            "before": before,
            "after": after,
            # Keys that expire may be gone by now.
            "agree": made - tally.volatile <= more <= made,
            "more": more,
            "made": made,
        }

    async def big_bytes(self) -> int:
        """Values above this are sent in pieces."""
        async with shards.talking(self.router.servers()[0]) as client:
            try:
                reply = await client.call("CONFIG", "GET", "proto-max-bulk-len")
                return min(BIG_BYTES, int(reply[1]) - 1024)
            except (ReplyError, IndexError, ValueError):
                return BIG_BYTES

    async def load_functions(self) -> None:
        """Libraries go to every server."""
        word = "REPLACE" if self.policy == "replace" else "APPEND"
        for server in self.router.servers() if self.functions else ():
            async with shards.talking(server) as client:
                for code in self.functions:
                    try:
                        await client.call("FUNCTION", "RESTORE", function_payload(code), word)
                        self.libraries["loaded"] += 1
                    except ReplyError as error:
                        if "already exists" in str(error) and self.policy == "merge":
                            self.libraries["skipped"] += 1
                            continue
                        self.libraries["failed"] += 1
                        self.library_failures.append(f"a library at {server.name}: {error}")


def function_payload(code: bytes) -> bytes:
    """A library as FUNCTION RESTORE takes it."""
    from isthmus.node.persist.snapshot_format import function

    return framed(function(code), FUNCTION_VERSION)


async def differences(tally: Tally, router: import_route.Router) -> list[str]:
    """Read the sampled keys back: those that are not as they were in their file."""
    from isthmus.cli.rdb_entries import payload
    from isthmus.node.values.restore import decode

    def plain(value: Any) -> Any:
        return bytes(value) if isinstance(value, (bytes, bytearray)) else value.plain()

    by_server: dict[tuple[sync.Server, int], list[Item]] = {}
    for item in tally.sample:
        by_server.setdefault((router.owner(item.entry.key), item.db), []).append(item)
    found = []
    for (server, db), items in by_server.items():
        async with shards.talking(server) as client:
            if db:
                await client.call("SELECT", db)
            for item in items:
                key = item.entry.key
                dump, when = await client.pipeline([[b"DUMP", key], [b"PEXPIRETIME", key]])
                if dump is None and item.entry.expire_ms >= 0:
                    continue
                if not isinstance(dump, bytes):
                    found.append(f"{key[:80]!r} at {server.name}: {dump or 'is not there'}")
                elif plain(decode(dump)) != plain(decode(payload(item.data, item.entry))):
                    found.append(f"{key[:80]!r} at {server.name} holds something else")
                elif isinstance(when, int) and when != item.entry.expire_ms:
                    found.append(
                        f"{key[:80]!r} at {server.name} expires at {when}, "
                        f"not at {item.entry.expire_ms}"
                    )
    return found


def import_(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC...",
            help="RDB files, plain or gzip; folders, s3:// or az:// that isthmus export wrote.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="redis://[user:password@]host:port: a server, any node of a cluster, or a proxy.",
        ),
    ] = "redis://127.0.0.1:10000",
    policy: Annotated[
        str, typer.Option(metavar="|".join(POLICIES), help="What of keys that are there already.")
    ] = "fail",
    parallel: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Connections to each server.")
    ] = 2,
    database: Annotated[
        list[str] | None,
        typer.Option(metavar="FROM:TO", help="Put the keys of one database into another."),
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the object store listens, if not at its maker's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the files, say where keys would go.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help=f"Read up to {SAMPLE_KEYS} keys back and compare.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome, for programs.")] = False,
) -> None:
    """Read RDB files of any Redis into a server or a cluster, each key where its slot is.

    All files are checked before the first key is sent. What expires keeps its time.
    """
    if policy not in POLICIES:
        raise fail(f"--policy {policy}: one of {', '.join(POLICIES)} is meant", 2)
    try:
        server = sync.server_of(to)
        told = import_route.mapping(database or [])
    except ValueError as error:
        raise fail(str(error), 2) from error

    async def run() -> dict[str, Any]:
        cluster = await shards.behind(server)
        with import_source.opened(sources, endpoint_url) as opened, Bar("import") as bar:
            job = Import(opened, cluster, policy, parallel, told, bar)
            if dry_run:
                job.plan()
                return _planned(job)
            tally, counts = await job.run(SAMPLE_KEYS if verify else 0)
            different = await differences(tally, job.router) if verify else []
            return _outcome(job, tally, counts, different, len(tally.sample) if verify else None)

    try:
        outcome = trio.run(run)
    except* import_route.BadMapping as group:
        raise fail(str(first_error(group)), 2) from group
    except* (ImportFailed, shards.Unreachable, import_source.BadSource, ReplyError) as group:
        raise fail(str(first_error(group))) from group
    if as_json:
        json.dump(outcome, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _print(outcome)
    raise typer.Exit(0 if outcome["ok"] else 1)


def _facts(job: Import) -> dict[str, Any]:
    keys = import_source.keys_by_database(job.sources)
    return {
        "files": [source.name for source in job.sources],
        "keys": keys.total(),
        "databases": {str(db): count for db, count in sorted(keys.items())},
        "libraries": len(job.functions),
        "is_cluster": job.cluster.is_cluster,
    }


def _planned(job: Import) -> dict[str, Any]:
    return {"ok": True, "dry_run": True, **_facts(job), "by_server": dict(job.planned)}


def _outcome(
    job: Import, tally: Tally, counts: dict[str, Any], different: list[str], read: int | None
) -> dict[str, Any]:
    ok = not (tally.failed or different or job.libraries["failed"])
    return {
        # Others may write to what was not empty; only what was is held to its count.
        "ok": ok and (counts["agree"] or job.policy != "fail"),
        "dry_run": False,
        **_facts(job),
        "restored": tally.restored.total(),
        "replaced": tally.replaced,
        "skipped": tally.skipped,
        "expired": tally.expired,
        "failed": tally.failed,
        "in_pieces": tally.in_pieces,
        "by_server": dict(tally.restored),
        "functions": dict(job.libraries),
        "failures": tally.failures + job.library_failures,
        "counts": counts,
        "verified": read,
        "different": different,
    }


def _print(outcome: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    from isthmus.cli import screen

    console = screen.output()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("keys", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    words = ("restored", "replaced", "skipped", "expired", "failed", "in_pieces")
    rows = [("in the files", outcome["keys"])]
    rows += [(word.replace("_", " "), outcome[word]) for word in words if word in outcome]
    rows += [(f"to {server}", count) for server, count in sorted(outcome["by_server"].items())]
    for name, count in rows:
        table.add_row(name, f"{count:,}", style="red" if name == "failed" and count else None)
    console.print(table)
    for text in [*outcome.get("failures", ()), *outcome.get("different", ())]:
        say(text, "red")
    if outcome["dry_run"]:
        say("nothing was sent: --dry-run")
        return
    counts = outcome["counts"]
    if not counts["agree"]:
        say(f"the servers hold {counts['more']:,} keys more, {counts['made']:,} were put there: "
            "did others write meanwhile?", "yellow")  # fmt: skip
    if outcome["verified"] is not None and not outcome["different"]:
        say(f"{outcome['verified']:,} keys were read back and are the same")

"""`isthmus export`: the data of a server or a cluster as RDB files, while it serves (io).

Each shard sends its snapshot as to a replica that wants nothing else (cli/sync.py); what arrives is
packed, summed and written piece by piece, so that memory stays small and a slow destination slows
only the export. Every file is read back then, as a node would load it: its checksum, its keys by
database (as many as the server announced), its SHA-256. The manifest is written last of all. If
anything fails, what this run wrote is deleted, and there is no manifest.

Each shard's file is the state at one moment; the shards' moments are close, and not the same one.
Exit status: 0 exported, 1 not, 2 the command line asks for what cannot be done.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import trio
import typer

from isthmus import __version__
from isthmus.cli import manifest, places, rdb_files, shards, sync
from isthmus.cli.transfer import Bar, data_dir_coordinator, fail, first_error, say

GZIP_LEVEL = 1
PARALLEL = 4
LOOK_SECONDS = 0.5
EXAMPLES = (
    "Examples:\n\n"
    "  isthmus export /backup/today\n\n"
    "  isthmus export --from redis://:secret@10.0.0.7:6379 --plain /backup/redis\n\n"
    "  isthmus export --coordinator 127.0.0.1:9400 s3://bucket/backup/today\n\n"
    "  isthmus export --endpoint-url http://127.0.0.1:9000 s3://bucket/backup"
)


class ExportFailed(Exception):
    """Nothing was exported; the text says why."""


class Export:
    """One run."""

    def __init__(self, cluster: shards.Cluster, place: places.Place, gzip: bool, bar: Bar) -> None:
        self.cluster = cluster
        self.place = place
        self.gzip = gzip
        self.bar = bar
        self.stamp = _utc(time.time(), "%Y%m%dT%H%M%SZ")
        self.written: list[str] = []
        self.files: dict[int, dict[str, Any]] = {}
        self.turns = trio.CapacityLimiter(PARALLEL)

    async def run(self, source: str) -> dict[str, Any]:
        """Everything; the manifest. ExportFailed if not, and then nothing of it remains."""
        started = time.time()
        done = False
        try:
            if manifest.NAME in await trio.to_thread.run_sync(self.place.names):
                raise ExportFailed(
                    f"{self.place.name} holds an export already: name another place, or delete it"
                )
            async with trio.open_nursery() as nursery:
                for number, shard in enumerate(self.cluster.shards):
                    nursery.start_soon(self.one, number, shard)
            facts = {
                "cluster": self.cluster.name,
                "source": source,
                "isthmus": __version__,
                "started": _utc(started),
                "finished": _utc(time.time()),
            }
            files = [self.files[number] for number in sorted(self.files)]
            data = manifest.render(facts, files)
            await trio.to_thread.run_sync(self.store, manifest.NAME, data)
            done = True
        except* (places.PlaceError, sync.SyncFailed, shards.Unreachable, OSError) as group:
            raise ExportFailed(str(first_error(group))) from group
        finally:
            if not done:
                self.take_back()
        return manifest.parse(data)

    def take_back(self) -> None:
        """Delete what this run wrote."""
        for name in self.written:
            try:
                self.place.remove(name)
            except (places.PlaceError, OSError) as error:
                say(f"{name} could not be deleted: {error}", "yellow")

    def store(self, name: str, data: bytes) -> None:
        """Write a small file."""
        writer = self.place.create(name)
        try:
            writer.write(data)
            writer.finish()
        except BaseException:
            writer.abandon()
            raise

    async def one(self, number: int, shard: shards.Shard) -> None:
        """One shard's file."""
        async with self.turns:
            name = manifest.file_name(
                self.cluster.name, f"shard-{shard.name}", self.stamp, self.gzip
            )
            begun = time.time()
            counts = await shards.key_counts(shard.server)
            self.bar.expect(name, sum(counts.values()))
            out = _Packed(self.gzip, await trio.to_thread.run_sync(self.place.create, name))
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.watch, name, shard.server)
                    await sync.snapshot(shard.server, _Taker(out, self.bar, name).take)
                    nursery.cancel_scope.cancel()
                self.written.append(name)
                await trio.to_thread.run_sync(out.finish)
            except BaseException:
                out.writer.abandon()
                raise
            self.bar.phase(name, "verifying")
            verified = await trio.to_thread.run_sync(verify, self.place, name, out)
            self.bar.finished(name, sum(verified["keys"].values()))
            self.files[number] = {
                "name": name,
                "shard": shard.name,
                "address": shard.server.name,
                "slots": shard.slots if self.cluster.is_cluster else [],
                "compression": "gzip" if self.gzip else "none",
                "bytes": out.stored_bytes,
                "rdb_bytes": out.rdb_bytes,
                "sha256": out.sha256.hexdigest(),
                **verified,
                "started": _utc(begun),
                "finished": _utc(time.time()),
            }

    async def watch(self, name: str, server: sync.Server) -> None:
        """Tell the progress bar how many keys the server has passed."""
        if not self.bar.is_shown:
            return
        async with shards.talking(server) as client:
            while True:
                text = (await client.call("INFO", "persistence")).decode()
                for line in text.splitlines():
                    if line.startswith("current_save_keys_processed:"):
                        self.bar.keys(name, int(line.partition(":")[2]))
                await trio.sleep(LOOK_SECONDS)


class _Packed:
    """A file's bytes on their way: packed, counted and summed."""

    def __init__(self, gzip: bool, writer: places.Writer) -> None:
        self.writer = writer
        self.packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31) if gzip else None
        self.sha256 = hashlib.sha256()
        self.stored_bytes = self.rdb_bytes = 0

    def write(self, data: bytes) -> None:
        self.rdb_bytes += len(data)
        self._out(self.packer.compress(data) if self.packer else data)

    def finish(self) -> None:
        if self.packer:
            self._out(self.packer.flush())
        self.writer.finish()

    def _out(self, data: bytes) -> None:
        if data:
            self.stored_bytes += len(data)
            self.sha256.update(data)
            self.writer.write(data)


class _Taker:
    """Gives pieces to a thread: packing and the disk would hold up the other shards."""

    def __init__(self, out: _Packed, bar: Bar, name: str) -> None:
        self.out = out
        self.bar = bar
        self.name = name
        self.waiting: list[bytes] = []

    async def take(self, piece: bytes) -> None:
        """Write a piece."""
        await trio.to_thread.run_sync(self.out.write, piece)
        self.bar.bytes(self.name, self.out.rdb_bytes)


class _Count:
    """Counts what a file holds; an Into of node/persist/snapshot_read.py."""

    def __init__(self) -> None:
        self.db = 0
        self.keys: Counter[int] = Counter()
        self.announced: Counter[int] = Counter()
        self.volatile = self.functions = 0
        self.facts: dict[bytes, bytes] = {}

    def aux(self, name: bytes, value: bytes) -> None:
        self.facts[name] = value

    def select(self, db: int) -> None:
        self.db = db

    def resize(self, keys: int, volatile: int) -> None:
        self.announced[self.db] += keys

    def entry(self, key: bytes, value: Any, expire_ms: int, idle_s: int, freq: int) -> None:
        self.keys[self.db] += 1
        self.volatile += expire_ms >= 0

    def function(self, code: bytes) -> None:
        self.functions += 1


def verify(place: places.Place, name: str, out: _Packed) -> dict[str, Any]:
    """Read a file back as a node would; what it holds. ExportFailed if it is not as it was sent."""
    from isthmus.node.persist.snapshot_read import Report, read_snapshot
    from isthmus.wire.rdb_reader import RdbError, RdbReader

    count, report = _Count(), Report()
    with place.local(name) as path:
        size, digest = rdb_files.digest(path)
        if (size, digest) != (out.stored_bytes, out.sha256.hexdigest()):
            raise ExportFailed(f"{name} is not what was written: {size} bytes, SHA-256 {digest}")
        try:
            with rdb_files.opened(path) as data:
                reader = RdbReader(data)
                try:
                    for _ in read_snapshot(
                        reader, count, now_ms=0, keep_expired=True, report=report
                    ):
                        pass
                    if reader.left:
                        raise ExportFailed(f"{name} has {reader.left} bytes behind its end")
                finally:
                    reader.close()
        except (RdbError, rdb_files.BadFile) as error:
            raise ExportFailed(f"{name} cannot be read back: {error}") from error
    for db, said in count.announced.items():
        if said != count.keys[db] + (report.empty if len(count.keys) <= 1 else 0):
            raise ExportFailed(
                f"{name} holds {count.keys[db]} keys of database {db}, the server announced {said}"
            )
    return {
        "rdb_version": report.version,
        "redis_version": count.facts.get(b"redis-ver", b"").decode("utf-8", "replace"),
        "keys": {str(db): keys for db, keys in sorted(count.keys.items())},
        "volatile": count.volatile,
        "functions": count.functions,
    }


def _utc(when: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return time.strftime(form, time.gmtime(when))


def export(
    dest: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="A folder, s3://bucket/prefix or az://container/prefix."
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="redis://[user:password@]host:port: a server, or any node of a cluster.",
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The cluster of this coordinator; by default the one that isthmus status shows.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="The cluster in DIR.")
    ] = None,
    one_node: Annotated[
        bool, typer.Option("--one-node", help="With --from: that node alone, not its cluster.")
    ] = False,
    gzip: Annotated[
        bool, typer.Option("--gzip/--plain", help="Compress the files, or not.")
    ] = True,
    endpoint_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the object store listens, if not at its maker's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write the data of a cluster, or of any Redis, to RDB files while it serves.

    One file per shard, read back and compared, and a manifest at the end.
    """
    if source and coordinator:
        raise fail("--from names a server, --coordinator a cluster: which of them?", 2)
    try:
        server = sync.server_of(source) if source else None
        place = places.place_of(dest, endpoint_url)
    except (ValueError, places.PlaceError) as error:
        raise fail(str(error), 2) from error
    where = source_name = ""
    if server is None:
        where = source_name = coordinator or data_dir_coordinator(data_dir)
    else:
        source_name = f"redis://{server.name}"

    async def run() -> dict[str, Any]:
        if server is None:
            cluster = await shards.of_coordinator(where)
        elif one_node:
            cluster = shards.Cluster(server.name, False, [shards.Shard("0", server)])
        else:
            cluster = await shards.behind(server)
        with Bar("export") as bar:
            return await Export(cluster, place, gzip, bar).run(source_name)

    try:
        found = trio.run(run)
    except* (ExportFailed, shards.Unreachable) as group:
        raise fail(str(first_error(group))) from group
    if as_json:
        json.dump(found, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _print(place.name, found)


def _print(where: str, found: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    from isthmus.cli import screen

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("shard", "file", "keys", "bytes", "RDB bytes"):
        right = column not in ("shard", "file")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for file in found["files"]:
        keys = sum(file["keys"].values())
        table.add_row(
            file["shard"], file["name"], f"{keys:,}", f"{file['bytes']:,}",
            f"{file['rdb_bytes']:,}",
        )  # fmt: skip
    console = screen.output()
    console.print(table)
    console.print(
        f"{found['keys']:,} keys, {found['bytes']:,} bytes in {where}, read back and found right",
        style="green", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip

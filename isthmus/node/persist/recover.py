"""Starting from what is on the disk (io): the append only file if it is on, else the snapshot.

Data is read in pieces; between them the loop serves those who connect meanwhile, who are told that
the data set is being loaded. A file that cannot be trusted ends the process with a sentence that
names the file, the place, the reason and the command that repairs it: a node that starts with less
than it had would be taken for one that has everything.

Two things are done as Redis does not. If the append only file is on but was never written, and
there is a snapshot, the snapshot is loaded and becomes the base of the file; Redis starts empty
then. And a tail that was torn off by a crash is cut only up to `AOF_CUT_BYTES_MAX`; more of it
needs a person.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import trio

from isthmus.node.engine.context import GATE_LOADING
from isthmus.node.engine.errors import RedisError
from isthmus.node.persist.aof_format import Seal
from isthmus.node.persist.aof_manifest import (
    AofFile,
    Manifest,
    ManifestError,
    check_name,
    manifest_name,
    parse,
    should_upgrade,
    upgraded,
)
from isthmus.node.persist.aof_scan import AofRefused, AofScanner, End, Place, judge
from isthmus.node.persist.replay import AofReplay, DatabaseMissing, ReplayError
from isthmus.node.persist.snapshot_read import KeyspaceLoader, Report, read_snapshot
from isthmus.node.values.keys import delete
from isthmus.node.values.restore import limits_of
from isthmus.wire.logs import log
from isthmus.wire.rdb_reader import RdbReader

# A torn tail is what one write left: no more than the largest command and its transaction.
AOF_CUT_BYTES_MAX = 64 * 1024 * 1024
# The loop gets its turn after so much work.
SLICE_SECONDS = 0.02
PROGRESS_SECONDS = 5.0
RDB_MAGIC = b"REDIS"


@dataclass(frozen=True, slots=True)
class FoundStream:
    """What the append only file says of the replication stream that its data is of."""

    path: str
    places: list[Place]
    exact: bool  # the last place is behind the last command
    db: int  # selected behind it


class RecoverError(Exception):
    """The data on the disk cannot be loaded; the text says which, why, and what helps."""


async def recover(node: Any) -> None:
    """Load what is on the disk and open the append only file; RecoverError, OSError."""
    kept = node.persistence
    kept.snapshots.remove_leftovers()
    work = Recovery(node)
    loading = kept.loading
    loading.active = True
    loading.started_ms = node.clock.refresh()
    started = time.monotonic()
    node.ctx.gates |= GATE_LOADING
    try:
        for _ in work.run():
            await trio.lowlevel.checkpoint()
    finally:
        loading.active = False
        node.ctx.gates &= ~GATE_LOADING
    if work.loaded:
        log(
            "data_loaded", files=" ".join(work.loaded), keys=loading.keys_loaded,
            expired=loading.keys_expired, seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
    # What was loaded is on the disk: it is no change.
    kept.snapshots.dirty_before = node.keyspace.log.dirty


class Recovery:
    """One start; `loaded` names the files that were read."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.kept = node.persistence
        self.aof = node.persistence.aof
        self.loading = node.persistence.loading
        self.loaded: list[str] = []
        self.told = time.monotonic()

    def run(self) -> Iterator[None]:
        """Load, then append, if the append only file is on; yields now and then."""
        config = self.node.config
        if not config.boolean("appendonly"):
            yield from self.load_snapshot(self.kept.snapshots.path())
            return
        try:
            check_name(self.aof.name)
            manifest = self.read_manifest()
        except ManifestError as error:
            path = self.aof.path(manifest_name(self.aof.name))
            raise RecoverError(f"The manifest {path} cannot be used: {error}") from None
        if manifest is None:
            yield from self.load_snapshot(self.kept.snapshots.path())
            self.aof.start_anew()
            return
        seal, size, total = yield from self.load_files(manifest)
        self.aof.open(manifest, size, seal, total)

    # -- the append only file -----------------------------------------------------------------

    def read_manifest(self) -> Manifest | None:
        """The manifest, that of a file of Redis before 7 included; None if there is neither."""
        aof = self.aof
        manifest: Manifest | None = None
        try:
            with open(aof.path(manifest_name(aof.name)), "rb") as file:
                manifest = parse(file.read())
        except FileNotFoundError:
            pass
        moved = os.path.exists(aof.path(aof.name))
        if should_upgrade(manifest, aof.name, os.path.isfile(aof.name), moved):
            os.makedirs(aof.folder, exist_ok=True)
            manifest = upgraded(aof.name)
            aof.save_manifest(manifest)
            os.rename(aof.name, aof.path(aof.name))
            log("aof_upgraded", file=aof.path(aof.name))
        return manifest

    def load_files(self, manifest: Manifest) -> Generator[None, None, tuple[Seal, int, int]]:
        """Load all files; the running sum and the size of the last, and the size of all."""
        aof = self.aof
        parts = manifest.to_load()
        for part in parts:
            try:
                self.loading.total_bytes += os.path.getsize(aof.path(part.name))
            except FileNotFoundError:
                raise RecoverError(
                    f"The append only file {aof.path(part.name)} is in the manifest and not on the "
                    "disk; nothing was loaded"
                ) from None
        before = 0
        seal, size = Seal(), 0
        replay = AofReplay(self.node)
        replay.begin()
        try:
            for part in parts:
                size, seal = yield from self.load_part(replay, part, before, part is parts[-1])
                before = self.loading.loaded_bytes = before + size
        finally:
            replay.end()
        if replay.first_failure is not None:
            offset, name, text = replay.first_failure
            log("aof_commands_failed", level="WARN", count=replay.failed, first=name, offset=offset,
                why=text)  # fmt: skip
        self.loading.keys_loaded = sum(db.size for db in self.node.keyspace.databases)
        if manifest.last() is None:
            seal, size = Seal(), 0
        return seal, size, before

    def load_part(
        self, replay: AofReplay, part: AofFile, before: int, last: bool
    ) -> Generator[None, None, tuple[int, Seal]]:
        """Load one file; its size afterwards, and the running sum of what it holds."""
        path = self.aof.path(part.name)
        self.loaded.append(path)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return 0, Seal()
            # Unmapped when the last view of it is gone.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            end = yield from self.load_data(replay, data, path, before)
        if end is None:
            return size, Seal()
        try:
            verdict = judge(
                end, path, last=last, cut_bytes_max=AOF_CUT_BYTES_MAX,
                load_truncated=self.node.config.boolean("aof-load-truncated"),
            )  # fmt: skip
        except AofRefused as error:
            raise RecoverError(str(error)) from None
        if verdict.cut:
            log("aof_tail_cut", level="WARN", why=verdict.text, bytes=verdict.cut)
            os.truncate(path, verdict.keep)
        return verdict.keep, end.seal

    def load_data(
        self, replay: AofReplay, data: mmap.mmap, path: str, before: int
    ) -> Generator[None, None, End | None]:
        """Load what a file of the append only kind holds; how its commands end, if it has any."""
        start = 0
        if data[: len(RDB_MAGIC)] == RDB_MAGIC:
            start = yield from self.load_rdb(data, path, before, True)
            if start == len(data):
                return None
        replay.begin_file()
        scanner = AofScanner(memoryview(data), start)
        try:
            yield from self.drive(replay_all(scanner, replay), before, path)
        except ReplayError as error:
            if isinstance(error, DatabaseMissing) and in_cluster(self.node):
                raise RecoverError(other_databases(f"The append only file {path}", error)) from None
            raise RecoverError(f"Bad command in the append only file {path}: {error}") from None
        assert scanner.end is not None
        # Only what is said behind everything is said of everything.
        exact = scanner.placed == scanner.commands
        self.loading.stream = FoundStream(path, list(scanner.places), exact, replay.selected())
        return scanner.end

    # -- the snapshot -------------------------------------------------------------------------

    def load_snapshot(self, path: str, merge: bool = False) -> Iterator[None]:
        """Load a snapshot, if it is there; `merge`: its keys replace those of the same name."""
        try:
            file = open(path, "rb")
        except FileNotFoundError:
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            self.loading.total_bytes += size
            self.loaded.append(path)
            if size == 0:
                raise RecoverError(f"The snapshot {path} is empty. {advice(path)}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                # A replica keeps what its primary may still work with.
                keep = bool(self.node.config.text("replicaof"))
                end = yield from self.load_rdb(data, path, 0, keep, merge)
                if end != size:
                    log("snapshot_has_more", level="WARN", file=path, bytes=size - end)
        self.kept.snapshots.last_save_s = int(os.path.getmtime(path))

    def load_rdb(
        self, data: mmap.mmap, path: str, before: int, keep_expired: bool, merge: bool = False
    ) -> Generator[None, None, int]:
        """Load RDB; where it ended."""
        loader = (MergingLoader if merge else NodeLoader)(self.node, path)
        view = memoryview(data)
        reader = RdbReader(view)
        try:
            now_ms = self.node.clock.refresh()
            report = Report()
            pieces = read_snapshot(
                reader,
                loader,
                now_ms=now_ms,
                keep_expired=keep_expired,
                limits=limits_of(self.node.config),
                report=report,
            )
            yield from self.drive(pieces, before, path)
            loader.finish()
            self.loading.keys_loaded += report.keys
            self.loading.keys_expired += report.expired
            self.loading.facts = loader.facts
            # A fact for people, which nothing relies on.
            told = loader.facts.get(b"used-mem", b"")
            self.loading.used_mem_then = int(told) if told.isdigit() and len(told) < 20 else 0
            return int(reader.position)
        except ValueError as error:
            raise RecoverError(f"The snapshot {path} is damaged: {error}. {advice(path)}") from None
        finally:
            reader.close()
            view.release()

    def drive(self, pieces: Iterator[int], before: int, path: str) -> Iterator[None]:
        """Work through pieces, each of which says how far it has come; yield in between."""
        deadline = time.monotonic() + SLICE_SECONDS
        for done in pieces:
            now = time.monotonic()
            if now < deadline:
                continue
            self.loading.loaded_bytes = before + done
            if now - self.told > PROGRESS_SECONDS:
                self.told = now
                share = 100 * (before + done) / max(self.loading.total_bytes, 1)
                log("loading", file=path, percent=f"{share:.0f}")
            yield
            deadline = time.monotonic() + SLICE_SECONDS


def replay_all(scanner: AofScanner, replay: AofReplay) -> Iterator[int]:
    """Run all commands of a file; how far it has come, now and then."""
    count = 0
    for offset, argv in scanner:
        replay.run(offset, argv)
        count += 1
        if count & 255 == 0:
            yield offset


def advice(path: str) -> str:
    """What to do with a snapshot that cannot be loaded."""
    return (
        f"Look at it with: isthmus check rdb {path}; put a good copy in its place, or move it away "
        "to start empty"
    )


def in_cluster(node: Any) -> bool:
    """True for a node of a cluster, which has one database; it is told so before it joins."""
    return bool(node.config.boolean("cluster-enabled"))


def other_databases(file: str, where: object) -> str:
    """Why a file of several databases cannot be loaded by a node of a cluster."""
    return (
        f"{file} holds keys of other databases than 0 ({where}), and a node of a cluster has only "
        "that one; nothing was loaded. Load it with isthmus node --standalone, or move it away to "
        "start empty"
    )


class NodeLoader(KeyspaceLoader):
    """Puts what a snapshot holds into a node. It leaves `entry` alone, which is called for each key
    and would cost more than all the rest as a function of Python."""

    replaces = False

    def __init__(self, node: Any, path: str) -> None:
        super().__init__(node.keyspace)
        self.node = node
        self.path = path

    def select(self, db: int) -> None:
        """The keys that follow are in this database; raises ValueError, RecoverError."""
        if db and in_cluster(self.node):
            raise RecoverError(other_databases(f"The snapshot {self.path}", f"database {db}"))
        super().select(db)

    def finish(self) -> None:
        """Load the libraries of functions; raises ValueError."""
        scripts = self.node.scripts
        for code in self.functions:
            try:
                scripts.load_library(code, self.replaces)
            except RedisError as error:
                raise ValueError(error.text.decode(errors="replace")) from None


class MergingLoader(NodeLoader):
    """Lets the keys and libraries of a snapshot replace those of the same name."""

    replaces = True

    def entry(self, key: bytes, value: Any, expire_ms: int, idle_s: int, freq: int) -> None:
        """A key; -1 for what is not known of it."""
        delete(self.db, key)
        super().entry(key, value, expire_ms, idle_s, freq)

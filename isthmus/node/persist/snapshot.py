"""Snapshots: SAVE, BGSAVE and the save points (io).

One snapshot or one rewrite of the append only file is taken at a time, because both are cuts of the
same data; a BGSAVE that finds a rewrite under way waits for its end if it was asked to (SCHEDULE).
The cut begins when the command is served, so the file holds the data as it stood then; the file is
written by `run` beside everything else (cut_file.py).

A background save that fails leaves the old file as it was, is told in INFO and in the log, and
makes commands that write fail until one succeeds, if `stop-writes-on-bgsave-error` says so and save
points are configured: whoever relies on snapshots must hear that there are none.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import trio

from isthmus.node.engine.context import GATE_CUT
from isthmus.node.engine.errors import RedisError
from isthmus.node.persist.cut import Cut
from isthmus.node.persist.cut_file import CutCancelled, CutFailed, CutFile
from isthmus.node.persist.cut_stream import CutStream
from isthmus.node.persist.snapshot_format import function, header
from isthmus.wire.logs import log
from isthmus.wire.slots import SLOTS

IN_PROGRESS = b"ERR Background save already in progress"
RETRY_SECONDS = 5
# The problem of a job that was given up on purpose.
CANCELLED = "cancelled"
# The kinds of jobs.
SNAPSHOT, REWRITE, STREAM = "snapshot", "rewrite", "stream"
MARKS_NONE, MARKS_IDLE, MARKS_FREQUENCY = 0, 1, 2


class Job:
    """A cut that is being written to a file, or sent; `done(error)` is called at its end."""

    def __init__(self, file: Any, kind: str, done: Callable[[str | None], None]) -> None:
        # A CutFile, or whatever else has its `write_beside`, `cut`, `path`, `size`, `cancelled`.
        self.file = file
        self.kind = kind
        self.done = done
        self.started = time.monotonic()


class Snapshots:
    """The snapshots of one node, and the one job that writes a cut."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.config = node.config
        self.last_save_s = node.started_ms // 1000
        self.last_ok = True
        self.last_try = 0.0
        self.last_seconds = -1
        self.last_cow_bytes = 0
        self.saves = 0
        self.scheduled = False
        self.dirty_before = 0
        self.job: Job | None = None
        # Those who wait for a cut of their own; each begins its job when it is called.
        self.streams: list[Callable[[], Job | None]] = []
        # Set by the server: whether cuts are walked between the turns of its loop, from now on.
        self.background: Callable[[bool], None] | None = None
        self.wake = trio.Event()

    # -- what a file holds besides keys -------------------------------------------------------

    def path(self) -> str:
        """The file that SAVE writes; relative to the working folder, which `dir` names."""
        return str(self.config.text("dbfilename"))

    def changes(self) -> int:
        """Changes of data that the last snapshot does not have."""
        return int(self.node.keyspace.log.dirty) - self.dirty_before

    def head(self, aof_base: bool, functions: bool = True) -> bytes:
        """The header and the function libraries."""
        node = self.node
        fields = [
            (b"redis-ver", b"7.4.0"), (b"redis-bits", b"64"),
            (b"ctime", b"%d" % (node.clock.now_ms // 1000)),
            (b"used-mem", b"%d" % node.memory.used()),
        ]  # fmt: skip
        stream = node.replication
        if not aof_base and stream is not None and stream.has_stream():
            fields += [
                (b"repl-stream-db", b"%d" % stream.primary.stream_db()),
                (b"repl-id", stream.replid.encode()), (b"repl-offset", b"%d" % stream.offset),
            ]  # fmt: skip
        fields.append((b"aof-base", b"1" if aof_base else b"0"))
        libraries = []
        if functions and node.scripts is not None:
            libraries = node.scripts.library_codes()
        return header(fields) + b"".join(map(function, libraries))

    def marks(self) -> int:
        """Whether entries tell how keys are used: as in Redis, while the policy looks at it."""
        policy = self.config.text("maxmemory-policy")
        if policy.endswith("-lru"):
            return MARKS_IDLE
        return MARKS_FREQUENCY if policy.endswith("-lfu") else MARKS_NONE

    def new_cut(self, chosen: bytes | None = None) -> Cut:
        """Begin a cut of the data as it stands; of the slots only where `chosen` has a 1."""
        node = self.node

        def finished() -> None:
            node.ctx.gates &= ~GATE_CUT
            if self.background is not None:
                self.background(False)

        cut = Cut(
            node.keyspace, self.marks(), finished, self.config.boolean("rdbcompression"),
            resume=node.blocking.resume_postponed, slot_hints=node.cluster is not None,
            chosen=chosen,
        )  # fmt: skip
        cut.pending_bytes_max = max(cut.pending_bytes_max, node.memory.used() // 10)
        cut.begin()
        if self.background is not None:
            self.background(True)
        node.ctx.gates |= GATE_CUT
        return cut

    def new_file(self, path: str, aof_base: bool) -> CutFile:
        """A file of the data as it stands, of which nothing is written yet."""
        checksum = self.config.boolean("rdbchecksum")
        writeback = self.config.boolean(
            "aof-rewrite-incremental-fsync" if aof_base else "rdb-save-incremental-fsync"
        )
        head = self.head(aof_base)
        return CutFile(self.new_cut(), path, head, checksum=checksum, writeback=writeback,
                       by_loop=self.background is not None)  # fmt: skip

    # -- SAVE and BGSAVE ----------------------------------------------------------------------

    def save_now(self) -> None:
        """SAVE: write the file while everything waits; raises RedisError."""
        if self.job is not None and self.job.kind == SNAPSHOT:
            raise RedisError(IN_PROGRESS)
        self.cancel("SAVE takes its place")
        self.write_now()

    def flushed(self) -> None:
        """FLUSHALL: where there are save points, what it removed is not to come back with the file
        of the last one."""
        job = self.job
        if job is not None and job.kind == SNAPSHOT:
            self.cancel("FLUSHALL")
        elif job is not None:
            self.scheduled = self.scheduled or bool(self.config.text("save"))
            return
        if self.config.text("save"):
            with contextlib.suppress(RedisError):
                self.write_now()

    def write_now(self) -> None:
        """Write the file while everything waits; raises RedisError."""
        self.last_try = time.monotonic()
        dirty = self.node.keyspace.log.dirty
        try:
            self.new_file(self.path(), False).write_at_once()
        except (OSError, CutFailed) as error:
            log("save_failed", level="ERROR", why=str(error), file=self.path())
            raise RedisError(b"ERR") from None
        self.saved(dirty)

    def saved(self, dirty: int) -> None:
        """A snapshot of the data after `dirty` changes is on the disk."""
        self.dirty_before = dirty
        self.last_save_s = self.node.clock.now_ms // 1000
        self.last_ok = True
        self.saves += 1
        self.node.persistence.regate()

    def save_beside(self, schedule: bool) -> bool:
        """BGSAVE: begin a save. False if it is only scheduled; raises RedisError."""
        job = self.job
        if job is not None and job.kind == SNAPSHOT:
            raise RedisError(IN_PROGRESS)
        if job is not None:
            if not schedule:
                raise RedisError(
                    b"ERR Another child process is active (AOF?): can't BGSAVE right now. Use "
                    b"BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible."
                )
            self.scheduled = True
            return False
        self.last_try = time.monotonic()
        dirty = self.node.keyspace.log.dirty
        file = self.new_file(self.path(), False)

        def done(problem: str | None) -> None:
            self.last_cow_bytes = file.peak_bytes
            if problem is None:
                self.saved(dirty)
            elif problem != CANCELLED:
                self.last_ok = False
                self.node.persistence.regate()

        self.begin(Job(file, SNAPSHOT, done))
        return True

    def send_to(self, client: Any, greeting: Callable[[], bytes] = bytes) -> None:
        """Send a client a snapshot of the data as it stands, when no other cut is under way;
        before it what `greeting` says as the cut begins."""
        self.stream(lambda: self._stream_of(client, greeting))

    def _stream_of(self, client: Any, greeting: Callable[[], bytes]) -> Job | None:
        if client.peer is None:
            return None
        mark = self.node.random_bytes(20).hex().encode()
        # REPLCONF rdb-filter-only: parts of it, which are never the data.
        parts = b"no-data" in client.sync_wishes
        head = self.head(False, not parts or b"with-functions" in client.sync_wishes)
        cut = self.new_cut(bytes(SLOTS) if parts else None)
        stream = CutStream(cut, client, head, mark, self.background is not None)
        stream.greeting = greeting()
        return Job(stream, STREAM, lambda problem: None)

    def stream(self, make: Callable[[], Job | None]) -> None:
        """Begin a job that sends a cut, when no other is under way; None: it is wanted no more."""
        self.streams.append(make)
        if self.job is None:
            self.next_stream()

    def next_stream(self) -> bool:
        """Begin to send to the next one that waits. False if there is none."""
        while self.streams:
            job = self.streams.pop(0)()
            if job is not None:
                self.begin(job)
                return True
        return False

    def begin(self, job: Job) -> None:
        """Let `run` write a job's file; the cut has begun."""
        self.job = job
        self.wake.set()

    def cancel(self, why: str) -> None:
        """Give up the job that is being written, if there is one."""
        if self.job is not None:
            log("cut_cancelled", job=self.job.kind, why=why)
            self.job.file.cancelled = True
            self.job.file.cut.end()

    # -- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is begun, until cancelled."""
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            while (job := self.job) is not None:
                await self.write(job)

    async def write(self, job: Job) -> None:
        """Write one job to its end, tell of it, and begin what waits for it."""
        log("cut_started", job=job.kind, file=job.file.path, keys=job.file.cut.keys_total)
        problem: str | None = None
        try:
            await job.file.write_beside()
        except (OSError, CutFailed) as error:
            problem = str(error) or type(error).__name__
        except CutCancelled:
            problem = CANCELLED
        finally:
            self.job = None
        seconds = time.monotonic() - job.started
        if job.kind == SNAPSHOT:
            self.last_seconds = int(seconds)
        log(
            "cut_written" if problem is None else "cut_failed",
            level="INFO" if problem is None else "ERROR",
            job=job.kind, file=job.file.path, seconds=round(seconds, 3), bytes=job.file.size,
            **({} if problem is None else {"why": problem}),
        )  # fmt: skip
        job.done(problem)
        self.node.persistence.next_job()

    def due(self) -> bool:
        """True if a save point asks for a snapshot now."""
        now_s = self.node.clock.now_ms // 1000
        if not self.last_ok and time.monotonic() - self.last_try < RETRY_SECONDS:
            return False
        changes = self.changes()
        return any(
            changes >= least and now_s - self.last_save_s > seconds
            for seconds, least in save_points(self.config.text("save"))
        )

    def remove_leftovers(self) -> None:
        """Remove temporary files of processes that ended in the middle of a save."""
        for folder in {os.path.dirname(self.path()) or ".", str(self.config.text("appenddirname"))}:
            if not os.path.isdir(folder):
                continue
            for name in os.listdir(folder):
                if name.startswith("temp-") and name.endswith((".rdb", ".aof")):
                    os.unlink(os.path.join(folder, name))


def save_points(text: str) -> list[tuple[int, int]]:
    """`save` as (seconds, changes) pairs."""
    words = list(map(int, text.split()))
    return list(zip(words[::2], words[1::2], strict=True))

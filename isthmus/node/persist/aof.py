"""AppendOnlyFile: every change of data, in a file before anybody is told of it (io).

Effects are appended to a buffer as they happen, and the pump holds its replies from then on; at the
end of the turn `commit` writes the buffer with one call, and the replies go out. What a client was
told is in the file therefore, whatever ends the process (but see everysec). What a power cut may
take is the policy's:

    appendfsync always     commit syncs as well: once for all clients of the turn
    appendfsync everysec   a task syncs once a second in a thread. Where a write beside a sync was
                           seen to take long, the next ones wait for the sync, for 2 s at most
                           (Redis' rule, which does so always), and replies do not
    appendfsync no         the system decides

When the disk refuses a write, the file is cut back to its last good end, what was to be written is
kept, commands that write are refused (MISCONF), and it is tried again until it succeeds. With
`always` those who would have been answered in that turn are cut off: what became of their requests
is told by nobody. When a *sync* fails, what had been written before may be gone although the system
no longer says so, and another sync that succeeds would prove nothing. So nothing is appended to
that file any more, writes are refused, and the data set is written anew to other files; when they
are on the disk, writing goes on there.

Files are Redis' own (aof_manifest.py): a base, which is a snapshot, and what came after it. A
rewrite begins a new file for what comes after, takes a cut, writes it as the new base, and then
puts both into the manifest in one step. At no time does the manifest name less than everything.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import trio

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.errors import RedisError
from isthmus.node.persist.aof_buffer import AofBuffer
from isthmus.node.persist.aof_format import Seal, place
from isthmus.node.persist.aof_manifest import (
    AofFile,
    Manifest,
    ManifestError,
    finish_rewrite,
    forget_history,
    manifest_name,
    next_base,
    next_incr,
    parse,
    render,
    sealed,
)
from isthmus.node.persist.cut_file import sync_folder
from isthmus.node.persist.snapshot import REWRITE, Job, Snapshots
from isthmus.wire.logs import log

ALWAYS, EVERYSEC, NO = "always", "everysec", "no"
SYNC_EVERY_SECONDS = 1.0
# As in Redis: a write waits no longer for a sync that is under way. It waits only where one that
# did not was seen to stop the loop for so long, not longer ago than that.
POSTPONED_SECONDS_MAX = 2.0
SLOW_WRITE_NS = 50_000_000
SLOW_REMEMBERED_SECONDS = 60.0
RETRY_SECONDS = 1.0
REWRITE_RETRY_SECONDS = 60.0
REWRITE_FAILURES_FAST = 3


class AppendOnlyFile:
    """The append only file of one node, on or off."""

    def __init__(self, node: Any, snapshots: Snapshots) -> None:
        self.node = node
        self.config = node.config
        self.snapshots = snapshots
        self.enabled = False
        self.manifest = Manifest()
        self.descriptor = -1
        # What is to be appended next.
        self.buffer = AofBuffer(node)
        # The running sum of the file.
        self.seal = Seal()
        # Which offset of which replication stream the buffer ends with, as it says itself.
        self.place: tuple[str, int] = ("", -1)
        # Of the file that is appended to: its good bytes.
        self.file_bytes = 0
        # Bytes of all incremental files and the base, now and when it was last written anew.
        self.total_bytes = 0
        self.base_bytes = 0
        # Offsets in the stream of all bytes ever appended (`AofBuffer.appended`).
        self.written = 0
        self.synced = 0
        self.syncing_since = 0.0
        self.postponed_since = 0.0
        # Until then writes wait for a sync; 0: they need not.
        self.slow_until = 0.0
        self.tried = 0.0
        self._problem = ""
        # A sync failed: the file may lack what was written to it.
        self.broken = False
        # No manifest names the file that is appended to: a base has to be written first.
        self.unnamed = False
        self.delayed_syncs = 0
        self.commit_ns = 0
        self.policy = self.config.text("appendfsync")
        self.config.on_change("appendfsync", self._policy_changed)
        # Clients that wait for a sync (WAITAOF), and for which offset.
        self.waiting: dict[int, int] = {}
        self.wake = trio.Event()
        self.rewrite_scheduled = False
        self.last_rewrite_ok = True
        self.last_rewrite_seconds = -1
        self.last_cow_bytes = 0
        self.rewrites = 0
        self.rewrite_failures = 0
        self.rewrite_tried = 0.0

    @property
    def problem(self) -> str:
        """Why nothing can be appended, for people; empty if it can."""
        return self._problem

    @problem.setter
    def problem(self, text: str) -> None:
        self._problem = text
        self.buffer.refused = bool(text)

    # -- names --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """`appendfilename`: what the names of all files begin with."""
        return str(self.config.text("appendfilename"))

    @property
    def folder(self) -> str:
        """`appenddirname`, below the working folder."""
        return str(self.config.text("appenddirname"))

    def path(self, name: str) -> str:
        """A file of the folder."""
        return os.path.join(self.folder, name)

    # -- turning it on and off ----------------------------------------------------------------

    def open(self, manifest: Manifest, file_bytes: int, seal: Seal, total_bytes: int) -> None:
        """Append to the last file of a manifest whose files have been loaded; raises OSError."""
        last = manifest.last()
        if last is None:
            manifest = next_incr(manifest, self.name)
            last = manifest.last()
            assert last is not None
            self.save_manifest(manifest)
            file_bytes, seal = 0, Seal()
        self.manifest = manifest
        self.descriptor = self.open_file(last.name)
        if not file_bytes:
            os.ftruncate(self.descriptor, 0)
        self.file_bytes = file_bytes
        self.seal = seal
        self.buffer.begin_file()
        self.total_bytes = self.base_bytes = total_bytes
        self.listen()

    def start_anew(self) -> None:
        """Write a base of the data as it is, and begin to append behind it; raises OSError."""
        self.make_folder()
        base = next_base(self.manifest, self.name, True)
        file = self.snapshots.new_file(self.path(base.name), True)
        file.write_at_once()
        manifest = next_incr(replace(self.manifest, base=base, base_seq=base.seq), self.name)
        last = manifest.last()
        assert last is not None
        self.descriptor = self.open_file(last.name)
        # One of that name may be left from a process that ended before it was listed.
        os.ftruncate(self.descriptor, 0)
        self.save_manifest(manifest)
        self.file_bytes = 0
        self.total_bytes = self.base_bytes = file.size
        self.listen()

    def listen(self) -> None:
        """Hear of every effect from now on."""
        self.enabled = True
        self.node.keyspace.log.attach(self.buffer)

    def make_folder(self) -> None:
        """Make the folder if need be, and its name last; raises OSError."""
        if not os.path.isdir(self.folder):
            os.makedirs(self.folder, exist_ok=True)
            sync_folder(os.path.dirname(self.folder))

    def open_file(self, name: str) -> int:
        """A file to append to; raises OSError."""
        return os.open(
            self.path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )

    def save_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest on the disk, and here; raises OSError.

        Then either nothing has changed, or both are the new one, and whether it lasts is unknown.
        """
        target = self.path(manifest_name(self.name))
        temporary = self.path("temp-" + manifest_name(self.name))
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, sealed(render(manifest)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
        self.manifest = manifest
        sync_folder(self.folder)

    def turn(self, on: bool) -> None:
        """CONFIG SET appendonly. Turning it on writes the data first; raises OSError."""
        if on and not self.enabled:
            if self.snapshots.job is not None:
                self.rewrite_scheduled = True
            else:
                self.begin_rewrite()
            if not self.enabled and not self.rewrite_scheduled:
                raise OSError(errno.EIO, self.problem or "the append only file cannot be written")
        elif not on and self.enabled:
            job = self.snapshots.job
            if job is not None and job.kind == REWRITE:
                self.snapshots.cancel("appendonly is off")
            self.write()
            self.sync_now()
            self.enabled = False
            self.node.keyspace.log.detach(self.buffer)
            self.drop_file()
            self.problem = ""
            self.broken = self.unnamed = False
            self.buffer.clear()
            self.node.persistence.regate()

    def close(self) -> None:
        """The process ends: everything that was told to anybody is made last."""
        if not self.enabled:
            return
        self.node.keyspace.log.flush()
        if not self.broken and self.write():
            self.sync_now()
        self.drop_file()
        self.enabled = False

    @contextmanager
    def not_listening(self) -> Iterator[None]:
        """Changes of data in the block are none: they are loaded from the files."""
        log_of_effects = self.node.keyspace.log
        log_of_effects.flush()
        if self.enabled:
            log_of_effects.detach(self.buffer)
        try:
            yield
        finally:
            log_of_effects.flush()
            if self.enabled:
                log_of_effects.attach(self.buffer)

    # -- appending ----------------------------------------------------------------------------

    def commit(self) -> bool:
        """Write what was appended. False if replies to what was appended may not be sent.

        While commands that write are refused, what is appended is keys whose time came: nobody is
        promised anything, and who reads is not cut off.
        """
        buffer = self.buffer
        promised, buffer.promised = buffer.promised, False
        always = self.policy == ALWAYS
        # A rewrite that begins writes the buffer, and syncs nothing.
        if not self.enabled or not (buffer.data or (always and self.synced < self.written)):
            return True
        clock = self.node.clock
        started = clock.mono_ns()
        done = (not always and self.must_wait()) or (
            not self.broken and self.write() and (not always or self.spared() or self.sync_now())
        )
        self.commit_ns += clock.mono_ns() - started
        return bool(done) or not always or not promised

    def must_wait(self) -> bool:
        """True if a write would wait for a sync that is under way, and need not happen yet."""
        if not self.syncing_since or not self.slow_until or self.policy != EVERYSEC:
            return False
        now = time.monotonic()
        if now > self.slow_until:
            self.slow_until = 0.0
            return False
        if not self.postponed_since:
            self.postponed_since = now
        if now - self.postponed_since < POSTPONED_SECONDS_MAX:
            return True
        self.delayed_syncs += 1
        return False

    def write(self) -> bool:
        """Write the buffer. False, and the file as it was, if the disk refuses."""
        self.postponed_since = 0.0
        if not self.buffer.data:
            return True
        self.tell_place()
        seal = Seal(self.seal.crc, self.seal.size, self.seal.sealed)
        seal.add(self.buffer.data)
        data = bytes(self.buffer.data) + seal.line()
        started = self.node.clock.mono_ns()
        try:
            write_all(self.descriptor, data)
        except OSError as error:
            self.write_failed(error)
            return False
        if self.syncing_since and self.node.clock.mono_ns() - started > SLOW_WRITE_NS:
            self.slow_until = time.monotonic() + SLOW_REMEMBERED_SECONDS
        self.seal = seal
        self.file_bytes += len(data)
        self.total_bytes += len(data)
        self.written += len(self.buffer.data)
        self.buffer.clear()
        if self.problem and not self.broken:
            log("aof_writes_again", file=self.folder)
            self.problem = ""
            self.node.persistence.regate()
        if self.policy == EVERYSEC:
            self.wake.set()
        return True

    def tell_place(self) -> None:
        """Say which part of the replication stream the file is with what is to be written now."""
        stream = self.node.replication
        found = None if stream is None else stream.place()
        if found is not None and found != self.place:
            self.place = found
            self.buffer.add(place(*found))

    def write_failed(self, error: OSError) -> None:
        """The disk took nothing, or a part: cut the file back to its good end."""
        self.tried = time.monotonic()
        text = error.strerror or str(error)
        if text != self.problem:
            log("aof_write_failed", level="ERROR", why=text, file=self.folder)
        self.problem = text
        try:
            os.ftruncate(self.descriptor, self.file_bytes)
        except OSError as worse:
            log("aof_cut_failed", level="ERROR", why=str(worse), file=self.folder)
            self.broken = True
        self.node.persistence.regate()

    # -- syncing ------------------------------------------------------------------------------

    def sync_now(self) -> bool:
        """Sync while everything waits. False if that failed."""
        if self.broken:
            return False
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            self.sync_failed(error)
            return False
        self.now_synced(self.written)
        return True

    def spared(self) -> bool:
        """True if nothing is synced while a cut is written, because the configuration says so."""
        return self.snapshots.job is not None and bool(
            self.config.boolean("no-appendfsync-on-rewrite")
        )

    def sync_failed(self, error: OSError) -> None:
        """What was written may be gone: nothing more goes to this file (see the module essay)."""
        if not self.enabled:
            # It was turned off while a thread was at it: nothing relies on it any more.
            return
        text = error.strerror or str(error)
        log("aof_sync_failed", level="ERROR", why=text, file=self.folder)
        self.broken = True
        self.problem = text
        self.rewrite_tried = 0.0
        self.node.persistence.regate()

    def now_synced(self, offset: int) -> None:
        """All up to offset is on the disk: whoever waits for that goes on."""
        self.synced = max(self.synced, offset)
        if not self.waiting:
            return
        blocking = self.node.blocking
        for blocked in blocking.waiting_for(b"aof"):
            if self.waiting.get(blocked.client.id, 0) <= self.synced:
                blocking.rerun(blocked)

    def synced_for(self, client: ClientState) -> bool:
        """True if all that happened before the client asked first is on the disk."""
        if client.blocked is None:
            self.waiting = {
                id: offset for id, offset in self.waiting.items()
                if id in self.node.blocking.clients
            }  # fmt: skip
            self.waiting[client.id] = self.buffer.appended
        return self.waiting.get(client.id, 0) <= self.synced

    async def run(self) -> None:
        """Sync once a second while there is something to sync, until cancelled."""
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            await self.sync_beside()
            await trio.sleep(SYNC_EVERY_SECONDS)
            if self.synced < self.written and self.policy != NO:
                # It was spared, or could not be begun.
                self.wake.set()

    async def sync_beside(self) -> None:
        """Sync in a thread what is written now."""
        if not self.enabled or self.broken or self.synced >= self.written or self.spared():
            return
        offset = self.written
        try:
            # Another descriptor of the same file: this one may be closed meanwhile.
            own = os.dup(self.descriptor)
        except OSError as error:
            log("aof_sync_postponed", level="WARN", why=str(error))
            return
        self.syncing_since = time.monotonic()
        try:
            await trio.to_thread.run_sync(os.fdatasync, own)
        except OSError as error:
            self.sync_failed(error)
        else:
            self.now_synced(offset)
        finally:
            self.syncing_since = 0.0
            os.close(own)

    # -- writing anew -------------------------------------------------------------------------

    def grown(self) -> bool:
        """True if the files are so much larger than what they were that they are written anew."""
        if not self.enabled:
            return False
        since = time.monotonic() - self.rewrite_tried
        if self.broken or self.unnamed:
            return since >= RETRY_SECONDS
        if self.rewrite_failures >= REWRITE_FAILURES_FAST and since < REWRITE_RETRY_SECONDS:
            return False
        percentage = self.config.integer("auto-aof-rewrite-percentage")
        if not percentage or self.total_bytes < self.config.integer("auto-aof-rewrite-min-size"):
            return False
        base = max(self.base_bytes, 1)
        return bool((self.total_bytes - base) * 100 // base >= percentage)

    def rewrite_asked(self) -> bool:
        """BGREWRITEAOF. False if it has to wait for another cut; raises RedisError."""
        job = self.snapshots.job
        if job is not None and job.kind == REWRITE:
            raise RedisError(b"ERR Background append only file rewriting already in progress")
        if job is not None:
            self.rewrite_scheduled = True
            return False
        if not self.begin_rewrite():
            raise RedisError(
                b"ERR Can't execute an AOF background rewriting. Please check the server logs for "
                b"more information."
            )
        return True

    def begin_rewrite(self) -> bool:
        """Begin a new incremental file and a cut for the base before it. False if that failed."""
        self.rewrite_scheduled = False
        self.rewrite_tried = time.monotonic()
        self.node.keyspace.log.flush()
        # A chain with a gap is never named: only where all before is written, the new file follows.
        follows = self.enabled and not (self.broken or self.unnamed)
        wanted = self.config.boolean("appendonly")
        descriptor = -1
        before = begun = self.manifest
        try:
            if follows and not self.finish_file():
                raise OSError(errno.EIO, self.problem)
            self.make_folder()
            if not self.enabled:
                self.learn_names()
            begun = next_incr(self.manifest, self.name)
            if wanted:
                last = begun.last()
                assert last is not None
                descriptor = self.open_file(last.name)
                os.ftruncate(descriptor, 0)
            if follows:
                self.save_manifest(begun)
            base = next_base(self.manifest, self.name, True)
            file = self.snapshots.new_file(self.path(base.name), True)
        except OSError as error:
            log("aof_rewrite_failed", level="ERROR", why=str(error), file=self.folder)
            if descriptor >= 0:
                os.close(descriptor)
            if follows and self.manifest is not before:
                # The new file is listed already: nothing may be appended to the one before it.
                self.sync_failed(error)
            self.rewrite_over(None, str(error))
            return False
        if wanted:
            self.go_on_in(descriptor, follows)
        keep_from = begun.incr_seq if wanted else begun.incr_seq + 1

        def done(problem: str | None) -> None:
            self.last_cow_bytes = file.peak_bytes
            self.last_rewrite_seconds = int(time.monotonic() - self.rewrite_tried)
            if problem is None:
                problem = self.adopt(base, begun if wanted else self.manifest, keep_from)
            self.rewrite_over(file.size if problem is None else None, problem)

        self.snapshots.begin(Job(file, REWRITE, done))
        return True

    def finish_file(self) -> bool:
        """Write what waits, and make last what the file holds. False if the disk refuses.

        Before another file is named behind this one: if a power cut took the end of this one and
        not all of the other, what is left would have a hole. It does not take much longer than the
        sync of the manifest, which has to wait for the same bytes on most file systems.
        """
        if not self.write():
            return False
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            self.sync_failed(error)
            return False
        return True

    def learn_names(self) -> None:
        """Take over what an earlier process has left in the folder, so that no file is written over
        before the manifest stops naming it; raises OSError."""
        try:
            with open(self.path(manifest_name(self.name)), "rb") as file:
                self.manifest = parse(file.read())
        except FileNotFoundError:
            self.manifest = Manifest()
        except ManifestError as error:
            raise OSError(errno.EINVAL, f"the manifest cannot be used: {error}") from None

    def go_on_in(self, descriptor: int, follows: bool) -> None:
        """Append to a new file; the old one is finished and this one `follows` it, or given up."""
        self.drop_file()
        if not follows and self.enabled:
            # What that file lacks, and what waits here, is in the cut.
            self.written += len(self.buffer.data)
            self.buffer.clear()
        self.unnamed = not follows
        self.descriptor = descriptor
        self.seal = Seal()
        self.buffer.begin_file()
        self.file_bytes = 0
        if not self.enabled:
            self.listen()

    def drop_file(self) -> None:
        """Close the file, as it is."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def adopt(self, base: AofFile, begun: Manifest, keep_from: int) -> str | None:
        """Put a new base into the manifest and delete what it replaces. Why not, if it fails."""
        try:
            manifest = finish_rewrite(begun, base, keep_from)
            self.save_manifest(manifest)
            self.unnamed = False
            manifest, names = forget_history(manifest)
            for name in names:
                try:
                    os.unlink(self.path(name))
                except FileNotFoundError:
                    pass
            self.save_manifest(manifest)
        except OSError as error:
            return str(error)
        return None

    def rewrite_over(self, base_bytes: int | None, problem: str | None) -> None:
        """Note how a rewrite ended; `base_bytes` is the size of the new base."""
        if problem is not None:
            self.last_rewrite_ok = False
            self.rewrite_failures += 1
            return
        assert base_bytes is not None
        self.last_rewrite_ok = True
        self.rewrite_failures = 0
        self.rewrites += 1
        self.total_bytes = self.base_bytes = base_bytes + self.file_bytes
        if self.broken and self.enabled:
            self.broken = False
            self.problem = ""
            log("aof_writes_again", file=self.folder)
            self.node.persistence.regate()

    # -- looked at from outside ---------------------------------------------------------------

    def cron(self) -> None:
        """Ten times a second: what waits is written, what failed is tried again."""
        if not self.buffer.data or not self.enabled or self.broken:
            return
        if self.problem and time.monotonic() - self.tried < RETRY_SECONDS:
            return
        if not self.must_wait() and self.write() and self.policy == ALWAYS:
            self.sync_now()

    def buffer_bytes(self) -> int:
        """Bytes that wait to be written."""
        return len(self.buffer.data)

    def figures(self) -> dict[str, str | int]:
        """The fields of INFO that are there while it is on."""
        if not self.enabled:
            return {}
        return {
            "aof_current_size": self.total_bytes, "aof_base_size": self.base_bytes,
            "aof_pending_rewrite": int(self.rewrite_scheduled),
            "aof_buffer_length": len(self.buffer.data),
            "aof_pending_bio_fsync": int(bool(self.syncing_since)),
            "aof_delayed_fsync": self.delayed_syncs,
        }  # fmt: skip

    def _policy_changed(self, text: str) -> None:
        self.policy = self.config.text("appendfsync")


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of data; raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

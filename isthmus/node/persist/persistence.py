"""Persistence: the one place that knows what a node keeps on disk, and whether that works.

It ties snapshots and the append only file together: one cut is written at a time, what waits for it
is begun afterwards, and while something that must be kept cannot be kept, commands that write are
refused with the reason (`refusal`), as in Redis. Reads go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from isthmus.node.engine.config import ConfigError
from isthmus.node.engine.context import GATE_DISK
from isthmus.node.engine.errors import RedisError
from isthmus.node.persist.aof import AppendOnlyFile
from isthmus.node.persist.recover import RecoverError, Recovery
from isthmus.node.persist.snapshot import REWRITE, SNAPSHOT, Snapshots
from isthmus.wire.logs import log

NO_SNAPSHOT = (
    b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
    b"disk. Commands that may modify the data set are disabled, because this instance is "
    b"configured to report errors during writes if RDB snapshotting fails "
    b"(stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB "
    b"error."
)
NO_APPEND = b"MISCONF Errors writing to the AOF file: "


class Loading:
    """How far reading the data set has come, for INFO and for people."""

    def __init__(self) -> None:
        self.active = False
        self.started_ms = 0
        self.total_bytes = 0
        self.loaded_bytes = 0
        self.keys_loaded = 0
        self.keys_expired = 0
        # What the last snapshot that was loaded says of itself.
        self.facts: dict[bytes, bytes] = {}
        # What the append only file says of the stream it holds (recover.py), until that is used.
        self.stream: Any = None
        # What the file says its writer's data took.
        self.used_mem_then = 0

    def figures(self, now_ms: int) -> dict[str, str | int]:
        """The fields of INFO while the data set is being loaded."""
        seconds = max(now_ms - self.started_ms, 1) / 1000
        rate = self.loaded_bytes / seconds
        left = self.total_bytes - self.loaded_bytes
        percent = 100 * self.loaded_bytes / max(self.total_bytes, 1)
        return {
            "loading_start_time": self.started_ms // 1000, "loading_total_bytes": self.total_bytes,
            "loading_rdb_used_mem": self.used_mem_then, "loading_loaded_bytes": self.loaded_bytes,
            "loading_loaded_perc": f"{percent:.2f}",
            "loading_eta_seconds": int(left / rate) if rate else 1,
        }  # fmt: skip


class Persistence:
    """What a node keeps on disk."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.loading = Loading()
        self.snapshots = Snapshots(node)
        self.aof = AppendOnlyFile(node, self.snapshots)
        for name in ("stop-writes-on-bgsave-error", "save"):
            node.config.on_change(name, self._changed)
        node.config.on_apply("appendonly", self._append)

    def _append(self, text: str) -> None:
        """CONFIG SET appendonly; raises ConfigError."""
        try:
            self.aof.turn(text == "yes")
        except OSError as error:
            raise ConfigError("appendonly", str(error)) from None

    def _changed(self, text: str = "") -> None:
        self.regate()

    # -- what commands are refused ------------------------------------------------------------

    def refusal(self) -> bytes | None:
        """Why a command that writes may not run now; None if it may."""
        if self.aof.problem:
            return NO_APPEND + self.aof.problem.encode()
        config = self.node.config
        if (
            not self.snapshots.last_ok
            and config.text("save")
            and config.boolean("stop-writes-on-bgsave-error")
        ):
            return NO_SNAPSHOT
        return None

    def regate(self) -> None:
        """Something failed, or works again."""
        gates = self.node.ctx.gates
        self.node.ctx.gates = gates & ~GATE_DISK if self.refusal() is None else gates | GATE_DISK

    # -- cuts in turn -------------------------------------------------------------------------

    def next_job(self) -> None:
        """A cut has been written, or given up: begin what waits for that."""
        if self.snapshots.job is not None:
            return
        if self.aof.rewrite_scheduled:
            self.aof.begin_rewrite()
        elif self.snapshots.scheduled:
            self.snapshots.scheduled = False
            self.snapshots.save_beside(False)
        else:
            self.snapshots.next_stream()

    def cron(self) -> None:
        """Ten times a second: save points, the size of the append only file, failed writes."""
        if self.loading.active:
            return
        self.aof.cron()
        if self.snapshots.job is not None:
            return
        if self.aof.rewrite_scheduled or self.aof.grown():
            self.aof.begin_rewrite()
        elif self.snapshots.due():
            self.snapshots.save_beside(False)

    def commit(self) -> bool:
        """Make last what replies are held for. False if they may not be sent."""
        return self.aof.commit()

    def sync(self) -> bool:
        """Have all that was appended on the disk. False if it is not."""
        aof = self.aof
        # Under everysec the write itself may have been put off.
        if not aof.enabled or aof.problem or not aof.write():
            return False
        return bool(aof.synced >= aof.written or aof.sync_now())

    def figures(self) -> dict[str, str | int]:
        """The fields of INFO persistence, true as of now."""
        saves, aof, loading = self.snapshots, self.aof, self.loading
        job = saves.job
        cut = None if job is None else job.file.cut
        running = "" if job is None else job.kind
        lasting = -1 if job is None else int(time.monotonic() - job.started)
        done, total = (0, 0) if cut is None else (cut.keys_done(), cut.keys_total)
        held = 0 if cut is None else cut.pending_bytes() + cut.kept_bytes
        found: dict[str, str | int] = {"loading": int(loading.active), "async_loading": 0}
        if loading.active:
            found.update(loading.figures(self.node.clock.now_ms))
        return found | {
            "current_cow_peak": 0 if job is None else max(held, job.file.peak_bytes),
            "current_cow_size": held, "current_cow_size_age": 0,
            "current_fork_perc": f"{100 * done / max(total, 1):.2f}",
            "current_save_keys_processed": done,
            "current_save_keys_total": total,
            "rdb_changes_since_last_save": saves.changes(),
            "rdb_bgsave_in_progress": int(running == SNAPSHOT),
            "rdb_last_save_time": saves.last_save_s,
            "rdb_last_bgsave_status": "ok" if saves.last_ok else "err",
            "rdb_last_bgsave_time_sec": saves.last_seconds,
            "rdb_current_bgsave_time_sec": lasting if running == SNAPSHOT else -1,
            "rdb_saves": saves.saves, "rdb_last_cow_size": saves.last_cow_bytes,
            "rdb_last_load_keys_expired": loading.keys_expired,
            "rdb_last_load_keys_loaded": loading.keys_loaded,
            "aof_enabled": int(aof.enabled), "aof_rewrite_in_progress": int(running == REWRITE),
            "aof_rewrite_scheduled": int(aof.rewrite_scheduled),
            "aof_last_rewrite_time_sec": aof.last_rewrite_seconds,
            "aof_current_rewrite_time_sec": lasting if running == REWRITE else -1,
            "aof_last_bgrewrite_status": "ok" if aof.last_rewrite_ok else "err",
            "aof_rewrites": aof.rewrites,
            "aof_rewrites_consecutive_failures": aof.rewrite_failures,
            "aof_last_write_status": "err" if aof.problem else "ok",
            "aof_last_cow_size": aof.last_cow_bytes, **aof.figures(),
        }  # fmt: skip

    # -- DEBUG RELOAD and LOADAOF -------------------------------------------------------------

    def reload(self, save: bool, forget: bool, merge: bool) -> None:
        """Save, forget everything, load the snapshot; raises RedisError."""
        if save:
            self.snapshots.save_now()
        self.snapshots.cancel("the data set is loaded anew")
        with self.aof.not_listening():
            if forget:
                self._forget()
            self._load(Recovery(self.node).load_snapshot(self.snapshots.path(), merge))
        if self.aof.enabled and not (save and forget):
            self.aof.rewrite_scheduled = True

    def reload_aof(self) -> None:
        """Write what waits, forget everything, load the append only file; raises RedisError.

        While it is off, that is what BGREWRITEAOF has written.
        """
        aof = self.aof
        if not aof.enabled:
            try:
                aof.learn_names()
            except OSError as error:
                raise RedisError(NO_APPEND + str(error).encode()) from None
            if aof.manifest.is_empty():
                raise RedisError(b"ERR the append only file is off")
        elif not aof.write():
            raise RedisError(NO_APPEND + aof.problem.encode())
        with aof.not_listening():
            self._forget()
            self._load(Recovery(self.node).load_files(aof.manifest))

    def _forget(self) -> None:
        self.node.keyspace.forget_everything()
        if self.node.scripts is not None:
            self.node.scripts.flush_libraries()

    def _load(self, pieces: Iterable[None]) -> None:
        self.loading.active = True
        self.loading.started_ms = self.node.clock.now_ms
        try:
            for _ in pieces:
                pass
        except RecoverError as error:
            log("reload_failed", level="ERROR", why=str(error))
            raise RedisError(b"ERR Error trying to load the RDB dump, check server logs") from None
        finally:
            self.loading.active = False

    def close(self) -> None:
        """The process ends: what is acknowledged is made last, and nothing half written stays."""
        self.snapshots.cancel("the process ends")
        self.aof.close()

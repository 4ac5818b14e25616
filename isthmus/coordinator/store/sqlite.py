"""The coordinator's default store (io): one SQLite file in its data folder.

Files: `coordinator.db` (SQLite, WAL) and `coordinator.lock` (an empty file under `flock`, which
the kernel releases however the process ends; its text, the owner's pid, is for people).

Tables: `header` holds one row: cluster id, region, epoch, term. `object` holds (kind, id, body)
with the body as JSON.

Why so careful. `synchronous=FULL`: with NORMAL a power cut may take back the last commits, and a
topology epoch that goes back lets two owners of a slot both believe they are right. The lock
keeps a second coordinator out; the term row, compared in every transaction, keeps out one that
got past the lock (a restored virtual machine, a copied folder put back). Network file systems
are refused, because neither `flock` nor WAL can be trusted there.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from isthmus.coordinator.store.base import (
    Batch,
    Body,
    EpochWentBack,
    Key,
    Saved,
    StaleTerm,
    Store,
    StoreError,
    StoreLocked,
)

FORMAT: Final = 1
_REMOTE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs"}
)
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS header (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " cluster_id TEXT, region TEXT, epoch INTEGER NOT NULL, term INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS object (kind TEXT NOT NULL, id TEXT NOT NULL,"
    " body TEXT NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID",
    "INSERT OR IGNORE INTO header (one, epoch, term) VALUES (1, 0, 0)",
    f"PRAGMA user_version = {FORMAT}",
)


class SqliteStore(Store):
    """An open store in `folder`, which is made if missing.

    Raises StoreLocked while another process holds it, StoreError for anything else that is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = -1
        self._db: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_remote(folder)
            self._lock = _take_lock(folder / "coordinator.lock")
            self._db = _connect(folder / "coordinator.db")
            with self._transaction() as db:
                db.execute("UPDATE header SET term = term + 1")
                self.term = int(db.execute("SELECT term FROM header").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StoreError(f"cannot use {folder} as data folder: {error}") from error
        except StoreError:
            self.close()
            raise

    def load(self) -> Saved | None:
        with self._transaction() as db:
            cluster_id, region, epoch = db.execute(
                "SELECT cluster_id, region, epoch FROM header"
            ).fetchone()
            rows = db.execute("SELECT kind, id, body FROM object").fetchall()
        if cluster_id is None:
            return None
        objects: dict[Key, Body] = {(kind, id): json.loads(body) for kind, id, body in rows}
        return Saved(cluster_id, region, epoch, objects)

    def create(self, cluster_id: str, region: str) -> None:
        with self._transaction() as db:
            self._check_term(db)
            changed = db.execute(
                "UPDATE header SET cluster_id = ?, region = ? WHERE cluster_id IS NULL",
                (cluster_id, region),
            ).rowcount
            if changed != 1:
                raise StoreError("this store already holds a cluster")

    def commit(self, batch: Batch) -> None:
        with self._transaction() as db:
            stored, cluster_id = self._check_term(db)
            if cluster_id is None:
                raise StoreError("this store holds no cluster yet")
            if batch.epoch < stored:
                raise EpochWentBack(f"epoch {batch.epoch} is below the stored {stored}")
            db.execute("UPDATE header SET epoch = ?", (batch.epoch,))
            for (kind, id), body in batch.objects.items():
                if body is None:
                    db.execute("DELETE FROM object WHERE kind = ? AND id = ?", (kind, id))
                else:
                    db.execute(
                        "INSERT OR REPLACE INTO object (kind, id, body) VALUES (?, ?, ?)",
                        (kind, id, json.dumps(body, separators=(",", ":"), sort_keys=True)),
                    )

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock >= 0:
            os.close(self._lock)  # closing the descriptor releases the lock
            self._lock = -1

    def _check_term(self, db: sqlite3.Connection) -> tuple[int, str | None]:
        term, epoch, cluster_id = db.execute(
            "SELECT term, epoch, cluster_id FROM header"
        ).fetchone()
        if term != self.term:
            raise StaleTerm(f"term {self.term} is over: term {term} holds the store")
        return epoch, cluster_id

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._db is None:
            raise StoreError("this store is closed")
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
        except sqlite3.Error as error:
            raise StoreError(f"SQLite: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version not in (0, FORMAT):
            raise StoreError(f"{path} has format {version}; this program knows format {FORMAT}")
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _take_lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise StoreLocked(f"another coordinator (pid {owner}) uses {path.parent}") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _refuse_remote(folder: Path) -> None:
    """Raise StoreError if the folder's file system is a network one (best effort, Linux)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    place = str(folder.resolve())
    best, kind = "", ""
    for text in lines.splitlines():
        left, _, right = text.partition(" - ")
        mount = left.split(" ")[4].replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split(" ")[0]
    if kind in _REMOTE:
        raise StoreError(f"{folder} is on a network file system ({kind}); use a local disk")

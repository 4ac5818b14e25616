"""The contract of `store/base.py`, over every store there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isthmus.coordinator.store.base import (
    Batch,
    EpochWentBack,
    StaleTerm,
    Store,
    StoreError,
    StoreLocked,
)
from isthmus.coordinator.store.memory import Shelf
from isthmus.coordinator.store.sqlite import SqliteStore
from tests.coordinator.etcd import Processes
from tests.support.etcd import EtcdServer

Open = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", pytest.param("etcd", marks=pytest.mark.oracle)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same stored data again and again."""
    if request.param == "memory":
        yield Shelf().open
    elif request.param == "sqlite":
        yield lambda: SqliteStore(tmp_path / "data")
    else:
        server: EtcdServer = request.getfixturevalue("etcd")
        with Processes(server, tmp_path.name) as processes:
            yield processes.open


@pytest.fixture
def store(reopen: Open) -> Store:
    opened = reopen()
    opened.create("c" * 40, "eu")
    return opened


def test_a_new_store_holds_nothing(reopen: Open) -> None:
    assert reopen().load() is None


def test_what_was_committed_is_there_after_a_restart(store: Store, reopen: Open) -> None:
    store.commit(Batch(3, {("shard", "0"): {"slots": [[0, 5]], "x": None}, ("member", "a"): {}}))
    store.commit(Batch(4, {("member", "a"): None, ("member", "b"): {"pid": 7}}))
    store.close()
    saved = reopen().load()
    assert saved is not None
    assert (saved.cluster_id, saved.region, saved.epoch) == ("c" * 40, "eu", 4)
    assert saved.objects == {
        ("shard", "0"): {"slots": [[0, 5]], "x": None},
        ("member", "b"): {"pid": 7},
    }


def test_terms_grow(store: Store, reopen: Open) -> None:
    first = store.term
    store.close()
    assert reopen().term > first


def test_a_second_coordinator_is_kept_out(store: Store, reopen: Open) -> None:
    with pytest.raises(StoreLocked):
        reopen()
    store.close()
    reopen().close()


def test_the_epoch_never_goes_back(store: Store) -> None:
    store.commit(Batch(9, {("a", "b"): {"v": 1}}))
    with pytest.raises(EpochWentBack):
        store.commit(Batch(8, {("a", "b"): {"v": 2}}))
    saved = store.load()
    assert saved is not None and saved.epoch == 9
    assert saved.objects == {("a", "b"): {"v": 1}}
    store.commit(Batch(9, {}))


def test_a_batch_that_cannot_be_stored_changes_nothing(store: Store) -> None:
    store.commit(Batch(1, {("a", "b"): {"v": 1}}))
    with pytest.raises(TypeError):
        store.commit(Batch(2, {("a", "b"): {"v": 2}, ("a", "c"): {"v": object()}}))
    saved = store.load()
    assert saved is not None and saved.epoch == 1
    assert saved.objects == {("a", "b"): {"v": 1}}


def test_a_cluster_is_created_once(store: Store) -> None:
    with pytest.raises(StoreError):
        store.create("d" * 40, "us")
    saved = store.load()
    assert saved is not None and saved.cluster_id == "c" * 40


def test_nothing_is_committed_before_there_is_a_cluster(reopen: Open) -> None:
    with pytest.raises(StoreError):
        reopen().commit(Batch(1))


def test_a_closed_store_refuses(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError):
        store.commit(Batch(1))


def test_sqlite_holder_past_the_lock_is_stopped_by_its_term(tmp_path: Path) -> None:
    """A folder copied back under a running coordinator: the lock file is another one."""
    old = SqliteStore(tmp_path)
    old.create("c" * 40, "eu")
    (tmp_path / "coordinator.lock").unlink()
    new = SqliteStore(tmp_path)
    with pytest.raises(StaleTerm):
        old.commit(Batch(1))
    new.commit(Batch(1))
    old.close()
    new.close()


def test_memory_holder_past_its_term_is_stopped() -> None:
    shelf = Shelf()
    old = shelf.open()
    old.create("c" * 40, "eu")
    shelf.holder = None
    shelf.open()
    with pytest.raises(StaleTerm):
        old.commit(Batch(1))


def test_sqlite_refuses_a_newer_format(tmp_path: Path) -> None:
    import sqlite3

    SqliteStore(tmp_path).close()
    db = sqlite3.connect(tmp_path / "coordinator.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="format 99"):
        SqliteStore(tmp_path)


def test_sqlite_says_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="data folder"):
        SqliteStore(tmp_path / "file" / "below")


def test_sqlite_is_as_careful_as_promised(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    assert store._db is not None
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    store.close()

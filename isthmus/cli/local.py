"""A local cluster's directory (io): the lock that makes it one cluster, and its state file.

    DIR/lock            flock()ed by the running supervisor; the kernel frees it however that ends
    DIR/cluster.json    who runs: written whole and renamed into place, removed on an orderly stop
    DIR/shards          how many shards the cluster is to have, and how many replicas each has
    DIR/logs/NAME.log   output of each process, appended
    DIR/coordinator/, DIR/node-N/   what those processes keep

``cluster.json``: {"version": 1, "ready": bool, "coordinator": "host:port", "proxies": [...],
"nodes": [...], "supervisor": {"pid", "started"}, "processes": [{"name", "role", "pid", "started",
"log"}]}. ``started`` is the kernel's start time of that pid (see ``process``).
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from isthmus.cli import process

VERSION = 1


class InUse(Exception):
    """Another supervisor holds this directory."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A process as the state file names it."""

    name: str
    role: str
    pid: int
    started: int
    log: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """The state file's content."""

    ready: bool
    coordinator: str
    proxies: tuple[str, ...]
    nodes: tuple[str, ...]
    supervisor: Noted
    processes: tuple[Noted, ...]

    def running(self) -> list[Noted]:
        """The noted processes that still run, the supervisor first."""
        everyone = (self.supervisor, *self.processes)
        return [noted for noted in everyone if process.is_ours(noted.pid, noted.started)]


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """Where a cluster lives unless told otherwise: found again from any working directory."""
    chosen = environment.get("ISTHMUS_DATA_DIR")
    if chosen:
        return Path(chosen)
    base = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME", "/")) / ".local/share"
    return Path(base) / "isthmus" / "local"


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the directory for the length of the block; InUse if somebody else does."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse from error
        yield
    finally:
        os.close(descriptor)


def state_file(data_dir: Path) -> Path:
    """The state file of a directory."""
    return data_dir / "cluster.json"


def save(data_dir: Path, cluster: Cluster) -> None:
    """Put the state file in place: readers see the old one or the new one, never a part."""
    body = {"version": VERSION, **asdict(cluster)}
    descriptor, name = tempfile.mkstemp(dir=data_dir, prefix=".cluster-", suffix=".json")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(body, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, state_file(data_dir))
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def load(data_dir: Path) -> Cluster | None:
    """The state file's content; None if there is none. ValueError if it is not one of ours."""
    try:
        body = json.loads(state_file(data_dir).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if body["version"] != VERSION:
            raise ValueError(f"version {body['version']!r} is not {VERSION}")
        return Cluster(
            ready=bool(body["ready"]),
            coordinator=str(body["coordinator"]),
            proxies=tuple(body["proxies"]),
            nodes=tuple(body["nodes"]),
            supervisor=Noted(**body["supervisor"]),
            processes=tuple(Noted(**noted) for noted in body["processes"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{state_file(data_dir)} is not a cluster's state file") from error


def remove(data_dir: Path) -> None:
    """Take the state file away."""
    with suppress(FileNotFoundError):
        state_file(data_dir).unlink()


def nodes_kept(data_dir: Path) -> int:
    """How many nodes have left something in this directory."""
    return sum(1 for folder in data_dir.glob("node-*") if folder.is_dir())


def shards_kept(data_dir: Path) -> int:
    """How many shards the cluster in this directory has; 0 if there is none."""
    nodes = nodes_kept(data_dir)
    words = _shape(data_dir)
    return words[0] if nodes and words else nodes


def replicas_kept(data_dir: Path) -> int:
    """How many replicas a shard of the cluster in this directory has."""
    words = _shape(data_dir)
    if len(words) > 1:
        return words[1]
    # Noted by a version that knew no spares.
    return max(0, nodes_kept(data_dir) // max(1, shards_kept(data_dir)) - 1)


def _shape(data_dir: Path) -> list[int]:
    """What was noted: shards, replicas; less in older versions."""
    try:
        words = (data_dir / "shards").read_text().split()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(word) for word in words] if all(map(str.isdecimal, words)) else []


def note_shape(data_dir: Path, shards: int, replicas: int) -> None:
    """Note what the cluster in this directory is to be, beside the folders of its nodes."""
    (data_dir / "shards").write_text(f"{shards} {replicas}\n")

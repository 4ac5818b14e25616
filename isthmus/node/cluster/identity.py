"""Who this node is (io): an id that outlives the process, kept in its data folder.

`node.id` holds 40 lower-case hexadecimal digits and a line feed, written once. The id, never an
address, is what the coordinator knows a node by, so a node may come back on another port or
machine and take its place again. `node.lock` is an empty file under `flock`: two processes on one
machine cannot be the same node (across machines the coordinator sees to it).
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

ID_CHARS: Final = 40


class IdentityError(Exception):
    """The data folder does not give this process an identity; the text says why."""


class Identity:
    """A node's id, held for as long as the process runs.

    `incarnation` is new with each process; it tells two processes with one id apart.
    """

    def __init__(self, node_id: str, lock: int) -> None:
        self.id = node_id
        self.incarnation = secrets.token_hex(8)
        self._lock = lock

    def release(self) -> None:
        """Let another process be this node. Safe to call twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def claim(folder: Path) -> Identity:
    """Take the identity kept in `folder`, which is made, with a new id, if missing.

    Raises IdentityError when another process holds it, or the folder or its file is unusable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IdentityError(f"cannot use {folder} as data folder: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Identity(_read_or_make(folder), lock)
    except BlockingIOError:
        os.close(lock)
        raise IdentityError(f"another node process uses {folder}") from None
    except OSError as error:
        os.close(lock)
        raise IdentityError(f"cannot use {folder} as data folder: {error}") from error
    except IdentityError:
        os.close(lock)
        raise


def temporary() -> Identity:
    """An identity that lasts as long as the process: for proxies and nodes without a folder."""
    return Identity(secrets.token_hex(ID_CHARS // 2), -1)


def _read_or_make(folder: Path) -> str:
    path = folder / "node.id"
    if path.exists():
        text = path.read_bytes().strip()
        if len(text) != ID_CHARS or not set(text) <= set(b"0123456789abcdef"):
            raise IdentityError(f"{path} does not hold {ID_CHARS} hexadecimal digits")
        return text.decode()
    made = secrets.token_hex(ID_CHARS // 2)
    draft = folder / "node.id.new"
    with open(draft, "wb") as file:
        file.write(made.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)  # whole or not at all, whenever the power goes
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
    return made

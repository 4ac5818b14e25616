"""Disks that misbehave, in the place of `os` for the modules that write.

`BadDisk` refuses what it is told to refuse. `PowerCut` remembers what is certain to survive a power
cut: bytes of files that were synced, and names of folders that were synced; an `image` is what may
be found afterwards, with a part of what was not synced here and there.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.persist import aof, cut_file


class BadDisk:
    """`os`, but for what is in `refused`: name of a function -> errno."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: dict[str, int] = {}
        # Bytes of the next write that are still taken.
        self.room = 0
        # Files of which a sync has failed: nothing may be written to them any more. Each is kept
        # open, since the number of a file that is gone is given again, to one that is sound.
        self.tainted: dict[int, int] = {}
        for module in (aof, cut_file):
            monkeypatch.setattr(module, "os", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def check(self, name: str) -> None:
        if name in self.refused:
            code = self.refused[name]
            raise OSError(code, os.strerror(code))

    def write(self, descriptor: int, data: Any) -> int:
        assert os.fstat(descriptor).st_ino not in self.tainted, "written behind a failed sync"
        if "write" in self.refused and self.room:
            size, self.room = min(self.room, len(data)), 0
            return os.write(descriptor, bytes(data[:size]))
        self.check("write")
        return os.write(descriptor, data)

    def writev(self, descriptor: int, pieces: list[bytes]) -> int:
        return self.write(descriptor, b"".join(pieces))

    def fdatasync(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if "fdatasync" in self.refused and inode not in self.tainted:
            self.tainted[inode] = os.dup(descriptor)
        self.check("fdatasync")

    def fsync(self, descriptor: int) -> None:
        self.check("fsync")

    def ftruncate(self, descriptor: int, size: int) -> None:
        self.check("ftruncate")
        os.ftruncate(descriptor, size)

    def full(self, room: int = 0) -> None:
        self.refused = {"write": errno.ENOSPC}
        self.room = room

    def well(self) -> None:
        self.refused = {}

    def finish(self) -> None:
        for descriptor in self.tainted.values():
            os.close(descriptor)


class PowerCut:
    """`os`, and the memory of what has been made last below `folder`."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, rng: random.Random,
        hook: Callable[[], None],
    ) -> None:  # fmt: skip
        self.folder = folder
        self.rng = rng
        self.hook = hook
        # By file: the bytes that are on the disk. By folder: names and their files. Files have
        # numbers of ours, since those of inodes are given again.
        self.numbers: dict[int, int] = {}
        self.made = 0
        self.bytes: dict[int, bytes] = {}
        self.names: dict[str, dict[str, int]] = {}
        for module in (aof, cut_file):
            monkeypatch.setattr(module, "os", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        new = not os.path.exists(path)
        descriptor = os.open(path, flags, mode)
        if new:
            self.made += 1
            self.numbers[os.fstat(descriptor).st_ino] = self.made
        return descriptor

    def write(self, descriptor: int, data: Any) -> int:
        # A write may be taken in parts, and the power may go in between.
        size = self.rng.choice((len(data), len(data), self.rng.randrange(len(data)) + 1))
        done = os.write(descriptor, bytes(data[:size]))
        self.hook()
        return done

    def writev(self, descriptor: int, pieces: list[bytes]) -> int:
        return self.write(descriptor, b"".join(pieces))

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target)
        self.hook()

    def unlink(self, path: str) -> None:
        os.unlink(path)
        self.hook()

    def ftruncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)
        self.hook()

    def fdatasync(self, descriptor: int) -> None:
        self.hook()
        self.keep(descriptor)
        self.hook()

    def fsync(self, descriptor: int) -> None:
        self.hook()
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if os.path.isdir(path):
            self.names[path] = self.listing(path)
        else:
            self.keep(descriptor)
        self.hook()

    @staticmethod
    def content(descriptor: int) -> bytes:
        # Its own place in the file: descriptors for writing may not read.
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            return file.read()

    def keep(self, descriptor: int) -> None:
        self.bytes[self.numbers[os.fstat(descriptor).st_ino]] = self.content(descriptor)

    def listing(self, path: str) -> dict[str, int]:
        files = [each for each in Path(path).iterdir() if each.is_file()]
        return {each.name: self.numbers[each.stat().st_ino] for each in files}

    def image(self, target: Path) -> None:
        """Make in `target` what may be found after a power cut now."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        paths = {self.numbers[path.stat().st_ino]: path for path in files}
        for path, certain in self.names.items():
            folder = target / Path(path).relative_to(self.folder)
            folder.mkdir(parents=True, exist_ok=True)
            # A change of names that was not synced may have become last all the same.
            names = certain if self.rng.random() < 0.5 else self.listing(path)
            for name, number in names.items():
                (folder / name).write_bytes(self.survived(number, paths.get(number)))

    def survived(self, number: int, path: Path | None) -> bytes:
        """A file: what was synced, and perhaps some of what was not."""
        certain = self.bytes.get(number, b"")
        now = certain if path is None else path.read_bytes()
        if not now.startswith(certain):
            return certain
        return now[: self.rng.randint(len(certain), len(now))]

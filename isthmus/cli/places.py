"""Places that exports are written to and imports read from: folders and object stores (io).

A place is a folder, `s3://bucket/prefix` or `az://container/prefix`. A file appears in it whole or
not at all: in a folder it has another name until it is on the disk, in an object store an upload in
parts becomes an object when it is completed. Both take pieces, and hold at most a few of them.

Object stores come through the library obstore, an optional extra (`isthmus[objectstore]`); it takes
credentials from the environment as the stores' own tools do (AWS_ACCESS_KEY_ID, AZURE_STORAGE_...).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

PART_BYTES = 8 << 20
UPLOADS_MAX = 2
SCHEMES = ("s3", "az")


class PlaceError(Exception):
    """A place cannot be used; the text says which, and why."""


class Writer(Protocol):
    """A file that is being written."""

    def write(self, data: bytes) -> None:
        """Append."""

    def finish(self) -> None:
        """Let the file appear."""

    def abandon(self) -> None:
        """Let no trace of it remain."""


class Place(Protocol):
    """Where files are; all methods may raise PlaceError."""

    name: str

    def create(self, name: str) -> Writer:
        """Begin a file."""

    def names(self) -> list[str]:
        """The files that are there."""

    def remove(self, name: str) -> None:
        """Delete a file."""

    def local(self, name: str) -> Any:
        """A context manager: the path of the file, or of a copy of it, on this machine."""


def place_of(text: str, endpoint_url: str | None = None) -> Place:
    """The place that a user named; raises PlaceError."""
    scheme, separator, _ = text.partition("://")
    if not separator:
        return Folder(Path(text).expanduser())
    if scheme not in SCHEMES:
        raise PlaceError(f"{text}: a folder, s3://bucket/prefix or az://container/prefix is meant")
    return ObjectStore(text, scheme, endpoint_url)


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def create(self, name: str) -> Writer:
        """Begin a file."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return _FolderWriter(self.path / name)
        except OSError as error:
            raise PlaceError(f"cannot write {self.path / name}: {error.strerror}") from error

    def names(self) -> list[str]:
        """The files that are there."""
        try:
            return sorted(os.listdir(self.path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PlaceError(f"cannot read {self.path}: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The path of a file."""
        path = self.path / name
        if not path.is_file():
            raise PlaceError(f"{path} is not there")
        yield path


class _FolderWriter:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}.part")
        self.file = self.part.open("wb")

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            raise PlaceError(f"cannot write {self.path}: {error.strerror}") from error

    def finish(self) -> None:
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.part.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise PlaceError(f"cannot write {self.path}: {error.strerror}") from error

    def abandon(self) -> None:
        try:
            self.file.close()
        except OSError:
            pass  # what could not be written is not wanted either
        self.part.unlink(missing_ok=True)


class ObjectStore:
    """A bucket of S3 or what speaks like it, or a container of Azure Blob storage."""

    def __init__(self, url: str, scheme: str, endpoint_url: str | None) -> None:
        self.name = url.rstrip("/")
        try:
            import obstore
            from obstore.store import AzureStore, S3Store
        except ImportError as error:
            raise PlaceError(
                f"{url} needs the extra for object stores: pip install 'isthmus[objectstore]'"
            ) from error
        self.obstore: Any = obstore
        kinds: Any = {"s3": S3Store, "az": AzureStore}
        options: dict[str, Any] = {"retry_config": {"max_retries": 4}}
        if endpoint_url:
            options["endpoint"] = endpoint_url
            if endpoint_url.startswith("http://"):
                options["client_options"] = {"allow_http": True}
        with _told(self.name):
            self.store = kinds[scheme].from_url(self.name, **options)

    def create(self, name: str) -> Writer:
        """Begin an upload."""
        with _told(self.name):
            return _ObjectWriter(self, name)

    def names(self) -> list[str]:
        """The objects below the prefix."""
        with _told(self.name):
            found = self.obstore.list_with_delimiter(self.store)
            return sorted(item["path"] for item in found["objects"])

    def remove(self, name: str) -> None:
        """Delete an object."""
        with _told(self.name):
            self.obstore.delete(self.store, name)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A copy of an object in the temporary folder, for the length of the block."""
        with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
            path = Path(folder) / name
            with _told(f"{self.name}/{name}"), path.open("wb") as file:
                for piece in self.obstore.get(self.store, name).stream(PART_BYTES):
                    file.write(piece)
            yield path


class _ObjectWriter:
    def __init__(self, place: ObjectStore, name: str) -> None:
        self.place = place
        self.name = f"{place.name}/{name}"
        self.file = place.obstore.open_writer(
            place.store, name, buffer_size=PART_BYTES, max_concurrency=UPLOADS_MAX
        )

    def write(self, data: bytes) -> None:
        with _told(self.name):
            self.file.write(data)

    def finish(self) -> None:
        with _told(self.name):
            self.file.close()

    def abandon(self) -> None:
        # An upload that is not completed never becomes an object; the store forgets it in time.
        self.file = None


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn the errors of a store, and of the local disk, into PlaceError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise PlaceError(f"{what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""What an import reads: RDB files, and exports with a manifest, opened and held against it (io).

All files are opened and walked to their end before a key is sent: a damaged one stops the import
while nothing has happened yet. A file of an export must have the size, the SHA-256 and the keys
that its manifest says; other files have only their own checksum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.cli import manifest, places, rdb_files
from isthmus.cli.rdb_entries import Summary, entries
from isthmus.wire.rdb_reader import RdbError

SUFFIXES = (".rdb", ".rdb.gz")
MANIFEST_BYTES_MAX = manifest.MANIFEST_BYTES_MAX


class BadSource(Exception):
    """This cannot be imported; the text says why."""


@dataclass
class Source:
    """One file: its name for people, its bytes, what is in it."""

    name: str
    data: Any
    summary: Summary


@dataclass
class _Named:
    place: places.Place
    name: str
    said: dict[str, Any] | None

    @property
    def shown(self) -> str:
        return f"{self.place.name}/{self.name}"


@contextmanager
def opened(words: list[str], endpoint_url: str | None) -> Iterator[list[Source]]:
    """The files that the user named, checked, for the length of the block; BadSource."""
    with ExitStack() as stack:
        found = []
        try:
            for named in [named for word in words for named in _named(word, endpoint_url)]:
                found.append(_open(stack, named))
        except (places.PlaceError, OSError) as error:
            raise BadSource(str(error)) from error
        try:
            yield found
        finally:
            for source in found:
                source.data = None


def _named(word: str, endpoint_url: str | None) -> list[_Named]:
    """The files that a word means."""
    is_file = Path(word).is_file() if "://" not in word else word.endswith(SUFFIXES)
    if is_file:
        parent, _, name = word.rpartition("/")
        return [_Named(places.place_of(parent or ("/" if "/" in word else "."), endpoint_url),
                       name, None)]  # fmt: skip
    if "://" not in word and not Path(word).exists():
        raise BadSource(f"{word} is not there")
    place = places.place_of(word, endpoint_url)
    if manifest.NAME not in place.names():
        raise BadSource(
            f"{word} has no {manifest.NAME}: it is no export, or one that did not end well; "
            "RDB files in it can be named one by one"
        )
    with place.local(manifest.NAME) as path:
        if path.stat().st_size > MANIFEST_BYTES_MAX:
            raise BadSource(f"{word}/{manifest.NAME} is too large to be a manifest")
        try:
            told = manifest.parse(path.read_bytes())
        except manifest.BadManifest as error:
            raise BadSource(f"{word}: {error}") from error
    return [_Named(place, file["name"], file) for file in told["files"]]


def _open(stack: ExitStack, named: _Named) -> Source:
    path = stack.enter_context(named.place.local(named.name))
    size, digest = rdb_files.digest(path) if named.said else (0, "")
    if named.said:
        keys = {int(db): count for db, count in named.said["keys"].items()}
        if wrong := manifest.difference(named.said, size, digest, keys):
            raise BadSource(f"{named.shown} is not what was exported: {wrong}")
    summary = Summary()
    try:
        data = stack.enter_context(rdb_files.opened(path))
        for _ in entries(data, summary):
            pass
    except (RdbError, rdb_files.BadFile) as error:
        raise BadSource(
            f"{named.shown} is damaged or cannot be imported, and nothing was: {error}"
        ) from error
    if named.said and (wrong := manifest.difference(named.said, size, digest, summary.keys)):
        raise BadSource(f"{named.shown} is not what was exported: {wrong}")
    return Source(named.shown, data, summary)


def keys_by_database(sources: list[Source]) -> Counter[int]:
    """How many keys there are to import."""
    found: Counter[int] = Counter()
    for source in sources:
        found.update(source.summary.keys)
    return found


def functions(sources: list[Source]) -> list[bytes]:
    """The libraries in the files; shards of one cluster have the same ones."""
    return list(dict.fromkeys(code for source in sources for code in source.summary.functions))

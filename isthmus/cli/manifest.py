"""The manifest of an export: which files belong together, and what each must hold (pure).

It is a JSON object, written last, so that a folder without one is an export that did not end well:

    format      "isthmus-export", and `version` 1
    cluster, source, started, finished, isthmus     who was exported, when (UTC), by which version
    files       name, shard, address, slots [[first, last] ...], compression ("gzip" or "none"),
                bytes (as stored), rdb_bytes, sha256 (as stored), rdb_version, redis_version,
                keys {database: count}, volatile, functions, started, finished
    keys, bytes the sums

Names are plain: a manifest that came from elsewhere never makes us open a file outside its folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

NAME = "manifest.json"
FORMAT = "isthmus-export"
VERSION = 1
MANIFEST_BYTES_MAX = 16 << 20
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadManifest(ValueError):
    """This is no manifest that can be used; the text says why."""


def file_name(cluster: str, shard: str, stamp: str, gzip: bool) -> str:
    """The name of one file; it says cluster, shard and time."""
    safe = [re.sub(r"[^A-Za-z0-9-]+", "-", part).strip("-") or "x" for part in (cluster, shard)]
    return f"{safe[0]}_{safe[1]}_{stamp}.rdb" + (".gz" if gzip else "")


def render(facts: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> bytes:
    """A manifest as it is stored."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "keys": sum(sum(file["keys"].values()) for file in files),
        "bytes": sum(file["bytes"] for file in files),
        "files": list(files),
    }
    return json.dumps(whole, indent=1).encode() + b"\n"


def parse(data: bytes) -> dict[str, Any]:
    """A manifest that was read; raises BadManifest."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"the manifest is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BadManifest("the manifest is not one of an export")
    if found.get("version") != VERSION:
        raise BadManifest(f"the manifest has version {found.get('version')!r}, not {VERSION}")
    files = found.get("files")
    if not isinstance(files, list) or not files:
        raise BadManifest("the manifest names no files")
    for file in files:
        _check_file(file)
    if len({file["name"] for file in files}) != len(files):
        raise BadManifest("the manifest names a file twice")
    return found


def _check_file(file: Any) -> None:
    if not isinstance(file, dict) or not isinstance(file.get("name"), str):
        raise BadManifest("the manifest names a file without a name")
    name = file["name"]
    if not _FILE_NAME.fullmatch(name):
        raise BadManifest(f"the manifest names a file {name[:80]!r}, which is no plain name")
    keys, size, digest = file.get("keys"), file.get("bytes"), file.get("sha256")
    if not isinstance(size, int) or size < 0 or not isinstance(digest, str):
        raise BadManifest(f"the manifest does not say how {name} must look")
    if not _SHA256.fullmatch(digest):
        raise BadManifest(f"the SHA-256 of {name} in the manifest is none")
    if not isinstance(keys, dict) or not all(
        db.isdecimal() and isinstance(count, int) and count >= 0 for db, count in keys.items()
    ):
        raise BadManifest(f"the manifest does not say how many keys {name} has")


def difference(file: Mapping[str, Any], size: int, sha256: str, keys: Mapping[int, int]) -> str:
    """How a file differs from what the manifest says; an empty text if it does not."""
    if size != file["bytes"]:
        return f"it has {size} bytes, the manifest says {file['bytes']}"
    if sha256 != file["sha256"]:
        return f"its SHA-256 is {sha256}, the manifest says {file['sha256']}"
    said = {int(db): count for db, count in file["keys"].items() if count}
    found = {db: count for db, count in keys.items() if count}
    if said != found:
        return f"it has keys by database {found}, the manifest says {said}"
    return ""

"""Which modules are compiled, from which sources, and whether the build is still theirs.

The list of extensions is derived, never written down twice:

* `x.pyx` (with `x.pxd`) is C-level code; the extension is named as its Python twin `x.py` and
  hides it.
* `x.py` with a sibling `x.pxd` and no `x.pyx` is ordinary Python that the `.pxd` types.

A stale `.so` silently hides the `.py` somebody just edited. Each build therefore writes a *stamp*,
`isthmus/_build_stamp.json`:

    {"modules": ["isthmus.wire.parser", ...], "sha256": "<hex, over every source of every extension>"}

and a test compares it with the sources. Sources are hashed as: relative path, NUL, length, NUL,
bytes; in sorted order, so that a rename changes the hash too. A `.pxd` of one module is compiled
into the modules that cimport it, hence one hash for all: extensions are built together or not at
all.

`setup.py` loads this file by path, before the package can be imported: it may import nothing of
ours.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

STAMP_NAME = "_build_stamp.json"


@dataclass(frozen=True)
class ExtensionSource:
    """One module to compile: its dotted name and the file that is handed to Cython."""

    name: str
    path: Path


def extension_sources(package: Path) -> list[ExtensionSource]:
    """Every extension of the package folder `package`, sorted by name."""
    found = []
    for path in package.rglob("*.p*"):
        compiled_python = path.suffix == ".py" and path.with_suffix(".pxd").is_file()
        if path.suffix == ".pyx" or (compiled_python and not path.with_suffix(".pyx").is_file()):
            parts = path.with_suffix("").relative_to(package.parent).parts
            found.append(ExtensionSource(".".join(parts), path))
    return sorted(found, key=lambda source: source.name)


def built_file(source: ExtensionSource) -> Path | None:
    """The shared object beside `source` that this interpreter would load, or None."""
    for suffix in EXTENSION_SUFFIXES:
        candidate = source.path.with_name(source.path.stem + suffix)
        if candidate.is_file():
            return candidate
    return None


def source_hash(package: Path) -> str:
    """SHA-256 (hex) over the .py, .pyx and .pxd files of all extensions, and every other .pxd."""
    files = set(package.rglob("*.pxd"))
    for source in extension_sources(package):
        files.update(
            path
            for suffix in (".py", ".pyx")
            if (path := source.path.with_suffix(suffix)).is_file()
        )
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        name = path.relative_to(package).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def write_stamp(package: Path, target: Path) -> None:
    """Record in folder `target` that its extensions were built from the sources of `package`."""
    stamp = {
        "modules": [source.name for source in extension_sources(package)],
        "sha256": source_hash(package),
    }
    (target / STAMP_NAME).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def is_stale(package: Path) -> bool:
    """True if the extensions beside the sources were not built from exactly these sources."""
    try:
        stamp = json.loads((package / STAMP_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return True
    return not isinstance(stamp, dict) or stamp.get("sha256") != source_hash(package)

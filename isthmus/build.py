"""Which modules are compiled, from which sources, and whether the build is still theirs.

The list of extensions is derived, never written down twice:

* `x.pyx` (with `x.pxd`) is C-level code; the extension is named as its Python twin `x.py` and
  hides it.
* `x.py` with a sibling `x.pxd` and no `x.pyx` is ordinary Python that the `.pxd` types.

A stale `.so` silently hides the `.py` somebody just edited. Each build therefore writes a *stamp*,
`isthmus/_build_stamp.json`, and a test compares it with the sources:

    {"settings": "<interpreter, Cython, compiler flags>",
     "sha256": {"wire/parser.pyx": "<hex>", ...}}

It covers every extension at once: a `.pxd` of one module is compiled into the modules that cimport
it, so extensions are built together or not at all.

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


def orphans(package: Path) -> list[Path]:
    """Shared objects for this interpreter that belong to no extension, and may hide a source."""
    owned = {built_file(source) for source in extension_sources(package)}
    candidates = (path for suffix in EXTENSION_SUFFIXES for path in package.rglob("*" + suffix))
    return sorted(
        path
        for path in set(candidates) - owned
        if any(path.name == path.name.partition(".")[0] + suffix for suffix in EXTENSION_SUFFIXES)
    )


def source_hashes(package: Path) -> dict[str, str]:
    """SHA-256 (hex) by relative path: the .py and .pyx of all extensions, and every .pxd."""
    files = set(package.rglob("*.pxd"))
    for source in extension_sources(package):
        twins = (source.path.with_suffix(suffix) for suffix in (".py", ".pyx"))
        files.update(path for path in twins if path.is_file())
    return {
        path.relative_to(package).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def write_stamp(package: Path, target: Path, settings: str) -> None:
    """Record in folder `target` that its extensions were built from the sources of `package`."""
    stamp = {"settings": settings, "sha256": source_hashes(package)}
    (target / STAMP_NAME).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def built_settings(package: Path) -> str | None:
    """The compiler settings of the last build in place, or None if there was none."""
    settings, _ = _read_stamp(package)
    return settings


def changed_files(package: Path) -> list[Path]:
    """Sources whose content is not what was built last; none if nothing ever was."""
    settings, built = _read_stamp(package)
    if settings is None:
        return []
    hashes = source_hashes(package)
    return [package / name for name, value in hashes.items() if built.get(name) != value]


def is_stale(package: Path) -> bool:
    """True if the extensions beside the sources were not built from exactly these sources."""
    _, built = _read_stamp(package)
    return built != source_hashes(package)


def _read_stamp(package: Path) -> tuple[str | None, dict[str, str]]:
    try:
        stamp = json.loads((package / STAMP_NAME).read_text(encoding="utf-8"))
        return str(stamp["settings"]), dict(stamp["sha256"])
    except FileNotFoundError:
        return None, {}
    except (ValueError, KeyError, TypeError):
        # Damaged, or of another layout: as good as another compiler, so build everything again.
        return "unreadable", {}

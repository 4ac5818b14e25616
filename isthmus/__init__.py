"""Isthmus: a self-hosted, Redis-compatible, clustered in-memory store.

Importing the package decides one thing, once: whether the compiled extensions are in use. A module
and its extension share a name (`parser.py`, `parser.cpython-*.so`), so the interpreter would take
each `.so` it finds. Two rules keep that from becoming a guess:

* **All or none.** Compiled modules see each other's C structures; a compiled module beside an
  interpreted neighbour would fail late and obscurely. If only some extensions are present, the
  import fails here.
* **`ISTHMUS_PURE=1` refuses every `.so`.** A path hook in front of the standard one answers for
  folders of this package with a finder that knows source files only. The hook, not a deleted file,
  is the switch: one checkout can run both ways, even at the same time, and no `.so` can slip in
  through a later import.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

__version__ = "0.1.0"

_PACKAGE = str(Path(__file__).resolve().parent)
_PURE = os.environ.get("ISTHMUS_PURE", "") not in ("", "0")


def _source_only(path: str) -> FileFinder:
    """Path hook: a finder without extension loaders, for folders of this package only."""
    folder = os.path.realpath(path)
    if folder != _PACKAGE and not folder.startswith(_PACKAGE + os.sep):
        raise ImportError("not a folder of isthmus", path=path)
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


def _refuse_extensions() -> None:
    sys.path_hooks.insert(0, _source_only)
    for path in list(sys.path_importer_cache):
        if os.path.realpath(path).startswith(_PACKAGE):
            del sys.path_importer_cache[path]


if _PURE:
    _refuse_extensions()

# After the switch on purpose: this import is the first that must obey it.
from isthmus import build as _build  # noqa: E402


def _all_or_none() -> bool:
    """True if every extension is built, False if none is; ImportError for anything between."""
    sources = _build.extension_sources(Path(_PACKAGE))
    missing = [source.name for source in sources if _build.built_file(source) is None]
    if missing and len(missing) < len(sources):
        raise ImportError(
            f"isthmus is built in part: {len(missing)} of {len(sources)} extensions are missing "
            f"(first: {missing[0]}); run `make build`, or set ISTHMUS_PURE=1 to use none"
        )
    return bool(sources) and not missing


_COMPILED = False if _PURE else _all_or_none()


def compiled() -> bool:
    """Tell whether this process runs the compiled extensions (all of them) or plain Python."""
    return _COMPILED

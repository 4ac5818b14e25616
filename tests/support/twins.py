"""Load one module twice: from its Python source and from its extension.

A compiled module hides its Python twin, so an ordinary import can only ever show one of them.
Contract suites run one test body over both; these loaders hand them out by name. A pure module is
always *fresh*: it is not entered in `sys.modules`, so it neither replaces nor is replaced by the
one the package itself uses. What a pure module imports is imported as usual, and may therefore be
compiled.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import isthmus

ROOT = Path(isthmus.__file__).resolve().parent.parent


def load_pure(name: str) -> ModuleType:
    """A fresh module executed from the .py source of `name`, whatever extension lies beside it."""
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def load_compiled(name: str) -> ModuleType | None:
    """The module `name` from its extension, or None if extensions are not built or refused."""
    if not isthmus.compiled():
        return None
    module = importlib.import_module(name)
    return module if str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES)) else None


def both(name: str) -> list[Any]:
    """Parameters for `pytest.mark.parametrize`: the pure twin and the compiled one, if any."""
    extension = load_compiled(name)
    absent = pytest.mark.skipif(extension is None, reason="extensions are not in use")
    return [
        pytest.param(load_pure(name), id="pure"),
        pytest.param(extension, id="compiled", marks=absent),
    ]

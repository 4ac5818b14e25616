"""The compiled boundary: extensions are a glob, built from these sources, all in use or none.

The behaviours that need a half-built package are shown on a copy of `isthmus/__init__.py` and
`isthmus/build.py` with made-up modules; a made-up `.so` is only a file name here, since the point
is who would be asked to load it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import isthmus
from isthmus import build
from tests.support import twins

PACKAGE = Path(isthmus.__file__).resolve().parent
SUFFIX = EXTENSION_SUFFIXES[0]


def test_extensions_in_use_are_built_from_these_sources() -> None:
    if isthmus.compiled() and build.is_stale(PACKAGE):
        pytest.fail("compiled extensions are stale: run `make build`", pytrace=False)


def test_extensions_in_use_are_loaded_from_shared_objects() -> None:
    for source in build.extension_sources(PACKAGE):
        assert (twins.load_compiled(source.name) is not None) == isthmus.compiled(), source.name


def test_no_shared_object_without_an_extension() -> None:
    assert build.orphans(PACKAGE) == []


def test_every_extension_has_a_pure_twin() -> None:
    for source in build.extension_sources(PACKAGE):
        assert source.path.with_suffix(".py").is_file(), f"{source.name} has no pure twin"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package `isthmus` with two extensions, c (Tier C) and t (Tier T), and a plain module p."""
    folder = tmp_path / "isthmus"
    folder.mkdir()
    for name in ("__init__.py", "build.py"):
        shutil.copy(PACKAGE / name, folder)
    for name in ("c.py", "c.pyx", "c.pxd", "t.py", "t.pxd", "p.py", "header.pxd"):
        (folder / name).write_text(f"made_up = {name!r}\n")
    return folder


def pretend_built(package: Path, *modules: str) -> None:
    for name in modules:
        (package / (name + SUFFIX)).write_bytes(b"no shared object")


def run(package: Path, code: str, pure: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=package.parent,
        env={"ISTHMUS_PURE": pure},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_list_of_extensions_is_a_glob(package: Path) -> None:
    found = [(source.name, source.path.name) for source in build.extension_sources(package)]
    assert found == [("isthmus.c", "c.pyx"), ("isthmus.t", "t.py")]


@pytest.mark.parametrize("touched", ["c.py", "c.pyx", "c.pxd", "t.py", "t.pxd", "header.pxd"])
def test_an_edited_source_makes_the_build_stale(package: Path, touched: str) -> None:
    assert build.is_stale(package)
    build.write_stamp(package, package, "settings")
    assert not build.is_stale(package)
    assert build.built_settings(package) == "settings"
    (package / touched).write_text("edited = 1\n")
    assert build.is_stale(package)
    assert build.changed_files(package) == [package / touched]


def test_a_plain_module_does_not_make_the_build_stale(package: Path) -> None:
    build.write_stamp(package, package, "settings")
    (package / "p.py").write_text("edited = 1\n")
    assert not build.is_stale(package)


@pytest.mark.parametrize("damage", ["", "[]", '{"settings": 1}', "no json"])
def test_a_damaged_stamp_is_stale(package: Path, damage: str) -> None:
    (package / build.STAMP_NAME).write_text(damage)
    assert build.is_stale(package)
    assert build.built_settings(package) == "unreadable"


def test_orphans_are_found(package: Path) -> None:
    pretend_built(package, "c", "t", "p")
    assert build.orphans(package) == [package / ("p" + SUFFIX)]


def test_nothing_built_is_pure(package: Path) -> None:
    done = run(package, "import isthmus, isthmus.c as c; print(isthmus.compiled(), c.made_up)", "")
    assert done.stdout == "False c.py\n", done.stderr


def test_built_in_part_is_refused(package: Path) -> None:
    pretend_built(package, "c")
    done = run(package, "import isthmus", "")
    assert "1 of 2 extensions are missing (first: isthmus.t); run `make build`" in done.stderr


def test_all_built_is_compiled(package: Path) -> None:
    pretend_built(package, "c", "t")
    code = "import isthmus; print(isthmus.compiled()); import isthmus.c"
    done = run(package, code, "0")
    assert done.stdout == "True\n"
    assert f"c{SUFFIX}" in done.stderr


def test_pure_refuses_what_is_built(package: Path) -> None:
    pretend_built(package, "c", "t")
    code = "import isthmus, isthmus.c, isthmus.t as t; print(isthmus.compiled(), t.made_up)"
    done = run(package, code, "1")
    assert done.stdout == "False t.py\n", done.stderr


def test_pure_leaves_other_packages_alone(package: Path) -> None:
    done = run(package, "import isthmus, _json, select; print('fine')", "1")
    assert done.stdout == "fine\n", done.stderr

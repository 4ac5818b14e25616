"""Compile the extensions that `isthmus/build.py` finds; everything else is in `pyproject.toml`.

`ISTHMUS_PURE=1` builds none of them. Otherwise all are wanted, and the first failure fails the
build: an extension that is quietly missing would be an unexplained loss of speed much later.
`ISTHMUS_CFLAGS` replaces the compiler flags of every extension.

Cython and the compiler decide by file times what to do again. Times lie (a copied tree keeps those
of its origin), so sources whose *content* differs from the stamp are given a new time first, and
everything is made again if flags, interpreter or Cython have changed.
"""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from importlib import util
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "isthmus"
PURE = os.environ.get("ISTHMUS_PURE", "") not in ("", "0")
# C-level code gains from the optimizer; typed Python is calls into the interpreter, where more than
# -O1 was measured to bring nothing and doubles the time to compile.
CFLAGS = {".pyx": ["-O3", "-g0"], ".py": ["-O1", "-g0"]}
if "ISTHMUS_CFLAGS" in os.environ:
    CFLAGS = dict.fromkeys(CFLAGS, shlex.split(os.environ["ISTHMUS_CFLAGS"]))
DIRECTIVES = {
    "language_level": "3",
    "binding": True,
    "cdivision": True,
    "embedsignature": False,
    "initializedcheck": False,
}


def load_build():
    """The module isthmus/build.py, by path: the package itself may be in a half-built state."""
    spec = util.spec_from_file_location("isthmus_build", PACKAGE / "build.py")
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = load_build()


def settings() -> str:
    import Cython

    return f"{sys.implementation.cache_tag} cython-{Cython.__version__} {CFLAGS}"


class BuildExtensions(build_ext):
    """build_ext that leaves a stamp beside what it built, and no extension that has no source."""

    def run(self) -> None:
        if FORCE and self.inplace:
            # If this build breaks off, the next must not take the old remainder for its own.
            (PACKAGE / build.STAMP_NAME).write_text("unfinished\n", encoding="utf-8")
        super().run()
        if not self.extensions:
            return
        target = PACKAGE if self.inplace else Path(self.build_lib) / "isthmus"
        build.write_stamp(PACKAGE, target, settings())
        if self.inplace:
            for orphan in build.orphans(PACKAGE):
                orphan.unlink()


def extensions() -> list[Extension]:
    sources = build.extension_sources(PACKAGE)
    if PURE or not sources:
        return []
    from Cython.Build import cythonize

    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise SystemExit(
            "Python.h is missing, so nothing can be compiled: install the headers of this Python "
            "(Debian: apt-get install python3-dev), or set ISTHMUS_PURE=1 to do without"
        )
    for path in build.changed_files(PACKAGE):
        path.touch()
    modules = [
        Extension(
            source.name,
            [str(source.path.relative_to(ROOT))],
            extra_compile_args=CFLAGS[source.path.suffix],
        )
        for source in sources
    ]
    return cythonize(
        modules,
        nthreads=2,
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        force=FORCE,
    )


def must_force() -> bool:
    return not PURE and build.built_settings(PACKAGE) not in (None, settings())


os.chdir(ROOT)
FORCE = must_force()
setup(
    license="Apache-2.0",
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtensions},
    options={"build_ext": {"parallel": 2, "force": FORCE}},
)

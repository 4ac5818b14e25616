"""Redis' own test suite, run against our node: `make redis-suite`.

    python -m tests.redis_suite.run [UNIT...] [--seconds-per-unit 300] [--json] [--keep]

The suite (version 8.0, fetched by tools/fetch_redis_suite.sh; it needs tclsh) starts its own
servers. Here `src/redis-server` is a script that starts a standalone node. Each unit runs by
itself, in a copy of the suite. What is not run, and why, is in skipped.txt; a test that fails ends
this with status 1. Without UNIT all units that skipped.txt names run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = Path(__file__).with_name("skipped.txt")
TOOLS = ("redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb")
BASE_PORT = 24_000
PORTS = 2_500
# The suite's own patience while nothing happens.
SILENCE_SECONDS_MAX = 120
RESULT = re.compile(r"^\[(ok|err|skip|ignore|exception)\]: (.*)$", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Taken for redis-server by the suite, which reads in its output that it began and is ready.
LAUNCHER = """#!/bin/bash
for word in "$@"; do [[ $word == --version || $word == -v ]] && exec {redis} --version; done
echo "$$:M 01 Jan 2026 00:00:00.000 * PID: $$ Server initialized"
exec 2> >(sed -u -e 's/.* node_ready.*/&\\nReady to accept connections/')
export PYTHONPATH={root}
exec {python} -m isthmus.cli.main node --standalone "$@"
"""


@dataclass
class Unit:
    """A file of the suite: what of it is not run, and how it went."""

    name: str
    skips: list[str] = field(default_factory=list)
    # Beginnings of lines that are taken out of it.
    cuts: list[str] = field(default_factory=list)
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0


def read_skipped(path: Path) -> dict[str, Unit]:
    """The units of skipped.txt, in its order. Raises ValueError for a line that is none."""
    units: dict[str, Unit] = {}
    everywhere: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition(" # ")[0].strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("unit "):
            name = text.removeprefix("unit ")
            units[name] = Unit(name, list(everywhere))
        elif " # " not in line:
            raise ValueError(f"{path.name}:{number}: a test that is not run needs a reason")
        elif units:
            unit = next(reversed(units.values()))
            (unit.cuts if text.startswith("cut ") else unit.skips).append(text.removeprefix("cut "))
        else:
            everywhere.append(text)
    return units


def prepare(source: Path, folder: Path) -> Path:
    """A copy of the suite that starts our node."""
    suite = folder / "suite"
    shutil.copytree(source, suite, symlinks=True)
    programs = suite / "src"
    programs.mkdir(exist_ok=True)
    for name in TOOLS:
        found = shutil.which(name)
        if found is None:
            raise FileNotFoundError(f"{name} is not installed: apt-get install redis-server")
        (programs / name).symlink_to(found)
    script = programs / "redis-server"
    redis = shutil.which("redis-server") or "redis-server"
    script.write_text(LAUNCHER.format(redis=redis, root=ROOT, python=sys.executable))
    script.chmod(0o755)
    return suite


def run_unit(suite: Path, unit: Unit, seconds_max: int) -> str:
    """Run one unit and note how it went; returns its output."""
    skip_file = suite / "skipped"
    skip_file.write_text("\n".join(unit.skips))
    if unit.cuts:
        file = suite / "tests" / f"{unit.name}.tcl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(each for each in lines if not each.startswith(tuple(unit.cuts))))
    command = [
        "./runtest", "--single", unit.name, "--clients", "1", "--durable", "--skipfile",
        str(skip_file), "--baseport", str(BASE_PORT), "--portcount", str(PORTS),
        "--timeout", str(SILENCE_SECONDS_MAX), "--tags", "-tls -cluster",
    ]  # fmt: skip
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=suite, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output = process.communicate(timeout=seconds_max)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output = process.communicate()[0]
        unit.failed.append(f"(not done after {seconds_max} s)")
    unit.seconds = time.monotonic() - began
    # Behind "The End" it says everything again.
    text = COLOUR.sub("", output.decode(errors="replace")).partition("The End")[0]
    for verdict, name in RESULT.findall(text):
        if verdict == "ok":
            unit.passed += 1
        elif verdict in ("err", "exception"):
            unit.failed.append(name)
    if not unit.passed and not unit.failed and process.returncode:
        unit.failed.append(f"(ended with status {process.returncode})")
    return text


def fetched() -> Path:
    """Where the suite is. Raises RuntimeError if it cannot be had."""
    done = subprocess.run(
        [ROOT / "tools" / "fetch_redis_suite.sh"], capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    if shutil.which("tclsh") is None:
        raise RuntimeError("tclsh is not installed: apt-get install tcl")
    return Path(done.stdout.strip())


def main() -> int:
    """Run the units that were asked for, and say what failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("units", nargs="*", metavar="UNIT", help="such as unit/type/hash")
    parser.add_argument("--seconds-per-unit", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="figures for machines")
    parser.add_argument("--keep", action="store_true", help="keep the outputs, and say where")
    args = parser.parse_args()
    known = read_skipped(SKIPPED)
    units = [known.get(name, Unit(name)) for name in args.units] or list(known.values())
    try:
        source = fetched()
    except RuntimeError as problem:
        print(f"redis-suite: {problem}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="redis-suite-"))
    try:
        suite = prepare(source, folder)
        for number, unit in enumerate(units, 1):
            output = run_unit(suite, unit, args.seconds_per_unit)
            (folder / f"{unit.name.replace('/', '-')}.txt").write_text(output)
            if not args.json:
                show(number, len(units), unit)
    finally:
        if args.keep:
            print(f"outputs: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    failed = sum(len(unit.failed) for unit in units)
    if args.json:
        print(json.dumps([vars(unit) for unit in units], indent=2))
    else:
        passed = sum(unit.passed for unit in units)
        print(f"{passed} passed, {failed} failed, in {len(units)} units")
    return 1 if failed else 0


def show(number: int, count: int, unit: Unit) -> None:
    """One line for a unit, and one for each test that failed."""
    verdict = f"{len(unit.failed)} FAILED" if unit.failed else "ok"
    print(
        f"[{number:2}/{count}] {unit.name:32} {unit.passed:4} passed  {unit.seconds:5.0f} s  "
        f"{verdict}",
        flush=True,
    )
    for name in unit.failed:
        print(f"        {name}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

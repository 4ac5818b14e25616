"""Each rule accepts its good samples and complains about its bad ones, on the line it names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tidy import rules

PURE = "isthmus/node/engine/sample.py"
VALUES = "isthmus/node/values/sample.py"
COMMANDS = "isthmus/node/commands/sample.py"
WIRE = "isthmus/wire/sample.py"
PROXY = "isthmus/proxy/sample.py"
LONG = "x = 1\n" * 701
BIG_FUNCTION = "def f() -> None:\n" + "    pass\n" * 70
FITTING_FUNCTION = "def f() -> None:\n" + "    pass\n" * 69
PAGE = "# Title\n\n```\n# not a title\n```\n"
LOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- One thing,\n  on two lines.\n"

GOOD = [
    (rules.layering, PURE, "from isthmus.wire.scalars import i64\nimport json"),
    (rules.layering, PURE, "from isthmus.node.engine import errors"),
    (rules.layering, PURE, "from . import errors\nfrom ...wire import slots"),
    (rules.layering, PURE, "from isthmus import __version__"),
    (rules.layering, VALUES, "from isthmus.wire.reply import ReplyWriter"),
    (rules.layering, COMMANDS, "from isthmus.node.values import strings"),
    (rules.layering, "isthmus/node/engine/table.pyx", "from libc.string cimport memcpy"),
    (rules.layering, "isthmus/node/server/main.py", "import isthmus.node.commands.keys"),
    (
        rules.layering,
        "isthmus/node/sinks/aof.py",
        "from isthmus.node.persist import snapshot_format",
    ),
    (rules.layering, PROXY, "from isthmus.node.spec import keys_of\nimport trio"),
    (rules.layering, "isthmus/cli/main.py", "import isthmus.coordinator.main\nimport typer"),
    (rules.worldliness, "isthmus/wire/pump.py", "import socket, time"),
    (rules.worldliness, "isthmus/cli/up.py", "import os"),
    (rules.worldliness, PURE, "import math\nfrom isthmus.node.engine import time"),
    (rules.raw_storage, VALUES, "table.store(key, value)"),
    (rules.raw_storage, COMMANDS, "strings.assign(ctx.db, key, value)\nstore = 1"),
    (rules.raw_storage, "isthmus/coordinator/model.py", "self.drop(key)"),
    (rules.sizes, PURE, FITTING_FUNCTION),
    (rules.sizes, PURE, "#" * 100),
    (rules.essay, PURE, '"""What it is."""\n'),
    (rules.essay, PURE, '"""One\ntwo\n\nthree."""\n' + "x = 1\n" * 100),
    (rules.essay, "isthmus/wire/parser.pyx", '# cython: x=1\n"""What it is."""\n'),
    (rules.leftovers, PURE, "# a mastodon is not to be done"),
    (rules.catching, PURE, "try:\n    f()\nexcept (KeyError, ValueError):\n    pass"),
    (rules.catching, PURE, "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
    (rules.headings, "README.md", PAGE),
    (rules.changelog, "CHANGELOG.md", LOG),
    (rules.changelog, "CHANGELOG.md", LOG + "\n## 1.0.0 - 2026-11-23\n\n### Fixed\n\n- A.\n"),
]

BAD = [
    (rules.layering, PURE, "import json\nfrom isthmus.node.values import strings", 2),
    (rules.layering, PURE, "from isthmus.node import commands", 1),
    (rules.layering, PURE, "from ..values import strings", 1),
    (rules.layering, PURE, "import msgpack", 1),
    (rules.layering, PURE, "def f():\n    import isthmus.proxy.route", 2),
    (rules.layering, COMMANDS, "from isthmus.wire.parser import RequestParser", 1),
    (rules.layering, "isthmus/node/engine/table.pyx", "\nfrom isthmus.node.values.a cimport B", 2),
    (rules.layering, WIRE, "from isthmus.node.engine import clock", 1),
    (rules.layering, "isthmus/node/sinks/aof.py", "from isthmus.node.persist import recover", 1),
    (rules.layering, PROXY, "from isthmus.node.engine.spec import Spec", 1),
    (rules.layering, PROXY, "import isthmus.coordinator.model", 1),
    (rules.layering, "isthmus/node/server/main.py", "from isthmus.cli import main", 1),
    (rules.layering, "isthmus/novelty/main.py", "", 1),
    (rules.worldliness, PURE, "import math\nimport time", 2),
    (rules.worldliness, PURE, "from os.path import join", 1),
    (rules.worldliness, PURE, "def f():\n    import random as r", 2),
    (rules.raw_storage, COMMANDS, "x = 1\nctx.db.table.store(key, value)", 2),
    (rules.raw_storage, "isthmus/node/persist/recover.py", "db.set_expire(key, 1)", 1),
    (rules.sizes, PURE, BIG_FUNCTION, 1),
    (rules.sizes, PURE, LONG, 1),
    (rules.sizes, PURE, "x = 1\n" + "#" * 101, 2),
    (rules.essay, PURE, "x = 1", 1),
    (rules.essay, PURE, "", 1),
    (rules.essay, PURE, '"""Short."""\n' + "x = 1\n" * 100, 1),
    (rules.leftovers, PURE, "x = 1\n# TO" + "DO: more", 2),
    (rules.leftovers, PURE, "# FIX" + "ME", 1),
    (rules.catching, PURE, "try:\n    f()\nexcept:\n    raise", 3),
    (rules.catching, PURE, "try:\n    f()\nexcept Exception:\n    raise", 3),
    (rules.catching, PURE, "try:\n    f()\nexcept (OSError, Exception) as e:\n    g(e)", 3),
    (rules.catching, PURE, "try:\n    f()\nexcept BaseException:\n    g()", 3),
    (rules.headings, "README.md", "text\n", 1),
    (rules.headings, "README.md", "# One\n\n# Two\n", 1),
    (rules.headings, "README.md", "text\n\n# Late\n", 1),
    (rules.changelog, "CHANGELOG.md", "# Changelog\n\n## 1.0.0 - 2026-11-23\n", 1),
    (rules.changelog, "CHANGELOG.md", LOG + "\n## 1.0\n", 10),
    (rules.changelog, "CHANGELOG.md", LOG + "\n### Improved\n", 10),
    (rules.changelog, "CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n- Loose.\n", 5),
]

Rule = Callable[[str, str], list[str]]


def _names(samples: list[tuple[object, ...]]) -> list[str]:
    return [f"{getattr(sample[0], '__name__', '')}-{n}" for n, sample in enumerate(samples)]


@pytest.mark.parametrize("rule, path, text", GOOD, ids=_names([*GOOD]))
def test_good_sample(rule: Rule, path: str, text: str) -> None:
    assert rule(path, text) == []


@pytest.mark.parametrize("rule, path, text, line", BAD, ids=_names([*BAD]))
def test_bad_sample(rule: Rule, path: str, text: str, line: int) -> None:
    complaints = rule(path, text)
    assert [complaint.partition(":")[0] for complaint in complaints] == [str(line)]


def test_every_rule_has_both_kinds_of_samples() -> None:
    from tests.tidy.test_tree import SCOPES

    scoped = {scope[0] for scope in SCOPES}
    assert scoped == {sample[0] for sample in GOOD} == {sample[0] for sample in BAD}

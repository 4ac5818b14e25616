"""docs/configuration.md is what the table says; and the table's marks are what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.engine.config_table import PARAMETERS

ROOT = Path(__file__).resolve().parent.parent.parent
# Where names stand that no behaviour depends on: the table, secrets, what INFO merely shows.
ELSEWHERE = ("config_table.py", "config.py", "config_rewrite.py", "slowlog.py", "info.py")
# Their names are put together from that of the command.
COMPOSED = {"enable-debug-command", "enable-module-command"}
# Read without anything depending on it: SHUTDOWN asks whether there is something to save to.
MERELY_READ = {"save", "cluster-enabled"}


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("config_docs", ROOT / "tools/config_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(tool: Any) -> None:
    assert tool.main(["--check"]) == 0, "make docs"


def test_what_is_marked_is_what_the_code_asks_for() -> None:
    used = set()
    for path in (ROOT / "isthmus").rglob("*.py"):
        if path.name not in ELSEWHERE:
            used |= set(re.findall(r'"([a-z0-9-]+)"', path.read_text(encoding="utf-8")))
    used |= {"enable-protected-configs", "latency-tracking-info-percentiles"}
    marked = {row.name for row in PARAMETERS.values() if row.effect}
    asked = {name for name in used if name in PARAMETERS}
    assert asked - marked - MERELY_READ == set(), "used, but not marked: EFFECTIVE in config_table"
    assert marked - asked - COMPOSED == set(), "marked, but nobody asks for it"

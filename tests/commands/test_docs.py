"""docs/commands.md answers every row of Redis' table, and is what the declarations say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    """tools/command_docs.py, which is a script and no part of the package."""
    spec = importlib.util.spec_from_file_location("command_docs", ROOT / "tools/command_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(docs: ModuleType) -> None:
    assert docs.PAGE.read_text(encoding="utf-8") == docs.render(), "run `make docs`"


def test_every_row_is_answered(docs: ModuleType) -> None:
    page = docs.PAGE.read_text(encoding="utf-8")
    for row in docs.read_tsv(docs.TABLE):
        assert f"| `{row['command'].upper()}` |" in page


def test_notes_are_in_order_and_short(docs: ModuleType) -> None:
    names = [row["command"] for row in docs.read_tsv(docs.NOTES)]
    assert names == sorted(set(names))
    assert all(row["note"].endswith(".") for row in docs.read_tsv(docs.NOTES))


def test_contradictions_are_found(docs: ModuleType) -> None:
    rows = {"get": {}, "set": {}, "del": {}}
    notes = {
        "set": docs.Note("absent", "why"), "nope": docs.Note("differs", "how"),
        "get": docs.Note("what", "how"),
    }  # fmt: skip
    found = docs.contradictions(rows, {"get": object(), "set": object()}, notes)
    assert found == [
        "del: is not there, and no note says why", "get: no such status",
        "nope: a note on a command that Redis has not",
        "set: is said to be absent, but is there",
    ]  # fmt: skip

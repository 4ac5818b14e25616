"""Hold every file of the repository against every rule that is meant for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.tidy import rules

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = ("build", "dist")

Rule = Callable[[str, str], list[str]]


@cache
def files() -> dict[str, str]:
    """Relative path -> text of each source and page; hidden and built folders left out."""
    found = {}
    for suffix in ("py", "pyx", "pxd", "md"):
        for path in ROOT.rglob(f"*.{suffix}"):
            relative = path.relative_to(ROOT)
            hidden = any(part.startswith(".") for part in relative.parts)
            if not hidden and relative.parts[0] not in SKIPPED:
                found[relative.as_posix()] = path.read_text(encoding="utf-8")
    return found


OURS = "isthmus/"
SOURCES = (".py", ".pyx", ".pxd")

# rule, the folder it is for, the endings it is for
SCOPES: list[tuple[Rule, str, tuple[str, ...]]] = [
    (rules.layering, OURS, SOURCES),
    (rules.worldliness, OURS, (".py",)),
    (rules.raw_storage, OURS, (".py",)),
    (rules.essay, OURS, (".py", ".pyx")),
    (rules.catching, "", (".py",)),
    (rules.sizes, "", SOURCES),
    (rules.leftovers, "", SOURCES),
    (rules.headings, "", (".md",)),
    (rules.changelog, "CHANGELOG.md", (".md",)),
]


@pytest.mark.parametrize(
    "rule, folder, endings", SCOPES, ids=[rule.__name__ for rule, *_ in SCOPES]
)
def test_rule(rule: Rule, folder: str, endings: tuple[str, ...]) -> None:
    complaints = [
        f"{path}:{complaint}"
        for path, text in sorted(files().items())
        if path.startswith(folder) and path.endswith(endings)
        for complaint in rule(path, text)
    ]
    if complaints:
        pytest.fail("\n".join([str(rule.__doc__), *complaints]), pytrace=False)

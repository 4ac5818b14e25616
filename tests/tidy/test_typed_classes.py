"""Attributes of typed classes are declared: a class in a .pxd has no others once it is compiled.

Interpreted, an undeclared attribute works; compiled, it is an AttributeError where it is set. So it
is found here, without a compiler.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLASS = re.compile(r"^cdef class (\w+)(?:\((\w+)\))?:")
FIELD = re.compile(
    r"^    cdef (?:public |readonly )?(?:unsigned )?(?:long long|[\w.\[\]]+)"
    r"\s*\**\s*([\w, \[\]*]+)$"
)


def declared(path: Path) -> dict[str, tuple[str | None, set[str]]]:
    """class -> (base, fields) of a .pxd file."""
    found: dict[str, tuple[str | None, set[str]]] = {}
    current = ""
    for line in path.read_text().splitlines():
        match = CLASS.match(line)
        if match:
            current = match[1]
            found[current] = match[2], set()
        elif current and (match := FIELD.match(line)):
            names = re.sub(r"\[[^\]]*\]", "", match[1])
            found[current][1].update(name.strip(" *") for name in names.split(","))
    return found


TYPED = {
    name: (path, *rest)
    for path in sorted((ROOT / "isthmus").rglob("*.pxd"))
    for name, rest in declared(path).items()
}


def fields(name: str | None) -> set[str] | None:
    """All fields of a typed class with those of its bases; None if a base is not typed."""
    if name is None:
        return set()
    if name not in TYPED:
        return None
    _, base, own = TYPED[name]
    inherited = fields(base)
    return None if inherited is None else own | inherited


def assigned(cls: ast.ClassDef) -> set[str]:
    """Attributes that methods of a class give to self."""
    found = set()
    for node in ast.walk(cls):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
            targets = [node.target]
        for target in targets:
            for each in ast.walk(target):
                if (
                    isinstance(each, ast.Attribute)
                    and isinstance(each.ctx, ast.Store)
                    and isinstance(each.value, ast.Name)
                    and each.value.id == "self"
                ):
                    found.add(each.attr)
    return found


@pytest.mark.parametrize(
    "name", [n for n, row in TYPED.items() if not row[0].with_suffix(".pyx").exists()]
)
def test_attributes_are_declared(name: str) -> None:
    path = TYPED[name][0].with_suffix(".py")
    tree = ast.parse(path.read_text())
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name]
    known = fields(name)
    assert classes, f"{path.name} has no class {name}"
    assert known is not None, f"a base of {name} is not typed"
    methods = {n.name for n in ast.walk(classes[0]) if isinstance(n, ast.FunctionDef)}
    assert assigned(classes[0]) - known - methods == set(), path.relative_to(ROOT)

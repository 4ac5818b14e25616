"""The rules of style, each a pure function from a file to a list of complaints.

A complaint reads "line: what is wrong; what to do instead". Paths are relative to the repository,
with slashes. Rules that need syntax take a parsed tree; those that also hold for Cython sources
take text. Each rule has good and bad samples in `test_rules.py`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from tests.tidy import layers

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 700
LINE_CHARACTERS_MAX = 100
TRIVIAL_LINES_MAX = 60
ESSAY_LINES_MIN = 3

_CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+)?(?:c?import)\s+\(?([\w.]+)", re.MULTILINE)
# Spelt in two pieces, or this file would complain about itself.
_LEFTOVER = re.compile(r"\b(?:FIX" + r"ME|TO" + r"DO|XX" + r"X)\b")
_DOCSTRING = re.compile(r'\A(?:#[^\n]*\n|\s)*[rR]?"""(.*?)"""', re.DOTALL)


def module_name(path: str) -> str:
    return re.sub(r"(/__init__)?\.(py|pyx|pxd)$", "", path).replace("/", ".")


def imported(path: str, text: str) -> Iterator[tuple[int, str]]:
    """(line, dotted target) of each import; `from a import b` gives `a.b`."""
    if path.endswith(".py"):
        yield from _python_imports(path, ast.parse(text))
        return
    for match in _CYTHON_IMPORT.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        yield line, ".".join(part for part in match.groups() if part)


def _python_imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    package = module_name(path).split(".")
    if not path.endswith("/__init__.py"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def _within(target: str, prefix: str) -> bool:
    return target == prefix or target.startswith(prefix + ".")


def _longest(name: str) -> str:
    return max((prefix for prefix in layers.LAYERS if _within(name, prefix)), key=len)


def layering(path: str, text: str) -> list[str]:
    """Imports go down the table of layers, never up or sideways."""
    package = _longest(module_name(path))
    if package == "isthmus" and path.count("/") > 1:
        return [f"1: {path} is in no layer; add its package to tests/tidy/layers.py"]
    layer = layers.LAYERS[package]
    complaints = []
    for line, target in imported(path, text):
        top = target.partition(".")[0]
        if top == "isthmus":
            if not _allowed(target, package, layer):
                complaints.append(f"{line}: {package} may not import {target}")
        elif top not in layer.others and not _is_standard(top, path):
            complaints.append(f"{line}: {package} may not import {top}")
    return complaints


def _is_standard(top: str, path: str) -> bool:
    return top in sys.stdlib_module_names or (path.endswith(("x", "d")) and top in _CYTHON_ONLY)


_CYTHON_ONLY = ("cpython", "cython", "libc", "posix")


def _allowed(target: str, package: str, layer: layers.Layer) -> bool:
    if target == "isthmus" or (_longest(target) == "isthmus" and target.count(".") == 1):
        return True  # the package itself: its version, compiled()
    if package not in layers.TOP and any(_within(target, top) for top in layers.TOP):
        return False
    return any(_within(target, prefix) for prefix in layer.ours)


def is_edge(path: str) -> bool:
    return any(
        path == edge or (edge.endswith("/") and path.startswith(edge)) for edge in layers.EDGES
    )


def worldliness(path: str, text: str) -> list[str]:
    """Time, chance, network and disk come in at the edges only; elsewhere they are parameters."""
    if is_edge(path):
        return []
    return [
        f"{line}: {top} is for edges; take the clock, the chance or the stream as a parameter"
        for line, target in imported(path, text)
        if (top := target.partition(".")[0]) in layers.WORLD
    ]


def raw_storage(path: str, text: str) -> list[str]:
    """Only engine and values may change stored data; everyone else calls an effect function."""
    if not path.startswith("isthmus/node/") or path.startswith(layers.RAW_STORAGE_USERS):
        return []
    return [
        f"{node.lineno}: .{node.func.attr}() changes storage past the effect log; "
        "call an effect function of isthmus.node.values"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in layers.RAW_STORAGE
    ]


def sizes(path: str, text: str) -> list[str]:
    """Small files, small functions, lines that fit."""
    lines = text.splitlines()
    complaints = [
        f"{number}: {len(line)} characters in a line (at most {LINE_CHARACTERS_MAX})"
        for number, line in enumerate(lines, 1)
        if len(line) > LINE_CHARACTERS_MAX
    ]
    if len(lines) > FILE_LINES_MAX:
        complaints.append(f"1: {len(lines)} lines (at most {FILE_LINES_MAX}); split by noun")
    if path.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    complaints.append(
                        f"{node.lineno}: {node.name} has {length} lines "
                        f"(at most {FUNCTION_LINES_MAX})"
                    )
    return complaints


def essay(path: str, text: str) -> list[str]:
    """A module says at its top what it is; one that is not trivial says it in full."""
    match = _DOCSTRING.match(text)
    if match is None or not match[1].strip():
        return ["1: no docstring; say what the module is"]
    written = sum(1 for line in match[1].splitlines() if line.strip())
    if len(text.splitlines()) > TRIVIAL_LINES_MAX and written < ESSAY_LINES_MIN:
        return [
            "1: the docstring is too short; say what it is, what it keeps true, what it may not do"
        ]
    return []


def leftovers(path: str, text: str) -> list[str]:
    """Nothing is left for later in a comment."""
    return [
        f"{number}: {match[0]}; do it, or write an issue"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := _LEFTOVER.search(line))
    ]


def catching(path: str, text: str) -> list[str]:
    """Catch only what you can name; catch everything only to clean up and raise it again."""
    complaints = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        last = node.body[-1]
        raises_again = isinstance(last, ast.Raise) and last.exc is None
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
        if node.type is None or "Exception" in names:
            complaints.append(f"{node.lineno}: catches everything; name the errors")
        elif "BaseException" in names and not raises_again:
            complaints.append(f"{node.lineno}: BaseException must be raised again at the end")
    return complaints


def headings(path: str, text: str) -> list[str]:
    """A page has one title, and opens with it."""
    outside = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^# .+$", outside, flags=re.MULTILINE)
    if len(titles) != 1:
        return [f"1: {len(titles)} titles (`# ...`); a page has one"]
    return [] if text.startswith("# ") else ["1: the page does not open with its title"]


_RELEASE = re.compile(r"## (Unreleased|\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2})")
_KIND = re.compile(r"### (Added|Changed|Deprecated|Removed|Fixed|Security)")


def changelog(path: str, text: str) -> list[str]:
    """Title, Unreleased, then releases with dates; below them kinds of change, as lists."""
    complaints = []
    releases: list[str] = []
    kind = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            releases.append(line)
            kind = None
            if not _RELEASE.fullmatch(line):
                complaints.append(f"{number}: a release is `## 1.2.3 - 2026-01-31`")
        elif line.startswith("### "):
            kind = line
            if not _KIND.fullmatch(line):
                complaints.append(f"{number}: no such kind of change")
        elif line and releases and not (kind and line.startswith(("- ", "  "))):
            complaints.append(f"{number}: a change is a list item below a kind of change")
    if not releases or releases[0] != "## Unreleased":
        complaints.append("1: the first section is `## Unreleased`")
    return complaints

"""Glob patterns: every element, Redis' odd cases, and a bound on the work."""

from __future__ import annotations

import pytest

from isthmus.node.engine import patterns
from isthmus.node.engine.patterns import glob_match

MATCHES = [
    ("", ""), ("*", "a"), ("**", "abc"), ("a*", "a"), ("*a", "a"), ("*a*", "xay"),
    ("h?llo", "hello"), ("h[ae]llo", "hallo"), ("h[^e]llo", "hallo"), ("h[b-a]llo", "hallo"),
    ("\\*", "*"), ("a\\", "a\\"),
    ("[^", "x"), ("[abc", "c"), ("[a-", "-"), ("[\\]]", "]"), ("[a-]", "^"), ("[^]", "]"),
    ("*[a-c]*z", "__b__z"), ("a**b", "ab"), ("*?*", "x"), ("\\[a]", "[a]"), ("[\\", "\\"),
]  # fmt: skip
MISMATCHES = [
    ("", "a"), ("*", ""), ("?", ""), ("a", "ab"), ("ab", "a"), ("?", "ab"), ("h[^e]llo", "hello"),
    ("[]", "]"), ("[", "["), ("\\*", "a"), ("*a", "ab"), ("[a-c]", "d"), ("a*b", "ba"), ("*?", ""),
    ("A", "a"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "text"), MATCHES)
def test_matches(pattern: str, text: str) -> None:
    assert glob_match(pattern.encode(), text.encode())


@pytest.mark.parametrize(("pattern", "text"), MISMATCHES)
def test_does_not_match(pattern: str, text: str) -> None:
    assert not glob_match(pattern.encode(), text.encode())


def test_ranges_compare_signed_bytes() -> None:
    assert glob_match(b"[\x80-\x01]", b"\xff")
    assert not glob_match(b"[\x80-\x01]", b"\x02")


def test_a_long_text_without_backtracking_is_matched() -> None:
    assert glob_match(b"*needle*", b"x" * 50_000 + b"needle")


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "STEPS_MAX", 1000)
    pattern = b"*" + b"a" * 500 + b"b"
    assert not glob_match(pattern, b"a" * 4000)
    assert not glob_match(b"*[" * 5000, b"x" * 5000)

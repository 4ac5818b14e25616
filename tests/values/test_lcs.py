"""The longest common subsequence, both twins, against the plain recursion."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import twins

MODULE = "isthmus.node.values.lcs"
PURE = twins.load_pure(MODULE)
TEXTS = st.lists(st.sampled_from(b"abcd\x00\xff"), max_size=16).map(bytes)


def is_subsequence(part: bytes, whole: bytes) -> bool:
    rest = iter(whole)
    return all(char in rest for char in part)


def longest(left: bytes, right: bytes) -> int:
    @cache
    def of(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if left[i - 1] == right[j - 1]:
            return of(i - 1, j - 1) + 1
        return max(of(i - 1, j), of(i, j - 1))

    return of(len(left), len(right))


@pytest.mark.parametrize("lcs", twins.both(MODULE))
@settings(derandomize=True, deadline=None, max_examples=50)
@given(left=TEXTS, right=TEXTS)
def test_longest(lcs: ModuleType, left: bytes, right: bytes) -> None:
    common, runs = lcs.matches(left, right)
    assert (common, runs) == PURE.matches(left, right)
    assert len(common) == lcs.length(left, right) == longest(left, right)
    assert is_subsequence(common, left)
    assert is_subsequence(common, right)
    pieces = [left[a : b + 1] for a, b, _, _, _ in reversed(runs)]
    assert b"".join(pieces) == common
    assert pieces == [right[c : d + 1] for _, _, c, d, _ in reversed(runs)]
    assert all(b - a + 1 == d - c + 1 == n for a, b, c, d, n in runs)

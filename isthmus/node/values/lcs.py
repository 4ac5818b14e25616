"""The longest common subsequence of two strings (Tier C twin).

The table of all beginnings of the one against all beginnings of the other takes four bytes for each
pair, and as many steps; callers bound the product of the lengths. The length alone needs only a row
of it. Ties are broken as Redis breaks them, so both find the same subsequence.
"""

from __future__ import annotations

from array import array

from isthmus.wire.scalars import i64

# A run of equal bytes: from, to in the left string; from, to in the right one; its length.
Match = tuple[int, int, int, int, int]


def _next_row(above: array[int], x: int, right: bytes) -> array[int]:
    row = array("I", (0,))
    last = 0
    for j, y in enumerate(right):
        last = above[j] + 1 if x == y else max(above[j + 1], last)
        row.append(last)
    return row


def length(left: bytes, right: bytes) -> i64:
    """How long the longest common subsequence is."""
    row = array("I", bytes(4 * (len(right) + 1)))
    for x in left:
        row = _next_row(row, x, right)
    return row[-1]


def matches(left: bytes, right: bytes) -> tuple[bytes, list[Match]]:
    """The subsequence, and its runs, last first; MemoryError if there is no room for the table."""
    table = [array("I", bytes(4 * (len(right) + 1)))]
    for x in left:
        table.append(_next_row(table[-1], x, right))
    common = bytearray()
    found: list[Match] = []
    i, j = len(left), len(right)
    run = 0
    while i > 0 and j > 0:
        if left[i - 1] == right[j - 1]:
            common.append(left[i - 1])
            run += 1
            i, j = i - 1, j - 1
            continue
        if run:
            found.append((i, i + run - 1, j, j + run - 1, run))
            run = 0
        if table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    if run:
        found.append((i, i + run - 1, j, j + run - 1, run))
    common.reverse()
    return bytes(common), found

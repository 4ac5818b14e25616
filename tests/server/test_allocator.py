"""Memory given back in slices: arenas are kept, the heap is trimmed bit by bit.

What is tested changes the process for good, so it runs in one of its own.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import isthmus
from isthmus.node.server import allocator
from tests.support.twins import both

KEEPING = """
from isthmus.node.server import arenas
assert arenas.install() and arenas.install()

def small_objects(count):
    return [bytes(90) for _ in range(count)]

found = small_objects(60_000)
assert arenas.kept() == 0
del found
kept = arenas.kept()
assert kept >= 4, kept
found = small_objects(25_000)
assert arenas.kept() < kept
del found
kept = arenas.kept()
assert arenas.give_back(1) == kept - 1 == arenas.kept()
assert arenas.give_back(1000) == 0
assert arenas.give_back(1) == 0
found = small_objects(60_000)
"""

TRIMMING = """
import ctypes
from isthmus.node.server import allocator as it

MIB = 1 << 20

def fill(mib):
    blocks = (ctypes.c_void_p * (mib * 10))()
    for i in range(len(blocks)):
        blocks[i] = it._LIBC.malloc(100_000)
    return blocks

def free(blocks):
    for block in blocks:
        it._LIBC.free(block)

def slices():
    count = 0
    while True:
        before = it._LIBC.sbrk(0)
        if not it.give_back_slice():
            return count
        assert 0 < before - it._LIBC.sbrk(0) <= it.SLICE_BYTES + 4096
        count += 1

def free_at_the_top():
    return it._INFO().keepcost / MIB

it.settle()
slices()
assert slices() == 0
blocks = fill(24)
end = it._LIBC.sbrk(0)
free(blocks)
assert it._LIBC.sbrk(0) == end and free_at_the_top() > 20, "nothing goes by itself"
assert slices() > 15
assert free_at_the_top() < 4 and slices() == 0

# A gap far from the top, larger than the first block that is tried.
gap = fill(24)
keep = it._LIBC.malloc(100_000)
blocks = fill(80)
free(gap)
free(blocks)
assert slices() > 40
assert free_at_the_top() < 36 and slices() == 0
it._LIBC.free(keep)
while slices():
    pass

# More than can be said in one call.
it.ROOM_BYTES_MAX = 80 * MIB
blocks = fill(200)
free(blocks)
assert slices() > 100
assert it.give_back()
"""


def run(text: str) -> None:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("twin", both("isthmus.node.server.arenas"))
def test_nothing_is_kept_before_it_is_asked_for(twin: Any) -> None:
    assert twin.kept() == 0
    assert twin.give_back(5) == 0


@pytest.mark.parametrize("twin", both("isthmus.node.server.arenas")[:1])
def test_interpreted_code_keeps_nothing(twin: Any) -> None:
    assert not twin.install()
    assert twin.kept() == 0


@pytest.mark.slow
@pytest.mark.skipif(not isthmus.compiled(), reason="needs the extension")
def test_arenas_are_kept_and_given_back() -> None:
    run(KEEPING)


@pytest.mark.slow
@pytest.mark.skipif(not allocator._GNU, reason="needs the GNU C library")
def test_the_heap_is_trimmed_in_slices() -> None:
    run(TRIMMING)


def test_without_settling_nothing_is_trimmed() -> None:
    assert not allocator.give_back_slice()

"""Arenas: the blocks of a MiB that Python's small objects live in, given back one at a time.

Python maps an arena when it needs one and unmaps it in the very `free` that empties it. When a
million records go in random order, all arenas become empty within the last few hundred records, and
fifty unmappings in one slice of work stop the loop for several milliseconds. So arenas that become
empty are *kept*: an arena that is needed is taken from them, and a timer gives the others back to
the system, one at a time, as long as it has time.

    install()           keep empty arenas from now on; False where that cannot be done
    kept()              how many wait
    give_back(count)    unmap at most so many; how many are left

The kept arenas form a chain through their own first words, so keeping one allocates nothing. All of
this happens under the interpreter's lock, as everything of Python's allocator does.

This is the twin of arenas.pyx. Interpreted code cannot stand in for Python's allocator: here
nothing is ever kept, and Python goes on as it does.
"""

from __future__ import annotations


def install() -> bool:
    """Keep empty arenas from now on. False: they are unmapped at once."""
    return False


def kept() -> int:
    """Empty arenas that wait to be given back."""
    return 0


def give_back(count: int) -> int:
    """Return at most `count` kept arenas to the system; how many are left."""
    return kept()

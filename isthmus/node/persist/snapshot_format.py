"""What a snapshot holds besides keys: its head, the marks between keys, its end.

    "REDIS0012" | FA name value ... | F5 library ... | FE database FB keys volatile keys ...
    | FF CRC-64

Keys follow a database's mark (values/rdb_encode.py); the mark may come again, since a cut writes
what changes out of turn. F4 slot, keys, volatile keys before the keys of a slot is a hint of
cluster mode. snapshot_read.py reads all of it.
"""

from __future__ import annotations

from isthmus.wire.rdb_writer import RdbWriter

MAGIC = b"REDIS0012"
AUX, SELECT, RESIZE, SLOT_INFO, FUNCTION, END = 0xFA, 0xFE, 0xFB, 0xF4, 0xF5, 0xFF


def header(fields: list[tuple[bytes, bytes]]) -> bytes:
    """The beginning of a file: facts about who wrote it."""
    out = RdbWriter()
    out.raw(MAGIC)
    for name, value in fields:
        out.byte(AUX)
        out.string(name)
        out.string(value)
    return out.take()


def function(code: bytes) -> bytes:
    """A library of functions."""
    out = RdbWriter()
    out.byte(FUNCTION)
    out.string(code)
    return out.take()


def select_db(index: int) -> bytes:
    """The keys that follow are of this database."""
    return _numbers(SELECT, index)


def resize_db(keys: int, volatile: int) -> bytes:
    """How many keys a database has, and how many of them expire."""
    return _numbers(RESIZE, keys, volatile)


def slot_info(slot: int, keys: int, volatile: int) -> bytes:
    """How many keys a slot has, and how many of them expire."""
    return _numbers(SLOT_INFO, slot, keys, volatile)


def end_mark() -> bytes:
    """What stands before the checksum."""
    return bytes((END,))


def _numbers(mark: int, *numbers: int) -> bytes:
    out = RdbWriter()
    out.byte(mark)
    for number in numbers:
        out.length(number)
    return out.take()

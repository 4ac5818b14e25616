"""Blocks of a stream taken over from RDB, checked to the last element (Tier C twin).

A block comes as a key (the id that the differences in it refer to) and a listpack:

    live entries | deleted ones | number of fields | field ... | 0 | entry | entry ...
    an entry:   flags | ms - key.ms | seq - key.seq | value ...                              | n
    or:         flags | ms - key.ms | seq - key.seq | number of fields | field | value | ... | n

Flag 2: the fields are those at the head; flag 1: deleted; `n` counts the elements before it. The
compiled form (stream_load.pyx) moves the bytes into the StreamLog as they are, so whatever later
walks there without looking must be looked at here: flags and the 0 take one byte, all that is a
number is stored as one, counts fit what is there, ids rise within the block and from one block to
the next, the first is not below the key.

It may not be called once anything else has been done to the log but loading, and the caller sets
the log's state (last id and so on) behind the last block.
"""

from __future__ import annotations

from isthmus.node.values import stream_log
from isthmus.node.values.stream_ids import wrap64
from isthmus.node.values.stream_log import StreamLog
from isthmus.wire.listpack import FRAME_BYTES, number_size
from isthmus.wire.listpack_reader import read_mixed

_U64 = (1 << 64) - 1
_BLOCK_BYTES_MAX = 1 << 30


class _Elements:
    """The elements of a listpack, taken one by one."""

    def __init__(self, items: list[int | bytes]) -> None:
        self.items = items
        self.at = 0

    def take(self) -> int | bytes:
        if self.at == len(self.items):
            raise ValueError("a stream's block: an entry ends outside")
        self.at += 1
        return self.items[self.at - 1]

    def number(self) -> int:
        item = self.take()
        if not isinstance(item, int):
            raise ValueError(f"a stream's block: element {self.at - 1} should be a number")
        return item

    def count(self, each: int) -> int:
        """A number of fields of which each takes so many elements."""
        count = self.number()
        if not 1 <= count <= (len(self.items) - self.at) // each:
            raise ValueError(f"a stream's block: {count} fields at element {self.at - 1}")
        return count

    def texts(self, count: int) -> list[bytes]:
        found = [self.take() for _ in range(count)]
        return [b"%d" % item if isinstance(item, int) else item for item in found]


def _entry(elements: _Elements, key: bytes, fields: list[bytes]) -> tuple[bytes, list[bytes], bool]:
    """The id of the next entry, its fields and values, and whether it was deleted."""
    flags = elements.number()
    if not 0 <= flags <= 3:
        raise ValueError(f"a stream's block: {flags} are no flags of an entry")
    parts = [(int.from_bytes(key[at : at + 8], "big") + elements.number()) & _U64 for at in (0, 8)]
    id = b"".join(part.to_bytes(8, "big") for part in parts)
    if flags & 2:
        values = elements.texts(len(fields))
        texts = [text for pair in zip(fields, values, strict=True) for text in pair]
        size = 3 + len(fields)
    else:
        pairs = elements.count(2)
        texts = elements.texts(2 * pairs)
        size = 4 + 2 * pairs
    if elements.number() != size:
        raise ValueError(f"a stream's block: an entry of {size} elements says otherwise")
    return id, texts, bool(flags & 1)


def load_block(log: StreamLog, key: bytes, listpack: bytes) -> None:
    """Take over a block behind those that are there; ValueError if anything about it is wrong."""
    if len(key) != 16:
        raise ValueError(f"the key of a stream's block has {len(key)} bytes")
    if len(listpack) > _BLOCK_BYTES_MAX:
        raise ValueError("a stream's block is too large")
    elements = _Elements(read_mixed(listpack))
    live, dead = elements.number(), elements.number()
    fields = elements.texts(elements.count(1))
    if elements.number() != 0:
        raise ValueError("a stream's block: no end of its head")
    block = stream_log._Block(key, fields)
    before = log.last_id if log._blocks else b""
    while elements.at < len(elements.items):
        id, texts, deleted = _entry(elements, key, fields)
        if id < key or id <= before:
            raise ValueError("a stream's block: an id that does not rise")
        block.ids.append(id)
        block.texts.append(texts)
        if deleted:
            block.gone.add(id)
        before = id
    if not block.ids or block.count != live or len(block.gone) != dead:
        raise ValueError(
            f"a stream's block of {block.count} entries and {len(block.gone)} deleted ones says "
            f"that they are {live} and {dead}"
        )
    block.used = len(listpack) - FRAME_BYTES
    block.used -= number_size(live) + number_size(dead)
    _take_over(log, block, before)


def _take_over(log: StreamLog, block: stream_log._Block, last: bytes) -> None:
    log._blocks.append(block)
    log._account(block.used + stream_log._BLOCK_BYTES)
    if log.length == 0 and block.count:
        log.first_id = next(id for id in block.ids if id not in block.gone)
    log.length += block.count
    log.entries_added = wrap64(log.length)
    log.last_id = last

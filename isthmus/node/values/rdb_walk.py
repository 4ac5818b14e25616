"""Packed values written as RDB, element by element, without an object for each (Tier C twin).

What lies behind a list, a sorted set or a stream is walked here and written in the form in which
Redis stores it; values/rdb_encode.py puts the parts together and has the formats.

Of a list that is no single listpack the nodes are found again as Redis cuts them when elements are
put at the tail one by one: an element of more than 8192 bytes is a node by itself, and another one
begins a node if the one before would have more than 8192 bytes with it and 8 more (an estimate of
what it takes besides its text).

Long walks go in slices; nothing may change between them. It may not know keys or databases.
"""

from __future__ import annotations

from isthmus.node.values.packed_list import PackedList
from isthmus.node.values.pending_list import PendingList
from isthmus.node.values.score_index import ScoreIndex
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID
from isthmus.node.values.stream_log import StreamLog
from isthmus.wire.listpack import FRAME_BYTES, text_size
from isthmus.wire.rdb_writer import RdbWriter
from isthmus.wire.scalars import format_float

NODE_BYTES_MAX = 8192
NODE_GUESS_BYTES = 8
NODE_PLAIN, NODE_PACKED = 1, 2
# Scores up to here may stand in a listpack as numbers; larger ones are spelt.
WHOLE_SCORE_MAX = float(1 << 62)
PENDING_BLOCK = 128


def save_list_listpack(value: PackedList, out: RdbWriter) -> int:
    """Write all elements as one listpack."""
    out.begin_listpack()
    for element in value.slice(0, len(value)):
        out.lp_text(element)
    out.end_listpack()
    return 0


def save_zset_listpack(value: ScoreIndex, out: RdbWriter) -> int:
    """Write members and scores, the lowest first, as one listpack."""
    out.begin_listpack()
    for member, score in value.slice(0, len(value)):
        out.lp_text(member)
        if -WHOLE_SCORE_MAX <= score <= WHOLE_SCORE_MAX and score == int(score):
            out.lp_number(int(score))
        else:
            out.lp_text(format_float(score))
    out.end_listpack()
    return 0


def save_scores(value: ScoreIndex, out: RdbWriter, start: int, count: int) -> int:
    """Write `count` members, each with its score, from rank `start` downwards."""
    for member, score in value.slice(start, count, True):
        out.string(member)
        out.double(score)
    return 0


def save_blocks(value: StreamLog, out: RdbWriter, first: int, blocks_max: int) -> int:
    """Write blocks from index `first` on, each as its key and its listpack; returns the next
    index, -1 at the end."""
    stop = first + blocks_max
    for key, listpack in value.listpacks()[first:stop]:
        out.string(key)
        out.string(listpack)
    return stop if stop < value.block_count else -1


def save_pending(value: PendingList, out: RdbWriter, first: int, blocks_max: int) -> int:
    """Write what is pending from block `first` on: ids, each with the time of its delivery and
    their number unless the list is bare; returns the next block, -1 at the end."""
    start, stop = first * PENDING_BLOCK, (first + blocks_max) * PENDING_BLOCK
    for id in value.page(ZERO_ID, MAX_ID, 0)[start:stop]:
        out.raw(id)
        found = value.get(id)
        assert found is not None
        if not value._bare:
            out.number(found[0])
            # It wraps, as in Redis.
            out.length(found[1] & 0xFFFFFFFFFFFFFFFF)
    return first + blocks_max if stop < len(value) else -1


class ListNodes:
    """The nodes of a list: measured first, since how many there are stands before them."""

    def __init__(self, value: PackedList) -> None:
        self.value = value
        self.count = 0
        self._measured = 0
        self._written = 0
        # Of the node that is open, as a listpack; 0 if there is none.
        self._node_bytes = 0

    def _begins(self, size: int) -> bool:
        return (
            self._node_bytes == 0
            or size > NODE_BYTES_MAX
            or self._node_bytes + size + NODE_GUESS_BYTES > NODE_BYTES_MAX
        )

    def _added(self, element: bytes, begins: bool) -> None:
        if len(element) > NODE_BYTES_MAX:
            self._node_bytes = 0
        else:
            self._node_bytes = text_size(element) + (FRAME_BYTES if begins else self._node_bytes)

    def measure(self, limit: int) -> bool:
        """Count the nodes of `limit` more elements; False when all have been looked at."""
        for element in self.value.slice(self._measured, limit):
            begins = self._begins(len(element))
            self.count += begins
            self._added(element, begins)
            self._measured += 1
        if self._measured < len(self.value):
            return True
        self._node_bytes = 0
        return False

    def write(self, out: RdbWriter, limit: int) -> bool:
        """Write the nodes of `limit` more elements; False when all have been written.

        Between calls a listpack is open in `out`.
        """
        for element in self.value.slice(self._written, limit):
            begins = self._begins(len(element))
            if begins and self._node_bytes:
                out.end_listpack()
            if len(element) > NODE_BYTES_MAX:
                out.length(NODE_PLAIN)
                out.string(element)
            else:
                if begins:
                    out.length(NODE_PACKED)
                    out.begin_listpack()
                out.lp_text(element)
            self._added(element, begins)
            self._written += 1
        if self._written < len(self.value):
            return True
        if self._node_bytes:
            out.end_listpack()
            self._node_bytes = 0
        return False

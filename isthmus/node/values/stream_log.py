"""StreamLog: the entries of a stream in the order of their ids (Tier C twin).

An entry is an id (stream_ids.py) and an even number of texts: fields and values, alternating.
Entries are only ever added behind the last id.

The compiled form (stream_log.pyx) packs entries into blocks that are, but for their frames, the
listpacks that Redis keeps in the nodes of its radix tree. This twin keeps them in lists and states
the contract. What clients can see of blocks is part of it: a block is full when one more entry
would take its listpack to `bytes_max`, or when it holds `entries_max` (0: no such limit), deleted
ones included; trimming that is not exact takes whole blocks; `block_count` and `tree_nodes` are
what XINFO says of the radix tree. So all sizes are counted as Redis counts them.

`length` counts live entries and `entries_added` all there ever were. `first_id` is the first live
one, `last_id` the largest ever added or set, `top_deleted` the largest that was removed by its id.

It may not: know keys, consumer groups, databases, or replies beyond writing entries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice

from isthmus.node.engine.heap import add as heap_add
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id, make_id, next_id, wrap64
from isthmus.wire.listpack import FRAME_BYTES, number_size, packed, text_size, whole
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

LISTPACK_BYTES_MAX = 1 << 30

_U64 = (1 << 64) - 1
_OBJECT_BYTES = 176
_BLOCK_BYTES = 48


def _differences(id: bytes, key: bytes) -> list[int]:
    """The two parts of an id as signed differences to the block's key."""
    parts = (slice(0, 8), slice(8, 16))
    return [
        wrap64(int.from_bytes(id[part], "big") - int.from_bytes(key[part], "big")) for part in parts
    ]


class _Block:
    """Entries by id: their texts, and which of them are gone."""

    __slots__ = ("key", "fields", "ids", "texts", "gone", "used")

    def __init__(self, key: bytes, fields: list[bytes]) -> None:
        self.key = key
        self.fields = fields
        self.ids: list[bytes] = []
        self.texts: list[list[bytes]] = []
        self.gone: set[bytes] = set()
        self.used = number_size(len(fields)) + sum(map(text_size, fields)) + 2

    @property
    def count(self) -> int:
        return len(self.ids) - len(self.gone)

    @property
    def listpack_bytes(self) -> int:
        return FRAME_BYTES + number_size(self.count) + number_size(len(self.gone)) + self.used

    def add(self, id: bytes, texts: list[bytes]) -> None:
        pairs = len(texts) // 2
        own_fields = texts[::2] != self.fields
        stored = texts if own_fields else texts[1::2]
        elements = 3 + pairs + (pairs + 1 if own_fields else 0)
        self.used += 2 + sum(map(number_size, _differences(id, self.key)))
        self.used += sum(map(text_size, stored))
        self.used += number_size(elements) + (number_size(pairs) if own_fields else 0)
        self.ids.append(id)
        self.texts.append(texts)

    def listpack(self) -> bytes:
        elements: list[int | bytes] = [self.count, len(self.gone), len(self.fields)]
        elements += [*self.fields, 0]
        for id, texts in zip(self.ids, self.texts, strict=True):
            shared = texts[::2] == self.fields
            stored = texts[1::2] if shared else texts
            begin = len(elements)
            elements += [(2 if shared else 0) | (id in self.gone), *_differences(id, self.key)]
            elements += stored if shared else [len(texts) // 2, *stored]
            elements.append(len(elements) - begin)
        return whole([packed(element) for element in elements])

    def live(self, start: bytes, end: bytes, reverse: bool) -> list[tuple[bytes, list[bytes]]]:
        low, high = bisect_left(self.ids, start), bisect_right(self.ids, end)
        found = zip(self.ids[low:high], self.texts[low:high], strict=True)
        kept = [entry for entry in found if entry[0] not in self.gone]
        return kept[::-1] if reverse else kept


class StreamLog:
    """The entries of a stream; see the module essay for the contract."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        # Bytes allocated, about: what the compiled form would spend.
        self.nbytes = 0
        self._account(_OBJECT_BYTES)
        self.length = 0
        self.entries_added = 0
        self.first_id = ZERO_ID
        self.last_id = ZERO_ID
        self.top_deleted = ZERO_ID

    def __len__(self) -> int:
        return self.length

    def __del__(self) -> None:
        heap_add(-self.nbytes)

    def _account(self, count: int) -> None:
        self.nbytes += count
        heap_add(count)

    @property
    def block_count(self) -> int:
        """How many blocks there are: the keys of Redis' radix tree."""
        return len(self._blocks)

    # -- writing ------------------------------------------------------------------------------

    def auto_id(self, now_ms: i64) -> bytes | None:
        """The id that an entry added now gets; None if there is none left."""
        id = make_id(now_ms, 0)
        return id if id[:8] > self.last_id[:8] else next_id(self.last_id)

    def append(
        self, argv: list[bytes], first: i64, id: bytes, bytes_max: i64, entries_max: i64
    ) -> None:
        """Add the entry argv[first:] with an id behind last_id."""
        texts = argv[first:]
        if not 0 < bytes_max <= LISTPACK_BYTES_MAX:
            bytes_max = LISTPACK_BYTES_MAX
        block = self._blocks[-1] if self._blocks else None
        if block is not None and (
            block.listpack_bytes + sum(map(len, texts)) >= bytes_max
            or (entries_max and len(block.ids) >= entries_max)
        ):
            block = None
        if block is None:
            block = _Block(id, texts[::2])
            self._blocks.append(block)
            self._account(block.used + _BLOCK_BYTES)
        before = block.used
        block.add(id, texts)
        self._account(block.used - before)
        self.length += 1
        self.entries_added = wrap64(self.entries_added + 1)
        self.last_id = id
        if self.length == 1:
            self.first_id = id

    def set_state(self, last_id: bytes, top_deleted: bytes, entries_added: i64) -> None:
        """XSETID: what is known of entries that are no longer there."""
        self.last_id = last_id
        self.top_deleted = top_deleted
        self.entries_added = entries_added

    def remove(self, id: bytes) -> bool:
        """Mark an entry as deleted; a block of which nothing is left goes. False if not there."""
        at = self._find(id)
        if at < 0 or not self.contains(id):
            return False
        block = self._blocks[at]
        if block.count == 1:
            self._drop(at)
        else:
            block.gone.add(id)
        self.length -= 1
        self.top_deleted = max(self.top_deleted, id)
        if id == self.first_id:
            self._find_first()
        return True

    def trim_length(self, most: i64, exact: bool, limit: i64) -> i64:
        """Remove the oldest entries beyond `most`, at most about `limit` (0: all); how many."""
        return self._trim(most, None, exact, limit)

    def trim_before(self, id: bytes, exact: bool, limit: i64) -> i64:
        """Remove the entries before id, at most about `limit` (0: all); how many."""
        return self._trim(0, id, exact, limit)

    def _trim(self, most: int, before: bytes | None, exact: bool, limit: int) -> int:
        removed = 0
        while self._blocks and (before is not None or self.length > most):
            block = self._blocks[0]
            if limit and removed + block.count > limit:
                break
            if before is None:
                whole = self.length - block.count >= most
            else:
                whole = block.ids[-1] < before
            if whole:
                removed += block.count
                self.length -= block.count
                self._drop(0)
                continue
            if exact:
                for id in block.ids:
                    if id >= before if before is not None else self.length <= most:
                        break
                    if id not in block.gone:
                        block.gone.add(id)
                        self.length -= 1
                        removed += 1
            break
        if removed or self.length == 0:
            self._find_first()
        return removed

    def _drop(self, at: int) -> None:
        self._account(-self._blocks[at].used - _BLOCK_BYTES)
        del self._blocks[at]

    def _find_first(self) -> None:
        self.first_id = ZERO_ID
        for id, _ in self.slice(ZERO_ID, MAX_ID, 1, False):
            self.first_id = id

    def clear_slice(self, blocks_max: i64) -> i64:
        """Free at most so many blocks; returns the entries that are left."""
        for _ in range(min(blocks_max, len(self._blocks))):
            self.length -= self._blocks[0].count
            self._drop(0)
        return self.length

    def take_copy(self, other: StreamLog) -> None:
        """Become equal to other; this one is empty."""
        for block in other._blocks:
            twin = _Block(block.key, block.fields)
            twin.ids, twin.texts = block.ids.copy(), block.texts.copy()
            twin.gone, twin.used = block.gone.copy(), block.used
            self._blocks.append(twin)
            self._account(block.used + _BLOCK_BYTES)
        self.length = other.length
        self.first_id = other.first_id
        self.set_state(other.last_id, other.top_deleted, other.entries_added)

    # -- reading ------------------------------------------------------------------------------

    def _find(self, id: bytes) -> int:
        """The last block that begins at id or before it; -1 if there is none."""
        return bisect_right(self._blocks, id, key=lambda block: block.key) - 1

    def contains(self, id: bytes) -> bool:
        """True if there is an entry of this id that was not deleted."""
        return bool(self.slice(id, id, 1, False))

    def last_valid(self) -> bytes:
        """The id of the last entry that was not deleted; zero if there is none."""
        for id, _ in self.slice(ZERO_ID, MAX_ID, 1, True):
            return id
        return ZERO_ID

    def slice(
        self, start: bytes, end: bytes, count: i64, reverse: bool
    ) -> list[tuple[bytes, list[bytes]]]:
        """Ids and texts from start to end, both included, at most `count` (0: all)."""
        low = max(self._find(start), 0)
        blocks = self._blocks[low : self._find(end) + 1]
        if reverse:
            blocks.reverse()
        walk = (entry for block in blocks for entry in block.live(start, end, reverse))
        return list(islice(walk, count) if count else walk)

    def write_range(
        self,
        reply: ReplyWriter,
        start: bytes,
        end: bytes,
        count: i64,
        reverse: bool,
        framed: bool,
        ids: list[bytes] | None,
    ) -> i64:
        """Write the entries of slice(), each an id and an array of texts; returns how many.

        `framed` puts them into an array; their ids are appended to `ids`.
        """
        found = self.slice(start, end, count, reverse)
        if framed:
            reply.array(len(found))
        for id, texts in found:
            reply.array(2)
            reply.bulk(format_id(id))
            reply.array(len(texts))
            for text in texts:
                reply.bulk(text)
        if ids is not None:
            ids += [id for id, _ in found]
        return len(found)

    def listpacks(self) -> list[tuple[bytes, bytes]]:
        """Key and listpack of each block, byte for byte as Redis stores and saves them."""
        return [(block.key, block.listpack()) for block in self._blocks]

    def tree_nodes(self) -> i64:
        """How many nodes Redis' radix tree would have over the keys of the blocks."""
        keys = [block.key for block in self._blocks]
        if not keys:
            return 1
        # How many bytes each key shares with the one before. A node that branches is known by the
        # keys that agree before it, so by a shared length that no smaller one separates.
        shared = [_common(a, b) for a, b in zip(keys, keys[1:], strict=False)]
        nodes = len(keys)
        open_depths: list[int] = []
        for depth in shared:
            while open_depths and open_depths[-1] > depth:
                closed = open_depths.pop()
                above = max(open_depths[-1] if open_depths else -1, depth)
                nodes += 1 + (closed > above + 1)
            if not open_depths or open_depths[-1] < depth:
                open_depths.append(depth)
        while open_depths:
            closed = open_depths.pop()
            above = open_depths[-1] if open_depths else -1
            nodes += 1 + (closed > above + 1)
        # The rest of each key, below the last place where it branches, is one node.
        for before, after in zip([-1, *shared], [*shared, -1], strict=True):
            nodes += max(before, after) + 1 < 16
        return nodes

    def check(self) -> None:
        """Assert the invariants of the book-keeping."""
        ids = [id for block in self._blocks for id in block.ids]
        assert ids == sorted(set(ids)), "order"
        assert self.length == sum(block.count for block in self._blocks), "length"
        live = self.slice(ZERO_ID, MAX_ID, 0, False)
        assert self.length == len(live), "live entries"
        assert self.first_id == (live[0][0] if live else ZERO_ID), "first id"
        assert not ids or ids[-1] <= self.last_id, "last id"


def _common(a: bytes, b: bytes) -> int:
    """How many bytes two different keys share."""
    return next(i for i in range(16) if a[i] != b[i])

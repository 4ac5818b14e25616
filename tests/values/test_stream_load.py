"""Blocks of streams taken over from RDB: both twins, and what neither believes."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, make_id
from tests.support.blobs import block, id16, listpack
from tests.support.twins import both, load_compiled, load_pure

NAME = "isthmus.node.values.stream_load"
LOG = "isthmus.node.values.stream_log"


def twin(compiled: bool) -> Any:
    """The loader and a class of logs that belong together."""
    if compiled:
        loader, logs = load_compiled(NAME), load_compiled(LOG)
        assert loader is not None
        assert logs is not None
        return loader.load_block, logs.StreamLog
    loader, logs = load_pure(NAME), load_pure(LOG)
    loader.stream_log = logs
    return loader.load_block, logs.StreamLog


TWINS = [
    pytest.param(parameter.id == "compiled", id=parameter.id, marks=parameter.marks)
    for parameter in both(NAME)
]
KEY = id16(5, 1)
GOOD = block([b"f", b"g"], [(0, 0, [b"v", 7], 0), (0, 5, [-9, b"w" * 90], 1), (4, -1, [b"", 0], 0)])
OWN = listpack([2, 0, 1, b"f", 0, 0, 1, 0, 1, b"other", b"v", 6, 2, 2, 0, b"w", 4])


@pytest.mark.parametrize("compiled", TWINS)
def test_blocks_are_taken_over(compiled: bool) -> None:
    load_block, log_type = twin(compiled)
    log = log_type()
    load_block(log, KEY, GOOD)
    load_block(log, id16(10, 0), OWN)
    log.set_state(make_id(20, 0), ZERO_ID, 9)
    assert log.slice(ZERO_ID, MAX_ID, 0, False) == [
        (make_id(5, 1), [b"f", b"v", b"g", b"7"]),
        (make_id(9, 0), [b"f", b"", b"g", b"0"]),
        (make_id(11, 0), [b"other", b"v"]),
        (make_id(12, 0), [b"f", b"w"]),
    ]
    assert log.slice(ZERO_ID, MAX_ID, 1, True) == [(make_id(12, 0), [b"f", b"w"])]
    assert (len(log), log.first_id, log.last_id) == (4, make_id(5, 1), make_id(20, 0))
    assert log.listpacks() == [(KEY, GOOD), (id16(10, 0), OWN)]
    assert log.remove(make_id(9, 0))
    log.append([b"f", b"v", b"g", b"1"], 0, make_id(21, 0), 4096, 100)
    assert log.trim_length(2, True, 0) == 2
    assert log.first_id == make_id(12, 0)
    if compiled:
        log.check()


BROKEN = {
    "a short key": (b"key", GOOD),
    "no listpack": (KEY, b""),
    "no elements": (KEY, listpack([])),
    "no fields": (KEY, listpack([0, 0, 0, 0])),
    "no entries": (KEY, listpack([0, 0, 1, b"f", 0])),
    "no end of the head": (KEY, listpack([1, 0, 1, b"f", 1, 2, 0, 0, b"v", 4])),
    "a long zero": (KEY, listpack([1, 0, 1, b"f", 300, 2, 0, 0, b"v", 4])),
    "a negative count": (KEY, listpack([-1, 2, 1, b"f", 0, 2, 0, 0, b"v", 4])),
    "a negative number of fields": (KEY, listpack([1, 0, -1, b"f", 0, 2, 0, 0, b"v", 4])),
    "fields that end early": (KEY, listpack([1, 0, 2, b"f"])),
    "an entry that ends early": (KEY, listpack([1, 0, 1, b"f", 0, 2, 0, 0])),
    "an own field that ends early": (KEY, listpack([1, 0, 1, b"f", 0, 0, 0, 0, 1, b"g"])),
    "own fields without end": (KEY, listpack([1, 0, 1, b"f", 0, 0, 0, 0, 1 << 60, b"g", b"v", 6])),
    "no own fields": (KEY, listpack([1, 0, 1, b"f", 0, 0, 0, 0, 0, 4])),
    "something behind": (KEY, listpack([1, 0, 1, b"f", 0, 2, 0, 0, b"v", 4, 1])),
    "flags that are text": (KEY, listpack([1, 0, 1, b"f", 0, b"2", 0, 0, b"v", 4])),
    "large flags": (KEY, listpack([1, 0, 1, b"f", 0, 2050, 0, 0, b"v", 4])),
    "an id before the key": (KEY, listpack([1, 0, 1, b"f", 0, 2, 0, -1, b"v", 4])),
    "an id that wraps": (KEY, listpack([1, 0, 1, b"f", 0, 2, -6, 0, b"v", 4])),
}  # fmt: skip


@pytest.mark.parametrize("compiled", TWINS)
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused(compiled: bool, name: str) -> None:
    load_block, log_type = twin(compiled)
    log = log_type()
    if name == "an id that wraps":
        # 5 - 6 is a very large number, which no id may be that has an older key.
        load_block(log, *BROKEN[name])
        assert log.last_id[:8] == b"\xff" * 8
        return
    with pytest.raises(ValueError):
        load_block(log, *BROKEN[name])
    assert (len(log), log.block_count) == (0, 0)


@pytest.mark.parametrize("compiled", TWINS)
def test_ids_rise_from_block_to_block(compiled: bool) -> None:
    load_block, log_type = twin(compiled)
    log = log_type()
    load_block(log, ZERO_ID, block([b"f"], [(0, 0, [1], 1), (0, 1, [1], 0)]))
    for key in (ZERO_ID, id16(0, 1)):
        with pytest.raises(ValueError, match="does not rise"):
            load_block(log, key, block([b"f"], [(0, 0, [1], 0)]))
    load_block(log, id16(0, 2), block([b"f"], [(0, 0, [1], 0)]))
    assert len(log) == 2


@pytest.mark.parametrize("compiled", TWINS)
def test_every_byte_changed(compiled: bool) -> None:
    load_block, log_type = twin(compiled)
    for data in (GOOD, OWN):
        for at in range(len(data)):
            for change in (0x01, 0x02, 0x80, 0xFF):
                log = log_type()
                changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
                try:
                    load_block(log, KEY, changed)
                except ValueError:
                    continue
                if compiled:
                    log.check()
                forward = log.slice(ZERO_ID, MAX_ID, 0, False)
                assert log.slice(ZERO_ID, MAX_ID, 0, True) == forward[::-1]
                assert len(forward) == len(log)

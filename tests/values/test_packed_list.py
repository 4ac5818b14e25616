"""PackedList, both twins, against a plain Python list."""

from __future__ import annotations

import gc
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.engine import heap
from isthmus.wire.reply import ReplyWriter
from tests.support import twins

MODULE = "isthmus.node.values.packed_list"
TWINS = twins.both(MODULE)

# Around every change of layout: one-byte, two-byte and eight-byte lengths, numbers of every
# listpack width, and elements larger than a chunk.
ELEMENTS = st.one_of(
    st.sampled_from([b"", b"a", b"b", b"-", b"-0", b"00", b"x" * 64]),
    st.integers(-(2**65), 2**65).map(lambda n: b"%d" % n),
    st.sampled_from([253, 254, 255, 1000, 2714, 4067, 4068, 8000, 8136, 9000]).map(
        lambda n: b"%05d" % n + b"." * (n - 5)
    ),
)
BIG = b"huge" * 20_000


def replies(elements: list[bytes]) -> bytes:
    writer = ReplyWriter()
    for element in elements:
        writer.bulk(element)
    return writer.take()


def ranged(value: Any, start: int, count: int, reverse: bool = False) -> bytes:
    writer = ReplyWriter()
    value.write_range(writer, start, count, reverse)
    return writer.take()


def filled(module: ModuleType, elements: list[bytes]) -> Any:
    value = module.PackedList()
    for element in elements:
        value.push_tail(element)
    return value


def remove_equal(model: list[bytes], element: bytes, count: int) -> list[bytes]:
    """Redis' LREM, said plainly."""
    order = range(len(model)) if count >= 0 else range(len(model) - 1, -1, -1)
    doomed = [i for i in order if model[i] == element][: abs(count) or None]
    return [item for i, item in enumerate(model) if i not in doomed]


def step(value: Any, model: list[bytes], data: st.DataObject) -> list[bytes]:
    """One random operation on both; returns the new model."""
    draw = data.draw
    verb = draw(
        st.sampled_from(
            ["push", "push", "push", "pop", "set", "insert", "insert", "range", "equal", "trim"]
        )
    )
    element = draw(ELEMENTS)
    index = draw(st.integers(0, max(len(model) - 1, 0)))
    front = draw(st.booleans())
    if verb == "push":
        for _ in range(draw(st.sampled_from([1, 1, 7, 40]))):
            (value.push_head if front else value.push_tail)(element)
            model.insert(0 if front else len(model), element)
    elif verb == "pop":
        expected = (model.pop(0) if front else model.pop()) if model else None
        assert (value.pop_head() if front else value.pop_tail()) == expected
    elif verb == "insert":
        value.insert(index, element)
        model.insert(index, element)
    elif verb == "range":
        count = draw(st.integers(0, 30))
        value.remove_range(index, count)
        del model[index : index + count]
    elif verb == "trim":
        value.remove_range(0, index // 2)
        del model[: index // 2]
    elif verb == "equal":
        element = draw(st.sampled_from(model)) if model else element
        count = draw(st.integers(-3, 3))
        before = len(model)
        model = remove_equal(model, element, count)
        assert value.remove_equal(element, count) == before - len(model)
    elif model:
        value.set(index, element)
        model[index] = element
    return model


def compare_reads(value: Any, model: list[bytes], data: st.DataObject) -> None:
    length = len(model)
    start = data.draw(st.integers(0, max(length - 1, 0)))
    count = data.draw(st.integers(0, 50))
    assert ranged(value, start, count) == replies(model[start : start + count])
    back = model[start::-1][:count] if model else []
    assert ranged(value, start, count, True) == replies(back)
    assert value.slice(start, count, True) == back
    element = data.draw(st.sampled_from(model)) if model else b"a"
    if model:
        assert value.get(start) == model[start]
        assert value.find(element, start, -1) == next(
            (i for i in range(start, -1, -1) if model[i] == element), -1
        )
    assert value.find(element, start, 1) == next(
        (i for i in range(start, length) if model[i] == element), -1
    )
    most = data.draw(st.sampled_from([0, 1, 3, 100]))
    rank = data.draw(st.sampled_from([1, 2, -1, -3]))
    order = list(range(length) if rank > 0 else range(length - 1, -1, -1))[: most or None]
    expected = [i for i in order if model[i] == element][abs(rank) - 1 :][:2]
    assert value.find_all(element, rank, 2, most) == expected


@pytest.mark.slow
@pytest.mark.parametrize("module", TWINS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_like_a_list(module: ModuleType, data: st.DataObject) -> None:
    value, model = module.PackedList(), list[bytes]()
    for _ in range(data.draw(st.integers(1, 40))):
        if data.draw(st.integers(0, 3)) == 0:
            value.listpack_bytes()
        model = step(value, model, data)
        value.check()
        assert len(value) == len(model)
        assert list(value) == model
    compare_reads(value, model, data)
    twin = value.copy()
    twin.check()
    value.push_head(b"only here")
    assert list(twin) == model


@pytest.mark.parametrize("module", TWINS)
def test_as_a_queue_it_slides_and_stays_small(module: ModuleType) -> None:
    value = filled(module, [b"%064d" % i for i in range(20)])
    for i in range(20, 3000):
        value.push_tail(b"%064d" % i)
        assert value.pop_head() == b"%064d" % (i - 20)
    value.check()
    assert value.nbytes < 8192


@pytest.mark.parametrize("module", TWINS)
def test_inserting_at_one_place_keeps_chunks_filled(module: ModuleType) -> None:
    value = filled(module, [b"left", b"right"])
    for i in range(2000):
        value.insert(1, b"%060d" % i)
    value.check()
    assert value.slice(0, 2) == [b"left", b"%060d" % 1999]
    assert value.nbytes < 2 * 2000 * 64


@pytest.mark.parametrize("module", TWINS)
def test_elements_larger_than_a_chunk(module: ModuleType) -> None:
    value = filled(module, [b"a", BIG, b"b"])
    value.insert(1, BIG)
    value.insert(3, b"between")
    value.set(0, BIG)
    value.check()
    assert list(value) == [BIG, BIG, BIG, b"between", b"b"]
    value.set(1, b"small")
    assert value.remove_equal(BIG, 0) == 2
    value.check()
    assert list(value) == [b"small", b"between", b"b"]
    assert value.nbytes < len(BIG)


@pytest.mark.parametrize("module", TWINS)
def test_a_list_that_becomes_short_gives_its_room_back(module: ModuleType) -> None:
    value = filled(module, [b"%016d" % i for i in range(5000)])
    value.remove_range(3, 4995)
    value.check()
    assert list(value) == [b"%016d" % i for i in (0, 1, 2, 4998, 4999)]
    assert value.nbytes < 512


@pytest.mark.parametrize("module", TWINS)
def test_freed_in_slices(module: ModuleType) -> None:
    value = filled(module, [b"%016d" % i for i in range(2000)])
    left = [value.clear_slice(1) for _ in range(20)]
    assert left[0] > 0
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0 == len(value)
    value.push_tail(b"again")
    value.check()


@pytest.mark.parametrize("module", TWINS)
def test_iteration_survives_changes(module: ModuleType) -> None:
    value = filled(module, [b"%d" % i for i in range(3000)])
    walk = value.iter_from(10)
    assert next(walk) == b"10"
    value.clear_slice(100)
    assert b"11" in list(walk)


@pytest.mark.parametrize("module", TWINS)
def test_the_size_of_a_listpack(module: ModuleType) -> None:
    # 7 bytes of frame; each pair is an element and what `lpAppend` spends on it.
    sizes = [
        (b"", 2), (b"0", 2), (b"127", 2), (b"128", 3), (b"-1", 3), (b"4095", 3), (b"-4096", 3),
        (b"4096", 4), (b"32768", 5), (b"-8388609", 6), (b"2147483648", 10), (b"01", 4),
        (b"9223372036854775808", 21), (b"-9223372036854775808", 10), (b"x" * 63, 65),
        (b"x" * 64, 67), (b"x" * 125, 128), (b"x" * 126, 130), (b"x" * 4096, 4103),
    ]  # fmt: skip
    for element, size in sizes:
        value = filled(module, [element])
        assert value.listpack_bytes() == 7 + size, element
        value.forget_listpack_bytes()
        assert value.listpack_bytes() == 7 + size
        value.pop_head()
        assert value.listpack_bytes() == 7


@pytest.mark.parametrize("module", TWINS)
def test_indexes_outside_are_refused(module: ModuleType) -> None:
    value = filled(module, [b"a"])
    for i in (-1, 1):
        with pytest.raises(IndexError):
            value.get(i)
        with pytest.raises(IndexError):
            value.set(i, b"x")
    for i in (-1, 2):
        with pytest.raises(IndexError):
            value.insert(i, b"x")
    assert ranged(value, 1, 5) == b"" == ranged(value, -1, 5)
    assert value.find(b"a", 1, 1) == -1
    assert list(value) == [b"a"]


@pytest.mark.parametrize("module", TWINS)
def test_the_heap_knows_of_every_byte(module: ModuleType) -> None:
    gc.collect()
    before = heap.used()
    texts = [b"x" * (n % 300) for n in range(900)]
    value = filled(module, [b"%d" % n for n in range(3000)] + texts)
    changes: list[tuple[str, tuple[Any, ...]]] = [
        ("insert", (700, b"new")), ("set", (3, b"longer" * 9)), ("set", (4, BIG)),
        ("remove_range", (10, 500)), ("remove_equal", (b"", 0)),
    ]  # fmt: skip
    changes += [("pop_head", ())] * 900 + [("push_head", (b"y" * 40,))] * 900
    for name, arguments in changes:
        getattr(value, name)(*arguments)
        assert heap.used() - before == value.nbytes, name
    other = value.copy()
    assert heap.used() - before == value.nbytes + other.nbytes
    while other.clear_slice(3):
        pass
    assert heap.used() - before == value.nbytes + other.nbytes
    del other, value
    gc.collect()
    assert heap.used() == before

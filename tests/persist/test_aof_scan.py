"""Reading AOF files: torn, damaged, sealed or not; and what is done about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.node.engine.effect_log import Effect
from isthmus.node.engine.rng import Rng
from isthmus.node.persist.aof_format import NO_DB, Seal, encode_batch, timestamp
from isthmus.node.persist.aof_scan import (
    CLEAN,
    CORRUPT,
    TORN_TAIL,
    AofRefused,
    AofScanner,
    End,
    judge,
)
from isthmus.wire.resp import pack_all

MULTI, EXEC = [b"MULTI"], [b"EXEC"]


def scan(data: bytes, start: int = 0) -> tuple[list[list[bytes]], End]:
    scanner = AofScanner(data, start)
    found = [argv for _, argv in scanner]
    assert scanner.end is not None
    return found, scanner.end


def whole(commands: list[list[bytes]]) -> list[list[bytes]]:
    """Without a transaction that has no end."""
    kept: list[list[bytes]] = []
    group: list[list[bytes]] | None = None
    for argv in commands:
        if argv == MULTI:
            group = [argv]
        elif group is not None:
            group.append(argv)
            if argv == EXEC:
                kept += group
                group = None
        else:
            kept.append(argv)
    return kept


WORDS = st.binary(max_size=12).filter(lambda word: word.upper() not in (b"MULTI", b"EXEC", b""))
EFFECTS = st.builds(
    lambda db, argv: Effect(db, argv, b"", b"", 0),
    st.integers(0, 3),
    st.lists(WORDS, min_size=1, max_size=4),
)
BATCHES = st.lists(st.lists(EFFECTS, min_size=1, max_size=3), max_size=6)


def written(batches: list[list[Effect]], sealed: bool) -> tuple[bytes, list[int]]:
    """A file, and the offsets at which a batch (and its seal) ends."""
    data, db, seal = b"", NO_DB, Seal()
    ends = [0]
    for batch in batches:
        more, db = encode_batch(batch, db)
        seal.add(more)
        data += more + (seal.line() if sealed else b"")
        ends.append(len(data))
    return data, ends


@pytest.mark.parametrize("sealed", [True, False])
@given(batches=BATCHES)
def test_round_trip(sealed: bool, batches: list[list[Effect]]) -> None:
    data, _ = written(batches, sealed)
    found, end = scan(data)
    assert (end.kind, end.at, end.valid, end.excess) == (CLEAN, len(data), len(data), 0)
    db, seen = 0, []
    for argv in found:
        if argv[0] == b"SELECT":
            db = int(argv[1])
        elif argv not in (MULTI, EXEC):
            seen.append((db, argv))
    assert seen == [(effect.db, effect.argv) for batch in batches for effect in batch]
    assert (end.seal.size, end.seal.crc) == (len(data), Seal(0).crc if not data else end.seal.crc)


def check_cut(data: bytes, cut: int) -> None:
    """What remains is exactly the longest beginning of whole commands and transactions."""
    found, end = scan(data[:cut])
    assert end.kind in (CLEAN, TORN_TAIL)
    assert end.valid <= cut and (end.kind == CLEAN) == (end.valid == cut)
    kept, again = scan(data[: end.valid])
    assert again.kind == CLEAN
    assert kept == whole(found)


@pytest.mark.parametrize("sealed", [True, False])
@given(batches=BATCHES, data=st.data())
def test_cut_anywhere(sealed: bool, batches: list[list[Effect]], data: st.DataObject) -> None:
    text, _ = written(batches, sealed)
    check_cut(text, data.draw(st.integers(0, len(text))))


@pytest.mark.parametrize("sealed", [True, False])
def test_cut_at_every_byte_of_the_last_three(sealed: bool) -> None:
    batches = [
        [Effect(at % 2, [b"SET", b"k%d" % at, b"v" * 9], b"", b"", 0)] * (1 + at % 2)
        for at in range(6)
    ]
    data, ends = written(batches, sealed)
    for cut in range(ends[-4], len(data) + 1):
        check_cut(data, cut)
        _, end = scan(data[:cut])
        assert end.valid >= max(offset for offset in ends if offset <= cut)


@pytest.mark.slow
def test_a_thousand_flipped_bits() -> None:
    """In a file with seals a flipped bit is found, or changes no command."""
    batches = [
        [Effect(at % 3, [b"SET", b"key:%d" % at, b"v" * at], b"", b"", 0)] * (1 + at % 2)
        for at in range(40)
    ]
    data, ends = written(batches, sealed=True)
    right, _ = scan(data)
    rng = Rng(4)
    for _ in range(1000):
        at, bit = rng.below(len(data)), rng.below(8)
        broken = bytearray(data)
        broken[at] ^= 1 << bit
        found, end = scan(bytes(broken))
        if end.kind == CLEAN:
            # The last seal is no seal any more, or a word of MULTI is in lower case.
            assert at >= ends[-2] and [*map(tuple, found)] == [*map(tuple, right)]
            continue
        assert end.valid <= max(offset for offset in ends if offset <= at) or end.kind == TORN_TAIL
        kept, _ = scan(bytes(broken[: end.valid]))
        assert kept == right[: len(kept)], (at, bit)
        if at < ends[-2]:
            assert end.kind == CORRUPT
            assert end.valid in ends


def test_a_bit_flipped_without_seals_is_seen_only_in_the_form() -> None:
    data = pack_all([[b"SET", b"a", b"1"], [b"SET", b"b", b"2"]])
    assert scan(data.replace(b"$1\r\nb", b"$1\r\nc"))[1].kind == CLEAN
    _, end = scan(data.replace(b"*3\r\n", b"*2\r\n", 1))
    assert (end.kind, end.at) == (CORRUPT, data.index(b"$1\r\n1"))


@pytest.mark.parametrize(
    "change",
    ["lost block", "lost line", "doubled", "swapped", "zeros", "seal of another place"],
)
def test_what_a_chained_seal_finds(change: str) -> None:
    batches = [[Effect(0, [b"INCR", b"k%d" % at], b"", b"", 0)] for at in range(5)]
    data, ends = written(batches, sealed=True)
    blocks = [data[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    broken = {
        "lost block": blocks[0] + b"".join(blocks[2:]),
        "lost line": data.replace(pack_all([[b"INCR", b"k1"]]), b""),
        "doubled": blocks[0] + blocks[0] + b"".join(blocks[1:]),
        "swapped": blocks[0] + blocks[2] + blocks[1] + b"".join(blocks[3:]),
        "zeros": data[: ends[1] + 10] + bytes(16) + data[ends[1] + 26 :],
        "seal of another place": blocks[0] + pack_all([[b"PING"]]) + blocks[0][-30:],
    }[change]
    _, end = scan(broken)
    assert (end.kind, end.valid) == (CORRUPT, ends[1])


def test_a_length_that_swallows_the_rest_is_no_torn_tail() -> None:
    batches = [[Effect(0, [b"SET", b"key", b"v%09d" % at], b"", b"", 0)] for at in range(9)]
    data, ends = written(batches, sealed=True)
    broken = data.replace(b"$10\r\nv000000008", b"$90\r\nv000000008")
    _, end = scan(broken)
    assert end.kind == CORRUPT and "runs to the end of the file" in end.reason
    assert end.valid == ends[8]
    # Without seals nothing tells the two apart but the number of bytes.
    data, ends = written(batches, sealed=False)
    _, end = scan(data.replace(b"$10\r\nv000000008", b"$90\r\nv000000008"))
    assert (end.kind, end.valid) == (TORN_TAIL, ends[8])


def test_the_first_block_is_not_vouched_for_if_its_seal_disagrees() -> None:
    data, _ = written([[Effect(0, [b"SET", b"a", b"1"], b"", b"", 0)]], sealed=True)
    for broken in (data.replace(b"\n1\r", b"\n2\r"), data.replace(b"*3", b"*2")):
        _, end = scan(broken)
        assert (end.kind, end.valid) == (CORRUPT, 0)
        assert (end.seal.crc, end.seal.size) == (0, 0)


def test_transactions() -> None:
    one = pack_all([[b"SET", b"a", b"1"]])
    group = pack_all([MULTI, [b"SET", b"b", b"2"], [b"multi"[:4]], EXEC])
    assert scan(one + group)[1].kind == CLEAN
    for cut in range(1, len(group)):
        _, end = scan(one + group[:cut])
        assert (end.kind, end.valid) == (TORN_TAIL, len(one))
    _, end = scan(one + pack_all([[b"multi"], [b"Exec"], EXEC]))
    assert (end.kind, end.reason, end.valid) == (CORRUPT, "EXEC without MULTI", end.at)
    _, end = scan(one + pack_all([MULTI, [b"a"], MULTI]))
    assert (end.kind, end.reason, end.valid) == (CORRUPT, "MULTI inside MULTI", len(one))


def test_annotations_of_others_and_times() -> None:
    data = timestamp(5) + b"#anything\n" + pack_all([[b"PING"]]) + timestamp(7)
    scanner = AofScanner(b"REDIS" + data, 5)
    assert list(scanner) == [(5 + len(timestamp(5)) + 10, [b"PING"])]
    assert scanner.end is not None and scanner.end.kind == CLEAN
    times = scanner.timestamps
    assert (times.first, times.last, times.count) == (5, 7, 2)
    for until_s, later_at in ((4, 0), (5, len(data) - 7), (6, len(data) - 7), (7, None)):
        scanner = AofScanner(data, 0, until_s)
        list(scanner)
        assert scanner.later_at == later_at
    for line in (b"#TS:\r\n", b"#TS:1x\r\n", b"#CRC:12:3\r\n", b"#CRC:\r\n"):
        assert scan(data + line)[1].reason == "an annotation that cannot be read"


def test_going_on_with_a_file() -> None:
    """The sum at the end of a scan is what a writer goes on with; others may have written too."""
    data, _ = written([[Effect(0, [b"SET", b"a", b"1"], b"", b"", 0)]], sealed=True)
    data += pack_all([[b"SET", b"theirs", b"2"]])
    torn = data + b"*1\r\n$4\r\nPI"
    _, end = scan(torn)
    assert end.kind == TORN_TAIL and end.valid == len(data)
    seal = end.seal
    more = pack_all([[b"SET", b"ours", b"3"]])
    seal.add(more)
    assert scan(torn[: end.valid] + more + seal.line())[1].kind == CLEAN


def end_of(kind: str, excess: int = 10) -> End:
    return End(kind, 100, 90, 90 + excess, "the reason", Seal())


def test_the_policy() -> None:
    usual = {"last": True, "load_truncated": True, "cut_bytes_max": 10}
    verdict = judge(end_of(CLEAN), "x.aof", **usual)
    assert (verdict.cut, verdict.text) == (0, "")
    verdict = judge(end_of(TORN_TAIL), "x.aof", **usual)
    assert (verdict.keep, verdict.cut) == (90, 10)
    assert "x.aof was cut from 100 to 90 bytes" in verdict.text and "the reason" in verdict.text
    for end, change, text in (
        (end_of(TORN_TAIL, 11), {}, "more than the 10"),
        (end_of(TORN_TAIL), {"last": False}, "not the last file"),
        (end_of(TORN_TAIL), {"load_truncated": False}, "aof-load-truncated is no"),
        (end_of(CORRUPT), {}, "Bad file format"),
    ):
        with pytest.raises(AofRefused, match=text) as caught:
            judge(end, "x.aof", **{**usual, **change})
        assert "isthmus check aof --fix x.aof" in str(caught.value)
        assert "offset 100: the reason" in str(caught.value)

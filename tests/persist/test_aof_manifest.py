"""Manifests: read by Redis' rules, written in its words, changed step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.node.persist import aof_manifest as am
from isthmus.node.persist.aof_manifest import AofFile, Manifest, ManifestError
from isthmus.wire import crc64

NAME = "appendonly.aof"
TEXT = b"""file appendonly.aof.2.base.rdb seq 2 type b
file appendonly.aof.1.base.rdb seq 1 type h
file appendonly.aof.4.incr.aof seq 4 type i
file appendonly.aof.5.incr.aof seq 5 type i
"""


def test_reads_and_writes_what_redis_writes() -> None:
    found = am.parse(TEXT)
    assert found.base == AofFile("appendonly.aof.2.base.rdb", 2, "b")
    assert [file.seq for file in found.incrs] == [4, 5]
    assert [file.seq for file in found.history] == [1]
    assert (found.base_seq, found.incr_seq) == (2, 5)
    assert found.last() == AofFile("appendonly.aof.5.incr.aof", 5, "i")
    assert am.render(found) == TEXT
    assert [file.seq for file in found.to_load()] == [2, 4, 5]


def test_leniency() -> None:
    text = (
        b'# a comment\n  TYPE i  Seq 7x FILE "a b\\x41" startoffset 12 endoffset 15\r\n#\n'
        b"file b type hello seq 3\n"
    )
    found = am.parse(text)
    extra = (("startoffset", "12"), ("endoffset", "15"))
    assert found.incrs == (AofFile("a bA", 7, "i", extra),)
    assert found.history == (AofFile("b", 3, "h"),)
    assert am.render(found) == (
        b'file b seq 3 type h\nfile "a bA" seq 7 type i startoffset 12 endoffset 15\n'
    )
    # Of a word that comes twice the last counts.
    assert am.parse(b"file x seq 1 type i file y\n").incrs[0].name == "y"
    assert am.parse(b"# " + b"x" * 1022 + b"# goes on\nfile x seq 1 type b\n").base is not None


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"", 0, "Found an empty AOF manifest"),
        (b"\n", 1, "Invalid AOF manifest file format"),
        (b"file a seq 1 type b", 1, "too long line"),
        (b"# ok\nfile a seq 1 type b " + b"x" * 1010 + b"\n", 2, "too long line"),
        (b"file a\0 seq 1 type b\n", 1, "too long line"),
        (b"# " + b"x" * 1022 + b"goes on\n", 2, "Invalid"),
        (b"file a seq 1\n", 1, "Invalid"),
        (b"file a seq 1 type b more\n", 1, "Invalid"),
        (b'file "a seq 1 type b\n', 1, "Invalid"),
        (b"file a seq 0 type b\n", 1, "Invalid"),
        (b"file a seq x type b\n", 1, "Invalid"),
        (b'file "" seq 1 type b\n', 1, "Invalid"),
        (b"file a seq 1 type x\n", 1, "Unknown AOF file type"),
        (b"file a/b seq 1 type b\n", 1, "can't be a path"),
        (b'file "a\\\\b" seq 1 type b\n', 1, "can't be a path"),
        (b"file a seq 1 type b\nfile b seq 2 type b\n", 2, "duplicate base"),
        (b"file a seq 2 type i\nfile b seq 2 type i\n", 2, "non-monotonic"),
        (b"file a seq 2 type i\n\nfile b seq 3 type i\n", 2, "Invalid"),
        (b"file a seq -1 type i\n", 1, "non-monotonic"),
    ],
)
def test_refusals(text: bytes, line: int, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason) as caught:
        am.parse(text)
    assert caught.value.line == line


def test_size_is_bounded() -> None:
    with pytest.raises(ManifestError, match="longer than"):
        am.parse(b"#\n" * am.MANIFEST_BYTES_MAX)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=20
) | st.binary(min_size=1, max_size=9).map(
    lambda raw: raw.translate(None, b"/\\\0").decode("utf-8", "surrogateescape") or "x"
)


@given(name=NAMES, seqs=st.lists(st.integers(1, 1 << 62), unique=True, max_size=5))
def test_round_trip(name: str, seqs: list[int]) -> None:
    am.check_name(name)
    incrs = tuple(AofFile(am.incr_name(name, seq), seq, "i") for seq in sorted(seqs))
    made = Manifest(AofFile(name, 3, "b"), incrs, (AofFile(name + "'\"", 1, "h"),), 3)
    found = am.parse(am.render(made))
    assert (found.base, found.incrs, found.history) == (made.base, made.incrs, made.history)


@given(text=st.binary(max_size=200))
def test_any_text_is_read_or_refused(text: bytes) -> None:
    try:
        found = am.parse(text + b"\n")
    except ManifestError:
        return
    assert am.parse(am.render(found) or b"#\n") == found


def test_a_rewrite() -> None:
    start = am.first(NAME)
    assert am.render(start) == (
        b"file appendonly.aof.1.base.rdb seq 1 type b\n"
        b"file appendonly.aof.1.incr.aof seq 1 type i\n"
    )
    begun = am.begin_rewrite(start, NAME)
    assert [file.name for file in begun.incrs] == [
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.2.incr.aof",
    ]
    # It failed, and is tried again.
    again = am.begin_rewrite(begun, NAME)
    base = am.next_base(again, NAME, rdb=False)
    done = am.finish_rewrite(again, base, again.incr_seq)
    assert am.render(done) == (
        b"file appendonly.aof.2.base.aof seq 2 type b\n"
        b"file appendonly.aof.1.base.rdb seq 1 type h\n"
        b"file appendonly.aof.1.incr.aof seq 1 type h\n"
        b"file appendonly.aof.2.incr.aof seq 2 type h\n"
        b"file appendonly.aof.3.incr.aof seq 3 type i\n"
    )
    clean, names = am.forget_history(done)
    assert names == (
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.2.incr.aof",
    )
    assert [file.seq for file in clean.to_load()] == [2, 3]
    assert am.parse(am.render(clean)) == clean


def test_a_rewrite_makes_no_base_twice() -> None:
    start = am.first(NAME)
    assert start.base is not None
    with pytest.raises(ValueError, match="not the next base"):
        am.finish_rewrite(start, start.base, 1)


def test_no_file_is_listed_twice() -> None:
    """Numbers begin anew where there is no incremental file; names do not meet all the same."""
    found = am.parse(
        b"file appendonly.aof.1.base.rdb seq 1 type h\n"
        b"file appendonly.aof.1.incr.aof seq 1 type h\n"
    )
    more = am.next_incr(found, NAME)
    assert more.incrs[0].name == "appendonly.aof.2.incr.aof"
    assert am.next_base(found, NAME, rdb=True).name == "appendonly.aof.2.base.rdb"


def test_history_never_deletes_what_is_needed() -> None:
    found = am.parse(b"file x seq 1 type b\nfile x seq 1 type h\nfile y seq 1 type h\n")
    assert am.forget_history(found)[1] == ("y",)


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "a\0", "x" * 1000])
def test_names_that_a_manifest_cannot_hold(name: str) -> None:
    with pytest.raises(ManifestError):
        am.check_name(name)


def test_upgrade_from_one_file() -> None:
    made = am.upgraded(NAME)
    assert am.render(made) == b"file appendonly.aof seq 1 type b\n"
    # No folder or no manifest; the move was not done; it was; there is more than that.
    assert am.should_upgrade(None, NAME, old_file=True, moved_file=False)
    assert am.should_upgrade(Manifest(), NAME, old_file=True, moved_file=False)
    assert am.should_upgrade(made, NAME, old_file=True, moved_file=False)
    assert not am.should_upgrade(made, NAME, old_file=True, moved_file=True)
    assert not am.should_upgrade(made, NAME, old_file=False, moved_file=False)
    assert not am.should_upgrade(am.next_incr(made, NAME), NAME, old_file=True, moved_file=False)
    assert not am.should_upgrade(am.first(NAME), NAME, old_file=True, moved_file=False)
    assert am.next_incr(made, NAME).incrs[0].name == "appendonly.aof.1.incr.aof"


def test_names_of_parts() -> None:
    assert am.manifest_name(NAME) == "appendonly.aof.manifest"
    for name in ("appendonly.aof.12.incr.aof", "temp-appendonly.aof.1.base.rdb"):
        assert am.is_part_name(NAME, name)
    for name in ("appendonly.aof", "appendonly.aof.manifest", "appendonly.aof.1.base.txt", "x"):
        assert not am.is_part_name(NAME, name)


def test_a_checksum_that_does_not_agree() -> None:
    text = am.render(am.first("a"))
    tail = b"#CRC:%016x\n" % crc64.crc64(text)
    for good in (am.sealed(text), text + tail, text):
        assert am.parse(good) == am.first("a")
    # Tools take the last line for the file that is appended to.
    assert am.sealed(text).splitlines()[-1] == b"file a.1.incr.aof seq 1 type i"
    seen = am.sealed(text)
    for bad in (seen[:-1], seen.replace(b"type i", b"type h"), b"#\n" + text + tail):
        with pytest.raises(ManifestError):
            am.parse(bad)

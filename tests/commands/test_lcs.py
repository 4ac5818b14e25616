"""LCS: its limit is that of Redis, and the length alone needs no table."""

from __future__ import annotations

import pytest

from tests.support.store import Store

TOO_LONG = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"


def test_the_table_may_take_what_a_string_may() -> None:
    store = Store(proto_max_bulk_len="1048576")
    # 512 rows and columns of four bytes are exactly that much.
    store("MSET", "fits", "a" * 511, "over", "a" * 512)
    assert store("LCS", "fits", "fits", "LEN") == 511
    for options in ((), ("LEN",), ("IDX",)):
        assert store.error("LCS", "fits", "over", *options) == TOO_LONG
    assert store("LCS", "over", "none") == b""


@pytest.mark.parametrize("size", [64 << 10, 16 << 20])
def test_long_strings_are_refused_at_once(store: Store, size: int) -> None:
    store("MSET", "a", b"x" * size, "b", b"y" * size)
    assert store.error("LCS", "a", "b") == TOO_LONG

"""Glob patterns against a real server: KEYS over many short keys, pattern by pattern."""

from __future__ import annotations

import random
from itertools import product

import pytest
import redis

from isthmus.node.engine.patterns import glob_match
from tests.support.servers import Server

ALPHABET = (b"a", b"b", b"]", b"-", b"^", b"\\", b"[", b"\xff")
ELEMENTS = (*ALPHABET, b"*", b"*", b"?", b"[", b"[^", b"a-b", b"\x80-b", b"]")


@pytest.mark.oracle
@pytest.mark.slow
def test_keys_agrees(redis_server: Server) -> None:
    texts = [b"".join(letters) for n in (1, 2, 3) for letters in product(ALPHABET, repeat=n)]
    chance = random.Random(7)
    with redis.Redis(redis_server.host, redis_server.port) as server:
        server.flushall()
        server.mset(dict.fromkeys(texts, b""))
        for _ in range(150):
            pattern = b"".join(chance.choices(ELEMENTS, k=chance.randint(1, 6)))
            if pattern == b"*":
                continue
            ours = {text for text in texts if glob_match(pattern, text)}
            assert ours == set(server.keys(pattern)), pattern
        server.flushall()

"""The map from a key to its hash slot, as every Redis Cluster client computes it.

A slot is CRC-16/XMODEM (polynomial 0x1021, start value 0) of the key, modulo 16384. If the key
holds a `{` with a `}` after it and at least one byte between the two, only the bytes between
the *first* `{` and the first `}` after it are hashed (the hash tag), so that related keys can
be kept together. `{}x` has an empty tag and is therefore hashed whole.

Clients, proxies and nodes of other makers compute the same number, so this rule can never
change. This is the Python twin of `slots.pyx`; the standard library's `crc_hqx` is this CRC.
"""

from __future__ import annotations

from binascii import crc_hqx

from isthmus.wire.scalars import i64

__all__ = ["SLOTS", "key_slot"]

SLOTS = 16384


def key_slot(key: bytes) -> i64:
    """Return the slot of `key`, 0 to 16383."""
    start = key.find(b"{")
    if start >= 0:
        stop = key.find(b"}", start + 1)
        if stop > start + 1:
            key = key[start + 1 : stop]
    return crc_hqx(key, 0) & (SLOTS - 1)

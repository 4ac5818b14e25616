"""The digest of a data set: 40 hexadecimal digits, equal for equal data whatever the order it came.

It is Redis' own (DEBUG DIGEST), so a node can be compared with a real server, or two nodes with
each other, without moving the data. Two ways to put bytes into a 20-byte digest:

    xor(d, bytes)   d ^= SHA1(bytes)                order does not matter
    mix(d, bytes)   d = SHA1(d ^ SHA1(bytes))       order matters

A value: mix its type number (4 bytes, big-endian); then strings, lists and streams mix their parts
in order; sets xor their members; hashes and sorted sets xor a digest of each pair; the last step
xors a mark if the key expires. A data set: for each database that is not empty mix its number, then
xor the digests of its keys.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from isthmus.node.engine.keyspace import Database, Keyspace
from isthmus.node.values.hashes import HashValue
from isthmus.node.values.lists import ListValue
from isthmus.node.values.sets import SetValue
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id
from isthmus.node.values.streams import StreamValue
from isthmus.node.values.zsets import ZSetValue
from isthmus.wire.scalars import format_float

EMPTY = 0
TYPE_NUMBERS: dict[Any, int] = {
    bytes: 0, bytearray: 0, ListValue: 1, SetValue: 2, ZSetValue: 3, HashValue: 4, StreamValue: 6,
}  # fmt: skip
EXPIRES = b"!!expire!!"
FIELD_EXPIRES = b"!!hexpire!!"


def hashed(data: bytes) -> int:
    """SHA1 of data as a number."""
    return int.from_bytes(sha1(data).digest(), "big")


def mixed(digest: int, data: bytes) -> int:
    """The digest after data, if order matters."""
    return hashed((digest ^ hashed(data)).to_bytes(20, "big"))


def of_value(db: Database, key: bytes, value: Any, digest: int) -> int:
    """`digest` after the value at key, its type and whether it expires."""
    digest = mixed(digest, TYPE_NUMBERS[type(value)].to_bytes(4, "big"))
    if isinstance(value, (bytes, bytearray)):
        digest = mixed(digest, bytes(value))
    elif isinstance(value, ListValue):
        for element in value.plain():
            digest = mixed(digest, element)
    elif isinstance(value, SetValue):
        for member in value.plain():
            digest ^= hashed(member)
    elif isinstance(value, ZSetValue):
        for member, score in value.plain().items():
            pair = mixed(mixed(EMPTY, member), format_float(score))
            digest ^= hashed(pair.to_bytes(20, "big"))
    elif isinstance(value, HashValue):
        digest ^= of_fields(value)
    else:
        digest = of_stream(value, digest)
    return digest ^ hashed(EXPIRES) if db.expiry(key) >= 0 else digest


def of_fields(value: HashValue) -> int:
    """The digests of a hash's fields together."""
    digest = EMPTY
    expiring = value.expiries() if value.volatile_count else {}
    for field, content in value.items():
        pair = mixed(mixed(EMPTY, field), content)
        if field in expiring:
            pair ^= hashed(FIELD_EXPIRES)
        digest ^= hashed(pair.to_bytes(20, "big"))
    return digest


def of_stream(value: StreamValue, digest: int) -> int:
    """`digest` after the entries of a stream."""
    for entry_id, fields in value.slice(ZERO_ID, MAX_ID, 0, False):
        digest = mixed(digest, format_id(entry_id).replace(b"-", b"."))
        for text in fields:
            digest = mixed(digest, text)
    return digest


def of_key(db: Database, key: bytes) -> int:
    """The digest of the value at key; 0 if there is none."""
    value = db.peek(key) if db.exists(key) else None
    return EMPTY if value is None else of_value(db, key, value, EMPTY)


def of_keyspace(keyspace: Keyspace) -> int:
    """The digest of all databases."""
    digest = EMPTY
    for db in keyspace.databases:
        if not db.size:
            continue
        digest = mixed(digest, db.index.to_bytes(4, "big"))
        for table in db.slots:
            for key, value in table.items() if table is not None else ():
                pair = of_value(db, key, value, mixed(EMPTY, key))
                digest ^= hashed(pair.to_bytes(20, "big"))
    return digest


def spelt(digest: int) -> bytes:
    """A digest as clients see it."""
    return b"%040x" % digest

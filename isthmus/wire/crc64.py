"""CRC-64 of the Jones polynomial, which Redis puts behind RDB files and DUMP payloads.

The library anycrc does the arithmetic, at several gigabytes a second; `extend` goes on where an
earlier sum ended. The sum of nothing is 0, and that of b"123456789" is 0xe9c6d914c4b8d9ca.
"""

from __future__ import annotations

import mmap

import anycrc

Buffer = bytes | bytearray | memoryview | mmap.mmap

_MODEL = anycrc.Model("CRC64-REDIS")


def crc64(data: Buffer) -> int:
    """The sum of data."""
    return int(_MODEL.calc(data))


def extend(crc: int, data: Buffer) -> int:
    """The sum of what gave `crc`, and data behind it."""
    return int(_MODEL.calc(data, crc))

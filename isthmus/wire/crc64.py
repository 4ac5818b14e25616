"""CRC-64 as Redis uses it (Jones' polynomial, reflected, no final inversion) for RDB and DUMP."""

from __future__ import annotations

from typing import Any

import anycrc

_MODEL = anycrc.Model("CRC64-REDIS")


def crc64(data: Any) -> int:
    """The checksum of data."""
    return extend(0, data)


def extend(crc: int, data: Any) -> int:
    """The checksum of what `crc` is that of, followed by data."""
    result: int = _MODEL.calc(data, crc)
    return result

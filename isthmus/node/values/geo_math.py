"""Places on the globe as scores, and the distances between them (Tier C twin).

A place is kept in a sorted set as a number of 52 bits: latitude and longitude are each cut into
2**26 parts, of which the bits alternate, longitude first. Latitudes end at +-85.05112878, as on web
maps. What is read back is the middle of the part, in exactly Redis' arithmetic, because clients see
all its digits. Distances are by the haversine formula on a sphere of Redis' radius, in metres.

A score can be any double; one that is no place decodes to whatever its low 64 bits say, cut to the
edge of the map.
"""

from __future__ import annotations

import math

from isthmus.wire.scalars import i64

LONGITUDE_MAX = 180.0
LATITUDE_MAX = 85.05112878
STEPS = 26
EARTH_RADIUS = 6372797.560856

_PARTS = float(1 << STEPS)
_RADIANS = math.pi / 180.0
_WORD = 1 << 64
_SIGN = 1 << 63

# What a search finds: distance in metres, member, score, longitude, latitude.
Found = tuple[float, bytes, float, float, float]


def spread(number: int) -> int:
    """The 32 bits of number at the even places of a 64-bit word."""
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333), (1, 0x5555555555555555),
    ):  # fmt: skip
        number = (number | number << shift) & mask
    return number


def gather(word: int) -> int:
    """The bits at the even places of a 64-bit word, as 32 bits."""
    word &= 0x5555555555555555
    for shift, mask in (
        (1, 0x3333333333333333), (2, 0x0F0F0F0F0F0F0F0F), (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF), (16, 0x00000000FFFFFFFF),
    ):  # fmt: skip
        word = (word | word >> shift) & mask
    return word


def encode(longitude: float, latitude: float, latitude_max: float, steps: i64) -> i64:
    """The bits of a place: 2 * steps of them, or one more at the far edges of the map."""
    across = (longitude + LONGITUDE_MAX) / (2 * LONGITUDE_MAX)
    up = (latitude + latitude_max) / (2 * latitude_max)
    return spread(int(up * (1 << steps))) | spread(int(across * (1 << steps))) << 1


def _word(score: float) -> int:
    if not -(2.0**63) <= score < 2.0**64:
        return _SIGN if score < 0 else 0
    return int(score) % _WORD


def _middle(part: int, most: float) -> float:
    scale = 2 * most
    low = -most + (part * 1.0 / _PARTS) * scale
    high = -most + ((part + 1) * 1.0 / _PARTS) * scale
    return max(-most, min((low + high) / 2, most))


def decode(score: float) -> tuple[float, float]:
    """Longitude and latitude of a score."""
    word = _word(score)
    return _middle(gather(word >> 1), LONGITUDE_MAX), _middle(gather(word), LATITUDE_MAX)


def distance(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    """Metres between two places."""
    v = math.sin((lon2 * _RADIANS - lon1 * _RADIANS) / 2)
    if v == 0.0:
        return EARTH_RADIUS * abs(lat2 * _RADIANS - lat1 * _RADIANS)
    up1, up2 = lat1 * _RADIANS, lat2 * _RADIANS
    u = math.sin((up2 - up1) / 2)
    a = u * u + math.cos(up1) * math.cos(up2) * v * v
    return 2.0 * EARTH_RADIUS * math.asin(math.sqrt(min(a, 1.0)))


def filter_places(
    pairs: list[tuple[bytes, float]],
    longitude: float,
    latitude: float,
    radius: float,
    width: float,
    height: float,
    limit: i64,
    found: list[Found],
) -> None:
    """Append to `found` what lies within `radius` metres, or in the box if radius is negative.

    A box is `width` by `height` metres around the place given; 0 < limit ends the search once so
    many were found.
    """
    for member, score in pairs:
        lon, lat = decode(score)
        if radius >= 0:
            away = distance(longitude, latitude, lon, lat)
            if away > radius:
                continue
        else:
            if EARTH_RADIUS * abs(latitude * _RADIANS - lat * _RADIANS) > height / 2:
                continue
            if distance(lon, lat, longitude, lat) > width / 2:
                continue
            away = distance(longitude, latitude, lon, lat)
        found.append((away, member, score, lon, lat))
        if 0 < limit <= len(found):
            return

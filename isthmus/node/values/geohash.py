"""Geohashes: which ranges of scores a search has to look at, and the usual text of a place.

A geohash of few steps is the common beginning of the scores of all places in one cell of a grid; a
search covers its area by the cell of its centre and the eight around it, leaving out those that the
area does not reach. How fine the grid is, and in which order the cells are visited, follows Redis,
because the order is that of results nobody sorted (and, with COUNT ANY, decides which they are).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from isthmus.node.values.geo_math import (
    EARTH_RADIUS,
    LATITUDE_MAX,
    LONGITUDE_MAX,
    STEPS,
    Found,
    decode,
    encode,
    filter_places,
    gather,
    spread,
)
from isthmus.node.values.score_index import ScoreIndex
from isthmus.wire.scalars import i64

_RADIANS = math.pi / 180.0
# Half the circumference of the earth at the equator, on web maps.
_REACH_MAX = 20037726.37
_PAGE = 256
_ALPHABET = b"0123456789bcdefghjkmnpqrstuvwxyz"
# East and north of the centre, in the order in which the cells are visited.
_NEIGHBOURS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))


class Area(NamedTuple):
    """A circle (radius >= 0) or a box (radius < 0) around a place; lengths in metres."""

    longitude: float
    latitude: float
    radius: float
    width: float
    height: float


class Cell:
    """One cell of the grid of 2**steps by 2**steps: its column and row, from the south-west."""

    def __init__(self, column: int, row: int, steps: int) -> None:
        self.column = column
        self.row = row
        self.steps = steps

    def neighbour(self, east: int, north: int) -> Cell:
        """The cell so many away; the grid closes around both edges."""
        last = (1 << self.steps) - 1
        # At the far edge of the map a place lies one cell beyond the last, and stays there.
        column = (self.column + east) & last if east else self.column
        row = (self.row + north) & last if north else self.row
        return Cell(column, row, self.steps)

    def edges(self) -> tuple[float, float, float, float]:
        """West, south, east and north edge in degrees."""
        parts = float(1 << self.steps)
        return (
            -LONGITUDE_MAX + self.column / parts * (2 * LONGITUDE_MAX),
            -LATITUDE_MAX + self.row / parts * (2 * LATITUDE_MAX),
            -LONGITUDE_MAX + (self.column + 1) / parts * (2 * LONGITUDE_MAX),
            -LATITUDE_MAX + (self.row + 1) / parts * (2 * LATITUDE_MAX),
        )

    def scores(self) -> tuple[float, float]:
        """The lowest score in this cell and the lowest beyond it."""
        bits = spread(self.row) | spread(self.column) << 1
        shift = 2 * (STEPS - self.steps)
        return float(bits << shift), float((bits + 1) << shift)


def _cosine(angle: float) -> float:
    return math.cos(angle) if math.isfinite(angle) else math.nan


def reach(area: Area) -> tuple[float, float, float, float]:
    """West, south, east and north end of an area in degrees, about."""
    circle = area.radius >= 0
    height = area.radius if circle else area.height / 2
    width = area.radius if circle else area.width / 2
    up = height / EARTH_RADIUS / _RADIANS
    # The side nearer to the pole has the shorter degrees.
    nearer = area.latitude - up if area.latitude < 0 else area.latitude + up
    across = width / EARTH_RADIUS / _cosine(nearer * _RADIANS) / _RADIANS
    return (
        area.longitude - across,
        area.latitude - up,
        area.longitude + across,
        area.latitude + up,
    )


def fineness(metres: float, latitude: float) -> int:
    """The steps of a grid whose cells are about as wide as `metres`."""
    if metres == 0:
        return STEPS
    steps = 1
    while metres < _REACH_MAX:
        metres *= 2
        steps += 1
    steps -= 2
    if abs(latitude) > 66:
        steps -= 1
        if abs(latitude) > 80:
            steps -= 1
    return max(1, min(steps, STEPS))


def _cell_of(area: Area, steps: int) -> Cell:
    bits = encode(area.longitude, area.latitude, LATITUDE_MAX, steps)
    return Cell(gather(bits >> 1), gather(bits), steps)


def _too_fine(cell: Cell, ends: tuple[float, float, float, float]) -> bool:
    """True if the neighbours of the middle cell do not reach as far as the area does."""
    west, south, east, north = ends
    return (
        cell.neighbour(0, 1).edges()[3] < north
        or cell.neighbour(0, -1).edges()[1] > south
        or cell.neighbour(1, 0).edges()[2] < east
        or cell.neighbour(-1, 0).edges()[0] > west
    )


def ranges(area: Area) -> list[tuple[float, float]]:
    """The ranges of scores (the end excluded) that hold all places of an area, as visited."""
    ends = reach(area)
    metres = area.radius
    if metres < 0:
        half_width, half_height = area.width / 2, area.height / 2
        metres = math.sqrt(half_width * half_width + half_height * half_height)
    steps = fineness(metres, area.latitude)
    middle = _cell_of(area, steps)
    if steps > 1 and _too_fine(middle, ends):
        steps -= 1
        middle = _cell_of(area, steps)
    west, south, east, north = middle.edges()
    found: list[tuple[float, float]] = []
    for columns, rows in _NEIGHBOURS:
        if steps >= 2 and (
            (rows < 0 and south < ends[1])
            or (rows > 0 and north > ends[3])
            or (columns < 0 and west < ends[0])
            or (columns > 0 and east > ends[2])
        ):
            continue
        scores = middle.neighbour(columns, rows).scores()
        # On a coarse grid a neighbour may be the one before it, around the globe.
        if len(found) > 1 and found[-1] == scores:
            continue
        found.append(scores)
    return found


def search(index: ScoreIndex, area: Area, limit: i64) -> list[Found]:
    """The places of index inside an area, in the order they are met; the first `limit` if > 0."""
    found: list[Found] = []
    for low, high in ranges(area):
        start: i64 = index.count_below(low, False)
        stop: i64 = index.count_below(high, False)
        while start < stop and not 0 < limit <= len(found):
            pairs = index.slice(start, min(stop - start, _PAGE), False)
            filter_places(
                pairs, area.longitude, area.latitude, area.radius, area.width, area.height, limit,
                found,
            )  # fmt: skip
            start += _PAGE
    return found


def text(score: float) -> bytes:
    """The geohash of a place as the world writes it, in 11 characters.

    It counts latitudes from the poles, so the place is decoded and encoded anew. 52 bits make ten
    characters and two bits; the last character is always 0.
    """
    longitude, latitude = decode(score)
    bits = encode(longitude, latitude, 90.0, STEPS)
    shown = bytes(_ALPHABET[bits >> (52 - 5 * at) & 31] for at in range(1, 11))
    return shown + b"0"

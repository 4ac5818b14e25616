"""Geo commands: places in sorted sets, distances, and searches in circles and boxes.

A place is a member of a sorted set whose score holds its coordinates (values/geo_math.py), so every
sorted set command works on places as well. GEORADIUS and GEORADIUSBYMEMBER are the older forms of
GEOSEARCH; all of them are parsed into one Query. Lengths are metres inside; replies and STOREDIST
are in the unit of the request.
"""

from __future__ import annotations

from isthmus.node.commands.zsets import refit, score_of
from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ARRAY, BULK, INTEGER, NULL, command
from isthmus.node.engine.spec import DENYOOM, READONLY, WRITE
from isthmus.node.values import geohash
from isthmus.node.values.geo_math import (
    LATITUDE_MAX,
    LONGITUDE_MAX,
    STEPS,
    Found,
    decode,
    distance,
    encode,
)
from isthmus.node.values.geohash import Area
from isthmus.node.values.keys import delete
from isthmus.node.values.zsets import NX, XX, ZSetValue, add_pairs, create, store_result
from isthmus.wire.scalars import i64

UNITS = {b"m": 1.0, b"km": 1000.0, b"ft": 0.3048, b"mi": 1609.34}
BAD_UNIT = b"ERR unsupported unit provided. please use M, KM, FT, MI"
NO_MEMBER = b"ERR could not decode requested zset member"
CHANGED = 32
ADD_OPTIONS = {b"NX": NX, b"XX": XX, b"CH": CHANGED}

READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"
RADIUS_COST = (
    "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area "
    "delimited by center and radius and M is the number of items inside the index."
)
SEARCH_COST = (
    "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around "
    "the shape provided as the filter and M is the number of items inside the shape"
)


def unit_of(text: bytes) -> float:
    """Metres of a unit."""
    metres = UNITS.get(text.lower())
    if metres is None:
        raise RedisError(BAD_UNIT)
    return metres


def coordinates(longitude: bytes, latitude: bytes) -> tuple[float, float]:
    """A place on the map; raises RedisError."""
    lon, lat = score_of(longitude), score_of(latitude)
    if not (-LONGITUDE_MAX <= lon <= LONGITUDE_MAX and -LATITUDE_MAX <= lat <= LATITUDE_MAX):
        raise RedisError(b"ERR invalid longitude,latitude pair %f,%f" % (lon, lat))
    return lon, lat


def write_distance(ctx: Context, length: float) -> None:
    """Four decimals, rounded as Redis rounds them (after scaling, half to even)."""
    scaled = round(length * 10000)
    sign = b"-" if scaled < 0 else b""
    ctx.reply.bulk(b"%b%d.%04d" % (sign, abs(scaled) // 10000, abs(scaled) % 10000))


def write_place(ctx: Context, longitude: float, latitude: float) -> None:
    """Both coordinates with 17 decimals, zeros at the end left out."""
    ctx.reply.array(2)
    for degrees in (longitude, latitude):
        shown = (b"%.17f" % degrees).rstrip(b"0").rstrip(b".")
        if shown == b"-0":
            shown = b"0"
        if ctx.reply.protocol >= 3:
            # A double, but not in the spelling that doubles have elsewhere.
            ctx.reply.raw(b"," + shown + b"\r\n")
        else:
            ctx.reply.bulk(shown)


@command("GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
         since="3.2.0", group="geo", flags=WRITE | DENYOOM, categories="GEO",
         keys="idx:1>range:0,1,0(RW|UPDATE)",
         complexity="O(log(N)) for each item added, where N is the number of elements in the "
         "sorted set.", reply=INTEGER)  # fmt: skip
def geoadd(ctx: Context, argv: list[bytes]) -> None:
    """Add places to a sorted set; reply with how many are new."""
    flags: i64 = 0
    at = 2
    while at < len(argv):
        option: i64 = ADD_OPTIONS.get(argv[at].upper(), 0)
        if option == 0:
            break
        flags |= option
        at += 1
    if at == len(argv) or (len(argv) - at) % 3 or (flags & NX and flags & XX):
        raise syntax()
    scores: list[float] = []
    pairs: list[bytes] = []
    while at < len(argv):
        lon, lat = coordinates(argv[at], argv[at + 1])
        scores.append(float(encode(lon, lat, LATITUDE_MAX, STEPS)))
        pairs += (b"", argv[at + 2])
        at += 3
    key = argv[1]
    value: ZSetValue | None = ctx.write(key, ZSetValue)
    if value is None:
        if flags & XX:
            ctx.reply.integer(0)
            return
        value = create(ctx.db, key)
    done = add_pairs(ctx.db, key, value, scores, pairs, 0, flags)
    if value.grown:
        refit(ctx, value)
    ctx.reply.integer(done.added + done.updated if flags & CHANGED else done.added)


@command("GEODIST key member1 member2 [M | KM | FT | MI]", since="3.2.0", group="geo",
         flags=READONLY, categories="GEO", keys=READ_KEYS, complexity="O(1)",
         reply=BULK | NULL)  # fmt: skip
def geodist(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the distance between two places."""
    if len(argv) > 5:
        raise syntax()
    unit = unit_of(argv[4]) if len(argv) == 5 else 1.0
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    first = None if value is None else value.score(argv[2])
    second = None if value is None else value.score(argv[3])
    if first is None or second is None:
        ctx.reply.null()
        return
    write_distance(ctx, distance(*decode(first), *decode(second)) / unit)


@command("GEOHASH key [member [member ...]]", since="3.2.0", group="geo", flags=READONLY,
         categories="GEO", keys=READ_KEYS, complexity="O(1) for each member requested.",
         reply=ARRAY)  # fmt: skip
def geohash_(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the geohashes of places, 11 characters each."""
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    ctx.reply.array(len(argv) - 2)
    for member in argv[2:]:
        score = None if value is None else value.score(member)
        if score is None:
            ctx.reply.null()
        else:
            ctx.reply.bulk(geohash.text(score))


@command("GEOPOS key [member [member ...]]", since="3.2.0", group="geo", flags=READONLY,
         categories="GEO", keys=READ_KEYS, complexity="O(1) for each member requested.",
         reply=ARRAY)  # fmt: skip
def geopos(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the coordinates of places."""
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    ctx.reply.array(len(argv) - 2)
    for member in argv[2:]:
        score = None if value is None else value.score(member)
        if score is None:
            ctx.reply.null_array()
        else:
            write_place(ctx, *decode(score))


# --- searching -----------------------------------------------------------------------------------


class Query:
    """What a search asks for, parsed in Redis' order, because that decides which error shows.

    Without a sorted set there is no place to look up: FROMMEMBER is then taken as it comes, and
    the rest of the arguments is checked all the same.
    """

    def __init__(self, value: ZSetValue | None) -> None:
        self.value = value
        self.place: tuple[float, float] | None = None
        self.radius = -1.0
        self.width = self.height = 0.0
        self.unit = 1.0
        self.shape = b""
        self.origin = b""
        self.distances = self.hashes = self.places = False
        self.any = False
        self.order = b""
        self.count = 0
        self.target: bytes | None = None
        self.store_distances = False

    def from_member(self, member: bytes) -> None:
        """Search around a member."""
        self.origin = b"FROMMEMBER"
        if self.value is None:
            return
        score = self.value.score(member)
        if score is None:
            raise RedisError(NO_MEMBER)
        self.place = decode(score)

    def circle(self, radius: bytes, unit: bytes) -> None:
        """Search in a circle."""
        length = score_of(radius, b"ERR need numeric radius")
        if length < 0:
            raise RedisError(b"ERR radius cannot be negative")
        self.unit = unit_of(unit)
        self.radius = length * self.unit
        self.shape = b"BYRADIUS"

    def box(self, width: bytes, height: bytes, unit: bytes) -> None:
        """Search in a box."""
        across = score_of(width, b"ERR need numeric width")
        up = score_of(height, b"ERR need numeric height")
        if across < 0 or up < 0:
            raise RedisError(b"ERR height or width cannot be negative")
        self.unit = unit_of(unit)
        self.width, self.height = across * self.unit, up * self.unit
        self.shape = b"BYBOX"

    def common(self, argv: list[bytes], at: int) -> int:
        """Take an option that every form has; how many arguments it was, 0 if it is none."""
        word = argv[at].upper()
        if word == b"WITHDIST":
            self.distances = True
        elif word == b"WITHHASH":
            self.hashes = True
        elif word == b"WITHCOORD":
            self.places = True
        elif word == b"ANY":
            self.any = True
        elif word in (b"ASC", b"DESC"):
            self.order = word
        elif word == b"COUNT" and at + 1 < len(argv):
            self.count = integer(argv[at + 1])
            if self.count <= 0:
                raise RedisError(b"ERR COUNT must be > 0")
            return 2
        else:
            return 0
        return 1

    def search_option(self, argv: list[bytes], at: int, stores: bool) -> int:
        """Take an option of GEOSEARCH; how many arguments it was, 0 if it is none."""
        word = argv[at].upper()
        left = len(argv) - at - 1
        if word == b"FROMMEMBER" and left >= 1 and self.origin != b"FROMLONLAT":
            self.from_member(argv[at + 1])
            return 2
        if word == b"FROMLONLAT" and left >= 2 and self.origin != b"FROMMEMBER":
            self.place = coordinates(argv[at + 1], argv[at + 2])
            self.origin = word
            return 3
        if word == b"BYRADIUS" and left >= 2 and self.shape != b"BYBOX":
            self.circle(argv[at + 1], argv[at + 2])
            return 3
        if word == b"BYBOX" and left >= 3 and self.shape != b"BYRADIUS":
            self.box(argv[at + 1], argv[at + 2], argv[at + 3])
            return 4
        if word == b"STOREDIST" and stores:
            self.store_distances = True
            return 1
        return 0

    def radius_option(self, argv: list[bytes], at: int) -> int:
        """Take STORE or STOREDIST of GEORADIUS; 2 arguments, or 0 if it is neither."""
        word = argv[at].upper()
        if word not in (b"STORE", b"STOREDIST") or at + 1 == len(argv):
            return 0
        self.target = argv[at + 1]
        self.store_distances = word == b"STOREDIST"
        return 2

    def check(self, name: bytes) -> None:
        """Refuse options that do not go together; `name` is the command as it was written."""
        if self.target is not None and (self.distances or self.hashes or self.places):
            stored = name.upper() == b"GEOSEARCHSTORE"
            who = b"GEOSEARCHSTORE" if stored else b"STORE option in GEORADIUS"
            raise RedisError(
                b"ERR " + who + b" is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )
        if not self.origin:
            raise RedisError(
                b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for " + name
            )
        if not self.shape:
            raise RedisError(b"ERR exactly one of BYRADIUS and BYBOX can be specified for " + name)
        if self.any and not self.count:
            raise RedisError(b"ERR the ANY argument requires COUNT argument")

    def found(self) -> list[Found]:
        """The places asked for, sorted and cut; the sorted set exists."""
        assert self.value is not None
        assert self.place is not None
        area = Area(*self.place, self.radius, self.width, self.height)
        places: list[Found] = geohash.search(self.value, area, self.count if self.any else 0)
        order = self.order or (b"ASC" if self.count and not self.any else b"")
        if order:
            places.sort(key=_distance, reverse=order == b"DESC")
        return places[: self.count] if self.count else places


def _distance(found: Found) -> float:
    return found[0]


def answer(ctx: Context, query: Query, event: bytes) -> None:
    """Run a checked query; reply with the places, or store them and reply with their number."""
    places = [] if query.value is None else query.found()
    if query.target is None:
        write_places(ctx, query, places)
        return
    stored = ZSetValue()
    for away, member, score, _, _ in places:
        stored.upsert(member, away / query.unit if query.store_distances else score)
    if places:
        refit(ctx, stored)
        store_result(ctx.db, query.target, stored, event)
    else:
        delete(ctx.db, query.target)
    ctx.reply.integer(len(places))


def write_places(ctx: Context, query: Query, places: list[Found]) -> None:
    extras = query.distances + query.hashes + query.places
    ctx.reply.array(len(places))
    for away, member, score, longitude, latitude in places:
        if extras:
            ctx.reply.array(extras + 1)
        ctx.reply.bulk(member)
        if query.distances:
            write_distance(ctx, away / query.unit)
        if query.hashes:
            ctx.reply.integer(int(score))
        if query.places:
            write_place(ctx, longitude, latitude)


def radius(ctx: Context, argv: list[bytes], by_member: bool, stores: bool) -> None:
    """GEORADIUS and its three relatives."""
    query = Query(ctx.read(argv[1], ZSetValue))
    at = 5 if by_member else 6
    if not by_member:
        query.place = coordinates(argv[2], argv[3])
        query.origin = b"FROMLONLAT"
    else:
        query.from_member(argv[2])
    # Without the sorted set nobody looks at the radius around one of its members.
    query.shape = b"BYRADIUS"
    if not by_member or query.value is not None:
        query.circle(argv[at - 2], argv[at - 1])
    while at < len(argv):
        taken = query.common(argv, at) or (stores and query.radius_option(argv, at))
        if not taken:
            raise syntax()
        at += taken
    query.check(argv[0])
    answer(ctx, query, b"georadiusstore")


def search(ctx: Context, argv: list[bytes], stores: bool) -> None:
    """GEOSEARCH and GEOSEARCHSTORE."""
    source = 2 if stores else 1
    query = Query(ctx.read(argv[source], ZSetValue))
    query.target = argv[1] if stores else None
    at = source + 1
    while at < len(argv):
        taken = query.common(argv, at) or query.search_option(argv, at, stores)
        if not taken:
            raise syntax()
        at += taken
    query.check(argv[0])
    answer(ctx, query, b"geosearchstore")


@command("GEORADIUS key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] "
         "[WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]", since="3.2.0",
         group="geo", flags=WRITE | DENYOOM, categories="GEO",
         keys="idx:1>range:0,1,0(RO|ACCESS); kw:STORE@6>range:0,1,0(OW|UPDATE); "
         "kw:STOREDIST@6>range:0,1,0(OW|UPDATE)", complexity=RADIUS_COST, reply=ARRAY | INTEGER,
         doc_flags="DEPRECATED")  # fmt: skip
def georadius(ctx: Context, argv: list[bytes]) -> None:
    """Find or store the places within a distance of given coordinates."""
    radius(ctx, argv, by_member=False, stores=True)


@command("GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] "
         "[WITHHASH] [COUNT count [ANY]] [ASC | DESC]", since="3.2.10", group="geo",
         flags=READONLY, categories="GEO", keys=READ_KEYS, complexity=RADIUS_COST, reply=ARRAY,
         doc_flags="DEPRECATED")  # fmt: skip
def georadius_ro(ctx: Context, argv: list[bytes]) -> None:
    """Find the places within a distance of given coordinates."""
    radius(ctx, argv, by_member=False, stores=False)


@command("GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] "
         "[WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]", since="3.2.0",
         group="geo", flags=WRITE | DENYOOM, categories="GEO",
         keys="idx:1>range:0,1,0(RO|ACCESS); kw:STORE@5>range:0,1,0(OW|UPDATE); "
         "kw:STOREDIST@5>range:0,1,0(OW|UPDATE)", complexity=RADIUS_COST, reply=ARRAY | INTEGER,
         doc_flags="DEPRECATED")  # fmt: skip
def georadiusbymember(ctx: Context, argv: list[bytes]) -> None:
    """Find or store the places within a distance of a member."""
    radius(ctx, argv, by_member=True, stores=True)


@command("GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] "
         "[WITHHASH] [COUNT count [ANY]] [ASC | DESC]", since="3.2.10", group="geo",
         flags=READONLY, categories="GEO", keys=READ_KEYS, complexity=RADIUS_COST, reply=ARRAY,
         doc_flags="DEPRECATED")  # fmt: skip
def georadiusbymember_ro(ctx: Context, argv: list[bytes]) -> None:
    """Find the places within a distance of a member."""
    radius(ctx, argv, by_member=True, stores=False)


@command("GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> "
         "<BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> "
         "[ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]", since="6.2.0",
         group="geo", arity=-7, flags=READONLY, categories="GEO", keys=READ_KEYS,
         complexity=SEARCH_COST, reply=ARRAY)  # fmt: skip
def geosearch(ctx: Context, argv: list[bytes]) -> None:
    """Find the places inside a circle or a box."""
    search(ctx, argv, False)


@command("GEOSEARCHSTORE destination source <FROMMEMBER member | FROMLONLAT longitude latitude> "
         "<BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> "
         "[ASC | DESC] [COUNT count [ANY]] [STOREDIST]", since="6.2.0", group="geo", arity=-8,
         flags=WRITE | DENYOOM, categories="GEO",
         keys="idx:1>range:0,1,0(OW|UPDATE); idx:2>range:0,1,0(RO|ACCESS)", complexity=SEARCH_COST,
         reply=INTEGER)  # fmt: skip
def geosearchstore(ctx: Context, argv: list[bytes]) -> None:
    """Store the places inside a circle or a box in another sorted set."""
    search(ctx, argv, True)

"""Geo commands against a real server: digits, orders, neighbours, options, stored results.

Redis 7.4 spells coordinates as 7.0 does, which is asked here; 8.0 leaves digits out. Places are all
different, because the order of equally distant ones is nobody's promise.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.peers import Peer, line, sequences
from tests.support.servers import Server
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

key = st.sampled_from(["g", "g", "g", "h", "z", "none", "set"])
target = st.sampled_from(["h", "i", "set"])
member = st.sampled_from([f"m{n}" for n in range(12)] + ["nobody"])
longitude = st.one_of(
    st.floats(-180, 180).map(repr), st.floats(-5, 5).map(repr),
    st.sampled_from(["0", "-180", "180", "179.99", "-179.99", "181", "x", "", "nan", "inf", "0x1p3",
                     "13.361389", "1e-300"]),
)  # fmt: skip
latitude = st.one_of(
    st.floats(-85.05112878, 85.05112878).map(repr), st.floats(-5, 5).map(repr),
    st.sampled_from(["0", "85.05112878", "-85.05112878", "85.06", "-90", "x", "81", "-67", "66.1"]),
)  # fmt: skip
length = st.one_of(
    st.floats(0, 30000).map(repr), st.floats(0, 300).map(repr),
    st.sampled_from(["0", "0.001", "-1", "x", "", "inf", "1e30", "20015", "5000", "1e400", "nan"]),
)  # fmt: skip
unit = st.sampled_from(["km"] * 8 + ["m", "mi", "ft", "KM", "Mi", "yd", ""])
place = st.tuples(longitude, latitude).map(list)
places = st.lists(st.tuples(longitude, latitude, member), min_size=1, max_size=3).map(
    lambda some: [word for three in some for word in three]
)
count = st.sampled_from(["1", "2", "3", "10", "0", "-1", "x", "9223372036854775807"])
option = st.one_of(
    *[st.sampled_from([["WITHDIST"], ["WITHCOORD"], ["withhash"], ["ASC"], ["DESC"]])] * 3,
    count.map(lambda n: ["COUNT", n]), count.map(lambda n: ["COUNT", n, "ANY"]),
    st.sampled_from([["ANY"], ["COUNT"], ["STORE"], ["STORE", "i"], ["STOREDIST", "h"],
                     ["STOREDIST"], ["what"], ["BYRADIUS", "1", "km"], ["FROMMEMBER", "m1"]]),
)  # fmt: skip
options = st.lists(option, max_size=3).map(lambda some: [word for few in some for word in few])
stores = st.lists(
    st.sampled_from([["ASC"], ["DESC"], ["COUNT", "3"], ["COUNT", "2", "ANY"], ["STOREDIST"]]),
    max_size=2,
).map(lambda some: sum(some, []))
around = st.one_of(member.map(lambda m: ["FROMMEMBER", m]), place.map(lambda p: ["FROMLONLAT", *p]))
shape = st.one_of(
    line("BYRADIUS", length, unit), line("BYBOX", length, length, unit), st.just(["BYBOX", "1"])
)
add_options = st.sampled_from([[], [], [], ["NX"], ["XX"], ["CH"], ["xx", "ch"], ["NX", "XX"]])
COMMANDS = st.one_of(
    line("GEOADD", key, add_options, places), line("GEOADD", "g", places),
    line("GEOADD", key, add_options, place), line("GEODIST", key, member, member),
    line("GEODIST", key, member, member, unit), line("GEOHASH", key, st.lists(member, max_size=3)),
    line("GEOPOS", key, st.lists(member, max_size=3)),
    line("GEOSEARCH", key, around, shape, options), line("GEOSEARCH", "g", shape, around, options),
    line("GEOSEARCH", "g", around, shape), line("GEOSEARCH", "g", around, shape, "withdist"),
    line("GEOSEARCHSTORE", target, key, around, shape, stores),
    line("GEOSEARCHSTORE", target, key, around, shape, options),
    line("GEORADIUS", key, place, length, unit, options),
    line("GEORADIUS", "g", place, length, unit),
    line("GEORADIUS_RO", key, place, length, unit, options),
    line("GEORADIUSBYMEMBER", key, member, length, unit, options),
    line("GEORADIUSBYMEMBER_RO", key, member, length, unit, options),
    line("GEORADIUS", key, place, length, unit, "STORE", target),
    line("GEORADIUSBYMEMBER", key, member, length, unit, "STOREDIST", target),
    line("ZADD", "z", st.sampled_from(["-1", "1e300", "-1e300", "4503599627370496", "1.5", "inf",
                                       "-9.3e18", "1.8e19", "9e18"]), member),
    line("TYPE", target),
)  # fmt: skip


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def peer(request: pytest.FixtureRequest, redis_server: Server) -> Iterator[Peer]:
    made = Peer(redis_server, request.param)
    yield made
    made.close()


def scatter(count: int) -> list[list[str]]:
    """Places all over the globe and close together, by a rule."""
    commands = [["FLUSHALL"], ["SADD", "set", "x"], ["ZADD", "z", "-1", "m1"]]
    for n in range(count):
        lon, lat = (n * 77.7) % 360 - 180, (n * 37.3) % 170 - 85
        if n % 3 == 0:
            lon, lat = lon / 60, lat / 60
        commands.append(["GEOADD", "g", repr(lon), repr(lat), f"m{n}"])
    return commands


def numbers(item: object) -> object:
    """A score as a number; members, and pairs of RESP3, with theirs."""
    if isinstance(item, list):
        return [numbers(part) for part in item]
    return float(item) if isinstance(item, bytes) and item[:1].isdigit() else item


def compare(peer: Peer, commands: list[list[str]], places: int = 60) -> None:
    store = Store(protocol=peer.protocol)
    stored = [["ZRANGE", name, "0", "-1", "WITHSCORES"] for name in ("g", "h", "i")]
    commands = [*scatter(places), *commands, *stored]
    for args, theirs in zip(commands, peer.pipeline(commands), strict=True):
        ours = store(*args)
        if args[0] == "ZRANGE":
            # 7.0 spells scores with more digits; as numbers they are the same.
            ours, theirs = ([numbers(item) for item in reply] for reply in (ours, theirs))
        assert (str(ours), type(ours)) == (str(theirs), type(theirs)), args
    store.check_replay()


@sequences(200)
@given(commands=st.lists(COMMANDS, min_size=6, max_size=18))
def test_replies_agree(peer: Peer, commands: list[list[str]]) -> None:
    compare(peer, commands)


def test_unsorted_order_at_every_size(peer: Peer) -> None:
    commands = []
    for lon, lat in ((0, 0), (179.9, 10), (-179.9, -70), (12, 84), (30, -85), (77, 66.5)):
        for power in range(9):
            where = ["FROMLONLAT", str(lon), str(lat)]
            side = str(3.7 * 7**power)
            commands.append(["GEOSEARCH", "g", *where, "BYRADIUS", side, "m"])
            commands.append(["GEOSEARCH", "g", *where, "BYBOX", side, str(9 * 6**power), "m"])
            commands.append(["GEOSEARCH", "g", *where, "BYRADIUS", side, "m", "COUNT", "5", "ANY"])
            commands.append(["GEOSEARCH", "g", *where, "BYRADIUS", side, "m", "DESC", "WITHDIST"])
    compare(peer, commands, places=600)

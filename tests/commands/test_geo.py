"""Geo commands: the documents' examples, refusals, stored results, what is recorded, keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.store import RedisReplyError, Store

WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


@pytest.fixture
def sicily() -> Iterator[Store]:
    made = Store()
    made("GEOADD", "Sicily", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669",
         "Catania")  # fmt: skip
    made("SADD", "set", "x")
    yield made
    made.check_replay()
    made.check_snapshot()


def test_the_examples_of_the_manual(sicily: Store) -> None:
    assert sicily("GEODIST", "Sicily", "Palermo", "Catania") == b"166274.1516"
    assert sicily("GEODIST", "Sicily", "Palermo", "Catania", "km") == b"166.2742"
    assert sicily("GEODIST", "Sicily", "Palermo", "Catania", "mi") == b"103.3182"
    assert sicily("GEODIST", "Sicily", "Foo", "Bar") is None
    assert sicily("GEOHASH", "Sicily", "Palermo", "Catania", "x") == [
        b"sqc8b49rny0", b"sqdtr74hyu0", None,
    ]  # fmt: skip
    assert sicily("GEOPOS", "Sicily", "Palermo", "NonExisting") == [
        [b"13.36138933897018433", b"38.11555639549629859"], None,
    ]  # fmt: skip
    assert sicily("GEORADIUS", "Sicily", 15, 37, 200, "km", "WITHDIST") == [
        [b"Palermo", b"190.4424"], [b"Catania", b"56.4413"],
    ]  # fmt: skip
    assert sicily("GEORADIUS", "Sicily", 15, 37, 100, "km") == [b"Catania"]
    assert sicily("GEOSEARCH", "Sicily", "FROMLONLAT", 15, 37, "BYBOX", 400, 400, "km", "ASC",
                  "WITHCOORD", "WITHDIST", "WITHHASH") == [
        [b"Catania", b"56.4413", 3479447370796909,
         [b"15.08726745843887329", b"37.50266842333162032"]],
        [b"Palermo", b"190.4424", 3479099956230698,
         [b"13.36138933897018433", b"38.11555639549629859"]],
    ]  # fmt: skip


def test_coordinates_are_doubles_in_resp3() -> None:
    store = Store(protocol=3)
    store("GEOADD", "k", 0, 0, "m")
    assert store.raw("GEOPOS", "k", "m", "n") == (
        b"*2\r\n*2\r\n,0.00000268220901489\r\n,0.00000126736058093\r\n_\r\n"
    )


def test_conditions_of_geoadd(sicily: Store) -> None:
    assert sicily("GEOADD", "Sicily", "NX", 1, 1, "Palermo", 2, 2, "new") == 1
    assert sicily("GEOADD", "Sicily", "XX", "CH", 1, 1, "Palermo", 2, 2, "newer") == 1
    assert sicily("GEOADD", "none", "XX", 1, 1, "a") == 0
    assert sicily("EXISTS", "none") == 0
    assert sicily("ZCARD", "Sicily") == 3


def test_stored_results(sicily: Store) -> None:
    assert sicily("GEOSEARCHSTORE", "d", "Sicily", "FROMMEMBER", "Palermo", "BYRADIUS", 200, "km",
                  "STOREDIST") == 2  # fmt: skip
    assert sicily("ZRANGE", "d", 0, -1) == [b"Palermo", b"Catania"]
    assert float(sicily("ZSCORE", "d", "Catania")) == pytest.approx(166.2742, abs=1e-4)
    assert sicily("GEORADIUS", "Sicily", 15, 37, 200, "km", "STORE", "d") == 2
    assert sicily("ZSCORE", "d", "Palermo") == sicily("ZSCORE", "Sicily", "Palermo")
    assert sicily("GEORADIUS", "Sicily", 0, 0, 1, "m", "STORE", "d") == 0
    assert sicily("EXISTS", "d") == 0
    sicily("SET", "d", "x")
    assert sicily("GEORADIUSBYMEMBER", "none", "m", 1, "m", "STORE", "d") == 0
    assert sicily("EXISTS", "d") == 0


def test_events(sicily: Store) -> None:
    before = len(sicily.recorder.effects_seen)
    sicily("GEOADD", "Sicily", 1, 1, "a")
    sicily("GEORADIUS", "Sicily", 15, 37, 200, "km", "STORE", "d")
    sicily("GEOSEARCHSTORE", "e", "Sicily", "FROMLONLAT", 15, 37, "BYRADIUS", 200, "km")
    sicily("GEOSEARCHSTORE", "e", "Sicily", "FROMLONLAT", 0, 80, "BYRADIUS", 200, "km")
    seen = [
        (e.argv[0], e.event, e.event_class)
        for e in sicily.recorder.effects_seen[before:]
        if e.event
    ]
    assert seen == [
        (b"ZADD", b"zadd", b"z"), (b"ZADD", b"georadiusstore", b"z"),
        (b"ZADD", b"geosearchstore", b"z"), (b"DEL", b"del", b"g"),
    ]  # fmt: skip


@pytest.mark.parametrize(("line", "text"), [
    ("GEOADD k 181 0 a", "ERR invalid longitude,latitude pair 181.000000,0.000000"),
    ("GEOADD k inf 0 a", "ERR invalid longitude,latitude pair inf,0.000000"),
    ("GEOADD k x 0 a", "ERR value is not a valid float"),
    ("GEOADD k nan 0 a", "ERR value is not a valid float"),
    ("GEOADD k NX XX 1 1 a", "ERR syntax error"),
    ("GEOADD k NX CH CH", "ERR syntax error"),
    ("GEOADD k 1 1 a 2", "ERR syntax error"),
    ("GEOADD set 1 1 a", WRONGTYPE),
    ("GEODIST set a b", WRONGTYPE),
    ("GEOHASH set a", WRONGTYPE),
    ("GEOPOS set a", WRONGTYPE),
    ("GEOSEARCH set FROMLONLAT 1 1 BYRADIUS 1 m", WRONGTYPE),
    ("GEODIST Sicily a b yd", "ERR unsupported unit provided. please use M, KM, FT, MI"),
    ("GEODIST Sicily a b m m", "ERR syntax error"),
    ("GEORADIUS Sicily 1 1 x m", "ERR need numeric radius"),
    ("GEORADIUS Sicily 1 1 -1 m", "ERR radius cannot be negative"),
    ("GEORADIUS Sicily 1 1 1 m COUNT 0", "ERR COUNT must be > 0"),
    ("GEORADIUS Sicily 1 1 1 m ANY", "ERR the ANY argument requires COUNT argument"),
    ("GEORADIUS Sicily 1 1 1 m STORE", "ERR syntax error"),
    ("GEORADIUS_RO Sicily 1 1 1 m STORE d", "ERR syntax error"),
    ("GEORADIUS Sicily 1 1 1 m STORE d WITHDIST", "ERR STORE option in GEORADIUS is not compatible "
     "with WITHDIST, WITHHASH and WITHCOORD options"),
    ("GEORADIUSBYMEMBER Sicily Rome 1 m", "ERR could not decode requested zset member"),
    ("GEOSEARCH Sicily BYBOX 1 x m FROMLONLAT 1 1", "ERR need numeric height"),
    ("GEOSEARCH Sicily BYBOX -1 1 m FROMLONLAT 1 1", "ERR height or width cannot be negative"),
    ("GEOSEARCH Sicily BYRADIUS 1 m WITHDIST WITHHASH",
     "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH"),
    ("geosearch Sicily FROMLONLAT 1 1 ASC COUNT 1",
     "ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch"),
    ("GEOSEARCH Sicily FROMLONLAT 1 1 FROMMEMBER Palermo BYRADIUS 1 m", "ERR syntax error"),
    ("GEOSEARCHSTORE d Sicily FROMLONLAT 1 1 BYRADIUS 1 m WITHDIST", "ERR GEOSEARCHSTORE is not "
     "compatible with WITHDIST, WITHHASH and WITHCOORD options"),
])  # fmt: skip
def test_errors(sicily: Store, line: str, text: str) -> None:
    assert sicily.run(line) == RedisReplyError(text)


@pytest.mark.parametrize("size", ["0", "inf", "1e300", "5e-324", "1e-300"])
def test_extreme_sizes(sicily: Store, size: str) -> None:
    for where in ("0 0", "180 85.05112878", "-180 -85.05112878", "15 37"):
        for shape in (f"BYRADIUS {size} mi", f"BYBOX {size} {size} ft", f"BYBOX inf {size} m"):
            reply = sicily.run(f"GEOSEARCH Sicily FROMLONLAT {where} {shape} WITHDIST")
            assert isinstance(reply, list)


def test_scores_that_are_no_places(store: Store) -> None:
    for n, score in enumerate(("-1", "1e300", "-1e300", "inf", "-inf", "0.5", "1.8e19")):
        store("ZADD", "z", score, f"m{n}")
    assert len(store("GEOPOS", "z", *(f"m{n}" for n in range(7)))) == 7
    assert len(store("GEOHASH", "z", *(f"m{n}" for n in range(7)))) == 7
    assert isinstance(store("GEODIST", "z", "m0", "m1"), bytes)
    for n in range(7):
        reply = store("GEOSEARCH", "z", "FROMMEMBER", f"m{n}", "BYRADIUS", "30000", "km")
        assert isinstance(reply, list)


def test_keys_of_the_old_forms(store: Store) -> None:
    line = "COMMAND GETKEYS GEORADIUS k 1 1 1 m STORE a STOREDIST b"
    assert store.run(line) == [b"k", b"a", b"b"]
    assert store.run("COMMAND GETKEYS GEORADIUSBYMEMBER k m 1 m STORE a") == [b"k", b"a"]
    assert store.run("COMMAND GETKEYS GEORADIUS_RO k 1 1 1 m STORE a") == [b"k"]
    assert store.run("COMMAND GETKEYS GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m") == [b"d", b"s"]

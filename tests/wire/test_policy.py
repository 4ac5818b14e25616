"""Persistence policies: their texts, and what they mean to a node."""

from __future__ import annotations

import pytest

from isthmus.wire.policy import OFF, PARAMETERS, Policy, PolicyError, parse


@pytest.mark.parametrize(
    ("text", "shown", "parameters"),
    [
        ("off", "off", {"appendonly": "no", "save": ""}),
        ("rdb:1h", "rdb:1h", {"appendonly": "no", "save": "3600 1"}),
        ("rdb:60m", "rdb:1h", {"appendonly": "no", "save": "3600 1"}),
        ("rdb:60s", "rdb:1m", {"appendonly": "no", "save": "60 1"}),
        ("rdb:61s", "rdb:61s", {"appendonly": "no", "save": "61 1"}),
        ("rdb:36h", "rdb:36h", {"appendonly": "no", "save": "129600 1"}),
        ("rdb:30d", "rdb:30d", {"appendonly": "no", "save": "2592000 1"}),
        ("aof:always", "aof:always", {"appendonly": "yes", "appendfsync": "always", "save": ""}),
        (
            "aof:everysec",
            "aof:everysec",
            {"appendonly": "yes", "appendfsync": "everysec", "save": ""},
        ),
    ],
)
def test_texts(text: str, shown: str, parameters: dict[str, str]) -> None:
    policy = parse(text)
    assert str(policy) == shown
    assert parse(shown) == policy
    assert policy.parameters() == parameters
    assert set(parameters) <= set(PARAMETERS)


def test_off_is_the_policy_of_those_who_have_none() -> None:
    assert parse("off") == OFF == Policy()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a policy is off, rdb:PERIOD"),
        ("on", "not 'on'"),
        ("Off", "not 'Off'"),
        ("rdb", "a policy is off"),
        ("aof", "a policy is off"),
        ("aof:no", "a policy is off"),
        ("off:1h", "a policy is off"),
        ("rdb:", "'' is no period"),
        ("rdb:1", "'1' is no period"),
        ("rdb:1w", "'1w' is no period"),
        ("rdb:-1h", "'-1h' is no period"),
        ("rdb:1h ", "'1h ' is no period"),
        ("rdb:\u0661h", "is no period"),
        ("rdb:1s", "the period of rdb:1s is not between 1m and 30d"),
        ("rdb:0h", "not between"),
        ("rdb:31d", "not between"),
        ("rdb:99999999d", "not between"),
        ("rdb:" + "9" * 1000 + "h", "a policy is off"),
        (None, "a policy is off"),
        (7, "a policy is off"),
    ],
)
def test_what_is_none(text: object, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        parse(text)

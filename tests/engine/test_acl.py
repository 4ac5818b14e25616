"""Rules of access lists: what they cost, what they keep, what they refuse."""

from __future__ import annotations

import time

import pytest

from isthmus.node.commands import load_all
from isthmus.node.engine.acl_check import denied, reads_every_key
from isthmus.node.engine.acl_rules import NO_COMMANDS, RuleError, User, gathered
from isthmus.node.engine.registry import find

load_all()


def user(*rules: str) -> User:
    made = User(b"u")
    made.apply(gathered([rule.encode() for rule in rules]))
    return made


def allowed(who: User, line: str) -> bool:
    argv = [word.encode() for word in line.split()]
    spec = find(argv)
    assert spec is not None
    return denied(who, spec, argv) == 0


def test_rules_and_back() -> None:
    texts = [
        "off sanitize-payload resetchannels -@all",
        "on nopass sanitize-payload ~* &* +@all",
        "on sanitize-payload ~a %R~b %W~c resetchannels &x &y +@all -@slow +ping",
        "off skip-sanitize-payload resetchannels -@all +get (~k resetchannels -@all +set) "
        "(~* &* +@all -get)",
    ]
    for text in texts:
        made = user(*text.split())
        assert made.text() == text.encode()
        assert user(*made.text().decode().split()).text() == made.text()


def test_a_copy_shares_nothing_that_changes() -> None:
    first = user("on", ">p", "+get", "+select|0", "~a", "&c", "(+set ~b)")
    before = first.text()
    second = first.copy(False)
    second.apply([b"<p", b"-get", b"+select|1", b"~b", b"&d", b"clearselectors", b"+config|get"])
    assert first.text() == before != second.text()


def test_a_later_rule_replaces_an_earlier_one() -> None:
    made = user("+config|get", "+select|1", "+get", "-config", "+select", "+get")
    assert made.selectors[0].command_text() == b"-@all -config +select +get"
    assert allowed(made, "SELECT 9")


def test_first_arguments() -> None:
    made = user("+select|0", "+select|A")
    assert allowed(made, "select 0") and allowed(made, "SELECT a")
    assert not allowed(made, "SELECT 1")
    made.apply([b"-select"])
    assert not allowed(made, "SELECT 0")


def test_free_is_who_may_do_everything() -> None:
    assert user("+@all", "~*", "&*").free
    assert user("(+@all ~* &*)").free
    assert not user("+@all", "~*").free
    assert not user("+@all", "~*", "&*", "-get").free


def test_reading_every_key() -> None:
    spec = find([b"GET"])
    assert spec is not None
    argv = [b"GET", b"a"]
    assert reads_every_key(None, spec, argv)
    assert reads_every_key(user("+@all", "~*"), spec, argv)
    assert reads_every_key(user("+@all", "%R~*", "%W~a"), spec, argv)
    assert not reads_every_key(user("+@all", "%W~*", "%R~a"), spec, argv)
    assert not reads_every_key(user("-get", "~*"), spec, argv)


@pytest.mark.parametrize("rules", [["(", "+get"], ["(+get", "x"], ["+get)", "(a"]])
def test_brackets_that_stay_open(rules: list[str]) -> None:
    with pytest.raises(RuleError):
        gathered([rule.encode() for rule in rules])


def seconds(rules: list[bytes]) -> float:
    began = time.perf_counter()
    made = User(b"u")
    made.apply(gathered(rules))
    made.text()
    return time.perf_counter() - began


@pytest.mark.slow
@pytest.mark.parametrize("rules", [
    [b"(+get ~k)"] * 100_000,
    [b"(", *[b"~k%d" % n for n in range(100_000)], b")"],
    [b"~k%d" % n for n in range(100_000)],
    [b"+select|%d" % n for n in range(20_000)] + [b"+get", b"-get"] * 20_000,
    [b"~" + b"*a" * 500_000],
], ids=["selectors", "one selector", "patterns", "first arguments", "a long pattern"])  # fmt: skip
def test_cost_is_in_proportion(rules: list[bytes]) -> None:
    assert seconds(rules) < 10


def test_selectors_with_the_same_commands_share_them() -> None:
    made = user(*["(+get)"] * 50, *["(~a)"] * 50)
    kept = {id(selector.commands) for selector in made.selectors}
    assert len(kept) == 2
    assert made.selectors[-1].commands is NO_COMMANDS


@pytest.mark.slow
def test_a_hostile_pattern_is_bounded() -> None:
    made = user("+@all", "~" + "*a" * 2000 + "b")
    began = time.perf_counter()
    assert not allowed(made, "GET " + "a" * 4000)
    assert time.perf_counter() - began < 10

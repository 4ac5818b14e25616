"""Access lists beside real servers: rules and what they print as, and what they let through.

Redis 8.0 is the judge of texts, which 7.4 shares with it; the verdicts are compared with 7.0 too.
Rules are about those commands that all sides have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.node.commands import load_all
from isthmus.node.engine.registry import specs
from tests.oracle.peers import Peer, sequences
from tests.support.servers import Server
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]
load_all()
KNOWN = {spec.name for spec in specs()}

NAMES = [
    name
    for name in (
        "get set mget del append lpush sort config config|get config|set client client|id acl|cat "
        "memory|usage object|encoding xadd xreadgroup zadd bitfield eval multi auth select ping "
        "publish subscribe keys georadius copy rename lmpop migrate"
    ).split()
    if name.encode() in KNOWN
]
CATEGORIES = (
    "keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin "
    "fast slow blocking dangerous connection transaction scripting all nope READ"
).split()
PATTERNS = ["*", "a*", "key", "key:[0-9]", "?", "", "*b", "with space", "\\*"]
RULES = [
    *"on off nopass resetpass reset >p >q <p <q #zz !zz allkeys resetkeys allchannels".split(),
    *"resetchannels allcommands nocommands clearselectors sanitize-payload".split(),
    *"skip-sanitize-payload +@all -@all ON AllKeys RESET".split(),
    "#" + "0" * 64, "!" + "0" * 64, "#" + "A" * 64, "",
]  # fmt: skip
ODD_RULES = [
    "foo", "+", "-", "+@", "-@nope", "~", "%~a", "%R", "%RR~a", "%X~a", "%rw~a*", "%", "&",
    "+select|", "+select|0", "+select|1", "+select|A", "+config|nope", "+config|get|x",
    "-select|0", "+get|a", "-get|a", "+nosuch", "-nosuch", "+config|GET", "-config|get", "-CONFIG",
    "(", ")", "()", "(+get", "+get)", "( +get", "( +get )", "(+get ~a*)", "(+@read %R~a* &c*)",
    "(+select|1)", "(nope)", "((+get))", "(\"+get\" '~a b')", '("+get)', "(on)", "(+@all -get ~*)",
    "(allkeys +@write)", "(%W~a* +set)", "(%R~k* +get)", "(resetchannels +publish &news)",
]  # fmt: skip
ANY_RULE = st.one_of(
    st.sampled_from(RULES),
    st.sampled_from(ODD_RULES),
    st.builds("{}{}".format, st.sampled_from("+-"), st.sampled_from(NAMES)),
    st.builds("{}@{}".format, st.sampled_from("+-"), st.sampled_from(CATEGORIES)),
    st.builds("{}{}".format, st.sampled_from(["~", "%R~", "%W~", "&"]), st.sampled_from(PATTERNS)),
)
USEFUL_RULE = st.one_of(
    st.builds("{}{}".format, st.sampled_from("+-"), st.sampled_from(NAMES)),
    st.builds("{}@{}".format, st.sampled_from("+-"), st.sampled_from(CATEGORIES[:-2])),
    st.builds(
        "{}{}".format, st.sampled_from(["~", "%R~", "%W~", "&"]), st.sampled_from(["a*", "k*", "b"])
    ),
    st.sampled_from([rule for rule in ODD_RULES if rule.startswith("(+") and rule.endswith(")")]),
)
REQUESTS = """
GET a|GET k1|GET b|GET|SET a 1|SET a 1 GET|SET k1 1 EX 5 get|MSET a 1 b 2|MGET a k1 b|COPY a k1
COPY a k1 REPLACE|RENAME k1 a|SORT a|SORT a BY x_* GET y_*|SORT a STORE b|SORT a LIMIT 0 1 STORE k1
SORT_RO a BY nosort|BITFIELD a GET u8 0|BITFIELD a SET u8 0 1|BITFIELD a OVERFLOW SAT GET u8 0
BITFIELD a nonsense|BITOP AND b a k1|ZUNIONSTORE b 2 a k1|ZUNIONSTORE b x a k1|ZUNIONSTORE b 3 a k1
ZUNION 2 a k1|LMPOP 1 a LEFT|LMPOP 2 a LEFT|LMPOP 0 a LEFT|SINTERCARD 2 a k1 LIMIT 1
GEORADIUS a 1 1 1 m|GEORADIUS a 1 1 1 m STORE b|GEORADIUS a 1 1 1 m STORE b STOREDIST k1
GEORADIUSBYMEMBER a m 1 m STOREDIST k1|GEORADIUS_RO a 1 1 1 m|GEOSEARCHSTORE a b FROMMEMBER m
XREAD STREAMS a 0|XREAD COUNT 1 STREAMS a k1 0 0|XREAD STREAMS a b 0|XREAD nope x y
XREADGROUP GROUP g c STREAMS a >|XADD a * f v|XINFO STREAM a|OBJECT ENCODING a|MEMORY USAGE k1
MIGRATE h 1 a 0 5|MIGRATE h 1 "" 0 5 KEYS a k1|MIGRATE h 1 a 0 5 KEYS b|EVAL x 1 a|EVAL x 2 a k1 b
EVAL x 9 a|EVAL x 0|EVAL_RO x 1 a|FCALL f 1 a|DEL a k1 b|UNLINK b|EXISTS a b|TOUCH k1|TTL a
WATCH a k1|CONFIG GET x|CONFIG SET x y|CONFIG|CONFIG NOPE x|CLIENT ID|CLIENT KILL x|ACL CAT|PING
AUTH x|HELLO|QUIT|RESET|MULTI|EXEC|SELECT 0|SELECT 1|SELECT a|SUBSCRIBE a k1|SUBSCRIBE news
PSUBSCRIBE a*|PSUBSCRIBE a|PUBLISH a x|PUBLISH news x|SPUBLISH a x|SSUBSCRIBE news a|UNSUBSCRIBE zz
KEYS *|SCAN 0|DBSIZE|FLUSHALL|SPOP a|GETDEL a|GETEX a|LPUSH a x|LMOVE a b LEFT LEFT|NOSUCH x|GET a b
PFCOUNT a b|PFMERGE a b|SINTERSTORE a b k1|SUNION a b|ZDIFF 1 a|ZRANGESTORE a b 0 1|LCS a b
OBJECT HELP
BLPOP a b 0|BZMPOP 0 1 a MIN|BLMPOP 0 2 a b LEFT|HSET a f v|EXPIRE a 1|DUMP a|RESTORE a 0 x|MOVE a 1
"""


# Redis 8 looks for the keys of these in another way than 7.0 and 7.4 do.
OLD_WAY = (["XREAD", "STREAMS", "a", "b", "0"], ["XREAD", "nope", "x", "y"])


def differs(words: list[str]) -> bool:
    return words in OLD_WAY or {"STORE", "STOREDIST"} <= set(words)


def requests() -> list[list[str]]:
    found = [line.split() for part in REQUESTS.strip().splitlines() for line in part.split("|")]
    for words in found:
        words[:] = ["" if word == '""' else word for word in words]
    return [words for words in found if words[0].lower().encode() in KNOWN or words[0] == "NOSUCH"]


@pytest.fixture(scope="module")
def peer7(redis_server: Server) -> Iterator[Peer]:
    made = Peer(redis_server, 2)
    yield made
    made("ACL", "DELUSER", "u")
    made.close()


@pytest.fixture(scope="module")
def peer8(redis8: Server) -> Iterator[Peer]:
    made = Peer(redis8, 2)
    yield made
    made("ACL", "DELUSER", "u")
    made.close()


def plain(reply: Any) -> Any:
    return f"error {reply}" if isinstance(reply, Exception) else reply


@sequences(400)
@given(rules=st.lists(st.lists(ANY_RULE, min_size=1, max_size=8), min_size=1, max_size=4))
def test_rules_and_how_they_are_printed(peer8: Peer, rules: list[list[str]]) -> None:
    store = Store()
    asked = [["ACL", "DELUSER", "u"]]
    for each in rules:
        asked += [["ACL", "SETUSER", "u", *each], ["ACL", "GETUSER", "u"], ["ACL", "LIST"]]
    theirs = peer8.pipeline(asked)
    for words, their in zip(asked[1:], theirs[1:], strict=True):
        assert plain(store(*words)) == plain(their), (words, rules)


@sequences(300)
@given(rules=st.lists(USEFUL_RULE, min_size=1, max_size=12), data=st.data())
def test_verdicts(peer8: Peer, rules: list[str], data: st.DataObject) -> None:
    store = Store()
    chosen = data.draw(
        st.lists(st.sampled_from([r for r in requests() if not differs(r)]), min_size=8, max_size=8)
    )
    asked = [["ACL", "DELUSER", "u"], ["ACL", "SETUSER", "u", *rules]]
    asked += [["ACL", "DRYRUN", "u", *words] for words in chosen]
    for words, their in zip(asked[1:], peer8.pipeline(asked)[1:], strict=True):
        assert plain(store(*words)) == plain(their), (words, rules)


@pytest.mark.parametrize("rules", [
    ["+@all"], ["+@all", "~a*"], ["+@all", "%R~a*", "%W~k*"], ["+@all", "%R~*"], ["+@all", "%W~*"],
    ["+@all", "%R~k1", "%RW~a", "&a*"], ["+@read", "allkeys", "(+@write %W~a)", "(+rename ~a ~b)"],
    ["+@all", "-@dangerous", "~*", "&*"], ["-@all", "+@slow", "-@write", "~*", "allchannels"],
    ["+@all", "~a", "~b", "~k1", "&news"], ["+@all", "-@fast", "%RW~k1", "%W~b", "%R~a"],
])  # fmt: skip
def test_every_request(peer8: Peer, peer7: Peer, rules: list[str]) -> None:
    """The keys and channels of each kind of request, and what each permission lets through."""
    store = Store()
    asked = [["ACL", "DELUSER", "u"], ["ACL", "SETUSER", "u", *rules]]
    asked += [["ACL", "DRYRUN", "u", *words] for words in requests()]
    replies = zip(asked[1:], peer8.pipeline(asked)[1:], peer7.pipeline(asked)[1:], strict=True)
    for words, new, old in replies:
        ours = plain(store(*words))
        assert ours == plain(new) or differs(words[3:]), (words, rules)
        if isinstance(ours, bytes) and isinstance(old, bytes):
            assert (ours == b"OK") == (old == b"OK"), (words, rules)


def test_categories(peer8: Peer) -> None:
    store = Store()
    theirs = set(peer8("ACL", "CAT", "slow")) | set(peer8("ACL", "CAT", "fast"))
    known = KNOWN & theirs
    assert set(store("ACL", "CAT")) == set(peer8("ACL", "CAT"))
    for name in store("ACL", "CAT"):
        ours, real = set(store("ACL", "CAT", name)), set(peer8("ACL", "CAT", name))
        assert ours & known == real & known, name


def logged(entries: Any) -> list[tuple[Any, ...]]:
    """What ACL LOG says, without times, and of the client only the command and the user."""
    found = []
    for entry in entries:
        fields = dict(zip(entry[::2], entry[1::2], strict=True))
        words = fields[b"client-info"].split()
        shown = [word for word in words if word.startswith((b"cmd=", b"user=", b"multi="))]
        names = (b"count", b"reason", b"context", b"object", b"username")
        found.append((*(fields[name] for name in names), *shown))
    return found


GATED = """
GET a|GET b|SET a 1|MGET a b c|DEL c|CONFIG GET x|PUBLISH a x|PUBLISH b x|AUTH u wrong|AUTH nobody x
MULTI|EXEC|DISCARD|WATCH a|WATCH b|SELECT 1|SELECT 0|PING|NOSUCH|GET|LPUSH a x|XADD b * f v|ECHO x
EVAL return+redis.pcall('get','b') 0|EVAL return+redis.call('set','a','1') 0|FLUSHALL|CLIENT ID
RESET
SORT a BY x_*|HELLO 2 AUTH u wrong|ACL WHOAMI|SPUBLISH a x|COPY a b|OBJECT ENCODING b|DBSIZE
EVAL x 1 b
"""


@sequences(200)
@given(
    rules=st.lists(USEFUL_RULE, min_size=2, max_size=10),
    steps=st.lists(st.sampled_from(GATED.strip().replace("\n", "|").split("|")), max_size=25),
)
def test_the_gate_and_its_log(redis8: Server, rules: list[str], steps: list[str]) -> None:
    store, admin = Store(), Peer(redis8, 2)
    rules = ["reset", "on", ">p", *rules]
    admin.pipeline([["ACL", "LOG", "RESET"], ["ACL", "SETUSER", "u", *rules]])
    store("ACL", "SETUSER", "u", *rules)
    peer, client = Peer(redis8, 2), store.node.new_client()
    assert plain(peer("AUTH", "u", "p")) == plain(store("AUTH", "u", "p", client=client))
    multi = False
    for line in steps:
        words = [word.replace("+", " ") for word in line.split()]
        if multi and words[0] in ("AUTH", "HELLO"):
            # Redis 8.0 hangs when a wrong password comes up in EXEC.
            continue
        ours, theirs = store(*words, client=client), peer(*words)
        multi = client.in_multi
        if words[0] in ("XADD", "CLIENT", "EXEC") and not isinstance(theirs, Exception):
            continue
        assert plain(ours) == plain(theirs), (words, rules, steps)
    assert logged(store("ACL", "LOG", "99")) == logged(admin("ACL", "LOG", "99")), (rules, steps)
    peer.socket.close()
    admin("ACL", "DELUSER", "u")
    admin.close()

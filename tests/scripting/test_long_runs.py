"""Scripts that take long: what others are told meanwhile, and how a run ends.

The clock is the test's: a script is paused at every look at the clock (`slice_ns` 0) and goes on
when the test says so.
"""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_ENDED, GATE_MEMORY
from tests.support.store import Recorder, RedisReplyError, Store

FOREVER = "while true do end"
A_WHILE = "local n = 0 for i = 1, 100000 do n = n + i end return n"
BUSY = "BUSY Redis is busy running a script. You can only call %s KILL or SHUTDOWN NOSAVE."
LOOPING = "#!lua name=lib\nredis.register_function('loop', function() while true do end end)"


class Loop:
    """A node whose clients' later replies are collected, as sockets would."""

    def __init__(self) -> None:
        self.store = Store()
        self.scripts = self.store.node.scripts
        self.scripts.stage.may_pause = True
        self.scripts.stage.slice_ns = 0
        self.other = self.store.node.new_client()
        self.late: dict[int, bytes] = {}
        self.store.node.blocking.resume = self.resume

    def resume(self, client: ClientState) -> None:
        """What Session does when a client may go on."""
        argv, client.postponed = client.postponed, None
        if argv is not None:
            self.late[client.id] = self.store.raw(*argv, client=client)

    def start(self, *args: Any) -> None:
        """Begin a request that does not end now."""
        assert self.store.raw(*args) == b""
        assert self.scripts.paused is not None

    def go_on(self) -> bytes:
        """Let the paused script end; its client's reply."""
        while self.scripts.step():
            pass
        return self.late.pop(self.store.client.id)

    def ask(self, *args: Any) -> Any:
        """A request of the other client."""
        return self.store(*args, client=self.other)


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_paused_script_ends(loop: Loop) -> None:
    loop.start("EVAL", A_WHILE, 0)
    assert loop.go_on() == b":5000050000\r\n"
    assert loop.ask("SET", "k", "v") == b"OK"


def test_before_the_threshold_others_wait(loop: Loop) -> None:
    loop.start("EVAL", A_WHILE, 0)
    assert loop.store.raw("SET", "k", "v", client=loop.other) == b""
    assert loop.other.postponed == [b"SET", b"k", b"v"]
    loop.go_on()
    assert loop.late[loop.other.id] == b"+OK\r\n"


def test_after_it_they_are_told(loop: Loop) -> None:
    loop.start("EVAL", FOREVER, 0)
    assert loop.store.raw("GET", "k", client=loop.other) == b""
    loop.store.advance(5000)
    assert loop.scripts.step()
    assert loop.late[loop.other.id] == b"-" + (BUSY % "SCRIPT").encode() + b"\r\n"
    assert loop.ask("PING") == RedisReplyError(BUSY % "SCRIPT")
    assert loop.ask("FUNCTION", "KILL") == RedisReplyError(BUSY % "SCRIPT")
    assert loop.ask("MULTI") == b"OK"
    assert isinstance(loop.ask("GET", "k"), RedisReplyError)
    assert str(loop.ask("EXEC")).startswith("EXECABORT Transaction discarded because of: BUSY")
    running = loop.ask("FUNCTION", "STATS")[1]
    assert running[3] == [b"EVAL", FOREVER.encode(), b"0"] and running[5] == 5000
    assert loop.ask("SHUTDOWN") == RedisReplyError(BUSY % "SCRIPT")
    assert loop.ask("SCRIPT", "KILL") == b"OK"
    assert loop.go_on().startswith(b"-ERR Script killed by user with SCRIPT KILL. script: ")
    assert loop.ask("SCRIPT", "KILL") == RedisReplyError(
        "NOTBUSY No scripts in execution right now."
    )
    assert loop.ask("GET", "k") is None


@pytest.mark.parametrize(
    "script",
    [
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) "
        "end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "local c while true do c = coroutine.create(function() while true do end end) "
        "coroutine.resume(c) end",
        "local function f() return f() end return f()",
        "while true do redis.call('PING') end",
        "return ('a'):rep(200):find('.-.-.-.-.-b')",
        "return string.find(('a'):rep(50), ('a?'):rep(50) .. ('a'):rep(50))",
        "local m = setmetatable({}, {__index = function() while true do end end}) return m.x",
        "local t = {} for i = 1, 6000 do t[i] = i end "
        "table.sort(t, function(a, b) while true do end end)",
        "return ('x'):gsub('x', function() while true do end end)",
        "return load(function() return 'x = ' end)",
    ],
)
def test_nothing_a_script_does_keeps_it_alive(loop: Loop, script: str) -> None:
    loop.start("EVAL", script, 0)
    loop.ask("SCRIPT", "KILL")
    steps = 0
    while loop.scripts.step():
        steps += 1
        assert steps < 100
    assert b"Script killed by user" in loop.late[loop.store.client.id]


def test_a_script_that_wrote_cannot_be_killed(loop: Loop) -> None:
    recorder = Recorder()
    loop.store.node.keyspace.log.attach(recorder)
    loop.start("EVAL", f"redis.call('SET', 'k', 'v') {A_WHILE}", 0)
    assert str(loop.ask("SCRIPT", "KILL")).startswith("UNKILLABLE Sorry the script already")
    loop.store.node.keyspace.log.flush()
    assert recorder.effects_seen == []
    loop.go_on()
    assert [effect.argv for effect in recorder.effects_seen] == [[b"SET", b"k", b"v"]]
    loop.store.check_replay()


def test_functions_are_killed_as_such(loop: Loop) -> None:
    loop.store("FUNCTION", "LOAD", LOOPING)
    loop.start("FCALL", "loop", 0)
    loop.store.advance(5000)
    loop.scripts.step()
    assert loop.ask("PING") == RedisReplyError(BUSY % "FUNCTION")
    assert loop.ask("SCRIPT", "KILL") == RedisReplyError(BUSY % "FUNCTION")
    assert loop.ask("FUNCTION", "KILL") == b"OK"
    assert loop.go_on() == (
        b"-ERR Script killed by user with FUNCTION KILL. script: loop, on @user_function:2.\r\n"
    )


def test_a_transaction_stands_still_as_a_whole(loop: Loop) -> None:
    for request in (["MULTI"], ["SET", "k", "1"], ["EVAL", A_WHILE, 0], ["EVAL", A_WHILE, 0],
                    ["INCR", "k"], ["BLPOP", "none", 0], ["SELECT", 1], ["GET", "k"]):  # fmt: skip
        loop.store(*request)
    loop.start("EXEC")
    loop.store.raw("GET", "k", client=loop.other)
    reply = loop.go_on()
    assert reply == (
        b"*7\r\n+OK\r\n:5000050000\r\n:5000050000\r\n:2\r\n*-1\r\n+OK\r\n$-1\r\n"
    )  # fmt: skip
    assert loop.late[loop.other.id] == b"$1\r\n2\r\n"
    assert loop.store.client.db.index == 1


def test_waiting_clients_are_served_at_the_end(loop: Loop) -> None:
    waiting = loop.store.node.new_client()
    assert loop.store.raw("BLPOP", "list", 0, client=waiting) == b""
    loop.start("EVAL", f"redis.call('RPUSH', 'list', 'a') {A_WHILE}", 0)
    assert bytes(waiting.outbox) == b""
    loop.go_on()
    assert bytes(waiting.outbox) == b"*2\r\n$4\r\nlist\r\n$1\r\na\r\n"
    loop.store.check_replay()


def test_a_client_that_leaves_is_forgotten(loop: Loop) -> None:
    loop.start("EVAL", A_WHILE, 0)
    loop.store.node.forget_client(loop.store.client)
    while loop.scripts.step():
        pass
    assert not loop.late and not loop.scripts.finished
    assert loop.ask("PING") == b"PONG"


def test_the_script_keeps_its_database_and_protocol(loop: Loop) -> None:
    script = f"redis.setresp(3) redis.call('SELECT', 2) redis.call('SET', 'k', 'two') {A_WHILE}"
    loop.start("EVAL", script, 0)
    loop.go_on()
    assert loop.store("GET", "k") is None
    loop.store("SELECT", 2)
    assert loop.store("GET", "k") == b"two"
    loop.store.check_replay()


def test_loading_a_library_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    scripts = store.node.scripts
    seen = []

    def load(*_: object) -> bytes:
        seen.append(scripts.tick())
        store.advance(501)
        seen.append(scripts.tick())
        return b"lib"

    monkeypatch.setattr(scripts.registry, "load", load)
    assert scripts.load_library(b"", False) == b"lib"
    assert seen == [0, 3]
    # Whatever Lua does besides has all the time it needs.
    assert scripts.tick() == 0


def test_what_would_refuse_it_now_does_not_keep_a_reply_back(loop: Loop) -> None:
    loop.start("EVAL", "#!lua\n" + A_WHILE, 0)
    loop.store.node.ctx.gates |= GATE_MEMORY
    loop.store.node.memory.limit_bytes = 1
    loop.store.node.memory.report("test", 100)
    assert loop.go_on() == b":5000050000\r\n"
    assert not loop.scripts.finished
    assert str(loop.store("EVAL", "#!lua\nreturn 1", 0)).startswith("OOM")
    assert not loop.store.node.ctx.gates & GATE_ENDED

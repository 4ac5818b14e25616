"""FUNCTION and FCALL: replies as a real Redis 7.4 gives them."""

from __future__ import annotations

import pytest

from isthmus.node.engine.context import GATE_REPLICA
from tests.support.store import Store

LIB = """#!lua name=lib
local calls = 0
redis.register_function('echo', function(keys, args) return {keys, args} end)
redis.register_function{function_name = 'get', callback = function(keys)
    return redis.call('GET', keys[1]) end, flags = {'no-writes'}, description = 'reads'}
redis.register_function('set', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
redis.register_function{function_name = 'sneaky', callback = function(keys)
    return redis.call('DEL', keys[1]) end, flags = {'no-writes', 'allow-oom'}}
redis.register_function('count', function() calls = calls + 1 return calls end)
redis.register_function('fail', function() error('boom') end)
"""


@pytest.fixture
def loaded(store: Store) -> Store:
    assert store("FUNCTION", "LOAD", LIB) == b"lib"
    return store


def test_fcall(loaded: Store) -> None:
    assert loaded("FCALL", "echo", 1, "k", "a", "b") == [[b"k"], [b"a", b"b"]]
    assert loaded("FCALL", "ECHO", 0) == [[], []]
    assert loaded("FCALL", "set", 1, "k", "v") == b"OK"
    assert loaded("FCALL", "get", 1, "k") == b"v"
    assert [loaded("FCALL", "count", 0) for _ in range(3)] == [1, 2, 3]
    assert loaded.error("FCALL", "nosuch", 0) == "ERR Function not found"
    assert loaded.error("FCALL", "echo", "x") == "ERR Bad number of keys provided"
    assert loaded.error("FCALL", "echo", -1) == "ERR Number of keys can't be negative"
    assert loaded.error("FCALL", "fail", 0) == (
        "ERR user_function:10: boom script: fail, on @user_function:10."
    )


def test_fcall_ro(loaded: Store) -> None:
    assert loaded("FCALL_RO", "get", 1, "k") is None
    assert loaded.error("FCALL_RO", "set", 1, "k", "v") == (
        "ERR Can not execute a script with write flag using *_ro command."
    )
    for word in ("FCALL", "FCALL_RO"):
        assert loaded.error(word, "sneaky", 1, "k").startswith(
            "ERR Write commands are not allowed from read-only scripts. script: sneaky"
        )


def test_replace_and_delete(loaded: Store) -> None:
    assert loaded.error("FUNCTION", "LOAD", LIB) == "ERR Library 'lib' already exists"
    small = "#!lua name=lib\nredis.register_function('one', function() return 1 end)"
    assert loaded("FUNCTION", "LOAD", "REPLACE", small) == b"lib"
    assert loaded("FCALL", "one", 0) == 1
    assert loaded.error("FCALL", "echo", 0) == "ERR Function not found"
    taken = "#!lua name=other\nredis.register_function('ONE', function() return 2 end)"
    assert loaded.error("FUNCTION", "LOAD", taken) == "ERR Function ONE already exists"
    assert loaded("FCALL", "one", 0) == 1
    assert loaded("FUNCTION", "DELETE", "lib") == b"OK"
    assert loaded.error("FUNCTION", "DELETE", "lib") == "ERR Library not found"
    assert loaded("FUNCTION", "LIST") == []


def test_a_failed_replacement_changes_nothing(loaded: Store) -> None:
    for body in ("retrn", "redis.nosuch()", "local x = 1"):
        loaded.error("FUNCTION", "LOAD", "REPLACE", "#!lua name=lib\n" + body)
        assert loaded("FCALL", "echo", 0) == [[], []]


BAD_HEADS = [
    ("return 1", "Missing library metadata"),
    ("#!lua name=a", "Invalid library metadata"),
    ("#!lua\nreturn 1", "Library name was not given"),
    ("#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
    ("#!lua nam=a\n", "Invalid metadata value given: nam=a"),
    ("#!bad name=a\n", "Engine 'bad' not found"),
    ("#! name=a\n", "Engine '' not found"),
    ("#!lua name=a-b\n", "Library names can only contain letters, numbers, or underscores(_) and "
     "must be at least one character long"),
    ("#!lua name=a\nreturn 1", "No functions registered"),
    ("#!lua name=a\nretrn", "Error compiling function: user_function:2: '=' expected near '<eof>'"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text"), BAD_HEADS)
def test_bad_libraries(store: Store, code: str, text: str) -> None:
    assert store.error("FUNCTION", "LOAD", code) == "ERR " + text


BAD_CALLS = [
    ("error('x')",
     "user_function:2: Script attempted to access nonexistent global variable 'error'"),
    ("redis.call('PING')",
     "user_function:2: Script attempted to access nonexistent global variable 'call'"),
    ("x = 1", "user_function:2: Attempt to modify a readonly table"),
    ("redis.register_function()", "wrong number of arguments to redis.register_function"),
    ("redis.register_function('x')", "calling redis.register_function with a single argument is "
     "only applicable to Lua table (representing named arguments)."),
    ("redis.register_function(1, 2)",
     "second argument to redis.register_function must be a function"),
    ("redis.register_function('a-b', function() end)",
     "Library names can only contain letters, numbers, or underscores(_) and must be at least one "
     "character long"),
    ("redis.register_function{}", "redis.register_function must get a function name argument"),
    ("redis.register_function{1}", "unknown argument given to redis.register_function"),
    ("redis.register_function{function_name = 'x'}",
     "redis.register_function must get a callback argument"),
    ("redis.register_function{function_name = 'x', callback = 1}",
     "callback argument given to redis.register_function must be a function"),
    ("redis.register_function{function_name = 'x', callback = redis.log, flags = 1}",
     "flags argument to redis.register_function must be a table representing function flags"),
    ("redis.register_function{function_name = 'x', callback = redis.log, flags = {'bad'}}",
     "unknown flag given"),
    ("local f = function() end redis.register_function('g', f) redis.register_function('g', f)",
     "Function already exists in the library"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "text"), BAD_CALLS)
def test_bad_registrations(store: Store, body: str, text: str) -> None:
    error = store.error("FUNCTION", "LOAD", "#!lua name=lib\n" + body)
    assert error == "ERR Error registering functions: ERR " + text
    assert store("FUNCTION", "LIST") == []


def test_what_functions_see(store: Store) -> None:
    store(
        "FUNCTION",
        "LOAD",
        """#!lua name=lib
    local early = redis
    redis.register_function('keys', function() return KEYS end)
    redis.register_function('early', function() return early.call('PING') end)
    redis.register_function('late', function() redis.register_function('z', early.log) end)
    redis.register_function('global', function() leaked = 1 end)
    redis.register_function('fine', function() return {redis.call('PING'), math.pi > 3} end)
    """,
    )
    for name, text in (
        ("keys", "nonexistent global variable 'KEYS'"),
        ("early", "nonexistent global variable 'call'"),
        ("late", "attempt to call field 'register_function' (a nil value)"),
        ("global", "Attempt to modify a readonly table"),
    ):
        assert text in store.error("FCALL", name, 0)
    assert store("FCALL", "fine", 0) == [b"PONG", 1]


def test_list(loaded: Store) -> None:
    loaded("FUNCTION", "DELETE", "lib")
    code = """#!lua name=Small
    redis.register_function{function_name = 'f', callback = redis.log, flags = {'no-writes'}}"""
    loaded("FUNCTION", "LOAD", code)
    function = [b"name", b"f", b"description", None, b"flags", [b"no-writes"]]
    plain = [b"library_name", b"Small", b"engine", b"LUA", b"functions", [function]]
    assert loaded("FUNCTION", "LIST") == [plain]
    assert loaded("FUNCTION", "LIST", "LIBRARYNAME", "sm*") == [plain]
    assert loaded("FUNCTION", "LIST", "LIBRARYNAME", "x*") == []
    assert loaded("FUNCTION", "LIST", "withcode") == [[*plain, b"library_code", code.encode()]]
    assert loaded.error("FUNCTION", "LIST", "bad") == "ERR Unknown argument bad"
    assert loaded.error("FUNCTION", "LIST", "LIBRARYNAME") == (
        "ERR library name argument was not given"
    )
    assert (
        loaded.error("FUNCTION", "LIST", "WITHCODE", "WITHCODE") == "ERR Unknown argument WITHCODE"
    )


def test_stats(either: Store) -> None:
    either("FUNCTION", "LOAD", LIB)
    counts = {b"libraries_count": 1, b"functions_count": 6}
    reply = either("FUNCTION", "STATS")
    if either.client.protocol == 3:
        assert reply == {b"running_script": None, b"engines": {b"LUA": counts}}
    else:
        flat = [b"libraries_count", 1, b"functions_count", 6]
        assert reply == [b"running_script", None, b"engines", [b"LUA", flat]]
    info = either("INFO", "memory")
    text = info if isinstance(info, str) else info.decode()
    assert "number_of_functions:6\r\nnumber_of_libraries:1\r\n" in text


def test_dump_and_restore(loaded: Store) -> None:
    payload = loaded("FUNCTION", "DUMP")
    other = "#!lua name=other\nredis.register_function('f', function() return 'other' end)"
    assert loaded.error("FUNCTION", "RESTORE", payload) == "ERR Library lib already exists"
    assert loaded("FUNCTION", "RESTORE", payload, "REPLACE") == b"OK"
    loaded("FUNCTION", "LOAD", other)
    assert loaded("FUNCTION", "RESTORE", payload, "FLUSH") == b"OK"
    assert loaded.error("FCALL", "f", 0) == "ERR Function not found"
    loaded("FUNCTION", "FLUSH")
    loaded("FUNCTION", "LOAD", other)
    assert loaded("FUNCTION", "RESTORE", payload, "APPEND") == b"OK"
    assert loaded("FCALL", "count", 0) == 1
    loaded("FUNCTION", "FLUSH", "SYNC")
    clash = "#!lua name=clash\nredis.register_function('echo', function() return 1 end)"
    loaded("FUNCTION", "LOAD", clash)
    assert loaded.error("FUNCTION", "RESTORE", payload) == "ERR Function echo already exists"
    assert loaded("FCALL", "echo", 0) == 1
    assert loaded.error("FUNCTION", "RESTORE", payload, "x") == (
        "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."
    )
    assert loaded.error("FUNCTION", "RESTORE", payload[:-1]) == (
        "ERR DUMP payload version or checksum are wrong"
    )


def test_flush_and_help(loaded: Store) -> None:
    assert loaded.error("FUNCTION", "FLUSH", "x") == (
        "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"
    )
    assert loaded("FUNCTION", "FLUSH", "ASYNC") == b"OK"
    assert loaded("FUNCTION", "LIST") == []
    assert loaded("FUNCTION", "HELP")[-2] == b"HELP"
    assert loaded.error("FUNCTION", "KILL") == "NOTBUSY No scripts in execution right now."


STALE = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
READS = """#!lua name=reads
local function make(name, body, flags)
    redis.register_function{function_name = name, callback = body, flags = flags}
end
make('plain', function() return 1 end, {'no-writes'})
make('stale', function() return 1 end, {'no-writes', 'allow-stale'})
make('look', function(keys) return redis.call('GET', keys[1]) end, {'no-writes', 'allow-stale'})
make('time', function() return #redis.call('TIME') end, {'no-writes', 'allow-stale'})
make('write', function(keys) return redis.call('SET', keys[1], 1) end, {'allow-stale'})
"""


class LostPrimary:
    """A primary that cannot be reached; its replica may be read, or not."""

    def __init__(self, store: Store) -> None:
        self.text: bytes | None = STALE.encode()
        store.node.replication = self
        store.node.ctx.gates |= GATE_REPLICA

    def staleness(self) -> bytes | None:
        return self.text

    def refusal(self) -> bytes:
        return b"READONLY You can't write against a read only replica."


def test_what_runs_on_old_data() -> None:
    store = Store()
    store("FUNCTION", "LOAD", READS)
    store("SCRIPT", "LOAD", "#!lua flags=no-writes\nreturn 2")
    primary = LostPrimary(store)
    assert store.error("GET", "k") == STALE
    assert store.error("FCALL", "plain", 0) == STALE
    assert store("FCALL", "stale", 0) == 1
    assert store("FCALL", "time", 0) == 2
    assert store.error("FCALL", "look", 1, "k").startswith(
        "ERR Can not execute the command on a stale replica script: look"
    )
    assert store.error("EVAL", "return 1", 0) == STALE
    assert store.error("EVAL", "#!lua flags=no-writes\nreturn 1", 0) == STALE
    assert store("EVAL", "#!lua flags=allow-stale,no-writes\nreturn 1", 0) == 1
    for client in (store.client, store.node.new_client()):
        assert store("MULTI", client=client) == b"OK"
    assert store("FCALL", "stale", 0) == b"QUEUED"
    assert store("EXEC") == [1]
    # What was queued when the data was not old.
    primary.text = None
    assert store("GET", "k", client=client) == b"QUEUED"
    primary.text = STALE.encode()
    assert str(store("EXEC", client=client)) == (
        f"EXECABORT Transaction discarded because of: {STALE}"
    )
    assert not client.in_multi


def test_what_may_write_does_not_run_at_a_replica() -> None:
    store = Store()
    store("FUNCTION", "LOAD", READS)
    LostPrimary(store).text = None
    refusal = "READONLY You can't write against a read only replica."
    assert store.error("FCALL", "write", 1, "k") == refusal
    assert store.error("EVAL", "#!lua\nreturn 1", 0) == refusal
    assert store("FCALL", "look", 1, "k") is None
    assert store("EVAL", "return 1", 0) == 1
    store("MULTI")
    assert store.error("FCALL", "write", 1, "k") == refusal


def test_what_only_reads_does_not_publish(store: Store) -> None:
    refusal = "ERR Write commands are not allowed from read-only scripts."
    for call in ("'PUBLISH', 'c', 'm'", "'PFCOUNT', 'k'"):
        text = f"return redis.call({call})"
        assert store.error("EVAL_RO", text, 0).startswith(refusal)
        assert store("EVAL", text, 0) == 0


@pytest.mark.parametrize("name", ["'lib'", '"lib"', 'l"ib"', "lib"])
def test_the_name_of_a_library_may_be_quoted(store: Store, name: str) -> None:
    code = f"#!lua name={name}\nredis.register_function('f', function() return 1 end)"
    assert store("FUNCTION", "LOAD", code) == b"lib"
    assert store("FUNCTION", "DELETE", "lib") == b"OK"
    assert store.error("FUNCTION", "LOAD", "#!lua name='lib\nx") == "ERR Invalid library metadata"


def test_a_script_gets_the_reply_behind_its_attributes() -> None:
    store = Store(enable_debug_command="yes")
    store("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 1)
    text = "redis.setresp(3) return redis.call('DEBUG', 'PROTOCOL', 'attrib')"
    assert store("EVAL", text, 0) == b"Some real reply following the attribute"

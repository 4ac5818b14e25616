"""EVAL, EVALSHA and SCRIPT: replies as a real Redis 7.4 gives them."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.store import RedisReplyError, Store


def sha(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()


def test_keys_and_arguments(either: Store) -> None:
    assert either("EVAL", "return {KEYS, ARGV}", 2, "a", "b", "c") == [[b"a", b"b"], [b"c"]]
    assert either("EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", 1, "k", "v") == b"OK"
    assert either("GET", "k") == b"v"


@pytest.mark.parametrize(
    ("numkeys", "text"),
    [
        ("x", "ERR value is not an integer or out of range"),
        ("1.0", "ERR value is not an integer or out of range"),
        ("-1", "ERR Number of keys can't be negative"),
        ("3", "ERR Number of keys can't be greater than number of args"),
        ("9223372036854775808", "ERR value is not an integer or out of range"),
    ],
)
@pytest.mark.parametrize("word", ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"])
def test_bad_counts_of_keys(store: Store, word: str, numkeys: str, text: str) -> None:
    assert store.error(word, "return 1", numkeys, "a", "b") == text


def test_evalsha(store: Store) -> None:
    script = "return ARGV[1]"
    missing = "NOSCRIPT No matching script. Please use EVAL."
    assert store.error("EVALSHA", sha(script), 0) == missing
    assert store.error("EVALSHA", "short", 0) == missing
    assert store("EVAL", script, 0, "x") == b"x"
    assert store("EVALSHA", sha(script), 0, "y") == b"y"
    assert store("EVALSHA", sha(script).upper(), 0, "z") == b"z"


def test_script_load_exists_flush(store: Store) -> None:
    script = "return 1"
    assert store("SCRIPT", "LOAD", script) == sha(script).encode()
    assert store("SCRIPT", "EXISTS", sha(script), "x", sha(script).upper()) == [1, 0, 1]
    assert store("SCRIPT", "FLUSH", "async") == b"OK"
    assert store("SCRIPT", "EXISTS", sha(script)) == [0]
    for words in (["x"], ["ASYNC", "x"]):
        text = "ERR SCRIPT FLUSH only support SYNC|ASYNC option"
        assert store.error("SCRIPT", "FLUSH", *words) == text
    assert store.error("SCRIPT", "LOAD", "bad bad") == (
        "ERR Error compiling script (new function): user_script:1: '=' expected near 'bad'"
    )


def test_scripts_of_eval_alone_are_the_last_500(store: Store) -> None:
    store("SCRIPT", "LOAD", "return 'kept'")
    for number in range(501):
        store("EVAL", f"return {number}", 0)
    assert store("SCRIPT", "EXISTS", sha("return 0"), sha("return 1")) == [0, 1]
    store("EVALSHA", sha("return 1"), 0)
    store("EVAL", "return 'one more'", 0)
    assert store("SCRIPT", "EXISTS", sha("return 1"), sha("return 2")) == [1, 0]
    assert store("SCRIPT", "EXISTS", sha("return 'kept'")) == [1]
    info = store("INFO", "everything").decode()
    assert "\r\nevicted_scripts:2\r\n" in info
    assert "\r\nnumber_of_cached_scripts:501\r\n" in info


def test_errors_tell_script_and_line(store: Store) -> None:
    store("SET", "k", "text")
    for body, text, line in (
        ("return redis.call('INCR', 'k')", "ERR value is not an integer or out of range", 1),
        ("\n\nerror('boom')", "ERR user_script:3: boom", 3),
        ("local x\nreturn x.y", "ERR user_script:2: attempt to index local 'x' (a nil value)", 2),
        ("error({err = 'MINE own'})", "MINE own", 1),
        ("return redis.call('HGET', 'k', 'f')",
         "WRONGTYPE Operation against a key holding the wrong kind of value", 1),
        ("return redis.call()",
         "ERR Please specify at least one argument for this redis lib call", 1),
        ("return redis.call('GET', {})",
         "ERR Lua redis lib command arguments must be strings or integers", 1),
        ("return redis.call('EVAL', '1', 0)",
         "ERR This Redis command is not allowed from script", 1),
        ("return redis.call('GET')",
         "ERR Wrong number of args calling Redis command from script", 1),
        ("return redis.call('CONFIG')",
         "ERR Wrong number of args calling Redis command from script", 1),
        ("return redis.call('CONFIG', 'NOSUCH')",
         "ERR Unknown Redis command called from script", 1),
    ):  # fmt: skip
        wanted = f"{text} script: {sha(body)}, on @user_script:{line}."
        assert store.error("EVAL", body, 0) == wanted
    assert store.error("EVAL", "return redis.pcall('INCR', 'k')", 0) == (
        "ERR value is not an integer or out of range"
    )


def test_errors_are_counted_once(store: Store) -> None:
    store("SET", "k", "text")
    before = store.node.ctx.error_replies
    store("EVAL", "return redis.call('INCR', 'k')", 0)
    store("EVAL", "error('x')", 0)
    store("EVAL", "return {err = 'MINE own'}", 0)
    assert store.node.ctx.error_replies - before == 3


@pytest.mark.parametrize("word", ["EVAL_RO", "EVALSHA_RO"])
def test_read_only_forms(store: Store, word: str) -> None:
    def run(script: str) -> object:
        store("SCRIPT", "LOAD", script)
        return store(word, script if word == "EVAL_RO" else sha(script), 0)

    assert run("return redis.call('GET', 'k')") is None
    assert str(run("return redis.call('SET', 'k', 'v')")).startswith(
        "ERR Write commands are not allowed from read-only scripts. script: "
    )
    assert run("#!lua flags=no-writes\nreturn 1") == 1
    assert run("#!lua\nreturn 1") == RedisReplyError(
        "ERR Can not execute a script with write flag using *_ro command."
    )


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("#!python\n", "ERR Unexpected engine in script shebang: #!python"),
        ("#!lua flags=bad\n", "ERR Unexpected flag in script shebang: bad"),
        ("#!lua name=x\n", "ERR Unknown lua shebang option: name=x"),
        ("#!lua ", "ERR Invalid script shebang"),
    ],
)
def test_bad_shebangs(store: Store, head: str, text: str) -> None:
    assert store.error("EVAL", head + "return 1", 0) == text
    assert store.error("SCRIPT", "LOAD", head + "return 1") == text


def test_shebangs(store: Store) -> None:
    assert store("EVAL", "#!lua flags=no-writes,allow-oom,allow-stale\nreturn 1", 0) == 1
    assert store("EVAL", "#!lua flags=no-cluster,allow-cross-slot-keys\nreturn 1", 0) == 1
    error = store.error("EVAL", "#!lua flags=no-writes\nreturn redis.call('SET', 'a', 'b')", 0)
    assert error.endswith(", on @user_script:2.")


def test_memory_is_asked_for_once(store: Store) -> None:
    write = "redis.call('SET', 'k', 'v') return redis.call('GET', 'k')"
    store("CONFIG", "SET", "maxmemory", "1")
    oom = "OOM command not allowed when used memory > 'maxmemory'."
    assert store.error("EVAL", write, 0).startswith(f"{oom} script: ")
    assert store("EVAL", "return redis.call('GET', 'k')", 0) is None
    assert store("EVAL", "#!lua flags=allow-oom\n" + write, 0) == b"v"
    # One write that needs no memory, and the rest may: Redis does not stop in the middle.
    deleting = "redis.call('DEL', 'k') return redis.call('SET', 'k', 'v')"
    assert store("EVAL", deleting, 0) == b"OK"


def test_select_stays_inside(store: Store) -> None:
    script = "redis.call('SELECT', 3) redis.call('SET', 'k', 'v') return redis.call('DBSIZE')"
    assert store("EVAL", script, 0) == 1
    assert store("DBSIZE") == 0
    store("SELECT", 3)
    assert store("GET", "k") == b"v"


def test_nothing_blocks_inside(store: Store) -> None:
    assert store("EVAL", "return redis.call('BLPOP', 'none', 0)", 0) is None
    assert store("EVAL", "return redis.call('BLMPOP', 0, 1, 'none', 'LEFT')", 0) is None
    assert store.node.ctx.deny_blocking is False


def test_inside_a_transaction(store: Store) -> None:
    store("MULTI")
    store("EVAL", "return redis.call('INCR', 'n')", 0)
    store("EVAL", "error('x')", 0)
    store("EVAL", "redis.call('SELECT', 5) return redis.call('INCR', 'n')", 0)
    store("INCR", "n")
    one, error, other, two = store("EXEC")
    assert (one, other, two) == (1, 1, 2)
    assert str(error).startswith("ERR user_script:1: x script: ")


def test_watch_sees_scripts(store: Store) -> None:
    other = store.node.new_client()
    store("WATCH", "k")
    store("MULTI")
    store("GET", "k")
    store("EVAL", "return redis.call('SET', 'k', 'v')", 0, client=other)
    assert store("EXEC") is None


def test_the_callers_permissions_hold(store: Store) -> None:
    store("ACL", "SETUSER", "limited", "on", "nopass", "+eval", "+get", "~a*")
    limited = store.node.new_client()
    store("AUTH", "limited", "x", client=limited)
    run = "return redis.call(unpack(ARGV))"
    assert store("EVAL", run, 0, "GET", "a", client=limited) is None
    for request, text in (
        (["GET", "b"], "ERR ACL failure in script: No permissions to access a key script: "),
        (["SET", "a", "1"], "ERR ACL failure in script: User limited has no permissions to run "
         "the 'set' command script: "),
    ):  # fmt: skip
        reply = store("EVAL", run, 0, *request, client=limited)
        assert str(reply).startswith(text)
    may = "return redis.acl_check_cmd(unpack(ARGV))"
    assert store("EVAL", may, 0, "GET", "a1", client=limited) == 1
    assert store("EVAL", may, 0, "GET", "b1", client=limited) is None
    assert store("ACL", "LOG")[0][5] == b"lua"


def test_protocol_of_the_script_and_of_the_client() -> None:
    two, three = Store(2), Store(3)
    for store in (two, three):
        store("HSET", "h", "f", "1")
        store("ZADD", "z", "1.5", "m")
    script = "redis.setresp(3) return redis.call('HGETALL', 'h')"
    assert two("EVAL", script, 0) == [b"f", b"1"]
    assert three("EVAL", script, 0) == {b"f": b"1"}
    assert three("EVAL", "return redis.call('HGETALL', 'h')", 0) == [b"f", b"1"]
    assert three("EVAL", "redis.setresp(3) return redis.call('ZSCORE', 'z', 'm')", 0) == 1.5
    assert three.raw("EVAL", "redis.setresp(3) return {true, false}", 0) == b"*2\r\n#t\r\n#f\r\n"
    assert two.raw("EVAL", "redis.setresp(3) return {true, false}", 0) == b"*2\r\n:1\r\n:0\r\n"
    assert two.raw("EVAL", "return {true, false, 1.9}", 0) == b"*3\r\n:1\r\n$-1\r\n:1\r\n"


def test_numbers_as_arguments(store: Store) -> None:
    for number, text in (
        ("3", b"3"), ("3.5", b"3.5"), ("2^53", b"9007199254740992"), ("1e20", b"1e+20"),
        ("2^63", b"9223372036854776000"), ("-0.0", b"0"), ("1/0", b"inf"), ("0.1", b"0.1"),
    ):  # fmt: skip
        assert store("EVAL", f"return redis.call('ECHO', {number})", 0) == text


def test_script_debug_and_help(store: Store) -> None:
    assert store("SCRIPT", "DEBUG", "NO") == b"OK"
    assert store.error("SCRIPT", "DEBUG", "x") == "ERR Use SCRIPT DEBUG YES/SYNC/NO"
    assert "not supported" in store.error("SCRIPT", "DEBUG", "YES")
    assert store("SCRIPT", "HELP")[-2] == b"HELP"
    assert store.error("SCRIPT", "NOSUCH") == "ERR unknown subcommand 'NOSUCH'. Try SCRIPT HELP."
    assert store.error("SCRIPT", "KILL") == "NOTBUSY No scripts in execution right now."


@pytest.mark.parametrize(
    ("script", "codes", "failed"),
    [
        ("return redis.error_reply('MINE own')", {"MINE": 1}, 1),
        ("return {redis.error_reply('ONE x'), {err = 'TWO y'}}", {"ONE": 1, "TWO": 1}, 1),
        ("return {err = 'nocode'}", {"ERR": 1}, 1),
        ("return redis.pcall('GET')", {"ERR": 1}, 1),
        ("return redis.pcall('GET').err", {"ERR": 1}, 0),
        ("return redis.call('GET')", {"ERR": 1}, 1),
        ("return redis.pcall({})", {"ERR": 1}, 1),
        ("error({err = 'RAISED x'})", {"RAISED": 1}, 1),
    ],
)
def test_how_errors_are_counted(
    store: Store, script: str, codes: dict[str, int], failed: int
) -> None:
    store("CONFIG", "RESETSTAT")
    store("EVAL", script, 0)
    counts = store.node.ctx.error_counts
    assert {code.decode(): count for code, count in counts.items()} == codes
    stats = store("INFO", "commandstats").decode()
    assert stats.partition("cmdstat_eval:")[2].partition("failed_calls=")[2][0] == str(failed)


def test_without_memory_the_flags_of_a_script_are_its_commands(store: Store) -> None:
    store("SCRIPT", "LOAD", "#!lua\nreturn 1")
    store("CONFIG", "SET", "maxmemory", "1")
    oom = "OOM command not allowed when used memory > 'maxmemory'."
    assert store.error("EVAL", "#!lua\nreturn 1", 0) == oom
    assert store.error("EVAL", "#!lua\nreturn 2", 0) == oom
    assert store.error("EVALSHA", sha("#!lua\nreturn 1"), 0) == oom
    assert store("EVAL", "#!lua flags=no-writes\nreturn 1", 0) == 1
    assert store("EVAL", "#!lua flags=allow-oom\nreturn 1", 0) == 1
    store("MULTI")
    assert store.error("EVAL", "#!lua\nreturn 1", 0) == oom
    assert store.error("EXEC").startswith("EXECABORT")


def test_as_many_arguments_as_lua_can_unpack(store: Store) -> None:
    script = """local t = {} for i = 1, 7998 do t[i] = i end
    return redis.call('RPUSH', KEYS[1], unpack(t))"""
    assert store("EVAL", script, 1, "k") == 7998
    assert store("LINDEX", "k", -1) == b"7998"

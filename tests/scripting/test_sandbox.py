"""What scripts cannot reach: the world, Python, each other."""

from __future__ import annotations

import pytest

from tests.support.store import Store

ABSENT = (
    "io package debug require module dofile loadfile print newproxy getfenv setfenv python "
    "luajava nosuch"
).split()

WRITES = [
    "string.x = 1", "redis.call = 1", "_G.x = 1", "x = 1", "KEYS = {}", "getmetatable('').x = 1",
    "getmetatable('').__index.rep = nil", "rawset(_G, 'x', 1)", "rawset(string, 'x', 1)",
    "table.insert(redis, 1)", "table.insert(_G, 1, 1)", "table.remove(redis)",
    "setmetatable(_G, {})", "setmetatable(string, nil)", "getmetatable(_G).__index = nil",
    "local _, t = pairs(math) t.x = 1", "for k in pairs(cjson) do cjson[k] = nil end",
    "coroutine.wrap(function() redis.x = 1 end)()", "loadstring('x = 1')()", "bit.band = nil",
    "os.clock = nil", "cmsgpack.pack = nil", "struct.pack = nil",
]  # fmt: skip


@pytest.mark.parametrize("name", ABSENT)
def test_absent_globals(store: Store, name: str) -> None:
    wanted = f"Script attempted to access nonexistent global variable '{name}'"
    assert wanted in store.error("EVAL", f"return {name}", 0)


@pytest.mark.parametrize("script", WRITES)
def test_shared_tables_are_read_only(store: Store, script: str) -> None:
    assert "Attempt to modify a readonly table" in store.error("EVAL", script, 0)


def test_nothing_of_os_but_the_clock(store: Store) -> None:
    script = "local r = {} for k in pairs(os) do r[#r + 1] = k end return r"
    assert store("EVAL", script, 0) == [b"clock"]
    assert store("EVAL", "return type(os.clock())", 0) == b"number"


def test_bytecode_is_refused(store: Store) -> None:
    dumped = "string.dump(function() return 1 end)"
    assert store("EVAL", f"return tostring(loadstring({dumped}))", 0) == b"nil"
    script = (
        f"local d, n = {dumped}, 0 "
        "return tostring(load(function() n = n + 1 return n == 1 and d or nil end))"
    )
    assert store("EVAL", script, 0) == b"nil"
    assert "binary chunks" in store.error("EVAL", b"\x1bLuaQ\x00\x01\x04\x08\x04\x08\x00", 0)


def test_no_python_object_shows(store: Store) -> None:
    walk = """
    local seen, found = {}, {}
    local function visit(value, path)
        local kind = type(value)
        if kind == 'userdata' or kind == 'thread' then found[#found + 1] = path end
        if kind ~= 'table' or seen[value] then return end
        seen[value] = true
        for k, v in pairs(value) do
            visit(k, path .. '.key')
            visit(v, path .. '.' .. tostring(k))
        end
        visit(getmetatable(value), path .. '.metatable')
    end
    visit(_G, '_G')
    visit(getmetatable(''), 'string')
    return found
    """
    assert store("EVAL", walk, 0) == [b"_G.cjson.null"]
    assert store("EVAL", "return tostring(cjson.null)", 0) == b"userdata: (nil)"
    assert store("EVAL", "return tostring(getmetatable(cjson.null))", 0) == b"nil"
    assert "attempt to index" in store.error("EVAL", "return cjson.null.__class__", 0)


def test_errors_of_the_api_are_texts_and_tables(store: Store) -> None:
    script = "local ok, e = pcall(redis.call, 'nosuch') return {type(e), tostring(e)}"
    assert store("EVAL", script, 0) == [
        b"string", b"ERR Unknown Redis command called from script"
    ]  # fmt: skip
    script = "local ok, e = xpcall(redis.call, function(e) return e end) return type(e)"
    assert store("EVAL", script, 0) == b"table"


def test_settings_of_libraries_last_one_script(store: Store) -> None:
    store("EVAL", "cjson.encode_max_depth(1) cjson.encode_sparse_array(true)", 0)
    assert store("EVAL", "return cjson.encode({{{1}}})", 0) == b"[[[1]]]"
    assert store("EVAL", "return cjson.encode_max_depth()", 0) == 1000


def test_keys_and_arguments_are_this_runs(store: Store) -> None:
    assert store("EVAL", "KEYS[1] = 'other' return {KEYS, ARGV}", 1, "k", "a") == [
        [b"other"], [b"a"]
    ]  # fmt: skip
    assert store("EVAL", "return {KEYS, ARGV}", 0) == [[], []]
    assert store("EVAL", "return #KEYS + #ARGV", 5000, *range(12000)) == 12000


def test_random_numbers_are_redis_own(store: Store) -> None:
    assert store("EVAL", "return tostring(math.random())", 0) == b"0.39646477363839"
    script = """math.randomseed(42)
    return {math.random(1, 100), math.random(1, 100), tostring(math.random())}"""
    assert store("EVAL", script, 0) == [75, 35, b"0.11108528222474"]
    # As in Redis, nothing draws a new seed between scripts.
    assert store("EVAL", script, 0) == [75, 35, b"0.11108528222474"]


@pytest.mark.parametrize(
    "reply",
    [
        "redis.error_reply('x\\r\\n+OK')", "redis.status_reply('a\\r\\n:1')", "{err = 'a\\r\\n:1'}",
        "{ok = 'a\\r\\n:1'}", "{1, {err = 'a\\nb'}}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 3])
def test_line_ends_make_no_second_reply(reply: str, protocol: int) -> None:
    store = Store(protocol)
    store("EVAL", f"return {reply}", 0)
    number = store.raw("EVAL", "return {big_number = '1\\r\\n2'}", 0)
    assert number == (b"(1  2\r\n" if protocol == 3 else b"$4\r\n1  2\r\n")
    store("EVAL", "error('a\\r\\n+OK')", 0)
    store("EVAL", "error({err = 'a\\r\\n+OK'})", 0)

"""Scripts that take too much: each ends with an error, and the next one runs."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.scripting import runtime
from tests.support.store import Store

FILL = "local t = {} while true do t[#t + 1] = ('z'):rep(10000) .. #t end"


@pytest.mark.parametrize(
    "script",
    [
        "return ('x'):rep(1e9)", "local s = 'x' while true do s = s .. s end", FILL,
        "local t = {} while true do t[#t + 1] = {} end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local r = {} for i = 1, 1e9 do r[i] = redis.call('GET', 'big') .. i end",
        "return #cjson.encode(setmetatable({}, {})) + #('x'):rep(2 ^ 31)",
        "local r = {} for i = 1, 1e9 do r[i] = coroutine.create(function() end) end",
        "return table.concat({('x'):rep(5e6), ('y'):rep(5e6), ('z'):rep(5e6)})",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_memory(small: Store, script: str) -> None:
    small("SET", "big", "x" * 100_000)
    assert small.error("EVAL", script, 0).startswith("ERR not enough memory script: ")
    assert small("EVAL", "return redis.call('STRLEN', 'big')", 0) == 100_000


@pytest.mark.parametrize(
    "call",
    [
        "redis.call, 'GET', 'value'", "redis.pcall, 'GET', 'value'", "redis.sha1hex, 'x'",
        "struct.pack, 'd', 1.5", "cmsgpack.pack, 1.5", "cmsgpack.unpack, packed", "bit.band, 1, 2",
        "redis.acl_check_cmd, 'get', 'x'", "redis.setresp, 3", "string.rep, 'x', 1000",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_calls_at_the_edge_of_memory(small: Store, call: str) -> None:
    """Where Python hands something to a full Lua, a fault would never be caught: see runtime.py."""
    small("SET", "value", "v" * 3000)
    script = f"""
    local keep, sizes, at, i = {{}}, {{100000, 10000, 1000, 100, 30, 10}}, 1, 1
    local packed, rep, failed = cmsgpack.pack(1.5), string.rep, 0
    for j = 1, 4000 do keep[j] = false end
    local function fill(j) keep[j] = rep('z', sizes[at]) .. j end
    while at <= 6 and i < 3900 do
        if pcall(fill, i) then i = i + 1 else at = at + 1 end
    end
    for j = 1, 200 do if not pcall({call}) then failed = failed + 1 end end
    keep = nil
    return failed
    """
    small("EVAL", script, 0)
    assert small("EVAL", "return 1", 0) == 1


def test_big_arguments(small: Store) -> None:
    assert small("EVAL", "return #ARGV[1]", 0, "x" * 1_000_000) == 1_000_000
    assert "not enough memory" in small.error("EVAL", "return 1", 0, "x" * (15 << 20))
    assert "not enough memory" in small.error("EVAL", "return '" + "x" * (2 << 20) + "'", 0)
    assert small("EVAL", "return 1", 0) == 1


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("local function f() return 1 + f() end return f()", "stack overflow"),
        ("local m = {} m.__index = function(t, k) return t[k] end "
         "return setmetatable({}, m).x", "C stack overflow"),
        ("return unpack({}, 1, 1e9)", "too many results to unpack"),
        ("return unpack({}, 0, 2147483647)", "too many results to unpack"),
        ("return unpack({}, -2 ^ 31, 2 ^ 31)", "too many results to unpack"),
        ("return cjson.decode(('['):rep(1e5))", "Found too many nested data structures (1001)"),
        ("local t = {} t[1] = t return cjson.encode(t)", "excessive nesting (1001)"),
        ("return cmsgpack.unpack(('\\145'):rep(1e5))", "stack overflow"),
        ("return struct.pack('i9999999999', 1)", "integral size overflow"),
        ("return struct.pack('i33', 1)", "larger than limit of 32"),
        ("return string.format('%100d', 1)", "width or precision too long"),
        ("table.sort({3, 1, 2, 5, 4}, function() return true end)", "invalid order function"),
    ],
)  # fmt: skip
def test_recursion_and_counts(store: Store, script: str, text: str) -> None:
    assert text in store.error("EVAL", script, 0)


def test_quick_answers_to_huge_counts(store: Store) -> None:
    assert store("EVAL", "return ('').rep('', 2 ^ 31)", 0) == b""
    assert store("EVAL", "return table.concat({}, '', 1, 2 ^ 31)", 0) == b""
    assert store("EVAL", "local t = {5} table.insert(t, -1000, 7) return t[-1000]", 0) == 7
    many = "local a = ('a'):rep(1e6) return a:find(('a'):rep(5e5) .. 'b', 1, true) == nil"
    assert store("EVAL", many, 0) == 1


def test_nested_replies_end(store: Store) -> None:
    reply = store.raw("EVAL", "local t = {} t[1] = t return t", 0)
    assert reply.endswith(b"-ERR reached lua stack limit\r\n")
    assert reply.count(b"*1\r\n") < 5000


PATTERNS = [
    ("aaaaaaaaaab", "(a*)(a*)b"), ("  trim me  ", "^%s*(.-)%s*$"),
    ("key = value", "(%w+)%s*=%s*(%w+)"),
    ("THE (quick) fox", "%((%a+)%)"), ("f(a(b)c)d", "%b()"), ("THE (quick) fox", "%f[%a]%a+"),
    ("hello world", "()ll()"), ("abcabc", "(abc)%1"), ("x^y", "^x%^y$"), ("a.b-c", "[%w.-]+"),
    ("a]b", "[]]"), ("a^b", "[%^]"), ("2024-01-02", "(%d+)-(%d+)-(%d+)"), ("", "^$"), ("abc", "b$"),
    ("$100", "%$(%d+)"), ("aXb", "[^%l]"), ("tab\tsep", "%c"), ("a\0b", "%z"), ("abc", ""),
]  # fmt: skip


@functools.cache
def costly_patterns() -> Store:
    """A node that holds every pattern for too costly to leave it to C."""
    folder = runtime.HERE

    class Sources(type(folder)):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            text = super().read_bytes()
            if self.name != "patterns.lua":
                return text
            assert b"STEPS_IN_C_MAX = 1e8" in text and b"size < 40 and" in text
            text = text.replace(b"STEPS_IN_C_MAX = 1e8", b"STEPS_IN_C_MAX = -1")
            return text.replace(b"size < 40 and", b"size < 0 and")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "HERE", Sources(folder))
        made = Store()
        # It reads the sources now, and never again.
        made("EVAL", "return 1", 0)
    return made


@pytest.fixture
def careful() -> Store:
    return costly_patterns()


@pytest.mark.parametrize(("subject", "pattern"), PATTERNS)
def test_the_lua_matcher_agrees_with_the_c_matcher(
    careful: Store, store: Store, subject: str, pattern: str
) -> None:
    script = """
    local s, p = ARGV[1], ARGV[2]
    local function all(...)
        local r = {...}
        for i = 1, select('#', ...) do r[i] = tostring(r[i]) end
        return table.concat(r, '|')
    end
    local out = {all(s:find(p)), all(s:find(p, 3)), all(s:match(p)), all(s:gsub(p, '<%0>')),
        all(s:gsub(p, '%1', 1)), all(s:gsub(p, {a = 'table'})),
        all(s:gsub(p, function(x) return x and #tostring(x) or nil end))}
    for a, b in s:gmatch(p) do out[#out + 1] = all(a, b) end
    return out
    """
    assert careful("EVAL", script, 0, subject, pattern) == store(
        "EVAL", script, 0, subject, pattern
    )


BAD_PATTERNS = ["[a", "%", "(", ")", "%b", "%f", "%1", "(()%2", "[%"]


@pytest.mark.parametrize("pattern", BAD_PATTERNS)
def test_both_matchers_refuse_the_same(careful: Store, store: Store, pattern: str) -> None:
    script = "local ok, e = pcall(string.find, 'aab', ARGV[1]) return {tostring(ok), tostring(e)}"
    assert careful("EVAL", script, 0, pattern) == store("EVAL", script, 0, pattern)


@functools.cache
def ordinary() -> Store:
    return Store()


PIECES = [
    "a", "b", ".", "%a", "%d", "%s", "[ab]", "[^a]", "[a-c]", "(", ")", "()", "(a", ".)", "%1",
    "%b()", "%f[a]", "*", "+", "-", "?", "^", "$", "%", "[", "]", "%%", "%W", "[%w_]", "x",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.text("ab(1 x_)", max_size=12), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_generated_patterns(subject: str, pattern: str) -> None:
    script = """
    local s, p = ARGV[1], ARGV[2]
    local function all(...)
        local r = {...}
        for i = 1, select('#', ...) do
            -- Only C's errors know where they were raised.
            r[i] = tostring(r[i]):gsub('^user_script:%d+: ', '')
        end
        return table.concat(r, '|')
    end
    local parts = {}
    local function each()
        for a, b in s:gmatch(p) do
            parts[#parts + 1] = all(a, b)
            if #parts > 20 then break end
        end
    end
    return {all(pcall(string.find, s, p)), all(pcall(string.gsub, s, p, '<%0>')),
        all(pcall(string.match, s, p, 2)), all(pcall(each)), all(unpack(parts))}
    """
    wanted = ordinary()("EVAL", script, 0, subject, pattern)
    assert costly_patterns()("EVAL", script, 0, subject, pattern) == wanted


def test_a_script_may_be_compiled_at_any_time(store: Store) -> None:
    """The hook that ends a library's loading once counted against scripts that only compile."""
    store.advance(60_000)
    for n in range(600):
        assert store("EVAL", f"return {n}", 0) == n

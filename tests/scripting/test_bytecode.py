"""The repair of tail calls: what is patched, and that it changes nothing but line numbers."""

from __future__ import annotations

import lupa.lua51 as lua
import pytest

from isthmus.node.scripting.bytecode import keep_frames
from tests.support.store import Store

SOURCES = [
    "return 1", "return f(1)", "return a.b(1, 2, ...)", "return s:upper()", "return f()()",
    "local function g(n) if n == 0 then return 'end' end return g(n - 1) end return g(100000)",
    "local t = {} for i = 1, 3 do t[i] = function() return a.b(i) end end return t[1](), t[2]()",
    "return (function(...) return select('#', ...) end)(nil, nil)",
    "local x, y = nil, nil return (x or f)(y)", "return f(function() return f(x) end)",
    "return 'a' .. 1, 1.5, true, nil, -3",
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_the_patched_function_does_the_same(source: str) -> None:
    state = lua.LuaRuntime(encoding=None)
    compare = state.execute(b"""
    a = {b = function(...) return select('#', ...), ... end}
    f = function(x) return function() return x end end
    s = 'text'
    local function flat(...)
        local r = {}
        for i = 1, select('#', ...) do
            local value = select(i, ...)
            r[i] = type(value) .. tostring(value)
        end
        return (table.concat(r, ' '):gsub('0x%x+', ''))
    end
    return function(dump) return flat(pcall(loadstring(dump))) end
    """)
    dump = state.eval(b"function(s) return string.dump(loadstring(s, '@x')) end")(source.encode())
    patched, _ = keep_frames(dump)
    assert len(patched) == len(dump)
    assert compare(patched) == compare(dump)


def test_which_calls_are_patched() -> None:
    state = lua.LuaRuntime(encoding=None)
    dump = state.eval(b"function(s) return string.dump(loadstring(s, '@x')) end")

    def left(source: str) -> int:
        return keep_frames(dump(source.encode()))[1]

    assert left("return redis.call('get', 'x')") == 0
    assert left("return tostring(1)") == 0
    assert left("return s:rep(3)") == 0
    assert left("local f = g\n\nreturn f(1)") == 3
    assert keep_frames(b"something else") == (b"something else", 0)


def test_the_line_is_that_of_the_call() -> None:
    store = Store()
    script = "local x = 1\nlocal y = 2\nreturn redis.call('NOSUCH')"
    assert store.error("EVAL", script, 0).endswith(", on @user_script:3.")
    script = "local call = redis.call\nreturn call('NOSUCH')"
    assert store.error("EVAL", script, 0).endswith(", on @user_script:2.")


def test_tail_calls_of_local_functions_need_no_stack() -> None:
    script = (
        "local function f(n) if n == 0 then return 'done' end return f(n - 1) end return f(1e6)"
    )
    assert Store()("EVAL", script, 0) == b"done"

"""Calls of the API are no tail calls: a repair of compiled Lua, for the sake of error messages.

`return redis.call(...)` is a tail call: Lua 5.1 gives the caller's frame away, and with it the line
number that Redis' error messages end with. In Redis the API is C, and a tail call of a C function
is an ordinary call. Ours is Lua. So each function that a script is compiled to is changed where it
tail-calls a global, a field, a method or what a call returned: the one instruction TAILCALL becomes
CALL, which does the same but keeps the frame (the RETURN that follows takes all results of either).
Tail calls of local functions stay what they are, so recursion through them needs no stack.

Layout of a function in Lua 5.1's dump, native sizes (4-byte int, 8-byte size_t, 8-byte number):

    string source; int first_line, last_line; byte upvalues, parameters, vararg, stack
    int n, n instructions of 4 bytes: opcode 6 bits, A 8, C 9, B 9, from the lowest
    int n, n constants: byte type (0 nil, 1 bool, 3 number, 4 string), value
    int n, n functions; int n, n line numbers; int n, n locals (string, int, int); int n, n strings

A string is its size_t length, final zero included, and its bytes. The text comes from Lua's own
compiler, never from a client.
"""

from __future__ import annotations

import struct

_HEADER_BYTES = 12
_SIZE = struct.Struct("<Q")
_INT = struct.Struct("<i")
_CONSTANT_BYTES = {0: 0, 1: 1, 3: 8}
_STRING_CONSTANT = 4
_CALL, _TAILCALL, _CLOSURE, _LOADNIL = 28, 29, 36, 3
_SELF = 11
# What loads a function that is patched: GETGLOBAL, GETTABLE, SELF, CALL.
_API = frozenset({5, 6, 11, 28})
# Instructions whose register A is what they compute.
_WRITES_A = frozenset(
    {0, 1, 2, 4, 5, 6, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 36, 37}
)


class _Patcher:
    """Walks one dump; `lines` collects where tail calls stay."""

    def __init__(self, dump: bytes) -> None:
        self.code = bytearray(dump)
        self.at = _HEADER_BYTES
        self.lines: list[int] = []

    def number(self) -> int:
        value: int = _INT.unpack_from(self.code, self.at)[0]
        self.at += 4
        return value

    def string(self) -> None:
        self.at += 8 + _SIZE.unpack_from(self.code, self.at)[0]

    def function(self) -> int:
        """Patch one function and those inside it; returns how many upvalues it has."""
        self.string()
        self.at += 8
        upvalues = self.code[self.at]
        self.at += 4
        count = self.number()
        start = self.at
        self.at += 4 * count
        for _ in range(self.number()):
            kind = self.code[self.at]
            self.at += 1
            if kind == _STRING_CONSTANT:
                self.string()
            else:
                self.at += _CONSTANT_BYTES[kind]
        inner = [self.function() for _ in range(self.number())]
        kept = self.patch(start, count, inner)
        lines = self.number()
        self.lines += [
            _INT.unpack_from(self.code, self.at + 4 * index)[0] for index in kept if index < lines
        ]
        self.at += 4 * lines
        for _ in range(self.number()):
            self.string()
            self.at += 8
        for _ in range(self.number()):
            self.string()
        return upvalues

    def patch(self, start: int, count: int, inner: list[int]) -> list[int]:
        """Rewrite the tail calls among `count` instructions; the indexes of those that stay."""
        writer: dict[int, int] = {}
        kept: list[int] = []
        index = 0
        while index < count:
            place = start + 4 * index
            word = int.from_bytes(self.code[place : place + 4], "little")
            opcode, a = word & 63, word >> 6 & 255
            if opcode == _TAILCALL:
                if writer.get(a) in _API:
                    self.code[place] = (word & 0xC0) | _CALL
                else:
                    kept.append(index)
            elif opcode == _LOADNIL:
                writer.update(dict.fromkeys(range(a, (word >> 23) + 1), opcode))
            elif opcode in _WRITES_A or opcode == _SELF:
                writer[a] = opcode
                if opcode == _CLOSURE:
                    # One pseudo instruction follows for each upvalue it takes along.
                    index += inner[word >> 14]
            index += 1
        return kept


def keep_frames(dump: bytes) -> tuple[bytes, int]:
    """The dump with its API calls keeping their frames; and the first line of a tail call that
    stays, or 0. A dump of another layout than the one above is returned as it is."""
    if dump[:_HEADER_BYTES] != b"\x1bLuaQ\x00\x01\x04\x08\x04\x08\x00":
        return dump, 0
    patcher = _Patcher(dump)
    patcher.function()
    return bytes(patcher.code), min(patcher.lines, default=0)

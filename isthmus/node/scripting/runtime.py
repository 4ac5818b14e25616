"""The Lua state: built once, with what it may ask of Python, and bounded in memory.

Scripts never see a Python object: `sandbox.lua` wraps each function below in a Lua function of its
own, and only bytes, numbers and booleans cross. A function called from Lua may not raise: an
exception would reach the script as an object. It returns a value, and the Lua side raises.

Memory. Lua's allocator stops at `memory_bytes_max`; inside the state that is an ordinary error
("not enough memory"). Where Python hands something over, it would be a fault that nobody catches.
(It would even leave the interpreter's lock taken.) So nothing is handed over while more than half
is in use: handing over a string can make Lua double its table of strings. What is handed over must
fit, and `spare` makes sure that the system has the memory at all.
"""

from __future__ import annotations

import hashlib
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lupa.lua51 as lua

from isthmus.node.scripting.bytecode import keep_frames
from isthmus.wire.scalars import format_float, i64

MEMORY_BYTES_MAX = 1 << 30
# Instructions of the Lua machine between two looks at the clock.
HOOK_EVERY = 4000
# Arguments that are pushed on Lua's stack, which has 8000 places; more go as tables.
STACK_ARGUMENTS_MAX = 4000
# What the system must have to spare when something small is handed to Lua.
_SPARE_BYTES = 1 << 16
_LARGE_BYTES = 1 << 16
# How deep a reply may be nested, as Redis' Lua stack allows.
REPLY_DEPTH_MAX = 1990
REDIS_VERSION = b"7.4.0"
REDIS_VERSION_NUM = 0x070400
_LIBRARIES = ("patterns", "cjson", "cmsgpack", "struct", "bit", "replies", "api")
# What Python's handles on the functions of a library may take in Lua.
_WRAPPERS_BYTES = 1 << 16
HERE = Path(__file__).parent
_DOUBLE = struct.Struct(">d")


def double_text(value: float, protocol: int) -> bytes:
    """A double as a reply."""
    text = format_float(float(value))
    return b",%b\r\n" % text if protocol == 3 else b"$%d\r\n%b\r\n" % (len(text), text)


def pack_float(value: float, size: int, order: bytes = b"") -> bytes:
    """IEEE bytes; without an order as MessagePack: head, and four bytes if that loses nothing."""
    number = float(value)
    if order:
        code = "f" if size == 4 else "d"
        try:
            return struct.pack(order.decode() + code, number)
        except OverflowError:
            return struct.pack(order.decode() + code, float("inf") if number > 0 else float("-inf"))
    try:
        short = struct.pack(">f", number)
        if struct.unpack(">f", short)[0] == number:
            return b"\xca" + short
    except OverflowError:
        pass
    return b"\xcb" + _DOUBLE.pack(number)


def unpack_float(data: bytes, order: bytes) -> float:
    """A float of four or eight bytes."""
    value: float = struct.unpack(order.decode() + ("f" if len(data) == 4 else "d"), data)[0]
    return value


def bit_operation(code: int, a: int, b: int) -> int:
    """Operations of the bit library on 32-bit words; the codes are those of bit.lua."""
    if code == 1:
        return a & b
    if code == 2:
        return a | b
    if code == 3:
        return a ^ b
    if code == 4:
        return a << b & 0xFFFFFFFF
    if code == 5:
        return a >> b
    if code == 6:
        return (a - (1 << 32) >> b if a & 0x80000000 else a >> b) & 0xFFFFFFFF
    if code == 7:
        return (a << b | a >> (32 - b)) & 0xFFFFFFFF
    return (a >> b | a << (32 - b)) & 0xFFFFFFFF


def low_bits(value: float) -> int:
    """The low 32 bits of the double that value and the bit library's rounding constant make."""
    bits: int = struct.unpack("<Q", struct.pack("<d", float(value) + 6755399441055744.0))[0]
    return bits & 0xFFFFFFFF


class Compiled:
    """A script ready to run; `tail_line` stands in where a line number was lost."""

    __slots__ = ("body", "tail_line")

    def __init__(self, body: Any, tail_line: int) -> None:
        self.body = body
        self.tail_line = tail_line


class Failure:
    """What is known of a script's error: text with its code, and where; line 0 if unknown."""

    __slots__ = ("text", "source", "line", "counted")

    def __init__(self, text: bytes, source: bytes, line: int, counted: bool) -> None:
        self.text = text
        self.source = source
        self.line = line
        self.counted = counted


def no_memory() -> Failure:
    """The error of a script that ran out of Lua's memory."""
    return Failure(b"ERR not enough memory", b"", 0, False)


class CompileError(Exception):
    """The source is no Lua; `text` is the compiler's message."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class Runtime:
    """One Lua state; `asked` are the functions of the node that scripts reach through the API."""

    def __init__(self, asked: dict[str, Callable[..., Any]], memory_bytes_max: int) -> None:
        self.memory_bytes_max = memory_bytes_max
        self.reserve_bytes = memory_bytes_max // 2
        self.limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        self._lua = lua.LuaRuntime(
            encoding=None, register_eval=False, register_builtins=False,
            unpack_returned_tuples=True, max_memory=memory_bytes_max,
        )  # fmt: skip
        self._memory_used = self._lua.get_memory_used
        load = self._lua.eval(b"loadstring")
        sources = {name: (HERE / f"{name}.lua").read_bytes() for name in (*_LIBRARIES, "sandbox")}
        libraries = {name.encode(): load(sources[name], b"=\x01") for name in _LIBRARIES}
        host: dict[bytes, Any] = {
            b"hook_every": HOOK_EVERY, b"string_bytes_max": memory_bytes_max // 2,
            b"room_kib": (memory_bytes_max - self.reserve_bytes) // 1024,
            b"reply_depth_max": REPLY_DEPTH_MAX, b"redis_version": REDIS_VERSION,
            b"redis_version_num": REDIS_VERSION_NUM, b"double": self.careful(double_text),
            b"pack_float": self.careful(pack_float), b"unpack_float": unpack_float,
            b"bit": bit_operation,
            b"low_bits": low_bits,
            b"sha1": self.careful(lambda text: hashlib.sha1(text).hexdigest().encode()),
            b"find": lambda text, piece, start: text.find(piece, start),
            **{name.encode(): function for name, function in asked.items()},
        }  # fmt: skip
        sandbox = load(sources["sandbox"], b"=\x01")
        entry = sandbox(self._lua.table_from(host), self._lua.table_from(libraries))
        self._compile = entry[b"compile"]
        self._bind = entry[b"bind"]
        self._eval = entry[b"eval"]
        self._eval_long = entry[b"eval_long"]
        self._fcall = entry[b"fcall"]
        self._load = entry[b"load"]
        self.base_bytes = self.used_bytes()

    def spare(self, size: i64) -> bool:
        """True if the system gives `size` bytes, which are given back at once for Lua to take.

        Only an address space with a limit can refuse little; then what Lua may need besides, for
        its table of strings, is asked for too.
        """
        if not self.limited:
            if size < _LARGE_BYTES:
                return True
        else:
            size += self.used_bytes() + _SPARE_BYTES
        try:
            bytes(size)
        except MemoryError:
            return False
        return True

    def careful(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function for Lua that answers None where there is no memory for a small answer."""
        if not self.limited:
            return function

        def call(*args: Any) -> Any:
            try:
                return function(*args) if self.spare(0) else None
            except MemoryError:
                return None

        return call

    def used_bytes(self) -> i64:
        """Bytes Lua has allocated, garbage included."""
        return int(self._memory_used())

    def room_for(self, size: i64) -> bool:
        """True if `size` bytes may be handed to Lua now."""
        return self.used_bytes() + size + self.reserve_bytes < self.memory_bytes_max

    def tidy(self) -> None:
        """Between scripts: collect when much is in use, so that the next one finds room."""
        if self.used_bytes() * 4 > self.memory_bytes_max:
            self._lua.set_max_memory(0)
            self._lua.gccollect()
            self._lua.set_max_memory(self.memory_bytes_max)

    def compile(self, source: bytes, name: bytes, for_functions: bool = False) -> Compiled:
        """Compile a chunk; raises CompileError."""
        if source[:1] == b"\x1b":
            raise CompileError(b"binary chunks are not accepted")
        # What is compiled stays: it may take half of the memory, running scripts need the rest.
        if (self.used_bytes() + 16 * len(source)) * 2 > self.memory_bytes_max:
            raise CompileError(b"not enough memory")
        result = self._compile(source, name)
        if result[0] is None:
            raise CompileError(bytes(result[1]))
        dump, tail_line = keep_frames(result[1])
        try:
            return Compiled(self._bind(dump, name, for_functions), tail_line)
        except lua.LuaError as error:
            raise CompileError(b"cannot be bound: " + str(error).encode()) from error

    def eval(
        self, script: Compiled, protocol: i64, keys: list[bytes], arguments: list[bytes]
    ) -> bytes | Failure:
        """Run a script with KEYS and ARGV; its reply in the caller's protocol."""
        if not self.fits(keys, arguments):
            return no_memory()
        try:
            if len(keys) + len(arguments) <= STACK_ARGUMENTS_MAX:
                return self.result(self._eval(script.body, protocol, len(keys), *keys, *arguments))
            tables = self._lua.table_from(keys), self._lua.table_from(arguments)
            return self.result(self._eval_long(script.body, protocol, *tables))
        except lua.LuaMemoryError:
            return no_memory()

    def fcall(
        self, callback: Any, protocol: i64, keys: list[bytes], arguments: list[bytes]
    ) -> bytes | Failure:
        """Call a function of a library with its two tables."""
        if not self.fits(keys, arguments):
            return no_memory()
        try:
            tables = self._lua.table_from(keys), self._lua.table_from(arguments)
            return self.result(self._fcall(callback, protocol, *tables))
        except lua.LuaMemoryError:
            return no_memory()

    def load(self, library: Compiled) -> list[dict[bytes, Any]] | Failure:
        """Run a library's code; what it registered, with flags as a list."""
        try:
            result = self._load(library.body)
        except lua.LuaMemoryError:
            return no_memory()
        if isinstance(result, tuple):
            return self.failure(result)
        if not self.room_for(_WRAPPERS_BYTES):
            return no_memory()
        entries = [dict(entry.items()) for entry in result.values()]
        for entry in entries:
            flags = entry.get(b"flags")
            entry[b"flags"] = [] if flags is None else [bytes(flag) for flag in flags.values()]
        return entries

    def fits(self, keys: list[bytes], arguments: list[bytes]) -> bool:
        if not keys and not arguments:
            return True
        size: i64 = 64 * (len(keys) + len(arguments))
        for text in keys:
            size += len(text)
        for text in arguments:
            size += len(text)
        return size < 4096 or (self.room_for(size) and self.spare(3 * size))

    def result(self, result: Any) -> bytes | Failure:
        return result if type(result) is bytes else self.failure(result)

    def failure(self, result: tuple[Any, ...]) -> Failure:
        """From (nil, text, source, line, counted)."""
        _, text, source, line, counted = result
        return Failure(text, source or b"", int(line or 0), bool(counted))

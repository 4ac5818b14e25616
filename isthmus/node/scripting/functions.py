"""Libraries of functions: FUNCTION LOAD and its like, without Lua's part.

A library's code begins with `#!lua name=NAME`; running it once registers its functions. Names of
functions are one space for all libraries and are looked up in any case, as in Redis. Libraries are
loaded into a new registry first wherever more than one may be concerned (FUNCTION RESTORE), so that
an error changes nothing.
"""

from __future__ import annotations

import re
from typing import Any

from isthmus.node.scripting.runtime import CompileError, Failure, Runtime
from isthmus.wire.scalars import split_inline

FLAGS = (b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys")
_NAME = re.compile(rb"[A-Za-z0-9_]+")
BAD_NAME = (
    b"ERR Library names can only contain letters, numbers, or underscores(_) and must be at least "
    b"one character long"
)
CHUNK = b"@user_function"
# What a library costs beside its code, about.
LIBRARY_BYTES = 256
FUNCTION_BYTES = 192


class LibraryError(Exception):
    """A library that cannot be loaded; `text` is the reply."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class Function:
    """One function of a library; `callback` is Lua's."""

    def __init__(self, library: Library, entry: dict[bytes, Any]) -> None:
        self.library = library
        self.name: bytes = entry[b"name"]
        self.description: bytes | None = entry.get(b"description")
        self.callback = entry[b"callback"]
        given = entry[b"flags"]
        self.flags = [flag for flag in FLAGS if flag in given]


class Library:
    """A library as it was loaded."""

    def __init__(self, name: bytes, code: bytes) -> None:
        self.name = name
        self.code = code
        self.tail_line = 0
        self.functions: dict[bytes, Function] = {}


def split_words(line: bytes) -> list[bytes]:
    """The words of a shebang line, which may be quoted; raises LibraryError."""
    try:
        return split_inline(line)
    except ValueError:
        raise LibraryError(b"ERR Invalid library metadata") from None


def read_metadata(code: bytes) -> tuple[bytes, bytes]:
    """The name, and the code without its first line; raises LibraryError."""
    if not code.startswith(b"#!"):
        raise LibraryError(b"ERR Missing library metadata")
    end = code.find(b"\n")
    if end < 0:
        raise LibraryError(b"ERR Invalid library metadata")
    engine, *words = split_words(b"." + code[2:end])
    engine = engine[1:]
    name: bytes | None = None
    for word in words:
        if not word.lower().startswith(b"name="):
            raise LibraryError(b"ERR Invalid metadata value given: " + word)
        if name is not None:
            raise LibraryError(
                b"ERR Invalid metadata value, name argument was given multiple times"
            )
        name = word[5:]
    if name is None:
        raise LibraryError(b"ERR Library name was not given")
    if not _NAME.fullmatch(name):
        raise LibraryError(BAD_NAME)
    if engine.lower() != b"lua":
        raise LibraryError(b"ERR Engine '" + engine + b"' not found")
    return name, code[end:]


class Registry:
    """Libraries by name, functions by their names in lower case."""

    def __init__(self) -> None:
        self.libraries: dict[bytes, Library] = {}
        self.functions: dict[bytes, Function] = {}
        self.bytes = 0

    def copy(self) -> Registry:
        """Another registry with the same libraries."""
        other = Registry()
        for library in self.libraries.values():
            other.add(library)
        return other

    def add(self, library: Library) -> None:
        """Take a library whose names are free."""
        self.libraries[library.name] = library
        for function in library.functions.values():
            self.functions.setdefault(function.name.lower(), function)
        self.bytes += self.size_of(library)

    def remove(self, name: bytes) -> bool:
        """Forget a library. False if there is none of that name."""
        library = self.libraries.pop(name, None)
        if library is None:
            return False
        for function in library.functions.values():
            if self.functions.get(function.name.lower()) is function:
                del self.functions[function.name.lower()]
        self.bytes -= self.size_of(library)
        return True

    @staticmethod
    def size_of(library: Library) -> int:
        """Bytes a library takes, about, beside what Lua compiled it to."""
        return LIBRARY_BYTES + len(library.code) + FUNCTION_BYTES * len(library.functions)

    def load(self, runtime: Runtime, code: bytes, replace: bool) -> bytes:
        """Load one library; its name. Raises LibraryError and leaves everything as it was."""
        name, body = read_metadata(code)
        old = self.libraries.get(name)
        if old is not None and not replace:
            raise LibraryError(b"ERR Library '" + name + b"' already exists")
        library = Library(name, code)
        try:
            compiled = runtime.compile(body, CHUNK, for_functions=True)
        except CompileError as error:
            raise LibraryError(b"ERR Error compiling function: " + error.text) from None
        library.tail_line = compiled.tail_line
        found = runtime.load(compiled)
        if isinstance(found, Failure):
            raise LibraryError(b"ERR Error registering functions: " + found.text)
        for entry in found:
            function = Function(library, entry)
            library.functions[function.name] = function
        if not library.functions:
            raise LibraryError(b"ERR No functions registered")
        for function in library.functions.values():
            taken = self.functions.get(function.name.lower())
            if taken is not None and taken.library is not old:
                raise LibraryError(b"ERR Function " + function.name + b" already exists")
        if old is not None:
            self.remove(name)
        self.add(library)
        return name

    def restored(self, runtime: Runtime, codes: list[bytes], policy: bytes) -> Registry:
        """The registry after FUNCTION RESTORE (`flush`, `append` or `replace`); raises
        LibraryError. This one stays as it is."""
        fresh = Registry()
        for code in codes:
            fresh.load(runtime, code, False)
        if policy == b"flush":
            return fresh
        result = self.copy()
        for library in fresh.libraries.values():
            if library.name in result.libraries:
                if policy == b"append":
                    raise LibraryError(b"ERR Library " + library.name + b" already exists")
                result.remove(library.name)
        for function in fresh.functions.values():
            if function.name.lower() in result.functions:
                raise LibraryError(b"ERR Function " + function.name + b" already exists")
        for library in fresh.libraries.values():
            result.add(library)
        return result

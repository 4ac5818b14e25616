"""Functions: FCALL and FUNCTION.

Only the requests are read here, and libraries described; what is asked for is done by
`node.scripts` (node/scripting), which commands do not import. FUNCTION KILL and STATS run while a
function is paused, the others then do not.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.commands.scripting import DEPENDS, RO_KEYS, RUNS, RW_KEYS, keys_count
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.registry import ANY, ARRAY, BULK, MAP, OK, command, container
from isthmus.node.engine.spec import (
    ALLOW_BUSY,
    DENYOOM,
    LOADING,
    MAY_REPLICATE,
    NOSCRIPT,
    READONLY,
    STALE,
    WRITE,
)
from isthmus.node.values.restore import resealed

BAD_KEYS_COUNT = b"ERR Bad number of keys provided"
DEPENDS_ON_FUNCTION = DEPENDS.replace("script", "function")
ALL_SHARDS = "REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:ALL_SUCCEEDED"
HELP = (
    b"FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"LOAD [REPLACE] <code>",
    b"    Load a library; its first line is #!lua name=<name>.",
    b"DELETE <library>",
    b"    Drop a library and all its functions.",
    b"FLUSH [ASYNC|SYNC]",
    b"    Drop every library. Both modes do the same.",
    b"LIST [LIBRARYNAME <pattern>] [WITHCODE]",
    b"    Describe the libraries: engine, functions and, if asked for, code.",
    b"STATS",
    b"    Tell which function or script is running, and what is loaded.",
    b"KILL",
    b"    End the running function, unless it has written.",
    b"DUMP",
    b"    Reply with all libraries in one payload.",
    b"RESTORE <payload> [FLUSH|APPEND|REPLACE]",
    b"    Load the libraries of a payload: instead of those here, beside them (an error if",
    b"    one is here already, the default), or over those of the same name.",
    b"HELP",
    b"    Show this text.",
)


def wrong_subcommand(word: bytes) -> RedisError:
    """The error for a sub-command with arguments that its arity lets through."""
    return RedisError(
        b"ERR unknown subcommand or wrong number of arguments for '" + word
        + b"'. Try FUNCTION HELP."
    )  # fmt: skip


def changed(ctx: Context, commands: list[list[bytes]]) -> None:
    """Libraries have changed: an effect of its own kind, which belongs to no key and no event."""
    ctx.log.dirty += 1
    if ctx.log.recording:
        for argv in commands:
            ctx.log.append(ctx.db.index, argv, b"", b"")


@command("FCALL function numkeys [key [key ...]] [arg [arg ...]]", since="7.0.0",
         group="scripting", flags=RUNS | MAY_REPLICATE, categories="SCRIPTING", keys=RW_KEYS,
         complexity=DEPENDS_ON_FUNCTION, reply=ANY)  # fmt: skip
def fcall(ctx: Context, argv: list[bytes]) -> None:
    """Call a function of a library."""
    call_function(ctx, argv, False)


@command("FCALL_RO function numkeys [key [key ...]] [arg [arg ...]]", since="7.0.0",
         group="scripting", flags=RUNS | READONLY, categories="SCRIPTING", keys=RO_KEYS,
         complexity=DEPENDS_ON_FUNCTION, reply=ANY)  # fmt: skip
def fcall_ro(ctx: Context, argv: list[bytes]) -> None:
    """Call a function that does not write."""
    call_function(ctx, argv, True)


def call_function(ctx: Context, argv: list[bytes], read_only: bool) -> None:
    scripts = ctx.node.scripts
    if scripts.finished and scripts.take_finished(ctx):
        return
    scripts.function(argv[1])
    scripts.fcall(ctx, argv, keys_count(argv, BAD_KEYS_COUNT), read_only)


container("FUNCTION", since="7.0.0", group="scripting")


@command("FUNCTION LOAD [REPLACE] function-code", since="7.0.0", group="scripting",
         flags=NOSCRIPT | WRITE | DENYOOM, categories="SCRIPTING", reply=BULK, tips=ALL_SHARDS,
         complexity="O(1) (considering compilation time is redundant)")  # fmt: skip
def function_load(ctx: Context, argv: list[bytes]) -> None:
    """Load a library; reply with its name."""
    for word in argv[2:-1]:
        if word.lower() != b"replace":
            raise RedisError(b"ERR Unknown option given: " + word)
    ctx.reply.bulk(ctx.node.scripts.load_library(argv[-1], len(argv) > 3))
    changed(ctx, [[b"FUNCTION", b"LOAD", b"REPLACE", argv[-1]]])


@command("FUNCTION DELETE library-name", since="7.0.0", group="scripting", flags=NOSCRIPT | WRITE,
         categories="SCRIPTING", reply=OK, complexity="O(1)", tips=ALL_SHARDS)  # fmt: skip
def function_delete(ctx: Context, argv: list[bytes]) -> None:
    """Delete a library and its functions."""
    if not ctx.node.scripts.delete_library(argv[2]):
        raise RedisError(b"ERR Library not found")
    changed(ctx, [[b"FUNCTION", b"DELETE", argv[2]]])
    ctx.reply.ok()


@command("FUNCTION FLUSH [ASYNC | SYNC]", since="7.0.0", group="scripting", flags=NOSCRIPT | WRITE,
         categories="SCRIPTING", reply=OK, tips=ALL_SHARDS,
         complexity="O(N) where N is the number of functions deleted")  # fmt: skip
def function_flush(ctx: Context, argv: list[bytes]) -> None:
    """Delete every library."""
    if len(argv) > 3:
        raise wrong_subcommand(argv[1])
    if len(argv) == 3 and argv[2].lower() not in (b"sync", b"async"):
        raise RedisError(b"ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    ctx.node.scripts.flush_libraries()
    changed(ctx, [[b"FUNCTION", b"FLUSH"]])
    ctx.reply.ok()


@command("FUNCTION KILL", since="7.0.0", group="scripting", flags=NOSCRIPT | ALLOW_BUSY,
         categories="SCRIPTING", reply=OK, complexity="O(1)",
         tips="REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:ONE_SUCCEEDED")  # fmt: skip
def function_kill(ctx: Context, argv: list[bytes]) -> None:
    """End the function that runs, if it has written nothing."""
    ctx.node.scripts.kill(False)
    ctx.reply.ok()


@command("FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]", since="7.0.0",
         group="scripting", flags=NOSCRIPT, categories="SCRIPTING", reply=ARRAY,
         complexity="O(N) where N is the number of functions",
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def function_list(ctx: Context, argv: list[bytes]) -> None:
    """Describe the libraries."""
    pattern: bytes | None = None
    with_code = False
    at = 2
    while at < len(argv):
        word = argv[at].lower()
        if word == b"withcode" and not with_code:
            with_code = True
        elif word == b"libraryname" and pattern is None:
            at += 1
            if at >= len(argv):
                raise RedisError(b"ERR library name argument was not given")
            pattern = argv[at]
        else:
            raise RedisError(b"ERR Unknown argument " + argv[at].split(b"\0")[0])
        at += 1
    libraries = [
        library
        for name, library in ctx.node.scripts.registry.libraries.items()
        if pattern is None or glob_match(pattern.lower(), name.lower())
    ]
    ctx.reply.array(len(libraries))
    for library in libraries:
        describe(ctx, library, with_code)


def describe(ctx: Context, library: Any, with_code: bool) -> None:
    """One library of FUNCTION LIST."""
    reply = ctx.reply
    reply.map(4 if with_code else 3)
    reply.bulk(b"library_name")
    reply.bulk(library.name)
    reply.bulk(b"engine")
    reply.bulk(b"LUA")
    reply.bulk(b"functions")
    reply.array(len(library.functions))
    for function in library.functions.values():
        reply.map(3)
        reply.bulk(b"name")
        reply.bulk(function.name)
        reply.bulk(b"description")
        if function.description is None:
            reply.null()
        else:
            reply.bulk(function.description)
        reply.bulk(b"flags")
        reply.set(len(function.flags))
        for flag in function.flags:
            reply.simple(flag)
    if with_code:
        reply.bulk(b"library_code")
        reply.bulk(library.code)


@command("FUNCTION STATS", since="7.0.0", group="scripting", flags=NOSCRIPT | ALLOW_BUSY,
         categories="SCRIPTING", reply=MAP, complexity="O(1)",
         tips="NONDETERMINISTIC_OUTPUT,REQUEST_POLICY:ALL_SHARDS,"
              "RESPONSE_POLICY:SPECIAL")  # fmt: skip
def function_stats(ctx: Context, argv: list[bytes]) -> None:
    """Tell what runs now, and how many libraries and functions there are."""
    scripts, reply = ctx.node.scripts, ctx.reply
    reply.map(2)
    reply.bulk(b"running_script")
    run = scripts.calls.run
    if run is None:
        reply.null()
    else:
        reply.map(3)
        reply.bulk(b"name")
        reply.bulk(run.name)
        reply.bulk(b"command")
        reply.array(len(run.argv))
        for word in run.argv:
            reply.bulk(word)
        reply.bulk(b"duration_ms")
        reply.integer((ctx.clock.mono_ns() - run.started_ns) // 1_000_000)
    reply.bulk(b"engines")
    reply.map(1)
    reply.bulk(b"LUA")
    reply.map(2)
    reply.bulk(b"libraries_count")
    reply.integer(len(scripts.registry.libraries))
    reply.bulk(b"functions_count")
    reply.integer(scripts.functions_count)


@command("FUNCTION DUMP", since="7.0.0", group="scripting", flags=NOSCRIPT,
         categories="SCRIPTING", reply=BULK,
         complexity="O(N) where N is the number of functions")  # fmt: skip
def function_dump(ctx: Context, argv: list[bytes]) -> None:
    """Reply with all libraries as one payload for FUNCTION RESTORE."""
    ctx.reply.bulk(ctx.node.scripts.dump_libraries())


@command("FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]", since="7.0.0",
         group="scripting", flags=NOSCRIPT | WRITE | DENYOOM, categories="SCRIPTING", reply=OK,
         complexity="O(N) where N is the number of functions on the payload",
         tips=ALL_SHARDS)  # fmt: skip
def function_restore(ctx: Context, argv: list[bytes]) -> None:
    """Load the libraries of a payload."""
    if len(argv) > 4:
        raise wrong_subcommand(argv[1])
    policy = argv[3].lower() if len(argv) == 4 else b"append"
    if policy not in (b"flush", b"append", b"replace"):
        raise RedisError(
            b"ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."
        )
    payload = resealed(argv[2]) if ctx.node.skip_checksums else argv[2]
    ctx.node.scripts.restore_libraries(payload, policy)
    # All that there is now, whose order of loading does not matter, and no payload of a version.
    codes = ctx.node.scripts.library_codes()
    loads = [[b"FUNCTION", b"LOAD", b"REPLACE", code] for code in codes]
    changed(ctx, [[b"FUNCTION", b"FLUSH"], *loads])
    ctx.reply.ok()


@command("FUNCTION HELP", since="7.0.0", group="scripting", flags=LOADING | STALE,
         categories="SCRIPTING", reply=ARRAY, complexity="O(1)")  # fmt: skip
def function_help(ctx: Context, argv: list[bytes]) -> None:
    """Describe FUNCTION's sub-commands."""
    ctx.reply.array(len(HELP))
    for line in HELP:
        ctx.reply.simple(line)

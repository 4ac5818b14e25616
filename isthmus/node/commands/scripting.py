"""Scripts: EVAL and its kin, SCRIPT.

Only the requests are read here; what they ask for is done by `node.scripts` (node/scripting), which
commands do not import. A script that is paused leaves no reply: its client gets it when the request
is run again after the end (engine/blocking.py, `suspend`).

SCRIPT DEBUG can only be told that debugging is off: there is no debugger.
"""

from __future__ import annotations

from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NOT_INTEGER, RedisError
from isthmus.node.engine.registry import ANY, ARRAY, BULK, OK, command, container
from isthmus.node.engine.spec import (
    ALLOW_BUSY,
    LOADING,
    MAY_REPLICATE,
    NO_MANDATORY_KEYS,
    NOSCRIPT,
    READONLY,
    SKIP_MONITOR,
    STALE,
)
from isthmus.wire.scalars import i64, parse_int

RUNS = NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE
RW_KEYS = "idx:2>keynum:0,1,1(RW|ACCESS|UPDATE)"
RO_KEYS = "idx:2>keynum:0,1,1(RO|ACCESS)"
DEPENDS = "Depends on the script that is executed."
HELP = (
    b"SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"LOAD <script>",
    b"    Compile and keep a script; reply with its SHA-1 for EVALSHA.",
    b"EXISTS <sha1> [<sha1> ...]",
    b"    Tell for each SHA-1 whether EVALSHA would find its script.",
    b"FLUSH [ASYNC|SYNC]",
    b"    Drop every script. Both modes do the same.",
    b"KILL",
    b"    End the running script, unless it has written.",
    b"DEBUG (YES|SYNC|NO)",
    b"    There is no debugger: only NO is accepted.",
    b"HELP",
    b"    Show this text.",
)


def keys_count(argv: list[bytes], not_a_number: bytes = NOT_INTEGER) -> i64:
    """The number of keys, argv[2], of a script or function called with argv; raises RedisError."""
    try:
        count = parse_int(argv[2])
    except ValueError:
        raise RedisError(not_a_number) from None
    if count > len(argv) - 3:
        raise RedisError(b"ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise RedisError(b"ERR Number of keys can't be negative")
    return count


@command("EVAL script numkeys [key [key ...]] [arg [arg ...]]", since="2.6.0", group="scripting",
         flags=RUNS | MAY_REPLICATE, categories="SCRIPTING", keys=RW_KEYS, complexity=DEPENDS,
         reply=ANY)  # fmt: skip
def eval_(ctx: Context, argv: list[bytes]) -> None:
    """Run a Lua script."""
    ctx.node.scripts.eval(ctx, argv, keys_count(argv), False, False)


@command("EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]", since="2.6.0", group="scripting",
         flags=RUNS | MAY_REPLICATE, categories="SCRIPTING", keys=RW_KEYS, complexity=DEPENDS,
         reply=ANY)  # fmt: skip
def evalsha(ctx: Context, argv: list[bytes]) -> None:
    """Run a script that the server has, by the SHA-1 of its text."""
    ctx.node.scripts.eval(ctx, argv, keys_count(argv), True, False)


@command("EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]", since="7.0.0",
         group="scripting", flags=RUNS | READONLY, categories="SCRIPTING", keys=RO_KEYS,
         complexity=DEPENDS, reply=ANY)  # fmt: skip
def eval_ro(ctx: Context, argv: list[bytes]) -> None:
    """Run a Lua script that may not write."""
    ctx.node.scripts.eval(ctx, argv, keys_count(argv), False, True)


@command("EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]", since="7.0.0",
         group="scripting", flags=RUNS | READONLY, categories="SCRIPTING", keys=RO_KEYS,
         complexity=DEPENDS, reply=ANY)  # fmt: skip
def evalsha_ro(ctx: Context, argv: list[bytes]) -> None:
    """Run a script that the server has, and that may not write."""
    ctx.node.scripts.eval(ctx, argv, keys_count(argv), True, True)


container("SCRIPT", since="2.6.0", group="scripting")


@command("SCRIPT LOAD script", since="2.6.0", group="scripting", flags=NOSCRIPT | STALE,
         categories="SCRIPTING", reply=BULK,
         complexity="O(N) with N being the length in bytes of the script body.",
         tips="REQUEST_POLICY:ALL_NODES,RESPONSE_POLICY:ALL_SUCCEEDED")  # fmt: skip
def script_load(ctx: Context, argv: list[bytes]) -> None:
    """Keep a script for EVALSHA; reply with its SHA-1."""
    sha, _ = ctx.node.scripts.add(argv[2], True)
    ctx.reply.bulk(sha)


@command("SCRIPT EXISTS sha1 [sha1 ...]", since="2.6.0", group="scripting", flags=NOSCRIPT,
         categories="SCRIPTING", reply=ARRAY, complexity="O(N) in the number of scripts asked for",
         tips="REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:AGG_LOGICAL_AND")  # fmt: skip
def script_exists(ctx: Context, argv: list[bytes]) -> None:
    """Tell which scripts EVALSHA would find."""
    scripts = ctx.node.scripts.scripts
    ctx.reply.array(len(argv) - 2)
    for sha in argv[2:]:
        ctx.reply.integer(1 if sha.lower() in scripts else 0)


@command("SCRIPT FLUSH [ASYNC | SYNC]", since="2.6.0", group="scripting", flags=NOSCRIPT,
         categories="SCRIPTING", reply=OK, complexity="O(N) with N being the number of scripts",
         tips="REQUEST_POLICY:ALL_NODES,RESPONSE_POLICY:ALL_SUCCEEDED")  # fmt: skip
def script_flush(ctx: Context, argv: list[bytes]) -> None:
    """Forget every script."""
    if len(argv) > 3 or (len(argv) == 3 and argv[2].lower() not in (b"sync", b"async")):
        raise RedisError(b"ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    ctx.node.scripts.flush()
    ctx.reply.ok()


@command("SCRIPT KILL", since="2.6.0", group="scripting", flags=NOSCRIPT | ALLOW_BUSY,
         categories="SCRIPTING", reply=OK, complexity="O(1)",
         tips="REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:ONE_SUCCEEDED")  # fmt: skip
def script_kill(ctx: Context, argv: list[bytes]) -> None:
    """End the script that runs, if it has written nothing."""
    ctx.node.scripts.kill(True)
    ctx.reply.ok()


@command("SCRIPT DEBUG <YES | SYNC | NO>", since="3.2.0", group="scripting", flags=NOSCRIPT,
         categories="SCRIPTING", reply=OK, complexity="O(1)")  # fmt: skip
def script_debug(ctx: Context, argv: list[bytes]) -> None:
    """Leave the debugging mode, which this server does not have."""
    mode = argv[2].lower()
    if mode not in (b"yes", b"sync", b"no"):
        raise RedisError(b"ERR Use SCRIPT DEBUG YES/SYNC/NO")
    if ctx.deny_blocking:
        raise RedisError(b"ERR SCRIPT DEBUG must be called outside a pipeline")
    if mode != b"no":
        raise RedisError(b"ERR the Lua debugger is not supported")
    ctx.reply.ok()


@command("SCRIPT HELP", since="5.0.0", group="scripting", flags=LOADING | STALE,
         categories="SCRIPTING", reply=ARRAY, complexity="O(1)")  # fmt: skip
def script_help(ctx: Context, argv: list[bytes]) -> None:
    """Describe SCRIPT's sub-commands."""
    ctx.reply.array(len(HELP))
    for line in HELP:
        ctx.reply.simple(line)

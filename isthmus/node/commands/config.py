"""CONFIG: read and change parameters while the node runs; reset its counters.

The parameters and their rules are in engine/config_table.py and engine/config.py; here are only the
shapes of replies and Redis' texts around them. An older name that a pattern matches is shown under
that name, as Redis does.
"""

from __future__ import annotations

from isthmus.node.commands.client import EVERYWHERE, write_help
from isthmus.node.engine.args import syntax
from isthmus.node.engine.config import ConfigError, find
from isthmus.node.engine.config_table import ALIASES, PARAMETERS
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.registry import ARRAY, MAP, OK, command, container, specs
from isthmus.node.engine.spec import ADMIN, LOADING, NOSCRIPT, STALE

COMMON = ADMIN | NOSCRIPT | LOADING | STALE
NAMES: dict[bytes, str] = {
    name.encode(): ALIASES.get(name, name) for name in sorted({*PARAMETERS, *ALIASES})
}

HELP = (
    b"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET <pattern> [<pattern> ...]",
    b"    The parameters whose names match a glob-style pattern, and their values.",
    b"SET <name> <value> [<name> <value> ...]",
    b"    Change parameters: all of them, or none if one value is refused.",
    b"REWRITE",
    b"    Write the parameters as they are into the configuration file.",
    b"RESETSTAT",
    b"    Set the counters that INFO shows back to zero.",
    b"HELP",
    b"    This text.",
)

container("CONFIG", since="2.0.0", group="server")


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@command("CONFIG GET parameter [parameter ...]", since="2.0.0", group="server", flags=COMMON,
         complexity="O(N) when N is the number of configuration parameters provided",
         reply=MAP)  # fmt: skip
def config_get(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the parameters that match the patterns, and their values."""
    chosen: dict[bytes, str] = {}
    for pattern in argv[2:]:
        lower = pattern.lower()
        if not any(special in lower for special in (b"*", b"?", b"[")):
            if lower in NAMES:
                chosen[lower] = NAMES[lower]
            continue
        for name, parameter in NAMES.items():
            if glob_match(lower, name):
                chosen[name] = parameter
    ctx.reply.map(len(chosen))
    for name, parameter in chosen.items():
        ctx.reply.bulk(name)
        ctx.reply.bulk(ctx.node.config.text(parameter).encode("utf-8", "surrogateescape"))


@command("CONFIG SET parameter value [parameter value ...]", since="2.0.0", group="server",
         flags=COMMON, complexity="O(N) when N is the number of configuration parameters provided",
         reply=OK, tips=EVERYWHERE)  # fmt: skip
def config_set(ctx: Context, argv: list[bytes]) -> None:
    """Change parameters: all of them, or none if one value is refused."""
    if len(argv) % 2:
        raise syntax()
    for name in argv[2::2]:
        row = find(text_of(name))
        if row is None:
            raise RedisError(
                b"ERR Unknown option or number of arguments for CONFIG SET - '" + name + b"'"
            )
        if row.name in ctx.node.reserved:
            raise refused(row.name, ctx.node.reserved[row.name])
    values = [text_of(arg) for arg in argv[2:]]
    try:
        pairs = list(zip(values[::2], values[1::2], strict=True))
        ctx.node.config.set_many(pairs, ctx.session.is_local())
    except ConfigError as error:
        raise refused(error.name, error.why) from None
    ctx.reply.ok()


def refused(name: str, why: str) -> RedisError:
    """The error for a parameter that cannot be set."""
    text = f"ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"
    return RedisError(text.encode("utf-8", "surrogateescape"))


@command("CONFIG REWRITE", since="2.8.0", group="server", flags=COMMON, complexity="O(1)",
         reply=OK, tips=EVERYWHERE)  # fmt: skip
def config_rewrite(ctx: Context, argv: list[bytes]) -> None:
    """Write what the parameters are now into the file that the server was started with."""
    node = ctx.node
    if not node.config.path or node.server is None:
        raise RedisError(b"ERR The server is running without a config file")
    try:
        node.server.rewrite_config()
    except OSError as error:
        why = (error.strerror or str(error)).encode()
        raise RedisError(b"ERR Rewriting config file: " + why) from None
    ctx.reply.ok()


@command("CONFIG RESETSTAT", since="2.0.0", group="server", flags=COMMON, complexity="O(1)",
         reply=OK, tips=EVERYWHERE)  # fmt: skip
def config_resetstat(ctx: Context, argv: list[bytes]) -> None:
    """Set the counters that INFO shows back to zero."""
    ctx.hits = ctx.misses = ctx.error_replies = ctx.commands = 0
    ctx.error_counts = {}
    keyspace = ctx.keyspace
    keyspace.expired_keys = keyspace.expired_fields = keyspace.evicted_keys = 0
    keyspace.freed_values = 0
    node = ctx.node
    node.connections_received = node.connections_rejected = node.auth_failures = 0
    node.evicted_clients = 0
    node.memory.exceeded_total_ms = 0
    if node.scripts is not None:
        node.scripts.evicted = 0
    node.acl.refused = dict.fromkeys(node.acl.refused, 0)
    if node.server is not None:
        node.server.reset_counters()
    for spec in specs():
        for one in (spec, spec.alone):
            if one is not None:
                one.calls = one.nanos = one.rejected = one.failed = 0
                one.histogram.reset()
    ctx.reply.ok()


@command("CONFIG HELP", since="5.0.0", group="server", flags=LOADING | STALE, complexity="O(1)",
         reply=ARRAY)  # fmt: skip
def config_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of CONFIG."""
    write_help(ctx, HELP)

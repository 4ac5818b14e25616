"""MODULE: answers as a Redis without modules gives them.

Binary modules are compiled against the insides of Redis and cannot be loaded here, so LOAD and
LOADEX say why; there is never one to list or to unload. As in Redis these commands are refused
unless `enable-module-command` permits them.
"""

from __future__ import annotations

from isthmus.node.commands.client import write_help
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ARRAY, OK, command, container
from isthmus.node.engine.spec import (
    ADMIN,
    LOADING,
    NO_ASYNC_LOADING,
    NOSCRIPT,
    PROTECTED,
    STALE,
)

CHANGING = NO_ASYNC_LOADING | ADMIN | NOSCRIPT | PROTECTED
NOT_LOADED = (
    b"ERR Error loading the extension. Binary modules are compiled against the insides of Redis "
    b"and cannot be loaded here."
)
HELP = (
    b"MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"LIST",
    b"    The modules that are loaded: none.",
    b"LOAD <path> [<arg> ...]",
    b"    Binary modules are not loaded here.",
    b"LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
    b"    Binary modules are not loaded here.",
    b"UNLOAD <name>",
    b"    There is no module to unload.",
    b"HELP",
    b"    This text.",
)

container("MODULE", since="4.0.0", group="server")


@command("MODULE LIST", since="4.0.0", group="server", flags=ADMIN | NOSCRIPT, reply=ARRAY,
         complexity="O(N) where N is the number of loaded modules.",
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def module_list(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the modules that are loaded: none."""
    ctx.reply.empty_array()


@command("MODULE LOAD path [arg [arg ...]]", since="4.0.0", group="server", flags=CHANGING,
         complexity="O(1)", reply=OK)  # fmt: skip
def module_load(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: binary modules are not loaded here."""
    raise RedisError(NOT_LOADED)


@command("MODULE LOADEX path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]",
         since="7.0.0", group="server", flags=CHANGING, complexity="O(1)", reply=OK)  # fmt: skip
def module_loadex(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: binary modules are not loaded here."""
    raise RedisError(NOT_LOADED)


@command("MODULE UNLOAD name", since="4.0.0", group="server", flags=CHANGING, complexity="O(1)",
         reply=OK)  # fmt: skip
def module_unload(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: there is no module to unload."""
    raise RedisError(b"ERR Error unloading module: no such module with that name")


@command("MODULE HELP", since="5.0.0", group="server", flags=LOADING | STALE, complexity="O(1)",
         reply=ARRAY)  # fmt: skip
def module_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of MODULE."""
    write_help(ctx, HELP)

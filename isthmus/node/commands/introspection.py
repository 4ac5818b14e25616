"""COMMAND: the server describes its own commands, from their declarations and nothing else.

COMMAND INFO has ten fields for each command: name, arity, flags, first key, last key, step, ACL
categories, tips, key specifications, sub-commands. Flags, categories and key specifications are
sets and maps in RESP3. COMMAND DOCS derives its tree of arguments from the syntax line
(syntax_tree.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from isthmus.node.commands.client import write_help
from isthmus.node.commands.syntax_tree import Argument, arguments_of
from isthmus.node.engine.acl_rules import CATEGORIES, categories_of
from isthmus.node.engine.args import syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.key_access import OWN, strict_positions
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.registry import (
    ARRAY,
    COMMANDS,
    INTEGER,
    MAP,
    command,
    container,
    find,
    served,
)
from isthmus.node.engine.spec import (
    FLAG_REPLY_NAMES,
    LOADING,
    NO_MANDATORY_KEYS,
    READ_KEY,
    SENTINEL,
    STALE,
    WRITE_KEY,
    CommandSpec,
    KeySpec,
)

COMMON = LOADING | STALE | SENTINEL
UNORDERED = "NONDETERMINISTIC_OUTPUT_ORDER"

KEY_FLAGS = (
    "RO", "RW", "OW", "RM", "ACCESS", "UPDATE", "INSERT", "DELETE", "NOT_KEY", "INCOMPLETE",
    "VARIABLE_FLAGS",
)  # fmt: skip

HELP = (
    b"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"(no subcommand)",
    b"    All commands, each described as INFO does.",
    b"COUNT",
    b"    How many commands there are.",
    b"DOCS [<command-name> ...]",
    b"    What commands do and what arguments they take; of all commands if none is named.",
    b"GETKEYS <full-command>",
    b"    Which arguments of a request are keys.",
    b"GETKEYSANDFLAGS <full-command>",
    b"    Which arguments of a request are keys, and what would happen to them.",
    b"INFO [<command-name> ...]",
    b"    Arity, flags, keys and categories of commands; of all commands if none is named.",
    b"LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
    b"    The names of commands.",
    b"HELP",
    b"    This text.",
)

container("COMMAND", since="2.8.13", group="server", arity=-1, flags=COMMON,
          categories="CONNECTION", tips=UNORDERED,
          complexity="O(N) where N is the total number of Redis commands")  # fmt: skip


def top_commands() -> Iterator[CommandSpec]:
    """Every command that is not a sub-command."""
    return (spec for spec in served() if spec.parent is None)


def children(spec: CommandSpec) -> list[CommandSpec]:
    """The sub-commands of a container, each once."""
    unique = {id(sub): sub for sub in spec.subcommands.values()}
    return sorted(unique.values(), key=lambda sub: sub.name)


def named(name: bytes) -> CommandSpec | None:
    """The command called `name` in any case; a sub-command is written parent|name."""
    parent, bar, sub = name.lower().partition(b"|")
    spec = COMMANDS.get(parent)
    return spec.subcommands.get(sub) if spec is not None and bar else spec


def write_names(ctx: Context, names: Iterable[bytes]) -> None:
    """A set of simple strings."""
    listed = list(names)
    ctx.reply.set(len(listed))
    for name in listed:
        ctx.reply.simple(name)


def key_flag_names(spec: KeySpec) -> list[bytes]:
    """The flags of a key specification as Redis writes them."""
    return [
        (flag if len(flag) == 2 else flag.lower()).encode()
        for flag in KEY_FLAGS
        if flag in spec.flags
    ]


def write_typed(ctx: Context, kind: bytes, fields: list[tuple[bytes, int | bytes]]) -> None:
    """{"type": kind, "spec": {field: value ...}}"""
    ctx.reply.map(2)
    ctx.reply.bulk(b"type")
    ctx.reply.bulk(kind)
    ctx.reply.bulk(b"spec")
    ctx.reply.map(len(fields))
    for name, value in fields:
        ctx.reply.bulk(name)
        if isinstance(value, bytes):
            ctx.reply.bulk(value)
        else:
            ctx.reply.integer(value)


def write_key_spec(ctx: Context, spec: KeySpec) -> None:
    """One key specification: flags, where to begin, how to go on."""
    ctx.reply.map(3)
    ctx.reply.bulk(b"flags")
    write_names(ctx, key_flag_names(spec))
    ctx.reply.bulk(b"begin_search")
    if spec.word is not None:
        write_typed(ctx, b"keyword", [(b"keyword", spec.word), (b"startfrom", spec.start)])
    elif spec.text.startswith("unknown"):
        write_typed(ctx, b"unknown", [])
    else:
        write_typed(ctx, b"index", [(b"index", spec.start)])
    ctx.reply.bulk(b"find_keys")
    labels = {
        "range": (b"lastkey", b"keystep", b"limit"),
        "keynum": (b"keynumidx", b"firstkey", b"keystep"),
    }.get(spec.find, ())
    write_typed(ctx, spec.find.encode(), list(zip(labels, spec.numbers, strict=False)))


def write_info(ctx: Context, spec: CommandSpec | None) -> None:
    """The ten fields of COMMAND INFO, or null for a command that does not exist."""
    reply = ctx.reply
    if spec is None:
        reply.null()
        return
    reply.array(10)
    reply.bulk(spec.name)
    reply.integer(spec.arity)
    flags = [name for bit, name in FLAG_REPLY_NAMES if spec.flags & bit]
    write_names(ctx, flags + ([b"movablekeys"] if spec.movable_keys else []))
    reply.integer(spec.first_key)
    reply.integer(spec.last_key)
    reply.integer(spec.key_step)
    categories = categories_of(spec)
    write_names(ctx, (b"@" + name.lower().encode() for name in CATEGORIES if name in categories))
    reply.set(len(spec.tips))
    for tip in spec.tips:
        reply.bulk(tip.lower().encode())
    reply.set(len(spec.key_specs))
    for key_spec in spec.key_specs:
        write_key_spec(ctx, key_spec)
    subs = children(spec)
    reply.set(len(subs))
    for sub in subs:
        write_info(ctx, sub)


def write_once(ctx: Context, kind: str, write: Callable[[Context], None]) -> None:
    """Write what never changes; it is spelt once for each protocol, because that takes long."""
    key = (kind, ctx.reply.protocol)
    data = ctx.node.descriptions.get(key)
    if data is None:
        mark = ctx.reply.mark()
        write(ctx)
        data = ctx.node.descriptions[key] = ctx.reply.take_from(mark)
    ctx.reply.raw(data)


def write_all_infos(ctx: Context) -> None:
    listed = list(top_commands())
    ctx.reply.array(len(listed))
    for spec in listed:
        write_info(ctx, spec)


def write_all_docs(ctx: Context) -> None:
    listed = list(top_commands())
    ctx.reply.map(len(listed))
    for spec in listed:
        write_docs(ctx, spec)


@command("COMMAND", since="2.8.13", group="server", flags=COMMON, categories="CONNECTION",
         complexity="O(N) where N is the total number of Redis commands", reply=ARRAY,
         tips=UNORDERED)  # fmt: skip
def command_(ctx: Context, argv: list[bytes]) -> None:
    """Describe all commands."""
    write_once(ctx, "info", write_all_infos)


@command("COMMAND COUNT", since="2.8.13", group="server", flags=COMMON, categories="CONNECTION",
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def command_count(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of commands, sub-commands not counted."""
    ctx.reply.integer(sum(1 for _ in top_commands()))


@command("COMMAND INFO [command-name [command-name ...]]", since="2.8.13", group="server",
         flags=COMMON, categories="CONNECTION", reply=ARRAY, tips=UNORDERED,
         complexity="O(N) where N is the number of commands to look up")  # fmt: skip
def command_info(ctx: Context, argv: list[bytes]) -> None:
    """Describe the named commands, or all of them."""
    if len(argv) == 2:
        write_once(ctx, "info", write_all_infos)
        return
    ctx.reply.array(len(argv) - 2)
    for name in argv[2:]:
        write_info(ctx, named(name))


def write_pair(ctx: Context, name: bytes, text: str) -> None:
    ctx.reply.bulk(name)
    ctx.reply.bulk(text.encode())


def write_arguments(ctx: Context, arguments: list[Argument]) -> None:
    """The arguments of a command as COMMAND DOCS shows them: an array of maps."""
    ctx.reply.array(len(arguments))
    for arg in arguments:
        scalar = arg.kind not in ("oneof", "block", "pure-token")
        flags = [b"optional"] if arg.optional else []
        flags += [b"multiple"] if arg.multiple else []
        ctx.reply.map(
            2 + scalar + (arg.kind == "key") + bool(arg.token) + bool(flags) + bool(arg.parts)
        )
        write_pair(ctx, b"name", arg.name)
        write_pair(ctx, b"type", arg.kind)
        if scalar:
            write_pair(ctx, b"display_text", arg.name)
        if arg.kind == "key":
            ctx.reply.bulk(b"key_spec_index")
            ctx.reply.integer(arg.key_spec)
        if arg.token:
            write_pair(ctx, b"token", arg.token)
        if flags:
            ctx.reply.bulk(b"flags")
            write_names(ctx, flags)
        if arg.parts:
            ctx.reply.bulk(b"arguments")
            write_arguments(ctx, arg.parts)


def write_docs(ctx: Context, spec: CommandSpec) -> None:
    """The entry of COMMAND DOCS for one command: its name, then a map."""
    arguments, subs = arguments_of(spec), children(spec)
    reply = ctx.reply
    reply.bulk(spec.name)
    reply.map(4 + bool(spec.doc_flags) + bool(arguments) + bool(subs))
    write_pair(ctx, b"summary", spec.summary.rstrip("."))
    write_pair(ctx, b"since", spec.since)
    write_pair(ctx, b"group", spec.group.replace("_", "-"))
    write_pair(ctx, b"complexity", spec.complexity)
    if spec.doc_flags:
        reply.bulk(b"doc_flags")
        write_names(ctx, (flag.lower().encode() for flag in spec.doc_flags.split(",")))
    if arguments:
        reply.bulk(b"arguments")
        write_arguments(ctx, arguments)
    if subs:
        reply.bulk(b"subcommands")
        reply.map(len(subs))
        for sub in subs:
            write_docs(ctx, sub)


@command("COMMAND DOCS [command-name [command-name ...]]", since="7.0.0", group="server",
         flags=COMMON, categories="CONNECTION", reply=MAP, tips=UNORDERED,
         complexity="O(N) where N is the number of commands to look up")  # fmt: skip
def command_docs(ctx: Context, argv: list[bytes]) -> None:
    """Reply with summaries and arguments of the named commands, or of all of them."""
    if len(argv) == 2:
        write_once(ctx, "docs", write_all_docs)
        return
    listed = [spec for spec in map(named, argv[2:]) if spec is not None]
    ctx.reply.map(len(listed))
    for spec in listed:
        write_docs(ctx, spec)


def list_filter(argv: list[bytes]) -> Callable[[CommandSpec], bool]:
    """What COMMAND LIST keeps; raises a syntax error."""
    if len(argv) == 2:
        return lambda spec: True
    if len(argv) != 5 or argv[2].lower() != b"filterby":
        raise syntax()
    kind, value = argv[3].lower(), argv[4]
    if kind == b"module":
        return lambda spec: False
    if kind == b"aclcat":
        category = value.decode("utf-8", "replace").upper()
        return lambda spec: category in categories_of(spec)
    if kind == b"pattern":
        lower = value.lower()
        return lambda spec: glob_match(lower, spec.name)
    raise syntax()


@command("COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
         since="7.0.0", group="server", flags=COMMON, categories="CONNECTION", reply=ARRAY,
         tips=UNORDERED,
         complexity="O(N) where N is the total number of Redis commands")  # fmt: skip
def command_list(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the names of commands and sub-commands, all or those that a filter keeps."""
    keeps = list_filter(argv)
    names = [spec.name for spec in served() if keeps(spec)]
    ctx.reply.array(len(names))
    for name in names:
        ctx.reply.bulk(name)


# What a command whose access depends on its arguments does with a key, in Redis' words.
ACCESS_FLAGS = {
    READ_KEY: [b"RO", b"access"], WRITE_KEY: [b"OW", b"update"],
    READ_KEY | WRITE_KEY: [b"RW", b"access", b"update"],
}  # fmt: skip


def keys_of(argv: list[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """The keys of a request, each with its flags; raises Redis' errors."""
    spec = find(argv)
    if spec is None:
        raise RedisError(b"ERR Invalid command specified")
    if all("NOT_KEY" in keys.flags for keys in spec.key_specs):
        raise RedisError(b"ERR The command has no key arguments")
    if not spec.arity_fits(len(argv)):
        raise RedisError(b"ERR Invalid number of arguments specified for command")
    found = keys_by_specification(spec, argv)
    if found is None:
        found = keys_by_own_rule(spec, argv)
    if not found and not spec.flags & NO_MANDATORY_KEYS:
        raise RedisError(b"ERR Invalid arguments specified for command")
    return found


def keys_by_specification(
    spec: CommandSpec, argv: list[bytes]
) -> list[tuple[bytes, list[bytes]]] | None:
    """The keys the declared specifications find; None if they cannot tell, or one does not fit."""
    found: list[tuple[bytes, list[bytes]]] = []
    for keys in spec.key_specs:
        if "NOT_KEY" in keys.flags:
            continue
        if spec.name in OWN and keys.flags & {"VARIABLE_FLAGS", "INCOMPLETE"}:
            return None
        positions = strict_positions(keys, argv)
        if positions is None:
            return None
        found += [(argv[at], key_flag_names(keys)) for at in positions]
    return found


def keys_by_own_rule(spec: CommandSpec, argv: list[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """The keys that a rule of the command's own finds; none if it has no such rule."""
    if spec.name not in OWN:
        return []
    found = []
    for place, coded in enumerate(OWN[spec.name](argv)):
        position, access = divmod(coded, 4)
        if spec.name == b"migrate":
            flags = [b"RW", b"access", b"delete"]
        else:
            # GEORADIUS does not say: it reads the first and may write the second.
            flags = ACCESS_FLAGS[access or (WRITE_KEY if place else READ_KEY)]
        found.append((argv[position], flags))
    return found


@command("COMMAND GETKEYS command [arg [arg ...]]", since="2.8.13", group="server", flags=COMMON,
         categories="CONNECTION", reply=ARRAY,
         complexity="O(N) where N is the number of arguments to the command")  # fmt: skip
def command_getkeys(ctx: Context, argv: list[bytes]) -> None:
    """Reply with those arguments of a request that are keys."""
    found = keys_of(argv[2:])
    ctx.reply.array(len(found))
    for key, _ in found:
        ctx.reply.bulk(key)


@command("COMMAND GETKEYSANDFLAGS command [arg [arg ...]]", since="7.0.0", group="server",
         flags=COMMON, categories="CONNECTION", reply=ARRAY,
         complexity="O(N) where N is the number of arguments to the command")  # fmt: skip
def command_getkeysandflags(ctx: Context, argv: list[bytes]) -> None:
    """Reply with those arguments of a request that are keys, and what would happen to each."""
    found = keys_of(argv[2:])
    ctx.reply.array(len(found))
    for key, flags in found:
        ctx.reply.array(2)
        ctx.reply.bulk(key)
        write_names(ctx, flags)


@command("COMMAND HELP", since="5.0.0", group="server", flags=COMMON, categories="CONNECTION",
         complexity="O(1)", reply=ARRAY)  # fmt: skip
def command_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of COMMAND."""
    write_help(ctx, HELP)

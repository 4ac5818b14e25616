"""The command registry: filled by the @command decorator when a module of commands is imported.

There is no second list of commands anywhere. `COMMANDS` maps a name as clients send it (lower and
upper case are both there, so the usual request costs one dictionary look-up) to its CommandSpec.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import Any

from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.spec import FLAG_BITS, PROTECTED, CommandSpec, parse_key_specs

Handler = Callable[[Any, list[bytes]], None]

# Commands and sub-commands have ids below this.
COMMAND_IDS_MAX = 512

COMMANDS: dict[bytes, CommandSpec] = {}
_TOP: dict[str, CommandSpec] = {}
# What specs() returns, made when it is asked for.
_listed: list[CommandSpec] = []
_ids = count()
_BITS = {value: name for name, value in FLAG_BITS.items()}

# Shapes of replies, for documents and for the check of recorded replies.
OK, INTEGER, BULK, NULL, ARRAY, MAP, SET, DOUBLE, SIMPLE, ANY = (1 << n for n in range(10))


def command(
    syntax: str, *, since: str, group: str, complexity: str, reply: int, flags: int = 0,
    categories: str = "", keys: str = "", arity: int | None = None, tips: str = "",
    doc_flags: str = "", get_keys: Callable[[list[bytes]], list[int]] | None = None,
) -> Callable[[Handler], Handler]:  # fmt: skip
    """Register the decorated function as the command that `syntax` begins with.

    `syntax` is the line of the manual: names in capitals, [optional parts], arguments in lower
    case. A second capital word names a sub-command. `categories`, `keys` and `tips` are spelt as
    in Redis' command table; `arity` is counted from the syntax unless given.
    """

    def register(handler: Handler) -> Handler:
        add(syntax, handler, since=since, group=group, complexity=complexity, reply=reply,
            flags=flags, categories=categories, keys=keys, arity=arity, tips=tips,
            doc_flags=doc_flags, get_keys=get_keys)  # fmt: skip
        return handler

    return register


def container(
    name: str, *, since: str, group: str, complexity: str = "Depends on subcommand.",
    arity: int = -2, flags: int = 0, categories: str = "", tips: str = "",
) -> None:  # fmt: skip
    """Register a command that only holds sub-commands (CLIENT, CONFIG, ...).

    A container that also does something when called by its name alone (COMMAND) is declared here
    first, and its function afterwards with @command under the same one word.
    """
    add(name, None, since=since, group=group, complexity=complexity, reply=ANY, arity=arity,
        flags=flags, categories=categories, tips=tips)  # fmt: skip


def add(
    syntax: str, handler: Handler | None, *, since: str, group: str, complexity: str, reply: int,
    flags: int = 0, categories: str = "", keys: str = "", arity: int | None = None, tips: str = "",
    doc_flags: str = "", get_keys: Callable[[list[bytes]], list[int]] | None = None,
) -> CommandSpec:  # fmt: skip
    """Build a CommandSpec and put it where execute() finds it."""
    _listed.clear()
    words = syntax.split()
    top, sub = words[0].lower(), ""
    parent = _TOP.get(top)
    # A second capital word is a sub-command only below a container; elsewhere it is a keyword.
    within = parent is not None and parent.handler is None
    if within and len(words) > 1:
        sub = words[1].lower()
    name = f"{top}|{sub}" if sub else top
    if handler is not None and flags & PROTECTED:
        handler = guarded(handler)
    doc = f"A container for {top} commands." if handler is None else (handler.__doc__ or "").strip()
    spec = CommandSpec(
        name, handler, syntax,
        arity=arity if arity is not None else arity_of(syntax), flags=flags,
        flag_names=tuple(sorted(_BITS[1 << n] for n in range(30) if flags & (1 << n))),
        group=group, since=since, complexity=complexity,
        categories=tuple(filter(None, categories.split(","))), key_specs=parse_key_specs(keys),
        tips=tuple(filter(None, tips.split(","))), doc_flags=doc_flags, reply=reply,
        summary=doc.splitlines()[0] if doc else "", get_keys=get_keys,
    )  # fmt: skip
    if within and not sub:
        assert parent is not None
        parent.alone = spec
        spec.id = parent.id
        return spec
    spec.id = next(_ids)
    if spec.id >= COMMAND_IDS_MAX:
        raise ValueError("more commands than COMMAND_IDS_MAX")
    if sub:
        assert parent is not None
        if sub.encode() in parent.subcommands:
            raise ValueError(f"command {name} is declared twice")
        spec.parent = parent
        parent.subcommands[sub.encode()] = spec
        parent.subcommands[sub.upper().encode()] = spec
    else:
        if top in _TOP:
            raise ValueError(f"command {top} is declared twice")
        _TOP[top] = spec
        COMMANDS[top.encode()] = spec
        COMMANDS[top.upper().encode()] = spec
    return spec


def protection(ctx: Any, session: Any, spec: CommandSpec) -> bytes | None:
    """The error for a protected command that the configuration keeps the client from, or None."""
    name = (spec.parent or spec).name
    option = b"enable-" + name + b"-command"
    setting = ctx.config.text(option.decode())
    if setting == "yes" or (setting == "local" and session.is_local()):
        return None
    return (
        b"ERR " + name.upper() + b" command not allowed. If the " + option + b' option is set to '
        b'"local", you can run it from a local connection, otherwise you need to set this option '
        b"in the configuration file, and then restart the server."
    )  # fmt: skip


def guarded(handler: Handler) -> Handler:
    """A handler for which no gate needs to be closed: the protection is asked for on the way."""

    @wraps(handler)
    def run(ctx: Any, argv: list[bytes]) -> None:
        text = protection(ctx, ctx.session, ctx.spec)
        if text is not None:
            raise RedisError(text)
        handler(ctx, argv)

    return run


def arity_of(syntax: str) -> int:
    """Count the words of a syntax line outside brackets; negative if there are any brackets."""
    required = syntax
    while "[" in required:
        stripped = re.sub(r"\[[^\[\]]*\]", "", required)
        if stripped == required:
            raise ValueError(f"unbalanced brackets in {syntax!r}")
        required = stripped
    # <A | B> is one of several words: its alternatives count once.
    required = re.sub(r"<[^<>]*>", "x", required)
    count = len(required.split())
    return -count if "[" in syntax else count


def original(name: bytes) -> CommandSpec | None:
    """The command that was declared under the lower-case name, whatever it is called by now."""
    return _TOP.get(name.decode("latin-1"))


def rename(old: bytes, new: bytes) -> None:
    """Let clients call a command `new`; an empty name takes it away from them.

    Raises KeyError for an unknown command, ValueError if the new name is taken.
    """
    spec = COMMANDS[old.lower()]
    if new and new.lower() in COMMANDS:
        raise ValueError("that name is taken")
    for name in (old.lower(), old.upper()):
        del COMMANDS[name]
    if new:
        COMMANDS[new.lower()] = COMMANDS[new.upper()] = spec


def specs() -> list[CommandSpec]:
    """Every command and sub-command, in the order of their names; not to be changed."""
    if not _listed:
        for name in sorted(_TOP):
            _listed.append(_TOP[name])
            unique = {id(spec): spec for spec in _TOP[name].subcommands.values()}
            _listed.extend(sorted(unique.values(), key=lambda spec: spec.name))
    return _listed


def served() -> list[CommandSpec]:
    """As specs(), without what was taken away from clients."""
    there = {id(spec) for spec in COMMANDS.values()}
    return [spec for spec in specs() if id(spec.parent or spec) in there]


def find(argv: list[bytes]) -> CommandSpec | None:
    """The spec a request names, sub-command included; None if there is no such command."""
    spec = COMMANDS.get(argv[0])
    if spec is None:
        spec = COMMANDS.get(argv[0].lower())
        if spec is None:
            return None
    if spec.handler is None:
        return spec.subcommands.get(argv[1].lower()) if len(argv) > 1 else spec.alone or spec
    return spec

"""ACL: users, what they may do, and what was refused.

The rules themselves are engine/acl_rules.py, the users engine/acl.py; here are the replies. Users
are listed in the order of their names. Passwords are only ever shown as their hashes. ACL LOAD and
ACL SAVE ask the server for the file that `aclfile` names.
"""

from __future__ import annotations

from isthmus.node.commands.client import EVERYWHERE, line_of, write_help
from isthmus.node.engine.acl import REASONS, Acl, LogEntry
from isthmus.node.engine.acl_rules import (
    CATEGORIES,
    RuleError,
    Selector,
    categories_of,
    has_blanks,
)
from isthmus.node.engine.args import bounded
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NOT_INTEGER, RedisError, wrong_arity
from isthmus.node.engine.execute import printable
from isthmus.node.engine.registry import (
    ARRAY,
    BULK,
    INTEGER,
    MAP,
    NULL,
    OK,
    command,
    container,
    find,
    specs,
)
from isthmus.node.engine.spec import ADMIN, LOADING, NOSCRIPT, SENTINEL, STALE
from isthmus.wire.scalars import INT64_MAX, INT64_MIN

ANYBODY = NOSCRIPT | LOADING | STALE | SENTINEL
COMMON = ANYBODY | ADMIN
PASSWORD_BITS = 256
PASSWORD_BITS_MAX = 4096
BAD_BITS = (
    b"ERR ACL GENPASS argument must be the number of bits for the output password, a positive "
    b"number up to 4096"
)
NO_FILE = (
    b"ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
    b"via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
    b"configuration file set) in order to store users in the Redis configuration."
)
NOT_SAVED = (
    b"ERR There was an error trying to save the ACLs. Please check the server logs for more "
    b"information"
)
HELP = (
    b"ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CAT [<category>]",
    b"    The categories of commands, or the commands of one of them.",
    b"DELUSER <username> [<username> ...]",
    b"    Delete users and close their connections.",
    b"DRYRUN <username> <command> [<arg> ...]",
    b"    Whether a user may run a command, without running it.",
    b"GETUSER <username>",
    b"    What a user may do.",
    b"GENPASS [<bits>]",
    b"    A random password of 256 bits, or as many as you say, in hexadecimal.",
    b"LIST",
    b"    All users, as lines of a configuration file.",
    b"LOAD",
    b"    Read the users from the ACL file again.",
    b"LOG [<count> | RESET]",
    b"    What was refused lately; or forget it.",
    b"SAVE",
    b"    Write the users to the ACL file.",
    b"SETUSER <username> <attribute> [<attribute> ...]",
    b"    Create a user, or change what one may do.",
    b"USERS",
    b"    The names of all users.",
    b"WHOAMI",
    b"    The name you are logged in with.",
    b"HELP",
    b"    This text.",
)

container("ACL", since="6.0.0", group="server", flags=SENTINEL)
Acl.describe = staticmethod(line_of)


def wrong_form(argv: list[bytes]) -> RedisError:
    """The error for a sub-command with arguments it does not take."""
    return RedisError(
        b"ERR unknown subcommand or wrong number of arguments for '"
        + printable(argv[1][:128])
        + b"'. Try ACL HELP."
    )


def write_bulks(ctx: Context, items: list[bytes]) -> None:
    """An array of bulk strings."""
    ctx.reply.array(len(items))
    for item in items:
        ctx.reply.bulk(item)


@command("ACL HELP", since="6.0.0", group="server", flags=LOADING | STALE | SENTINEL,
         complexity="O(1)", reply=ARRAY)  # fmt: skip
def acl_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of ACL."""
    write_help(ctx, HELP)


@command("ACL WHOAMI", since="6.0.0", group="server", flags=ANYBODY, complexity="O(1)",
         reply=BULK | NULL)  # fmt: skip
def acl_whoami(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the name of the user who is logged in."""
    if ctx.session.user is None:
        ctx.reply.null()
    else:
        ctx.reply.bulk(ctx.session.user.name)


@command("ACL USERS", since="6.0.0", group="server", flags=COMMON, reply=ARRAY,
         complexity="O(N). Where N is the number of configured users.")  # fmt: skip
def acl_users(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the names of all users."""
    write_bulks(ctx, sorted(ctx.node.acl.users))


@command("ACL LIST", since="6.0.0", group="server", flags=COMMON, reply=ARRAY,
         complexity="O(N). Where N is the number of configured users.")  # fmt: skip
def acl_list(ctx: Context, argv: list[bytes]) -> None:
    """Reply with all users and their rules, as lines of a configuration file."""
    write_bulks(ctx, ctx.node.acl.lines())


@command("ACL CAT [category]", since="6.0.0", group="server", flags=ANYBODY, reply=ARRAY,
         complexity="O(1) since the categories and commands are a fixed set.")  # fmt: skip
def acl_cat(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the categories of commands, or with the commands of one."""
    if len(argv) > 3:
        raise wrong_form(argv)
    if len(argv) == 2:
        write_bulks(ctx, [name.lower().encode() for name in CATEGORIES])
        return
    wanted = argv[2].decode("latin-1").upper()
    if wanted not in CATEGORIES:
        raise RedisError(b"ERR Unknown category '" + printable(argv[2][:128]) + b"'")
    write_bulks(ctx, [spec.name for spec in specs() if wanted in categories_of(spec)])


@command("ACL GENPASS [bits]", since="6.0.0", group="server", flags=ANYBODY, complexity="O(1)",
         reply=BULK)  # fmt: skip
def acl_genpass(ctx: Context, argv: list[bytes]) -> None:
    """Reply with a random password in hexadecimal."""
    if len(argv) > 3:
        raise wrong_form(argv)
    bits = PASSWORD_BITS
    if len(argv) == 3:
        bits = bounded(argv[2], INT64_MIN, INT64_MAX, NOT_INTEGER)
        if not 0 < bits <= PASSWORD_BITS_MAX:
            raise RedisError(BAD_BITS)
    digits = (bits + 3) // 4
    ctx.reply.bulk(ctx.node.random_bytes((digits + 1) // 2).hex()[:digits].encode())


@command("ACL SETUSER username [rule [rule ...]]", since="6.0.0", group="server", flags=COMMON,
         complexity="O(N). Where N is the number of rules provided.", reply=OK,
         tips=EVERYWHERE)  # fmt: skip
def acl_setuser(ctx: Context, argv: list[bytes]) -> None:
    """Create a user, or change what one may do."""
    name = argv[2]
    if has_blanks(name):
        raise RedisError(b"ERR Usernames can't contain spaces or null characters")
    try:
        ctx.node.acl.set_user(name, argv[3:])
    except RuleError as error:
        text = error.why
        if error.rule:
            text = b"Error in ACL SETUSER modifier '" + error.rule + b"': " + text
        raise RedisError(b"ERR " + text) from None
    ctx.reply.ok()


@command("ACL DELUSER username [username ...]", since="6.0.0", group="server", flags=COMMON,
         complexity="O(1) amortized time considering the typical user.",
         reply=INTEGER, tips=EVERYWHERE)  # fmt: skip
def acl_deluser(ctx: Context, argv: list[bytes]) -> None:
    """Delete users and close their connections; reply with how many there were."""
    deleted = 0
    for name in argv[2:]:
        if name == b"default":
            raise RedisError(b"ERR The 'default' user cannot be removed")
        deleted += ctx.node.acl.delete_user(name)
    ctx.reply.integer(deleted)


@command("ACL GETUSER username", since="6.0.0", group="server", flags=COMMON, reply=MAP | NULL,
         complexity="O(N). Where N is the number of password, command and pattern rules that the "
         "user has.")  # fmt: skip
def acl_getuser(ctx: Context, argv: list[bytes]) -> None:
    """Reply with what a user may do."""
    reply = ctx.reply
    user = ctx.node.acl.users.get(argv[2])
    if user is None:
        reply.null()
        return
    reply.map(6)
    reply.bulk(b"flags")
    flags = user.flag_names()
    reply.set(len(flags))
    for flag in flags:
        reply.bulk(flag)
    reply.bulk(b"passwords")
    write_bulks(ctx, list(user.passwords))
    write_selector(ctx, user.selectors[0])
    reply.bulk(b"selectors")
    reply.array(len(user.selectors) - 1)
    for selector in user.selectors[1:]:
        reply.map(3)
        write_selector(ctx, selector)


def write_selector(ctx: Context, selector: Selector) -> None:
    """Three pairs of a map: commands, keys, channels."""
    for name, text in (
        (b"commands", selector.command_text()), (b"keys", selector.key_text()),
        (b"channels", selector.channel_text()),
    ):  # fmt: skip
        ctx.reply.bulk(name)
        ctx.reply.bulk(text)


@command("ACL DRYRUN username command [arg [arg ...]]", since="7.0.0", group="server",
         flags=COMMON, complexity="O(1).", reply=OK | BULK)  # fmt: skip
def acl_dryrun(ctx: Context, argv: list[bytes]) -> None:
    """Reply whether a user may run a command, without running it."""
    user = ctx.node.acl.users.get(argv[2])
    if user is None:
        raise RedisError(b"ERR User '" + printable(argv[2]) + b"' not found")
    request = argv[3:]
    spec = find(request)
    if spec is None:
        raise RedisError(b"ERR Command '" + printable(request[0]) + b"' not found")
    if not spec.arity_fits(len(request)):
        raise wrong_arity(spec.name)
    why = ctx.node.acl.dry_run(user, spec, request)
    if why is None:
        ctx.reply.ok()
    else:
        ctx.reply.bulk(why)


@command("ACL LOG [count | RESET]", since="6.0.0", group="server", flags=COMMON,
         complexity="O(N) with N being the number of entries shown.", reply=ARRAY | OK)  # fmt: skip
def acl_log(ctx: Context, argv: list[bytes]) -> None:
    """Reply with what was refused lately, the newest first; or forget it."""
    if len(argv) > 3:
        raise wrong_form(argv)
    log = ctx.node.acl.log
    shown = 10
    if len(argv) == 3:
        if argv[2].lower() == b"reset":
            log.clear()
            ctx.reply.ok()
            return
        shown = max(0, bounded(argv[2], INT64_MIN, INT64_MAX, NOT_INTEGER))
    shown = min(shown, len(log))
    ctx.reply.array(shown)
    for at in range(shown):
        write_entry(ctx, log[at])


def write_entry(ctx: Context, entry: LogEntry) -> None:
    """One refusal, as a map."""
    reply = ctx.reply
    reply.map(10)
    reply.bulk(b"count")
    reply.integer(entry.count)
    for name, text in (
        (b"reason", REASONS[entry.reason]), (b"context", entry.context),
        (b"object", entry.object), (b"username", entry.username),
    ):  # fmt: skip
        reply.bulk(name)
        reply.bulk(text)
    reply.bulk(b"age-seconds")
    reply.double((ctx.now_ms - entry.updated_ms) / 1000)
    reply.bulk(b"client-info")
    reply.bulk(entry.client)
    for name, number in (
        (b"entry-id", entry.id), (b"timestamp-created", entry.created_ms),
        (b"timestamp-last-updated", entry.updated_ms),
    ):  # fmt: skip
        reply.bulk(name)
        reply.integer(number)


def acl_file(ctx: Context) -> bytes:
    """The path of the file with the users; raises an error if there is none."""
    path: str = ctx.node.config.text("aclfile")
    if not path or ctx.node.server is None:
        raise RedisError(NO_FILE)
    return path.encode("utf-8", "surrogateescape")


@command("ACL LOAD", since="6.0.0", group="server", flags=COMMON, reply=OK,
         complexity="O(N). Where N is the number of configured users.")  # fmt: skip
def acl_load(ctx: Context, argv: list[bytes]) -> None:
    """Replace all users by those of the ACL file, or none if anything in it is wrong."""
    path = acl_file(ctx)
    try:
        text = ctx.node.server.read_file(path)
    except OSError as error:
        why = (error.strerror or "unreadable").encode()
        raise RedisError(b"ERR Error loading ACLs, opening file '" + path + b"': " + why) from None
    try:
        ctx.node.acl.load(text, path)
    except RuleError as error:
        raise RedisError(b"ERR " + error.why) from None
    ctx.reply.ok()


@command("ACL SAVE", since="6.0.0", group="server", flags=COMMON, reply=OK, tips=EVERYWHERE,
         complexity="O(N). Where N is the number of configured users.")  # fmt: skip
def acl_save(ctx: Context, argv: list[bytes]) -> None:
    """Write all users to the ACL file."""
    path = acl_file(ctx)
    try:
        ctx.node.server.replace_file(path, b"".join(line + b"\n" for line in ctx.node.acl.lines()))
    except OSError:
        raise RedisError(NOT_SAVED) from None
    ctx.reply.ok()

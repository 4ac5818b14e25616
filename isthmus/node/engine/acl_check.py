"""The check of one request against one user's rules: what runs for every request of such a user.

Of several selectors one must allow the whole request. If none does, the reason told is the one that
got farthest: a key or a channel that nobody allows rather than the command, and the later argument.
The answer is one number, `position * 8 + reason`, zero for "allowed".
"""

from __future__ import annotations

from isthmus.node.engine.acl_rules import Selector, User
from isthmus.node.engine.key_access import accesses
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.spec import READ_KEY, CommandSpec
from isthmus.wire.scalars import i64

DENIED_COMMAND = 1
DENIED_KEY = 2
DENIED_AUTH = 3
DENIED_CHANNEL = 4

# Commands with channels among their arguments: (the last of them, are they patterns).
CHANNELS = {
    b"subscribe": (-1, False), b"ssubscribe": (-1, False), b"psubscribe": (-1, True),
    b"publish": (1, False), b"spublish": (1, False),
}  # fmt: skip


def denied(user: User, spec: CommandSpec, argv: list[bytes]) -> i64:
    """Why user may not run a request whose arity is right: position * 8 + reason, or 0."""
    selector: Selector
    worst: i64 = DENIED_COMMAND
    found: i64
    for selector in user.selectors:
        found = denied_by(selector, spec, argv)
        if found == 0:
            return 0
        if (found & 7, found >> 3) > (worst & 7, worst >> 3):
            worst = found
    return worst


def denied_by(selector: Selector, spec: CommandSpec, argv: list[bytes]) -> i64:
    """As denied(), for one selector."""
    if not selector.all_commands and not spec.no_auth and not selector.commands[spec.id]:
        allowed = selector.first_args.get(spec.id)
        if allowed is None or len(argv) < 2 or argv[1].lower() not in allowed:
            return DENIED_COMMAND
    if not selector.all_keys and spec.key_specs:
        if spec.key_access >= 0:
            position = spec.first_key
            last = spec.last_key
            if last < 0:
                last += len(argv)
            # A run that ends behind the last argument is no run at all: the command will say so.
            while position <= last < len(argv):
                if not key_allowed(selector, argv[position], spec.key_access):
                    return position * 8 + DENIED_KEY
                position += spec.key_step
        else:
            for key in accesses(spec, argv):
                if not key_allowed(selector, argv[key >> 2], key & 3):
                    return (key >> 2) * 8 + DENIED_KEY
    if not selector.all_channels and spec.name in CHANNELS:
        last, is_pattern = CHANNELS[spec.name]
        for position in range(1, 2 if last == 1 else len(argv)):
            if not channel_allowed(selector, argv[position], is_pattern):
                return position * 8 + DENIED_CHANNEL
    return 0


def key_allowed(selector: Selector, key: bytes, access: i64) -> bool:
    """True if a pattern of the selector gives that access to key."""
    for pattern, given in selector.keys.items():
        if access & ~given == 0 and glob_match(pattern, key):
            return True
    return False


def channel_allowed(selector: Selector, channel: bytes, is_pattern: bool) -> bool:
    """True if a rule of the selector covers a channel; a pattern must be there word for word."""
    if is_pattern:
        return channel in selector.channels
    return any(glob_match(pattern, channel) for pattern in selector.channels)


def reads_every_key(user: User | None, spec: CommandSpec, argv: list[bytes]) -> bool:
    """True if a selector that allows the request may also read whatever key there is.

    SORT asks: the keys that its BY and GET patterns lead to are in no argument.
    """
    if user is None or user.free:
        return True
    return any(
        (selector.all_keys or selector.keys.get(b"*", 0) & READ_KEY)
        and denied_by(selector, spec, argv) == 0
        for selector in user.selectors
    )

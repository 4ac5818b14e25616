"""Acl: the users of a node, who logs in as whom, and the log of what was refused.

The default user always exists; `requirepass` is its password. A client's user is an object that
lives as long as somebody is logged in as it: rules change it in place, so they hold from the next
request on, and `ClientState.restricted` tells execute() whether there is anything to check. A user
that is deleted takes its clients along; so does losing a channel one is subscribed to.

Users come from the configuration file or from a file of their own (`aclfile`), never from both.
Loading that file replaces all users or, if anything in it is wrong, none. This module sees texts
only; files are read and written by the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from isthmus.node.engine.acl_check import (
    DENIED_AUTH,
    DENIED_CHANNEL,
    DENIED_COMMAND,
    DENIED_KEY,
    denied,
)
from isthmus.node.engine.acl_rules import UNKNOWN, RuleError, User, gathered, has_blanks, hashed
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import Context
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.spec import CommandSpec

GROUPING_MS = 60_000
# How many of the newest entries are looked at for one that a new event can be added to.
GROUPING_DEPTH = 10
REASONS = {
    DENIED_COMMAND: b"command", DENIED_KEY: b"key", DENIED_AUTH: b"auth",
    DENIED_CHANNEL: b"channel",
}  # fmt: skip
AT_EXEC = (
    b"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC "
    b"call. This command is no longer allowed for the following reason: "
)
EXEC_REASONS = {
    DENIED_COMMAND: b"no permission to execute the command or subcommand",
    DENIED_KEY: b"no permission to touch the specified keys",
    DENIED_CHANNEL:
        b"no permission to access one of the channels used as arguments to the command",
}  # fmt: skip
NOTHING_CHANGED = (
    b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
)


class LogEntry:
    """One kind of refusal, as often as it happened within a minute of the last time."""

    def __init__(
        self, number: int, reason: int, context: bytes, object_: bytes, username: bytes,
        client: bytes, now_ms: int,
    ) -> None:  # fmt: skip
        self.id = number
        self.count = 1
        self.reason = reason
        self.context = context
        self.object = object_
        self.username = username
        self.client = client
        self.created_ms = now_ms
        self.updated_ms = now_ms

    def same_kind(self, other: LogEntry) -> bool:
        """True if the other, newer one can be counted here."""
        return (
            self.reason == other.reason
            and self.context == other.context
            and self.object == other.object
            and self.username == other.username
            and other.updated_ms - self.updated_ms <= GROUPING_MS
        )


def sentence(reason: int, user: bytes, spec: CommandSpec, name: bytes, verbose: bool) -> bytes:
    """What is told of a refusal; `name` is the key or channel."""
    if reason == DENIED_COMMAND:
        return b"User " + user + b" has no permissions to run the '" + spec.name + b"' command"
    kind = b"key" if reason == DENIED_KEY else b"channel"
    if verbose:
        return b"User " + user + b" has no permissions to access the '" + name + b"' " + kind
    return b"No permissions to access a " + kind


class Acl:
    """The users of one node; see the module's first lines."""

    # How CLIENT LIST describes a client; set by the commands, which the engine does not know.
    describe: Callable[[Context, ClientState], bytes] | None = None

    def __init__(self, node: Any) -> None:
        self.node = node
        self.config = node.config
        self.default = User(b"default")
        self.default.apply([b"+@all", b"~*", b"&*", b"on", b"nopass"])
        self.users: dict[bytes, User] = {b"default": self.default}
        self.log: deque[LogEntry] = deque()
        self.entries_made = 0
        # Refusals so far, by reason, as INFO shows them.
        self.refused = dict.fromkeys(REASONS, 0)
        if self.config.text("requirepass"):
            self.set_default_password(self.config.text("requirepass"))
        self.config.on_change("requirepass", self.set_default_password)

    # -- logging in ---------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """True if who does not log in is the default user."""
        return self.default.nopass and self.default.enabled

    def welcome(self, client: ClientState) -> None:
        """Make a client the default user's, logged in if that needs no password."""
        self.become(client, self.default)
        client.authenticated = self.open
        client.regate()

    def become(self, client: ClientState, user: User) -> None:
        """Log a client in as user."""
        client.user = user
        client.restricted = not user.free
        client.authenticated = True
        client.regate()

    def login(self, ctx: Context, name: bytes, password: bytes, word: bytes) -> bool:
        """Log the caller in; False, and an entry of the log, if name and password do not fit."""
        if not self.knows(name, password):
            self.note(ctx, ctx.session, DENIED_AUTH, word, name)
            return False
        self.become(ctx.session, self.users[name])
        return True

    def knows(self, name: bytes, password: bytes) -> bool:
        """True if there is such a user who may log in with that password.

        All passwords are compared, each in constant time: the time taken tells nothing.
        """
        user = self.users.get(name)
        given = hashed(password)
        fits = False
        if user is not None:
            for kept in user.passwords:
                fits |= compare_digest(kept, given)
            fits = user.enabled and (fits or user.nopass)
        return fits

    def set_default_password(self, password: str) -> None:
        """`requirepass` was set; an empty one lets everybody in."""
        rule = b">" + password.encode("utf-8", "surrogateescape") if password else b"nopass"
        self.default.apply([b"resetpass", rule])

    # -- changing users -----------------------------------------------------------------------

    @property
    def all_channels(self) -> bool:
        """What acl-pubsub-default gives to a new user or selector."""
        return bool(self.config.text("acl-pubsub-default") == "allchannels")

    def set_user(self, name: bytes, rules: list[bytes]) -> None:
        """Create or change a user, as a whole or not at all; raises RuleError."""
        user = self.users.get(name)
        if user is None:
            trial = User(name, self.all_channels)
        else:
            trial = user.copy(self.all_channels)
        trial.apply(gathered(rules))
        if user is None:
            self.users[name] = trial
            return
        kept = channels_left(trial, user)
        if kept is not None:
            self.kill_subscribers(user, kept)
        user.take(trial)
        self.refresh(user)

    def declare(self, users: dict[bytes, list[bytes]]) -> None:
        """Let in the users of a configuration file; what it says of the default one is all."""
        for name, rules in users.items():
            user = self.default if name == b"default" else User(name, self.all_channels)
            if user is self.default:
                user.all_channels = self.all_channels
                rules = [b"reset", *rules]
            user.apply(rules)
            self.users[name] = user

    def refresh(self, user: User) -> None:
        """The rules of user have changed: which of its clients must be checked?"""
        for client in self.node.clients.values():
            if client.user is user:
                client.restricted = not user.free
                client.regate()

    def delete_user(self, name: bytes) -> bool:
        """Delete a user, who is not the default one, and close its connections."""
        user = self.users.pop(name, None)
        if user is None:
            return False
        for client in list(self.node.clients.values()):
            if client.user is user:
                self.kill(client)
        return True

    def kill(self, client: ClientState) -> None:
        """Close a connection: the caller's after its reply, any other at once."""
        client.close()
        if client is not self.node.ctx.session:
            client.close_now = True
            if self.node.server is not None:
                self.node.server.kill(client)

    def kill_subscribers(self, user: User, kept: list[bytes]) -> None:
        """Close those connections of user that are subscribed to more than `kept`."""
        for client in list(self.node.clients.values()):
            if client.user is user and not subscriptions_fit(self.node, client, kept):
                self.kill(client)

    # -- the gate -----------------------------------------------------------------------------

    def refusal(
        self, ctx: Context, session: ClientState, spec: CommandSpec, argv: list[bytes]
    ) -> bytes | None:
        """The error for a request that the client's user may not make, or None; logs it."""
        found = denied(session.user, spec, argv)
        if found == 0:
            return None
        context = b"multi" if session.in_multi else b"toplevel"
        return b"NOPERM " + self.told(ctx, session, spec, argv, found, context)

    def script_refusal(self, ctx: Context, spec: CommandSpec, argv: list[bytes]) -> bytes | None:
        """As refusal(), for a command that a script of the current client calls."""
        user = ctx.session.user
        found = denied(user, spec, argv) if user is not None and not user.free else 0
        if found == 0:
            return None
        told = self.told(ctx, ctx.session, spec, argv, found, b"lua")
        return b"ERR ACL failure in script: " + told

    def exec_refusal(self, ctx: Context, spec: CommandSpec, argv: list[bytes]) -> bytes | None:
        """As refusal(), for a queued command whose turn has come."""
        found = denied(ctx.session.user, spec, argv)
        if found == 0:
            return None
        self.told(ctx, ctx.session, spec, argv, found, b"multi")
        return AT_EXEC + EXEC_REASONS[found & 7]

    def check(
        self, user: User | None, spec: CommandSpec, argv: list[bytes], db: Any = None
    ) -> bytes | None:
        """Why user may not make a request (command, key, channel), or None; logs nothing."""
        found = denied(user, spec, argv) if user is not None and not user.free else 0
        return REASONS[found & 7] if found else None

    def dry_run(self, user: User, spec: CommandSpec, argv: list[bytes]) -> bytes | None:
        """The sentence that tells why user may not make a request, or None."""
        found = denied(user, spec, argv)
        if found == 0:
            return None
        return sentence(found & 7, user.name, spec, argv[found >> 3], True)

    def told(
        self, ctx: Context, session: ClientState, spec: CommandSpec, argv: list[bytes], found: int,
        context: bytes,
    ) -> bytes:  # fmt: skip
        """Log a refusal; the sentence about it."""
        reason, name = found & 7, argv[found >> 3]
        shown = spec.name if reason == DENIED_COMMAND else name
        self.note(ctx, session, reason, shown, session.user.name, context)
        return sentence(reason, session.user.name, spec, name, False)

    # -- the log ------------------------------------------------------------------------------

    def note(
        self, ctx: Context, session: ClientState, reason: int, object_: bytes, username: bytes,
        context: bytes = b"",
    ) -> None:  # fmt: skip
        """Enter a refusal into the log, or add it to an entry of its kind."""
        self.refused[reason] += 1
        if not context:
            context = b"multi" if session.in_multi else b"toplevel"
        describe = type(self).describe
        client = b"" if describe is None else describe(ctx, session)
        entry = LogEntry(self.entries_made, reason, context, object_, username, client, ctx.now_ms)
        for at in range(min(GROUPING_DEPTH, len(self.log))):
            old = self.log[at]
            if old.same_kind(entry):
                old.client = client
                old.updated_ms = ctx.now_ms
                old.count += 1
                del self.log[at]
                self.log.appendleft(old)
                return
        self.entries_made += 1
        self.log.appendleft(entry)
        self.trim()

    def trim(self) -> None:
        """Keep no more entries than acllog-max-len."""
        limit = self.config.integer("acllog-max-len")
        while len(self.log) > limit:
            self.log.pop()

    # -- texts --------------------------------------------------------------------------------

    def lines(self) -> list[bytes]:
        """All users as lines of a file, in the order of their names."""
        return [b"user " + name + b" " + self.users[name].text() for name in sorted(self.users)]

    def load(self, text: bytes, path: bytes) -> None:
        """Replace all users by those of a file's text; RuleError tells everything that is wrong."""
        users: dict[bytes, User] = {}
        errors = b""
        for number, line in enumerate(text.split(b"\n"), 1):
            line = line.strip(b" \t\r\n")
            if line:
                errors += self._load_line(line, b"%b:%d" % (path, number), number, users)
        if errors:
            raise RuleError(errors + NOTHING_CHANGED)
        self.replace(users)

    def _load_line(self, line: bytes, place: bytes, number: int, users: dict[bytes, User]) -> bytes:
        """Make the user of one line; the text of what is wrong with it."""
        words = line.split(b" ")
        if words[0] != b"user" or len(words) < 2:
            return place + b" should start with user keyword followed by the username. "
        name = words[1]
        if has_blanks(name):
            return b"'" + place + b": username '" + name + b"' contains invalid characters. "
        if name in users:
            return b"WARNING: Duplicate user '%b' found on line %d. " % (name, number)
        user = users[name] = User(name, self.all_channels)
        try:
            rules = gathered(words[2:])
        except RuleError:
            return place + b": Unmatched parenthesis in selector definition."
        errors = b""
        told = False
        for rule in rules:
            rule = rule.strip(b"\t\r\n")
            try:
                user.apply([rule])
            except RuleError as error:
                if error.why == UNKNOWN:
                    errors += (
                        place + b": Error in applying operation '" + rule + b"': " + UNKNOWN + b". "
                    )
                elif not told:
                    errors += place + b": " + error.why + b". "
                    told = True
        return errors

    def replace(self, users: dict[bytes, User]) -> None:
        """Put other users in the place of all there are; clients follow their user's name."""
        default = users.get(b"default")
        if default is None:
            default = User(b"default")
            default.apply([b"+@all", b"~*", b"&*", b"on", b"nopass"])
        before = self.default.copy(False)
        old, self.users = self.users, {**users, b"default": self.default}
        self.default.take(default)
        kept: dict[bytes, list[bytes] | None] = {}
        for client in list(self.node.clients.values()):
            if client.user is None:
                continue
            name = client.user.name
            user = self.users.get(name)
            if user is None:
                self.kill(client)
                continue
            if name not in kept:
                previous = before if user is self.default else old[name]
                kept[name] = channels_left(user, previous)
            left = kept[name]
            if left is not None and not subscriptions_fit(self.node, client, left):
                self.kill(client)
                continue
            client.user = user
            client.restricted = not user.free
            client.regate()


def channels_left(new: User, old: User) -> list[bytes] | None:
    """The channel rules of new, if they may cover less than those of old did; else None."""
    if any(selector.all_channels for selector in new.selectors):
        return None
    left = [channel for selector in new.selectors for channel in selector.channels]
    if any(selector.all_channels for selector in old.selectors):
        return left
    had = {channel for selector in old.selectors for channel in selector.channels}
    return None if had <= set(left) else left


def subscriptions_fit(node: Any, client: ClientState, kept: list[bytes]) -> bool:
    """True if channel rules cover everything that client is subscribed to."""
    mine = node.pubsub.of(client)
    return all(pattern in kept for pattern in mine.patterns) and all(
        any(glob_match(pattern, channel) for pattern in kept)
        for channel in (*mine.channels, *mine.shards)
    )

"""Users and their rules: what a rule such as `+@read` or `%R~cache:*` does to a user, and back.

A user has passwords (SHA-256, in hexadecimal), two switches, and selectors. A selector allows some
commands on some keys and channels; a request is allowed if one selector allows all of it. The first
selector, the root, holds the rules outside of brackets; `(...)` adds another one.

A selector keeps its commands twice: as one byte for each command id, which is what the check reads,
and as the rules that led there, which is what is printed: `+@all` or `-@all`, then the rules in the
order in which they came, where a rule replaces an earlier one on the same command or category, and
the rules on sub-commands of the command it names. `future` tells which of the two it starts with,
which is also what holds for commands that are added later.

A rule that makes no sense raises RuleError with Redis' sentence. Rules are applied to a copy of the
user, so a list of rules takes effect as a whole or not at all (acl.py).
"""

from __future__ import annotations

from hashlib import sha256

from isthmus.node.engine.registry import COMMAND_IDS_MAX, original, specs
from isthmus.node.engine.spec import (
    ADMIN,
    BLOCKING,
    FAST,
    PUBSUB,
    READ_KEY,
    READONLY,
    WRITE,
    WRITE_KEY,
    CommandSpec,
)
from isthmus.wire.scalars import split_inline

READ_WRITE = READ_KEY | WRITE_KEY

# In the order in which Redis lists them.
CATEGORIES = (
    "KEYSPACE", "READ", "WRITE", "SET", "SORTEDSET", "LIST", "HASH", "STRING", "BITMAP",
    "HYPERLOGLOG", "GEO", "STREAM", "PUBSUB", "ADMIN", "FAST", "SLOW", "BLOCKING", "DANGEROUS",
    "CONNECTION", "TRANSACTION", "SCRIPTING",
)  # fmt: skip

NO_COMMANDS = bytes(COMMAND_IDS_MAX)
ALL_COMMANDS = b"\1" * COMMAND_IDS_MAX

UNKNOWN = b"Unknown command or category name in ACL"
BAD_RULE = b"Syntax error"
AFTER_ALL_KEYS = (
    b"Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have "
    b"any effect. Try 'resetkeys' to start with an empty list of patterns"
)
AFTER_ALL_CHANNELS = (
    b"Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not "
    b"have any effect. Try 'resetchannels' to start with an empty list of channels"
)
NO_SUCH_PASSWORD = b"The password you are trying to remove from the user does not exist"
BAD_HASH = (
    b"The password hash must be exactly 64 characters and contain only lowercase hexadecimal "
    b"characters"
)
FIRST_ARG_OF_SUB = b"Allowing first-arg of a subcommand is not supported"
_HEX = frozenset(b"0123456789abcdef")
_BLANKS = frozenset(b" \t\n\v\f\r\0")


class RuleError(ValueError):
    """A rule that cannot be applied: `rule`, if there is one, and Redis' sentence about it."""

    def __init__(self, why: bytes) -> None:
        super().__init__(why)
        self.why = why
        self.rule = b""


def has_blanks(text: bytes) -> bool:
    """True if text holds white space or a NUL, which no name or pattern may."""
    return any(byte in _BLANKS for byte in text)


def categories_of(spec: CommandSpec) -> frozenset[str]:
    """All categories of a command: the declared ones and those that follow from its flags."""
    found = set(spec.categories)
    if spec.flags & WRITE:
        found.add("WRITE")
    if spec.flags & READONLY and "SCRIPTING" not in found:
        found.add("READ")
    if spec.flags & ADMIN:
        found |= {"ADMIN", "DANGEROUS"}
    if spec.flags & PUBSUB:
        found.add("PUBSUB")
    if spec.flags & BLOCKING:
        found.add("BLOCKING")
    found.add("FAST" if spec.flags & FAST else "SLOW")
    return frozenset(found)


def command_named(name: bytes) -> CommandSpec | None:
    """The command of that name or `command|subcommand`, whatever it was renamed to."""
    parent, bar, sub = name.lower().partition(b"|")
    spec = original(parent)
    if spec is None or not bar:
        return spec
    return spec.subcommands.get(sub)


class Selector:
    """Commands, keys and channels that go together; see the module's first lines."""

    def __init__(self, all_channels: bool) -> None:
        self.all_commands = False
        self.all_keys = False
        self.all_channels = all_channels
        self.future = False
        self.commands = NO_COMMANDS
        # Command id -> first arguments with which it is allowed all the same.
        self.first_args: dict[int, dict[bytes, None]] = {}
        # Pattern -> READ_KEY | WRITE_KEY, in the order they came.
        self.keys: dict[bytes, int] = {}
        self.channels: dict[bytes, None] = {}
        # Rule -> True for plus; and of each command the rules on its sub-commands.
        self.rules: dict[bytes, bool] = {}
        self.sub_rules: dict[bytes, list[bytes]] = {}
        self._draft: bytearray | None = None

    def copy(self) -> Selector:
        """An equal selector that shares nothing which can change."""
        other = Selector(self.all_channels)
        other.all_commands = self.all_commands
        other.all_keys = self.all_keys
        other.future = self.future
        other.commands = self.commands
        other.first_args = {at: dict(args) for at, args in self.first_args.items()}
        other.keys = dict(self.keys)
        other.channels = dict(self.channels)
        other.rules = dict(self.rules)
        other.sub_rules = {name: list(subs) for name, subs in self.sub_rules.items()}
        return other

    def apply(self, rule: bytes) -> None:
        """Apply one rule; raises RuleError."""
        word = rule.lower()
        first = rule[:1]
        if word in (b"allkeys", b"~*", b"resetkeys"):
            self.all_keys = word != b"resetkeys"
            self.keys = {}
        elif word in (b"allchannels", b"&*", b"resetchannels"):
            self.all_channels = word != b"resetchannels"
            self.channels = {}
        elif word in (b"allcommands", b"+@all", b"nocommands", b"-@all"):
            self._every_command(word in (b"allcommands", b"+@all"))
        elif first in (b"~", b"%"):
            self._key_pattern(rule)
        elif first == b"&":
            self._channel_pattern(rule[1:])
        elif rule[:2] in (b"+@", b"-@"):
            self._category(word[1:], first == b"+")
        elif first == b"+":
            self._allow(rule[1:])
        elif first == b"-":
            spec = command_named(rule[1:])
            if spec is None:
                raise RuleError(UNKNOWN)
            self._permit(spec, False)
            self._note(spec.name, False)
        else:
            raise RuleError(BAD_RULE)

    def settle(self, known: dict[bytes, bytes]) -> None:
        """Make the commands readable; equal sets of one user are kept once, in `known`."""
        if self._draft is not None:
            made = bytes(self._draft)
            self.commands = known.setdefault(made, made)
            self._draft = None

    def _every_command(self, allowed: bool) -> None:
        self.all_commands = self.future = allowed
        self.commands = ALL_COMMANDS if allowed else NO_COMMANDS
        self._draft = None
        self.first_args = {}
        self.rules = {}
        self.sub_rules = {}

    def _key_pattern(self, rule: bytes) -> None:
        if self.all_keys:
            raise RuleError(AFTER_ALL_KEYS)
        access, pattern = READ_WRITE, rule[1:]
        if rule[:1] == b"%":
            letters, tilde, pattern = rule[1:].partition(b"~")
            access = 0
            for letter in letters.upper():
                bit = {0x52: READ_KEY, 0x57: WRITE_KEY}.get(letter, 0)
                if not bit or access & bit:
                    raise RuleError(BAD_RULE)
                access |= bit
            # Redis reads the letters to the end where there is no tilde: an empty pattern.
            if not access:
                raise RuleError(BAD_RULE)
        if has_blanks(pattern):
            raise RuleError(BAD_RULE)
        self.keys[pattern] = self.keys.get(pattern, 0) | access

    def _channel_pattern(self, pattern: bytes) -> None:
        if self.all_channels:
            raise RuleError(AFTER_ALL_CHANNELS)
        if has_blanks(pattern):
            raise RuleError(BAD_RULE)
        self.channels[pattern] = None

    def _category(self, category: bytes, allowed: bool) -> None:
        name = category[1:].decode("latin-1").upper()
        if name not in CATEGORIES:
            raise RuleError(UNKNOWN)
        self._note(category, allowed)
        for spec in specs():
            if name in categories_of(spec):
                self._permit(spec, allowed)

    def _allow(self, name: bytes) -> None:
        command, bar, sub = name.rpartition(b"|")
        spec = command_named(command if bar else name)
        if spec is None:
            raise RuleError(UNKNOWN)
        if not bar:
            self._permit(spec, True)
            self._note(spec.name, True)
            return
        if spec.parent is not None:
            raise RuleError(FIRST_ARG_OF_SUB)
        if not sub:
            raise RuleError(BAD_RULE)
        if spec.subcommands:
            below = spec.subcommands.get(sub.lower())
            if below is None:
                raise RuleError(UNKNOWN)
            self._permit(below, True)
        else:
            self.first_args.setdefault(spec.id, {})[sub.lower()] = None
        self._note(name.lower(), True)

    def _permit(self, spec: CommandSpec, allowed: bool) -> None:
        """Set the byte of a command and of all below it."""
        if self._draft is None:
            self._draft = bytearray(self.commands)
        if not allowed:
            self.all_commands = False
        self._draft[spec.id] = allowed
        self.first_args.pop(spec.id, None)
        for sub in spec.subcommands.values():
            self._draft[sub.id] = allowed

    def _note(self, rule: bytes, plus: bool) -> None:
        """Keep the rule as it will be printed."""
        parent, bar, _ = rule.partition(b"|")
        self.rules.pop(rule, None)
        if bar:
            self.sub_rules.setdefault(parent, []).append(rule)
        else:
            for sub in self.sub_rules.pop(rule, ()):
                self.rules.pop(sub, None)
        self.rules[rule] = plus

    # -- and back -----------------------------------------------------------------------------

    def command_text(self) -> bytes:
        """The rules on commands, beginning with +@all or -@all."""
        rules = ((b"+" if plus else b"-") + rule for rule, plus in self.rules.items())
        return b" ".join((b"+@all" if self.future else b"-@all", *rules))

    def key_text(self) -> bytes:
        """The rules on keys."""
        if self.all_keys:
            return b"~*"
        signs = {READ_WRITE: b"~", READ_KEY: b"%R~", WRITE_KEY: b"%W~"}
        return b" ".join(signs[access] + pattern for pattern, access in self.keys.items())

    def channel_text(self) -> bytes:
        """The rules on channels."""
        if self.all_channels:
            return b"&*"
        return b" ".join(b"&" + pattern for pattern in self.channels)

    def text(self) -> bytes:
        """The whole selector as rules, which make an equal one again."""
        channels = self.channel_text()
        if not self.all_channels:
            channels = b"resetchannels " + channels
        parts = (self.key_text(), channels.rstrip(b" "), self.command_text())
        return b" ".join(filter(None, parts))

    def is_free(self) -> bool:
        """True if it allows everything."""
        return self.all_commands and self.all_keys and self.all_channels


def hashed(password: bytes) -> bytes:
    """A password as it is kept."""
    return sha256(password).hexdigest().encode()


def _checked_hash(text: bytes) -> bytes:
    if len(text) != 64 or not _HEX.issuperset(text):
        raise RuleError(BAD_HASH)
    return text


class User:
    """One user; `free` is True when no request of theirs needs to be checked."""

    def __init__(self, name: bytes, all_channels: bool = False) -> None:
        self.name = name
        self.enabled = False
        self.nopass = False
        self.sanitize = True
        self.passwords: dict[bytes, None] = {}
        # What acl-pubsub-default gives to new selectors.
        self.all_channels = all_channels
        self.selectors = [Selector(all_channels)]
        self.free = False

    def copy(self, all_channels: bool) -> User:
        """An equal user to try rules on."""
        other = User(self.name, all_channels)
        other.take(self)
        other.selectors = [selector.copy() for selector in self.selectors]
        return other

    def take(self, other: User) -> None:
        """Become what `other` is, which is not used any more afterwards."""
        self.enabled = other.enabled
        self.nopass = other.nopass
        self.sanitize = other.sanitize
        self.passwords = dict(other.passwords)
        self.selectors = other.selectors
        self.free = other.free

    def apply(self, rules: list[bytes]) -> None:
        """Apply rules one after the other; raises RuleError at the first that is wrong."""
        known: dict[bytes, bytes] = {}
        for rule in rules:
            try:
                self._apply(rule, known)
            except RuleError as error:
                error.rule = rule
                raise
        self.selectors[0].settle(known)
        self.free = any(selector.is_free() for selector in self.selectors)

    def _apply(self, rule: bytes, known: dict[bytes, bytes]) -> None:
        word = rule.lower()
        first = rule[:1]
        if word in (b"on", b"off"):
            self.enabled = word == b"on"
        elif word in (b"nopass", b"resetpass"):
            self.nopass = word == b"nopass"
            self.passwords = {}
        elif word in (b"sanitize-payload", b"skip-sanitize-payload"):
            self.sanitize = word == b"sanitize-payload"
        elif first in (b">", b"#"):
            added = hashed(rule[1:]) if first == b">" else _checked_hash(rule[1:])
            self.passwords[added] = None
            self.nopass = False
        elif first in (b"<", b"!"):
            gone = hashed(rule[1:]) if first == b"<" else _checked_hash(rule[1:])
            if gone not in self.passwords:
                raise RuleError(NO_SUCH_PASSWORD)
            del self.passwords[gone]
        elif first == b"(" and rule[-1:] == b")":
            self.selectors.append(self._selector(rule[1:-1], known))
        elif word == b"clearselectors":
            del self.selectors[1:]
        elif word == b"reset":
            self.enabled = self.nopass = False
            self.sanitize = True
            self.passwords = {}
            self.selectors = [Selector(self.all_channels)]
        elif rule:
            self.selectors[0].apply(rule)

    def _selector(self, text: bytes, known: dict[bytes, bytes]) -> Selector:
        made = Selector(self.all_channels)
        try:
            rules = split_inline(text)
        except ValueError:
            # As in Redis, quotes that do not balance make a selector without any rule.
            rules = []
        for rule in rules:
            made.apply(rule)
        made.settle(known)
        return made

    def flag_names(self) -> list[bytes]:
        """The switches, in the order in which they are printed."""
        return [
            b"on" if self.enabled else b"off",
            *([b"nopass"] if self.nopass else []),
            b"sanitize-payload" if self.sanitize else b"skip-sanitize-payload",
        ]

    def text(self) -> bytes:
        """All rules of the user, which make an equal one again."""
        parts = [*self.flag_names(), *(b"#" + password for password in self.passwords)]
        parts.append(self.selectors[0].text())
        parts += [b"(" + selector.text() + b")" for selector in self.selectors[1:]]
        return b" ".join(parts)


def gathered(rules: list[bytes]) -> list[bytes]:
    """Rules with the words of a bracketed selector put together; RuleError if one stays open."""
    found: list[bytes] = []
    selector: list[bytes] = []
    for rule in rules:
        if selector:
            selector.append(rule)
            if rule[-1:] == b")":
                found.append(b" ".join(selector))
                selector = []
        elif rule[:1] == b"(" and rule[-1:] != b")":
            selector = [rule]
        else:
            found.append(rule)
    if selector:
        raise RuleError(
            b"Unmatched parenthesis in acl selector starting at '" + selector[0] + b"'."
        )
    return found

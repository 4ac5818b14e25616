"""Configuration files: one directive in each line, as redis-server reads them.

    # a comment                         include /etc/isthmus/more/*.conf
    maxmemory 2gb                       rename-command FLUSHALL ""
    requirepass "with blanks"           user worker on >secret ~job:* +@read

Words are quoted as in inline requests. A directive that comes twice replaces the first, except
`save` and `user`, which add up. What is wrong stops the start with the line it stands in. Files are
read through two functions, so that this module sees texts only.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.node.engine.acl_rules import BAD_RULE, RuleError, User, gathered, has_blanks
from isthmus.node.engine.config import Config, ConfigError, find
from isthmus.node.engine.registry import rename
from isthmus.wire.scalars import split_inline

INCLUDES_DEEP_MAX = 16
BAD_DIRECTIVE = "Bad directive or wrong number of arguments"
DUPLICATE_USER = "Duplicate user found. A user can only be defined once in config files"
NO_MODULES = "binary modules are not loaded here"
# Accepted in files for the sake of older ones, and then forgotten: name and number of words.
RETIRED = {"list-max-ziplist-entries": 2, "list-max-ziplist-value": 2, "lua-replicate-commands": 2}


def text_of(data: bytes) -> str:
    """Bytes of a file as the text of a parameter."""
    return data.decode("utf-8", "surrogateescape")


class ConfigFileError(ValueError):
    """What is wrong with which line, as several lines to be printed."""


class ConfigFile:
    """Reads files into a Config; `users` are those that it declares, in order."""

    def __init__(
        self, config: Config, read: Callable[[bytes], bytes],
        expand: Callable[[bytes], list[bytes]],
    ) -> None:  # fmt: skip
        self.config = config
        self.users: dict[bytes, list[bytes]] = {}
        self._read = read
        self._expand = expand
        self._depth = 0

    def load(self, path: bytes) -> None:
        """Read a file, or all that a pattern means; raises ConfigFileError."""
        paths = self._expand(path) if any(special in path for special in b"*?[") else [path]
        for one in paths:
            try:
                data = self._read(one)
            except OSError as error:
                why = error.strerror or str(error)
                raise ConfigFileError(
                    f"Fatal error, can't open config file '{text_of(one)}': {why}"
                ) from None
            self.text(data)

    def text(self, data: bytes) -> None:
        """Read the text of a file; raises ConfigFileError."""
        self._depth += 1
        for number, line in enumerate(data.split(b"\n"), 1):
            line = line.strip(b" \t\r\n")
            if not line or line.startswith(b"#"):
                continue
            try:
                self._line(line)
            except ConfigError as error:
                raise ConfigFileError(
                    "\n*** FATAL CONFIG FILE ERROR (Isthmus) ***\n"
                    f"Reading the configuration file, at line {number}\n"
                    f">>> '{text_of(line)}'\n{error.why}"
                ) from None
        self._depth -= 1

    def _line(self, line: bytes) -> None:
        try:
            words = split_inline(line)
        except ValueError:
            raise ConfigError("", "Unbalanced quotes in configuration line") from None
        if words:
            self.directive(words)

    def directive(self, words: list[bytes]) -> None:
        """One directive; raises ConfigError, and ConfigFileError for what is in included files."""
        name = text_of(words[0]).lower()
        if find(name) is not None:
            self.config.load(name, [text_of(word) for word in words[1:]])
        elif RETIRED.get(name) == len(words):
            return
        elif name == "include" and len(words) == 2:
            if self._depth >= INCLUDES_DEEP_MAX:
                raise ConfigError(name, "files include each other without an end")
            self.load(words[1])
        elif name == "rename-command" and len(words) == 3:
            self._rename(words[1], words[2])
        elif name == "user" and len(words) >= 2:
            self._user(words[1], words[2:])
        elif name == "loadmodule" and len(words) >= 2:
            raise ConfigError(name, NO_MODULES)
        elif name == "sentinel" and len(words) > 1:
            raise ConfigError(name, "sentinel directive while not in sentinel mode")
        else:
            raise ConfigError(name, BAD_DIRECTIVE)

    def _rename(self, old: bytes, new: bytes) -> None:
        try:
            rename(old, new)
        except KeyError:
            raise ConfigError("", "No such command in rename-command") from None
        except ValueError:
            raise ConfigError("", "Target command name already exists") from None

    def _user(self, name: bytes, rules: list[bytes]) -> None:
        if name in self.users:
            raise _user_error(name, DUPLICATE_USER)
        if has_blanks(name):
            raise _user_error(name, text_of(BAD_RULE))
        try:
            found = gathered(rules)
            User(name).apply(found)
        except RuleError as error:
            raise _user_error(error.rule or name, text_of(error.why)) from None
        self.users[name] = found


def _user_error(at: bytes, why: str) -> ConfigError:
    return ConfigError("user", f"Error in user declaration '{text_of(at)}': {why}")

"""Config: the values of the parameters, checked when set, and who wants to know of a change.

A value is kept as the text CONFIG GET shows ("1mb" becomes "1048576"); numbers are kept a second
time as integers, because commands read thresholds while they run. CONFIG SET of several pairs
changes all of them or none. A callback of `on_change` runs after all pairs have their new values,
so it sees a consistent whole; it may not raise. One of `on_apply` does what may fail (open a port):
it runs first and may raise ConfigError, and then everything is put back.

On the command line parameters are written as redis-server takes them: `--name value [value ...]`;
config_file.py reads files. `path` is the file all of it came from, for CONFIG REWRITE.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from isthmus.node.engine import config_table as table
from isthmus.node.engine.config_table import ALIASES, LONG, PARAMETERS, Parameter
from isthmus.wire.scalars import format_float, i64, parse_float, parse_int

_CLAMPS = {"hz": (1, 500), "repl-backlog-size": (16384, LONG)}
BIND_ADDRESSES_MAX = 16
# Those that take several words; the others take exactly one.
MANY_WORDS = frozenset(
    "save client-output-buffer-limit bind oom-score-adj-values replicaof shutdown-on-sigint "
    "shutdown-on-sigterm latency-tracking-info-percentiles".split()
)

_UNITS = {
    "": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3,
}  # fmt: skip
_MEMORY = re.compile(r"(\d{1,20})(b|k|kb|m|mb|g|gb|)", re.IGNORECASE | re.ASCII)
_EVENT_CLASSES = "g$lshzxetdnm"
_EVENT_ALL = "g$lshzxetd"
_EVENT_ERROR = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
_TITLE_VARIABLES = frozenset(
    "title listen-addr server-mode port tls-port unixsocket config-file".split()
)
_LIMIT_CLASSES = {"normal": 0, "slave": 1, "replica": 1, "pubsub": 2}
_LIMIT_ERROR = "Error in hard, soft or soft_seconds setting in buffer limit configuration."


class ConfigError(ValueError):
    """A value a parameter cannot take; `name` is the parameter as it was written."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def _number(text: str) -> int | None:
    try:
        return parse_int(text.encode("utf-8", "surrogateescape"))
    except ValueError:
        return None


def _memory(text: str) -> int | None:
    match = _MEMORY.fullmatch(text)
    return None if match is None else int(match[1]) * _UNITS[match[2].lower()]


def _within(row: Parameter, value: int) -> None:
    if not row.low <= value <= row.high:
        shown = (
            f"{row.low:o} and {row.high:o}"
            if row.kind == table.OCTAL
            else f"{row.low} and {row.high}"
        )
        raise ConfigError(row.name, f"argument must be between {shown} inclusive")


def _choice(row: Parameter, text: str) -> str:
    word = text.lower()
    if word not in row.choices:
        listed = ", ".join(row.choices)
        raise ConfigError(row.name, f"argument(s) must be one of the following: {listed}")
    return word


def _measure(row: Parameter, text: str) -> str:
    """A number, an octal mode, or an amount of memory, as the text that is shown."""
    if row.kind == table.OCTAL:
        if not re.fullmatch(r"[0-7]{1,6}", text):
            raise ConfigError(row.name, "argument couldn't be parsed into an integer")
        _within(row, int(text, 8))
        return f"{int(text, 8):o}"
    if row.kind == table.NUMBER:
        value = _number(text)
        if value is None:
            raise ConfigError(row.name, "argument couldn't be parsed into an integer")
        _within(row, value)
        return str(clamped(row.name, value))
    if row.kind == table.PERCENT_MEMORY and text.endswith("%"):
        share = _number(text[:-1])
        if share is None or share < 0:
            raise ConfigError(row.name, "argument must be a memory or percent value")
        if share > 100:
            raise ConfigError(row.name, "percentage argument must be less or equal to 100")
        return f"{share}%"
    # Redis reads an empty text as no bytes at all.
    amount = _memory(text) if text else 0
    if amount is None:
        kinds = "memory or percent" if row.kind == table.PERCENT_MEMORY else "memory"
        raise ConfigError(row.name, f"argument must be a {kinds} value")
    _within(row, amount)
    return str(clamped(row.name, amount))


def clamped(name: str, value: int) -> int:
    """The nearest value that Redis uses for the few parameters it corrects without an error."""
    low, high = _CLAMPS.get(name, (value, value))
    return max(low, min(value, high))


def normalize(row: Parameter, text: str, old: str) -> str:
    """The text shown for a new value; `old` is the one before. Raises ConfigError."""
    if row.kind == table.BOOL:
        if text.lower() not in ("yes", "no"):
            raise ConfigError(row.name, "argument must be 'yes' or 'no'")
        return text.lower()
    if row.kind == table.ENUM:
        return _choice(row, text)
    if row.kind == table.FLAGS:
        chosen = {_choice(row, word) for word in text.split()}
        return " ".join(word for word in row.choices if word in chosen) or row.default
    if row.kind == table.TEXT:
        return text
    if row.kind == table.SPECIAL:
        return _SPECIAL[row.name](row, text, old)
    return _measure(row, text)


def _save(row: Parameter, text: str, old: str) -> str:
    points = [_number(word) for word in text.split()]
    pairs = list(zip(points[::2], points[1::2], strict=False))
    if len(points) % 2 or any(s is None or n is None or s < 1 or n < 0 for s, n in pairs):
        raise ConfigError(row.name, "Invalid save parameters")
    return " ".join(str(point) for point in points)


def _output_limits(row: Parameter, text: str, old: str) -> str:
    words, limits = text.split(), old.split()
    if len(words) % 4:
        raise ConfigError(row.name, "Wrong number of arguments in buffer limit configuration.")
    for at in range(0, len(words), 4):
        kind = _LIMIT_CLASSES.get(words[at].lower())
        if kind is None:
            raise ConfigError(
                row.name, "Invalid client class specified in buffer limit configuration."
            )
        hard, soft, seconds = _memory(words[at + 1]), _memory(words[at + 2]), _number(words[at + 3])
        if hard is None or soft is None or seconds is None or seconds < 0:
            raise ConfigError(row.name, _LIMIT_ERROR)
        limits[4 * kind + 1 : 4 * kind + 4] = [str(hard), str(soft), str(seconds)]
    return " ".join(limits)


def _hostname(row: Parameter, text: str, old: str) -> str:
    if len(text) > 255:
        raise ConfigError(row.name, "Hostnames must be less than 256 characters")
    if not re.fullmatch(r"[A-Za-z0-9.-]*", text):
        raise ConfigError(
            row.name, "Hostnames may only contain alphanumeric characters, hyphens or dots"
        )
    return text


def _percentiles(row: Parameter, text: str, old: str) -> str:
    shown = []
    for word in text.split(" ") if text else []:
        try:
            value = parse_float(word.encode("utf-8", "surrogateescape"))
        except ValueError:
            raise ConfigError(row.name, f"Invalid {row.name} parameters") from None
        if not 0 <= value <= 100:
            raise ConfigError(row.name, f"{row.name} parameters should sit between [0.0,100.0]")
        shown.append(format_float(value).decode())
    return " ".join(shown)


def _events(row: Parameter, text: str, old: str) -> str:
    letters = set(text)
    if letters - set(_EVENT_CLASSES) - set("AKE"):
        raise ConfigError(row.name, _EVENT_ERROR)
    if "A" in letters:
        letters |= set(_EVENT_ALL)
    if letters >= set(_EVENT_ALL):
        shown = "A"
    else:
        shown = "".join(letter for letter in _EVENT_ALL if letter in letters)
    return shown + "".join(letter for letter in "KEmn" if letter in letters)


def _oom_scores(row: Parameter, text: str, old: str) -> str:
    scores = [_number(word) for word in text.split()]
    if len(scores) != 3:
        raise ConfigError(row.name, "wrong number of arguments")
    if any(score is None or not -2000 <= score <= 2000 for score in scores):
        raise ConfigError(row.name, f"Invalid {row.name}, elements must be between -2000 and 2000.")
    return " ".join(str(score) for score in scores)


def _title(row: Parameter, text: str, old: str) -> str:
    rest = re.sub(r"\{([^{}]*)\}", lambda m: "" if m[1] in _TITLE_VARIABLES else "{", text)
    if not text or "{" in rest or "}" in rest:
        raise ConfigError(row.name, "template format is invalid or contains unknown variables")
    return text


def _bind(row: Parameter, text: str, old: str) -> str:
    if len(text.split()) > BIND_ADDRESSES_MAX:
        raise ConfigError(row.name, "Too many bind addresses specified.")
    return " ".join(text.split())


_SPECIAL: dict[str, Callable[[Parameter, str, str], str]] = {
    "bind": _bind,
    "client-output-buffer-limit": _output_limits,
    "cluster-announce-hostname": _hostname,
    "latency-tracking-info-percentiles": _percentiles,
    "notify-keyspace-events": _events,
    "oom-score-adj-values": _oom_scores,
    "proc-title-template": _title,
    "save": _save,
}


def find(name: str) -> Parameter | None:
    """The parameter of that name or older name, in any case; None if there is none."""
    lower = name.lower()
    return PARAMETERS.get(ALIASES.get(lower, lower))


class Config:
    """The values of all parameters; see the module's first lines."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        """Start from the defaults and `values`, fixed ones included; raises ConfigError."""
        self.values = {row.name: row.default for row in PARAMETERS.values()}
        self._integers: dict[str, int] = {}
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._appliers: dict[str, Callable[[str], None]] = {}
        self.path = ""
        # Names that load() was given: what nobody gave keeps its default when it is rewritten.
        self.given: set[str] = set()
        for name, text in (values or {}).items():
            row = find(name)
            if row is None:
                raise ConfigError(name, "no such parameter")
            self.values[row.name] = normalize(row, text, self.values[row.name])
        for row in PARAMETERS.values():
            self._note(row)

    def _note(self, row: Parameter) -> None:
        text = self.values[row.name]
        if row.kind in (table.NUMBER, table.MEMORY):
            self._integers[row.name] = int(text)
        elif row.kind == table.OCTAL:
            self._integers[row.name] = int(text, 8)

    def text(self, name: str) -> str:
        """The value as the text CONFIG GET shows."""
        return self.values[name]

    def integer(self, name: str) -> i64:
        """The value of a number, a mode, or an amount of memory (bytes)."""
        return self._integers[name]

    def boolean(self, name: str) -> bool:
        """True for yes."""
        return self.values[name] == "yes"

    def on_change(self, name: str, callback: Callable[[str], None]) -> None:
        """Call back with the new text whenever CONFIG SET changes the parameter."""
        self._callbacks.setdefault(PARAMETERS[name].name, []).append(callback)

    def on_apply(self, name: str, callback: Callable[[str], None]) -> None:
        """Call back with the new text before a change by CONFIG SET counts; see above."""
        self._appliers[PARAMETERS[name].name] = callback

    def load(self, name: str, words: list[str]) -> None:
        """One directive of a file or of the command line; raises ConfigError.

        Fixed parameters can be given too; `save` adds to what was loaded before.
        """
        row = find(name)
        if row is None:
            raise ConfigError(name, "no such parameter")
        if row.name in MANY_WORDS:
            text = " ".join(words)
            if row.name == "save" and text and row.name in self.given:
                text = f"{self.values['save']} {text}".strip()
        elif len(words) == 1:
            text = words[0]
        else:
            raise ConfigError(name, "wrong number of arguments")
        self.values[row.name] = normalize(row, text, self.values[row.name])
        self.given.add(row.name)
        self._note(row)

    def set_many(self, pairs: list[tuple[str, str]], local: bool = False) -> None:
        """Set all pairs or, raising ConfigError, none. A pair's name must be one of a parameter.

        `local` is True if somebody on this machine asks.
        """
        new: dict[str, str] = {}
        names: set[str] = set()
        for name, _ in pairs:
            row = find(name)
            assert row is not None, name
            self._may_set(row, name, names, local)
        for name, text in pairs:
            row = find(name)
            assert row is not None, name
            try:
                new[row.name] = normalize(row, text, new.get(row.name, self.values[row.name]))
            except ConfigError as error:
                raise ConfigError(name.lower(), error.why) from None
        old = {name: self.values[name] for name in new}
        changed = [name for name, text in new.items() if old[name] != text]
        self._put(new)
        done: list[str] = []
        try:
            for name in changed:
                if name in self._appliers:
                    done.append(name)
                    self._appliers[name](new[name])
        except ConfigError:
            self._put(old)
            for name in done[:-1]:
                self._appliers[name](old[name])
            raise
        for name in changed:
            for callback in self._callbacks.get(name, ()):
                callback(new[name])

    def tell(self, name: str, text: str) -> None:
        """What a parameter shows, of which a command of its own decides."""
        self._put({name: text})

    def _put(self, values: dict[str, str]) -> None:
        self.values.update(values)
        for name in values:
            self._note(PARAMETERS[name])

    def _may_set(self, row: Parameter, name: str, names: set[str], local: bool) -> None:
        lower = name.lower()
        if row.fixed:
            raise ConfigError(lower, "can't set immutable config")
        allowed = self.values["enable-protected-configs"]
        if row.protected and allowed != "yes" and not (allowed == "local" and local):
            raise ConfigError(lower, "can't set protected config")
        if lower in names:
            raise ConfigError(lower, "duplicate parameter")
        names.add(lower)


def read_options(arguments: list[str]) -> list[tuple[str, list[str]]]:
    """A command line of `--name value [value ...] ...` as directives; raises ConfigError.

    Words up to the next --name are the values (there may be none). Config checks names and values.
    """
    found: list[tuple[str, list[str]]] = []
    for word in arguments:
        if word.startswith("--") and len(word) > 2:
            found.append((word[2:], []))
        elif found:
            found[-1][1].append(word)
        else:
            raise ConfigError(word, "expected --name value")
    return found

"""SlowLog: the last calls that took at least `slowlog-log-slower-than` microseconds, newest first.

Entries keep what the client sent, cut to `ARGS_MAX` arguments of `ARG_BYTES_MAX` bytes, so the log
cannot hold on to much memory, and without secrets: `redacted` replaces passwords and what else
would tell of users. The log has at most `slowlog-max-len` entries; numbers of entries only grow.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

from isthmus.node.engine.config import Config

ARGS_MAX = 32
ARG_BYTES_MAX = 128
REDACTED = b"(redacted)"
SECRET_PARAMETERS = frozenset({
    b"masterauth", b"masteruser", b"requirepass", b"tls-key-file-pass", b"tls-client-key-file-pass",
})  # fmt: skip
SECRET_SUBCOMMANDS = frozenset({b"acl|setuser", b"acl|deluser", b"acl|getuser"})


def secret_positions(name: bytes, argv: list[bytes]) -> list[int]:
    """Which arguments of a request of the command `name` nobody else may see."""
    count = len(argv)
    if name == b"auth":
        return list(range(1, count))
    if name in SECRET_SUBCOMMANDS:
        return list(range(2, count))
    if name == b"config|set":
        return [at + 1 for at in range(2, count - 1, 2) if argv[at].lower() in SECRET_PARAMETERS]
    if name == b"hello":
        return after_words(argv, 2, {b"auth": 2})
    if name == b"migrate":
        return after_words(argv, 6, {b"auth": 1, b"auth2": 2})
    return []


def after_words(argv: list[bytes], start: int, words: dict[bytes, int]) -> list[int]:
    """The positions behind each of `words` from `start` on, as many as the word says."""
    found: list[int] = []
    at = start
    while at < len(argv):
        more = words.get(argv[at].lower(), 0)
        found += range(at + 1, min(at + 1 + more, len(argv)))
        at += 1 + more
        if argv[at - 1 - more].lower() == b"keys":
            break
    return found


def redacted(name: bytes, argv: list[bytes]) -> list[bytes]:
    """The request as it may be shown to others; argv itself if it holds no secret."""
    secret = secret_positions(name, argv)
    if not secret:
        return argv
    shown = list(argv)
    for at in secret:
        shown[at] = REDACTED
    return shown


def shortened(argv: list[bytes]) -> list[bytes]:
    """The request cut to what an entry may hold, with words about what was left out."""
    kept = argv
    if len(argv) > ARGS_MAX:
        left = len(argv) - ARGS_MAX + 1
        kept = [*argv[: ARGS_MAX - 1], b"... (%d more arguments)" % left]
    return [
        arg
        if len(arg) <= ARG_BYTES_MAX
        else arg[:ARG_BYTES_MAX] + b"... (%d more bytes)" % (len(arg) - ARG_BYTES_MAX)
        for arg in kept
    ]


class SlowEntry(NamedTuple):
    """One slow call: when it ended (Unix seconds), how long it took, what it was and whose."""

    id: int
    at_s: int
    micros: int
    argv: list[bytes]
    address: bytes
    name: bytes


class SlowLog:
    """The slow calls of a node."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.next_id = 0
        self.entries: deque[SlowEntry] = deque()

    def __len__(self) -> int:
        return len(self.entries)

    def note(
        self, name: bytes, argv: list[bytes], micros: int, at_s: int, address: bytes, client: bytes
    ) -> None:
        """Keep a call if it was slow enough."""
        threshold = self.config.integer("slowlog-log-slower-than")
        room = self.config.integer("slowlog-max-len")
        if threshold < 0 or room == 0 or micros < threshold:
            return
        shown = shortened(redacted(name, argv))
        self.entries.appendleft(SlowEntry(self.next_id, at_s, micros, shown, address, client))
        self.next_id += 1
        while len(self.entries) > room:
            self.entries.pop()

    def newest(self, count: int) -> list[SlowEntry]:
        """The newest entries, newest first; all of them for a count of -1."""
        return list(self.entries if count < 0 else islice(self.entries, count))

    def reset(self) -> None:
        """Forget every entry; numbering goes on."""
        self.entries.clear()

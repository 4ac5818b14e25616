"""Sending the commands of a receipt to the cluster again, where that overwrites nothing (io).

The new primary began with exactly the data that the first command of the tail met. So a key that
nobody has touched since the failover gets, by the commands of the tail in their order, what it had
on the old primary; for one that was touched there is no right answer but a person's.

What hangs together by commands with several keys is a *group*. Each group is one transaction:
WATCH its keys, look at them, then MULTI, the commands, EXEC. Whoever writes one of the keys in
between wins, and the group is left out. To look is OBJECT IDLETIME, which tells when a key was last
read or written: reads of clients count as well, so the rule errs on the safe side only. A server
with an LFU policy cannot tell, and its keys count as touched.

Commands without keys (FLUSHALL, FUNCTION LOAD) are never sent.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from isthmus.cli.import_route import redirect
from isthmus.cli.shards import Unreachable, talking
from isthmus.cli.sync import Server
from isthmus.node.commands import load_all
from isthmus.node.replicate.quarantine import commands_of
from isthmus.wire.client import Client, ConnectionLost, ReplyError
from isthmus.wire.slots import key_slot

UNTOUCHED, MISSING, ALL = "untouched", "missing", "all"
# Marks of use are whole seconds, and clocks of machines differ by a little.
SLACK_S = 2
HOPS_MAX = 5
KEYS_LISTED_MAX = 20
# In paragraphs, each of which is one line: that is how help is laid out.
HELP = (
    "Send the commands of a receipt to the cluster again, each group of keys as a transaction.\n\n"
    "Sent are only commands of keys that nobody has read or written since the failover, and of "
    "keys that are not there now, so nothing that was written since is overwritten. A key that was "
    "there and was deleted since comes back. What was sent counts as used: it is not sent twice. "
    "--dry-run tells what would be sent.\n\n"
    "--only-missing leaves all keys alone that are there. --all sends everything as it was: newer "
    "values are overwritten, and counters count again."
)
EXAMPLES = (
    "Examples:\n\n"
    "  isthmus quarantine replay 1795444800123-0-17 --dry-run\n\n"
    "  isthmus quarantine replay 1795444800123-0-17\n\n"
    "  isthmus quarantine replay 1795444800123-0-17 --only-missing --target redis://10.0.0.5:10000"
)


@dataclass(slots=True)
class Group:
    """Keys that commands join, and all commands of these keys in their order."""

    keys: list[bytes]
    commands: list[list[bytes]]


@dataclass(slots=True)
class Outcome:
    """What became of the groups; keys are listed up to a limit."""

    sent_keys: int = 0
    sent_commands: int = 0
    touched: int = 0  # keys left out because somebody used them since
    failed: int = 0  # keys whose commands were refused
    without_keys: int = 0  # commands that have none
    left_out: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is left that one might want to send."""
        return not (self.touched or self.failed or self.without_keys)

    def lines(self, dry_run: bool) -> list[str]:
        """For people."""
        would = "would be sent" if dry_run else "sent"
        said = [f"{would}: {self.sent_commands} writes of {self.sent_keys} keys"]
        if self.touched:
            keys = ", ".join(self.left_out) + (", ..." if self.touched > len(self.left_out) else "")
            said.append(f"left out: {self.touched} keys that are in use since: {keys}")
        if self.without_keys:
            said.append(f"left out: {self.without_keys} commands that concern no key")
        said += [f"refused: {error}" for error in self.errors]
        if not (self.complete or dry_run):
            said.append("the receipt stays open: --all sends the rest as well, or settle ends it")
        return said


def first_commands(data: bytes, count: int) -> list[list[bytes]]:
    """The first writes of a tail."""
    load_all()
    found: list[list[bytes]] = []
    for argv, _ in commands_of(data):
        if len(found) == count:
            break
        found.append(argv)
    return found


def groups(data: bytes) -> tuple[list[Group], int]:
    """The tail as groups that have no key in common, and how many commands have no keys."""
    load_all()
    home: dict[bytes, Group] = {}
    without = 0
    for argv, keys in commands_of(data):
        if not keys:
            without += 1
            continue
        touched = list({id(home[key]): home[key] for key in keys if key in home}.values())
        group = touched[0] if touched else Group([], [])
        for other in touched[1:]:
            # No command so far had keys of both, so which of them comes first does not matter.
            group.keys += other.keys
            group.commands += other.commands
            home.update(dict.fromkeys(other.keys, group))
        for key in keys:
            if home.get(key) is not group:
                home[key] = group
                group.keys.append(key)
        group.commands.append(argv)
    return list({id(group): group for group in home.values()}.values()), without


async def run(data: bytes, server: Server, which: str, since_ms: int, dry_run: bool) -> Outcome:
    """Send what may be sent. `since_ms`: keys used after this were touched; 0: all that are there.

    Raises Unreachable; what was sent before that stays.
    """
    found, without = groups(data)
    outcome = Outcome(without_keys=without)
    async with AsyncExitStack() as stack:
        sender = _Sender(stack, server, which, since_ms, dry_run)
        for group in found:
            try:
                sent = await sender.send(group)
            except ReplyError as error:
                outcome.failed += len(group.keys)
                if len(outcome.errors) < KEYS_LISTED_MAX:
                    outcome.errors.append(f"{_name(group.keys[0])}: {error}")
                continue
            if sent:
                outcome.sent_keys += len(group.keys)
                outcome.sent_commands += len(group.commands)
            else:
                outcome.touched += len(group.keys)
                room = KEYS_LISTED_MAX - len(outcome.left_out)
                outcome.left_out += [_name(key) for key in group.keys[:room]]
    return outcome


class _Sender:
    """Connections to whoever serves the slots."""

    def __init__(
        self, stack: AsyncExitStack, server: Server, which: str, since_ms: int, dry_run: bool
    ) -> None:
        self.stack = stack
        self.server = server
        self.which = which
        self.since_s = since_ms // 1000
        self.dry_run = dry_run
        self.clients: dict[Server, Client] = {}
        self.owners: dict[int, Server] = {}

    async def send(self, group: Group) -> bool:
        """Send a group if it may be; False if it may not. Raises ReplyError, Unreachable."""
        slot = key_slot(group.keys[0])
        for _ in range(HOPS_MAX):
            server = self.owners.get(slot, self.server)
            client = await self._client(server)
            try:
                return await self._transact(client, group)
            except ReplyError as error:
                told = redirect(str(error))
                if told is None or told.asking:
                    raise
                self.owners[slot] = server.at(told.host or server.host, told.port)
            except ConnectionLost as error:
                raise Unreachable(f"{server.name}: {error}") from error
        raise Unreachable(f"nobody serves slot {slot}: {HOPS_MAX} servers name another")

    async def _client(self, server: Server) -> Client:
        if server not in self.clients:
            self.clients[server] = await self.stack.enter_async_context(talking(server))
        return self.clients[server]

    async def _transact(self, client: Client, group: Group) -> bool:
        await client.call(b"WATCH", *group.keys)
        allowed = await self._allowed(client, group.keys)
        if not allowed or self.dry_run:
            await client.call(b"UNWATCH")
            return allowed
        replies = await client.pipeline([[b"MULTI"], *group.commands, [b"EXEC"]])
        queued, done = replies[1:-1], replies[-1]
        refused = next((each for each in queued if isinstance(each, ReplyError)), None)
        if refused is not None or isinstance(done, ReplyError):
            raise refused or done
        if done is None:
            return False
        wrong = next((each for each in done if isinstance(each, ReplyError)), None)
        if wrong is not None:
            raise wrong
        return True

    async def _allowed(self, client: Client, keys: list[bytes]) -> bool:
        """Whether every key is not there, or was not used since."""
        if self.which == ALL:
            return True
        asked = [[b"OBJECT", b"IDLETIME", key] for key in keys]
        told = await client.pipeline([*asked, *([b"EXISTS", key] for key in keys)])
        now_s = int(time.time())
        return all(
            self._free(told[place], told[place + len(keys)], now_s) for place in range(len(keys))
        )

    def _free(self, idle: Any, exists: Any, now_s: int) -> bool:
        for reply in (idle, exists):
            # Somebody else serves it by now, perhaps.
            if isinstance(reply, ReplyError) and redirect(str(reply)):
                raise reply
        if isinstance(exists, ReplyError):
            raise exists
        if not exists:
            return True
        if self.which == MISSING or not isinstance(idle, int) or not self.since_s:
            return False
        return now_s - idle < self.since_s - SLACK_S


def _name(key: bytes) -> str:
    return repr(key)[2:-1]

"""Clients that wait: for a key to have something, for a pause to end.

A command that finds nothing calls `Context.block`; its connection then runs nothing more until one
of its keys is ready, its deadline comes, it is unblocked by another client, or it goes away. When a
key is ready the whole command is executed again, clients in the order in which they came, so there
is one implementation of each command and a client that finds nothing a second time keeps its place
(Redis does the same since 7.2). A key is ready when a change of it passed the one door while
somebody waited for it; ready keys are served after the command that made them so, which for a
transaction or script is the whole of it.

A postponed client is one whose command has not run: CLIENT PAUSE, or a script that takes long. It
runs the command from the start when the reason is gone.

Nothing here reads a clock or a socket: the server calls `expire` when `Context.wake_ms` has come,
and a connection is told to go on through `resume`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from isthmus.node.engine.acl_check import denied
from isthmus.node.engine.client import GATE_ACL, ClientState
from isthmus.node.engine.context import GATE_PAUSE, NEVER_NS, Context
from isthmus.node.engine.keyspace import WAITED, Database
from isthmus.node.engine.spec import CommandSpec

# The key kind of a client that waits for no key.
POSTPONED = b"postponed"
# The key kind of one whose script is paused.
SUSPENDED = b"suspended"
UNBLOCKED = b"UNBLOCKED client unblocked via CLIENT UNBLOCK"


class Blocked:
    """One waiting client: what it asked for, and until when (Unix ms; 0: for ever)."""

    __slots__ = (
        "client", "db", "kind", "keys", "spec", "argv", "deadline_ms", "timeout_reply", "nokey",
        "again", "since_ms",
    )  # fmt: skip

    def __init__(
        self, client: ClientState, db: Database, kind: bytes, keys: list[bytes],
        spec: CommandSpec | None, argv: list[bytes], deadline_ms: int, timeout_reply: bytes,
        nokey: bool, since_ms: int,
    ) -> None:  # fmt: skip
        self.client = client
        self.db = db
        self.kind = kind
        self.keys = keys
        self.spec = spec
        self.argv = argv
        self.deadline_ms = deadline_ms
        self.timeout_reply = timeout_reply
        self.nokey = nokey
        self.again = True
        self.since_ms = since_ms


class Blocking:
    """All waiting clients of a node."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.keyspace = ctx.keyspace
        self.clients: dict[int, Blocked] = {}
        # Those of them who wait for something else than keys.
        self.keyless: dict[int, Blocked] = {}
        self.deadlines: list[tuple[int, int, Blocked]] = []
        self.pause_until_ms = 0
        self.pause_writes_only = False
        self._sequence = 0
        # Set by the server: goes on with a connection's requests; hears of an earlier deadline.
        self.resume: Callable[[ClientState], None] = lambda client: None
        self.alarm: Callable[[int], None] = lambda deadline_ms: None

    # -- waiting ------------------------------------------------------------------------------

    def block(
        self, kind: bytes, keys: list[bytes], argv: list[bytes], deadline_ms: int,
        timeout_reply: bytes, nokey: bool,
    ) -> None:  # fmt: skip
        """Let the client being served wait, or go on waiting, for one of `keys` to hold a kind."""
        ctx = self.ctx
        session = ctx.session
        # A command counts once, when it is done.
        ctx.spec.calls -= 1
        ctx.commands -= 1
        if session.blocked is not None:
            session.blocked.again = True
            return
        blocked = Blocked(
            session, ctx.db, kind, keys, ctx.spec, argv, deadline_ms, timeout_reply, nokey,
            ctx.now_ms,
        )  # fmt: skip
        self._enter(blocked)
        for key in keys:
            ctx.db.waiting.setdefault(key, {})[blocked] = None
        if keys:
            self.keyspace.log.interest |= WAITED
        if deadline_ms:
            self._sequence += 1
            heapq.heappush(self.deadlines, (deadline_ms, self._sequence, blocked))
            self.wake_at(deadline_ms)

    def _enter(self, blocked: Blocked) -> None:
        blocked.client.blocked = blocked
        self.clients[blocked.client.id] = blocked
        if not blocked.keys:
            self.keyless[blocked.client.id] = blocked

    def waiting_for(self, *kinds: bytes) -> list[Blocked]:
        """The clients that wait for something else than keys, of these kinds, oldest first."""
        return [blocked for blocked in self.keyless.values() if blocked.kind in kinds]

    def release(self, client: ClientState) -> None:
        """The client waits no longer."""
        blocked = client.blocked
        if blocked is None:
            return
        client.blocked = None
        del self.clients[client.id]
        self.keyless.pop(client.id, None)
        db = blocked.db
        for key in blocked.keys:
            waiters = db.waiting.get(key)
            if waiters is not None:
                waiters.pop(blocked, None)
                if not waiters:
                    del db.waiting[key]
        if not any(other.waiting for other in self.keyspace.databases):
            self.keyspace.log.interest &= ~WAITED

    def forget(self, client: ClientState) -> None:
        """The connection is gone."""
        client.postponed = None
        self.release(client)

    # -- waking -------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run the commands of clients whose keys are ready; may make further keys ready."""
        keyspace = self.keyspace
        while keyspace.ready:
            ready, keyspace.ready = keyspace.ready, {}
            for db, key in ready:
                for blocked in list(db.waiting.get(key, ())):
                    # It may have been served by another key, or its connection be gone.
                    if blocked.client.blocked is not blocked:
                        continue
                    value = db.peek(key)
                    if blocked.nokey or getattr(value, "kind", b"") == blocked.kind:
                        self.rerun(blocked)

    def rerun(self, blocked: Blocked) -> None:
        """Execute a waiting client's command once more; its reply is sent if it has one now."""
        ctx = self.ctx
        client = blocked.client
        reply = ctx.reply
        session, spec, db, protocol = ctx.session, ctx.spec, ctx.db, reply.protocol
        mark = reply.mark()
        reply.protocol = client.protocol
        ctx.session = client
        ctx.db = client.db
        blocked.again = False
        wanted, argv = blocked.spec, blocked.argv
        assert wanted is not None, "a client that waits for keys waits with a command"
        if client.gates & GATE_ACL and denied(client.user, wanted, argv):
            # It was taken from the user meanwhile.
            wanted.rejected += 1
            ctx.fail(ctx.node.acl.refusal(ctx, client, wanted, argv))
        else:
            ctx.run(ctx, wanted, argv)
        if blocked.again:
            reply.truncate(mark)
        elif client.reply_off:
            reply.truncate(mark)
            self.release(client)
            self.resume(client)
        else:
            self.release(client)
            ctx.node.reply_late(client, reply.take_from(mark))
            self.resume(client)
        ctx.settle()
        ctx.session, ctx.spec, ctx.db, reply.protocol = session, spec, db, protocol

    def expire(self, now_ms: int) -> None:
        """Answer the clients whose deadline has come."""
        deadlines = self.deadlines
        while deadlines and deadlines[0][0] <= now_ms:
            blocked = heapq.heappop(deadlines)[2]
            if blocked.client.blocked is blocked:
                self.answer(blocked.client, blocked.timeout_reply)
        while deadlines and deadlines[0][2].client.blocked is not deadlines[0][2]:
            heapq.heappop(deadlines)
        self.ctx.wake_ms = deadlines[0][0] if deadlines else NEVER_NS
        if self.pause_until_ms and self.pause_until_ms <= now_ms:
            self.unpause()
        elif self.pause_until_ms:
            self.ctx.wake_ms = min(self.ctx.wake_ms, self.pause_until_ms)
        if self.ctx.wake_ms != NEVER_NS:
            self.alarm(self.ctx.wake_ms)

    def wake_at(self, deadline_ms: int) -> None:
        """Let `expire` be called at deadline_ms, if not sooner."""
        if deadline_ms < self.ctx.wake_ms:
            self.ctx.wake_ms = deadline_ms
            self.alarm(deadline_ms)

    def answer(self, client: ClientState, reply: bytes) -> None:
        """End a wait with a reply given in RESP2; an absent value is spelt as the client's."""
        if client.protocol >= 3 and reply in (b"*-1\r\n", b"$-1\r\n"):
            reply = b"_\r\n"
        blocked = client.blocked
        self.release(client)
        if blocked.spec is not None:
            blocked.spec.calls += 1
        self.ctx.commands += 1
        if not client.reply_off:
            self.ctx.node.reply_late(client, reply)
        self.resume(client)

    def unblock(self, client: ClientState, with_error: bool) -> bool:
        """CLIENT UNBLOCK: as if the time had run out, or with an error. False if not waiting."""
        blocked = client.blocked
        if blocked is None or blocked.kind in (POSTPONED, SUSPENDED):
            return False
        reply = blocked.timeout_reply
        if with_error:
            self.ctx.count_error(UNBLOCKED)
            if blocked.spec is not None:
                blocked.spec.failed += 1
            reply = b"-" + UNBLOCKED + b"\r\n"
        self.answer(client, reply)
        return True

    # -- commands that have not run yet -------------------------------------------------------

    def postpone(self, client: ClientState, argv: list[bytes]) -> None:
        """Let the client wait; argv is run from the start when `resume_postponed` is called."""
        client.postponed = argv
        self._enter(Blocked(
            client, client.db, POSTPONED, [], None, argv, 0, b"", False, self.ctx.now_ms
        ))  # fmt: skip

    def suspend(self, client: ClientState, argv: list[bytes]) -> None:
        """Let the client wait for the end of its own script; then it gets the reply by argv."""
        client.postponed = argv
        self._enter(Blocked(
            client, client.db, SUSPENDED, [], None, argv, 0, b"", False, self.ctx.now_ms
        ))  # fmt: skip

    def suspended(self, client: ClientState) -> bool:
        """True if the client waits for its own script, and is still there."""
        blocked = client.blocked
        return blocked is not None and blocked.kind == SUSPENDED

    def resume_postponed(self) -> None:
        """Let every postponed client run its command."""
        for blocked in self.waiting_for(POSTPONED):
            self.release(blocked.client)
            self.resume(blocked.client)

    def pause(self, until_ms: int, writes_only: bool) -> None:
        """CLIENT PAUSE: a pause under way is never shortened, nor made weaker."""
        running = self.pause_until_ms > self.ctx.now_ms
        self.pause_writes_only = writes_only and (not running or self.pause_writes_only)
        self.pause_until_ms = max(until_ms, self.pause_until_ms if running else 0)
        self.ctx.gates |= GATE_PAUSE
        self.ctx.node.keep_expired()
        self.wake_at(self.pause_until_ms)

    def unpause(self) -> None:
        """CLIENT UNPAUSE, or the end of the pause."""
        self.pause_until_ms = 0
        self.ctx.gates &= ~GATE_PAUSE
        self.ctx.node.keep_expired()
        self.resume_postponed()

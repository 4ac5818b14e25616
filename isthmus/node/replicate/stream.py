"""Stream: what a primary's changes of data are as bytes, on their way into its backlog.

This is the part of replication that every command that writes passes through, so it is typed, and
does nothing that can wait for the end of the turn (`Primary.turn`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.engine.effect_log import Effect
from isthmus.node.persist.aof_format import NO_DB, encode_batch
from isthmus.node.replicate.backlog import Backlog


class Stream:
    """A sink of the effect log while a primary has somebody to tell of what it does."""

    def __init__(self, node: Any, backlog: Backlog) -> None:
        self.ctx = node.ctx
        self.backlog = backlog
        # The database selected at the end of the stream; NO_DB: the next effect says which.
        self.db = NO_DB
        # There are messages among the effects.
        self.messages = False
        # Somebody is to be sent what comes, and has been told of it in this turn already.
        self.followed = False
        self.stirred = False
        # Set by the server: have `Primary.turn` called at the end of this turn; and, in a cluster,
        # where replies may wait for replicas: let nothing be sent before `Ticker.commit`.
        self.stir: Callable[[], object] = lambda: None
        self.hold: Callable[[], object] | None = None

    def effects(self, batch: list[Effect]) -> None:
        """Changes of data, and messages between them: into the stream."""
        if self.messages:
            self.messages = False
            batch = [effect if effect.event or effect.argv[0] else revealed(effect)
                     for effect in batch]  # fmt: skip
        data, db = encode_batch(batch, self.db)
        self.db = db
        if not data:
            return
        self.feed(data)
        session = self.ctx.session
        if session is not None:
            session.write_offset = self.backlog.end
        if self.hold is not None:
            self.hold()
            if session is not None and session.peer is not None:
                session.peer.promised = True

    def feed(self, data: bytes) -> None:
        """The stream goes on with `data`: keep it, and send it to those who follow."""
        self.backlog.append(data)
        if self.followed and not self.stirred:
            self.stirred = True
            self.stir()


def revealed(effect: Effect) -> Effect:
    """The command that a message hides behind its empty name."""
    return Effect(effect.db, effect.argv[1:], effect.event, effect.event_class, effect.origin)

"""ClientState: what the engine remembers of one connection.

Every mode of a connection (transaction open, not yet authenticated, replies off, closing) is a
field here and shows in `gates`: zero means "nothing special", the one test the hot path makes
before it runs a command. Whoever changes such a field calls `regate()`.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.keyspace import Database

GATE_AUTH = 1
GATE_MULTI = 2
GATE_REPLY = 4
GATE_CLOSING = 8
GATE_ACL = 16
GATE_TRACK = 32
GATE_PUBSUB = 64
GATE_NO_TOUCH = 128


class ClientState:
    """One client: identity, selected database, protocol, transaction, flags."""

    def __init__(self, client_id: int, db: Database, now_ms: int) -> None:
        self.id = client_id
        self.name = b""
        self.db = db
        self.gates = 0
        self.protocol = 2
        self.authenticated = True
        self.in_multi = False
        self.multi_failed = False
        self.readonly = False
        self.asking = False
        self.no_evict = False
        self.no_touch = False
        self.reply_off = False
        self.reply_skip = 0
        self.closing = False
        self.close_now = False
        self.queue: list[Any] = []
        # What it waits for (engine/blocking.py), and the request it will then run from the start.
        self.blocked: Any = None
        self.postponed: list[bytes] | None = None
        # Its user may not do everything; keys it reads are remembered; it is in RESP2's subscriber
        # mode. Whoever owns these modes sets the flag and calls regate().
        self.restricted = False
        self.tracking = False
        self.subscriber = False
        # The link of a proxy, whose requests are many clients': nobody may make it wait for a key.
        self.shared = False
        # Over a data link, shared or private.
        self.linked = False
        # While others are served behind this client's command: what it is sent goes here.
        self.held: list[bytes] | None = None
        # What it is sent where there is no socket (tests).
        self.outbox = bytearray()
        # (database, key) -> its version when WATCH came.
        self.watched: dict[tuple[Database, bytes], int] = {}
        self.last_command = b"NULL"
        self.lib_name = b""
        self.lib_version = b""
        # Who is logged in (engine/acl_rules.py); nobody in particular may do everything.
        self.user: Any = None
        self.peer: Any = None
        self.address = b""
        self.local_address = b""
        self.created_ms = now_ms
        self.active_ms = now_ms
        self.fd = -1
        self.commands = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.queued_bytes = 0
        # What it said by REPLCONF that it can do, or wants, should it ask for SYNC; and of itself.
        self.sync_wishes: frozenset[bytes] = frozenset()
        self.sync_facts: dict[bytes, bytes] = {}
        # What is known of it as a replica (node/replicate/primary.py), once it has asked for SYNC.
        self.replica: Any = None
        # Where the stream ended behind the last change that it made.
        self.write_offset = 0

    def regate(self) -> None:
        """Recompute `gates` from the fields."""
        self.gates = (
            (0 if self.authenticated else GATE_AUTH)
            | (GATE_MULTI if self.in_multi else 0)
            | (GATE_REPLY if self.reply_off or self.reply_skip else 0)
            | (GATE_CLOSING if self.closing else 0)
            | (GATE_ACL if self.restricted else 0)
            | (GATE_TRACK if self.tracking else 0)
            | (GATE_PUBSUB if self.subscriber else 0)
            | (GATE_NO_TOUCH if self.no_touch else 0)
        )

    def user_name(self) -> bytes:
        """Who is logged in, as CLIENT LIST shows it."""
        return b"(superuser)" if self.user is None else bytes(self.user.name)

    def is_local(self) -> bool:
        """True if the client is on this machine: a unix socket or the loopback interface.

        Of a proxy's clients nobody here knows where they are.
        """
        return not self.linked and self.address.startswith(
            (b"/", b"127.", b"[::1]", b"[::ffff:127.")
        )

    def unwatch(self) -> None:
        """Forget every watched key."""
        for db, key in self.watched:
            db.unwatch(key)
        self.watched = {}

    def leave_multi(self) -> None:
        """Drop the transaction and its watched keys."""
        self.in_multi = False
        self.multi_failed = False
        self.queue = []
        self.queued_bytes = 0
        self.unwatch()
        self.regate()

    def close(self) -> None:
        """Ask for the connection to be closed once its replies are out."""
        self.closing = True
        self.regate()

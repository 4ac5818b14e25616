"""Node: the state of one process: keyspace, clients, configuration, counters.

Built by the composition root (node/server/main.py) or by a test; everything in it is reached
through it, nothing is global.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.context import GATE_CLUSTER, Context
from isthmus.node.engine.execute import call
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.lookahead import Lookahead
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.rng import Rng
from isthmus.node.engine.spec import CommandSpec
from isthmus.wire.reply import ReplyWriter


class Node:
    """One Redis-compatible server without its sockets."""

    def __init__(self, clock: Clock, rng: Rng, config: Config, run_id: str) -> None:
        self.clock = clock
        self.rng = rng
        self.config = config
        self.run_id = run_id
        self.keyspace = Keyspace(clock, rng, config.integer("databases"))
        self.ctx = Context(self, self.keyspace, ReplyWriter())
        self.ctx.run = call
        self.lookahead = Lookahead()
        self.ctx.lookahead = self.lookahead
        self.commands: dict[bytes, CommandSpec] = COMMANDS
        self.clients: dict[int, ClientState] = {}
        self.next_client_id = 1
        self.started_ms = clock.now_ms
        self.cluster: Any = None
        # Filled in by the server; commands that concern the process itself go through it.
        self.server: Any = None
        self.connections_received = 0
        self.connections_rejected = 0
        self.auth_failures = 0
        self.attack_logged_ms = -(1 << 62)

    def use_cluster(self, view: Any) -> None:
        """Serve as a member of a cluster: keys outside view.mine are redirected."""
        self.cluster = view
        self.ctx.cluster = view
        self.ctx.gates |= GATE_CLUSTER

    def new_client(self) -> ClientState:
        """A client as it stands right after connecting."""
        client = ClientState(self.next_client_id, self.keyspace.databases[0], self.clock.now_ms)
        self.next_client_id += 1
        client.authenticated = not self.config.text("requirepass")
        client.regate()
        self.clients[client.id] = client
        return client

    def forget_client(self, client: ClientState) -> None:
        """The connection is gone: release what it held."""
        client.unwatch()
        self.clients.pop(client.id, None)

"""Node: the state of one process: keyspace, clients, configuration, counters.

Built by the composition root (node/server/main.py) or by a test; everything in it is reached
through it, nothing is global.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.engine.acl import Acl
from isthmus.node.engine.blocking import Blocking
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.client_memory import ClientMemory
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.context import GATE_CLUSTER, GATE_PAUSE, Context
from isthmus.node.engine.execute import call
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.lookahead import Lookahead
from isthmus.node.engine.memory import Memory
from isthmus.node.engine.monitors import Monitors
from isthmus.node.engine.observer import Observer
from isthmus.node.engine.output_limits import OutputLimits
from isthmus.node.engine.pubsub import PubSub
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.rng import Rng
from isthmus.node.engine.spec import CommandSpec
from isthmus.node.engine.tracking import Tracking
from isthmus.wire.reply import ReplyWriter


class Node:
    """One Redis-compatible server without its sockets."""

    def __init__(self, clock: Clock, rng: Rng, config: Config, run_id: str) -> None:
        self.clock = clock
        self.rng = rng
        self.config = config
        self.run_id = run_id
        self.keyspace = Keyspace(clock, rng, config.integer("databases"))
        self.set_list_limit()
        config.on_change("list-max-listpack-size", self.set_list_limit)
        self.ctx = Context(self, self.keyspace, ReplyWriter())
        self.ctx.run = call
        self.blocking = Blocking(self.ctx)
        self.observer = Observer(self.ctx)
        self.slowlog = self.observer.slowlog
        self.latency = self.observer.latency
        # A spare writer, to spell what is sent to other clients than the one being served.
        self.encoder = ReplyWriter()
        self.memory = Memory(self.ctx)
        self.pubsub = PubSub(self)
        self.monitors = Monitors(self)
        self.tracking = Tracking(self)
        self.keyspace.tracker = self.tracking
        self.lookahead = Lookahead()
        self.ctx.lookahead = self.lookahead
        self.commands: dict[bytes, CommandSpec] = COMMANDS
        self.clients: dict[int, ClientState] = {}
        self.client_memory = ClientMemory(self, self.clients)
        self.acl = Acl(self)
        # Lua scripts and functions (node/scripting), put here by whoever builds the process.
        self.scripts: Any = None
        # What is kept on disk (node/persist), put here by whoever builds the process.
        self.persistence: Any = None
        # Who follows this node and whom it follows (node/replicate), put here likewise.
        self.replication: Any = None
        self.output_limits = OutputLimits(self)
        self.next_client_id = 1
        self.started_ms = clock.now_ms
        self.cluster: Any = None
        # What this node does for its shard (node/cluster/duty.py); None outside a cluster.
        self.duty: Any = None
        # Slots on their way to this node's shard and from it (node/moves); None outside a cluster.
        self.moves: Any = None
        # What other nodes say to this one, beside clients (node/cluster): (its id, message).
        self.hear: Callable[[str, bytes], None] = lambda node_id, message: None
        # Filled in by the server; commands that concern the process itself go through it.
        self.server: Any = None
        self.connections_received = 0
        self.connections_rejected = 0
        self.auth_failures = 0
        self.evicted_clients = 0
        # COMMAND's long replies, which never change: (kind, protocol) -> bytes.
        self.descriptions: dict[tuple[str, int], bytes] = {}
        # Switches of DEBUG.
        self.cron_paused = False
        self.scripts_call_all = False
        self.skip_checksums = False
        # Parameters that CONFIG SET may not change here, and why.
        self.reserved: dict[str, str] = {}
        self.attack_logged_ms = -(1 << 62)

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can foresee; without a server, in tests, the same in every run."""
        if self.server is not None:
            return bytes(self.server.random_bytes(count))
        return bytes(self.rng.below(256) for _ in range(count))

    def set_list_limit(self, text: str = "") -> None:
        """Tell the keyspace what list-max-listpack-size says now."""
        self.keyspace.list_limit = self.config.integer("list-max-listpack-size")

    def use_cluster(self, view: Any) -> None:
        """Serve as a member of a cluster: keys outside view.mine are redirected."""
        self.cluster = view
        self.ctx.cluster = view
        self.ctx.gates |= GATE_CLUSTER

    def new_client(self) -> ClientState:
        """A client as it stands right after connecting."""
        client = ClientState(self.next_client_id, self.keyspace.databases[0], self.clock.now_ms)
        self.next_client_id += 1
        self.acl.welcome(client)
        self.clients[client.id] = client
        return client

    def forget_client(self, client: ClientState) -> None:
        """The connection is gone: release what it held."""
        client.unwatch()
        self.blocking.forget(client)
        self.client_memory.forget(client)
        # Whoever comes next need not make room for what has gone already.
        self.memory.buffers_bytes = self.client_memory.buffers()
        self.leave_modes(client)
        self.output_limits.forget(client)
        if client.replica is not None:
            self.replication.primary.forget(client)
        self.clients.pop(client.id, None)

    def keep_expired(self) -> None:
        """See whether what expires stays where it is: at a replica that is only read, and while
        clients are paused, since nothing shall change then."""
        follows = self.keyspace.follows and self.config.boolean("replica-read-only")
        self.keyspace.keeps_expired = follows or bool(self.ctx.gates & GATE_PAUSE)

    def leave_modes(self, client: ClientState) -> None:
        """End what a client gets without asking: subscriptions, tracking, monitoring."""
        self.pubsub.forget(client)
        self.tracking.disable(client)
        self.monitors.remove(client)

    def push(self, client: ClientState, data: bytes) -> None:
        """Send a client what it did not ask for now: behind its reply if it is being served."""
        self.ctx.push(client, data)

    def deliver(self, client: ClientState, data: bytes) -> None:
        """Send bytes to a client behind all it was sent before."""
        if client.peer is None:
            client.outbox += data
        else:
            client.peer.push(data)

    def reply_late(self, client: ClientState, data: bytes) -> None:
        """Send a client that waited the reply of its request."""
        if client.peer is None:
            client.outbox += data
        else:
            client.peer.reply_late(data)

    def observe_slow(self, spec: CommandSpec, argv: list[bytes], nanos: int) -> None:
        """A call took longer than ctx.slow_ns."""
        self.observer.slow_call(spec, argv, nanos)

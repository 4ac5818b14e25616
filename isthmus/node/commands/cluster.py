"""CLUSTER and the connection switches of cluster clients.

Everything is answered from the node's cluster view (`ctx.cluster`); a node that runs alone has
none and refuses, as Redis does without `cluster-enabled`. Texts and shapes are Redis 7.4's. Where
the clusters differ, the answer says what is true here: the port after `@` is the node's link port,
CLUSTER LINKS lists the lanes to other nodes and none from them, and the only reporter of a failure
is the coordinator. A dead node is dropped from CLUSTER SLOTS with the topology that says so; but a
primary stays while nobody has taken its place, as in Redis, for its slots are nobody else's.
Commands that change the cluster (ADDSLOTS, MEET, FAILOVER ...) are in cluster_admin.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.node.engine.args import integer
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NO_CLUSTER, RedisError
from isthmus.node.engine.registry import ARRAY, BULK, INTEGER, OK, command, container
from isthmus.node.engine.spec import ADMIN, FAST, LOADING, STALE
from isthmus.wire.slots import SLOTS, key_slot

if TYPE_CHECKING:
    from isthmus.node.engine.table import Table

Argv = list[bytes]
NO_CURSOR = 0

HELP = (
    b"CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"COUNT-FAILURE-REPORTS <node-id>",
    b"    Return number of failure reports for <node-id>.",
    b"COUNTKEYSINSLOT <slot>",
    b"    Return the number of keys in <slot>.",
    b"GETKEYSINSLOT <slot> <count>",
    b"    Return key names stored by current node in a slot.",
    b"INFO",
    b"    Return information about the cluster.",
    b"KEYSLOT <key>",
    b"    Return the hash slot for <key>.",
    b"LINKS",
    b"    Return information about all network links between this node and its peers.",
    b"MYID",
    b"    Return the node id.",
    b"MYSHARDID",
    b"    Return the node's shard id.",
    b"NODES",
    b"    Return cluster configuration seen by node. Output format:",
    b"    <id> <ip:port@link-port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
    b"REPLICAS <node-id>",
    b"    Return <node-id> replicas.",
    b"SHARDS",
    b"    Return information about slot range mappings and the nodes associated with them.",
    b"SLOTS",
    b"    Return information about slots range mappings.",
    b"HELP",
    b"    Print this help.",
)

container("CLUSTER", since="3.0.0", group="cluster")


def view_of(ctx: Context) -> Any:
    """The node's cluster view; raises the error of a node that runs alone."""
    if ctx.cluster is None:
        raise RedisError(NO_CLUSTER)
    return ctx.cluster


@command("CLUSTER INFO", since="3.0.0", group="cluster", flags=STALE, complexity="O(1)",
         reply=BULK, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_info(ctx: Context, argv: Argv) -> None:
    """Reply with the state of the cluster as this node sees it, as field:value lines."""
    ctx.reply.verbatim(b"txt", view_of(ctx).info_text())


@command("CLUSTER NODES", since="3.0.0", group="cluster", flags=STALE,
         complexity="O(N) where N is the total number of Cluster nodes", reply=BULK,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_nodes(ctx: Context, argv: Argv) -> None:
    """Reply with one line for each node of the cluster."""
    ctx.reply.verbatim(b"txt", view_of(ctx).nodes_text())


@command("CLUSTER MYID", since="3.0.0", group="cluster", flags=STALE, complexity="O(1)",
         reply=BULK)  # fmt: skip
def cluster_myid(ctx: Context, argv: Argv) -> None:
    """Reply with this node's id."""
    ctx.reply.bulk(view_of(ctx).my_id.encode())


@command("CLUSTER MYSHARDID", since="7.2.0", group="cluster", flags=STALE, complexity="O(1)",
         reply=BULK, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_myshardid(ctx: Context, argv: Argv) -> None:
    """Reply with the id of the shard this node belongs to; a spare is a shard of its own."""
    view = view_of(ctx)
    shard = view.my_shard
    ctx.reply.bulk((view.my_id if shard is None else shard.id).encode())


@command("CLUSTER SLOTS", since="3.0.0", group="cluster", flags=LOADING | STALE,
         complexity="O(N) where N is the total number of Cluster nodes", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT", doc_flags="DEPRECATED")  # fmt: skip
def cluster_slots(ctx: Context, argv: Argv) -> None:
    """Reply with each range of slots and the nodes that serve it, the primary first."""
    view = view_of(ctx)
    rows = list(view.ranges())
    ctx.reply.array(len(rows))
    for first, last, shard in rows:
        nodes = [shard.primary]
        nodes += [node for node in shard.replicas if node.alive and view.has_data(node)]
        ctx.reply.array(2 + len(nodes))
        ctx.reply.integer(first)
        ctx.reply.integer(last)
        for node in nodes:
            slots_node(ctx, view, node)


def slots_node(ctx: Context, view: Any, node: Any) -> None:
    """One node of CLUSTER SLOTS: the endpoint that is preferred, and the other ways to call it."""
    reply, kind = ctx.reply, view.gossip.endpoint_type
    hostname = view.gossip.hostname_of(node.id)
    others = [(b"ip", node.host.encode())] if kind != "ip" else []
    others += [(b"hostname", hostname.encode())] if hostname and kind != "hostname" else []
    reply.array(4)
    endpoint(ctx, view, node)
    reply.integer(node.port)
    reply.bulk(node.id.encode())
    reply.map(len(others))
    for name, value in others:
        reply.bulk(name)
        reply.bulk(value)


def endpoint(ctx: Context, view: Any, node: Any) -> None:
    """How a node is called; null if clients are to take the host they are connected to."""
    name = view.gossip.endpoint(node.id, node.host)
    if name is None:
        ctx.reply.null()
    else:
        ctx.reply.bulk(name)


@command("CLUSTER SHARDS", since="7.0.0", group="cluster", flags=LOADING | STALE,
         complexity="O(N) where N is the total number of cluster nodes", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_shards(ctx: Context, argv: Argv) -> None:
    """Reply with the shards: their slots, and their nodes with role and health."""
    view = view_of(ctx)
    rows = [(shard.slots, [shard.primary, *shard.replicas]) for shard in view.shards]
    rows += [((), [node]) for node in view.nodes if node.shard is None]
    ctx.reply.array(len(rows))
    for slots, nodes in rows:
        ctx.reply.map(2)
        ctx.reply.bulk(b"slots")
        ctx.reply.array(2 * len(slots))
        for first, last in slots:
            ctx.reply.integer(first)
            ctx.reply.integer(last)
        ctx.reply.bulk(b"nodes")
        ctx.reply.array(len(nodes))
        for node in nodes:
            shard_node(ctx, view, node)


def shard_node(ctx: Context, view: Any, node: Any) -> None:
    """One node of CLUSTER SHARDS."""
    reply, host = ctx.reply, node.host.encode()
    hostname = view.gossip.hostname_of(node.id).encode()
    reply.map(8 if hostname else 7)
    reply.bulk(b"id")
    reply.bulk(node.id.encode())
    reply.bulk(b"port")
    reply.integer(node.port)
    reply.bulk(b"ip")
    reply.bulk(host)
    reply.bulk(b"endpoint")
    reply.bulk(view.gossip.endpoint(node.id, node.host) or b"")
    if hostname:
        reply.bulk(b"hostname")
        reply.bulk(hostname)
    reply.bulk(b"role")
    reply.bulk(b"master" if node.primary else b"replica")
    reply.bulk(b"replication-offset")
    reply.integer(view.gossip.offset_of(node.id))
    reply.bulk(b"health")
    reply.bulk(view.health(node))


@command("CLUSTER LINKS", since="7.0.0", group="cluster", flags=STALE,
         complexity="O(N) where N is the total number of Cluster nodes", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_links(ctx: Context, argv: Argv) -> None:
    """Reply with the lanes to other nodes that are up, and how much waits in them."""
    reply, links = ctx.reply, view_of(ctx).links()
    reply.array(len(links))
    for node, since_ms, waiting in links:
        reply.map(6)
        for name, text in ((b"direction", b"to"), (b"node", node.encode())):
            reply.bulk(name)
            reply.bulk(text)
        reply.bulk(b"create-time")
        reply.integer(since_ms)
        reply.bulk(b"events")
        reply.bulk(b"rw" if waiting else b"r")
        for name in (b"send-buffer-allocated", b"send-buffer-used"):
            reply.bulk(name)
            reply.integer(waiting)


@command("CLUSTER KEYSLOT key", since="3.0.0", group="cluster", flags=STALE,
         complexity="O(N) where N is the number of bytes in the key", reply=INTEGER)  # fmt: skip
def cluster_keyslot(ctx: Context, argv: Argv) -> None:
    """Reply with the hash slot of a key."""
    view_of(ctx)
    ctx.reply.integer(key_slot(argv[2]))


@command("CLUSTER COUNTKEYSINSLOT slot", since="3.0.0", group="cluster", flags=STALE,
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def cluster_countkeysinslot(ctx: Context, argv: Argv) -> None:
    """Reply with the number of keys this node holds in a slot."""
    view_of(ctx)
    slot = integer(argv[2])
    if not 0 <= slot < SLOTS:
        raise RedisError(b"ERR Invalid slot")
    table = table_of_slot(ctx, slot)
    ctx.reply.integer(0 if table is None else table.count)


@command("CLUSTER GETKEYSINSLOT slot count", since="3.0.0", group="cluster", flags=STALE,
         complexity="O(N) where N is the number of requested keys", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_getkeysinslot(ctx: Context, argv: Argv) -> None:
    """Reply with at most `count` keys that this node holds in a slot."""
    view_of(ctx)
    slot, count = integer(argv[2]), integer(argv[3])
    if not 0 <= slot < SLOTS or count < 0:
        raise RedisError(b"ERR Invalid slot or number of keys")
    table = table_of_slot(ctx, slot)
    keys: list[bytes] = []
    if table is not None and count:
        # A scan step at a time, so that ten keys of a slot with a million cost ten.
        cursor = table.scan(NO_CURSOR, keys, False, ctx.now_ms)
        while cursor and len(keys) < count:
            cursor = table.scan(cursor, keys, False, ctx.now_ms)
    del keys[count:]
    ctx.reply.array(len(keys))
    for key in keys:
        ctx.reply.bulk(key)


def table_of_slot(ctx: Context, slot: int) -> Table | None:
    """The keys of a slot; a cluster has database 0 only. None of a slot of another shard."""
    db = ctx.keyspace.databases[0]
    return db.slots[slot] if db.slots and not db.hides(slot) else None


@command("CLUSTER REPLICAS node-id", since="5.0.0", group="cluster", flags=ADMIN | STALE,
         complexity="O(N) where N is the number of replicas.", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_replicas(ctx: Context, argv: Argv) -> None:
    """Reply with the lines of CLUSTER NODES of a primary's replicas."""
    view = view_of(ctx)
    node = known_node(view, argv[2])
    if not node.primary:
        raise RedisError(b"ERR The specified node is not a master")
    shard = None if node.shard is None else view.shard(node.shard)
    replicas = () if shard is None else shard.replicas
    ctx.reply.array(len(replicas))
    for replica in replicas:
        ctx.reply.bulk(view.node_line(replica))


@command("CLUSTER SLAVES node-id", since="3.0.0", group="cluster", flags=ADMIN | STALE,
         complexity="O(N) where N is the number of replicas.", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT", doc_flags="DEPRECATED")  # fmt: skip
def cluster_slaves(ctx: Context, argv: Argv) -> None:
    """As CLUSTER REPLICAS, by its older name."""
    cluster_replicas(ctx, argv)


@command("CLUSTER COUNT-FAILURE-REPORTS node-id", since="3.0.0", group="cluster",
         flags=ADMIN | STALE, complexity="O(N) where N is the number of failure reports",
         reply=INTEGER, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_count_failure_reports(ctx: Context, argv: Argv) -> None:
    """Reply with who holds a node for dead: one, the coordinator, or none."""
    ctx.reply.integer(0 if known_node(view_of(ctx), argv[2]).alive else 1)


def known_node(view: Any, name: bytes) -> Any:
    """The node with that id; raises the error for one the cluster does not know."""
    node = view.node(name.decode("ascii", "replace"))
    if node is None:
        raise RedisError(b"ERR Unknown node " + name)
    return node


@command("CLUSTER HELP", since="5.0.0", group="cluster", flags=LOADING | STALE,
         complexity="O(1)", reply=ARRAY)  # fmt: skip
def cluster_help(ctx: Context, argv: Argv) -> None:
    """Reply with the sub-commands, one line each."""
    view_of(ctx)
    ctx.reply.array(len(HELP))
    for line in HELP:
        ctx.reply.simple(line)


@command("READONLY", since="3.0.0", group="cluster", flags=FAST | LOADING | STALE,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def readonly(ctx: Context, argv: Argv) -> None:
    """Let this connection read from a replica."""
    view_of(ctx)
    ctx.session.readonly = True
    ctx.reply.ok()


@command("READWRITE", since="3.0.0", group="cluster", flags=FAST | LOADING | STALE,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def readwrite(ctx: Context, argv: Argv) -> None:
    """Take READONLY back."""
    view_of(ctx)
    ctx.session.readonly = False
    ctx.reply.ok()


@command("ASKING", since="3.0.0", group="cluster", flags=FAST, categories="CONNECTION",
         complexity="O(1)", reply=OK)  # fmt: skip
def asking(ctx: Context, argv: Argv) -> None:
    """Follow an ASK redirection with the next command."""
    view_of(ctx)
    ctx.session.asking = True
    ctx.reply.ok()

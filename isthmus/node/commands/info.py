"""INFO: what the node can truly say of itself, under Redis' names.

A field of Redis that has no true value here is left out, never filled with a number that pretends.
Two fields are ours: `isthmus_version` and `isthmus_compiled`. Facts of the process (memory, CPU
time, sockets) come from the server by `process_facts()`, a map of field names to texts; a node
without a server (in a test) leaves those out too. `used_memory` is the resident memory of the
process until memory is accounted for by value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import isthmus
from isthmus.node.commands.connection import REDIS_VERSION
from isthmus.node.engine.acl_check import DENIED_CHANNEL, DENIED_COMMAND, DENIED_KEY
from isthmus.node.engine.context import Context
from isthmus.node.engine.registry import BULK, command, specs
from isthmus.node.engine.spec import LOADING, SENTINEL, STALE

Field = tuple[str, object]
Facts = dict[str, str]
ACCESS_CLOCK_MASK = 0xFFFFFF
TIMER_HZ = 10
SECONDS_PER_DAY = 86400


def human(count: int) -> str:
    """Bytes as Redis writes them for people: 1023B, 1.50K, 2.00M ..."""
    if count < 1024:
        return f"{count}B"
    size = float(count)
    for unit in "KMGTP":
        size /= 1024
        if size < 1024 or unit == "P":
            break
    return f"{size:.2f}{unit}"


def known(facts: Facts, *names: str) -> Iterator[Field]:
    """Those of the named facts that the server knows."""
    return ((name, facts[name]) for name in names if name in facts)


def server_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    up_s = max(0, ctx.now_ms - ctx.node.started_ms) // 1000
    yield "redis_version", REDIS_VERSION.decode()
    yield "isthmus_version", isthmus.__version__
    yield "isthmus_compiled", "yes" if isthmus.compiled() else "no"
    yield "redis_mode", "standalone" if ctx.cluster is None else "cluster"
    yield from known(facts, "os", "arch_bits", "monotonic_clock", "multiplexing_api", "process_id")
    yield "process_supervised", "no"
    yield "run_id", ctx.node.run_id
    # The port in use, if the one asked for was "any".
    yield "tcp_port", facts.get("tcp_port", ctx.node.config.text("port"))
    yield "server_time_usec", ctx.now_ms * 1000
    yield "uptime_in_seconds", up_s
    yield "uptime_in_days", up_s // SECONDS_PER_DAY
    yield "hz", TIMER_HZ
    yield "configured_hz", ctx.node.config.text("hz")
    yield "lru_clock", ctx.now_ms // 1000 & ACCESS_CLOCK_MASK
    yield from known(facts, "executable")
    yield "config_file", ""
    yield "io_threads_active", 0
    yield from known(facts, "listener0", "listener1")


def clients_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    clients = ctx.node.clients.values()
    yield "connected_clients", len(ctx.node.clients)
    yield "cluster_connections", 0
    yield "maxclients", ctx.node.config.text("maxclients")
    yield "blocked_clients", 0
    yield "tracking_clients", len(ctx.node.tracking.clients)
    yield "pubsub_clients", len(ctx.node.pubsub.clients)
    yield "watching_clients", sum(1 for client in clients if client.watched)
    yield "clients_in_timeout_table", 0
    yield "total_watched_keys", sum(len(db.watched) for db in ctx.keyspace.databases)
    yield "total_blocking_keys", 0
    yield "total_blocking_keys_on_nokey", 0


def memory_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    if ctx.node.server is not None:
        used = ctx.node.server.process_memory()
        peak = max(used, int(facts.get("peak_rss", "0")))
        yield "used_memory", used
        yield "used_memory_human", human(used)
        yield "used_memory_rss", used
        yield "used_memory_rss_human", human(used)
        yield "used_memory_peak", peak
        yield "used_memory_peak_human", human(peak)
        yield "used_memory_peak_perc", f"{used * 100 / peak:.2f}%" if peak else "0.00%"
    if "total_system_memory" in facts:
        yield "total_system_memory", facts["total_system_memory"]
        yield "total_system_memory_human", human(int(facts["total_system_memory"]))
    yield "number_of_cached_scripts", 0
    yield "number_of_functions", 0
    yield "number_of_libraries", 0
    limit = ctx.config.integer("maxmemory")
    yield "maxmemory", limit
    yield "maxmemory_human", human(limit)
    yield "maxmemory_policy", ctx.node.config.text("maxmemory-policy")
    yield "mem_allocator", "pymalloc"
    yield "active_defrag_running", 0
    yield "lazyfree_pending_objects", len(ctx.keyspace.garbage)


def persistence_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    yield "loading", 0
    yield "async_loading", 0
    yield "rdb_changes_since_last_save", ctx.keyspace.log.dirty
    yield "rdb_bgsave_in_progress", 0
    yield "rdb_saves", 0
    yield "aof_enabled", 0
    yield "aof_rewrite_in_progress", 0
    yield "aof_rewrite_scheduled", 0
    yield "aof_rewrites", 0
    yield "module_fork_in_progress", 0


def stats_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    node = ctx.node
    yield "total_connections_received", node.connections_received
    yield "total_commands_processed", ctx.commands
    yield from known(
        facts, "instantaneous_ops_per_sec", "total_net_input_bytes", "total_net_output_bytes",
        "instantaneous_input_kbps", "instantaneous_output_kbps",
    )  # fmt: skip
    yield "rejected_connections", node.connections_rejected
    for name in ("sync_full", "sync_partial_ok", "sync_partial_err"):
        yield name, 0
    yield "expired_subkeys", ctx.keyspace.expired_fields
    yield "expired_keys", ctx.keyspace.expired_keys
    yield "evicted_keys", 0
    yield "evicted_clients", 0
    yield "keyspace_hits", ctx.hits
    yield "keyspace_misses", ctx.misses
    yield "pubsub_channels", len(node.pubsub.channels)
    yield "pubsub_patterns", len(node.pubsub.patterns)
    yield "pubsubshard_channels", len(node.pubsub.shards)
    yield "latest_fork_usec", 0
    yield "total_forks", 0
    yield "tracking_total_keys", len(node.tracking.table)
    yield "tracking_total_items", node.tracking.items
    yield "tracking_total_prefixes", len(node.tracking.prefixes)
    yield from known(facts, "client_output_buffer_limit_disconnections")
    yield "total_error_replies", ctx.error_replies
    yield "acl_access_denied_auth", node.auth_failures
    refused = node.acl.refused
    yield "acl_access_denied_cmd", refused[DENIED_COMMAND]
    yield "acl_access_denied_key", refused[DENIED_KEY]
    yield "acl_access_denied_channel", refused[DENIED_CHANNEL]


def replication_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    yield "role", "master"
    yield "connected_slaves", 0
    yield "master_failover_state", "no-failover"
    yield "repl_backlog_active", 0


def cpu_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    return known(
        facts, "used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children",
        "used_cpu_sys_main_thread", "used_cpu_user_main_thread",
    )  # fmt: skip


def modules_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    return iter(())


def commandstats_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    for declared in specs():
        spec = declared.alone or declared
        if spec.calls or spec.rejected or spec.failed:
            usec = spec.nanos // 1000
            mean = spec.nanos / 1000 / spec.calls if spec.calls else 0.0
            yield (
                f"cmdstat_{spec.name.decode()}",
                f"calls={spec.calls},usec={usec},usec_per_call={mean:.2f},"
                f"rejected_calls={spec.rejected},failed_calls={spec.failed}",
            )


def errorstats_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    for code, count in sorted(ctx.error_counts.items()):
        yield f"errorstat_{code.decode('utf-8', 'replace')}", f"count={count}"


def cluster_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    yield "cluster_enabled", 0 if ctx.cluster is None else 1


def keyspace_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    for db in ctx.keyspace.databases:
        if db.size:
            tables = [db.slots[slot] for slot in db.volatile_slots] if db.slots else []
            expires = sum(table.volatile_count for table in tables if table is not None)
            yield f"db{db.index}", f"keys={db.size},expires={expires}"


# In the order of the reply, whatever order they are asked for in.
SECTIONS: dict[str, Callable[[Context, Facts], Iterator[Field]]] = {
    "Server": server_section, "Clients": clients_section, "Memory": memory_section,
    "Persistence": persistence_section, "Stats": stats_section,
    "Replication": replication_section, "CPU": cpu_section, "Modules": modules_section,
    "Commandstats": commandstats_section, "Errorstats": errorstats_section,
    "Cluster": cluster_section, "Keyspace": keyspace_section,
}  # fmt: skip
NOT_DEFAULT = frozenset({"Commandstats"})
NOT_ALL = frozenset({"Modules"})


def chosen(words: set[str]) -> list[str]:
    """The titles of the sections that a request names; none named means the default ones."""
    everything, default = "everything" in words, not words or "default" in words
    return [
        title
        for title in SECTIONS
        if everything
        or title.lower() in words
        or ("all" in words and title not in NOT_ALL)
        or (default and title not in NOT_DEFAULT)
    ]


@command("INFO [section [section ...]]", since="1.0.0", group="server",
         flags=LOADING | STALE | SENTINEL, categories="DANGEROUS", complexity="O(1)", reply=BULK,
         tips="NONDETERMINISTIC_OUTPUT,REQUEST_POLICY:ALL_SHARDS,"
              "RESPONSE_POLICY:SPECIAL")  # fmt: skip
def info(ctx: Context, argv: list[bytes]) -> None:
    """Reply with facts and counters of the server, in sections of field:value lines."""
    words = {word.decode("utf-8", "replace").lower() for word in argv[1:]}
    server = ctx.node.server
    facts: Facts = {} if server is None else server.process_facts()
    parts = []
    for title in chosen(words):
        lines = [f"# {title}", *(f"{name}:{value}" for name, value in SECTIONS[title](ctx, facts))]
        parts.append("".join(line + "\r\n" for line in lines))
    ctx.reply.verbatim(b"txt", "\r\n".join(parts).encode("utf-8", "surrogateescape"))

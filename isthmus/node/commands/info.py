"""INFO: what the node can truly say of itself, under Redis' names.

No field is filled with a number that pretends. Those about what does not exist here (forks, I/O
threads, active defragmentation, rehashing) have the value Redis shows while it does none of it,
because that is the truth. Two fields are ours: `isthmus_version` and `isthmus_compiled`. Facts of
the process (CPU time, sockets, the allocator) come from the server by `process_facts()`, a map of
field names to texts; a node without a server (in a test) leaves those out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import isthmus
from isthmus.node.commands.connection import REDIS_VERSION
from isthmus.node.commands.figures import (
    Facts,
    memory,
    percent,
    ratio,
    sampled_expiries,
    scripts,
    volatile_keys,
)
from isthmus.node.engine.acl_check import DENIED_AUTH, DENIED_CHANNEL, DENIED_COMMAND, DENIED_KEY
from isthmus.node.engine.context import Context
from isthmus.node.engine.registry import BULK, command, specs
from isthmus.node.engine.spec import LOADING, SENTINEL, STALE, CommandSpec

Field = tuple[str, object]
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
    build = f"{isthmus.__version__} {isthmus.compiled()} {facts.get('executable', '')}"
    yield "redis_version", REDIS_VERSION.decode()
    # Not built from a checkout of Redis: what Redis itself shows then.
    yield "redis_git_sha1", "00000000"
    yield "redis_git_dirty", 0
    yield "redis_build_id", hashlib.sha1(build.encode()).hexdigest()[:16]
    yield "isthmus_version", isthmus.__version__
    yield "isthmus_compiled", "yes" if isthmus.compiled() else "no"
    yield "redis_mode", "standalone" if ctx.cluster is None else "cluster"
    yield from known(facts, "os", "arch_bits", "monotonic_clock", "multiplexing_api")
    # One thread touches the data, so no variable needs atomic access.
    yield "atomicvar_api", "none"
    yield from known(facts, "gcc_version", "process_id")
    yield "process_supervised", "no"
    yield "run_id", ctx.node.run_id
    # The port in use, if the one asked for was "any".
    yield "tcp_port", facts.get("tcp_port", ctx.node.config.text("port"))
    yield "server_time_usec", ctx.clock.wall_us()
    yield "uptime_in_seconds", up_s
    yield "uptime_in_days", up_s // SECONDS_PER_DAY
    yield "hz", TIMER_HZ
    yield "configured_hz", ctx.node.config.text("hz")
    yield "lru_clock", ctx.now_ms // 1000 & ACCESS_CLOCK_MASK
    yield from known(facts, "executable")
    yield "config_file", facts.get("config_file", "")
    yield "io_threads_active", 0
    yield from known(facts, "listener0", "listener1")


def clients_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    node = ctx.node
    clients = node.clients.values()
    waiting = node.blocking.clients.values()
    on_nokey = {key for blocked in waiting if blocked.nokey for key in blocked.keys}
    yield "connected_clients", len(node.clients)
    yield "cluster_connections", 0
    yield "maxclients", node.config.text("maxclients")
    yield "client_recent_max_input_buffer", node.client_memory.recent_input()
    yield "client_recent_max_output_buffer", node.client_memory.recent_output()
    yield "blocked_clients", len(waiting)
    yield "tracking_clients", len(node.tracking.clients)
    yield "pubsub_clients", len(node.pubsub.clients)
    yield "watching_clients", sum(1 for client in clients if client.watched)
    yield "clients_in_timeout_table", sum(1 for blocked in waiting if blocked.deadline_ms)
    yield "total_watched_keys", sum(len(db.watched) for db in ctx.keyspace.databases)
    yield "total_blocking_keys", sum(len(db.waiting) for db in ctx.keyspace.databases)
    yield "total_blocking_keys_on_nokey", len(on_nokey)


def sized(name: str, count: int) -> Iterator[Field]:
    """A number of bytes, and the same for people."""
    yield name, count
    yield f"{name}_human", human(count)


def memory_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    held = memory(ctx, facts)
    yield from sized("used_memory", held.used)
    yield from sized("used_memory_rss", held.rss)
    yield from sized("used_memory_peak", held.peak)
    yield "used_memory_peak_perc", f"{percent(held.used, held.peak):.2f}%"
    yield "used_memory_overhead", held.overhead
    yield "used_memory_startup", held.startup
    yield "used_memory_dataset", held.dataset
    yield "used_memory_dataset_perc", f"{percent(held.dataset, held.used - held.startup):.2f}%"
    yield "allocator_allocated", held.allocated
    yield "allocator_active", held.active
    yield "allocator_resident", held.rss
    yield "allocator_muzzy", 0
    if "total_system_memory" in facts:
        yield from sized("total_system_memory", int(facts["total_system_memory"]))
    yield from script_memory(ctx)
    limit = ctx.config.integer("maxmemory")
    yield from sized("maxmemory", limit)
    yield "maxmemory_policy", ctx.node.config.text("maxmemory-policy")
    yield "allocator_frag_ratio", f"{ratio(held.active, held.allocated):.2f}"
    yield "allocator_frag_bytes", held.active - held.allocated
    yield "allocator_rss_ratio", f"{ratio(held.rss, held.active):.2f}"
    yield "allocator_rss_bytes", held.rss - held.active
    # The allocator's resident memory is the process': nothing lies beside it.
    yield "rss_overhead_ratio", "1.00"
    yield "rss_overhead_bytes", 0
    yield "mem_fragmentation_ratio", f"{ratio(held.rss, held.used):.2f}"
    yield "mem_fragmentation_bytes", held.rss - held.used
    yield "mem_not_counted_for_evict", 0
    replication = ctx.node.replication
    backlog = 0 if replication is None else replication.backlog.memory()
    yield "mem_replication_backlog", backlog
    yield "mem_total_replication_buffers", backlog
    yield "mem_clients_slaves", 0 if replication is None else replication.primary.buffers()
    yield "mem_clients_normal", held.clients
    yield "mem_cluster_links", 0
    kept = ctx.node.persistence
    yield "mem_aof_buffer", 0 if kept is None else kept.aof.buffer_bytes()
    yield "mem_allocator", facts.get("mem_allocator", "libc")
    # Tables grow a bucket at a time: there is never a second one.
    yield "mem_overhead_db_hashtable_rehashing", 0
    yield "active_defrag_running", 0
    yield "lazyfree_pending_objects", len(ctx.keyspace.garbage)
    yield "lazyfreed_objects", ctx.keyspace.freed_values


def script_memory(ctx: Context) -> Iterator[Field]:
    """What scripts and functions hold."""
    held = scripts(ctx)
    yield "used_memory_lua", held.vm_eval
    yield "used_memory_vm_eval", held.vm_eval
    yield "used_memory_lua_human", human(held.vm_eval)
    yield "used_memory_scripts_eval", held.eval_text
    yield "number_of_cached_scripts", held.cached
    yield "number_of_functions", held.functions
    yield "number_of_libraries", held.libraries
    # Functions run in the same interpreter.
    yield "used_memory_vm_functions", 0
    yield from sized("used_memory_vm_total", held.vm_eval)
    yield "used_memory_functions", held.function_text
    yield from sized("used_memory_scripts", held.eval_text + held.function_text)


# What a process without files says; node/persist has the same names with true values.
NOTHING_KEPT: dict[str, str | int] = {
    "loading": 0, "async_loading": 0, "current_cow_peak": 0, "current_cow_size": 0,
    "current_cow_size_age": 0, "current_fork_perc": "0.00", "current_save_keys_processed": 0,
    "current_save_keys_total": 0, "rdb_changes_since_last_save": 0, "rdb_bgsave_in_progress": 0,
    "rdb_last_save_time": 0, "rdb_last_bgsave_status": "ok", "rdb_last_bgsave_time_sec": -1,
    "rdb_current_bgsave_time_sec": -1, "rdb_saves": 0, "rdb_last_cow_size": 0,
    "rdb_last_load_keys_expired": 0, "rdb_last_load_keys_loaded": 0, "aof_enabled": 0,
    "aof_rewrite_in_progress": 0, "aof_rewrite_scheduled": 0, "aof_last_rewrite_time_sec": -1,
    "aof_current_rewrite_time_sec": -1, "aof_last_bgrewrite_status": "ok", "aof_rewrites": 0,
    "aof_rewrites_consecutive_failures": 0, "aof_last_write_status": "ok", "aof_last_cow_size": 0,
}  # fmt: skip


def persistence_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    kept = ctx.node.persistence
    yield from (NOTHING_KEPT if kept is None else kept.figures()).items()
    yield "module_fork_in_progress", 0
    yield "module_fork_last_cow_size", 0


def stats_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    node = ctx.node
    yield "total_connections_received", node.connections_received
    yield "total_commands_processed", ctx.commands
    yield from known(
        facts, "instantaneous_ops_per_sec", "total_net_input_bytes", "total_net_output_bytes"
    )
    yield "total_net_repl_input_bytes", 0
    yield "total_net_repl_output_bytes", 0
    yield from known(facts, "instantaneous_input_kbps", "instantaneous_output_kbps")
    yield "instantaneous_input_repl_kbps", "0.00"
    yield "instantaneous_output_repl_kbps", "0.00"
    yield "rejected_connections", node.connections_rejected
    primary = None if node.replication is None else node.replication.primary
    yield "sync_full", 0 if primary is None else primary.full_syncs
    yield "sync_partial_ok", 0 if primary is None else primary.partial_syncs
    yield "sync_partial_err", 0 if primary is None else primary.partial_refusals
    yield "expired_subkeys", ctx.keyspace.expired_fields
    yield "expired_keys", ctx.keyspace.expired_keys
    yield "expired_stale_perc", f"{stale_percent(ctx):.2f}"
    yield from known(facts, "expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds")
    yield from eviction_counters(ctx)
    yield "keyspace_hits", ctx.hits
    yield "keyspace_misses", ctx.misses
    yield "pubsub_channels", len(node.pubsub.channels)
    yield "pubsub_patterns", len(node.pubsub.patterns)
    yield "pubsubshard_channels", len(node.pubsub.shards)
    for name in (
        "latest_fork_usec", "total_forks", "migrate_cached_sockets", "slave_expires_tracked_keys",
        "active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits",
        "active_defrag_key_misses", "total_active_defrag_time", "current_active_defrag_time",
    ):  # fmt: skip
        yield name, 0
    yield "tracking_total_keys", len(node.tracking.table)
    yield "tracking_total_items", node.tracking.items
    yield "tracking_total_prefixes", len(node.tracking.prefixes)
    yield "unexpected_error_replies", 0
    yield "total_error_replies", ctx.error_replies
    yield "dump_payload_sanitizations", 0
    yield from loop_counters(ctx, facts)
    for name, reason in (
        ("auth", DENIED_AUTH), ("cmd", DENIED_COMMAND), ("key", DENIED_KEY),
        ("channel", DENIED_CHANNEL),
    ):  # fmt: skip
        failures = node.auth_failures if name == "auth" else 0
        yield f"acl_access_denied_{name}", node.acl.refused[reason] + failures


def eviction_counters(ctx: Context) -> Iterator[Field]:
    """What was removed for lack of memory, and how long memory has been over the limit."""
    held = ctx.node.memory
    since_ms = held.exceeded_ms()
    yield "evicted_keys", ctx.keyspace.evicted_keys
    yield "evicted_clients", ctx.node.evicted_clients
    yield "evicted_scripts", scripts(ctx).evicted
    yield "total_eviction_exceeded_time", held.exceeded_total_ms + since_ms
    yield "current_eviction_exceeded_time", since_ms


def loop_counters(ctx: Context, facts: Facts) -> Iterator[Field]:
    """What the event loop did."""
    yield from known(facts, "total_reads_processed", "total_writes_processed")
    yield "io_threaded_reads_processed", 0
    yield "io_threaded_writes_processed", 0
    yield from known(
        facts, "client_query_buffer_limit_disconnections",
        "client_output_buffer_limit_disconnections",
    )  # fmt: skip
    # Replies are written into one buffer for all clients; none has one of its own to resize.
    yield "reply_buffer_shrinks", 0
    yield "reply_buffer_expands", 0
    yield from known(facts, "eventloop_cycles", "eventloop_duration_sum")
    nanos = sum(one.nanos for spec in specs() for one in (spec, spec.alone) if one is not None)
    yield "eventloop_duration_cmd_sum", nanos // 1000
    yield from known(
        facts, "instantaneous_eventloop_cycles_per_sec", "instantaneous_eventloop_duration_usec"
    )


def stale_percent(ctx: Context) -> float:
    """How many of the keys with an expiry are due and not yet removed, by a sample."""
    found = [sampled_expiries(ctx, db)[1] for db in ctx.keyspace.databases if db.volatile_slots]
    return sum(found) / len(found) if found else 0.0


def replication_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    replication = ctx.node.replication
    if replication is not None:
        follows = replication.role == "replica"
        yield "role", "slave" if follows else "master"
        if follows:
            yield from replication.follower.figures().items()
        yield from replication.primary.figures().items()
        yield from replication.figures().items()
        return
    yield "role", "master"
    yield "connected_slaves", 0
    yield "master_failover_state", "no-failover"
    yield "master_replid", ctx.node.run_id
    yield "master_replid2", "0" * 40
    yield "master_repl_offset", 0
    yield "second_repl_offset", -1
    yield "repl_backlog_active", 0
    yield "repl_backlog_size", ctx.config.integer("repl-backlog-size")
    yield "repl_backlog_first_byte_offset", 0
    yield "repl_backlog_histlen", 0


def cpu_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    return known(
        facts, "used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children",
        "used_cpu_sys_main_thread", "used_cpu_user_main_thread",
    )  # fmt: skip


def modules_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    return iter(())


def every_spec() -> Iterator[CommandSpec]:
    """Every command that can be called."""
    return (spec.alone or spec for spec in specs())


def commandstats_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    for spec in every_spec():
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


def latencystats_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    if not ctx.config.boolean("latency-tracking"):
        return
    percents = ctx.config.text("latency-tracking-info-percentiles").split()
    for spec in every_spec():
        if spec.histogram.total and percents:
            found = (
                f"p{text}={spec.histogram.percentile(float(text)) / 1000:.3f}" for text in percents
            )
            yield f"latency_percentiles_usec_{spec.name.decode()}", ",".join(found)


def cluster_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    yield "cluster_enabled", 0 if ctx.cluster is None else 1
    if ctx.node.duty is not None:
        yield from ctx.node.duty.figures().items()


def keyspace_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    for db in ctx.keyspace.databases:
        if db.visible():
            yield (
                f"db{db.index}",
                f"keys={db.visible()},expires={volatile_keys(db)},"
                f"avg_ttl={sampled_expiries(ctx, db)[0]},subexpiry={db.field_expiries.count}",
            )


def debug_section(ctx: Context, facts: Facts) -> Iterator[Field]:
    kept = ctx.node.persistence
    yield "eventloop_duration_aof_sum", 0 if kept is None else kept.aof.commit_ns // 1000
    yield from known(facts, "eventloop_duration_cron_sum")


# In the order of the reply, whatever order they are asked for in.
SECTIONS: dict[str, Callable[[Context, Facts], Iterator[Field]]] = {
    "Server": server_section, "Clients": clients_section, "Memory": memory_section,
    "Persistence": persistence_section, "Stats": stats_section,
    "Replication": replication_section, "CPU": cpu_section, "Modules": modules_section,
    "Commandstats": commandstats_section, "Errorstats": errorstats_section,
    "Latencystats": latencystats_section, "Cluster": cluster_section,
    "Keyspace": keyspace_section, "Debug": debug_section,
}  # fmt: skip
NOT_DEFAULT = frozenset({"Commandstats", "Latencystats", "Debug"})
NOT_ALL = frozenset({"Modules", "Debug"})


def chosen(words: set[str]) -> list[str]:
    """The titles of the sections that a request names; none named means the default ones."""
    everything, default = "everything" in words, not words or "default" in words
    return [
        title
        for title in SECTIONS
        if (everything and title != "Debug")
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

"""The parameters of CONFIG: name, kind, default, bounds, and what setting one does.

One row for each parameter of Redis 7.4, so that tools that read or write any of them find it. A
row with `effect=True` changes how this node behaves; the others are accepted, checked and shown,
because clients and scripts set them, but nothing here depends on them (the documents list them by
this mark). `fixed` ones can be given at the start only. `protected` ones need
`enable-protected-configs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

INT = 2**31 - 1
UINT = 2**32 - 1
LONG = 2**63 - 1
ULONG = 2**64 - 1
MB = 1024 * 1024

BOOL, NUMBER, OCTAL, MEMORY, PERCENT_MEMORY, ENUM, FLAGS, TEXT, SPECIAL = (
    "bool", "number", "octal", "memory", "percent-memory", "enum", "flags", "text", "special",
)  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One parameter; `default` is the text CONFIG GET shows, `alias` its older name, if any."""

    name: str
    kind: str
    default: str
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    alias: str = ""
    fixed: bool = False
    protected: bool = False
    effect: bool = False


# What changes how this node behaves; see the essay above.
EFFECTIVE = frozenset(
    """
    acl-pubsub-default aclfile acllog-max-len aof-load-truncated aof-rewrite-incremental-fsync
    aof-timestamp-enabled appenddirname appendfilename appendfsync appendonly
    auto-aof-rewrite-min-size auto-aof-rewrite-percentage bind bind-source-addr busy-reply-threshold
    client-output-buffer-limit client-query-buffer-limit cluster-announce-hostname
    cluster-preferred-endpoint-type databases dbfilename dir
    enable-debug-command enable-module-command enable-protected-configs hash-max-listpack-entries
    hash-max-listpack-value hide-user-data-from-log hll-sparse-max-bytes latency-monitor-threshold
    latency-tracking latency-tracking-info-percentiles lfu-decay-time lfu-log-factor
    list-max-listpack-size logfile loglevel masterauth masteruser maxclients maxmemory
    maxmemory-clients maxmemory-eviction-tenacity maxmemory-policy maxmemory-samples
    min-replicas-max-lag min-replicas-to-write no-appendfsync-on-rewrite notify-keyspace-events
    oom-score-adj oom-score-adj-values pidfile port protected-mode proto-max-bulk-len
    rdb-save-incremental-fsync rdbchecksum rdbcompression repl-backlog-size repl-backlog-ttl
    repl-diskless-sync repl-diskless-sync-delay repl-diskless-sync-max-replicas
    repl-ping-replica-period repl-timeout replica-announce-ip replica-announce-port
    replica-announced replica-ignore-maxmemory replica-priority replica-read-only
    replica-serve-stale-data replicaof requirepass save set-max-intset-entries
    set-max-listpack-entries set-max-listpack-value shutdown-on-sigint shutdown-on-sigterm
    slowlog-log-slower-than slowlog-max-len stop-writes-on-bgsave-error stream-node-max-bytes
    stream-node-max-entries supervised syslog-enabled syslog-facility syslog-ident tcp-backlog
    tcp-keepalive timeout tracking-table-max-keys unixsocket unixsocketperm
    zset-max-listpack-entries zset-max-listpack-value
    """.split()
)

_PROTECTED = frozenset({"dbfilename", "dir"})

_YES = (
    "activerehashing aof-load-truncated aof-rewrite-incremental-fsync aof-use-rdb-preamble "
    "cluster-allow-pubsubshard-when-down cluster-allow-replica-migration "
    "cluster-require-full-coverage crash-log-enabled crash-memcheck-enabled dynamic-hz "
    "jemalloc-bg-thread latency-tracking protected-mode rdb-save-incremental-fsync rdbcompression "
    "repl-diskless-sync replica-announced stop-writes-on-bgsave-error tls-prefer-server-ciphers:no "
    "tls-session-caching"
).split()
_YES_FIXED = "disable-thp rdbchecksum set-proc-title".split()
_NO = (
    "activedefrag aof-timestamp-enabled appendonly cluster-allow-reads-when-down "
    "hide-user-data-from-log lazyfree-lazy-eviction lazyfree-lazy-expire lazyfree-lazy-server-del "
    "lazyfree-lazy-user-del lazyfree-lazy-user-flush no-appendfsync-on-rewrite rdb-del-sync-files "
    "repl-disable-tcp-nodelay replica-ignore-disk-write-errors tls-cluster tls-replication"
).split()
_NO_FIXED = (
    "always-show-logo cluster-enabled daemonize io-threads-do-reads syslog-enabled"
).split()  # fmt: skip

# (name, older name, default)
_SWITCHES = (
    ("cluster-replica-no-failover", "cluster-slave-no-failover", "no"),
    ("replica-ignore-maxmemory", "slave-ignore-maxmemory", "yes"),
    ("replica-lazy-flush", "slave-lazy-flush", "no"),
    ("replica-read-only", "slave-read-only", "yes"),
    ("replica-serve-stale-data", "slave-serve-stale-data", "yes"),
)

# (name, default, low, high[, older name])
_NUMBERS: tuple[tuple[str, int, int, int] | tuple[str, int, int, int, str], ...] = (
    ("acllog-max-len", 128, 0, LONG),
    ("active-defrag-cycle-max", 25, 1, 99),
    ("active-defrag-cycle-min", 1, 1, 99),
    ("active-defrag-max-scan-fields", 1000, 1, LONG),
    ("active-defrag-threshold-lower", 10, 0, 1000),
    ("active-defrag-threshold-upper", 100, 0, 1000),
    ("active-expire-effort", 1, 1, 10),
    ("auto-aof-rewrite-percentage", 100, 0, INT),
    ("busy-reply-threshold", 5000, 0, LONG, "lua-time-limit"),
    ("cluster-announce-bus-port", 0, 0, 65535),
    ("cluster-announce-port", 0, 0, 65535),
    ("cluster-announce-tls-port", 0, 0, 65535),
    ("cluster-migration-barrier", 1, 0, INT),
    ("cluster-node-timeout", 15000, 0, LONG),
    ("cluster-replica-validity-factor", 10, 0, INT, "cluster-slave-validity-factor"),
    ("hash-max-listpack-entries", 512, 0, LONG, "hash-max-ziplist-entries"),
    ("hz", 10, 0, INT),
    ("latency-monitor-threshold", 0, 0, LONG),
    ("lfu-decay-time", 1, 0, INT),
    ("lfu-log-factor", 10, 0, INT),
    ("list-compress-depth", 0, 0, INT),
    ("list-max-listpack-size", -2, -INT - 1, INT, "list-max-ziplist-size"),
    ("max-new-connections-per-cycle", 10, 1, 1000),
    ("max-new-tls-connections-per-cycle", 1, 1, 1000),
    ("maxclients", 10000, 1, UINT),
    ("maxmemory-eviction-tenacity", 10, 0, 100),
    ("maxmemory-samples", 5, 1, 64),
    ("min-replicas-max-lag", 10, 0, INT, "min-slaves-max-lag"),
    ("min-replicas-to-write", 0, 0, INT, "min-slaves-to-write"),
    ("port", 6379, 0, 65535),
    ("repl-backlog-ttl", 3600, 0, LONG),
    ("repl-diskless-sync-delay", 5, 0, INT),
    ("repl-diskless-sync-max-replicas", 0, 0, INT),
    ("repl-ping-replica-period", 10, 1, INT, "repl-ping-slave-period"),
    ("repl-timeout", 60, 1, INT),
    ("replica-announce-port", 0, 0, 65535, "slave-announce-port"),
    ("replica-priority", 100, 0, INT, "slave-priority"),
    ("set-max-intset-entries", 512, 0, LONG),
    ("set-max-listpack-entries", 128, 0, LONG),
    ("set-max-listpack-value", 64, 0, LONG),
    ("shutdown-timeout", 10, 0, INT),
    ("slowlog-log-slower-than", 10000, -1, LONG),
    ("slowlog-max-len", 128, 0, LONG),
    ("stream-node-max-entries", 100, 0, LONG),
    ("tcp-keepalive", 300, 0, INT),
    ("timeout", 0, 0, INT),
    ("tls-port", 0, 0, 65535),
    ("tls-session-cache-size", 20480, 0, INT),
    ("tls-session-cache-timeout", 300, 0, INT),
    ("tracking-table-max-keys", 1000000, 0, LONG),
    ("zset-max-listpack-entries", 128, 0, LONG, "zset-max-ziplist-entries"),
)
_NUMBERS_FIXED = (
    ("cluster-port", 0, 0, 65535),
    ("databases", 16, 1, INT),
    ("io-threads", 1, 1, 128),
    ("socket-mark-id", 0, 0, UINT),
    ("tcp-backlog", 511, 0, INT),
)

# (name, default, low, high[, older name]); bytes, written with or without a unit
_MEMORY: tuple[tuple[str, int, int, int] | tuple[str, int, int, int, str], ...] = (
    ("active-defrag-ignore-bytes", 100 * MB, 1, LONG),
    ("auto-aof-rewrite-min-size", 64 * MB, 0, LONG),
    ("client-query-buffer-limit", 1024 * MB, MB, LONG),
    ("cluster-link-sendbuf-limit", 0, 0, ULONG),
    ("hash-max-listpack-value", 64, 0, LONG, "hash-max-ziplist-value"),
    ("hll-sparse-max-bytes", 3000, 0, LONG),
    ("maxmemory", 0, 0, ULONG),
    ("proto-max-bulk-len", 512 * MB, MB, LONG),
    ("repl-backlog-size", MB, 1, LONG),
    ("stream-node-max-bytes", 4096, 0, LONG),
    ("zset-max-listpack-value", 64, 0, LONG, "zset-max-ziplist-value"),
)

# (name, choices, default)
_ENUMS = (
    ("acl-pubsub-default", "allchannels resetchannels", "resetchannels"),
    ("appendfsync", "everysec always no", "everysec"),
    ("cluster-preferred-endpoint-type", "ip hostname unknown-endpoint", "ip"),
    ("loglevel", "debug verbose notice warning nothing", "notice"),
    ("maxmemory-policy", "volatile-lru volatile-lfu volatile-random volatile-ttl allkeys-lru "
     "allkeys-lfu allkeys-random noeviction", "noeviction"),
    ("oom-score-adj", "no yes relative absolute", "no"),
    ("propagation-error-behavior", "ignore panic panic-on-replicas", "ignore"),
    ("repl-diskless-load", "disabled on-empty-db swapdb", "disabled"),
    ("sanitize-dump-payload", "no yes clients", "no"),
    ("tls-auth-clients", "no yes optional", "yes"),
)  # fmt: skip
_ENUMS_FIXED = (
    ("enable-debug-command", "no yes local", "no"),
    ("enable-module-command", "no yes local", "no"),
    ("enable-protected-configs", "no yes local", "no"),
    ("supervised", "upstart systemd auto no", "no"),
    ("syslog-facility", "user local0 local1 local2 local3 local4 local5 local6 local7", "local0"),
)
_SHUTDOWN_FLAGS = ("default", "save", "nosave", "now", "force")

_TEXTS = (
    ("bind-source-addr", ""), ("cluster-announce-human-nodename", ""), ("cluster-announce-ip", ""),
    ("dbfilename", "dump.rdb"), ("dir", ""), ("ignore-warnings", ""), ("masterauth", ""),
    ("masteruser", ""), ("requirepass", ""), ("locale-collate", ""),
    ("tls-ca-cert-dir", ""), ("tls-ca-cert-file", ""), ("tls-cert-file", ""), ("tls-ciphers", ""),
    ("tls-ciphersuites", ""), ("tls-client-cert-file", ""), ("tls-client-key-file", ""),
    ("tls-client-key-file-pass", ""), ("tls-dh-params-file", ""), ("tls-key-file", ""),
    ("tls-key-file-pass", ""), ("tls-protocols", ""),
)  # fmt: skip
# (name, default[, older name])
_TEXTS_FIXED = (
    ("aclfile", ""), ("aof-rewrite-cpulist", "", "aof_rewrite_cpulist"),
    ("appenddirname", "appendonlydir"), ("appendfilename", "appendonly.aof"),
    ("bgsave-cpulist", "", "bgsave_cpulist"), ("bio-cpulist", "", "bio_cpulist"),
    ("cluster-config-file", "nodes.conf"), ("logfile", ""), ("pidfile", ""),
    ("replicaof", "", "slaveof"), ("server-cpulist", "", "server_cpulist"),
    ("syslog-ident", "redis"), ("unixsocket", ""),
)  # fmt: skip

# Parameters with a grammar of their own; config.py has a function for each.
_SPECIAL = (
    ("client-output-buffer-limit",
     "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
    ("cluster-announce-hostname", ""),
    ("latency-tracking-info-percentiles", "50 99 99.9"),
    ("notify-keyspace-events", ""),
    ("oom-score-adj-values", "0 200 800"),
    ("proc-title-template", "{title} {listen-addr} {server-mode}"),
    ("save", ""),
)  # fmt: skip


def _switches() -> Iterator[Parameter]:
    for name in _YES:
        plain, _, default = name.partition(":")
        yield Parameter(plain, BOOL, default or "yes")
    yield from (Parameter(name, BOOL, "yes", fixed=True) for name in _YES_FIXED)
    yield from (Parameter(name, BOOL, "no") for name in _NO)
    yield from (Parameter(name, BOOL, "no", fixed=True) for name in _NO_FIXED)
    yield from (Parameter(name, BOOL, default, alias=old) for name, old, default in _SWITCHES)


def _numbers() -> Iterator[Parameter]:
    for rows, kind, fixed in (
        (_NUMBERS, NUMBER, False), (_NUMBERS_FIXED, NUMBER, True), (_MEMORY, MEMORY, False),
    ):  # fmt: skip
        for name, default, low, high, *older in rows:
            yield Parameter(name, kind, str(default), low, high, alias="".join(older), fixed=fixed)
    yield Parameter("unixsocketperm", OCTAL, "0", 0, 0o777, fixed=True)
    yield Parameter("maxmemory-clients", PERCENT_MEMORY, "0", 0, LONG)


def _words() -> Iterator[Parameter]:
    for rows, fixed in ((_ENUMS, False), (_ENUMS_FIXED, True)):
        for name, choices, default in rows:
            yield Parameter(name, ENUM, default, choices=tuple(choices.split()), fixed=fixed)
    for name in ("shutdown-on-sigint", "shutdown-on-sigterm"):
        yield Parameter(name, FLAGS, "default", choices=_SHUTDOWN_FLAGS)
    yield from (Parameter(name, TEXT, default) for name, default in _TEXTS)
    for name, default, *older in _TEXTS_FIXED:
        yield Parameter(name, TEXT, default, alias="".join(older), fixed=True)
    yield Parameter("replica-announce-ip", TEXT, "", alias="slave-announce-ip")
    yield from (Parameter(name, SPECIAL, default) for name, default in _SPECIAL)
    yield Parameter("bind", SPECIAL, "* -::*")


def _marked(row: Parameter) -> Parameter:
    return Parameter(
        row.name, row.kind, row.default, row.low, row.high, row.choices, row.alias, row.fixed,
        protected=row.name in _PROTECTED, effect=row.name in EFFECTIVE,
    )  # fmt: skip


# By name, in the order of their names.
PARAMETERS: dict[str, Parameter] = {
    row.name: _marked(row)
    for row in sorted((*_switches(), *_numbers(), *_words()), key=lambda row: row.name)
}
ALIASES: dict[str, str] = {row.alias: row.name for row in PARAMETERS.values() if row.alias}

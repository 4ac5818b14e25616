"""What Prometheus sees of a node (io): its own counters, read at the moment of a scrape.

Nothing is counted twice: the hot path keeps the numbers that INFO shows anyway, and this module
only reads them. A scrape runs between two turns of the loop, so the numbers of one answer belong
together; it must stay short, hence no walk over keys, and it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.node.engine.registry import specs

if TYPE_CHECKING:
    from isthmus.node.cluster.member import Member
    from isthmus.node.server.main import NodeServer


class NodeCollector(Collector):
    """Reads one node."""

    def __init__(self, server: NodeServer) -> None:
        self.server = server

    def collect(self) -> Iterator[Metric]:
        """The metric families, as they are now; commands that never ran are left out."""
        node, pump = self.server.node, self.server.pump
        gauges = (
            ("connected_clients", "Client connections", len(node.clients)),
            (
                "resident_memory_bytes",
                "Resident memory of the process",
                self.server.process_memory(),
            ),
            ("used_memory_bytes", "Memory of data and buffers", node.memory.used()),
            ("blocked_clients", "Clients that wait", len(node.blocking.clients)),
            ("keys", "Keys, all databases", sum(db.size for db in node.keyspace.databases)),
            ("garbage_values", "Discarded values waiting to be freed", len(node.keyspace.garbage)),
            ("uptime_seconds", "Time since start", (node.clock.now_ms - node.started_ms) / 1000),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"isthmus_node_{name}", text, value=value)
        counters = (
            ("commands", "Commands run", node.ctx.commands),
            ("connections_received", "Connections accepted", node.connections_received),
            ("connections_rejected", "Connections refused", node.connections_rejected),
            ("keyspace_hits", "Look-ups that found a key", node.ctx.hits),
            ("keyspace_misses", "Look-ups that found none", node.ctx.misses),
            (
                "expired_keys",
                "Keys removed because their time had come",
                node.keyspace.expired_keys,
            ),
            ("evicted_keys", "Keys removed for lack of memory", node.keyspace.evicted_keys),
            ("evicted_clients", "Clients closed for lack of memory", node.evicted_clients),
            ("error_replies", "Error replies sent", node.ctx.error_replies),
            ("changes", "Changes of data", node.keyspace.log.dirty),
            ("input_bytes", "Bytes received", pump.bytes_in),
            ("output_bytes", "Bytes sent", pump.bytes_out),
            ("output_limit_disconnections", "Clients cut off that did not read",
             pump.output_limit_disconnections),
        )  # fmt: skip
        if self.server.member is not None:
            bus = self.server.member.bus
            yield CounterMetricFamily("isthmus_node_bus_messages",
                "Published messages sent to other nodes", value=bus.sent)  # fmt: skip
            yield CounterMetricFamily("isthmus_node_bus_messages_dropped",
                "Published messages that another node could not be sent",
                value=bus.dropped)  # fmt: skip
            yield from member_metrics(self.server.member)
        for name, text, total in counters:
            yield CounterMetricFamily(f"isthmus_node_{name}", text, value=total)
        calls = CounterMetricFamily(
            "isthmus_node_command_calls", "Calls by command", labels=["command"]
        )
        seconds = CounterMetricFamily(
            "isthmus_node_command_seconds", "Time by command", labels=["command"]
        )
        for spec in specs():
            if spec.calls:
                name = spec.name.decode()
                calls.add_metric([name], spec.calls)
                seconds.add_metric([name], spec.nanos / 1e9)
        yield calls
        yield seconds


def member_metrics(member: Member) -> Iterator[Metric]:
    """A node of a cluster: its role, its lease, how far copies are, what failovers cost."""
    duty, node = member.duty, member.node
    now = duty.boot_ns()
    role = duty.role
    roles = GaugeMetricFamily(
        "isthmus_node_role", "1 for the role this node has now", labels=["role", "shard"]
    )
    roles.add_metric([role, str(duty.shard) if role != "spare" else ""], 1)
    yield roles
    lease_ms, silent_ms = duty.lease_left_ms(now), duty.primary_silent_ms(now)
    endless = float("inf") if lease_ms < 0 else lease_ms / 1000
    synced = role != "replica" or node.replication.state == "streaming"
    shard = member.view.my_shard
    gauges = (
        ("topology_epoch", "Epoch of the topology it holds", member.view.epoch),
        ("shard_epoch", "Shard epoch it acts under", duty.epoch),
        ("data_epoch", "Shard epoch under which its data was last written", duty.data_epoch),
        ("replication_offset", "Bytes of the shard's stream", node.replication.offset),
        ("in_step", "0 while a replica is not streaming", int(synced)),
        ("synced_replicas", "Replicas whose acknowledgements count, of a primary",
         len(shard.synced) if shard is not None and duty.leads() else 0),
        ("lease_seconds", "How long a primary may serve yet; 0: it holds no lease",
         endless if duty.leads() else 0),
        ("lag_seconds", "Age of the oldest change that no counted replica has, of a primary",
         duty.lag_ms(now) / 1000),
        ("lag_bytes", "What of the stream no counted replica has, of a primary", duty.lag_bytes()),
        ("primary_silent_seconds", "Since the last word of its primary, of a replica; -1: none",
         silent_ms / 1000 if role == "replica" and silent_ms >= 0 else -1),
        ("refusing", "1 while a primary refuses writes, for want of a lease or of replicas",
         int(bool(duty.problem))),
        ("receipts_waiting", "Loss receipts the coordinator has not noted",
         member.receipts.waiting),
    )  # fmt: skip
    for name, text, value in gauges:
        yield GaugeMetricFamily(f"isthmus_node_{name}", text, value=value)
    counters = (
        ("promotions", "Times this process became a primary", duty.promotions),
        ("demotions", "Times it ceased to be one", duty.demotions),
        ("lease_requests", "Requests for a lease sent to voters", member.leadership.asked),
        ("lease_refusals", "Requests that a voter refused", member.leadership.refused),
        ("clients_cut_off", "Clients cut off because nobody knew if their writes would last",
         duty.cut_clients),
        ("receipts", "Loss receipts written: tails given up to another primary",
         member.receipts.count),
    )  # fmt: skip
    for name, text, total in counters:
        yield CounterMetricFamily(f"isthmus_node_{name}", text, value=total)

"""What Prometheus sees of a coordinator (io), read from the model at the moment of a scrape.

Nothing here is on the path of a message. Names follow Prometheus' rules: base units, `_total` for
counters, labels with few values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.coordinator.model import DECISIONS
from isthmus.coordinator.receipts import unsettled
from isthmus.coordinator.views import lag

if TYPE_CHECKING:
    from isthmus.coordinator.candidate import Candidate
    from isthmus.coordinator.server import Coordinator


class CoordinatorCollector(Collector):
    """Reads one coordinator."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def collect(self) -> Iterator[Metric]:
        """The metric families, as they are now."""
        it = self._coordinator
        state, hub = it.state, it.hub
        members = GaugeMetricFamily(
            "isthmus_coordinator_members", "Registered processes", labels=["role", "state"]
        )
        counts = Counter((m.role, "up" if m.alive else "dead") for m in state.members.values())
        for (role, alive), count in sorted(counts.items()):
            members.add_metric([role, alive], count)
        yield members
        down = sum(not state.members[shard.primary].alive for shard in state.shards)
        for name, text, value in (
            ("epoch", "Topology epoch", state.epoch),
            ("term", "Term of the store this process holds", it.store.term),
            ("shards", "Shards of the formed cluster", len(state.shards)),
            ("shards_down", "Shards whose primary is dead", down),
            ("connections", "Open RPC connections", hub.connections),
        ):
            yield GaugeMetricFamily(f"isthmus_coordinator_{name}", text, value=value)
        yield from shard_metrics(it)
        counters: tuple[tuple[str, str, float], ...] = (
            ("frames_received", "Frames received", hub.frames_received),
            ("frames_sent", "Frames sent", hub.frames_sent),
            ("slow_peers_closed", "Connections closed because the peer did not read",
             hub.slow_peers_closed),
            ("commits", "Batches committed to the store", it.commits),
            ("commit_seconds", "Time spent in commits", it.commit_ns / 1e9),
        )  # fmt: skip
        for name, text, total in counters:
            yield CounterMetricFamily(f"isthmus_coordinator_{name}", text, value=total)


def shard_metrics(it: Coordinator) -> Iterator[Metric]:
    """Shards with their copies, and what was decided of them."""
    state = it.state
    epochs = GaugeMetricFamily(
        "isthmus_coordinator_shard_epoch", "Epoch of the last change of primary", labels=["shard"]
    )
    copies = GaugeMetricFamily(
        "isthmus_coordinator_shard_copies", "Copies: all, living, and replicas in sync",
        labels=["shard", "state"],
    )  # fmt: skip
    lags = GaugeMetricFamily(
        "isthmus_coordinator_replica_lag_bytes", "How far a replica is behind, as last told",
        labels=["shard", "node"],
    )  # fmt: skip
    for shard in state.shards:
        number, members = str(shard.number), [state.members[name] for name in shard.copies]
        epochs.add_metric([number], shard.epoch)
        copies.add_metric([number, "wanted"], state.replicas_wanted + 1)
        copies.add_metric([number, "alive"], sum(member.alive for member in members))
        copies.add_metric([number, "synced"], len(shard.synced))
        for member in members[1:]:
            behind = lag(state, shard, member)
            if behind is not None:
                lags.add_metric([number, member.address], behind)
    yield from (epochs, copies, lags)
    suspected = sum(state.watch(shard).since_ns != 0 for shard in state.shards)
    yield GaugeMetricFamily("isthmus_coordinator_shards_suspected",
        "Shards whose primary is under suspicion", value=suspected)  # fmt: skip
    yield GaugeMetricFamily("isthmus_coordinator_receipts_open",
        "Loss receipts that nobody has settled", value=len(unsettled(state)))  # fmt: skip
    decisions = CounterMetricFamily(
        "isthmus_coordinator_decisions", "Decisions on shards since the start", labels=["event"]
    )
    for event in DECISIONS:
        decisions.add_metric([event.removeprefix("shard_")], it.decisions[event])
    yield decisions


class CandidateCollector(Collector):
    """Reads one of several coordinators: whether it leads, and then all that a leader has."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate

    def collect(self) -> Iterator[Metric]:
        """The metric families, as they are now."""
        it = self._candidate
        leads = it.coordinator is not None
        yield GaugeMetricFamily("isthmus_coordinator_leader", "1 if it leads", value=leads)
        yield CounterMetricFamily(
            "isthmus_coordinator_terms", "Terms that this process has led", value=it.terms
        )
        if it.coordinator is not None:
            yield from CoordinatorCollector(it.coordinator).collect()

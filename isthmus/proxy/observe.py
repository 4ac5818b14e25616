"""What Prometheus sees of a proxy (io): its own counters, read at the moment of a scrape.

Nothing here is on the path of a request. Labels have few values: shards, and the commands of the
table (a name that a client made up is never one).
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.proxy.route import every
from isthmus.proxy.state import Proxy
from isthmus.wire.pump import Pump


class ProxyCollector(Collector):
    """Reads one proxy."""

    def __init__(self, proxy: Proxy, pump: Pump) -> None:
        self._proxy = proxy
        self._pump = pump

    def collect(self) -> Iterator[Metric]:
        """The metric families, as they are now; commands that never came are left out."""
        proxy, router, pump = self._proxy, self._proxy.router, self._pump
        gauges = (
            ("connected_clients", "Client connections", len(proxy.sessions)),
            ("topology_epoch", "Epoch of the topology in force", router.epoch),
            ("slots_served", "Slots whose node has a link", proxy.slots_served()),
            ("parked_requests", "Requests that wait to be sent again", len(router.parked)),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"isthmus_proxy_{name}", text, value=value)
        counters = (
            ("commands", "Requests taken from clients", proxy.commands()),
            ("requests", "Requests sent to nodes", router.requests),
            ("redirects", "Redirects followed", router.redirects),
            ("retries", "Parked requests sent again", router.retries),
            ("unknown_outcomes", "Writes under way on a link that was lost", router.unknown),
            ("refused_busy", "Requests refused because a node is too slow", router.refused),
            ("error_replies", "Error replies to clients", router.error_replies),
            ("connections_received", "Connections accepted", proxy.connections_received),
            ("connections_rejected", "Connections refused", proxy.connections_rejected),
            ("auth_failures", "Wrong passwords", proxy.auth_failures),
            ("input_bytes", "Bytes received", pump.bytes_in),
            ("output_bytes", "Bytes sent", pump.bytes_out),
            ("output_limit_disconnections", "Clients cut off that did not read",
             pump.output_limit_disconnections),
        )  # fmt: skip
        for name, text, total in counters:
            yield CounterMetricFamily(f"isthmus_proxy_{name}", text, value=total)
        yield from self._links()
        yield self._calls()

    def _links(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("isthmus_proxy_link_up", "1 if the link is up", labels=["shard"])
        waiting = GaugeMetricFamily(
            "isthmus_proxy_link_pending", "Requests under way on the link", labels=["shard"]
        )
        lost = CounterMetricFamily(
            "isthmus_proxy_links_lost", "Links that were lost", labels=["shard"]
        )
        for backend in self._proxy.router.shards:
            labels = [str(backend.shard)]
            link = backend.link
            up.add_metric(labels, 0 if link is None else 1)
            waiting.add_metric(labels, 0 if link is None else link.waiting)
            lost.add_metric(labels, backend.links_lost)
        yield up
        yield waiting
        yield lost

    def _calls(self) -> Metric:
        calls = CounterMetricFamily(
            "isthmus_proxy_command_calls", "Requests by command", labels=["command"]
        )
        for route in every(self._proxy.routes):
            if route.calls:
                calls.add_metric([route.name.decode()], route.calls)
        return calls

"""What all connections of one proxy share, and what the proxy tells about itself.

Clock and chance are parameters: `wall_us` gives Unix time in microseconds, `chance` a number from 0
up to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isthmus.node.spec import connection
from isthmus.proxy import local, merge, servers, tied
from isthmus.proxy.private import Line
from isthmus.proxy.route import build, every
from isthmus.proxy.router import Router
from isthmus.proxy.session import Session
from isthmus.wire.slots import SLOTS

OUTPUT_BYTES_MAX = 256 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """How the proxy was started."""

    id: str
    host: str
    port: int
    region: str
    zone: str
    pid: int
    password: bytes = b""
    maxclients: int = 10000


class Proxy:
    """One proxy without its sockets."""

    def __init__(
        self, settings: Settings, wall_us: Callable[[], int], chance: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.password = settings.password
        self.wall_us = wall_us
        self.chance = chance
        self.router = Router()
        self.routes = build(
            local.HANDLERS,
            {**merge.HANDLERS, **servers.HANDLERS},
            {**tied.HANDLERS, **servers.TIED_HANDLERS},
        )
        self.sessions: dict[int, Session] = {}
        # Set by the server: connects a line, and tells it by `opened`.
        self.open_line: Callable[[Line], None] = lambda line: line.opened(None)
        self.router.clients = self.sessions
        self.output_bytes_max = OUTPUT_BYTES_MAX
        self.next_id = 1
        self.connections_received = 0
        self.connections_rejected = 0
        self.auth_failures = 0
        self.commands_before = 0
        self.started_us = wall_us()

    def new_session(self) -> Session:
        """A session as it stands right after connecting."""
        session = Session(self, self.next_id)
        self.next_id += 1
        self.connections_received += 1
        self.sessions[session.id] = session
        return session

    def forget(self, session: Session) -> None:
        """A connection is gone."""
        if self.sessions.pop(session.id, None) is not None:
            self.commands_before += session.commands

    def commands(self) -> int:
        """Requests taken from clients since the start."""
        return self.commands_before + sum(s.commands for s in self.sessions.values())

    def reset_counters(self) -> None:
        """Count anew from now on."""
        router = self.router
        self.connections_received = self.connections_rejected = self.auth_failures = 0
        self.commands_before = -sum(s.commands for s in self.sessions.values())
        router.requests = router.redirects = router.retries = 0
        router.unknown = router.refused = router.error_replies = 0
        for route in every(self.routes):
            route.calls = 0

    def slots_served(self) -> int:
        """Slots whose node has a link now."""
        return sum(b is not None and b.link is not None for b in self.router.slots)

    def info(self, sections: set[str]) -> bytes:
        """The text of INFO; `sections` empty means all."""
        parts = []
        for title, rows in self.info_rows().items():
            if not sections or title.lower() in sections:
                lines = "".join(f"{name}:{value}\r\n" for name, value in rows)
                parts.append(f"# {title}\r\n{lines}")
        return "\r\n".join(parts).encode()

    def info_rows(self) -> dict[str, list[tuple[str, object]]]:
        """The fields of INFO by section, under Redis' names where Redis has them."""
        it, router = self.settings, self.router
        up_seconds = (self.wall_us() - self.started_us) // 1_000_000
        links = [b for b in router.shards if b.link is not None]
        served = self.slots_served()
        return {
            "Server": [
                ("redis_version", connection.REDIS_VERSION.decode()),
                ("redis_mode", "standalone"),
                ("server_name", "isthmus"),
                ("process_id", it.pid),
                ("run_id", it.id),
                ("tcp_port", it.port),
                ("server_time_usec", self.wall_us()),
                ("uptime_in_seconds", up_seconds),
                ("uptime_in_days", up_seconds // 86400),
            ],
            "Clients": [
                ("connected_clients", len(self.sessions)),
                ("maxclients", it.maxclients),
                ("blocked_clients", sum(s.waits() for s in self.sessions.values())),
            ],
            "Stats": [
                ("total_connections_received", self.connections_received),
                ("total_commands_processed", self.commands()),
                ("rejected_connections", self.connections_rejected),
                ("total_error_replies", router.error_replies),
            ],
            "Replication": [("role", "master"), ("connected_slaves", 0)],
            "Cluster": [("cluster_enabled", 0)],
            "Proxy": [
                ("proxy_region", it.region),
                ("proxy_zone", it.zone),
                ("proxy_topology_epoch", router.epoch),
                ("proxy_cluster_state", "ok" if served == SLOTS else "fail"),
                ("proxy_shards", len(router.shards)),
                ("proxy_shards_connected", len(links)),
                ("proxy_slots_served", served),
                ("proxy_pending_requests", sum(b.link.waiting for b in links if b.link)),
                ("proxy_requests_sent", router.requests),
                ("proxy_redirects", router.redirects),
                ("proxy_retries", router.retries),
                ("proxy_unknown_outcomes", router.unknown),
                ("proxy_refused_busy", router.refused),
            ],
        }

"""Observer: keeps what INFO, SLOWLOG and LATENCY tell of slow calls, and nothing while all is fast.

The hot path compares the time of a call with one number, `ctx.slow_ns`; only what took longer comes
here. The number follows the parameters: the lower of the slow log's threshold and the latency
monitor's, or never. `latency-tracking` switches the histograms of all commands.
"""

from __future__ import annotations

from isthmus.node.engine.context import NEVER_NS, Context
from isthmus.node.engine.latency import LatencyMonitor
from isthmus.node.engine.registry import specs
from isthmus.node.engine.slowlog import SlowLog
from isthmus.node.engine.spec import FAST, SKIP_SLOWLOG, CommandSpec


class Observer:
    """What a node remembers of slow calls."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.slowlog = SlowLog(ctx.config)
        self.latency = LatencyMonitor(ctx.config, ctx.clock)
        for name in ("slowlog-log-slower-than", "slowlog-max-len", "latency-monitor-threshold"):
            ctx.config.on_change(name, self.set_threshold)
        ctx.config.on_change("latency-tracking", self.set_tracking)
        self.set_threshold()
        self.set_tracking()

    def set_threshold(self, changed: str = "") -> None:
        """Let the hot path tell of the calls that anybody here wants to know."""
        config = self.ctx.config
        limits_ns = [NEVER_NS]
        micros = config.integer("slowlog-log-slower-than")
        if micros >= 0 and config.integer("slowlog-max-len"):
            limits_ns.append(micros * 1000)
        ms = config.integer("latency-monitor-threshold")
        if ms:
            limits_ns.append(ms * 1_000_000)
        # "At least so long" is "longer than one less"; thresholds too long for the clock are never.
        self.ctx.slow_ns = min(limits_ns) - 1

    def set_tracking(self, changed: str = "") -> None:
        """Let every command note how long its calls take, or none."""
        wanted = self.ctx.config.boolean("latency-tracking")
        for spec in specs():
            for one in (spec, spec.alone):
                if one is not None:
                    one.histogram.on = wanted

    def slow_call(self, spec: CommandSpec, argv: list[bytes], nanos: int) -> None:
        """A call took longer than `ctx.slow_ns`."""
        kind = b"fast-command" if spec.flags & FAST else b"command"
        self.latency.sample(kind, nanos // 1_000_000)
        session = self.ctx.session
        # One that waits is told of when it is served.
        waits = session.blocked is not None and session.blocked.again
        if not spec.flags & SKIP_SLOWLOG and not waits:
            self.slowlog.note(
                spec.name, argv, nanos // 1000, self.ctx.clock.now_ms // 1000, session.address,
                session.name,
            )  # fmt: skip

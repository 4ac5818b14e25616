"""SLOWLOG and LATENCY: what took long.

What is kept and for how long is the engine's (engine/slowlog.py, engine/latency.py, and the
histogram of each command); here are the shapes of replies. The report of LATENCY DOCTOR is in our
own words: it names the kinds of spikes seen, how many and how bad, and what can be done about each.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.node.commands.client import EVERYWHERE, write_help, wrong_form
from isthmus.node.engine.args import bounded
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.latency import Series, graph
from isthmus.node.engine.registry import (
    ARRAY,
    BULK,
    INTEGER,
    MAP,
    OK,
    command,
    container,
    find,
    specs,
)
from isthmus.node.engine.spec import ADMIN, LOADING, NOSCRIPT, STALE, CommandSpec
from isthmus.wire.scalars import INT64_MAX

SLOW = ADMIN | LOADING | STALE
COMMON = ADMIN | NOSCRIPT | LOADING | STALE
MERGED = "NONDETERMINISTIC_OUTPUT,REQUEST_POLICY:ALL_NODES,RESPONSE_POLICY:SPECIAL"
DEFAULT_ENTRIES = 10

SLOWLOG_HELP = (
    b"SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET [<count>]",
    b"    The newest <count> entries (default: 10; -1: all), each with its number, its Unix",
    b"    time, microseconds taken, arguments, and the address and name of the client.",
    b"LEN",
    b"    How many entries there are.",
    b"RESET",
    b"    Forget all entries.",
    b"HELP",
    b"    This text.",
)
LATENCY_HELP = (
    b"LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"DOCTOR",
    b"    A report on the spikes seen, for people.",
    b"GRAPH <event>",
    b"    The spikes of one kind as a drawing.",
    b"HISTOGRAM [<command> ...]",
    b"    How many calls took at most so many microseconds, of each command or of those named.",
    b"HISTORY <event>",
    b"    Times and lengths of the spikes of one kind.",
    b"LATEST",
    b"    The latest spike of each kind.",
    b"RESET [<event> ...]",
    b"    Forget the spikes of some kinds, or of all.",
    b"HELP",
    b"    This text.",
)
ADVICE = {
    b"command": b"SLOWLOG GET shows which calls were slow; prefer commands that touch few elements "
    b"(SCAN for KEYS, ranges for whole collections).",
    b"fast-command": b"Commands that are always short were slow, so something else held the "
    b"process up: look for CPU starvation, swapping or a paused virtual machine.",
    b"expire-cycle": b"Many keys expire at the same time: spread their times to live.",
    b"eviction-cycle": b"Memory is at its limit under heavy writing: raise maxmemory, or write "
    b"less at a time.",
    b"eviction-del": b"Large values are evicted: split them into smaller ones.",
}

container("SLOWLOG", since="2.2.12", group="server")
container("LATENCY", since="2.8.13", group="server")


@command("SLOWLOG GET [count]", since="2.2.12", group="server", flags=SLOW, reply=ARRAY,
         complexity="O(N) where N is the number of entries returned",
         tips="REQUEST_POLICY:ALL_NODES,NONDETERMINISTIC_OUTPUT")  # fmt: skip
def slowlog_get(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the newest entries of the slow log."""
    count = DEFAULT_ENTRIES
    if len(argv) > 3:
        raise wrong_form(argv)
    if len(argv) == 3:
        error = b"ERR count should be greater than or equal to -1"
        count = bounded(argv[2], -1, INT64_MAX, error)
    reply = ctx.reply
    entries = ctx.node.slowlog.newest(count)
    reply.array(len(entries))
    for entry in entries:
        reply.array(6)
        reply.integer(entry.id)
        reply.integer(entry.at_s)
        reply.integer(entry.micros)
        reply.array(len(entry.argv))
        for arg in entry.argv:
            reply.bulk(arg)
        reply.bulk(entry.address)
        reply.bulk(entry.name)


@command("SLOWLOG LEN", since="2.2.12", group="server", flags=SLOW, complexity="O(1)",
         reply=INTEGER, tips="REQUEST_POLICY:ALL_NODES,RESPONSE_POLICY:AGG_SUM,"
                             "NONDETERMINISTIC_OUTPUT")  # fmt: skip
def slowlog_len(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of entries in the slow log."""
    ctx.reply.integer(len(ctx.node.slowlog))


@command("SLOWLOG RESET", since="2.2.12", group="server", flags=SLOW, reply=OK, tips=EVERYWHERE,
         complexity="O(N) where N is the number of entries in the slowlog")  # fmt: skip
def slowlog_reset(ctx: Context, argv: list[bytes]) -> None:
    """Forget every entry of the slow log."""
    ctx.node.slowlog.reset()
    ctx.reply.ok()


@command("SLOWLOG HELP", since="6.2.0", group="server", flags=LOADING | STALE, complexity="O(1)",
         reply=ARRAY)  # fmt: skip
def slowlog_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of SLOWLOG."""
    write_help(ctx, SLOWLOG_HELP)


@command("LATENCY LATEST", since="2.8.13", group="server", flags=COMMON, complexity="O(1)",
         reply=ARRAY, tips=MERGED)  # fmt: skip
def latency_latest(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the latest and the worst spike of each kind of event."""
    series = ctx.node.latency.series
    ctx.reply.array(len(series))
    for event, one in series.items():
        ctx.reply.array(4)
        ctx.reply.bulk(event)
        ctx.reply.integer(one.samples[-1][0])
        ctx.reply.integer(one.samples[-1][1])
        ctx.reply.integer(one.worst_ms)


@command("LATENCY HISTORY event", since="2.8.13", group="server", flags=COMMON, complexity="O(1)",
         reply=ARRAY, tips=MERGED)  # fmt: skip
def latency_history(ctx: Context, argv: list[bytes]) -> None:
    """Reply with times and lengths of the spikes of one kind of event."""
    one: Series | None = ctx.node.latency.series.get(argv[2])
    samples = one.samples if one is not None else []
    ctx.reply.array(len(samples))
    for at_s, ms in samples:
        ctx.reply.array(2)
        ctx.reply.integer(at_s)
        ctx.reply.integer(ms)


@command("LATENCY RESET [event [event ...]]", since="2.8.13", group="server", flags=COMMON,
         complexity="O(1)", reply=INTEGER,
         tips="REQUEST_POLICY:ALL_NODES,RESPONSE_POLICY:AGG_SUM")  # fmt: skip
def latency_reset(ctx: Context, argv: list[bytes]) -> None:
    """Forget the spikes of some kinds of events, or of all."""
    ctx.reply.integer(ctx.node.latency.reset(argv[2:]))


@command("LATENCY GRAPH event", since="2.8.13", group="server", flags=COMMON, complexity="O(1)",
         reply=BULK, tips=MERGED)  # fmt: skip
def latency_graph(ctx: Context, argv: list[bytes]) -> None:
    """Reply with a drawing of the spikes of one kind of event."""
    one: Series | None = ctx.node.latency.series.get(argv[2])
    if one is None:
        raise RedisError(b"ERR No samples available for event '" + argv[2] + b"'")
    ctx.reply.verbatim(b"txt", graph(argv[2], one, ctx.now_ms // 1000))


@command("LATENCY DOCTOR", since="2.8.13", group="server", flags=COMMON, complexity="O(1)",
         reply=BULK, tips=MERGED)  # fmt: skip
def latency_doctor(ctx: Context, argv: list[bytes]) -> None:
    """Reply with a report on the spikes seen."""
    ctx.reply.verbatim(b"txt", diagnosis(ctx))


def diagnosis(ctx: Context) -> bytes:
    """What LATENCY DOCTOR says."""
    threshold = ctx.config.integer("latency-monitor-threshold")
    series: dict[bytes, Series] = ctx.node.latency.series
    if not threshold:
        return (
            b"Latency monitoring is off, so there is nothing to report. Turn it on with "
            b"CONFIG SET latency-monitor-threshold <milliseconds>.\n"
        )
    if not series:
        return b"No event took %d milliseconds or longer since the last reset.\n" % threshold
    lines = [b"Spikes of %d milliseconds and longer:" % threshold, b""]
    for number, (event, one) in enumerate(series.items(), 1):
        heights = [ms for _, ms in one.samples]
        mean = sum(heights) / len(heights)
        spread = sum(abs(ms - mean) for ms in heights) / len(heights)
        period = (ctx.now_ms / 1000 - one.samples[0][0]) / len(heights)
        lines.append(
            b"%d. %s: %d spikes, mean %d ms, mean deviation %d ms, one in %.2f s; worst ever %d ms."
            % (number, event, len(heights), mean, spread, max(0.0, period), one.worst_ms)
        )
    lines += [b"", b"What to do:", b""]
    lines += [b"- " + ADVICE[event] for event in series if event in ADVICE]
    return b"\n".join(lines) + b"\n"


def with_calls(names: list[bytes]) -> Iterable[CommandSpec]:
    """The commands to show: all, or those named; a container stands for its sub-commands."""
    chosen: dict[int, CommandSpec] = {}
    if not names:
        chosen = {id(one): one for spec in specs() for one in (spec, spec.alone) if one is not None}
    for name in names:
        parent, _, sub = name.lower().partition(b"|")
        found = find([parent, sub] if sub else [parent])
        if found is None:
            continue
        below = () if sub else find_container(parent)
        for one in (found, *below):
            chosen[id(one)] = one
    return [spec for spec in chosen.values() if spec.histogram.total]


def find_container(name: bytes) -> list[CommandSpec]:
    """The sub-commands of a container, each once; none if `name` is no container."""
    return [spec for spec in specs() if spec.parent is not None and spec.parent.name == name]


@command("LATENCY HISTOGRAM [command [command ...]]", since="7.0.0", group="server", flags=COMMON,
         complexity="O(N) where N is the number of commands with latency information being "
                    "retrieved.", reply=MAP, tips=MERGED)  # fmt: skip
def latency_histogram(ctx: Context, argv: list[bytes]) -> None:
    """Reply with how many calls of each command took at most so many microseconds."""
    reply = ctx.reply
    chosen = list(with_calls(argv[2:]))
    reply.map(len(chosen))
    for spec in chosen:
        reply.bulk(spec.name)
        reply.map(2)
        reply.bulk(b"calls")
        reply.integer(spec.histogram.total)
        reply.bulk(b"histogram_usec")
        levels = spec.histogram.levels()
        reply.map(len(levels))
        for micros, calls in levels:
            reply.integer(micros)
            reply.integer(calls)


@command("LATENCY HELP", since="2.8.13", group="server", flags=LOADING | STALE, complexity="O(1)",
         reply=ARRAY)  # fmt: skip
def latency_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of LATENCY."""
    write_help(ctx, LATENCY_HELP)

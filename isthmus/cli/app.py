"""The commands for people: up, down, status, version; and the roles' entries in the help.

Every failure a user can meet is one clear sentence on standard error and an exit status: 2 for a
command line that cannot be done, 1 for a world that does not allow it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.console import Console

from isthmus import __version__
from isthmus.cli import (
    check_aof,
    data,
    durability,
    failover,
    inquiry,
    local,
    migration,
    persistence,
    plan,
    process,
    quarantine,
    scale,
    screen,
    supervise,
)
from isthmus.cli.plan import Options
from isthmus.cli.target import AsJson, CoordinatorAddress, DataDir, coordinator_of, fail, state_of
from isthmus.wire.durability import DurabilityError
from isthmus.wire.durability import parse as parse_durability
from isthmus.wire.policy import PolicyError, parse

SHARDS = 3
DOWN_SECONDS_MAX = supervise.NODE_STOP_SECONDS_MAX + 2 * supervise.STOP_SECONDS_MAX

app = typer.Typer(
    name="isthmus",
    help="A self-hosted, Redis-compatible, clustered in-memory store.",
    epilog="Start here: [bold]isthmus up[/bold], then redis-cli -p 10000. "
    "One node alone: [bold]isthmus node --standalone --port 6379[/bold].",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


app.add_typer(check_aof.group)
app.add_typer(persistence.group)
app.add_typer(durability.group)
app.add_typer(quarantine.group)


Shards = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Shards: one primary node each (isthmus scale changes their number).",
        show_default="3 for a new cluster, else as it was",
    ),
]
Spares = Annotated[int, typer.Option(metavar="N", help="Nodes more than the shards need.")]
Replicas = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Replicas of each shard, in other zones than its primary.",
        show_default="0 for a new cluster, else as it was",
    ),
]
Persistence = Annotated[
    str | None,
    typer.Option(
        "--persistence",
        metavar="POLICY",
        help="What nodes keep on disk: off, rdb:PERIOD (such as rdb:6h), aof:everysec or "
        "aof:always.",
        show_default=f"{plan.PERSISTENCE} for a new cluster, else as it was",
    ),
]
DurabilityText = Annotated[
    str | None,
    typer.Option(
        "--durability",
        metavar="POLICY",
        help="When writes are acknowledged: async, replica or fsync (isthmus durability).",
        show_default="async for a new cluster, else as it was",
    ),
]


@app.command(
    epilog="Examples:\n\n"
    "  isthmus up\n\n"
    "  isthmus up --shards 6 --zones a,b,c --proxies 2\n\n"
    "  isthmus up --replicas 1 --durability replica\n\n"
    "  isthmus up --persistence aof:always\n\n"
    "  isthmus up --port 11000 --node-port 9500 --coordinator-port 10400 --data-dir /tmp/second\n\n"
    "  isthmus up --detach; isthmus status; isthmus down"
)
def up(
    data_dir: DataDir,
    shards: Shards = None,
    replicas: Replicas = None,
    spares: Spares = 0,
    zones: Annotated[
        str, typer.Option(metavar="A,B", help="Zones that nodes are spread over, in turn.")
    ] = "a,b,c",
    port: Annotated[
        int, typer.Option(metavar="P", help="The proxy's port: what clients connect to.")
    ] = 10000,
    proxies: Annotated[
        int, typer.Option(metavar="N", help="Proxies, on ports from --port up.")
    ] = 1,
    node_port: Annotated[
        int, typer.Option(metavar="P", help="The first node's port; the others follow it.")
    ] = 8500,
    coordinator_port: Annotated[
        int, typer.Option(metavar="P", help="The coordinator's port.")
    ] = 9400,
    region: Annotated[str, typer.Option(metavar="NAME", help="This region's name.")] = "local",
    policy: Persistence = None,
    durability_policy: DurabilityText = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once it serves; isthmus down stops it.")
    ] = False,
) -> None:
    """Start a cluster on this machine: a coordinator, nodes and proxies.

    Runs in the foreground, starts again what fails, and stops everything on Ctrl-C.
    """
    data_dir = data_dir.expanduser().absolute()
    shards = shards or local.shards_kept(data_dir) or SHARDS
    replicas = local.replicas_kept(data_dir) if replicas is None else replicas
    # What any node has kept must not be left out.
    beyond = local.nodes_kept(data_dir) - shards * (1 + replicas)
    options = Options(
        shards=shards,
        replicas=replicas,
        spares=max(spares, beyond) if local.shards_kept(data_dir) == shards else spares,
        zones=tuple(zone.strip() for zone in zones.split(",")),
        port=port,
        node_port=node_port,
        coordinator_port=coordinator_port,
        proxies=proxies,
        region=region,
        data_dir=data_dir,
        persistence=_policy(policy),
        durability=_durability(durability_policy),
    )
    try:
        specs = plan.make(options)
    except plan.BadPlan as error:
        raise fail(str(error), 2) from error
    try:
        with local.locked(options.data_dir):
            _check_directory(options)
            _check_ports(specs)
            if not detach:
                _serve(options, specs)
    except local.InUse as error:
        raise fail(_in_use(options.data_dir)) from error
    except OSError as error:
        raise fail(f"cannot use {options.data_dir}: {error.strerror}") from error
    if detach:
        _detach(options)


def _policy(text: str | None) -> str | None:
    try:
        return None if text is None else str(parse(text))
    except PolicyError as error:
        raise fail(f"--persistence: {error}", 2) from error


def _durability(text: str | None) -> str | None:
    try:
        return None if text is None else str(parse_durability(text))
    except DurabilityError as error:
        raise fail(f"--durability: {error}", 2) from error


def _serve(options: Options, specs: list[plan.Spec]) -> None:
    watcher = screen.Screen(options)
    try:
        trio.run(supervise.Supervisor(options, specs, watcher).run)
    except supervise.NotStarted as error:
        raise fail(str(error)) from error
    finally:
        watcher.done()


def _check_directory(options: Options) -> None:
    """Refuse a directory whose cluster has another shape, or that still runs without a parent."""
    found = state_of(options.data_dir)
    survivors = found.running() if found else []
    if survivors:
        pids = ", ".join(str(noted.pid) for noted in survivors)
        raise fail(
            f"an earlier cluster in {options.data_dir} left processes behind ({pids}); "
            f"isthmus down --data-dir {options.data_dir} ends them"
        )
    kept = local.shards_kept(options.data_dir)
    if kept and kept != options.shards:
        raise fail(
            f"{options.data_dir} holds a cluster of {kept} shards: start it as it is, without "
            f"--shards, and change their number with isthmus scale --shards {options.shards}; or "
            "use another --data-dir, or delete that directory",
            2,
        )
    local.note_shape(options.data_dir, options.shards, options.replicas)


def _check_ports(specs: list[plan.Spec]) -> None:
    for spec in specs:
        trouble = process.port_in_use(plan.HOST, spec.port)
        if trouble:
            raise fail(
                f"port {spec.port}, wanted for {spec.name}, {trouble}; "
                f"stop that, or choose another with {spec.option}"
            )


def _in_use(data_dir: Path) -> str:
    found = state_of(data_dir)
    who = f" (process {found.supervisor.pid})" if found else ""
    return (
        f"a cluster already runs in {data_dir}{who}: isthmus down --data-dir {data_dir} stops it, "
        "another --data-dir makes a second one"
    )


def _detach(options: Options) -> None:
    """Run ``isthmus up`` without ``--detach`` in a session of its own; return when it serves."""
    logs = options.data_dir / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / "up.log"
    log.write_bytes(b"")
    child = process.start_detached(
        [
            *("up", "--data-dir", str(options.data_dir), "--shards", str(options.shards)),
            *("--replicas", str(options.replicas), "--spares", str(options.spares)),
            *(("--durability", options.durability) if options.durability else ()),
            *("--zones", ",".join(options.zones), "--proxies", str(options.proxies)),
            *("--port", str(options.port), "--node-port", str(options.node_port)),
            *("--coordinator-port", str(options.coordinator_port), "--region", options.region),
            *(("--persistence", options.persistence) if options.persistence else ()),
        ],
        log,
    )
    watcher = screen.Screen(options)
    try:
        status = _await_detached(options, child, log, watcher)
    except KeyboardInterrupt:
        watcher.done()
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    watcher.done()
    watcher.out.print(screen.table(status))
    screen.welcome(watcher.out, options, status, foreground=False)


def _await_detached(
    options: Options, child: subprocess.Popen[bytes], log: Path, watcher: screen.Screen
) -> dict[str, object]:
    # The child knows how long it may take: it ends if the cluster does not become ready.
    while True:
        if child.poll() is not None:
            watcher.done()
            for line in process.last_lines(log, 20):
                watcher.err.print(line, markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(child.returncode if child.returncode > 0 else 1)
        found = state_of(options.data_dir)
        if found and found.ready and found.supervisor.pid == child.pid:
            try:
                return trio.run(inquiry.status, found.coordinator)
            except inquiry.Unanswered as error:
                raise fail(str(error)) from error
        watcher.progress("starting in the background")
        time.sleep(supervise.POLL_SECONDS)


@app.command(epilog="Examples:\n\n  isthmus down\n\n  isthmus down --data-dir /tmp/second")
def down(data_dir: DataDir) -> None:
    """Stop the cluster that [bold]isthmus up[/bold] started in DIR."""
    data_dir = data_dir.expanduser().absolute()
    found = state_of(data_dir)
    running = found.running() if found else []
    if found is None or not running:
        if found:
            local.remove(data_dir)
        raise fail(f"no cluster runs in {data_dir}")
    # The supervisor ends its children; should it be gone, they are ended one by one.
    first = running[:1] if running[0].role == "supervisor" else running
    _end(first, signal.SIGTERM, DOWN_SECONDS_MAX)
    left = found.running()
    _end(left, signal.SIGTERM, supervise.STOP_SECONDS_MAX)
    _end(found.running(), signal.SIGKILL, supervise.STOP_SECONDS_MAX)
    left = found.running()
    if left:
        raise fail("still running: " + ", ".join(f"{n.name} (pid {n.pid})" for n in left))
    local.remove(data_dir)
    Console().print(
        f"stopped {len(found.processes)} processes of the cluster in {data_dir}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _end(whom: list[local.Noted], number: signal.Signals, seconds: float) -> None:
    for noted in whom:
        process.signal_ours(noted.pid, noted.started, number)

    async def gone() -> None:
        with trio.move_on_after(seconds):
            for noted in whom:
                while process.is_ours(noted.pid, noted.started):
                    await process.ended(noted.pid)
                    await trio.sleep(0.01)

    trio.run(gone)


@app.command(
    epilog="Examples:\n\n"
    "  isthmus status\n\n"
    "  isthmus status --json | python3 -m json.tool\n\n"
    "  isthmus status --coordinator 127.0.0.1:9400\n\n"
    "  isthmus status --coordinator 10.0.0.1:9400,10.0.0.2:9400"
)
def status(
    data_dir: DataDir,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Show every process of a cluster: role, zone, shard, epoch, slots, lag, what is kept."""
    try:
        answer = trio.run(inquiry.status, coordinator_of(data_dir, coordinator))
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    if as_json:
        json.dump(answer, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    console = screen.output()
    console.print(screen.table(answer))
    console.print(
        f"\nregion {answer.get('region')}, epoch {answer.get('epoch')}, "
        f"cluster {answer.get('state')}, persistence {answer.get('persistence')}"
        + (f", durability {answer.get('durability')}" if answer.get("replicas_wanted") else "")
        + "\n",
        markup=False,
        highlight=False,
    )
    if scale.pending(answer):
        console.print(scale.pending(answer), markup=False, highlight=False)
    warnings = answer.get("warnings")
    for text in warnings if isinstance(warnings, list) else ():
        console.print(f"warning: {text}", style="yellow", markup=False, highlight=False)
    console.print(screen.disks(answer))
    if answer.get("standby"):
        leader = answer.get("leader") or "nobody"
        problem = answer.get("problem") or "this may be a little old"
        console.print(
            f"\ntold by a coordinator that stands by; {leader} leads: {problem}",
            markup=False,
            highlight=False,
        )


app.command("scale", epilog=scale.SCALE_EXAMPLES)(scale.scale)
app.command("rebalance", epilog=scale.REBALANCE_EXAMPLES)(scale.rebalance)
app.command("drain", epilog=scale.DRAIN_EXAMPLES)(scale.drain)
app.command("failover", epilog=failover.FAILOVER_EXAMPLES)(failover.failover)
app.command(epilog=failover.WHATIF_EXAMPLES)(failover.whatif)
app.command(epilog=data.EXPORT_EXAMPLES)(data.export)
app.command("import", epilog=data.IMPORTING_EXAMPLES)(data.import_)
app.command("migrate-from", epilog=migration.MIGRATING_EXAMPLES)(migration.migrate_from)
app.command(epilog=data.RDB_SHOW_EXAMPLES)(data.rdb)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"isthmus {__version__}")


def _role(name: str, text: str) -> None:
    """A role's line in the help; the entry hands its arguments over before typer sees them."""

    @app.command(name, help=text, rich_help_panel="Servers", add_help_option=False)
    def run_role() -> None:
        from isthmus.cli.main import main

        raise typer.Exit(main([name, *sys.argv[2:]]))


_role("node", "Run one node: --standalone, or as a member of a cluster.")
_role("proxy", "Run one proxy: a single endpoint before a cluster.")
_role("coordinator", "Run the coordinator of one region.")


def run(arguments: list[str]) -> int:
    """Run one command for people; returns the exit status."""
    if arguments == ["--version"]:
        arguments = ["version"]
    try:
        app(args=arguments, prog_name="isthmus")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0

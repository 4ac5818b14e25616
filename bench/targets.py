"""How the four servers are started (io).

- our node, standalone, or whatever ``--node`` names, or a running one (``--node-port``);
- redis-server without persistence, or whatever ``--peer`` names;
- our proxy in front of our own nodes, started by ``isthmus up``;
- nutcracker in front of as many redis-servers.

Only the proxy's process is measured in the last two. Each has the kind of backend it is made for:
ours speaks a framed link that only our nodes understand, nutcracker speaks RESP to redis-servers.
"""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.process import (
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    BenchError,
    Raw,
    Server,
    free_port,
    last_lines,
    start,
    stop,
    wait_ready,
)

ISTHMUS = f"{shlex.quote(sys.executable)} -m isthmus.cli.main"
# DEBUG is for `stalls`, which asks for the longest turn of the loop.
NODE = ISTHMUS + " node --standalone --port {port} --metrics-port 0 --enable-debug-command local"
REDIS = "redis-server --port {port} --save '' --appendonly no --bind 127.0.0.1"
REDIS_BARE = "redis-server --port {port} --appendonly no --bind 127.0.0.1"
NUTCRACKER = "nutcracker --conf-file {conf} --stats-port {stats} --mbuf-size 16384 --verbose 4"


def start_server(name: str, command: str, directory: Path) -> Server:
    """Start a single server from a command line that holds ``{port}``."""
    if "{port}" not in command:
        raise BenchError(f"the command for {name} must hold {{port}}: {command}")
    port = free_port()
    log = directory / f"{name}-{port}.log"
    child = start(shlex.split(command.replace("{port}", str(port))), log)
    try:
        wait_ready(port, child, name, log)
    except BenchError:
        stop(child)
        raise
    return Server(name, port, child.pid, [child])


def attach(name: str, port: int) -> Server:
    """A server that runs already: its process is asked for with INFO."""
    try:
        with Raw(port) as raw:
            info = raw.call(b"INFO", b"server")
    except OSError as error:
        raise BenchError(f"nothing answers on port {port}: {error}") from error
    if isinstance(info, bytes):
        for line in info.decode().splitlines():
            if line.startswith("process_id:"):
                return Server(name, port, int(line.partition(":")[2]))
    raise BenchError(f"INFO of the server on port {port} names no process_id")


def start_nutcracker(shards: int, directory: Path) -> Server:
    """nutcracker in front of ``shards`` redis-servers on loopback."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        backends = []
        for _ in range(shards):
            backend = start_server("backend", REDIS, directory)
            children += backend.children
            backends.append(f"   - 127.0.0.1:{backend.port}:1\n")
        port = free_port()
        conf = directory / "nutcracker.yml"
        conf.write_text(
            f"bench:\n  listen: 127.0.0.1:{port}\n  hash: crc16\n  distribution: ketama\n"
            "  redis: true\n  preconnect: true\n  servers:\n" + "".join(backends)
        )
        log = directory / "nutcracker.log"
        command = NUTCRACKER.format(conf=shlex.quote(str(conf)), stats=free_port())
        child = start(shlex.split(command), log)
        children.append(child)
        wait_ready(port, child, "nutcracker", log)
    except BenchError:
        Server("", 0, 0, children).stop()
        raise
    return Server("nutcracker", port, child.pid, children)


def start_proxy(shards: int, directory: Path) -> Server:
    """Our proxy in front of ``shards`` of our nodes, as ``isthmus up`` starts them."""
    data = directory / "cluster"
    port, node_port, coordinator_port = free_port(), _free_range(shards), free_port()
    log = directory / "up.log"
    child = start(
        [
            *shlex.split(ISTHMUS),
            *("up", "--shards", str(shards), "--port", str(port), "--data-dir", str(data)),
            *("--node-port", str(node_port), "--coordinator-port", str(coordinator_port)),
        ],
        log,
    )
    try:
        wait_ready(port, child, "isthmus up", log)
        pid = _proxy_pid(data / "cluster.json", child, log)
    except BenchError:
        _interrupt(child)
        raise
    return Server("isthmus proxy", port, pid, [child])


def _proxy_pid(state: Path, child: subprocess.Popen[bytes], log: Path) -> int:
    """The proxy's pid, once ``isthmus up`` says that every slot is served."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and child.poll() is None:
        if state.exists():
            cluster = json.loads(state.read_text())
            pids = [p["pid"] for p in cluster["processes"] if p["role"] == "proxy"]
            if cluster.get("ready") and pids:
                return int(pids[0])
        time.sleep(0.1)
    raise BenchError(f"isthmus up did not get ready:\n{last_lines(log)}")


def _free_range(count: int) -> int:
    """The first of ``count`` neighbouring ports that are free now."""
    for _ in range(50):
        first = free_port()
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first
    raise BenchError(f"no {count} neighbouring ports are free")


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            stop(child)

"""CLUSTER commands: exact replies from a view, and the same shapes and errors as a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from isthmus.node.cluster.view import ClusterView
from isthmus.node.commands import load_all
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.execute import execute
from isthmus.node.engine.node import Node
from isthmus.node.engine.rng import Rng
from isthmus.wire.slots import key_slot
from tests.cluster.test_view import A, B, D, topology
from tests.support import ports, servers

load_all()


class Client:
    """A node without sockets, and one client of it."""

    def __init__(self, view: ClusterView | None, protocol: int = 2) -> None:
        self.node = Node(Clock(manual_ms=1000), Rng(1), Config(), "f" * 40)
        if view is not None:
            self.node.use_cluster(view)
        self.session = self.node.new_client()
        self.node.ctx.reply.protocol = protocol

    def __call__(self, *argv: str) -> bytes:
        execute(self.node.ctx, self.session, [word.encode() for word in argv])
        return self.node.ctx.reply.take()


@pytest.fixture
def client() -> Client:
    view = ClusterView(A)
    view.apply(topology())
    return Client(view)


@pytest.fixture
def client3() -> Client:
    view = ClusterView(A)
    view.apply(topology())
    return Client(view, protocol=3)


def test_myid_and_shard(client: Client) -> None:
    assert client("CLUSTER", "MYID") == b"$40\r\n" + A.encode() + b"\r\n"
    assert client("cluster", "myshardid") == b"$40\r\n" + b"0" * 40 + b"\r\n"


def test_a_spare_is_a_shard_of_its_own() -> None:
    view = ClusterView(D)
    view.apply(topology())
    assert Client(view)("CLUSTER", "MYSHARDID") == b"$40\r\n" + D.encode() + b"\r\n"


def test_info_is_verbatim_text(client: Client, client3: Client) -> None:
    text = client("CLUSTER", "INFO")
    assert text.startswith(b"$") and b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\n" in text
    assert client3("CLUSTER", "INFO").split(b"\r\n", 1)[1].startswith(b"txt:cluster_state:ok\r\n")


def test_slots(client: Client, client3: Client) -> None:
    rows = client3("CLUSTER", "SLOTS")
    one = b"*3\r\n:%d\r\n:%d\r\n*4\r\n$8\r\n10.0.0.%d\r\n:850%d\r\n$40\r\n%s\r\n%%0\r\n"
    assert rows == b"*4\r\n" + b"".join(
        one % (first, last, n, n, node.encode())
        for first, last, n, node in ((0, 99, 1, A), (100, 100, 2, B), (101, 8191, 1, A),
                                     (8192, 16383, 2, B))
    )  # fmt: skip
    assert client("CLUSTER", "SLOTS") == rows.replace(b"%0", b"*0")


def test_shards(client: Client, client3: Client) -> None:
    said = client3("CLUSTER", "SHARDS")
    assert said.startswith(
        b"*3\r\n%2\r\n$5\r\nslots\r\n*4\r\n:0\r\n:99\r\n:101\r\n:8191\r\n"
        b"$5\r\nnodes\r\n*1\r\n%7\r\n"
        b"$2\r\nid\r\n$40\r\n" + A.encode() + b"\r\n$4\r\nport\r\n:8501\r\n$2\r\nip\r\n$8\r\n"
        b"10.0.0.1\r\n$8\r\nendpoint\r\n$8\r\n10.0.0.1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
        b"$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"
    )
    assert client("CLUSTER", "SHARDS") == said.replace(b"%2", b"*4").replace(b"%7", b"*14")


def test_keys_in_slot(client: Client) -> None:
    db = client.node.keyspace.databases[0]
    keys = [f"{{tag}}{n}" for n in range(100)]
    for key in keys:
        db.store(key.encode(), b"v")
    slot = str(key_slot(b"tag"))
    assert client("CLUSTER", "KEYSLOT", "{tag}x") == f":{slot}\r\n".encode()
    assert client("CLUSTER", "COUNTKEYSINSLOT", slot) == b":100\r\n"
    assert client("CLUSTER", "COUNTKEYSINSLOT", "0") == b":0\r\n"
    some = client("CLUSTER", "GETKEYSINSLOT", slot, "3")
    assert some.startswith(b"*3\r\n")
    every = client("CLUSTER", "GETKEYSINSLOT", slot, "1000").split(b"\r\n")
    assert sorted(every[2::2]) == sorted(key.encode() for key in keys)
    assert client("CLUSTER", "GETKEYSINSLOT", slot, "0") == b"*0\r\n"


def test_replicas_and_failure_reports(client: Client) -> None:
    assert client("CLUSTER", "REPLICAS", B) == b"*0\r\n"
    assert client("CLUSTER", "SLAVES", D) == b"*0\r\n"
    assert client("CLUSTER", "COUNT-FAILURE-REPORTS", B) == b":0\r\n"
    client.node.cluster.apply(topology(4, dead=B))
    assert client("CLUSTER", "COUNT-FAILURE-REPORTS", B) == b":1\r\n"


def test_replicas_are_listed_with_their_primary() -> None:
    shards = [{**topology()["shards"][0], "replicas": [D], "synced": [D]},
              topology()["shards"][1]]  # fmt: skip
    nodes = [{**node, "shard": 0} if node["id"] == D else node for node in topology()["nodes"]]
    view = ClusterView(A)
    view.apply(topology(5, shards=shards, nodes=nodes))
    client = Client(view)
    line = f"{D} 10.0.0.3:8503@9503 slave {A} 0 0 2 connected".encode()
    assert client("CLUSTER", "REPLICAS", A) == b"*1\r\n$%d\r\n%s\r\n" % (len(line), line)
    assert client("CLUSTER", "REPLICAS", D) == b"-ERR The specified node is not a master\r\n"
    assert client("CLUSTER", "SLOTS").startswith(b"*4\r\n*4\r\n:0\r\n:99\r\n*4\r\n")
    assert b"replica" in client("CLUSTER", "SHARDS")


def test_switches_of_a_connection(client: Client) -> None:
    assert client("READONLY") == b"+OK\r\n" and client.session.readonly
    assert client("READWRITE") == b"+OK\r\n" and not client.session.readonly
    assert client("ASKING") == b"+OK\r\n" and client.session.asking


ALONE = ["CLUSTER INFO", "CLUSTER NODES", "CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER MYID",
         "CLUSTER KEYSLOT a", "CLUSTER COUNTKEYSINSLOT 1", "CLUSTER GETKEYSINSLOT 1 1",
         "CLUSTER LINKS", "CLUSTER HELP", "READONLY", "READWRITE", "ASKING"]  # fmt: skip

WRONG = [
    "CLUSTER", "CLUSTER NOPE", "CLUSTER KEYSLOT", "CLUSTER KEYSLOT a b", "CLUSTER INFO x",
    "CLUSTER COUNTKEYSINSLOT x", "CLUSTER COUNTKEYSINSLOT 16384", "CLUSTER COUNTKEYSINSLOT -1",
    "CLUSTER COUNTKEYSINSLOT 99999999999999999999", "CLUSTER GETKEYSINSLOT x 1",
    "CLUSTER GETKEYSINSLOT 1 x", "CLUSTER GETKEYSINSLOT 1 -1", "CLUSTER GETKEYSINSLOT 16384 1",
    "CLUSTER REPLICAS xx", "CLUSTER SLAVES xx", "CLUSTER COUNT-FAILURE-REPORTS xx",
    "READONLY x", "ASKING x", "CLUSTER KEYSLOT {a}b", "CLUSTER KEYSLOT 123456789",
    "CLUSTER COUNTKEYSINSLOT 5", "CLUSTER GETKEYSINSLOT 5 10", "READONLY", "READWRITE", "ASKING",
]  # fmt: skip


@pytest.mark.parametrize("line", ALONE)
def test_a_node_that_runs_alone_has_no_cluster(line: str) -> None:
    said = Client(None)(*line.split())
    assert said == b"-ERR This instance has cluster support disabled\r\n"


class Cli:
    """redis-cli against a real server with cluster support and all slots."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, *argv: str) -> str:
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *argv],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
        return done.stdout.rstrip("\n")


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    # Its bus would listen 10000 above its port, which may be more than there are.
    bus = str(ports.free_port())
    with servers.redis_server(
        tmp_path_factory.mktemp("cluster"), ["--cluster-enabled", "yes", "--cluster-port", bus]
    ) as server:
        yield Cli(server.port)


def shown(reply: bytes) -> str:
    """A flat reply as redis-cli shows it when its output is not a terminal."""
    return "" if reply == b"*0\r\n" else reply[1:-2].decode()


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("line", WRONG)
def test_errors_and_small_replies_are_redis_own(client: Client, oracle: Cli, line: str) -> None:
    assert shown(client(*line.split())) == oracle(*line.split())


@pytest.mark.slow
@pytest.mark.oracle
def test_fields_of_info_are_redis_own(client: Client, oracle: Cli) -> None:
    theirs = [row.split(":")[0] for row in oracle("CLUSTER", "INFO").splitlines() if row]
    ours = client("CLUSTER", "INFO").decode().splitlines()[1:]
    assert [row.split(":")[0] for row in ours if row] == theirs


def test_what_the_coordinator_decides_is_refused_with_the_reason(client: Client) -> None:
    for line in ("ADDSLOTS 1", "FORGET x", "REPLICATE x", "RESET", "MEET h 1", "SETSLOT 1 STABLE",
                 "SET-CONFIG-EPOCH 3"):  # fmt: skip
        said = client("CLUSTER", *line.split())
        assert said.startswith(
            b"-ERR CLUSTER " + line.split()[0].encode() + b" is not a client's to do: "
        )
        assert b"isthmus " in said, "it names the command that does it"


def test_a_transaction_is_of_one_slot(client: Client) -> None:
    def transaction(*lines: str) -> bytes:
        assert client("MULTI") == b"+OK\r\n"
        for line in lines:
            assert client(*line.split()) == b"+QUEUED\r\n"
        return client("EXEC")

    view = client.node.ctx.cluster
    one, other = [f"{{{tag}}}" for tag in range(99) if view.mine[key_slot(b"%d" % tag)]][:2]
    crossing = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    assert transaction(f"SET {one} 1", "PING", f"SET {other} 2") == crossing
    assert transaction(f"SPUBLISH {one} x", f"GET {other}") == crossing
    assert client("GET", one) == b"$-1\r\n"
    assert client("EXEC") == b"-ERR EXEC without MULTI\r\n"
    mixed = transaction("PING", f"MSET {one} 1 {one}b 2", f"GET {one}")
    assert mixed == b"*3\r\n+PONG\r\n+OK\r\n$1\r\n1\r\n"


def test_there_is_one_database(client: Client) -> None:
    key = next(f"{tag}" for tag in range(99) if client.node.ctx.cluster.mine[key_slot(b"%d" % tag)])
    said = client("COPY", key, f"{{{key}}}", "DB", "1")
    assert said == b"-ERR Copying to another database is not allowed in cluster mode\r\n"
    assert client("COPY", key, f"{{{key}}}", "DB", "0") == b":0\r\n"
    for index in ("-1", "16"):
        said = client("COPY", key, f"{{{key}}}", "DB", index)
        assert said == b"-ERR DB index is out of range\r\n"


def test_who_says_readonly_reads_from_a_replica() -> None:
    shards, nodes = topology()["shards"], topology()["nodes"]
    shards[1]["replicas"] = [D]
    nodes[2]["shard"] = 1
    view = ClusterView(D)
    view.apply(topology(shards=shards, nodes=nodes))
    client = Client(view)
    key = next(name for name in map(str, range(99)) if key_slot(name.encode()) > 8191)
    other = next(name for name in map(str, range(99)) if key_slot(name.encode()) < 8192)
    assert client("GET", key).startswith(b"-MOVED ")
    client("READONLY")
    assert client("GET", key) == b"$-1\r\n"
    assert client("SET", key, "1").startswith(b"-MOVED ")
    assert client("GET", other).startswith(b"-MOVED ")
    client("MULTI")
    assert client("GET", key) == b"+QUEUED\r\n"
    assert client("EXEC") == b"*1\r\n$-1\r\n"
    client("READWRITE")
    assert client("GET", key).startswith(b"-MOVED ")

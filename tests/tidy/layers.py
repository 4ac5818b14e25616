"""The layer table as data: who may import whom, and which files touch the world.

This is the table of ARCHITECTURE.md in a form that a test can hold the sources against. Change both
together. A package is found by its longest matching prefix; a package that is missing here is an
error, so that nothing is added without a decision.
"""

from __future__ import annotations

from dataclasses import dataclass

ENGINE = "isthmus.node.engine"
VALUES = "isthmus.node.values"
COMMANDS = "isthmus.node.commands"
WIRE = "isthmus.wire"
SPEC = "isthmus.node.spec"
SNAPSHOT_FORMAT = "isthmus.node.persist.snapshot_format"


@dataclass(frozen=True)
class Layer:
    """What one package may import: prefixes of ours, and third-party distributions by module."""

    ours: frozenset[str]
    others: frozenset[str] = frozenset()


def _layer(*ours: str, others: str = "") -> Layer:
    return Layer(frozenset(ours), frozenset(others.split()))


def _beside_commands(package: str, *more: str) -> Layer:
    """Sinks and their like: they see engine and values, and of each other one format only."""
    return _layer(package, ENGINE, VALUES, WIRE, SNAPSHOT_FORMAT, *more, others="trio msgpack")


ANYTHING = "isthmus"

LAYERS: dict[str, Layer] = {
    "isthmus": _layer("isthmus.build"),
    "isthmus.crdt": _layer("isthmus.crdt"),
    WIRE: _layer(WIRE, others="trio anycrc hiredis msgpack prometheus_client"),
    ENGINE: _layer(ENGINE, WIRE),
    # Values write themselves into the reply from their packed form, hence wire.
    VALUES: _layer(VALUES, ENGINE, WIRE),
    # Numbers and slots are arithmetic, the reply writer is a type; a command sees no bytes of the
    # wire.
    COMMANDS: _layer(
        COMMANDS,
        ENGINE,
        VALUES,
        "isthmus.wire.digits",
        "isthmus.wire.long_double",
        "isthmus.wire.reply",
        "isthmus.wire.scalars",
        "isthmus.wire.slots",
    ),
    "isthmus.node": _layer(),
    SPEC: _layer(ENGINE, COMMANDS),
    **{
        package: _beside_commands(package)
        for package in (
            "isthmus.node.sinks",
            "isthmus.node.persist",
            "isthmus.node.index",
            "isthmus.node.cluster",
        )
    },
    # The stream is what an append only file holds, and a full sync is a snapshot.
    "isthmus.node.replicate": _beside_commands("isthmus.node.replicate", "isthmus.node.persist"),
    # A move of slots is a snapshot and a stream of some of the data.
    "isthmus.node.moves": _beside_commands(
        "isthmus.node.moves", "isthmus.node.persist", "isthmus.node.replicate"
    ),
    # The one place where Lua comes in.
    "isthmus.node.scripting": _layer(
        "isthmus.node.scripting", ENGINE, VALUES, WIRE, others="lupa greenlet"
    ),
    "isthmus.node.geo": _beside_commands("isthmus.node.geo", "isthmus.crdt"),
    "isthmus.node.server": _layer("isthmus.node", WIRE, others="trio prometheus_client"),
    "isthmus.proxy": _layer("isthmus.proxy", WIRE, SPEC, others="trio prometheus_client"),
    "isthmus.coordinator": _layer(
        "isthmus.coordinator", WIRE, SPEC, others="trio prometheus_client msgpack urllib3"
    ),
    "isthmus.cli": _layer(
        ANYTHING, others="trio typer click rich prometheus_client hiredis obstore"
    ),
    "isthmus.chaos": _layer(ANYTHING, others="trio"),
    "isthmus.deploy": _layer(ANYTHING),
}

# Imported by nobody but each other.
TOP = ("isthmus.cli", "isthmus.chaos", "isthmus.deploy")

# Modules through which time, chance, the network and the disk come in: for edges only.
WORLD = frozenset(
    "time random os socket select ssl threading subprocess secrets uuid datetime trio".split()
)

# The files marked (io). An entry that ends in a slash is a whole folder.
EDGES = frozenset(
    {
        "isthmus/__init__.py",
        "isthmus/wire/client.py",
        "isthmus/wire/link.py",
        "isthmus/wire/loop.py",
        "isthmus/wire/logs.py",
        "isthmus/wire/membership.py",
        "isthmus/wire/metrics_http.py",
        "isthmus/wire/pump.py",
        "isthmus/node/engine/clock.py",
        "isthmus/node/cluster/bus.py",
        "isthmus/node/cluster/identity.py",
        "isthmus/node/cluster/link.py",
        "isthmus/node/cluster/member.py",
        "isthmus/node/geo/link.py",
        "isthmus/node/moves/pull.py",
        "isthmus/node/persist/aof.py",
        "isthmus/node/persist/cut_file.py",
        "isthmus/node/persist/cut_stream.py",
        "isthmus/node/persist/persistence.py",
        "isthmus/node/persist/piece_writer.py",
        "isthmus/node/persist/policy_keeper.py",
        "isthmus/node/persist/recover.py",
        "isthmus/node/persist/snapshot.py",
        "isthmus/node/replicate/follow.py",
        "isthmus/node/replicate/full_load.py",
        "isthmus/node/replicate/full_sync.py",
        "isthmus/node/replicate/quarantine.py",
        "isthmus/node/replicate/segments.py",
        "isthmus/node/persist/writeback.py",
        "isthmus/node/server/cron.py",
        "isthmus/node/server/endpoints.py",
        "isthmus/node/server/facts.py",
        "isthmus/node/server/files.py",
        "isthmus/node/server/listener.py",
        "isthmus/node/server/main.py",
        "isthmus/node/server/mover.py",
        "isthmus/node/server/observe.py",
        "isthmus/node/server/pump.py",
        "isthmus/node/server/startup.py",
        "isthmus/node/server/surroundings.py",
        "isthmus/node/server/script_driver.py",
        "isthmus/proxy/main.py",
        "isthmus/proxy/observe.py",
        "isthmus/proxy/server.py",
        "isthmus/coordinator/api.py",
        "isthmus/coordinator/candidate.py",
        "isthmus/coordinator/main.py",
        "isthmus/coordinator/observe.py",
        "isthmus/coordinator/rpc.py",
        "isthmus/coordinator/server.py",
        "isthmus/coordinator/store/etcd.py",
        "isthmus/coordinator/store/gateway.py",
        "isthmus/coordinator/store/sqlite.py",
        "isthmus/cli/",
        "isthmus/chaos/real.py",
    }
)

# Methods of Database and Table that change what is stored, without telling the effect log.
RAW_STORAGE = frozenset({"store", "store_again", "store_keep", "drop", "set_expire", "forget_all"})
RAW_STORAGE_USERS = ("isthmus/node/engine/", "isthmus/node/values/")

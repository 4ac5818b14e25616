"""CLUSTER sub-commands that change a cluster: understood, and refused with the reason.

Who is a member, which node serves which slots and in which epoch is decided by the coordinator and
committed in its store before a node hears of it; a client that told one node otherwise would make
two truths. So these are declared (COMMAND, access lists and proxies know them, arities are
checked), a node that runs alone answers as a Redis without `cluster-enabled`, and a member says who
decides.
"""

from __future__ import annotations

from isthmus.node.commands.cluster import view_of
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import OK, command
from isthmus.node.engine.spec import ADMIN, NO_ASYNC_LOADING, NOSCRIPT, STALE

CHANGING = NO_ASYNC_LOADING | ADMIN | STALE
SLOTS_OURS = b"slots are given out by the coordinator"
MEMBERS_OURS = b"members are admitted and let go by the coordinator"
EPOCHS_OURS = b"epochs are made by the coordinator"
ROLES_OURS = b"the coordinator decides who is a primary"
SLOT_COUNT = "O(N) where N is the total number of hash slot arguments"
RANGE_COUNT = (
    "O(N) where N is the total number of the slots between the start slot and end slot arguments."
)


def refuse(ctx: Context, argv: list[bytes], why: bytes) -> None:
    """Say who decides; raises the error of a node that runs alone before that."""
    view_of(ctx)
    raise RedisError(b"ERR CLUSTER " + argv[1].upper() + b" is not a client's to do: " + why)


@command("CLUSTER ADDSLOTS slot [slot ...]", since="3.0.0", group="cluster", flags=CHANGING,
         complexity=SLOT_COUNT, reply=OK)  # fmt: skip
def cluster_addslots(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: slots are given out by the coordinator."""
    refuse(ctx, argv, SLOTS_OURS)


@command("CLUSTER ADDSLOTSRANGE start-slot end-slot [start-slot end-slot ...]", since="7.0.0",
         group="cluster", flags=CHANGING, complexity=RANGE_COUNT, reply=OK)  # fmt: skip
def cluster_addslotsrange(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: slots are given out by the coordinator."""
    refuse(ctx, argv, SLOTS_OURS)


@command("CLUSTER DELSLOTS slot [slot ...]", since="3.0.0", group="cluster", flags=CHANGING,
         complexity=SLOT_COUNT, reply=OK)  # fmt: skip
def cluster_delslots(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: slots are given out by the coordinator."""
    refuse(ctx, argv, SLOTS_OURS)


@command("CLUSTER DELSLOTSRANGE start-slot end-slot [start-slot end-slot ...]", since="7.0.0",
         group="cluster", flags=CHANGING, complexity=RANGE_COUNT, reply=OK)  # fmt: skip
def cluster_delslotsrange(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: slots are given out by the coordinator."""
    refuse(ctx, argv, SLOTS_OURS)


@command("CLUSTER FLUSHSLOTS", since="3.0.0", group="cluster", flags=CHANGING, complexity="O(1)",
         reply=OK)  # fmt: skip
def cluster_flushslots(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: slots are given out by the coordinator."""
    refuse(ctx, argv, SLOTS_OURS)


@command("CLUSTER SETSLOT slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
         since="3.0.0", group="cluster", flags=CHANGING, complexity="O(1)", arity=-4,
         reply=OK)  # fmt: skip
def cluster_setslot(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: slots are moved by the coordinator."""
    refuse(ctx, argv, SLOTS_OURS)


@command("CLUSTER MEET ip port [cluster-bus-port]", since="3.0.0", group="cluster", flags=CHANGING,
         complexity="O(1)", reply=OK)  # fmt: skip
def cluster_meet(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: members are admitted by the coordinator."""
    refuse(ctx, argv, MEMBERS_OURS)


@command("CLUSTER FORGET node-id", since="3.0.0", group="cluster", flags=CHANGING,
         complexity="O(1)", reply=OK)  # fmt: skip
def cluster_forget(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: members are let go by the coordinator."""
    refuse(ctx, argv, MEMBERS_OURS)


@command("CLUSTER RESET [HARD | SOFT]", since="3.0.0", group="cluster",
         flags=ADMIN | STALE | NOSCRIPT, reply=OK,
         complexity="O(N) where N is the number of known nodes.")  # fmt: skip
def cluster_reset(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: members are let go by the coordinator."""
    refuse(ctx, argv, MEMBERS_OURS)


@command("CLUSTER SAVECONFIG", since="3.0.0", group="cluster", flags=CHANGING, complexity="O(1)",
         reply=OK)  # fmt: skip
def cluster_saveconfig(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: the configuration of the cluster is in the coordinator's store."""
    refuse(ctx, argv, b"the configuration of the cluster is in the coordinator's store")


@command("CLUSTER BUMPEPOCH", since="3.0.0", group="cluster", flags=CHANGING, complexity="O(1)",
         reply=OK, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def cluster_bumpepoch(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: epochs are made by the coordinator."""
    refuse(ctx, argv, EPOCHS_OURS)


@command("CLUSTER SET-CONFIG-EPOCH config-epoch", since="3.0.0", group="cluster", flags=CHANGING,
         complexity="O(1)", reply=OK)  # fmt: skip
def cluster_set_config_epoch(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: epochs are made by the coordinator."""
    refuse(ctx, argv, EPOCHS_OURS)


@command("CLUSTER FAILOVER [FORCE | TAKEOVER]", since="3.0.0", group="cluster", flags=CHANGING,
         complexity="O(1)", reply=OK)  # fmt: skip
def cluster_failover(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: the coordinator decides who is a primary."""
    refuse(ctx, argv, ROLES_OURS)


@command("CLUSTER REPLICATE node-id", since="3.0.0", group="cluster", flags=CHANGING,
         complexity="O(1)", reply=OK)  # fmt: skip
def cluster_replicate(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: the coordinator decides who is a primary."""
    refuse(ctx, argv, ROLES_OURS)

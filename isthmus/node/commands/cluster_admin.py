"""CLUSTER sub-commands that change a cluster: passed on, or refused with what to do instead.

Who is a member, which node serves which slots and in which epoch is decided by the coordinator and
committed in its store before a node hears of it; a client that told one node otherwise would make
two truths. So these are declared (COMMAND, access lists and proxies know them, arities are
checked), a node that runs alone answers as a Redis without `cluster-enabled`, and a member names
the command of `isthmus` that does it. CLUSTER FAILOVER is passed on: a replica asks the coordinator
to lead, and replies OK when that has begun.
"""

from __future__ import annotations

from isthmus.node.commands.cluster import view_of
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import SYNTAX, RedisError
from isthmus.node.engine.registry import OK, command
from isthmus.node.engine.spec import ADMIN, NO_ASYNC_LOADING, NOSCRIPT, STALE

CHANGING = NO_ASYNC_LOADING | ADMIN | STALE
SLOTS_OURS = b"the coordinator gives out slots, see isthmus scale and isthmus rebalance"
JOIN_OURS = b"a node joins by itself, see isthmus node --coordinator"
MEMBERS_OURS = b"the coordinator lets members go, see isthmus drain"
EPOCHS_OURS = b"the coordinator makes epochs, see isthmus status"
ROLES_OURS = b"the coordinator places replicas, see isthmus up --replicas and isthmus failover"
STORE_OURS = b"the cluster is in the coordinator's store, see isthmus status"
# The state of a duty (node/cluster/duty.py) that is a replica's.
FOLLOWING = "following"
# How long the coordinator is given to say whether it will.
ANSWER_MS_MAX = 2000
NO_ANSWER = b"-ERR The coordinator does not answer; isthmus status tells how it is\r\n"
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
    """Refuse: members come by themselves."""
    refuse(ctx, argv, JOIN_OURS)


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
    refuse(ctx, argv, STORE_OURS)


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
    """Ask the coordinator to let this replica lead; reply OK when the hand-over has begun.

    FORCE and TAKEOVER ask for no less: where the primary is gone the coordinator is at it already,
    and to lose writes is for an operator to say (isthmus failover --accept-loss).
    """
    view_of(ctx)
    if len(argv) > 3 or (len(argv) == 3 and argv[2].upper() not in (b"FORCE", b"TAKEOVER")):
        raise RedisError(SYNTAX)
    duty = ctx.node.duty
    if duty is None or duty.state != FOLLOWING:
        raise RedisError(b"ERR You should send CLUSTER FAILOVER to a replica")
    if not ctx.block(b"failover", [], argv, ctx.now_ms + ANSWER_MS_MAX, NO_ANSWER):
        raise RedisError(b"ERR CLUSTER FAILOVER is not possible in a transaction or a script")
    duty.ask_to_lead(ctx.session)


@command("CLUSTER REPLICATE node-id", since="3.0.0", group="cluster", flags=CHANGING,
         complexity="O(1)", reply=OK)  # fmt: skip
def cluster_replicate(ctx: Context, argv: list[bytes]) -> None:
    """Refuse: the coordinator places replicas."""
    refuse(ctx, argv, ROLES_OURS)

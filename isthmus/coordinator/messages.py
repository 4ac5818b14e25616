"""What nodes and proxies say to the coordinator, checked before the model believes any of it.

A frame comes from another process, perhaps of another version, perhaps not one of ours at all.
`description` and `report` turn it into values of known type and size or raise `Refusal`, whose
code a program can act on and whose text tells an operator what to change.

Refusal codes: BAD_MESSAGE (a field is missing or malformed), WRONG_REGION, WRONG_CLUSTER,
DUPLICATE_ID (another live process has this id), TOO_MANY (a limit), NOT_REGISTERED.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from isthmus.wire.policy import TEXT_CHARS_MAX

NAME_CHARS_MAX: Final = 64
ADDRESS_CHARS_MAX: Final = 262  # 253 for a host name, brackets, colon, port
ID_CHARS: Final = 40
EPOCH_MAX: Final = 1 << 53
COUNT_MAX: Final = (1 << 63) - 1
PROBLEM_CHARS_MAX: Final = 200
NODE: Final = "node"
PROXY: Final = "proxy"


class Refusal(Exception):
    """The coordinator will not do what a peer asked; `code` is one of the module's list."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Description:
    """What a process says of itself when it registers."""

    id: str
    role: str
    region: str
    zone: str
    address: str
    link_address: str
    metrics_address: str
    pid: int
    incarnation: str
    cluster: str  # the cluster it knows itself to be in; empty if none
    epoch: int  # the topology epoch it holds; 0 if none
    copy: Copy | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """How a node fares that keeps its data on disk."""

    policy: str  # in force, which may lag behind what is wanted
    saved_s: int  # Unix time of the last snapshot; 0: none
    aof_bytes: int
    problem: str  # for people; empty if all is well


COPY_ROLES: Final = ("primary", "replica")
# In these a copy's data is no state of the shard at any moment: it is none, or being replaced.
SYNCING, EMPTY = "syncing", "empty"
STREAMING: Final = "streaming"
COPY_STATES: Final = (STREAMING, SYNCING, "connecting", EMPTY, "serving")


@dataclass(frozen=True, slots=True)
class Copy:
    """What a node says of its copy of a shard."""

    shard: int
    epoch: int  # the shard epoch it acts under
    role: str
    state: str
    replid: str
    offset: int  # bytes of the shard's stream of effects that it has
    data_epoch: int  # the shard epoch under which its data was last written
    primary_silent_ms: int  # of a replica: since the last word of its primary; -1: none
    lease_left_ms: int  # of a primary
    fenced: int  # the shard epoch whose primary it follows no more; -1: it knows no fences
    problem: str

    @property
    def whole(self) -> bool:
        """Whether its data was the shard's state at some moment."""
        return self.state not in (SYNCING, EMPTY) and self.data_epoch > 0


MOVES_MAX: Final = 256
SIDES: Final = ("source", "target")


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What the primary of one side says of a move of slots (node/moves)."""

    id: str
    side: str
    epoch: int  # the shard epoch it acts under
    state: str
    order: int  # of a source: the epoch of the order to yield that it followed
    lag: int  # bytes of changes that the target does not have
    keys: int
    keys_done: int
    received: int  # bytes that the target got
    left: int  # keys that are still to be deleted
    problem: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a heartbeat carries. `disk` is None for proxies, and for nodes of older versions;
    `copy` also for spares.
    """

    epoch: int
    slots: int
    keys: int
    disk: Disk | None
    copy: Copy | None
    moves: tuple[MoveReport, ...] = ()


def description(body: Mapping[str, object]) -> Description:
    """The sender's description. Raises Refusal BAD_MESSAGE."""
    role = _text(body, "role", NAME_CHARS_MAX)
    if role not in (NODE, PROXY):
        raise Refusal("BAD_MESSAGE", f"role must be node or proxy, not {role!r}")
    cluster = _text(body, "cluster", ID_CHARS, empty=True)
    if cluster:
        _id(cluster, "cluster")
    return Description(
        id=_id(_text(body, "id", ID_CHARS), "id"),
        role=role,
        region=_text(body, "region", NAME_CHARS_MAX),
        zone=_text(body, "zone", NAME_CHARS_MAX, empty=True),
        address=_address(body, "address"),
        link_address=_address(body, "link_address", empty=True),
        metrics_address=_address(body, "metrics_address", empty=True),
        pid=_number(body, "pid", COUNT_MAX),
        incarnation=_text(body, "incarnation", NAME_CHARS_MAX),
        cluster=cluster,
        epoch=_number(body, "epoch", EPOCH_MAX),
        copy=_copy(body.get("copy")),
    )


def report(body: Mapping[str, object]) -> Report:
    """A heartbeat's numbers. Raises Refusal BAD_MESSAGE."""
    return Report(
        epoch=_number(body, "epoch", EPOCH_MAX),
        slots=_number(body, "slots", 16384),
        keys=_number(body, "keys", COUNT_MAX),
        disk=_disk(body.get("disk")),
        copy=_copy(body.get("copy")),
        moves=moves(body),
    )


def moves(body: Mapping[str, object]) -> tuple[MoveReport, ...]:
    """What a node says of moves. Raises Refusal BAD_MESSAGE."""
    rows = body.get("moves") or ()
    if not isinstance(rows, (list, tuple)) or len(rows) > MOVES_MAX:
        raise Refusal("BAD_MESSAGE", "moves must be a list")
    return tuple(map(_move, rows))


def _move(body: object) -> MoveReport:
    if not isinstance(body, dict):
        raise Refusal("BAD_MESSAGE", "a move must be a map")
    side = _text(body, "side", NAME_CHARS_MAX)
    if side not in SIDES:
        raise Refusal("BAD_MESSAGE", f"a move has no side {side!r}")
    numbers = {
        name: _number(body, name, COUNT_MAX)
        for name in ("epoch", "order", "lag", "keys", "keys_done", "received", "left")
    }
    return MoveReport(
        id=_text(body, "id", NAME_CHARS_MAX),
        side=side,
        state=_text(body, "state", NAME_CHARS_MAX),
        problem=_text(body, "problem", PROBLEM_CHARS_MAX, empty=True, spaces=True),
        **numbers,
    )


def drained(body: Mapping[str, object]) -> tuple[int, int, int]:
    """(shard, epoch, offset) of a primary that has handed over. Raises Refusal BAD_MESSAGE."""
    return (
        _number(body, "shard", 16384),
        _number(body, "epoch", EPOCH_MAX),
        _number(body, "offset", COUNT_MAX),
    )


RECEIPT_KEYS_MAX: Final = 10
RECEIPT_NAME_CHARS_MAX: Final = 64
_RECEIPT_COUNTS: Final = (
    "from_offset", "to_offset", "written_ms", "first_ms", "last_ms", "commands", "key_count"
)  # fmt: skip


def receipt(body: Mapping[str, object]) -> dict[str, object]:
    """What a node tells of what it gave up (receipts.py). Raises Refusal BAD_MESSAGE."""
    keys = body.get("keys")
    if not isinstance(keys, list) or len(keys) > RECEIPT_KEYS_MAX:
        raise Refusal("BAD_MESSAGE", f"keys must be a list of {RECEIPT_KEYS_MAX} at most")
    return {
        "name": _text(body, "name", RECEIPT_NAME_CHARS_MAX),
        "shard": _number(body, "shard", 16384),
        "epoch": _number(body, "epoch", EPOCH_MAX),
        "new_primary": _text(body, "new_primary", ID_CHARS, empty=True),
        "exact": body.get("exact") is True,
        "kept": body.get("kept") is True,
        # Whatever a client called its keys: printed, they shall not be more than they look like.
        "keys": [ascii(str(key)[:NAME_CHARS_MAX])[1:-1] for key in keys],
        **{name: _number(body, name, COUNT_MAX) for name in _RECEIPT_COUNTS},
    }


def wanted(body: Mapping[str, object]) -> tuple[int, int]:
    """(shard, number of the request) of a replica that asks to lead. Raises Refusal BAD_MESSAGE."""
    return _number(body, "shard", 16384), _number(body, "number", COUNT_MAX)


def _copy(body: object) -> Copy | None:
    if body is None:
        return None
    if not isinstance(body, dict):
        raise Refusal("BAD_MESSAGE", "copy must be a map")
    role, state = _text(body, "role", NAME_CHARS_MAX), _text(body, "state", NAME_CHARS_MAX)
    if role not in COPY_ROLES or state not in COPY_STATES:
        raise Refusal("BAD_MESSAGE", f"a copy is no {role!r} that is {state!r}")
    return Copy(
        shard=_number(body, "shard", 16384),
        epoch=_number(body, "epoch", EPOCH_MAX),
        role=role,
        state=state,
        replid=_text(body, "replid", ID_CHARS, empty=True),
        offset=_number(body, "offset", COUNT_MAX),
        data_epoch=_number(body, "data_epoch", EPOCH_MAX),
        primary_silent_ms=_number(body, "primary_silent_ms", COUNT_MAX, least=-1),
        lease_left_ms=_number(body, "lease_left_ms", COUNT_MAX, least=-1),
        fenced=_number(body, "fenced", EPOCH_MAX, least=-1) if "fenced" in body else -1,
        problem=_text(body, "problem", PROBLEM_CHARS_MAX, empty=True, spaces=True),
    )


def _disk(body: object) -> Disk | None:
    if body is None:
        return None
    if not isinstance(body, dict):
        raise Refusal("BAD_MESSAGE", "disk must be a map")
    return Disk(
        policy=_text(body, "policy", TEXT_CHARS_MAX),
        saved_s=_number(body, "saved_s", COUNT_MAX),
        aof_bytes=_number(body, "aof_bytes", COUNT_MAX),
        problem=_text(body, "problem", PROBLEM_CHARS_MAX, empty=True, spaces=True),
    )


def _text(
    body: Mapping[str, object], name: str, chars_max: int, *, empty: bool = False,
    spaces: bool = False,
) -> str:  # fmt: skip
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > chars_max or not value.isascii():
        raise Refusal("BAD_MESSAGE", f"{name} must be ASCII text of {chars_max} characters at most")
    if not value and not empty:
        raise Refusal("BAD_MESSAGE", f"{name} is missing")
    if not value.isprintable() or (" " in value and not spaces):
        raise Refusal("BAD_MESSAGE", f"{name} may not hold spaces or control characters")
    return value


def _id(value: str, name: str) -> str:
    if len(value) != ID_CHARS or any(c not in "0123456789abcdef" for c in value):
        raise Refusal("BAD_MESSAGE", f"{name} must be {ID_CHARS} lower-case hexadecimal digits")
    return value


def _address(body: Mapping[str, object], name: str, *, empty: bool = False) -> str:
    value = _text(body, name, ADDRESS_CHARS_MAX, empty=empty)
    if value:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise Refusal("BAD_MESSAGE", f"{name} must be host:port, not {value!r}")
    return value


def _number(body: Mapping[str, object], name: str, largest: int, *, least: int = 0) -> int:
    value = body.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= largest:
        raise Refusal("BAD_MESSAGE", f"{name} must be a whole number from {least} to {largest}")
    return value

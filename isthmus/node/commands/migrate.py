"""MIGRATE: move keys to another server, or copy them there.

Only the request is read here. The keys are sent by a task of the server (node/server/mover.py)
while others are served; the client waits. A key that changes before the other server has confirmed
it is sent again, so what is deleted here is what is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import OK, SIMPLE, command
from isthmus.node.engine.spec import WRITE

TIMEOUT_MS_DEFAULT = 1000
NO_KEY = b"NOKEY"


@dataclass(slots=True)
class Order:
    """What MIGRATE was asked for."""

    host: bytes
    port: bytes
    keys: list[bytes]
    database: int
    timeout_ms: int
    copy: bool = False
    replace: bool = False
    login: list[bytes] = field(default_factory=list)


def migrate_keys(argv: list[bytes]) -> list[int]:
    """Where the keys are: the third argument, or behind KEYS if that is empty."""
    if argv[3] or len(argv) < 7:
        return [3]
    for at in range(6, len(argv)):
        word = argv[at].lower()
        if word == b"keys":
            return list(range(at + 1, len(argv)))
    return [3]


def read_order(argv: list[bytes]) -> Order:
    """The request; raises RedisError."""
    order = Order(argv[1], argv[2], [argv[3]], 0, 0)
    at = 6
    while at < len(argv):
        word, left = argv[at].lower(), len(argv) - at - 1
        if word == b"copy":
            order.copy = True
        elif word == b"replace":
            order.replace = True
        elif word == b"auth":
            if left < 1:
                raise syntax()
            at += 1
            order.login = [b"AUTH", argv[at]]
        elif word == b"auth2":
            if left < 2:
                raise syntax()
            order.login = [b"AUTH", argv[at + 1], argv[at + 2]]
            at += 2
        elif word == b"keys":
            if argv[3]:
                raise RedisError(
                    b"ERR When using MIGRATE KEYS option, the key argument must be set to the "
                    b"empty string"
                )
            order.keys = argv[at + 1 :]
            break
        else:
            raise syntax()
        at += 1
    order.timeout_ms = integer(argv[5])
    order.database = integer(argv[4])
    if order.timeout_ms <= 0:
        order.timeout_ms = TIMEOUT_MS_DEFAULT
    return order


@command("MIGRATE host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | "
         "AUTH2 username password] [KEYS key [key ...]]", since="2.6.0", group="generic", arity=-6,
         flags=WRITE, categories="KEYSPACE,DANGEROUS",
         keys="idx:3>range:0,1,0(RW|ACCESS|DELETE); "
         "kw:KEYS@-2>range:-1,1,0(RW|ACCESS|DELETE|INCOMPLETE)",
         complexity="This command actually executes a DUMP+DEL in the source instance, and a "
         "RESTORE in the target instance. See the pages of these commands for time complexity. "
         "Also an O(N) data transfer between the two instances is performed.",
         tips="NONDETERMINISTIC_OUTPUT", get_keys=migrate_keys, reply=OK | SIMPLE)  # fmt: skip
def migrate(ctx: Context, argv: list[bytes]) -> None:
    """Move keys to another server; they are gone here once they are there."""
    order = read_order(argv)
    found = [key for key in order.keys if ctx.db.exists(key)]
    if not found:
        ctx.reply.simple(NO_KEY)
        return
    order.keys = found
    if ctx.node.server is None or not ctx.block(b"migration", [], argv, 0):
        raise RedisError(b"ERR MIGRATE is not possible inside a transaction or a script")
    ctx.node.server.move_keys(ctx.session, ctx.db, order)

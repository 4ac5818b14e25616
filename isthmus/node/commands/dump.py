"""DUMP: a value as a payload that RESTORE takes, here and at a real Redis."""

from __future__ import annotations

from isthmus.node.engine.context import Context
from isthmus.node.engine.registry import BULK, NULL, command
from isthmus.node.engine.spec import READONLY
from isthmus.node.values.rdb_encode import dump as payload_of


@command("DUMP key", since="2.6.0", group="generic", flags=READONLY, categories="KEYSPACE",
         keys="idx:1>range:0,1,0(RO|ACCESS)", reply=BULK | NULL,
         complexity="O(1) to access the key and additional O(N*M) to serialize it, where N is the "
         "number of Redis objects composing the value and M their average size. For small string "
         "values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).",
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def dump(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the value at key as a payload, without its expiry."""
    value = ctx.db.lookup(argv[1])
    if value is None:
        ctx.miss(argv[1])
        ctx.reply.null()
        return
    ctx.hits += 1
    ctx.reply.bulk(payload_of(value))

"""Every declaration held against Redis' own command table; and nothing of it forgotten.

`tests/data/redis-7.4-commands.tsv` has one row for each command of Redis 7.4. What we declare must
say the same; what we do not declare must stand below, under the reason why.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from isthmus.node.commands import load_all
from isthmus.node.engine.registry import specs
from isthmus.node.engine.spec import CommandSpec

load_all()

TABLE = Path(__file__).parent.parent.joinpath("data/redis-7.4-commands.tsv")
ROWS = {
    row["command"].replace(" ", "|"): row
    for row in csv.DictReader(
        TABLE.read_text(encoding="utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE
    )
}
DECLARED = {spec.name.decode(): spec for spec in specs()}

# Groups of which no command has been written yet, and the work they belong to.
LATER_GROUPS = {
}  # fmt: skip

LATER = {
    "sorting and moving between servers": "sort sort_ro dump restore restore-asking migrate",
    "persistence": "save bgsave bgrewriteaof lastsave",
    "replication": "psync replconf replicaof slaveof sync role failover wait waitaof",
    "the coordinator's decisions, never a client's": "cluster|addslots cluster|addslotsrange "
    "cluster|bumpepoch cluster|delslots cluster|delslotsrange cluster|failover cluster|flushslots "
    "cluster|forget cluster|meet cluster|replicate cluster|reset cluster|saveconfig "
    "cluster|set-config-epoch cluster|setslot",
}


def words(text: str) -> set[str]:
    return set(filter(None, text.split(",")))


@pytest.mark.parametrize("spec", DECLARED.values(), ids=list(DECLARED))
def test_declaration_is_what_redis_says(spec: CommandSpec) -> None:
    row = ROWS[spec.name.decode()]
    declared = {
        "arity": spec.arity,
        "flags": set(spec.flag_names),
        "acl_categories": set(spec.categories),
        "key_specs": [key.text for key in spec.key_specs],
        "group": spec.group,
        "since": spec.since,
        "tips": set(spec.tips),
        "doc_flags": words(spec.doc_flags),
    }
    assert declared == {
        "arity": int(row["arity"]),
        "flags": words(row["flags"]),
        "acl_categories": words(row["acl_categories"]),
        "key_specs": list(filter(None, row["key_specs"].split("; "))),
        "group": row["group"],
        "since": row["since"],
        "tips": words(row["tips"]),
        "doc_flags": words(row["doc_flags"]),
    }


def test_every_command_is_there_or_listed_as_later() -> None:
    later = {name for names in LATER.values() for name in names.split()}
    later |= {name for name, row in ROWS.items() if row["group"] in LATER_GROUPS}
    assert not later - set(ROWS), "listed as later, but Redis has no such command"
    assert not later & set(DECLARED), "listed as later, but here already: shorten the list"
    forgotten = set(ROWS) - later - set(DECLARED)
    assert not forgotten, f"forgotten: {sorted(forgotten)}"


def test_every_declaration_has_a_summary_and_a_shape() -> None:
    for name, spec in DECLARED.items():
        assert spec.summary.endswith("."), name
        assert spec.complexity, name
        assert spec.handler is None or spec.reply, name

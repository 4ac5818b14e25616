"""Every declaration held against Redis' own command table; and nothing of it forgotten.

`tests/data/redis-7.4-commands.tsv` has one row for each command of Redis 7.4. What we declare must
say the same; what we do not declare must stand in `docs/command-notes.tsv`, with the reason why.
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

NOTES = Path(__file__).parent.parent.parent.joinpath("docs/command-notes.tsv")
# What we have not, as docs/commands.md tells it, with the reason.
ABSENT = {
    row["command"].replace(" ", "|")
    for row in csv.DictReader(
        NOTES.read_text(encoding="utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    if row["status"] == "absent"
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


def test_every_command_is_there_or_said_to_be_absent() -> None:
    assert not ABSENT - set(ROWS), "said to be absent, but Redis has no such command"
    assert not ABSENT & set(DECLARED), "said to be absent, but here already: shorten the list"
    forgotten = set(ROWS) - ABSENT - set(DECLARED)
    assert not forgotten, f"forgotten: {sorted(forgotten)}"


def test_every_declaration_has_a_summary_and_a_shape() -> None:
    for name, spec in DECLARED.items():
        assert spec.summary.endswith("."), name
        # Redis says nothing about these two, which send everything there is.
        assert spec.complexity or name in ("sync", "psync"), name
        assert spec.handler is None or spec.reply, name

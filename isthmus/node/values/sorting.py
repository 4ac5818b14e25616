"""Sorting: the weights of SORT, and its stored result.

A weight is what C's `strtod` reads from the beginning to the end of a text: blanks before it are
passed over, an empty text is 0, a zero byte ends the text; out of range or no number is refused.

Effects: DEL key for what the result replaces, then RPUSH key element... in pieces, because whoever
reads effects back limits the number of arguments. An empty result is DEL alone.
"""

from __future__ import annotations

from isthmus.node.engine.keyspace import Database
from isthmus.node.values.keys import delete
from isthmus.node.values.lists import ListValue, grows
from isthmus.node.values.score_index import read_score

EFFECT_ELEMENTS_MAX = 4096


def weight(text: bytes) -> float:
    """The number an element is sorted by; ValueError if it is none."""
    try:
        return read_score(text)
    except ValueError:
        shown = text.partition(b"\0")[0]
        return read_score(shown.lstrip(b" \t\n\v\f\r")) if shown else 0.0


def store_list(db: Database, key: bytes, elements: list[bytes]) -> None:
    """Put the result of SORT at key in place of what is there; an empty one deletes key."""
    if not elements:
        delete(db, key)
        return
    if db.drop(key) and db.changed(key):
        # No event: to those who listen, the key was replaced and not deleted.
        db.record([b"DEL", key], b"", b"")
    value = ListValue()
    grows(db, value, len(elements), sum(map(len, elements)))
    for element in elements:
        value.push_tail(element)
    db.store(key, value, -1)
    if not db.changed(key):
        return
    for start in range(0, len(elements), EFFECT_ELEMENTS_MAX):
        last = start + EFFECT_ELEMENTS_MAX >= len(elements)
        argv = [b"RPUSH", key, *elements[start : start + EFFECT_ELEMENTS_MAX]]
        db.record(argv, b"sortstore" if last else b"", b"l" if last else b"")

"""A node's id: made once, kept, held by one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.node.cluster.identity import IdentityError, claim, temporary


def test_an_id_outlives_the_process(tmp_path: Path) -> None:
    first = claim(tmp_path / "new")
    first.release()
    second = claim(tmp_path / "new")
    second.release()
    assert first.id == second.id and len(first.id) == 40
    assert first.incarnation != second.incarnation


def test_two_processes_cannot_hold_one_id(tmp_path: Path) -> None:
    first = claim(tmp_path)
    with pytest.raises(IdentityError, match="another node process"):
        claim(tmp_path)
    first.release()
    first.release()
    claim(tmp_path).release()


@pytest.mark.parametrize("text", ["", "abc\n", "A" * 40, "é" * 20])
def test_a_damaged_id_is_not_replaced_in_silence(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.id").write_text(text)
    with pytest.raises(IdentityError, match="hexadecimal"):
        claim(tmp_path)
    assert (tmp_path / "node.id").read_text() == text


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match="data folder"):
        claim(tmp_path / "file" / "below")


def test_temporary_ids_differ() -> None:
    assert temporary().id != temporary().id

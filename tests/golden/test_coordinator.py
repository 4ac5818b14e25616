"""Every `coordinator_*.txt` beside this file is played and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.script import Script

TRANSCRIPTS = sorted(Path(__file__).parent.glob("coordinator_*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, rewrite: bool) -> None:
    text = path.read_text(encoding="utf-8")
    now = Script().run(text)
    if rewrite:
        path.write_text(now, encoding="utf-8")
    assert now == text or rewrite, "run `pytest tests/golden --rewrite` and read the diff"


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 5

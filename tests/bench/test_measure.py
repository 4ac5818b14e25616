"""One real measurement, redis-server against itself: figures, JSON and ends of processes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from bench.__main__ import main

needs = [name for name in ("redis-server", "redis-benchmark") if shutil.which(name) is None]


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.skipif(bool(needs), reason=f"{' and '.join(needs)} not installed")
def test_redis_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    pidfile = tmp_path / "pid"
    server = f"redis-server --port {{port}} --save '' --pidfile {pidfile}"
    status = main(
        ["node", "memory", "--node", server, "--tests", "GET,LPOP", "--pipeline", "4"]
        + ["--requests", "2000", "--rounds", "1", "--keyspace", "500", "--keys", "20000"]
        + ["--json", str(out)]
    )
    assert status in (0, 1), capsys.readouterr().err
    found = json.loads(out.read_text())
    assert found["failures"] == []
    assert [row["test"] for row in found["node"]["rows"]] == ["GET", "LPOP"]
    for row in found["node"]["rows"]:
        assert 0.1 < row["ours"]["cpu_us"] < 1000
        assert row["ours"]["p50_ms"] <= row["ours"]["p99_ms"] <= row["ours"]["p999_ms"]
    assert 80 < found["memory"]["ours_bytes_per_key"] < 500
    assert "LPOP" in capsys.readouterr().out
    assert not pidfile.exists() or not os.path.exists(f"/proc/{pidfile.read_text().strip()}")


def test_a_server_that_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "--node", "no-such-server --port {port}", "--quick"]) == 2
    assert "cannot start no-such-server" in capsys.readouterr().err

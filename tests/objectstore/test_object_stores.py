"""Export and import with object stores: S3 (moto) and Azure Blob (azurite), by their protocols.

Skipped where the libraries are not there: `make test-objectstore` has them.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from isthmus.cli import manifest, places
from isthmus.cli.app import run
from tests.objectstore import stores
from tests.persist.holdings import fill, holdings
from tests.support.peer import Peer
from tests.support.servers import Server, redis8

LIBRARIES = all(map(importlib.util.find_spec, ("obstore", "moto")))
pytestmark = [
    pytest.mark.skipif(not LIBRARIES, reason="obstore and moto: make test-objectstore"),
    pytest.mark.slow,
    pytest.mark.oracle,
    pytest.mark.timeout(120),
]
Out = Callable[[], Any]


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    """What was printed on standard output since, as JSON."""
    return lambda: json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with keys of every type, and enough bytes for an upload in parts."""
    folder = tmp_path_factory.mktemp("redis")
    options = ["--repl-diskless-sync-delay", "0", "--rdbcompression", "no"]
    with redis8(folder, options) as server:
        peer = Peer(server.port)
        fill(peer, True)
        for i in range(20):
            peer("SET", f"large {i}", bytes((i * j * j) % 251 for j in range(1000)) * 1024)
        peer.close()
        yield server


@pytest.fixture(params=["s3", "az"])
def store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[str, str]]:
    """A place in a bucket, and where the store listens."""
    folder = tmp_path_factory.mktemp("store")
    if request.param == "s3":
        for name, value in stores.S3_LOGIN.items():
            monkeypatch.setenv(name, value)
        with stores.s3(folder) as endpoint:
            yield f"s3://{stores.BUCKET}/backup/today", endpoint
        return
    program = stores.azurite()
    if program is None:
        pytest.skip("ISTHMUS_AZURITE does not name azurite's main.js")
    for name, value in stores.AZURE_LOGIN.items():
        monkeypatch.setenv(name, value)
    with stores.azure(folder, program) as endpoint:
        yield f"az://{stores.BUCKET}/backup/today", endpoint


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


@pytest.mark.parametrize("packing", ["--gzip", "--plain"])
def test_there_and_back(
    packing: str, source: Server, store: tuple[str, str], tmp_path_factory: Any, out: Out
) -> None:
    place, endpoint = store
    at = ["--endpoint-url", endpoint]
    assert run(["export", "--from", url(source.port), packing, place, "--json", *at]) == 0
    told = out()
    (file,) = told["files"]
    assert file["rdb_bytes"] > 2 * places.PART_BYTES
    names = places.place_of(place, endpoint).names()
    assert names == sorted([manifest.NAME, file["name"]])
    assert run(["export", "--from", url(source.port), place, *at]) == 1, "there is one already"
    peer = Peer(source.port)
    wanted = holdings(peer, True)
    peer.close()
    with redis8(tmp_path_factory.mktemp("target")) as server:
        arguments = ["import", place, "--to", url(server.port), "--verify", "--json", *at]
        assert run(arguments) == 0
        assert out()["restored"] == len(wanted)
        peer = Peer(server.port)
        assert holdings(peer, True) == wanted
        peer.close()
        single = f"{place}/{file['name']}"
        assert run(["import", single, "--to", url(server.port), "--policy", "merge", *at]) == 0


def test_an_upload_that_fails_leaves_no_export(
    source: Server, store: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    place, endpoint = store
    whole = places._ObjectWriter.finish

    def broken(writer: Any) -> None:
        if manifest.NAME in writer.name:
            raise places.PlaceError("the store went away")
        whole(writer)

    monkeypatch.setattr(places._ObjectWriter, "finish", broken)
    at = ["--endpoint-url", endpoint]
    assert run(["export", "--from", url(source.port), place, *at]) == 1
    assert "went away" in capsys.readouterr().err
    assert places.place_of(place, endpoint).names() == []
    assert run(["import", place, "--to", url(source.port), *at]) == 1


def test_a_bucket_that_is_not_there(
    source: Server, store: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    place, endpoint = store
    other = place.replace(stores.BUCKET, "nowhere")
    assert run(["export", "--from", url(source.port), other, "--endpoint-url", endpoint]) == 1
    assert "nowhere" in capsys.readouterr().err

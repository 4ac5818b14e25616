"""Local servers of the two protocols of object stores: moto for S3, azurite for Azure Blob.

Moto comes from PyPI. Azurite is a program for Node.js (npm install azurite) of 190 MB, so its tests
run only where ISTHMUS_AZURITE names its main.js.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

from tests.support.ports import free_port
from tests.support.servers import stop

START_SECONDS_MAX = 30.0
BUCKET = "bucket"
# The account that every azurite has; it is in its documentation and protects nothing.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
S3_LOGIN = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}
AZURE_LOGIN = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}


def azurite() -> Path | None:
    """Azurite's main.js for blobs."""
    named = os.environ.get("ISTHMUS_AZURITE")
    return Path(named) if named else None


@contextmanager
def _serving(command: list[str], port: int, folder: Path) -> Iterator[None]:
    with (folder / "store.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, (folder / "store.log").read_text()
                    assert time.monotonic() < deadline, "the store did not start"
                    # No line of its log is said to mean ready, so the port is asked.
                    select.select([], [], [], 0.05)
            yield
        finally:
            stop(process)


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """A store that speaks S3 and has a bucket; where it listens."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _serving(command, port, folder):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        connection.close()
        yield f"http://127.0.0.1:{port}"


@contextmanager
def azure(folder: Path, program: Path) -> Iterator[str]:
    """A store that speaks as Azure Blob and has a container; where it listens."""
    port = free_port()
    command = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--location", str(folder), "--skipApiVersionCheck", "--silent"]
    with _serving(command, port, folder):
        _make_container(port)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"


def _make_container(port: int) -> None:
    """Create Container, signed with the account's key as the protocol wants it."""
    date = formatdate(usegmt=True)
    path = f"/{ACCOUNT}/{BUCKET}"
    # Twelve lines for headers that are not there, the x-ms headers, the resource and its query.
    text = (
        "PUT\n\n\n\n\n\n\n\n\n\n\n\n"
        f"x-ms-date:{date}\nx-ms-version:2021-08-06\n/{ACCOUNT}{path}\nrestype:container"
    )
    sign = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "Content-Length": "0",
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(sign).decode()}",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("PUT", f"{path}?restype=container", headers=headers)
    reply = connection.getresponse()
    assert reply.status == 201, reply.read()
    connection.close()

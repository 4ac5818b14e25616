"""Talking to etcd (io): its JSON gateway, over HTTP, one bounded call at a time.

`Place` is what `--store` names: `etcd://HOST:PORT[,HOST:PORT...][/PREFIX]`, or `etcds://` for TLS.
`Gateway.call` posts one JSON map and returns the answer. It asks the endpoint that answered last,
and goes on to the next when one is unreachable, does not answer in time, or says that it cannot (it
has no leader); until `seconds` are over, which raises StoreUnreachable. What was asked may then
have been done, may not have been, and may be done later: the caller has to write so that it can
tell.

In etcd's JSON, keys and values are base64, 64-bit numbers are text, and what is false or zero is
*left out*: an answer without `succeeded` is a transaction whose compares failed, and one without
`TTL` is the keepalive of a lease that is no more. `number`, `plain` and `coded` know that.

Calls block: see `isthmus.coordinator.server` for why that is right for commits. The connections may
be used from several threads. urllib3 is imported only here, and only by who has an etcd.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import urllib3

from isthmus.coordinator.store.base import StoreError, StoreUnreachable

Answer = dict[str, Any]
PORT: Final = 2379
CONNECT_SECONDS_MAX: Final = 0.5
PAUSE_SECONDS: Final = 0.05  # between two rounds of all endpoints
# The endpoint cannot at the moment, another one may: the gateway's translations of gRPC's unknown,
# deadline exceeded and unavailable.
_ELSEWHERE: Final = frozenset({500, 502, 503, 504})
# Releases of one day: the first without reads that are stale after a pause (etcd#20418) and without
# the known ways around permissions.
_SOUND: Final = {(3, 4): (3, 4, 44), (3, 5): (3, 5, 29), (3, 6): (3, 6, 10)}


class EtcdRefused(StoreError):
    """etcd will not do this, here or elsewhere; the text is its own."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"etcd: {text}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. Without `ca` the machine's authorities count."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster is kept in etcd. All keys begin with `prefix` and a slash."""

    endpoints: tuple[str, ...]
    prefix: str
    tls: Tls | None = None


def place(text: str, prefix: str, tls: Tls | None = None) -> Place:
    """Read `--store`; ValueError says what is wrong. `prefix` is for one that names none."""
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in ("etcd", "etcds"):
        raise ValueError(f"a store is etcd://HOST:PORT[,HOST:PORT...][/PREFIX], not {text!r}")
    if tls is not None and scheme == "etcd":
        raise ValueError("certificates are for etcds://, which is etcd over TLS")
    hosts, _, own = rest.partition("/")
    endpoints = []
    for host in hosts.split(","):
        bare = host.endswith("]") or ":" not in host
        name, _, port = (host, "", str(PORT)) if bare else host.rpartition(":")
        if not name or "@" in name or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"not HOST:PORT: {host!r}")
        endpoints.append(f"{'https' if scheme == 'etcds' else 'http'}://{name}:{port}")
    prefix = own.strip("/") or prefix
    if not prefix.isascii() or not prefix.isprintable() or " " in prefix:
        raise ValueError(f"a prefix is printable ASCII without spaces, not {prefix!r}")
    return Place(tuple(endpoints), prefix, (tls or Tls()) if scheme == "etcds" else None)


def coded(text: str) -> str:
    """A key or value as the gateway takes it."""
    return base64.b64encode(text.encode()).decode()


def plain(text: object) -> str:
    """A key or value from an answer; an empty one is left out there."""
    return base64.b64decode(text).decode() if isinstance(text, str) else ""


def number(body: Mapping[str, Any], name: str) -> int:
    """A 64-bit number of an answer: text, and left out if it is zero."""
    return int(body.get(name, 0))


class Gateway:
    """One process's way to one etcd. `attempt_seconds` bounds the wait for one endpoint."""

    def __init__(self, where: Place, attempt_seconds: float) -> None:
        self._endpoints = where.endpoints
        self._first = 0
        self._attempt_seconds = attempt_seconds
        self._http = urllib3.PoolManager(
            num_pools=len(where.endpoints), maxsize=4, **_tls_options(where.tls)
        )

    def call(self, path: str, body: Mapping[str, object], seconds: float) -> Answer:
        """The answer to one post. Raises StoreUnreachable, or EtcdRefused."""
        deadline = time.monotonic() + seconds
        data = json.dumps(body).encode()
        why = "no time was left"
        tried = 0
        while (left := deadline - time.monotonic()) > 0:
            index = (self._first + tried) % len(self._endpoints)
            try:
                answer = self._post(self._endpoints[index] + path, data, left)
            except StoreUnreachable as error:
                why = str(error)
            else:
                self._first = index
                return answer
            tried += 1
            if tried % len(self._endpoints) == 0:
                time.sleep(min(PAUSE_SECONDS, max(deadline - time.monotonic(), 0)))
        raise StoreUnreachable(f"etcd does not answer: {why}")

    def close(self) -> None:
        """Close all connections."""
        self._http.clear()

    def version_problem(self, seconds: float) -> str:
        """Why the server's version deserves a warning; empty if it does not, or does not say."""
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS_MAX, read=seconds)
        try:
            said = self._http.request(
                "GET", self._endpoints[self._first] + "/version", retries=False, timeout=timeout
            ).json()
            version = tuple(int(part) for part in str(said["etcdserver"]).split(".")[:3])
            wanted = _SOUND.get((version[0], version[1]))
        except (urllib3.exceptions.HTTPError, ValueError, LookupError, TypeError):
            return ""
        if (wanted is None and version >= (3, 4)) or (wanted is not None and version >= wanted):
            return ""
        name = ".".join(map(str, version))
        least = ".".join(map(str, wanted or _SOUND[3, 4]))
        return f"etcd {name} has known faults in reads and permissions; use {least} or newer"

    def _post(self, url: str, data: bytes, left: float) -> Answer:
        seconds = min(self._attempt_seconds, left)
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS_MAX, seconds), read=seconds)
        try:
            response = self._http.request(
                "POST", url, body=data, timeout=timeout, retries=False, redirect=False,
                headers={"content-type": "application/json"},
            )  # fmt: skip
            status, text = response.status, response.data
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnreachable(f"{url}: {_why(error)}") from error
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if status == 200 and isinstance(answer, dict) and "error" not in answer:
            return answer
        said = _reason(answer) if isinstance(answer, dict) else None
        reason = str(said or f"HTTP status {status}")
        if status in (200, *_ELSEWHERE) or said is None:
            raise StoreUnreachable(f"{url}: {reason}")
        raise EtcdRefused(status, reason)


def _why(error: urllib3.exceptions.HTTPError) -> str:
    """An error in words that are the same each time, so that a log can tell what it has said."""
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # a timeout, too, to urllib3
    if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
        return "no answer in time"
    return str(error).rpartition(": ")[2]


def _reason(answer: Answer) -> object:
    """A failure in words; that of a stream is one level deeper, under status 200."""
    error = answer.get("error")
    return error.get("message") if isinstance(error, dict) else answer.get("message") or error


def _tls_options(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    options = {"ca_certs": tls.ca, "cert_file": tls.cert, "key_file": tls.key}
    return {name: str(path) for name, path in options.items() if path is not None}

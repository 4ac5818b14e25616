"""Asking a coordinator (io): for its status, and to change what nodes keep on disk.

One connection, one call, bounded in time. Whatever goes wrong becomes `Unanswered` with a sentence
for the user: nobody listens there, somebody else does, or it is too busy to say.
"""

from __future__ import annotations

import os

import trio

from isthmus.wire.link import LinkError, RpcClient, RpcError

ANSWER_SECONDS_MAX = 5.0


class Unanswered(Exception):
    """Nobody answered at that address, or not as a coordinator does; the text says which."""


async def status(address: str) -> dict[str, object]:
    """The coordinator's status: a map with "processes" and more. Raises Unanswered."""
    return await _call(address, "status")


async def set_persistence(address: str, policy: str) -> dict[str, object]:
    """Set the persistence policy; the status after it is committed. Raises Unanswered."""
    return await _call(address, "set_persistence", policy=policy)


async def _call(address: str, method: str, **params: object) -> dict[str, object]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise Unanswered(f"{address!r} is not HOST:PORT, such as 127.0.0.1:9400")
    with trio.move_on_after(ANSWER_SECONDS_MAX):
        try:
            stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
            async with RpcClient.over(stream, "cli") as client:
                answer = await client.call(method, **params)
        except OSError as error:
            raise Unanswered(f"no coordinator answers at {address}: {_why(error)}") from error
        except (LinkError, RpcError) as error:
            raise Unanswered(f"the coordinator at {address} did not answer: {error}") from error
        if not isinstance(answer, dict):
            raise Unanswered(f"what answers at {address} is not a coordinator")
        return answer
    raise Unanswered(f"the coordinator at {address} did not answer in {ANSWER_SECONDS_MAX:g} s")


def _why(error: OSError) -> str:
    """The reason in words; trio joins one error per address that a name has."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup) and cause.exceptions:
        cause = cause.exceptions[0]
    found = cause if isinstance(cause, OSError) else error
    if found.errno is not None and found.errno > 0:
        return os.strerror(found.errno).lower()
    return (found.strerror or str(found)).lower()  # of a name that cannot be resolved

"""Asking a coordinator for its status (io)."""

from __future__ import annotations


class Unanswered(Exception):
    """Nobody answered at that address, or not as a coordinator does; the text says which."""


async def status(address: str) -> dict[str, object]:
    """The coordinator's status. Raises Unanswered."""
    raise Unanswered(address)

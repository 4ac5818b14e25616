"""The hello of the data link: who is at the other end, before any request is sent.

Both ends open with a HELLO frame. Its payload is

    8 bytes "ISTHMUS" and the version 1 | 40 hexadecimal digits: the sender's id | password

The proxy begins and sends the cluster's password, if there is one; the node answers with its own
id (and, in the frame's header, the epoch of the topology it holds) and no password. A node that
does not take the proxy answers HELLO | ERROR with a line of text as payload and closes.

A proxy must compare the id with the one it wanted: after a restart another node may listen on
the address.
"""

from __future__ import annotations

from isthmus.wire.frames import FrameError

MAGIC = b"ISTHMUS\x01"
ID_BYTES = 40
PASSWORD_BYTES_MAX = 1024


def greeting(identity: str, password: bytes = b"") -> bytes:
    """The payload of a hello from the process with this id."""
    return MAGIC + identity.encode("ascii").rjust(ID_BYTES, b"0")[:ID_BYTES] + password


def read_greeting(payload: bytes) -> tuple[str, bytes]:
    """(id, password) of the sender. Raises FrameError with a text for the sender."""
    if not payload.startswith(MAGIC[:-1]):
        raise FrameError("this is the data link of a node; the peer speaks another protocol")
    if not payload.startswith(MAGIC):
        raise FrameError("the peer speaks another version of the data link")
    identity = payload[len(MAGIC) : len(MAGIC) + ID_BYTES]
    password = payload[len(MAGIC) + ID_BYTES :]
    if len(identity) != ID_BYTES or len(password) > PASSWORD_BYTES_MAX:
        raise FrameError("a hello of the wrong length")
    return identity.decode("ascii", "replace"), password

"""Bytes on the wire, and nothing else: what Isthmus says and hears on a socket.

Layer 0: this package knows the Redis protocol (RESP2, RESP3, inline requests), the rule that
maps a key to a slot, the textual forms of numbers, and the framed link between our own
processes. It imports nothing of ours, keeps no data and decides nothing; it may be used from
any layer above.

`parser`, `reply`, `slots` and `pump` exist twice: as a Python file and as a Cython file of the
same module name. Once built, the extension hides the Python file; `ISTHMUS_PURE=1` refuses the
extensions. Both keep one contract (`tests/wire`), so nothing above can tell them apart but by
the clock.
"""

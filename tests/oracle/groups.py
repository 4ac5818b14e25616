"""The groups of commands that are compared, as the registry names them."""

from __future__ import annotations

GROUPS = ("string", "generic", "hash", "list", "set", "sorted_set")

"""The groups of commands that are compared, as the registry names them."""

from __future__ import annotations

GROUPS = (
    "string", "generic", "hash", "list", "set", "sorted_set", "bitmap", "hyperloglog", "stream",
    "geo",
    "sort",
    "scripting",
)  # fmt: skip
# A cluster has one database, so what concerns several is left out.
CLUSTER_GROUPS = tuple(group for group in GROUPS if group not in ("generic", "sort", "scripting"))

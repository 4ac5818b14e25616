"""How many examples a test takes: fewer where the package is interpreted and each takes longer.

Both forms meet the same kinds of examples; the many are for the compiled one.
"""

from __future__ import annotations

import isthmus

INTERPRETED_SHARE = 3


def examples(count: int) -> int:
    """`count` of the compiled package, or the share of it that the interpreted one gets."""
    return count if isthmus.compiled() else -(-count // INTERPRETED_SHARE)

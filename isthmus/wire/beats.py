"""Timers that fire together: periods counted from the machine's clock, not from each start.

Waking up costs an idle process more than what it wakes up for, and the one that hears from all the
others wakes up for each. Processes of one machine share a monotonic clock, so timers that fire on
its whole periods fire together and are served by one wake-up; machines do not share it, so a large
cluster is not in step.
"""

from __future__ import annotations


def until_next(period_seconds: float, now_seconds: float) -> float:
    """Seconds from now to the next whole period, in (0, period]."""
    return period_seconds - now_seconds % period_seconds

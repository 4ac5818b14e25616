"""Backoff: how long a replica waits before it connects to its primary once more (pure).

    how the last connection ended          the wait
    lost while it carried the stream       the first, and nothing is remembered
    lost before that, or no answer         doubles, up to a second: whoever restarts is soon back
    refused at the handshake               doubles, up to seconds: the same would be said again;
                                           in a shard up to one, for epochs reach nodes apart
    the stream could not be applied        doubles, up to seconds, although a full sync went well
                                           before: each further one costs the primary a cut

What could not be applied is forgotten once a stream has gone on for a while.
"""

from __future__ import annotations

FIRST_SECONDS = 0.05
SECONDS_MAX = 1.0
REFUSED_SECONDS_MAX = 8.0
SPOILT_SECONDS = 0.5
# A stream that has gone on for so long is one that we understand.
SOUND_SECONDS = 60.0
LOST, REFUSED, SPOILT = "lost", "refused", "spoilt"


class Backoff:
    """One target's waits, in seconds."""

    def __init__(self, in_shard: bool = False) -> None:
        self.refused_max = SECONDS_MAX if in_shard else REFUSED_SECONDS_MAX
        self.seconds = FIRST_SECONDS
        self.spoilt_seconds = 0.0

    def after(self, ended: str, streamed_seconds: float) -> float:
        """The wait behind a connection that ended so; streamed_seconds: for how long it carried
        the stream, -1 for never."""
        if streamed_seconds >= SOUND_SECONDS:
            self.spoilt_seconds = 0.0
        if ended == SPOILT:
            self.seconds = FIRST_SECONDS
            doubled = max(2 * self.spoilt_seconds, SPOILT_SECONDS)
            self.spoilt_seconds = min(doubled, REFUSED_SECONDS_MAX)
            return self.spoilt_seconds
        if streamed_seconds >= 0:
            self.seconds = FIRST_SECONDS
        else:
            most = self.refused_max if ended == REFUSED else SECONDS_MAX
            self.seconds = min(2 * self.seconds, most)
        return self.seconds

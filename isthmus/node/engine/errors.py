"""RedisError and the one table of error texts that clients see.

A RedisError is the client's fault or the state of its data: it becomes an error reply and the
connection goes on. Texts are Redis 7.4's, with the leading code and without the dash, because
clients and their tests compare them byte by byte.
"""

from __future__ import annotations


class RedisError(Exception):
    """An error reply; `text` starts with its code (ERR, WRONGTYPE, ...)."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


WRONGTYPE = b"WRONGTYPE Operation against a key holding the wrong kind of value"
SYNTAX = b"ERR syntax error"
NOT_INTEGER = b"ERR value is not an integer or out of range"
NOT_FLOAT = b"ERR value is not a valid float"
NOT_POSITIVE = b"ERR value is out of range, must be positive"
OUT_OF_RANGE = b"ERR value is out of range"
MIN_MAX_NOT_FLOAT = b"ERR min or max is not a float"
NO_SUCH_KEY = b"ERR no such key"
INDEX_OUT_OF_RANGE = b"ERR index out of range"
OVERFLOW = b"ERR increment or decrement would overflow"
NAN_OR_INFINITY = b"ERR increment would produce NaN or Infinity"
STRING_TOO_LONG = b"ERR string exceeds maximum allowed size (proto-max-bulk-len)"
SAME_OBJECT = b"ERR source and destination objects are the same"
DB_INDEX_OUT_OF_RANGE = b"ERR DB index is out of range"
INVALID_DB_INDEX = b"ERR invalid DB index"
NOAUTH = b"NOAUTH Authentication required."
WRONGPASS = b"WRONGPASS invalid username-password pair or user is disabled."
NOPROTO = b"NOPROTO unsupported protocol version"
EXECABORT = b"EXECABORT Transaction discarded because of previous errors."
CROSSSLOT = b"CROSSSLOT Keys in request don't hash to the same slot"
CLUSTERDOWN = b"CLUSTERDOWN The cluster is down"
SLOT_NOT_SERVED = b"CLUSTERDOWN Hash slot not served"
MONITOR_ONLY = b"ERR Replica can't interact with the keyspace"
NO_REPLICAS = b"NOREPLICAS Not enough good replicas to write."
OOM = b"OOM command not allowed when used memory > 'maxmemory'."
TIMEOUT_NOT_FLOAT = b"ERR timeout is not a float or out of range"
TIMEOUT_NOT_INTEGER = b"ERR timeout is not an integer or out of range"
TIMEOUT_NEGATIVE = b"ERR timeout is negative"
TIMEOUT_OUT_OF_RANGE = b"ERR timeout is out of range"
NO_CLUSTER = b"ERR This instance has cluster support disabled"
IS_LOADING = b"LOADING Redis is loading the dataset in memory"
MAX_CLIENTS = b"ERR max number of clients reached"


def wrong_arity(name: bytes) -> RedisError:
    """The error for a command called with the wrong number of arguments."""
    return RedisError(b"ERR wrong number of arguments for '" + name + b"' command")


def invalid_expire(name: bytes) -> RedisError:
    """The error for a time to live that is zero, negative where not allowed, or overflows."""
    return RedisError(b"ERR invalid expire time in '" + name + b"' command")

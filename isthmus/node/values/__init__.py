"""Values: the data types of the keyspace and the effect functions that change them.

A value is a plain structure (`packed_list`, ...); beside it, one file per data type holds the
*effect functions*: each changes a value and records the canonical write command that does the same
again, with everything already decided (absolute times, chosen members). Commands call them; so does
the replay of a log or of a replication stream. They never parse a request or write a whole reply.
"""

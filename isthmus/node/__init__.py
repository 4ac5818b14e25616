"""The node: one process that holds one replica of one shard and serves RESP to clients.

Packages, lowest layer first: `engine` (keyspace, effects, command table), `values` (what commands
do to data), `commands` (one function each), `sinks` and `cluster` (what reacts to change, and to
the coordinator), `server` (sockets, timers, the process). A lower one never imports a higher one.
"""

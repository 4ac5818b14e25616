"""The edges of a node: sockets, timers, logs, and the composition root."""

"""Replication inside a shard: the stream of effects, who follows it, and following it."""

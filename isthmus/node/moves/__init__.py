"""Slots on their way from one shard to another, as the nodes of both sides see it (DESIGN.md)."""

"""Persistence: snapshots in Redis' RDB format, and how they are read and written."""

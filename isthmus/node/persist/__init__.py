"""Persistence: the consistent cut, snapshots (RDB), the append only file, and starting from them."""

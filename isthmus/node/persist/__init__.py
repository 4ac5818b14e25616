"""Persistence: the consistent cut, snapshots, the append only file, and starting from them."""

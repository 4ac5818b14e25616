"""Persistence: the formats of what lies on disk, pure; the files marked (io) read and write it."""

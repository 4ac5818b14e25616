"""Glob patterns are the engine's, which matches keys and channels too; this is their old address."""

from __future__ import annotations

from isthmus.node.engine.patterns import glob_match

__all__ = ["glob_match"]

"""Killing, stopping and handing over primaries of a whole cluster under load."""

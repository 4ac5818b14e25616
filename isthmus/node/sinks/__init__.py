"""Sinks: what reacts to changes of data, fed by the effect log after each command."""

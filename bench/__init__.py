"""Side-by-side measurements: our node and redis-server, our proxy and nutcracker.

A figure taken alone says how fast the machine was that minute. Everything here therefore measures
two servers in turn inside one run (A B, B A, A B ...) and reports ratios of neighbouring runs; the
absolute figures are printed only to make the ratios checkable. ``bench/README.md`` explains how to
read the tables.

- ``workloads``: what is sent, and what must be in the server first (pure);
- ``report``: parsing redis-benchmark, pairing, ratios, JSON shape (pure);
- ``process``: starting, watching and ending processes; CPU and memory readings from /proc;
- ``targets``: how each of the four servers is started;
- ``run``: the measuring loops; ``screen``: the tables; ``__main__``: the command line.
"""

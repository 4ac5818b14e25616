"""Facts of the process (io) that INFO shows: system, CPU time, memory, sockets, rates.

The names are INFO's; `peak_rss` (bytes) is not shown but used for `used_memory_peak`. Rates are per
second over the last second or two, kilobytes for the network, as in Redis.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from typing import Any

from isthmus.node.server.cron import Cron
from isthmus.wire.pump import Pump

COMMANDS, BYTES_IN, BYTES_OUT = range(3)


def process_facts(pump: Pump, cron: Cron, listening: list[Any]) -> dict[str, str]:
    """INFO fields by name; `listening` has the socket names of the listeners."""
    system = os.uname()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    main = resource.getrusage(resource.RUSAGE_THREAD)
    rates = cron.rates
    facts = {
        "os": f"{system.sysname} {system.release} {system.machine}",
        "arch_bits": str(struct.calcsize("P") * 8),
        "monotonic_clock": "POSIX clock_gettime",
        "multiplexing_api": "epoll",
        "process_id": str(os.getpid()),
        "executable": sys.executable,
        "peak_rss": str(usage.ru_maxrss * 1024),
        "total_system_memory": str(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        "instantaneous_ops_per_sec": f"{rates.per_second(COMMANDS):.0f}",
        "total_net_input_bytes": str(pump.bytes_in),
        "total_net_output_bytes": str(pump.bytes_out),
        "instantaneous_input_kbps": f"{rates.per_second(BYTES_IN) / 1024:.2f}",
        "instantaneous_output_kbps": f"{rates.per_second(BYTES_OUT) / 1024:.2f}",
        "used_cpu_sys": f"{usage.ru_stime:.6f}",
        "used_cpu_user": f"{usage.ru_utime:.6f}",
        "used_cpu_sys_children": f"{children.ru_stime:.6f}",
        "used_cpu_user_children": f"{children.ru_utime:.6f}",
        "used_cpu_sys_main_thread": f"{main.ru_stime:.6f}",
        "used_cpu_user_main_thread": f"{main.ru_utime:.6f}",
    }
    for number, name in enumerate(listening[:2]):
        if isinstance(name, tuple):
            facts.setdefault("tcp_port", str(name[1]))
            facts[f"listener{number}"] = f"name=tcp,bind={name[0]},port={name[1]}"
        else:
            facts[f"listener{number}"] = f"name=unix,bind={name}"
    return facts

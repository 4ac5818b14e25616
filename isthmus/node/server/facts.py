"""Facts of the process (io) that INFO shows: system, CPU time, memory, sockets, rates.

The names are INFO's; `peak_rss` (bytes) is not shown but used for `used_memory_peak`. Rates are per
second over the last second or two, kilobytes for the network, as in Redis.
"""

from __future__ import annotations

import os
import platform
import resource
import struct
import sys
from typing import Any

from isthmus.node.server.cron import Cron
from isthmus.node.server.rates import (
    BYTES_IN,
    BYTES_OUT,
    COMMANDS,
    CYCLES,
    LOOP_USEC,
    main_thread_usec,
)
from isthmus.wire.pump import Pump


def reset_counters(pump: Pump, cron: Cron) -> None:
    """CONFIG RESETSTAT, as far as the process counts."""
    pump.bytes_in = pump.bytes_out = pump.reads = pump.writes = pump.cycles = 0
    pump.output_limit_disconnections = pump.input_limit_disconnections = 0
    cron.expiry.nanos = cron.expiry.time_cap_reached = 0
    cron.rates.samples.clear()
    cron.loop_usec_before = main_thread_usec()


def loop_facts(pump: Pump, cron: Cron) -> dict[str, str]:
    """How often the loop turned and what it did."""
    rates = cron.rates
    cycles = rates.per_second(CYCLES)
    per_cycle = rates.per_second(LOOP_USEC) / cycles if cycles else 0.0
    return {
        "expired_time_cap_reached_count": str(cron.expiry.time_cap_reached),
        "expire_cycle_cpu_milliseconds": str(cron.expiry.nanos // 1_000_000),
        "total_reads_processed": str(pump.reads),
        "total_writes_processed": str(pump.writes),
        "client_query_buffer_limit_disconnections": str(pump.input_limit_disconnections),
        "client_output_buffer_limit_disconnections": str(pump.output_limit_disconnections),
        "eventloop_cycles": str(pump.cycles),
        "eventloop_duration_sum": str(main_thread_usec() - cron.loop_usec_before),
        "eventloop_duration_cron_sum": str(cron.nanos // 1000),
        "instantaneous_eventloop_cycles_per_sec": f"{cycles:.0f}",
        "instantaneous_eventloop_duration_usec": f"{per_cycle:.0f}",
    }


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
        "gcc_version": platform.python_compiler().removeprefix("GCC "),
        "executable": sys.executable,
        "peak_rss": str(usage.ru_maxrss * 1024),
        "total_system_memory": str(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        "instantaneous_ops_per_sec": f"{rates.per_second(COMMANDS):.0f}",
        "total_net_input_bytes": str(pump.bytes_in),
        "total_net_output_bytes": str(pump.bytes_out),
        "client_output_buffer_limit_disconnections": str(pump.output_limit_disconnections),
        "instantaneous_input_kbps": f"{rates.per_second(BYTES_IN) / 1024:.2f}",
        "instantaneous_output_kbps": f"{rates.per_second(BYTES_OUT) / 1024:.2f}",
        "used_cpu_sys": f"{usage.ru_stime:.6f}",
        "used_cpu_user": f"{usage.ru_utime:.6f}",
        "used_cpu_sys_children": f"{children.ru_stime:.6f}",
        "used_cpu_user_children": f"{children.ru_utime:.6f}",
        "used_cpu_sys_main_thread": f"{main.ru_stime:.6f}",
        "used_cpu_user_main_thread": f"{main.ru_utime:.6f}",
        **loop_facts(pump, cron),
    }
    kinds = []
    tcp = [name for name in listening if isinstance(name, tuple)]
    if tcp:
        facts["tcp_port"] = str(tcp[0][1])
        hosts = ",".join(f"bind={name[0]}" for name in tcp)
        kinds.append(f"name=tcp,{hosts},port={tcp[0][1]}")
    kinds += [f"name=unix,bind={name}" for name in listening if not isinstance(name, tuple)]
    facts.update({f"listener{number}": text for number, text in enumerate(kinds)})
    return facts

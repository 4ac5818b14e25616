"""What a node tells the machine it runs on (io): pid file, supervisor, system log, OOM killer.

    pidfile         the process id, in a file that is removed at the end
    supervised      systemd (or auto): "ready" and "stopping" for the socket in NOTIFY_SOCKET
    syslog-*        every log line goes to the system's log too
    oom-score-adj   how soon the kernel ends this process when memory runs out

    dir             the folder the process works in

Only the first of the `oom-score-adj-values` is used: there are no replicas and no child processes
to use the others.
"""

from __future__ import annotations

import os
import socket
import syslog
from pathlib import Path

from isthmus.node.engine.config import Config, ConfigError
from isthmus.wire.logs import also_to, log

OOM_FILE = Path("/proc/self/oom_score_adj")
OOM_REFUSED = "Failed to apply new oom_score_adj configuration, check server logs."
PRIORITIES = {
    "DEBUG": syslog.LOG_DEBUG, "INFO": syslog.LOG_INFO, "WARN": syslog.LOG_WARNING,
    "ERROR": syslog.LOG_ERR,
}  # fmt: skip


class Surroundings:
    """The machine around one node, as its configuration wants it told."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pid_file: Path | None = None
        self.own_score = self.score()
        config.on_apply("oom-score-adj", lambda text: self.change_score("oom-score-adj"))
        config.on_apply("oom-score-adj-values", lambda text: self.change_score("oom-score-adj"))
        config.on_apply("dir", self.change_folder)

    def enter(self) -> None:
        """The node starts; OSError if the pid file cannot be written."""
        config = self.config
        if config.boolean("syslog-enabled"):
            facility = getattr(syslog, "LOG_" + config.text("syslog-facility").upper())
            syslog.openlog(config.text("syslog-ident"), syslog.LOG_PID, facility)
            also_to(lambda level, line: syslog.syslog(PRIORITIES[level], line))
        if config.text("pidfile"):
            self.pid_file = Path(config.text("pidfile"))
            self.pid_file.write_text(f"{os.getpid()}\n")
        if config.text("oom-score-adj") != "no":
            try:
                self.apply_score()
            except OSError as error:
                log("oom_score_adj_refused", level="WARN", why=str(error))

    def ready(self) -> None:
        """Clients can connect."""
        self.notify(b"STATUS=Ready to accept connections\nREADY=1\n")

    def leave(self) -> None:
        """The node is about to end."""
        self.notify(b"STOPPING=1\n")
        if self.pid_file is not None:
            self.pid_file.unlink(missing_ok=True)

    def notify(self, text: bytes) -> None:
        """Tell systemd, if that is who started us."""
        place = os.environ.get("NOTIFY_SOCKET", "")
        if self.config.text("supervised") not in ("systemd", "auto") or not place:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            try:
                out.sendto(text, "\0" + place[1:] if place[0] == "@" else place)
            except OSError as error:
                log("supervisor_unreachable", level="WARN", why=str(error))

    @staticmethod
    def score() -> int:
        """The present oom_score_adj of this process; 0 where there is no such thing."""
        try:
            return int(OOM_FILE.read_text())
        except (OSError, ValueError):
            return 0

    def apply_score(self) -> None:
        """Write the score the configuration asks for; raises OSError."""
        value = int(self.config.text("oom-score-adj-values").split()[0])
        kind = self.config.text("oom-score-adj")
        if kind == "no":
            value = self.own_score
        elif kind != "absolute":
            value += self.own_score
        OOM_FILE.write_text(str(max(-1000, min(value, 1000))))

    def change_folder(self, path: str) -> None:
        """CONFIG SET dir; raises ConfigError."""
        try:
            os.chdir(path)
        except OSError as error:
            raise ConfigError("dir", error.strerror or str(error)) from None
        self.config.values["dir"] = os.getcwd()

    def change_score(self, name: str) -> None:
        """CONFIG SET; raises ConfigError if the kernel does not permit it."""
        try:
            self.apply_score()
        except OSError:
            raise ConfigError(name, OOM_REFUSED) from None

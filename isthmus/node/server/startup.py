"""From a command line to a configuration (io): what `isthmus node` was told, and by which files.

    isthmus node --standalone [FILE] [-] [--name value [value ...]] ...

FILE is read first, then standard input if there is a `-`, then the options; the last word counts.
As redis-server takes them, a name and its values may also be one word ("--maxmemory 1gb").
The options of this program itself (--coordinator, --data-dir ...) are no parameters; --port and
--host are both. Where nobody says anything else a node listens on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from isthmus.node.engine.acl_rules import RuleError
from isthmus.node.engine.config import Config, ConfigError, read_options
from isthmus.node.engine.config_file import ConfigFile, ConfigFileError
from isthmus.node.engine.config_table import PARAMETERS
from isthmus.node.engine.node import Node
from isthmus.node.server.files import read_file
from isthmus.wire.logs import log, to_file, with_level
from isthmus.wire.membership import address_list
from isthmus.wire.scalars import split_inline

# Descriptors that are no clients: listeners, epoll, logs, files.
RESERVED_DESCRIPTORS = 32
DEFAULT_HOST = "127.0.0.1"
# The least level of our log lines that each `loglevel` lets through.
LEVELS = {
    "debug": "DEBUG", "verbose": "INFO", "notice": "INFO", "warning": "WARN", "nothing": "NONE",
}  # fmt: skip
BOTH_KINDS_OF_USERS = (
    "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path "
    "is invalid. This setup is very likely to lead to configuration errors and security holes, "
    "please define either an ACL file or declare users directly in your redis.conf, but not both."
)


def parser() -> argparse.ArgumentParser:
    """The command line of `isthmus node`."""
    it = argparse.ArgumentParser(
        prog="isthmus node", allow_abbrev=False,
        usage="%(prog)s (--standalone | --coordinator HOST:PORT) [FILE] [--name value ...]",
        description="One node: a member of a cluster, or a Redis of its own with --standalone.",
        epilog="FILE is a configuration file as redis-server takes it (- is standard input). Any "
        "parameter of CONFIG GET may follow as --name value. "
        "Example: isthmus node --standalone --port 6379 --requirepass secret --maxclients 1000",
    )  # fmt: skip
    mode = it.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--standalone", action="store_true", help="no coordinator, all slots, 16 databases"
    )
    mode.add_argument(
        "--coordinator", metavar="HOST:PORT[,...]", type=address_list,
        help="join the cluster of this coordinator, or of these, of which one leads",
    )  # fmt: skip
    it.add_argument("--host", help=f"address to listen on; --bind takes several ({DEFAULT_HOST})")
    it.add_argument("--port", type=int, help="RESP port; 0: any free one (6379)")
    it.add_argument("--link-port", type=int, default=0, help="port for proxies; 0: any free one")
    it.add_argument(
        "--metrics-port", type=int, default=-1, help="0: any free one; -1: none (%(default)s)"
    )
    it.add_argument("--announce-host", default="", help="address told to clients, if not --host")
    it.add_argument(
        "--script-memory-mb", type=int, default=1024, metavar="MB",
        help="what all Lua scripts may take together (%(default)s)",
    )  # fmt: skip
    it.add_argument(
        "--backlog-disk-mb", type=int, default=256, metavar="MB",
        help="how much of the replication stream is kept on disk for slow replicas, beyond "
        "repl-backlog-size in memory (%(default)s)",
    )  # fmt: skip
    it.add_argument("--zone", default="a", help="availability zone (%(default)s)")
    it.add_argument("--region", default="local", help="region (%(default)s)")
    it.add_argument(
        "--data-dir",
        type=Path,
        default=None,
        help="where the node keeps its identity and, unless --dir says otherwise, its data",
    )
    return it


def spread(arguments: Sequence[str]) -> list[str]:
    """The words of a command line; what is a name and its values in one word becomes several."""
    found: list[str] = []
    for word in arguments:
        parts = [os.fsencode(word)]
        if word.startswith("--") and " " in word:
            # Unbalanced quotes stay as they are: no parameter has such a name.
            with contextlib.suppress(ValueError):
                parts = split_inline(parts[0])
        found += map(os.fsdecode, parts)
    return found


def configure(args: argparse.Namespace, rest: list[str]) -> ConfigFile:
    """The configuration that the arguments and files make; raises ConfigError, ConfigFileError."""
    config = Config()
    source = ConfigFile(config, read_file, expand)
    options = list(rest)
    if options and not options[0].startswith("-"):
        path = options.pop(0)
        config.path = os.path.abspath(path)
        source.load(os.fsencode(path))
    if "-" in options:
        options.remove("-")
        source.text(sys.stdin.buffer.read())
    for name, words in read_options(options):
        source.directive([os.fsencode(word) for word in (name, *words)])
    if args.port is not None:
        config.load("port", [str(args.port)])
    if args.host is not None:
        config.load("bind", [args.host])
    elif "bind" not in config.given:
        config.load("bind", [DEFAULT_HOST])
    if args.coordinator:
        config.load("databases", ["1"])
        config.load("cluster-enabled", ["yes"])
    if args.data_dir is not None:
        # The working folder is about to change.
        args.data_dir = args.data_dir.absolute()
        args.data_dir.mkdir(parents=True, exist_ok=True)
    if args.data_dir is not None and "dir" not in config.given:
        # A node's own folder is made at its first start; one that a --dir names has to be there.
        try:
            args.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError("dir", error.strerror or str(error)) from None
        config.load("dir", [str(args.data_dir)])
    if config.text("dir"):
        try:
            os.chdir(config.text("dir"))
        except OSError as error:
            raise ConfigError("dir", error.strerror or str(error)) from None
    config.load("dir", [os.getcwd()])
    if source.users and config.text("aclfile"):
        raise ConfigError("aclfile", BOTH_KINDS_OF_USERS)
    return source


def expand(pattern: bytes) -> list[bytes]:
    """The files that a pattern means, in the order of their names."""
    return sorted(glob.glob(pattern))


def open_log(config: Config) -> None:
    """Log where and what the configuration says, from now on; raises OSError."""
    with_level(LEVELS[config.text("loglevel")])
    config.on_change("loglevel", lambda text: with_level(LEVELS[text]))
    if config.text("logfile") not in ("", "stdout"):
        to_file(config.text("logfile"))


def tell_of_useless(config: Config) -> None:
    """Say which parameters were given that change nothing here (docs/configuration.md)."""
    useless = [
        name for name in sorted(config.given)
        if not PARAMETERS[name].effect and config.text(name) != PARAMETERS[name].default
        and name != "cluster-enabled"
    ]  # fmt: skip
    if useless:
        log("parameters_without_effect", level="WARN", names=" ".join(useless))


def introduce_users(node: Node, users: dict[bytes, list[bytes]]) -> None:
    """Let the users of the configuration or of the ACL file in; RuleError, OSError."""
    if users:
        node.acl.declare(users)
    path = os.fsencode(node.config.text("aclfile"))
    if path:
        node.acl.load(read_file(path), path)


def raise_descriptor_limit(clients_max: int) -> int:
    """Let the process have a descriptor for each client; how many clients there is room for."""
    wanted = clients_max + RESERVED_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return clients_max
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log("descriptors_short", level="WARN", limit=allowed, wanted=wanted,
            why="fewer clients than maxclients can connect; raise the limit of open files",
            )  # fmt: skip
    return allowed - RESERVED_DESCRIPTORS


def more_clients(text: str) -> None:
    """CONFIG SET maxclients; raises ConfigError if the system does not permit so many."""
    room = raise_descriptor_limit(int(text))
    if room < int(text):
        raise ConfigError(
            "maxclients",
            "The operating system is not able to handle the specified number of clients, try with "
            f"{room}",
        )


def explain(error: Exception) -> str:
    """An error of the start as it is printed."""
    if isinstance(error, ConfigFileError):
        return str(error)
    if isinstance(error, RuleError):
        return f"isthmus node: {error.why.decode(errors='replace')}"
    return f"isthmus node: {error}"

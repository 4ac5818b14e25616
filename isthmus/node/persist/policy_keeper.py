"""PolicyKeeper: holds a node of a cluster to the persistence policy of its coordinator (io).

Policies and their texts are in wire/policy.py. The coordinator pushes one with each topology; here
it becomes the parameters appendonly, appendfsync and save, and the data is moved from one kind of
file to the other. Three policies play a part:

    wanted      what the coordinator says
    in force    what is kept already; it is what the data folder remembers, and what beats report
    remembered  `node.policy` in the data folder: the text and a line feed

The rule: **what `node.policy` names is on the disk, whole.** A node must load its data before it
can know what the coordinator wants, and goes by that file: `aof:*` loads the append only file,
`rdb:*` and `off` the snapshot, if there is one. So a new policy is remembered only when its kind of
file holds everything, and the old kind goes on being written until then:

1. to `aof`: the append only file is turned on, which writes all data to its base; then remembered.
2. to `rdb`: a snapshot is written; then remembered; then the append only file is turned off.
3. to `off`: remembered; then nothing is written any more. Files that are there stay there.

A step that fails is told in the log and in beats, and tried again after RETRY_SECONDS; the policy
before it stays in force.

A folder without `node.policy` is one of an older version, or was filled by hand: an append only
file is loaded if there is one, else a snapshot. A node without a data folder has a new identity
with each start, so nothing it kept could ever be used again: it loads nothing and keeps nothing,
and says so.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from isthmus.node.engine.config import Config, ConfigError
from isthmus.node.engine.context import GATE_BUSY, GATE_LOADING
from isthmus.node.engine.errors import RedisError
from isthmus.node.persist.aof_manifest import manifest_name
from isthmus.node.persist.cut_file import sync_folder
from isthmus.wire.logs import log
from isthmus.wire.policy import (
    AOF,
    OFF,
    PARAMETERS,
    RDB,
    TEXT_CHARS_MAX,
    Policy,
    PolicyError,
    parse,
)

FILE: Final = "node.policy"
STEP_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 5.0
# In a beat, where the coordinator takes 200.
PROBLEM_CHARS_MAX: Final = 200
REFUSAL: Final = (
    "the coordinator of the cluster decides what its nodes keep on disk; use: "
    "isthmus persistence set POLICY"
)
HOMELESS: Final = "started without --data-dir: nothing is kept on disk"

Clock = Callable[[], float]


class PolicyFileError(Exception):
    """`node.policy` cannot be used; the text says why and what helps."""


def remembered(folder: Path) -> Policy | None:
    """The policy of a data folder; None if there is none yet. Raises PolicyFileError."""
    path = folder / FILE
    try:
        with open(path, "rb") as file:
            data = file.read(TEXT_CHARS_MAX + 2)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyFileError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return parse(data.decode("ascii", "replace").removesuffix("\n"))
    except PolicyError as error:
        raise PolicyFileError(
            f"{path} does not hold a persistence policy ({error}); write into it the policy that "
            "the files beside it are of, such as aof:everysec or rdb:1h"
        ) from None


def remember(folder: Path, policy: Policy) -> None:
    """Write `node.policy`, whole or not at all; raises OSError."""
    draft = folder / (FILE + ".new")
    with open(draft, "wb") as file:
        file.write(f"{policy}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, folder / FILE)
    sync_folder(str(folder))


def set_before_loading(config: Config, folder: Path | None) -> Policy | None:
    """Let the parameters say what is to be loaded; the policy in force. Raises PolicyFileError.

    The working folder is the configured one. What was given by hand loses, and is named in the log.
    """
    by_hand = sorted(set(PARAMETERS) & config.given)
    policy: Policy | None = OFF
    values = dict(OFF.parameters())
    if folder is not None:
        policy = remembered(folder)
        if policy is not None:
            values.update(policy.parameters())
        elif _has_append_only_file(config):
            values["appendonly"] = "yes"
    if by_hand:
        log(
            "parameters_overridden", level="WARN", names=" ".join(by_hand), why=REFUSAL,
            policy=str(policy or "not known yet"),
        )  # fmt: skip
    for name, text in values.items():
        # Save points add up when they are loaded, from nothing on.
        config.load(name, [""] if name == "save" else [text])
        if name == "save" and text:
            config.load(name, [text])
    return policy


def _has_append_only_file(config: Config) -> bool:
    name = str(config.text("appendfilename"))
    manifest = os.path.join(str(config.text("appenddirname")), manifest_name(name))
    return os.path.exists(manifest) or os.path.exists(name)


class PolicyKeeper:
    """One node's policy; `run` brings what is wanted about."""

    def __init__(
        self, node: Any, folder: Path | None, in_force: Policy | None,
        monotonic: Clock = time.monotonic,
    ) -> None:  # fmt: skip
        self.node = node
        self.kept = node.persistence
        self.folder = None if folder is None else folder.absolute()
        self.in_force = in_force
        self.wanted = in_force
        self.problem = HOMELESS if folder is None else ""
        self.monotonic = monotonic
        self.pending = False
        self.retry_at = 0.0
        # How many snapshots and rewrites there had been when one was asked for; -1: none was.
        self.snapshots_before = -1
        self.rewrites_before = -1
        self.changed = trio.Event()
        for name in PARAMETERS:
            node.reserved[name] = REFUSAL

    # -- what the coordinator says ------------------------------------------------------------

    def told(self, text: object) -> None:
        """A topology came, and this is the policy in it."""
        try:
            policy = parse(text)
        except PolicyError as error:
            log("persistence_not_understood", level="ERROR", why=str(error))
            return
        if policy == self.wanted:
            return
        self.wanted = policy
        if self.folder is None:
            level = "INFO" if policy == OFF else "WARN"
            log("persistence_without_folder", level=level, wanted=str(policy), why=HOMELESS)
            return
        log("persistence_wanted", policy=str(policy), in_force=str(self.in_force or "none"))
        self.pending = True
        self.retry_at = 0.0
        self.problem = ""
        self.changed.set()

    async def run(self) -> None:
        """Bring about what is wanted, until cancelled."""
        while True:
            if self.pending:
                self.step()
            with trio.move_on_after(STEP_SECONDS if self.pending else math.inf):
                await self.changed.wait()
                self.changed = trio.Event()

    # -- bringing it about --------------------------------------------------------------------

    def step(self) -> None:
        """Do what can be done now towards the policy that is wanted."""
        node, wanted = self.node, self.wanted or OFF
        # The cut that a step may begin must not see half a script.
        if node.ctx.gates & (GATE_BUSY | GATE_LOADING) or self.monotonic() < self.retry_at:
            return
        node.ctx.session = None
        try:
            if wanted.kind == AOF:
                done = self.append(wanted)
            elif wanted.kind == RDB:
                done = self.snapshot(wanted)
            else:
                done = True
            if done:
                self.enforce(wanted)
        except (ConfigError, RedisError, OSError) as error:
            self.failed(_words(error))

    def append(self, wanted: Policy) -> bool:
        """Turn the append only file on. True once it holds everything."""
        aof = self.kept.aof
        self.set(appendfsync=wanted.sync)
        if self.holds(AOF):
            return True
        if self.rewrites_before < 0:
            if aof.enabled:
                return True  # on since the start, because its files were there
            before = aof.rewrites
            self.set(appendonly="yes")
            self.rewrites_before = before
        if aof.rewrites > self.rewrites_before and not aof.broken:
            self.rewrites_before = -1
            return True
        if self.kept.snapshots.job is None and not aof.rewrite_scheduled:
            # Its base could not be written, and without one it is worth nothing: begin again.
            self.set(appendonly="no")
            self.rewrites_before = -1
            raise OSError("the base of the append only file could not be written")
        return False

    def snapshot(self, wanted: Policy) -> bool:
        """Write a snapshot, if the one there may lack something. True once there is one."""
        saves = self.kept.snapshots
        self.set(save=wanted.save)
        if self.holds(RDB):
            return True
        if self.snapshots_before < 0:
            if saves.job is not None:
                return False
            before = saves.saves
            saves.save_beside(False)
            self.snapshots_before = before
        if saves.saves > self.snapshots_before:
            self.snapshots_before = -1
            return True
        if saves.job is None:
            self.snapshots_before = -1
            raise OSError("the snapshot could not be written")
        return False

    def holds(self, kind: str) -> bool:
        """True if the policy in force is of this kind already: then only a detail changes."""
        return self.in_force is not None and self.in_force.kind == kind

    def enforce(self, policy: Policy) -> None:
        """The files are such as the policy wants them: remember it, then write no others."""
        assert self.folder is not None
        remember(self.folder, policy)
        self.in_force = policy
        self.set(**policy.parameters())
        aof = self.kept.aof
        if policy.sync == "always" and aof.enabled and aof.written > aof.synced:
            # What was acknowledged before is to be as safe as what will be.
            aof.sync_now()
        self.rewrites_before = self.snapshots_before = -1
        self.problem = ""
        self.pending = False
        log("persistence_in_force", policy=str(policy))

    def set(self, **values: str) -> None:
        """Change parameters that differ, as CONFIG SET would; raises ConfigError."""
        config = self.node.config
        pairs = [(name, text) for name, text in values.items() if config.text(name) != text]
        if pairs:
            config.set_many(pairs)

    def failed(self, why: str) -> None:
        """A step could not be done: say so, and try again later."""
        if why != self.problem:
            log("persistence_failed", level="ERROR", wanted=str(self.wanted), why=why)
        self.problem = why
        self.retry_at = self.monotonic() + RETRY_SECONDS

    # -- what others are told -----------------------------------------------------------------

    def health(self) -> dict[str, object]:
        """How this node fares, small enough for every beat."""
        saves, aof = self.kept.snapshots, self.kept.aof
        # Until there is a snapshot, LASTSAVE is the time of the start.
        none_yet = not saves.saves and saves.last_save_s == self.node.started_ms // 1000
        return {
            "policy": str(self.in_force or OFF),
            "saved_s": 0 if none_yet else saves.last_save_s,
            "aof_bytes": aof.total_bytes if aof.enabled else 0,
            "problem": self.trouble()[:PROBLEM_CHARS_MAX],
        }

    def trouble(self) -> str:
        """What is not as it should be, the worst first; empty if all is well."""
        kept = self.kept
        saves, aof = kept.snapshots, kept.aof
        refused = kept.refusal() is not None
        if aof.problem:
            text = f"writes are refused (MISCONF): append only file: {aof.problem}"
        elif not saves.last_ok and (refused or self.node.config.text("save")):
            text = "the last snapshot failed" + (
                ": writes are refused (MISCONF)" if refused else ""
            )
        elif self.problem:
            text = self.problem if self.folder is None else f"cannot change: {self.problem}"
        elif not aof.last_rewrite_ok and aof.enabled:
            text = "the last rewrite of the append only file failed"
        elif self.pending:
            text = f"changing to {self.wanted}"
        else:
            text = ""
        return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)


def _words(error: Exception) -> str:
    """Why a step failed, for people."""
    if isinstance(error, ConfigError):
        return error.why
    if isinstance(error, RedisError):
        return error.text.decode(errors="replace")
    return str(getattr(error, "strerror", None) or error)

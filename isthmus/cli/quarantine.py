"""`isthmus quarantine`: what failovers took away, and how to have it back (io).

The receipts and the commands they tell of are files of the nodes (node/replicate/quarantine.py), so
these commands read folders: those of the cluster in a data folder, or any that are named, copied
from other machines perhaps. Exit status: 0 if it was done or shown, 1 if something was left out or
cannot be done, 2 for a command line that makes no sense.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import trio
import typer
from rich import box
from rich.table import Table

from isthmus.cli import inquiry, replay, screen
from isthmus.cli.shards import Unreachable
from isthmus.cli.sync import Server, server_of
from isthmus.cli.target import AsJson, DataDir, fail, state_of
from isthmus.cli.transfer import say, size_text
from isthmus.node.replicate.quarantine import FOLDER, Receipt, read_receipt, write_receipt

COMMANDS_SHOWN = 20
KEYS_SHOWN = 20
ARGUMENT_CHARS_MAX = 40

group = typer.Typer(
    name="quarantine",
    help="Writes that a failover took away: list them, show them, send them again.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
ReceiptName = Annotated[
    str, typer.Argument(metavar="RECEIPT", help="A receipt's name, as list shows it, or its file.")
]


@dataclass(frozen=True, slots=True)
class Kept:
    """One receipt and where it is."""

    path: Path
    receipt: Receipt

    @property
    def tail(self) -> Path:
        """The file with the commands."""
        return self.path.with_suffix(".aof")


@group.command(
    "list",
    epilog="Examples:\n\n"
    "  isthmus quarantine list\n\n"
    "  isthmus quarantine list --data-dir /tmp/second --json\n\n"
    "  isthmus quarantine list /backup/node-3/quarantine",
)
def list_(
    data_dir: DataDir,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER...]", help="Data folders of nodes, instead of DIR."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the loss receipts of all nodes, the oldest first."""
    found = receipts(data_dir, folders)
    if as_json:
        _dump([_told(kept) for kept in found])
        return
    console = screen.output()
    if not found:
        console.print("nothing was lost: there are no receipts", highlight=False)
        return
    console.print(table(found))
    waiting = sum(not kept.receipt.settled_ms for kept in found)
    console.print(
        f"\n{waiting} of {len(found)} not settled: isthmus quarantine show RECEIPT tells more",
        markup=False, highlight=False,
    )  # fmt: skip


@group.command(
    epilog="Examples:\n\n"
    "  isthmus quarantine show 1795444800123-0-17\n\n"
    "  isthmus quarantine show 1795444800123-0-17 --commands 1000\n\n"
    "  isthmus quarantine show /backup/node-3/quarantine/1795444800123-0-17.json --json"
)
def show(
    receipt: ReceiptName,
    data_dir: DataDir,
    commands: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show so many of the commands.")
    ] = COMMANDS_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show what was lost: the shard, when, how many writes, which keys, the commands."""
    kept = _find(data_dir, receipt)
    if as_json:
        _dump(_told(kept))
        return
    console = screen.output()
    for line in described(kept, commands):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@group.command("replay", epilog=replay.EXAMPLES, help=replay.HELP)
def replay_(
    receipt: ReceiptName,
    data_dir: DataDir,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="redis://\\[user:password@]host:port: a proxy, or any node of the cluster.",
            show_default="the proxy of the cluster in DIR",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")
    ] = False,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Only keys that are not there now.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All keys, whatever became of them since.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See replay.HELP."""
    if only_missing and everything:
        raise fail("--only-missing and --all contradict each other", 2)
    which = replay.MISSING if only_missing else replay.ALL if everything else replay.UNTOUCHED
    kept = _find(data_dir, receipt)
    _check(kept, everything)
    try:
        server = server_of(target) if target is not None else _proxy(data_dir)
    except ValueError as error:
        raise fail(str(error), 2) from error
    coordinator = _coordinator(data_dir)
    try:
        data = kept.tail.read_bytes()
        told = trio.run(_replay, kept, data, server, which, dry_run, coordinator)
    except OSError as error:
        raise fail(f"cannot read {kept.tail}: {error.strerror}") from error
    except Unreachable as error:
        raise fail(f"{error}; what was sent before that stays, and is not sent twice") from error
    if as_json:
        _dump(asdict(told))
    else:
        for line in told.lines(dry_run):
            screen.output().print(line, markup=False, highlight=False, soft_wrap=True)
    if not dry_run and told.complete:
        _settle(kept, coordinator)
    elif told.failed:
        raise typer.Exit(1)


@group.command(
    epilog="Example:\n\n  isthmus quarantine settle 1795444800123-0-17",
)
def settle(receipt: ReceiptName, data_dir: DataDir) -> None:
    """Note that somebody is done with a receipt, so that status warns of it no more.

    The files stay; delete them when they are not needed.
    """
    _settle(_find(data_dir, receipt), _coordinator(data_dir))


def receipts(data_dir: Path, folders: list[Path] | None = None) -> list[Kept]:
    """The receipts in these folders, or of the cluster in a data folder; the oldest first."""
    places = []
    for folder in folders or [data_dir.expanduser()]:
        if not folder.is_dir():
            raise fail(f"{folder} is no folder")
        places += [folder, folder / FOLDER, *sorted(folder.glob(f"node-*/{FOLDER}"))]
    found: dict[Path, Kept] = {}
    for place in places:
        for path in place.glob("*-*-*.json"):
            try:
                found[path] = Kept(path, read_receipt(str(path)))
            except (OSError, ValueError) as error:
                say(f"{path} cannot be read: {error}", "yellow")
    return sorted(found.values(), key=lambda kept: (kept.receipt.written_ms, str(kept.path)))


def _find(data_dir: Path, name: str) -> Kept:
    """The receipt of that name, or in that file."""
    path = Path(name)
    if path.suffix == ".json" or "/" in name:
        try:
            path = path.with_suffix(".json")
            return Kept(path, read_receipt(str(path)))
        except (OSError, ValueError) as error:
            raise fail(f"{path} is no receipt: {error}") from error
    directory = data_dir.expanduser()
    found = [kept for kept in receipts(directory) if kept.receipt.name == name]
    if not found:
        raise fail(
            f"there is no receipt {name} in {directory}: isthmus quarantine list shows which there "
            "are; those of nodes on other machines are in their data folders"
        )
    if len(found) > 1:
        raise fail(f"two receipts have that name, give a file: {found[0].path}, {found[1].path}")
    return found[0]


def table(found: list[Kept]) -> Table:
    """A line for each receipt."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    columns = ("receipt", "shard", "epoch", "last write", "writes", "keys", "size", "state")
    for column in columns:
        right = column in ("shard", "epoch", "writes", "keys", "size")
        shown.add_column(column, justify="right" if right else "left", no_wrap=True)
    for kept in found:
        it = kept.receipt
        state = "settled" if it.settled_ms else "open" if it.kept else "not kept"
        shown.add_row(
            it.name, str(it.shard), str(it.epoch), _moment(it.last_ms or it.written_ms),
            str(it.commands) if it.kept else "?", str(it.key_count) if it.kept else "?",
            size_text(it.bytes), state, style=None if it.settled_ms else "yellow",
        )  # fmt: skip
    return shown


def described(kept: Kept, commands: int) -> list[str]:
    """A receipt for people."""
    it = kept.receipt
    at_most = "" if it.exact else "at most "
    lines = [
        f"receipt     {it.name}" + (" (settled)" if it.settled_ms else ""),
        f"shard       {it.shard}, given up under epoch {it.epoch}",
        f"node        {it.node}, which was primary before {it.new_primary}",
        f"written     {_range(it)}",
        f"stream      {it.replid}, bytes {it.from_offset} to {it.to_offset}, {size_text(it.bytes)}",
    ]
    if not it.kept:
        return [*lines, "lost        all of it: neither memory nor a file had it any more"]
    lines += [
        f"lost        {at_most}{it.commands} writes of {it.key_count} keys",
        f"kept in     {kept.tail}",
        "keys        " + ", ".join(it.keys[:KEYS_SHOWN])
        + (f" and {it.key_count - KEYS_SHOWN} more" if it.key_count > KEYS_SHOWN else ""),
    ]  # fmt: skip
    if not it.exact:
        lines.append("not exact   the file begins before the tail: some of it was not lost")
    try:
        listed = replay.first_commands(kept.tail.read_bytes(), commands)
    except OSError as error:
        return [*lines, f"commands    cannot be read: {error.strerror}"]
    if not listed:
        return lines
    more = it.commands - len(listed)
    lines += ["commands", *(f"    {_shown(argv)}" for argv in listed)]
    return lines + ([f"    and {more} more (--commands {it.commands})"] if more > 0 else [])


def _range(it: Receipt) -> str:
    if not it.last_ms:
        return f"before {_moment(it.written_ms)}, when that was no longer known"
    begun = f"between {_moment(it.first_ms)} and " if it.first_ms else "until "
    return f"{begun}{_moment(it.last_ms)}; noted {_moment(it.written_ms)}"


def _moment(ms: int) -> str:
    if not 0 < ms < 1 << 44:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms // 1000)) + f".{ms % 1000:03d}"


def _shown(argv: list[bytes]) -> str:
    words = []
    for word in argv:
        text = repr(word)[2:-1]
        cut = len(text) > ARGUMENT_CHARS_MAX
        words.append(f'"{text[:ARGUMENT_CHARS_MAX]}..."' if cut else f'"{text}"')
    return " ".join([argv[0].decode("ascii", "replace"), *words[1:]])


def _check(kept: Kept, everything: bool) -> None:
    """Refuse what would do harm, or cannot be done."""
    it = kept.receipt
    if not it.kept:
        raise fail(f"receipt {it.name} holds no commands: they could not be kept")
    if it.settled_ms and not everything:
        raise fail(
            f"receipt {it.name} was settled on {_moment(it.settled_ms)}; --all sends it again"
        )
    if not it.exact and not everything:
        raise fail(
            f"the file of {it.name} begins before what was lost, and to send what was not lost "
            "again would count it twice: look at the commands, then --all sends all of them"
        )


def _proxy(data_dir: Path) -> Server:
    found = state_of(data_dir.expanduser().absolute())
    if found is None or not found.running() or not found.proxies:
        raise fail(f"no cluster with a proxy runs in {data_dir}: name a --target")
    return server_of(found.proxies[0])


def _coordinator(data_dir: Path) -> str:
    """The coordinator's address; empty if no cluster runs in that folder."""
    found = state_of(data_dir.expanduser().absolute())
    return "" if found is None or not found.running() else found.coordinator


async def _replay(
    kept: Kept, data: bytes, server: Server, which: str, dry_run: bool, coordinator: str
) -> replay.Outcome:
    it = kept.receipt
    # The new primary wrote nothing before the decision; nor before the tail began, if only that is
    # known. When the tail ended says nothing: by then the new one may have been at work for long.
    since_ms = it.first_ms
    if coordinator:
        try:
            since_ms = decided_ms(await inquiry.explain(coordinator, None), it) or since_ms
        except inquiry.Unanswered as error:
            say(f"when the shard failed over is not known: {error}", "yellow")
    return await replay.run(data, server, which, since_ms, dry_run)


def decided_ms(entries: list[dict[str, Any]], receipt: Receipt) -> int:
    """When the failover that this receipt is of was decided, Unix ms; 0 if nobody knows."""
    return max(
        (
            int(entry.get("at_ms") or 0) for entry in entries
            if entry.get("promoted") and entry.get("event") != "handover"
            and (entry.get("shard"), entry.get("epoch")) == (receipt.shard, receipt.epoch)
        ),
        default=0,
    )  # fmt: skip


def _settle(kept: Kept, coordinator: str) -> None:
    it = kept.receipt
    if not it.settled_ms:
        it.settled_ms = int(time.time() * 1000)
        try:
            write_receipt(str(kept.path), it)
        except OSError as error:
            say(f"{kept.path} cannot be marked as settled: {error.strerror}", "yellow")
    if coordinator:
        try:
            trio.run(inquiry.settle_receipt, coordinator, it.name)
        except inquiry.Unanswered as error:
            say(f"the coordinator does not know that {it.name} is settled: {error}", "yellow")
    say(f"receipt {it.name} is settled")


def _told(kept: Kept) -> dict[str, Any]:
    it = kept.receipt
    return {"name": it.name, "file": str(kept.path), "bytes": it.bytes, **asdict(it)}


def _dump(what: object) -> None:
    json.dump(what, sys.stdout, indent=1)
    sys.stdout.write("\n")

"""ReplicaLink: the side of one connection to a primary that follows; pure, bytes in, events out.

What is said, in Redis' own words (a replica asks, the primary answers):

    PING                                    +PONG, or an error that only asks who we are
    AUTH [user] password                    +OK
    REPLCONF listening-port N               +OK; an old primary may know none of these
    REPLCONF ip-address A
    REPLCONF capa eof capa psync2
    REPLCONF isthmus-node ID isthmus-epoch N    in a cluster; +OK, or we are not of its shard
    REPLCONF isthmus-tail replid            in a cluster, if there is data; how far the primary
                                            has that stream, :-1 if it does not know it
    REPLCONF isthmus-move ID                to fetch the slots of a move (node/moves)
    PSYNC replid offset [FAILOVER]          `offset` is that of the first byte that is not here
                                            yet; ? -1: everything; FAILOVER: lead, and let us
                                            follow

    +FULLRESYNC replid offset               a snapshot follows, then the stream behind `offset`
        $<length>, the bytes                or  $EOF:<mark of 40 bytes>, bytes, the mark
    +CONTINUE [replid]                      the stream follows from the offset that was asked for
    -NOMASTERLINK, -LOADING, ...            not now

Line feeds between answers, before the payload, say only that the primary is alive. Then the link
carries the stream and nothing else, which apply.py reads.

Invariant: the events do not depend on how the bytes were cut. After `Failed` nothing follows. This
module decides nothing about data: whoever drives it (follow.py) does what the events say.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.wire.resp import pack

LINE_BYTES_MAX = 16 * 1024
MARK_BYTES = 40
ID_BYTES = 40
NO_OFFSET = -1
TAIL = "isthmus-tail"
# What a primary says to PING that does not know us yet: AUTH follows.
WHO_ARE_YOU = (b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")
# Where the exchange stands.
PING, INTRODUCE, PSYNC, HEAD, SIZED, MARKED, STREAM, DEAD = (
    "ping", "introduce", "psync", "head", "sized", "marked", "stream", "dead"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes to the primary."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FullSync:
    """A snapshot comes, the data as of `offset` of the stream `replid`. Of the stream we named the
    primary has what is up to `common`, as far as it says; -1: it does not."""

    replid: str
    offset: int
    common: int = -1


@dataclass(frozen=True, slots=True)
class PayloadBegins:
    """The snapshot begins; its length in bytes, or -1 where its end is marked."""

    size: int


@dataclass(frozen=True, slots=True)
class Payload:
    """A piece of the snapshot."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PayloadEnds:
    """The snapshot is whole, as far as its length or its mark can tell. The stream follows."""

    marked: bool


@dataclass(frozen=True, slots=True)
class PartialSync:
    """The stream goes on where we asked; `replid` is its name from here on."""

    replid: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A piece of the stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """This connection leads nowhere; `refused`: the primary will say the same again."""

    reason: str
    refused: bool = False


Event = Send | FullSync | PayloadBegins | Payload | PayloadEnds | PartialSync | Stream | Failed


@dataclass(frozen=True, slots=True)
class Introduction:
    """Who we are and what we have. `replid` "?" with `offset` -1 asks for everything; `failover`:
    the other one shall lead."""

    port: int
    replid: str = "?"
    offset: int = NO_OFFSET
    address: str = ""
    user: str = ""
    password: str = ""
    node_id: str = ""
    epoch: int = 0
    failover: bool = False
    move: str = ""


class ReplicaLink:
    """One connection to a primary, from PING to the stream."""

    def __init__(self, me: Introduction) -> None:
        self.me = me
        self.state = PING
        self.held = bytearray()
        # What the answers to come are answers to, and whether a refusal ends it.
        self.expected: list[tuple[str, bool]] = []
        self.left = 0
        self.mark = b""
        self.common = -1

    def begin(self) -> bytes:
        """What a new connection starts with."""
        return pack([b"PING"])

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes of the primary."""
        if self.state == STREAM:
            return [Stream(data)] if data else []
        events: list[Event] = []
        self.held += data
        while self.state != DEAD and self._advance(events):
            pass
        return events

    def _advance(self, events: list[Event]) -> bool:
        """Make one step. False if more bytes are needed."""
        if self.state == STREAM:
            if self.held:
                events.append(Stream(self._take(len(self.held))))
            return False
        if self.state == SIZED:
            return self._sized(events)
        if self.state == MARKED:
            return self._marked(events)
        return self._line(events)

    def _take(self, count: int) -> bytes:
        data = bytes(self.held[:count])
        del self.held[:count]
        return data

    def _fail(self, events: list[Event], reason: str, refused: bool = False) -> None:
        self.state = DEAD
        self.held.clear()
        events.append(Failed(reason, refused))

    # -- lines --------------------------------------------------------------------------------

    def _line(self, events: list[Event]) -> bool:
        end = self.held.find(b"\n", 0, LINE_BYTES_MAX)
        if end < 0:
            if len(self.held) >= LINE_BYTES_MAX:
                self._fail(events, "an answer without an end")
            return False
        line = self._take(end + 1).rstrip(b"\r\n")
        if line:
            getattr(self, f"_in_{self.state}")(line, events)
        return True

    def _in_ping(self, line: bytes, events: list[Event]) -> None:
        if not line.startswith((b"+", *WHO_ARE_YOU)):
            self._fail(events, f"PING was answered by {shown(line)}")
            return
        me = self.me
        said: list[list[bytes]] = []
        if me.password:
            names = [me.user.encode()] if me.user else []
            said.append([b"AUTH", *names, me.password.encode("utf-8", "surrogateescape")])
            self.expected.append(("AUTH", True))
        said.append([b"REPLCONF", b"listening-port", b"%d" % me.port])
        self.expected.append(("listening-port", False))
        if me.address:
            said.append([b"REPLCONF", b"ip-address", me.address.encode()])
            self.expected.append(("ip-address", False))
        said.append([b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])
        self.expected.append(("capa", False))
        if me.node_id:
            epoch = b"%d" % me.epoch
            said.append(
                [b"REPLCONF", b"isthmus-node", me.node_id.encode(), b"isthmus-epoch", epoch]
            )
            self.expected.append(("isthmus-node", True))
            if me.offset != NO_OFFSET:
                said.append([b"REPLCONF", b"isthmus-tail", me.replid.encode()])
                self.expected.append((TAIL, False))
        if me.move:
            said.append([b"REPLCONF", b"isthmus-move", me.move.encode()])
            self.expected.append(("isthmus-move", True))
        self.state = INTRODUCE
        events.append(Send(b"".join(map(pack, said))))

    def _in_introduce(self, line: bytes, events: list[Event]) -> None:
        what, needed = self.expected.pop(0)
        if what == TAIL and line[:1] == b":" and line[1:].isdigit() and len(line) < 20:
            self.common = int(line[1:])
        if needed and not line.startswith(b"+"):
            self._fail(events, f"{what} was answered by {shown(line)}", True)
        elif not self.expected:
            # Only now: a primary that refused us would not be asked for its data.
            self.state = PSYNC
            asked = [b"PSYNC", self.me.replid.encode(), b"%d" % self.me.offset]
            if self.me.failover:
                asked.append(b"FAILOVER")
            events.append(Send(pack(asked)))

    def _in_psync(self, line: bytes, events: list[Event]) -> None:
        words = line.split()
        if words[0] == b"+FULLRESYNC":
            if len(words) == 3 and is_id(words[1]) and words[2].isdigit() and len(words[2]) < 19:
                self.state = HEAD
                events.append(FullSync(words[1].decode(), int(words[2]), self.common))
                return
        elif words[0] == b"+CONTINUE" and self.me.offset != NO_OFFSET:
            if len(words) == 1 or (len(words) == 2 and is_id(words[1])):
                self.state = STREAM
                replid = words[1].decode() if len(words) == 2 else self.me.replid
                events.append(PartialSync(replid))
                return
        # What asks to come again later is no refusal of what was asked.
        refused = not line.startswith((b"-NOMASTERLINK", b"-LOADING"))
        self._fail(events, f"PSYNC was answered by {shown(line)}", refused)

    # -- the payload --------------------------------------------------------------------------

    def _in_head(self, line: bytes, events: list[Event]) -> None:
        if line.startswith(b"$EOF:") and len(line) == 5 + MARK_BYTES:
            self.mark = line[5:]
            self.state = MARKED
            events.append(PayloadBegins(-1))
        elif line.startswith(b"$") and line[1:].isdigit() and len(line) < 19:
            self.left = int(line[1:])
            self.state = SIZED
            events.append(PayloadBegins(self.left))
        else:
            self._fail(events, f"instead of a snapshot came {shown(line)}")

    def _sized(self, events: list[Event]) -> bool:
        if self.left == 0:
            self.state = STREAM
            events.append(PayloadEnds(False))
            return True
        if not self.held:
            return False
        data = self._take(min(self.left, len(self.held)))
        self.left -= len(data)
        events.append(Payload(data))
        return True

    def _marked(self, events: list[Event]) -> bool:
        at = self.held.find(self.mark)
        if at >= 0:
            if at:
                events.append(Payload(self._take(at)))
            self._take(MARK_BYTES)
            self.state = STREAM
            events.append(PayloadEnds(True))
            return True
        # The last bytes may be the beginning of the mark.
        sure = len(self.held) - (MARK_BYTES - 1)
        if sure > 0:
            events.append(Payload(self._take(sure)))
        return False


def is_id(text: bytes) -> bool:
    """True for a replication id."""
    return len(text) == ID_BYTES and text.isalnum()


def shown(line: bytes) -> str:
    """An answer as it may stand in a message."""
    return line[:200].decode("ascii", "backslashreplace")

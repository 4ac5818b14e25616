"""The commands a proxy answers itself: the connection, the client, and who the proxy is.

A handler gets the Session and the arguments, whose number has been checked, and writes one reply to
`session.out`, or raises RedisError. Texts and orders of checks are those of the node's own commands
(isthmus/node/commands), so that a client cannot tell the difference.

To clients the proxy is one Redis that is not in cluster mode, with database 0 only.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from typing import TYPE_CHECKING

from isthmus.node.spec import RedisError, connection, errors, wrong_arity
from isthmus.wire.scalars import parse_int

if TYPE_CHECKING:
    from isthmus.proxy.session import Session

Argv = list[bytes]
CLIENT_TYPES = (b"normal", b"master", b"replica", b"slave", b"pubsub")
NO_TRACKING = b"ERR client-side caching is not available through the proxy"
# As a node to a client that does not track.
NOT_TRACKING = (
    b"ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
    b"OPTOUT mode enabled"
)
LOLWUT = b"A narrow strip of land, with a sea on either side.\nRedis ver. %b, by way of Isthmus\n"


def ping(session: Session, argv: Argv) -> None:
    """PING [message]."""
    if len(argv) > 2:
        raise wrong_arity(b"ping")
    if session.protocol == 2 and any(session.subscriptions.values()):
        session.out.array(2)
        session.out.bulk(b"pong")
        session.out.bulk(argv[1] if len(argv) == 2 else b"")
    elif len(argv) == 2:
        session.out.bulk(argv[1])
    else:
        session.out.simple(b"PONG")


def echo(session: Session, argv: Argv) -> None:
    """ECHO message."""
    session.out.bulk(argv[1])


def ok(session: Session, argv: Argv) -> None:
    """READONLY and READWRITE: a proxy always asks the primary."""
    session.out.ok()


def select(session: Session, argv: Argv) -> None:
    """SELECT index: there is only database 0."""
    if connection.int32(argv[1]) != 0:
        raise RedisError(errors.DB_INDEX_OUT_OF_RANGE)
    session.out.ok()


def quit_(session: Session, argv: Argv) -> None:
    """QUIT."""
    session.out.ok()
    session.end()


def reset(session: Session, argv: Argv) -> None:
    """RESET."""
    session.restart()
    session.out.protocol = 2
    session.out.simple(b"RESET")


def authenticate(session: Session, user: bytes, password: bytes) -> None:
    """Log the client in. Raises WRONGPASS."""
    wanted = session.proxy.password
    if not (compare_digest(wanted, password) or not wanted) or user != b"default":
        session.proxy.auth_failures += 1
        raise RedisError(errors.WRONGPASS)
    session.authenticated = session.requests.authenticated = True
    session.regate()


def auth(session: Session, argv: Argv) -> None:
    """AUTH [username] password."""
    if len(argv) > 3:
        raise RedisError(errors.SYNTAX)
    if len(argv) == 2:
        if not session.proxy.password:
            raise RedisError(connection.NO_PASSWORD)
        authenticate(session, b"default", argv[1])
    else:
        authenticate(session, argv[1], argv[2])
    session.out.ok()


def number(text: bytes, error: bytes) -> int:
    """An integer as Redis reads it; raises `error`."""
    try:
        return parse_int(text)
    except ValueError:
        raise RedisError(error) from None


def hello(session: Session, argv: Argv) -> None:
    """HELLO [protover [AUTH username password] [SETNAME clientname]]."""
    version = session.protocol
    if len(argv) > 1:
        error = b"ERR Protocol version is not an integer or out of range"
        version = number(argv[1], error)
        if version not in (2, 3):
            raise RedisError(errors.NOPROTO)
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    at = 2
    while at < len(argv):
        word, left = argv[at].upper(), len(argv) - at - 1
        if word == b"AUTH" and left >= 2:
            credentials = argv[at + 1], argv[at + 2]
            at += 3
        elif word == b"SETNAME" and left >= 1:
            name = argv[at + 1]
            if not connection.is_printable(name):
                raise RedisError(connection.BAD_NAME)
            at += 2
        else:
            raise RedisError(b"ERR Syntax error in HELLO option '" + argv[at] + b"'")
    if credentials is not None:
        authenticate(session, *credentials)
    if not session.authenticated:
        raise RedisError(connection.HELLO_NOAUTH)
    if name is not None:
        session.name = name
    session.protocol = session.out.protocol = version
    write_hello(session)


def write_hello(session: Session) -> None:
    out = session.out
    out.map(7)
    for name, value in (
        (b"server", b"redis"),
        (b"version", connection.REDIS_VERSION),
        (b"proto", session.protocol),
        (b"id", session.id),
        (b"mode", b"standalone"),
        (b"role", b"master"),
    ):
        out.bulk(name)
        if isinstance(value, bytes):
            out.bulk(value)
        else:
            out.integer(value)
    out.bulk(b"modules")
    out.empty_array()


def time_(session: Session, argv: Argv) -> None:
    """TIME."""
    seconds, micros = divmod(session.proxy.wall_us(), 1_000_000)
    session.out.array(2)
    session.out.bulk(b"%d" % seconds)
    session.out.bulk(b"%d" % micros)


def info(session: Session, argv: Argv) -> None:
    """INFO [section ...]."""
    sections = {text.decode("utf-8", "replace").lower() for text in argv[1:]}
    if sections & {"all", "everything", "default"}:
        sections = set()
    session.out.verbatim(b"txt", session.proxy.info(sections))


def role(session: Session, argv: Argv) -> None:
    """ROLE: the proxy looks like one primary; the nodes behind it have replicas, it has none."""
    session.out.array(3)
    session.out.bulk(b"master")
    session.out.integer(0)
    session.out.empty_array()


def swapdb(session: Session, argv: Argv) -> None:
    """SWAPDB index1 index2: there is only database 0."""
    indexes = []
    for text, which in ((argv[1], b"first"), (argv[2], b"second")):
        error = b"ERR invalid %b DB index" % which
        index = number(text, error)
        if not -connection.INT32_MAX - 1 <= index <= connection.INT32_MAX:
            raise RedisError(error)
        indexes.append(index)
    if any(indexes):
        raise RedisError(errors.DB_INDEX_OUT_OF_RANGE)
    session.out.ok()


def whoami(session: Session, argv: Argv) -> None:
    """ACL WHOAMI: a proxy knows one user."""
    session.out.bulk(b"default")


def cluster(session: Session, argv: Argv) -> None:
    """CLUSTER ...: the proxy looks like one Redis."""
    raise RedisError(errors.NO_CLUSTER)


def lolwut(session: Session, argv: Argv) -> None:
    """LOLWUT."""
    session.out.verbatim(b"txt", LOLWUT % connection.REDIS_VERSION)


# -- CLIENT ---------------------------------------------------------------------------------------


def client_id(session: Session, argv: Argv) -> None:
    """CLIENT ID."""
    session.out.integer(session.id)


def client_getname(session: Session, argv: Argv) -> None:
    """CLIENT GETNAME."""
    if session.name:
        session.out.bulk(session.name)
    else:
        session.out.null()


def client_setname(session: Session, argv: Argv) -> None:
    """CLIENT SETNAME name."""
    if not connection.is_printable(argv[2]):
        raise RedisError(connection.BAD_NAME)
    session.name = argv[2]
    session.out.ok()


def client_setinfo(session: Session, argv: Argv) -> None:
    """CLIENT SETINFO LIB-NAME|LIB-VER value."""
    option = argv[2].lower()
    if option not in (b"lib-name", b"lib-ver"):
        raise RedisError(b"ERR Unrecognized option '" + argv[2] + b"'")
    if not connection.is_printable(argv[3]):
        text = b" cannot contain spaces, newlines or special characters."
        raise RedisError(b"ERR " + argv[2] + text)
    if option == b"lib-name":
        session.library = argv[3]
    else:
        session.library_version = argv[3]
    session.out.ok()


def on_off(text: bytes) -> bool:
    """ON or OFF; raises a syntax error."""
    word = text.lower()
    if word not in (b"on", b"off"):
        raise RedisError(errors.SYNTAX)
    return word == b"on"


def client_no_evict(session: Session, argv: Argv) -> None:
    """CLIENT NO-EVICT ON|OFF."""
    session.no_evict = on_off(argv[2])
    session.out.ok()


def client_no_touch(session: Session, argv: Argv) -> None:
    """CLIENT NO-TOUCH ON|OFF."""
    session.no_touch = on_off(argv[2])
    session.out.ok()


def client_reply(session: Session, argv: Argv) -> None:
    """CLIENT REPLY ON|OFF|SKIP."""
    word = argv[2].lower()
    if word == b"on":
        session.reply_off, session.reply_skip = False, 0
        session.out.ok()
    elif word == b"off":
        session.reply_off = True
    elif word == b"skip":
        session.reply_skip = 0 if session.reply_off else 1
    else:
        raise RedisError(errors.SYNTAX)
    session.regate()


TRACKING_WORDS = frozenset({b"bcast", b"optin", b"optout", b"noloop"})


def client_tracking(session: Session, argv: Argv) -> None:
    """CLIENT TRACKING ON|OFF [...]: it is always off."""
    words = iter(argv[3:])
    for word in words:
        known = word.lower()
        if known in (b"redirect", b"prefix") and next(words, None) is not None:
            continue
        if known not in TRACKING_WORDS:
            raise RedisError(errors.SYNTAX)
    if on_off(argv[2]):
        raise RedisError(NO_TRACKING)
    session.out.ok()


def client_caching(session: Session, argv: Argv) -> None:
    """CLIENT CACHING YES|NO: nothing is tracked."""
    raise RedisError(NOT_TRACKING)


def client_getredir(session: Session, argv: Argv) -> None:
    """CLIENT GETREDIR: -1, as long as nothing is tracked."""
    session.out.integer(-1)


def client_trackinginfo(session: Session, argv: Argv) -> None:
    """CLIENT TRACKINGINFO."""
    out = session.out
    out.map(3)
    out.bulk(b"flags")
    out.set(1)
    out.bulk(b"off")
    out.bulk(b"redirect")
    out.integer(-1)
    out.bulk(b"prefixes")
    out.empty_array()


def flags_of(session: Session) -> bytes:
    """The letters of CLIENT LIST's flags field."""
    letters = (
        (any(session.subscriptions.values()), b"P"), (session.transaction is not None, b"x"),
        (session.waits(), b"b"), (session.ending, b"c"), (session.no_evict, b"e"),
        (session.no_touch, b"T"),
    )  # fmt: skip
    return b"".join(letter for holds, letter in letters if holds) or b"N"


def line_of(session: Session, asking: Session) -> bytes:
    """The line of CLIENT LIST about one client, without its end."""
    now = session.router.now_ms
    idle_ms = 0 if session is asking else now - session.active_ms
    transaction = session.transaction
    queued, queued_bytes = -1, 0
    if transaction is not None:
        queued, queued_bytes = len(transaction.requests), transaction.bytes
    input_bytes, output_bytes = session.requests.pending, session.pending_output()
    return b" ".join((
        b"id=%d" % session.id, b"addr=" + session.address, b"laddr=" + session.local_address,
        b"fd=%d" % session.fd, b"name=" + session.name,
        b"age=%d" % ((now - session.created_ms) // 1000), b"idle=%d" % (idle_ms // 1000),
        b"flags=" + flags_of(session), b"db=0 sub=0 psub=0 ssub=0 multi=%d watch=0" % queued,
        b"qbuf=%d qbuf-free=0 argv-mem=0 multi-mem=%d" % (input_bytes, queued_bytes),
        b"rbs=0 rbp=0 obl=0 oll=%d omem=%d" % (output_bytes > 0, output_bytes),
        b"tot-mem=%d" % (input_bytes + queued_bytes + output_bytes),
        b"events=r", b"cmd=" + session.last_command,
        b"user=default redir=-1", b"resp=%d" % session.protocol,
        b"lib-name=" + session.library, b"lib-ver=" + session.library_version,
        b"tot-net-in=%d" % session.bytes_in, b"tot-net-out=%d" % session.bytes_out,
        b"tot-cmds=%d" % session.commands,
    ))  # fmt: skip


def client_info(session: Session, argv: Argv) -> None:
    """CLIENT INFO."""
    session.out.verbatim(b"txt", line_of(session, session) + b"\n")


def client_type(text: bytes) -> bytes:
    """A word of TYPE in lower case; raises the error for an unknown one."""
    kind = text.lower()
    if kind not in CLIENT_TYPES:
        raise RedisError(b"ERR Unknown client type '" + text + b"'")
    return kind


def client_list(session: Session, argv: Argv) -> None:
    """CLIENT LIST [TYPE type] [ID client-id ...]."""
    sessions = session.proxy.sessions
    word = argv[2].lower() if len(argv) > 2 else b""
    chosen: list[Session] = list(sessions.values())
    if word == b"type" and len(argv) == 4:
        chosen = chosen if client_type(argv[3]) == b"normal" else []
    elif word == b"id" and len(argv) > 3:
        ids = [number(text, b"ERR Invalid client ID") for text in argv[3:]]
        chosen = [sessions[i] for i in ids if i in sessions]
    elif len(argv) > 2:
        raise RedisError(errors.SYNTAX)
    text = b"".join(line_of(each, session) + b"\n" for each in chosen)
    session.out.verbatim(b"txt", text)


def client_kill(session: Session, argv: Argv) -> None:
    """CLIENT KILL addr, or CLIENT KILL with ID, ADDR, LADDR, USER, TYPE, MAXAGE and SKIPME."""
    if len(argv) == 3:
        chosen = [s for s in session.proxy.sessions.values() if s.address == argv[2]]
        if not chosen:
            raise RedisError(b"ERR No such client")
        kill(session, chosen)
        session.out.ok()
        return
    if len(argv) % 2:
        raise RedisError(errors.SYNTAX)
    tests: list[Callable[[Session], bool]] = []
    skip_me = True
    for option, value in zip(argv[2::2], argv[3::2], strict=True):
        word = option.lower()
        if word == b"skipme" and value.lower() in (b"yes", b"no"):
            skip_me = value.lower() == b"yes"
        else:
            tests.append(kill_test(word, value))
    chosen = [
        s
        for s in session.proxy.sessions.values()
        if all(test(s) for test in tests) and not (skip_me and s is session)
    ]
    kill(session, chosen)
    session.out.integer(len(chosen))


def kill_test(word: bytes, value: bytes) -> Callable[[Session], bool]:
    """One option of CLIENT KILL as a test of a session."""
    if word == b"id":
        wanted = number(value, b"ERR client-id should be greater than 0")
        if wanted < 1:
            raise RedisError(b"ERR client-id should be greater than 0")
        return lambda s: s.id == wanted
    if word == b"addr":
        return lambda s: s.address == value
    if word == b"laddr":
        return lambda s: s.local_address == value
    if word == b"user":
        if value != b"default":
            raise RedisError(b"ERR No such user '" + value + b"'")
        return lambda s: True
    if word == b"type":
        normal = client_type(value) == b"normal"
        return lambda s: normal
    if word == b"maxage":
        age_ms = 1000 * number(value, b"ERR maxage is not an integer or out of range")
        if age_ms <= 0:
            raise RedisError(b"ERR maxage should be greater than 0")
        return lambda s: s.router.now_ms - s.created_ms >= age_ms
    raise RedisError(errors.SYNTAX)


def kill(session: Session, chosen: list[Session]) -> None:
    """Close these connections; the one that asks gets its reply first."""
    for each in chosen:
        each.end()
        if each is not session:
            each.close_soon()


HANDLERS: dict[bytes, Callable[[Session, Argv], None]] = {
    b"ping": ping,
    b"echo": echo,
    b"select": select,
    b"quit": quit_,
    b"reset": reset,
    b"auth": auth,
    b"hello": hello,
    b"time": time_,
    b"info": info,
    b"cluster": cluster,
    b"role": role,
    b"swapdb": swapdb,
    b"acl|whoami": whoami,
    b"lolwut": lolwut,
    b"readonly": ok,
    b"readwrite": ok,
    b"client|id": client_id,
    b"client|getname": client_getname,
    b"client|setname": client_setname,
    b"client|setinfo": client_setinfo,
    b"client|no-evict": client_no_evict,
    b"client|no-touch": client_no_touch,
    b"client|reply": client_reply,
    b"client|tracking": client_tracking,
    b"client|caching": client_caching,
    b"client|getredir": client_getredir,
    b"client|trackinginfo": client_trackinginfo,
    b"client|info": client_info,
    b"client|list": client_list,
    b"client|kill": client_kill,
}

"""Configuration files: reading them, what stops the start, and writing them again."""

from __future__ import annotations

import io
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.node.commands import load_all
from isthmus.node.engine.config import Config
from isthmus.node.engine.config_file import ConfigFile, ConfigFileError
from isthmus.node.engine.config_rewrite import SIGNATURE, quoted, rewritten
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.server.files import read_file, replace_file
from isthmus.node.server.main import main
from tests.hostile.process import Process, node
from tests.oracle.peers import Peer
from tests.support.servers import Server
from tests.support.store import Store

load_all()


def source(files: dict[str, str]) -> ConfigFile:
    """A reader over files that are only here."""
    encoded = {name.encode(): text.encode() for name, text in files.items()}

    def read(path: bytes) -> bytes:
        if path not in encoded:
            raise FileNotFoundError(2, "No such file or directory")
        return encoded[path]

    return ConfigFile(Config(), read, lambda pattern: sorted(encoded)[1:])


@pytest.fixture
def commands() -> Iterator[None]:
    """Puts the names of commands back."""
    before = dict(COMMANDS)
    yield
    COMMANDS.clear()
    COMMANDS.update(before)


def test_directives() -> None:
    made = source({"c": """
# a comment
  MaxMemory  100MB

hash-max-ziplist-entries 99
save 900 1
save 300 10
requirepass "a b\\x01\\n"
client-output-buffer-limit pubsub 5mb 1 2
client-output-buffer-limit replica 1gb 64mb 60
lua-replicate-commands yes
user alice on >x ~* ( +get
user bob off
timeout 3
timeout 4
""".replace(" ( +get", " (+get ~a)")})  # fmt: skip
    made.load(b"c")
    config = made.config
    assert config.integer("maxmemory") == 100 << 20
    assert config.integer("hash-max-listpack-entries") == 99
    assert config.text("save") == "900 1 300 10"
    assert config.text("requirepass") == "a b\x01\n"
    assert config.text("client-output-buffer-limit") == (
        "normal 0 0 0 slave 1073741824 67108864 60 pubsub 5242880 1 2"
    )
    assert config.integer("timeout") == 4
    assert list(made.users) == [b"alice", b"bob"]
    assert made.users[b"alice"] == [b"on", b">x", b"~*", b"(+get ~a)"]


def test_include() -> None:
    made = source({"a": "timeout 1\ninclude x*", "x1": "timeout 2\nhz 20", "x2": "timeout 3"})
    made.load(b"a")
    assert (made.config.integer("timeout"), made.config.integer("hz")) == (3, 20)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense 1", "Bad directive or wrong number of arguments"),
        ("include", "Bad directive or wrong number of arguments"),
        ("maxclients", "wrong number of arguments"),
        ("maxclients 1 2", "wrong number of arguments"),
        ("maxclients x", "argument couldn't be parsed into an integer"),
        ("appendonly maybe", "argument must be 'yes' or 'no'"),
        ('requirepass "x', "Unbalanced quotes in configuration line"),
        ('requirepass "x"y', "Unbalanced quotes in configuration line"),
        ("rename-command nosuch x", "No such command in rename-command"),
        ("rename-command get set", "Target command name already exists"),
        ("user a +nosuch", "Error in user declaration '+nosuch': Unknown command or category name "
         "in ACL"),
        ("user a (+get", "Error in user declaration 'a': Unmatched parenthesis in acl selector "
         "starting at '(+get'."),
        ("loadmodule /x.so", "binary modules are not loaded here"),
        ("sentinel monitor x", "sentinel directive while not in sentinel mode"),
    ],
)  # fmt: skip
def test_what_stops_the_start(line: str, why: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        source({"c": f"# one\n\n{line}\nhz 10\n"}).load(b"c")
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("*** FATAL CONFIG FILE ERROR")
    assert lines[2:] == ["Reading the configuration file, at line 3", f">>> '{line}'", why]


def test_a_user_twice() -> None:
    with pytest.raises(ConfigFileError, match="Duplicate user found"):
        source({"c": "user a on\nuser a off"}).load(b"c")


def test_files_that_are_not_there_or_include_themselves() -> None:
    with pytest.raises(ConfigFileError, match="can't open config file 'd': No such file"):
        source({"c": "include d"}).load(b"c")
    with pytest.raises(ConfigFileError, match="without an end"):
        source({"c": "include c"}).load(b"c")


@pytest.mark.usefixtures("commands")
def test_renamed_commands() -> None:
    made = source({"c": 'rename-command FLUSHALL ""\nrename-command Get fetch\n'})
    made.load(b"c")
    assert {
        name for name in (b"flushall", b"FLUSHALL", b"get", b"GET") if name in COMMANDS
    } == set()
    assert COMMANDS[b"fetch"].name == b"get"
    store = Store()
    assert store("COMMAND", "COUNT") == len(store("COMMAND"))
    assert b"flushall" not in store("COMMAND", "LIST")
    assert store("COMMAND", "INFO", "get", "fetch")[0] is None
    assert store("ACL", "SETUSER", "u", "+get", "+flushall") == b"OK"


def test_rewriting_keeps_what_it_can() -> None:
    old = (
        b"# mine\n  maxmemory   100MB\n\nhash-max-ziplist-entries 100\n\n\n\nsave 900 1\n"
        b"save 300 10\n# middle\nclient-output-buffer-limit slave 1gb 64mb 60\nuser alice on\n"
        b'rename-command FLUSHALL ""\nnonsense here\nbind 127.0.0.1\nsave 60 5\n'
    )
    config = Config({"maxmemory": "1048577", "save": "60 5", "bind": "127.0.0.1"})
    config.set_many([("client-output-buffer-limit", "pubsub 5mb 1 1"), ("hz", "20")])
    config.set_many([("requirepass", 'a "b\n\xe9')])
    text = rewritten(old, config, "/x", [b"user alice off", b"user bob on"])
    assert text == (
        b"# mine\nmaxmemory 1048577\n\nhash-max-listpack-entries 512\n\nsave 60 5\n\n# middle\n"
        b"client-output-buffer-limit pubsub 5mb 1 1\nuser alice off\n"
        b'rename-command FLUSHALL ""\n# ??? nonsense here\nbind 127.0.0.1\n\n'
        b"# Generated by CONFIG REWRITE\n"
        b'dir "/x"\nhz 20\nrequirepass "a \\"b\\n\\xc3\\xa9"\nuser bob on\n'
    )
    assert rewritten(text, config, "/x", [b"user alice off", b"user bob on"]) == text
    assert text.count(SIGNATURE) == 1


def test_rewritten_files_say_the_same() -> None:
    values = {
        "save": "10 1 5 2", "requirepass": "x\\y'z\" \x00", "maxmemory-clients": "5%",
        "unixsocketperm": "770", "notify-keyspace-events": "KEA", "appendfsync": "always",
        "client-output-buffer-limit": "normal 1 2 3 replica 1024 5 6", "bind": "::1 -127.0.0.1",
    }  # fmt: skip
    config = Config(values)
    text = rewritten(b"", config, "/x", [])
    again = source({"c": text.decode()})
    again.load(b"c")
    assert {**again.config.values, "dir": ""} == config.values


def test_quoting() -> None:
    assert quoted('a"\\\n\x00\xe9') == b'"a\\"\\\\\\n\\x00\\xc3\\xa9"'


def test_replacing_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(os.fsencode(path), b"one")
    path.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(path)
    replace_file(os.fsencode(link), b"two")
    assert link.is_symlink()
    assert read_file(os.fsencode(path)) == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]
    with pytest.raises(OSError):
        replace_file(os.fsencode(tmp_path / "no" / "file"), b"x")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{folder}/bad.conf"], 1, "at line 2\n>>> 'nonsense 1'\nBad directive"),
        (["{folder}/missing.conf"], 1, "can't open config file"),
        (["--dir", "{folder}/missing"], 2, "No such file or directory"),
        (["--aclfile", "{folder}/missing.acl"], 1, "No such file"),
        (["--aclfile", "{folder}/bad.acl"], 1, "bad.acl:1: Syntax error"),
        (["--aclfile", "x", "--user", "a", "on"], 2, "but not both"),
    ],
)
def test_starts_that_fail(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.conf").write_text("hz 10\nnonsense 1\n")
    (tmp_path / "bad.acl").write_text("user a nonsense\n")
    words = [word.format(folder=tmp_path) for word in arguments]
    assert main(["--standalone", *words]) == code
    assert said in capsys.readouterr().err


def ask(process: Process, *lines: str) -> list[str]:
    """Replies to inline requests, one line each."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=10) as stream:
        reader = stream.makefile("rb")
        found = []
        for line in lines:
            stream.sendall(line.encode() + b"\r\n")
            found.append(reader.readline().decode().strip())
        return found


CONFIG_FILE = """
requirepass secret
rename-command FLUSHALL ""
rename-command GET fetch
user worker on >w ~job:* +fetch +get
include {folder}/more/*.conf
"""


@pytest.mark.slow
def test_a_node_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "1.conf").write_text("timeout 7\n")
    (tmp_path / "more" / "2.conf").write_text("timeout 8\nacllog-max-len 3\n")
    path = tmp_path / "node.conf"
    path.write_text(CONFIG_FILE.format(folder=tmp_path).replace(" +fetch", ""))
    with node(tmp_path, str(path), "--hz", "30", "--dir", str(tmp_path)) as process:
        assert ask(
            process, "PING", "AUTH secret", "FLUSHALL", "GET k", "FETCH k", "CONFIG SET timeout 9",
            "CONFIG REWRITE", "AUTH worker w", "FETCH k", "FETCH job:1",
        ) == [
            "-NOAUTH Authentication required.", "+OK",
            "-ERR unknown command 'FLUSHALL', with args beginning with:",
            "-ERR unknown command 'GET', with args beginning with: 'k'", "$-1", "+OK", "+OK", "+OK",
            "-NOPERM No permissions to access a key", "$-1",
        ]  # fmt: skip
    text = path.read_text()
    assert text.startswith('\nrequirepass "secret"\nrename-command FLUSHALL ""\n')
    assert "\ntimeout 9\n" in text and "\nhz 30\n" in text and "\nuser worker on " in text


@pytest.mark.slow
def test_users_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    path.write_text("user default on nopass +@all ~* &*\nuser u on nopass +ping\n")
    with node(tmp_path, "--aclfile", str(path)) as process:
        assert ask(
            process, "ACL SETUSER v on nopass", "ACL SAVE", "ACL DELUSER u v", "ACL LOAD",
            "AUTH v x", "GET k", "CONFIG REWRITE",
        ) == [
            "+OK", "+OK", ":2", "+OK", "+OK",
            "-NOPERM User v has no permissions to run the 'get' command",
            "-NOPERM User v has no permissions to run the 'config|rewrite' command",
        ]  # fmt: skip
        assert [line.split()[1] for line in path.read_text().splitlines()] == ["default", "u", "v"]
        assert ask(process, "CONFIG REWRITE") == [
            "-ERR The server is running without a config file"
        ]


@pytest.mark.slow
def test_port_and_bind_change_while_it_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, node(tmp_path) as process:
        first = process.port
        port = taken.getsockname()[1]
        assert ask(process, f"CONFIG SET port {port}") == [
            "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on "
            "this port. Check server logs."
        ]
        assert ask(process, "CONFIG SET bind 240.0.0.1") == [
            "-ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to "
            "specified addresses."
        ]
        taken.close()
        assert ask(process, f"CONFIG SET port {port}", "PING") == ["+OK", "+PONG"]
        process.port = port
        assert ask(process, "PING", 'CONFIG SET bind "127.0.0.1 -240.0.0.1"') == ["+PONG", "+OK"]
        assert ask(process, "PING") == ["+PONG"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", first), timeout=5)


@pytest.mark.slow
def test_standard_input_and_a_log_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "isthmus.cli.main", "node", "--standalone", "-", "--hz", "5"],
        input=b"requirepass x\nnonsense 2\n", capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"at line 2\n>>> 'nonsense 2'" in done.stderr
    log = tmp_path / "lines"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "isthmus.cli.main", "node", "--standalone", "--port", port,
             "--logfile", str(log)],
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"")
    assert "node_failed" in log.read_text()


@pytest.mark.slow
@pytest.mark.oracle
def test_a_real_server_reads_what_we_write(redis8: Server, tmp_path: Path) -> None:
    peer = Peer(redis8, 2)
    theirs = dict(zip(*[iter(peer("CONFIG", "GET", "*"))] * 2, strict=True))
    shared = [name for name in Config().values if name.encode() in theirs]
    assert len(shared) > 150
    peer.close()
    ours = Config({"maxmemory": "3gb", "save": "60 5 10 1", "requirepass": "a b", "hz": "33",
                   "notify-keyspace-events": "KEx", "maxmemory-policy": "allkeys-lfu",
                   "client-output-buffer-limit": "pubsub 1mb 2mb 3",
                   "latency-tracking-info-percentiles": "10 99.5"})  # fmt: skip
    text = rewritten(b"", ours, str(tmp_path), [b"user u on nopass sanitize-payload ~a +@all"])
    path = tmp_path / "ours.conf"
    path.write_bytes(text)
    from tests.support import servers

    with servers.redis8(tmp_path, [f"--include {path}"]) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stream:
            stream.sendall(b'AUTH "a b"\r\nCONFIG GET maxmemory\r\nACL GETUSER u\r\n')
            reader = stream.makefile("rb")
            assert reader.readline() == b"+OK\r\n"
            assert [reader.readline().strip() for _ in range(5)][-1] == b"3221225472"


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from isthmus.node.server.startup import configure, parser

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hz 44\ntimeout 1\n")))
    args, rest = parser().parse_known_args(["--standalone", "--timeout", "2", "-"])
    config = configure(args, rest).config
    assert (config.integer("hz"), config.integer("timeout")) == (44, 2)
    assert (config.text("bind"), config.integer("port")) == ("127.0.0.1", 6379)
    assert config.text("dir") == os.getcwd()


def test_a_name_and_its_values_may_be_one_word() -> None:
    from isthmus.node.server.startup import configure, parser, spread

    words = spread(["--standalone", "--maxmemory 700mb", "--save '60 1'", "--hz", "20",
                    "--requirepass", "a b", "--bind 127.0.0.1 ::1", "--masterauth 'x"])  # fmt: skip
    assert words[-1] == "--masterauth 'x"
    config = configure(*parser().parse_known_args(words[:-1])).config
    assert (config.integer("maxmemory"), config.text("save")) == (700 << 20, "60 1")
    assert (config.integer("hz"), config.text("requirepass")) == (20, "a b")
    assert config.text("bind") == "127.0.0.1 ::1"

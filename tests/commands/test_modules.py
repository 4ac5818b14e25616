"""MODULE, and the protection it shares with DEBUG."""

from __future__ import annotations

import pytest

from tests.support.store import RedisReplyError, Store

REFUSED = (
    'ERR {0} command not allowed. If the enable-{1}-command option is set to "local", you can run '
    "it from a local connection, otherwise you need to set this option in the configuration file, "
    "and then restart the server."
)


def test_there_are_no_modules(either: Store) -> None:
    assert either("MODULE", "LIST") == []
    assert either("MODULE", "HELP")[0].startswith(b"MODULE <subcommand>")
    assert either.error("MODULE", "NOPE").startswith("ERR unknown subcommand 'NOPE'")


@pytest.mark.parametrize("line", ["LOAD /x.so", "LOADEX /x.so CONFIG a b", "UNLOAD x"])
def test_who_may_try_to_load_one(line: str) -> None:
    assert Store().error("MODULE", *line.split()) == REFUSED.format("MODULE", "module")
    open_to_all = Store(enable_module_command="yes")
    assert open_to_all.error("MODULE", *line.split()).startswith("ERR Error ")
    store = Store(enable_module_command="local")
    store.client.address = b"10.0.0.1:1"
    assert store.error("MODULE", *line.split()) == REFUSED.format("MODULE", "module")
    for address in (b"127.0.0.1:1", b"/socket:0", b"[::1]:5"):
        store.client.address = address
        assert store.error("MODULE", *line.split()).startswith("ERR Error ")


def test_the_protection_comes_first() -> None:
    store = Store(requirepass="s")
    assert store.error("DEBUG", "SLEEP", "0") == REFUSED.format("DEBUG", "debug")
    store("AUTH", "s")
    store("MULTI")
    assert store.error("DEBUG", "SLEEP", "0") == REFUSED.format("DEBUG", "debug")
    assert isinstance(store("EXEC"), RedisReplyError)
    assert Store(enable_debug_command="yes")("DEBUG", "SLEEP", "0") == b"OK"


def test_what_is_unknown_is_told_to_anybody() -> None:
    store = Store(requirepass="s")
    assert store.error("NOSUCH").startswith("ERR unknown command 'NOSUCH'")
    assert store.error("GET") == "ERR wrong number of arguments for 'get' command"
    assert store.error("CLIENT", "NOPE").startswith("ERR unknown subcommand 'NOPE'")
    assert store.error("GET", "k") == "NOAUTH Authentication required."

"""What etcd may do to a coordinator, and what must not come of it: a real etcd, one process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.coordinator.store.base import Batch, StaleTerm, StoreLocked, StoreUnreachable
from isthmus.coordinator.store.etcd import Etcd, EtcdStore
from isthmus.coordinator.store.gateway import EtcdRefused, Gateway, Tls, coded, place, plain
from tests.coordinator.etcd import Processes, boot_ns
from tests.support.etcd import EtcdServer

pytestmark = pytest.mark.oracle
HOUR_NS = 3600 * 10**9


@pytest.fixture
def processes(etcd: EtcdServer, tmp_path: Path) -> Iterator[Processes]:
    with Processes(etcd, tmp_path.name) as found:
        yield found


@pytest.fixture
def store(processes: Processes) -> EtcdStore:
    opened = processes.open()
    opened.create("c" * 40, "eu")
    opened.commit(Batch(1, {("member", "a"): {"v": 1}}))
    return opened


def header(etcd: Etcd) -> dict[str, Any]:
    """The header as stored: value, version (how often it was written) and revisions."""
    answer = etcd.gateway.call("/v3/kv/range", {"key": coded(etcd.key("header"))}, 5.0)
    return dict(answer["kvs"][0])


def run_out(store: EtcdStore) -> None:
    """What etcd does when a lease is not renewed, at once."""
    store._etcd.gateway.call("/v3/lease/revoke", {"ID": store._lease}, 5.0)


# --- terms ------------------------------------------------------------------------------------


def test_who_holds_the_store_is_told(processes: Processes, store: EtcdStore) -> None:
    for hint in (True, False):
        with pytest.raises(StoreLocked, match=r"^10\.0\.0\.0:9400$"):
            processes.another().open(hint=hint)


def test_of_many_one_is_elected(processes: Processes) -> None:
    won: list[EtcdStore] = []
    lost: list[str] = []
    ready = threading.Barrier(8)

    def stand(etcd: Etcd) -> None:
        ready.wait()
        try:
            won.append(etcd.open(hint=False))
        except StoreLocked as held:
            lost.append(str(held))

    threads = [threading.Thread(target=stand, args=(processes.another(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and lost == [won[0]._etcd.address] * 7


def test_after_an_orderly_end_nobody_waits(processes: Processes, store: EtcdStore) -> None:
    store.close()
    assert processes.another().open().wait_ms == 0


def test_after_any_other_end_the_next_waits_for_the_time_it_may_act(
    processes: Processes, store: EtcdStore
) -> None:
    run_out(store)
    second = processes.another().open()
    assert second.wait_ms == store._etcd.act_ms > 0
    # One that is gone before it began has changed nothing about that.
    second.close()
    third = processes.another(ttl_seconds=20).open()
    assert third.wait_ms == store._etcd.act_ms
    third.begin()
    run_out(third)
    assert processes.another().open().wait_ms == third._etcd.act_ms == 12_000


def test_who_was_deposed_writes_nothing(processes: Processes, store: EtcdStore) -> None:
    run_out(store)
    for attempt in (store.renew, store.begin, store.load, lambda: store.commit(Batch(2))):
        with pytest.raises(StaleTerm):
            attempt()
    second = processes.open()
    assert second.term > store.term
    second.commit(Batch(2, {("member", "a"): {"v": 2}}))
    for attempt in (store.renew, store.begin, lambda: store.commit(Batch(9))):
        with pytest.raises(StaleTerm):
            attempt()
    store.close()  # nor does it take the office of another away
    second.renew()
    saved = second.load()
    assert saved is not None and saved.epoch == 2 and saved.objects == {("member", "a"): {"v": 2}}


def test_no_proof_no_acting(store: EtcdStore) -> None:
    now = boot_ns()
    store.confirm(now)
    act_ns = store._etcd.act_ms * 10**6
    with pytest.raises(StaleTerm, match="not been proved"):
        store.confirm(now + act_ns)
    # The margin is for clocks that run at different speeds.
    with pytest.raises(StaleTerm):
        store.confirm(store._proved_ns + act_ns * 96 // 100)
    store.renew()
    store.confirm(now + act_ns * 9 // 10)
    store.close()
    with pytest.raises(StaleTerm):
        store.confirm(boot_ns())


def test_an_office_of_ours_that_we_left_is_freed(processes: Processes) -> None:
    """etcd was away when the term ended, so it could not be given back."""
    etcd = processes.another()
    first = etcd.open()
    first.begin()
    with pytest.raises(StoreLocked):
        etcd.open()
    second = etcd.open()
    assert second.term > first.term
    assert second.wait_ms == etcd.act_ms, "nobody can know whether it was used"


# --- answers that are late, lost, old ---------------------------------------------------------


class Faults:
    """Stands between one process and etcd: loses answers or requests, repeats old reads."""

    def __init__(self, etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost_answers = self.lost_requests = 0
        self.old: dict[str, Any] | None = None
        self.reads = 0
        real = etcd.gateway._post

        def post(url: str, data: bytes, left: float) -> dict[str, Any]:
            if url.endswith("/kv/txn"):
                if self.lost_requests:
                    self.lost_requests -= 1
                    raise StoreUnreachable("lost request")
                answer = real(url, data, left)
                if self.lost_answers:
                    self.lost_answers -= 1
                    raise StoreUnreachable("lost answer")
                return answer
            if url.endswith("/kv/range"):
                self.reads += 1
                if self.old is not None:
                    return self.old
            return real(url, data, left)

        monkeypatch.setattr(etcd.gateway, "_post", post)


@pytest.mark.parametrize("what", ["lost_answers", "lost_requests"])
def test_a_lost_message_is_asked_again_and_done_once(
    processes: Processes, store: EtcdStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    faults = Faults(store._etcd, monkeypatch)
    before = int(header(store._etcd)["version"])
    for epoch in (2, 3):
        setattr(faults, what, 2)
        store.commit(Batch(epoch, {("member", "a"): {"v": epoch}}))
    assert int(header(store._etcd)["version"]) == before + 2
    saved = store.load()
    assert saved is not None and saved.objects == {("member", "a"): {"v": 3}}


def test_an_election_whose_answer_is_lost_is_not_an_office(
    processes: Processes, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out(store)
    etcd = processes.another()
    faults = Faults(etcd, monkeypatch)
    faults.lost_answers = 1
    with pytest.raises(StoreLocked):
        etcd.open()
    assert etcd.open().wait_ms == store._etcd.act_ms, "the one before is not forgotten over it"


def test_an_old_read_elects_nobody(
    processes: Processes, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd#20418: a read shows a time before the leader was elected, for as long as it likes."""
    etcd = processes.another()
    faults = Faults(etcd, monkeypatch)
    faults.old = {"header": {"revision": "1"}}
    assert etcd.leader() == ""
    with pytest.raises(StoreLocked):
        etcd.open()
    store.renew()
    store.commit(Batch(2))
    assert faults.reads == 2, "it was believed so far that it was worth a try"


def test_an_old_read_keeps_nobody_out_for_ever(
    processes: Processes, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way round: the leader is long gone, the read shows it still, and its data."""
    etcd = processes.another()
    faults = Faults(etcd, monkeypatch)
    everything = {"key": coded(etcd.key("")), "rangeEnd": coded(etcd.prefix + "0")}
    faults.old = store._etcd.gateway.call("/v3/kv/range", everything, 5.0)
    store.commit(Batch(7, {("member", "a"): {"v": 7}}))
    store.close()
    glance = etcd.glance()
    assert glance.saved is not None and glance.saved.epoch == 1, "what a standby shows may be old"
    with pytest.raises(StoreLocked):
        etcd.open()
    taken = etcd.open(hint=False)
    saved = taken.load()
    assert saved is not None and saved.epoch == 7, "what a leader acts on may not"
    assert saved.objects == {("member", "a"): {"v": 7}}


def test_a_keepalive_that_lies_keeps_no_office(
    processes: Processes, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd#15247: a deposed leader of etcd may say that a lease goes on."""
    run_out(store)
    real = store._etcd.gateway.call

    def call(path: str, body: dict[str, object], seconds: float) -> dict[str, Any]:
        if path == "/v3/lease/keepalive":
            return {"result": {"TTL": "5"}}
        return real(path, body, seconds)

    monkeypatch.setattr(store._etcd.gateway, "call", call)
    proved = store._proved_ns
    with pytest.raises(StaleTerm):
        store.renew()
    assert store._proved_ns == proved


@pytest.mark.parametrize("change", [{"revision": "1"}, {"cluster_id": "77"}])
def test_an_etcd_put_back_under_us_ends_the_term(
    store: EtcdStore, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    real = store._etcd.gateway.call

    def call(path: str, body: dict[str, object], seconds: float) -> dict[str, Any]:
        answer = real(path, body, seconds)
        answer["header"].update(change)
        return answer

    monkeypatch.setattr(store._etcd.gateway, "call", call)
    with pytest.raises(StaleTerm, match="another etcd than before, or an older copy"):
        store.commit(Batch(2))


@pytest.mark.parametrize("name", ["header", "object"])
def test_a_stranger_that_writes_is_noticed(store: EtcdStore, name: str) -> None:
    etcd = store._etcd
    if name == "object":
        [name] = [key.removeprefix(f"{etcd.prefix}/") for key in store._objects]
        value = '{"member":{"a":{"v":66}}}'
    else:
        value = json.dumps({**json.loads(plain(header(etcd)["value"])), "epoch": 66})
    body = {"key": coded(etcd.key(name)), "value": coded(value)}
    etcd.gateway.call("/v3/kv/put", body, 5.0)
    with pytest.raises(StaleTerm, match="somebody else"):
        store.commit(Batch(2, {("member", "a"): {"v": 2}}))


# --- sizes, trouble ---------------------------------------------------------------------------


def test_a_thousand_members_and_five_hundred_shards_in_one_commit(
    processes: Processes, store: EtcdStore
) -> None:
    """etcd takes 128 operations in a transaction."""
    body = {"address": "10.0.0.1:8500", "link_address": "10.0.0.1:9500", "incarnation": "x" * 40}
    objects = {("member", f"{n:040x}"): {**body, "pid": n} for n in range(1000)}
    objects |= {("shard", str(n)): {**body, "slots": [[n, n]]} for n in range(500)}
    store.commit(Batch(2, dict(objects)))
    store.commit(Batch(3, {key: None for key in objects if key[0] == "member"}))
    store.close()
    saved = processes.another().open().load()
    assert saved is not None and saved.epoch == 3
    kept = {key: body for key, body in objects.items() if key[0] == "shard"}
    assert saved.objects == kept | {("member", "a"): {"v": 1}}


def test_an_etcd_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    from tests.support.etcd import etcd_server

    with etcd_server(tmp_path) as server, Processes(server, "p") as processes:
        etcd = processes.another(ttl_seconds=2)
        store = etcd.open()
        store.begin()
        store.create("c" * 40, "eu")
        server.pause()
        began = boot_ns()
        with pytest.raises(StoreUnreachable, match="no answer in time"):
            store.commit(Batch(1))
        taken_ms = (boot_ns() - began) // 10**6
        assert taken_ms < 3 * etcd.act_ms
        with pytest.raises(StaleTerm):
            store.confirm(boot_ns())
        server.resume()
        # Whether that commit happened is unknown, and so is whether the term goes on.
        server.kill()
        with pytest.raises(StoreUnreachable, match="refused"):
            etcd.leader()
        server.start()
        store.close()
        again = processes.another().open(hint=False)
        saved = again.load()
        assert saved is not None and saved.cluster_id == "c" * 40 and saved.epoch in (0, 1)


def test_what_etcd_refuses_is_not_asked_elsewhere(processes: Processes) -> None:
    etcd = processes.another()
    with pytest.raises(EtcdRefused, match="lease not found"):
        etcd.transact([], [{"requestPut": {"key": coded("k"), "lease": "77"}}], [], 5.0)


def test_the_next_endpoint_is_asked(processes: Processes, etcd: EtcdServer) -> None:
    where = place(f"etcd://127.0.0.1:1,{etcd.address}/p", "")
    gateway = Gateway(where, 1.0)
    assert gateway.call("/v3/kv/range", {"key": coded("k")}, 2.0)["header"]
    assert gateway._first == 1
    with pytest.raises(StoreUnreachable, match="no time was left"):
        gateway.call("/v3/kv/range", {"key": coded("k")}, 0.0)
    gateway.close()


def test_a_version_with_faults_is_told(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = processes.another().gateway

    class Said:
        version = ""

        def json(self) -> dict[str, str]:
            return {"etcdserver": self.version}

    monkeypatch.setattr(gateway._http, "request", lambda *_, **__: Said())
    for version, problem in (
        ("3.4.23", "use 3.4.44"), ("3.4.44", ""), ("3.5.9", "use 3.5.29"), ("3.5.29", ""),
        ("3.6.10", ""), ("3.7.0", ""), ("3.3.10", "use 3.4.44"), ("odd", ""), ("", ""),
    ):  # fmt: skip
        Said.version = version
        assert problem in gateway.version_problem(1.0)
        assert bool(problem) == bool(gateway.version_problem(1.0))


def test_places() -> None:
    one = place("etcd://a:1,b,[::1]:3/x/y/", "p")
    assert one.endpoints == ("http://a:1", "http://b:2379", "http://[::1]:3")
    assert (one.prefix, one.tls) == ("x/y", None)
    assert place("etcd://[::1]", "p").endpoints == ("http://[::1]:2379",)
    secure = place("etcds://a", "p", Tls(ca=Path("ca.pem")))
    assert secure.endpoints == ("https://a:2379",) and secure.prefix == "p"
    assert place("etcds://a", "p").tls == Tls()
    for text in ("a:1", "http://a", "etcd://", "etcd://a:x", "etcd://u:p@a:1", "etcd://a/b c"):
        with pytest.raises(ValueError, match="HOST:PORT|prefix"):
            place(text, "p")
    with pytest.raises(ValueError, match="etcds"):
        place("etcd://a", "p", Tls())

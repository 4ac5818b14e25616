"""What a node does for its shard as topologies, grants and replicas come and go."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.cluster.duty import TOKEN, Duty
from isthmus.node.cluster.leadership import Leadership
from isthmus.node.cluster.receipts import Receipts
from isthmus.node.cluster.view import ClusterView
from isthmus.node.commands import load_all
from isthmus.node.engine.context import GATE_DUTY
from isthmus.node.engine.errors import CLUSTERDOWN
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.server.observe import member_metrics
from isthmus.wire.lease import WITNESS

A, B, C = "a" * 40, "b" * 40, "c" * 40
MS = 1_000_000
LEASE_MS = 2000
load_all()


class Replication:
    """What a duty asks of the node's replication."""

    def __init__(self) -> None:
        self.offset = 0
        self.replid = "0" * 40
        self.state = "streaming"
        self.role = "primary"
        self.primary = Stub()
        self.calls: list[Any] = []

    def silent_ms(self) -> int:
        return 7

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))


class Stub:
    """Anything with attributes, and methods that note their calls."""

    def __init__(self, **fields: Any) -> None:
        self.calls: list[Any] = []
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))


class Seat:
    """One node's duty, with everything around it scripted."""

    def __init__(self, me: str = A) -> None:
        self.now = 10_000 * MS
        self.me = me
        self.view = ClusterView(me)
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.said: list[dict[str, Any]] = []
        self.released: list[int] = []
        self.cuts = 0
        self.replication = Replication()
        self.blocking = Stub()
        self.ctx = Stub(gates=0)
        self.persistence = Stub(aof=Stub(enabled=True))
        node = Stub(
            replication=self.replication, persistence=self.persistence, ctx=self.ctx,
            blocking=self.blocking, clock=Stub(now_ms=1000), keyspace=Stub(log=Stub()),
        )  # fmt: skip
        self.leadership = Leadership(me, 0, lambda voter, frame: self.sent.append((voter, frame)))
        self.duty = Duty(node, self.view, self.leadership, lambda: self.now)
        self.duty.release = self.released.append
        self.duty.say = self.said.append
        self.duty.cut_off = self.cut

    def cut(self) -> int:
        self.cuts += 1
        return 0

    def topology(
        self, epoch: int, primary: str, replicas: list[str], *, shard_epoch: int = 0,
        synced: list[str] | None = None, durability: str = "replica:500:1000",
    ) -> None:  # fmt: skip
        self.view.apply({
            "cluster": "x", "epoch": epoch, "durability": durability, "lease_ms": LEASE_MS,
            "shards": [{
                "number": 0, "id": "s", "epoch": shard_epoch or epoch, "primary": primary,
                "replicas": replicas, "slots": [[0, 16383]],
                "synced": replicas if synced is None else synced,
            }],
            "nodes": [
                {"id": name, "zone": name[0], "address": f"127.0.0.1:{port}", "alive": True,
                 "link_address": "", "shard": 0}
                for port, name in enumerate((A, B, C), 7000)
            ],
        })  # fmt: skip
        self.duty.topology_changed()

    def grant(self, voter: str = WITNESS, *, known: int = 0, granted: bool = True) -> None:
        """The voter answers the last request it got."""
        request = [frame for name, frame in self.sent if name == voter][-1]
        self.leadership.hear(voter, {
            "type": "grant", "shard": 0, "epoch": request["epoch"], "number": request["number"],
            "granted": granted, "known": known or request["epoch"],
        }, self.now)  # fmt: skip
        self.duty.turn()

    def pass_ms(self, ms: int) -> None:
        self.now += ms * MS
        self.duty.cron()

    def write(self, size: int = 100) -> int:
        """A turn in which something changes."""
        self.duty.turn()
        self.replication.offset += size
        return self.duty.commit()

    def refusal(self, name: bytes) -> bytes | None:
        session: Any = Stub(queue=[])
        if not self.ctx.gates & GATE_DUTY:
            return None
        return self.duty.refusal(session, COMMANDS[name])


@pytest.fixture
def seat() -> Seat:
    made = Seat()
    made.topology(5, A, [B])
    return made


@pytest.fixture
def leader(seat: Seat) -> Seat:
    seat.grant()
    return seat


def test_a_single_copy_needs_nobody() -> None:
    seat = Seat()
    seat.topology(5, A, [])
    assert (seat.sent, seat.write(), seat.refusal(b"set")) == ([], 1, None)
    seat.pass_ms(100_000)
    assert seat.write() == 1


def test_a_coordinator_without_leases_lets_its_primaries_serve() -> None:
    seat = Seat()
    seat.view.lease_ms = 0
    seat.leadership.learn(seat.view, seat.now)
    assert seat.duty.commit() == 1


def test_a_primary_serves_nothing_before_it_has_the_lease(seat: Seat) -> None:
    # It may come soon: requests wait, for a while.
    assert seat.refusal(b"set") == seat.refusal(b"get") == b""
    assert seat.refusal(b"ping") is None
    seat.pass_ms(4001)
    assert seat.refusal(b"set") == seat.refusal(b"get") == CLUSTERDOWN
    assert seat.blocking.calls == [("resume_postponed",)]
    seat.grant()
    assert seat.refusal(b"set") is None
    assert {voter for voter, _ in seat.sent} == {B, WITNESS}


def test_the_lease_is_counted_from_when_it_was_asked_for(seat: Seat) -> None:
    seat.now += 1000 * MS
    seat.grant()
    assert seat.refusal(b"set") is None
    seat.now += 905 * MS
    seat.duty.turn()
    assert seat.refusal(b"set") == CLUSTERDOWN


def test_a_primary_that_stood_still_answers_what_it_owes_when_it_has_its_lease_again(
    leader: Seat,
) -> None:
    token = leader.write()
    leader.now += 3000 * MS
    leader.duty.turn()
    assert leader.refusal(b"set") == leader.refusal(b"get") == CLUSTERDOWN
    leader.duty.replica_has(B, leader.replication.offset)
    assert (leader.cuts, leader.released) == (0, []), "without a lease nothing is promised"
    leader.duty.cron()
    leader.grant(B)
    assert leader.refusal(b"set") is None
    assert (leader.cuts, leader.released) == (0, [token])


@pytest.mark.parametrize("durability", ["replica:9000:1000", "async:9000:1000", "fsync"])
def test_a_write_in_whose_turn_the_lease_ends_waits_for_another(durability: str) -> None:
    seat = Seat()
    seat.topology(5, A, [B], durability=durability)
    seat.grant()
    seat.duty.turn()
    seat.replication.offset += 10
    seat.now += 1900 * MS
    token = seat.duty.commit()
    assert token == 10 + TOKEN
    assert seat.refusal(b"get") == CLUSTERDOWN
    seat.duty.cron()
    seat.grant(B)
    assert seat.refusal(b"get") is None
    if durability.startswith("replica"):
        assert seat.released == []
        seat.duty.replica_has(B, 10)
    assert (seat.cuts, seat.released) == (0, [token])


def test_replies_are_owed_for_no_longer_than_a_lease(leader: Seat) -> None:
    leader.write()
    leader.pass_ms(3000)
    leader.pass_ms(LEASE_MS)
    assert leader.cuts == 0
    leader.pass_ms(1)
    assert leader.cuts == 1
    leader.pass_ms(1000)
    assert leader.cuts == 1
    # What changes now (a key expires) is owed to nobody.
    leader.replication.offset += 10
    assert leader.duty.commit() == 0


def test_replies_are_owed_no_longer_when_another_leads(leader: Seat) -> None:
    leader.write()
    leader.pass_ms(3000)
    leader.grant(B, known=9, granted=False)
    leader.pass_ms(1)
    assert leader.cuts == 1


def test_replies_are_not_owed_into_the_next_epoch(leader: Seat) -> None:
    # It leads again, and does not know who did in between.
    leader.write()
    leader.pass_ms(3000)
    leader.topology(9, A, [B])
    assert leader.cuts == 1


def test_renewals_keep_the_lease_without_the_coordinator(leader: Seat) -> None:
    for _ in range(20):
        leader.pass_ms(500)
        leader.grant(B)
        assert leader.refusal(b"set") is None
    assert leader.duty.copy()["lease_left_ms"] > 1000  # type: ignore[index]


def test_a_newer_epoch_ends_the_lease_before_any_topology_says_so(leader: Seat) -> None:
    leader.pass_ms(500)
    leader.grant(B, known=9, granted=False)
    assert leader.refusal(b"set") == CLUSTERDOWN
    assert leader.write() == 0
    # An older topology of the same shard, sent again, changes nothing.
    leader.topology(6, A, [B], shard_epoch=5)
    leader.pass_ms(500)
    assert leader.refusal(b"set") == CLUSTERDOWN


def test_replies_wait_for_a_replica_that_counts(leader: Seat) -> None:
    token = leader.write()
    assert token == leader.replication.offset + TOKEN
    leader.duty.replica_has(C, leader.replication.offset)
    assert leader.released == []
    leader.duty.replica_has(B, leader.replication.offset - 1)
    assert leader.released == [token - 1]
    leader.duty.replica_has(B, leader.replication.offset)
    assert leader.released[-1] == token


def test_async_replies_at_once_and_refuses_what_is_past_the_bound() -> None:
    seat = Seat()
    seat.topology(5, A, [B], durability="async:500:1000")
    seat.grant()
    assert seat.write(600) == 1
    seat.duty.replica_has(B, 600)
    assert seat.write(900) == 1
    assert seat.refusal(b"set") is None
    seat.write(200)
    seat.duty.turn()
    assert (seat.refusal(b"set") or b"").startswith(b"NOREPLICAS")
    assert seat.refusal(b"get") is None
    seat.duty.replica_has(B, seat.replication.offset)
    assert seat.refusal(b"set") is None
    seat.write(10)
    seat.pass_ms(501)
    assert (seat.refusal(b"set") or b"").startswith(b"NOREPLICAS")


def test_fsync_needs_a_file_and_a_sync(seat: Seat) -> None:
    seat.persistence.aof.enabled = False
    seat.topology(6, A, [B], durability="fsync")
    seat.grant()
    assert (seat.refusal(b"set") or b"").startswith(b"MISCONF")
    assert seat.refusal(b"get") is None
    seat.persistence.aof.enabled = True
    seat.duty.cron()
    assert seat.refusal(b"set") is None
    assert seat.duty.must_sync
    assert seat.write() == 1


def test_async_without_a_replica_that_counts_goes_on() -> None:
    seat = Seat()
    seat.topology(5, A, [B], durability="async:500:1000", synced=[])
    seat.grant()
    for _ in range(3):
        seat.write(5000)
        seat.pass_ms(600)
        seat.grant(B)
        assert seat.refusal(b"set") is None
    assert not seat.duty.unsafe, "what nobody is waited for is not noted"


def test_replica_without_one_that_counts_refuses_once_the_bound_is_reached() -> None:
    seat = Seat()
    seat.topology(5, A, [B], synced=[])
    seat.grant()
    assert seat.write() > 1
    seat.pass_ms(501)
    seat.grant(B)
    assert (seat.refusal(b"set") or b"").startswith(b"NOREPLICAS")


def test_a_demoted_primary_cuts_off_those_it_owes_and_follows(leader: Seat) -> None:
    leader.write()
    before = leader.cuts
    leader.topology(6, B, [A])
    assert leader.cuts == before + 1
    assert ("follow", "127.0.0.1", 7001, B, 6) in leader.replication.calls
    assert leader.duty.copy()["role"] == "replica"  # type: ignore[index]
    # Not again for the same primary under the same epoch.
    calls = len(leader.replication.calls)
    leader.topology(7, B, [A], shard_epoch=6)
    assert len(leader.replication.calls) == calls


def test_a_promoted_replica_leads_with_what_it_has() -> None:
    seat = Seat()
    seat.topology(5, B, [A])
    seat.replication.offset = 77
    seat.topology(6, A, [B])
    names = [call[0] for call in seat.replication.calls]
    assert names == ["follow", "unfollow", "become_primary", "record"]
    assert seat.refusal(b"set") == b""
    seat.grant()
    assert seat.refusal(b"set") is None
    assert seat.blocking.calls == [("resume_postponed",)]
    assert seat.write() == 177 + TOKEN


def test_acknowledgements_of_the_epoch_before_do_not_count(leader: Seat) -> None:
    leader.write()
    leader.duty.replica_has(B, leader.replication.offset)
    leader.topology(8, A, [B])
    assert not leader.duty.offsets
    assert not leader.duty.admits(B, 5)
    assert leader.duty.admits(B, 8)
    assert not leader.duty.admits(C, 8)


def test_a_planned_handover(leader: Seat) -> None:
    token = leader.write()
    leader.duty.hear({"type": "handover", "shard": 0, "epoch": 5, "to": B})
    assert leader.blocking.calls[1:] == [("pause", 6000, True)]
    assert leader.said == []
    leader.duty.replica_has(B, leader.replication.offset)
    assert leader.said == [
        {"type": "drained", "shard": 0, "epoch": 5, "offset": leader.replication.offset}
    ]
    assert leader.released[-1] == token
    released = [(voter, frame) for voter, frame in leader.sent if frame["type"] == "release"]
    assert {voter for voter, _ in released} == {B, WITNESS}
    assert not leader.leadership.holds(leader.now)
    leader.topology(6, B, [A])
    # The clients that wait are sent on when everybody knows where to.
    assert leader.blocking.calls[-2:] == [("unpause",), ("pause", 1050, False)]
    assert leader.duty.copy()["role"] == "replica"  # type: ignore[index]


def test_a_topology_about_others_does_not_take_the_lease_back(leader: Seat) -> None:
    leader.duty.hear({"type": "handover", "shard": 0, "epoch": 5, "to": B})
    leader.duty.replica_has(B, leader.replication.offset)
    leader.sent.clear()
    leader.topology(6, A, [B], shard_epoch=5)
    # Whatever was asked for is given up again, behind it.
    for voter in (B, WITNESS):
        kinds = [frame["type"] for name, frame in leader.sent if name == voter]
        assert kinds[-1:] in (["release"], []), kinds
        assert kinds.count("release") == kinds.count("lease")
    assert not leader.leadership.holds(leader.now)
    assert leader.duty.state == "handed"


def test_replies_do_not_wait_for_a_policy_that_was_changed(leader: Seat) -> None:
    token = leader.write()
    assert leader.released == []
    leader.topology(6, A, [B], shard_epoch=5, durability="async")
    assert leader.released == [token]


@pytest.mark.parametrize("drained", [False, True])
def test_a_handover_that_is_called_off_or_forgotten(leader: Seat, drained: bool) -> None:
    leader.write()
    leader.duty.hear({"type": "handover", "shard": 0, "epoch": 5, "to": B})
    if drained:
        leader.duty.replica_has(B, leader.replication.offset)
        leader.pass_ms(5001)
    else:
        leader.duty.hear({"type": "handover_cancelled", "shard": 0, "epoch": 5})
    assert leader.blocking.calls[-1] == ("unpause",)
    leader.grant()
    assert leader.refusal(b"set") is None


def test_orders_for_another_epoch_are_not_followed(leader: Seat) -> None:
    leader.duty.hear({"type": "handover", "shard": 0, "epoch": 4, "to": B})
    assert leader.blocking.calls == [("resume_postponed",)]


def test_votes_are_given_to_the_one_that_asks_only(seat: Seat) -> None:
    frame = {"type": "lease", "shard": 0, "epoch": 5, "node": B, "number": 1}
    with pytest.raises(ValueError, match="in the name of another"):
        seat.leadership.hear(C, frame, seat.now)
    seat.leadership.hear(B, frame, seat.now)
    voter, answer = seat.sent[-1]
    # It has granted its own vote to itself.
    assert (voter, answer["type"], answer["granted"]) == (B, "grant", False)


def test_a_restarted_voter_says_nothing_for_a_lease() -> None:
    seat = Seat(B)
    seat.now = 1000 * MS
    seat.topology(5, A, [B])
    frame = {"type": "lease", "shard": 0, "epoch": 5, "node": A, "number": 1}
    seat.leadership.hear(A, frame, seat.now)
    assert seat.sent[-1][1]["granted"] is False
    seat.now = 2001 * MS
    seat.leadership.hear(A, frame, seat.now)
    assert seat.sent[-1][1]["granted"] is True


def test_a_primary_that_asks_for_its_lease_is_heard() -> None:
    seat = Seat(B)
    seat.topology(5, A, [B])
    seat.replication.silent_ms = lambda: -1  # type: ignore[method-assign]
    silent = lambda: seat.duty.copy()["primary_silent_ms"]  # type: ignore[index]  # noqa: E731
    assert silent() == -1
    frame = {"type": "lease", "shard": 0, "epoch": 5, "node": A, "number": 1}
    seat.leadership.hear(A, frame, seat.now)
    seat.now += 300 * MS
    assert silent() == 300
    # The stream said something later; requests of others, or under another epoch, say nothing.
    seat.replication.silent_ms = lambda: 120  # type: ignore[method-assign]
    seat.leadership.hear(C, {**frame, "node": C}, seat.now)
    seat.leadership.hear(A, {**frame, "epoch": 4}, seat.now)
    assert silent() == 120
    # A link that was lost long ago does not make a primary silent that asks.
    seat.replication.silent_ms = lambda: 9000  # type: ignore[method-assign]
    assert silent() == 300
    seat.topology(6, C, [A, B])
    seat.replication.silent_ms = lambda: -1  # type: ignore[method-assign]
    assert silent() == -1


def test_a_client_asks_a_replica_to_lead() -> None:
    seat = Seat(B)
    seat.topology(5, A, [B])
    clients: list[Any] = [Stub(blocked=Stub(kind=b"failover")) for _ in range(3)]
    for client in clients[:2]:
        seat.duty.ask_to_lead(client)
    clients[1].blocked = None  # it went away
    seat.duty.ask_to_lead(clients[2])
    assert [frame["number"] for frame in seat.said] == [1, 2, 3]
    assert seat.said[0] | {"number": 0} == {
        "type": "failover_wanted", "shard": 0, "node": B, "number": 0,
    }  # fmt: skip
    for number, error in ((1, ""), (2, ""), (3, "not\r\nnow"), (3, ""), (9, ""), (None, "")):
        seat.duty.hear({"type": "failover_answer", "number": number, "error": error})
    assert seat.blocking.calls[-2:] == [
        ("answer", clients[0], b"+OK\r\n"),
        ("answer", clients[2], b"-ERR The coordinator refuses: not  now\r\n"),
    ]


def test_metrics_of_a_primary_and_of_a_replica() -> None:
    seat = Seat()
    seat.topology(5, A, [B], durability="async:500:1000")
    seat.grant()
    seat.write(100)
    seat.now += 40 * MS
    member: Any = Stub(
        duty=seat.duty, node=seat.duty.node, view=seat.view, leadership=seat.leadership,
        receipts=Receipts(seat.said.append),
    )  # fmt: skip

    def seen() -> dict[str, Any]:
        return {m.name.removeprefix("isthmus_node_"): m.samples[0] for m in member_metrics(member)}

    found = seen()
    assert found["role"].labels == {"role": "primary", "shard": "0"}
    assert (found["lag_seconds"].value, found["synced_replicas"].value) == (0.04, 1)
    assert 1 < found["lease_seconds"].value < 2 and found["lease_requests"].value > 0
    assert dict(seat.duty.figures())["isthmus_lag_ms"] == 40
    seat.topology(6, B, [A])
    found = seen()
    assert found["role"].labels == {"role": "replica", "shard": "0"}
    assert (found["lease_seconds"].value, found["demotions"].value) == (0, 1)
    assert found["primary_silent_seconds"].value == 0.007
    assert dict(seat.duty.figures())["isthmus_duty"] == "following"


def test_a_shard_of_one_copy_needs_no_lease() -> None:
    seat = Seat()
    seat.topology(5, A, [])
    assert seat.duty.lease_left_ms(seat.now) == -1

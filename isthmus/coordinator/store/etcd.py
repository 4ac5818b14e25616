"""A store that several coordinators share (io): etcd, of which one at a time is the leader's.

`Etcd` is one process's way in. `open` stands for election once: it returns the leader's store, or
raises StoreLocked naming the leader. `glance` reads what others may see. Everything is under one
prefix, so one etcd can keep many clusters:

    PREFIX/leader      {"id", "address", "pid"} of the coordinator in office, tied to its etcd lease
    PREFIX/window      {"act_ms"}: how long the last one in office may act unproven; 0: it resigned
    PREFIX/header      {"format", "cluster_id", "region", "epoch", "op"}; written by each commit
    PREFIX/object/NN   {kind: {id: body}}, the objects whose (kind, id) hashes to NN, 00 to 3f

Objects share 64 keys because a transaction of etcd may have 128 operations, and a batch more
objects.

What it rests on. **The term is the create_revision of PREFIX/leader**, a key that only one can
create, and every write is one transaction whose compares are that revision and the mod_revision
of each key it writes. So whoever was deposed, in whatever way and whether it knows or not, can
write nothing. Nothing else is believed of etcd:

1. *Reads prove nothing.* A read may be older than it should be (etcd#20418, in Debian's 3.4.23).
   What a decision rests on is read inside a transaction that has a write in it, if only the
   deletion of a key that is never there: that one goes through the log of etcd's consensus, a plain
   read does not. A plain read here only says when it may be worth standing for election.
2. *A renewed lease proves nothing.* A deposed leader of etcd may answer (etcd#15247). `renew` asks
   for the lease and then proves the term by a guarded transaction. A holder acts for `act_ms` after
   it *began* its last successful proof, 60 % of the lease's TTL, and then no more (`confirm`).
3. *A lease that ran out proves nothing either*, so a new leader may not act before the old one's
   window is over: it waits `wait_ms`, counted from the creation of its own key, which is later than
   any proof of the old one. Thus two never act at once, whatever etcd does with its leases. That
   matters for what is not written: the coordinator's voice as witness of a shard's lease.
4. *A timeout says nothing.* Each commit has a number drawn for it, `op`, in the header. It is asked
   again as it is; if the compares then fail while the term holds and the header has that very
   number, the first asking had succeeded.
5. *Revisions may go back* if somebody restores a backup under us. An answer from a smaller revision
   than one seen, or from another etcd cluster, ends the term.

TTLs are whole seconds, and etcd raises one below 1.5 election timeouts. A new leader of etcd starts
all of them afresh, so a dead coordinator's key goes after TTL to twice TTL.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from isthmus.coordinator.store.base import (
    Batch,
    Body,
    EpochWentBack,
    Key,
    Saved,
    StaleTerm,
    Store,
    StoreError,
    StoreLocked,
)
from isthmus.coordinator.store.gateway import Answer, Gateway, Place, coded, number, plain

FORMAT: Final = 1
BUCKETS: Final = 64
TTL_SECONDS_MIN: Final = 2
TTL_SECONDS_DEFAULT: Final = 5
GLANCE_SECONDS_MAX: Final = 1.0
RESIGN_SECONDS_MAX: Final = 1.0
_CREATE: Final = "CREATE"
_MOD: Final = "MOD"
_COMPARED: Final = {_CREATE: "createRevision", _MOD: "modRevision"}


@dataclass(frozen=True, slots=True)
class Glance:
    """What a coordinator out of office sees: a hint, perhaps an old one, never ground to act."""

    leader: str  # its address; empty if there is none
    saved: Saved | None


class Etcd:
    """One process's way to the store. `address` is where members reach it if it leads.

    `clock` is the one that the holder's `confirm` is asked with: nanoseconds, monotonic, going on
    while the machine sleeps.
    """

    def __init__(
        self, where: Place, clock: Callable[[], int], *, address: str = "", pid: int = 0,
        ttl_seconds: int = TTL_SECONDS_DEFAULT,
    ) -> None:  # fmt: skip
        self.address = address
        self.clock = clock
        self.id = secrets.token_hex(20)
        self.ttl_seconds = max(ttl_seconds, TTL_SECONDS_MIN)
        self.act_ms = self.ttl_seconds * 600
        # Three tries fit into the time that an office goes on without proof.
        self.gateway = Gateway(where, attempt_seconds=self.act_ms / 3000)
        self.prefix = where.prefix
        self._pid = pid

    def open(self, *, hint: bool = True) -> EtcdStore:
        """Stand for election once. Raises StoreLocked with the leader's address, StoreError.

        With `hint` a plain read that shows a leader is enough to leave it; it may be an old one, so
        whoever tries again and again leaves it out now and then.
        """
        if hint and (leader := self.leader()):
            raise StoreLocked(leader)
        seconds = self.act_ms / 1000
        granted = self.gateway.call("/v3/lease/grant", {"TTL": str(self.ttl_seconds)}, seconds)
        lease = str(granted.get("ID", "0"))
        me = {"id": self.id, "address": self.address, "pid": self._pid}
        key = self.key("leader")
        began = self.clock()
        answer = self.transact(
            [_equal(key, _CREATE, 0)],
            [_put(key, me, lease), _range(key)],
            [_delete(self.key("nothing")), _range(key)],
            seconds,
        )
        found = _kvs(answer, 1)[0]
        if not answer.get("succeeded"):
            who = json.loads(plain(found.get("value")))
            if who.get("id") == self.id:
                # Ours, of an office that we have left, or of this try if its answer was lost.
                self._abandon(number(found, "create_revision"))
            self._revoke(lease)
            raise StoreLocked(str(who.get("address", "")))
        return EtcdStore(self, lease, number(found, "create_revision"), began)

    def leader(self) -> str:
        """The leader's address as a plain read tells it; empty if there seems to be none."""
        answer = self.gateway.call(
            "/v3/kv/range", {"key": coded(self.key("leader"))}, GLANCE_SECONDS_MAX
        )
        for kv in answer.get("kvs", ()):
            who = json.loads(plain(kv.get("value")))
            if who.get("id") != self.id:
                return str(who.get("address") or "unknown")
        return ""

    def glance(self) -> Glance:
        """Who leads and what is stored, as a plain read tells it. Raises StoreError."""
        body = {"key": coded(self.key("")), "rangeEnd": coded(_behind(self.key("")))}
        answer = self.gateway.call("/v3/kv/range", body, GLANCE_SECONDS_MAX)
        kvs = _by_key(answer)
        leader = json.loads(plain(kvs.get(self.key("leader"), {}).get("value")) or "{}")
        header, objects = _contents(self, kvs)
        address = str(leader.get("address", ""))
        return Glance(address, None if header is None else _saved(header, objects))

    def key(self, name: str) -> str:
        """The full name of a key."""
        return f"{self.prefix}/{name}"

    def transact(
        self, compare: list[Answer], success: list[Answer], failure: list[Answer], seconds: float
    ) -> Answer:
        """One transaction; whether it succeeded is in the answer."""
        body = {"compare": compare, "success": success, "failure": failure}
        return self.gateway.call("/v3/kv/txn", body, seconds)

    def close(self) -> None:
        """Close all connections."""
        self.gateway.close()

    def _abandon(self, term: int) -> None:
        """Free a key of ours; the window stays, for nobody knows here whether it was used."""
        key = self.key("leader")
        self.transact([_equal(key, _CREATE, term)], [_delete(key)], [], RESIGN_SECONDS_MAX)

    def _revoke(self, lease: str) -> None:
        try:
            self.gateway.call("/v3/lease/revoke", {"ID": lease}, RESIGN_SECONDS_MAX)
        except StoreError:
            return  # it ends by itself


class EtcdStore(Store):
    """The store of the leader of one term. Before acting it has to wait `wait_ms`, then `begin`."""

    def __init__(self, etcd: Etcd, lease: str, term: int, proved_ns: int) -> None:
        self.term = term
        self._etcd = etcd
        self._lease = lease
        self._proved_ns = proved_ns  # when the last successful proof was begun
        self._window = 0  # mod_revision of PREFIX/window
        self._acting = False
        self._closed = False
        self.ended = False  # it is known that the term is over; from then on nothing may act
        self._revision = 0
        self._cluster = ""
        self._header: dict[str, Any] | None = None
        self._revisions: dict[str, int] = {}  # key -> mod_revision as last seen
        self._objects: dict[str, dict[Key, str]] = {}  # bucket's key -> objects in it, as JSON
        self.wait_ms = self._read()

    @property
    def seconds(self) -> float:
        """How long one call may take: no longer than an office goes on without proof."""
        return self._etcd.act_ms / 1000

    def load(self) -> Saved | None:
        self._read()
        if self._header is None:
            return None
        return _saved(self._header, self._objects)

    def create(self, cluster_id: str, region: str) -> None:
        if self._header is not None:
            raise StoreError("this store already holds a cluster")
        header = {"format": FORMAT, "cluster_id": cluster_id, "region": region, "epoch": 0}
        self._write(header, {})

    def commit(self, batch: Batch) -> None:
        header = self._header
        if self._closed:
            raise StoreError("this store is closed")
        if header is None:
            raise StoreError("this store holds no cluster yet")
        if batch.epoch < header["epoch"]:
            raise EpochWentBack(f"epoch {batch.epoch} is below the stored {header['epoch']}")
        changed: dict[str, dict[Key, str]] = {}
        for key, body in batch.objects.items():
            name = self._etcd.key(f"object/{_bucket(key):02x}")
            bucket = changed.setdefault(name, dict(self._objects.get(name, {})))
            if body is None:
                bucket.pop(key, None)
            else:
                bucket[key] = json.dumps(body, separators=(",", ":"), sort_keys=True)
        self._write({**header, "epoch": batch.epoch}, changed)

    def begin(self) -> None:
        """Start to act: from now on a successor has to wait for our window. Raises StoreError."""
        key = self._etcd.key("window")
        window = {"act_ms": self._etcd.act_ms}
        self._prove([_put(key, window)])
        self._acting = True

    def renew(self) -> None:
        """Keep the office, and prove that it is kept. Raises StaleTerm if it is lost, StoreError.

        May run in another thread than the rest: a time and the highest revision seen are all that
        it changes, and either may be a little behind without harm.
        """
        began = self._etcd.clock()
        answer = self._etcd.gateway.call("/v3/lease/keepalive", {"ID": self._lease}, self.seconds)
        if not number(answer.get("result", {}), "TTL"):
            raise StaleTerm(f"the lease of term {self.term} ran out")
        self._prove([_delete(self._etcd.key("nothing"))])
        self._proved_ns = max(self._proved_ns, began)

    def confirm(self, now_ns: int) -> None:
        unproved_ms = (now_ns - self._proved_ns) // 1_000_000
        if self.ended or self._closed or unproved_ms > self._etcd.act_ms * 95 // 100:
            raise StaleTerm(f"term {self.term} has not been proved for {unproved_ms} ms")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        key, window = self._etcd.key("leader"), self._etcd.key("window")
        done = [_delete(key), *([_put(window, {"act_ms": 0})] if self._acting else [])]
        try:
            self._etcd.transact([self._guard()], done, [], RESIGN_SECONDS_MAX)
            self._etcd._revoke(self._lease)
        except StoreError:
            return  # the key goes with its lease

    def _guard(self) -> Answer:
        return _equal(self._etcd.key("leader"), _CREATE, self.term)

    def _prove(self, operations: list[Answer]) -> None:
        answer = self._guarded([], operations, [])
        if not answer.get("succeeded"):
            raise StaleTerm(f"term {self.term} is over: another coordinator was elected")

    def _guarded(
        self, compare: list[Answer], success: list[Answer], failure: list[Answer]
    ) -> Answer:
        """A transaction under the term's guard, from an etcd that has not gone back."""
        floor = self._revision
        answer = self._etcd.transact([self._guard(), *compare], success, failure, self.seconds)
        header = answer.get("header", {})
        cluster, revision = str(header.get("cluster_id", "")), number(header, "revision")
        if revision < max(floor, self.term) or cluster != (self._cluster or cluster):
            raise StaleTerm(f"this is another etcd than before, or an older copy: {cluster}")
        self._cluster, self._revision = cluster, max(self._revision, revision)
        return answer

    def _read(self) -> int:
        """Take over all that is stored; how long the one before may go on acting, in ms."""
        etcd = self._etcd
        everything = _range(etcd.key(""), _behind(etcd.key("")))
        answer = self._guarded([], [_delete(etcd.key("nothing")), everything], [])
        if not answer.get("succeeded"):
            raise StaleTerm(f"term {self.term} is over: another coordinator was elected")
        kvs = _by_key(answer["responses"][1]["response_range"])
        self._header, self._objects = _contents(etcd, kvs)
        self._revisions = {key: number(kv, "mod_revision") for key, kv in kvs.items()}
        window = json.loads(plain(kvs.get(etcd.key("window"), {}).get("value")) or "{}")
        return int(window.get("act_ms", 0))

    def _write(self, header: dict[str, Any], changed: dict[str, dict[Key, str]]) -> None:
        """Commit a header and some buckets, or find that this had been done."""
        if self._closed:
            raise StoreError("this store is closed")
        header = {**header, "op": secrets.token_hex(12)}
        name, leader = self._etcd.key("header"), self._etcd.key("leader")
        compare = [_equal(key, _MOD, self._revisions.get(key, 0)) for key in (name, *changed)]
        puts = [_put(name, header)]
        puts += [_put(key, _nested(found)) if found else _delete(key)
                 for key, found in changed.items()]  # fmt: skip
        began = self._etcd.clock()
        answer = self._guarded(
            compare, puts, [_delete(self._etcd.key("nothing")), _range(leader), _range(name)]
        )
        if answer.get("succeeded"):
            revision = number(answer["header"], "revision")
        else:
            revision = self._done_before(answer, str(header["op"]))
        self._proved_ns = max(self._proved_ns, began)
        self._header = header
        self._objects.update(changed)
        self._revisions[name] = revision
        for key, found in changed.items():
            self._revisions[key] = revision if found else 0

    def _done_before(self, answer: Answer, op: str) -> int:
        """The revision at which a commit whose answer was lost had been written after all."""
        leader, header = (_kvs(answer, place) for place in (1, 2))
        if not leader or number(leader[0], "create_revision") != self.term:
            raise StaleTerm(f"term {self.term} is over: another coordinator was elected")
        if not header or json.loads(plain(header[0].get("value"))).get("op") != op:
            raise StaleTerm(f"somebody else than the leader of term {self.term} wrote the store")
        return number(header[0], "mod_revision")


# --- etcd's maps ------------------------------------------------------------------------------


def _equal(key: str, target: str, revision: int) -> Answer:
    return {"key": coded(key), "target": target, _COMPARED[target]: str(revision)}


def _put(key: str, value: object, lease: str = "0") -> Answer:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return {"requestPut": {"key": coded(key), "value": coded(text), "lease": lease}}


def _range(key: str, end: str = "") -> Answer:
    return {"requestRange": {"key": coded(key), **({"rangeEnd": coded(end)} if end else {})}}


def _delete(key: str) -> Answer:
    return {"requestDeleteRange": {"key": coded(key)}}


def _behind(prefix: str) -> str:
    """The first key behind all that begin with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _kvs(answer: Answer, place: int) -> list[Answer]:
    """What the range at `place` among a transaction's operations found."""
    found: list[Answer] = answer["responses"][place]["response_range"].get("kvs", [])
    return found


def _by_key(answer: Answer) -> dict[str, Answer]:
    return {plain(kv["key"]): kv for kv in answer.get("kvs", ())}


# --- what is kept -----------------------------------------------------------------------------


def _bucket(key: Key) -> int:
    """Part of the format: it may not change while there are stores."""
    return zlib.crc32("/".join(key).encode()) % BUCKETS


def _nested(objects: dict[Key, str]) -> dict[str, dict[str, Body]]:
    found: dict[str, dict[str, Body]] = {}
    for (kind, id), text in objects.items():
        found.setdefault(kind, {})[id] = json.loads(text)
    return found


def _contents(
    etcd: Etcd, kvs: dict[str, Answer]
) -> tuple[dict[str, Any] | None, dict[str, dict[Key, str]]]:
    """The header, if there is one, and the objects by the key of their bucket."""
    text = plain(kvs.get(etcd.key("header"), {}).get("value"))
    header = json.loads(text) if text else None
    if header is not None and header.get("format") != FORMAT:
        raise StoreError(
            f"{etcd.prefix} has format {header.get('format')}; this program knows format {FORMAT}"
        )
    objects: dict[str, dict[Key, str]] = {}
    for name, kv in kvs.items():
        if name.startswith(etcd.key("object/")):
            kinds = json.loads(plain(kv.get("value")))
            objects[name] = {
                (kind, id): json.dumps(body)
                for kind, bodies in kinds.items()
                for id, body in bodies.items()
            }
    return header, objects


def _saved(header: dict[str, Any], objects: dict[str, dict[Key, str]]) -> Saved:
    found: dict[Key, Body] = {
        key: json.loads(text) for bucket in objects.values() for key, text in bucket.items()
    }
    return Saved(header["cluster_id"], header["region"], int(header["epoch"]), found)

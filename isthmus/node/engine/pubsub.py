"""PubSub: who listens to which channel, and what they are sent.

Three kinds of subscription: a channel, a glob pattern over channels, a shard channel. The first two
are one space for the whole cluster; a shard channel is a name with a hash slot, as a key, and lives
on the shard that owns it. A client may hold any number of each; a message that reaches it by a
channel and by two patterns is sent three times, and counted three times in the reply of PUBLISH.

Messages are arrays in RESP2 and pushes in RESP3:

    message channel text | pmessage pattern channel text | smessage channel text
    subscribe channel count    (also unsubscribe, psubscribe ...: the answers to the commands)

Invariants. A channel with no subscriber has no entry, so what is held is bounded by what clients
hold. `client.subscriber` is true exactly while a client has a subscription of any kind: it puts a
RESP2 client into its restricted mode and any client into the output limits of class `pubsub`.
Nothing is sent from here but through node.push, which keeps messages behind the reply of the
client that is being served.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import Context
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.spec import CommandSpec
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

Listeners = dict[ClientState, None]

# What a RESP2 client may do while it is subscribed.
WHILE_SUBSCRIBED = frozenset(
    b"subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe ping quit reset".split()
)


# What a subscription costs beside its name, about.
SUBSCRIPTION_BYTES = 200


class Subscriptions:
    """What one client listens to, in the order in which it asked; `held` is what that takes."""

    __slots__ = ("channels", "patterns", "shards", "held")

    def __init__(self) -> None:
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shards: dict[bytes, None] = {}
        self.held = 0


NOTHING = Subscriptions()


def confirm(
    writer: ReplyWriter, word: bytes, name: bytes | None, count: int, protocol: int
) -> None:
    """Write the answer to one subscription or its end; `name` is None if there was none to end."""
    writer.protocol = protocol
    writer.push(3)
    writer.bulk(word)
    if name is None:
        writer.null()
    else:
        writer.bulk(name)
    writer.integer(count)


class PubSub:
    """The subscriptions of one node; `node` is asked to push and for a spare writer."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.ctx: Context = node.ctx
        self.encoder: ReplyWriter = node.encoder
        self.clients: dict[ClientState, Subscriptions] = {}
        self.channels: dict[bytes, Listeners] = {}
        self.patterns: dict[bytes, Listeners] = {}
        self.shards: dict[bytes, Listeners] = {}
        # Hands a message to the other nodes of a cluster (node/cluster/bus.py); None outside one.
        self.forward: Any = None
        self.relayed = 0

    # -- who listens --------------------------------------------------------------------------

    def of(self, client: ClientState) -> Subscriptions:
        """What client listens to; not to be changed by the caller."""
        return self.clients.get(client, NOTHING)

    def count(self, client: ClientState) -> int:
        """How many channels and patterns client listens to."""
        mine = self.of(client)
        return len(mine.channels) + len(mine.patterns)

    def subscribe(self, client: ClientState, channel: bytes) -> bool:
        """Let client listen to a channel. False if it does already."""
        return self._join(client, self._mine(client).channels, self.channels, channel)

    def subscribe_pattern(self, client: ClientState, pattern: bytes) -> bool:
        """Let client listen to every channel that matches. False if it does already."""
        return self._join(client, self._mine(client).patterns, self.patterns, pattern)

    def subscribe_shard(self, client: ClientState, channel: bytes) -> bool:
        """Let client listen to a shard channel. False if it does already."""
        return self._join(client, self._mine(client).shards, self.shards, channel)

    def unsubscribe(self, client: ClientState, channel: bytes) -> bool:
        """End a subscription. False if there was none."""
        return self._leave(client, self.of(client).channels, self.channels, channel)

    def unsubscribe_pattern(self, client: ClientState, pattern: bytes) -> bool:
        """End a subscription to a pattern. False if there was none."""
        return self._leave(client, self.of(client).patterns, self.patterns, pattern)

    def unsubscribe_shard(self, client: ClientState, channel: bytes) -> bool:
        """End a subscription to a shard channel. False if there was none."""
        return self._leave(client, self.of(client).shards, self.shards, channel)

    def forget(self, client: ClientState) -> None:
        """End all subscriptions of client without a word: it is gone, or asked for RESET."""
        mine = self.clients.get(client)
        if mine is not None:
            for names, space in (
                (mine.channels, self.channels),
                (mine.patterns, self.patterns),
                (mine.shards, self.shards),
            ):
                for name in list(names):
                    self._leave(client, names, space, name)

    def _mine(self, client: ClientState) -> Subscriptions:
        mine = self.clients.get(client)
        if mine is None:
            mine = self.clients[client] = Subscriptions()
            client.subscriber = True
            client.regate()
            self.node.output_limits.apply(client)
        return mine

    def _join(
        self, client: ClientState, mine: dict[bytes, None], space: dict[bytes, Listeners],
        name: bytes,
    ) -> bool:  # fmt: skip
        if name in mine:
            return False
        mine[name] = None
        self.clients[client].held += SUBSCRIPTION_BYTES + len(name)
        listeners = space.get(name)
        if listeners is None:
            listeners = space[name] = {}
        listeners[client] = None
        return True

    def _leave(
        self, client: ClientState, mine: dict[bytes, None], space: dict[bytes, Listeners],
        name: bytes,
    ) -> bool:  # fmt: skip
        if name not in mine:
            return False
        del mine[name]
        listeners = space[name]
        del listeners[client]
        if not listeners:
            del space[name]
        left = self.clients[client]
        left.held -= SUBSCRIPTION_BYTES + len(name)
        if not (left.channels or left.patterns or left.shards):
            del self.clients[client]
            client.subscriber = False
            client.regate()
            self.node.output_limits.apply(client)
        return True

    def refusal(self, client: ClientState, spec: CommandSpec) -> bytes | None:
        """Why a subscriber may not run a command: in RESP2 it could not tell reply and message."""
        if client.protocol >= 3 or spec.name in WHILE_SUBSCRIBED:
            return None
        return (
            b"ERR Can't execute '" + spec.name + b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / "
            b"PING / QUIT / RESET are allowed in this context"
        )

    # -- what they are sent -------------------------------------------------------------------

    def publish(self, channel: bytes, text: bytes) -> i64:
        """Send a message to every subscriber of this node; how often it was sent."""
        count = 0
        listeners = self.channels.get(channel)
        if listeners is not None:
            count = self._send(listeners, [b"message", channel, text])
        if self.patterns:
            for pattern, followers in list(self.patterns.items()):
                if glob_match(pattern, channel):
                    count += self._send(followers, [b"pmessage", pattern, channel, text])
        return count

    def publish_shard(self, channel: bytes, text: bytes) -> i64:
        """Send a message to the subscribers of a shard channel; how many they are."""
        listeners = self.shards.get(channel)
        return 0 if listeners is None else self._send(listeners, [b"smessage", channel, text])

    def _send(self, listeners: Listeners, words: list[bytes]) -> i64:
        """Push a message to all listeners: it is encoded once for each protocol in use."""
        ctx = self.ctx
        two = b""
        three = b""
        count = len(listeners)
        # A push may cut off a client that does not read, and so change the listeners.
        for client in list(listeners):
            if client.protocol == 2:
                two = two or self.encode(words, 2)
                ctx.push(client, two)
            else:
                three = three or self.encode(words, 3)
                ctx.push(client, three)
        return count

    def encode(self, words: list[bytes], protocol: i64) -> bytes:
        """The bytes of a message."""
        writer = self.encoder
        writer.protocol = protocol
        writer.push(len(words))
        for word in words:
            writer.bulk(word)
        return writer.take()

    def drop_shards(self, mine: bytearray) -> int:
        """End the subscriptions to shard channels whose slot is not in `mine` any more.

        Their subscribers are told, so that they ask the shard that has the slot now.
        """
        lost = [channel for channel in self.shards if not mine[key_slot(channel)]]
        for channel in lost:
            for client in list(self.shards.get(channel, ())):
                if self.unsubscribe_shard(client, channel):
                    writer = self.encoder
                    left = len(self.of(client).shards)
                    confirm(writer, b"sunsubscribe", channel, left, client.protocol)
                    self.node.push(client, writer.take())
        return len(lost)

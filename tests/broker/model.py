"""A client of the model without a wire: what a sink was told, and short ways to do things."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth.testing import ManualClock
from busauth.testing.broker.model.channels.channel import Channel
from busauth.testing.broker.model.connection import Connection
from busauth.testing.broker.model.limits import Limits
from busauth.testing.broker.model.message import Delivery, Message
from busauth.testing.broker.model.node import Node


@dataclass(eq=False)
class Sink:
    """Remembers everything; `open` False is a client that does not read."""

    open: bool = True
    deliveries: list[tuple[str, Delivery]] = field(default_factory=list)
    returns: list[Message] = field(default_factory=list)
    confirms: list[tuple[int, bool]] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    blockings: list[str] = field(default_factory=list)

    def writable(self) -> bool:
        return self.open

    def deliver(self, consumer_tag: str, delivery: Delivery) -> None:
        self.deliveries.append((consumer_tag, delivery))

    def returned(self, code: int, text: str, message: Message) -> None:
        assert (code, text) == (312, "NO_ROUTE")
        self.returns.append(message)

    def confirmed(self, tag: int, *, ack: bool) -> None:
        self.confirms.append((tag, ack))

    def cancelled(self, consumer_tag: str) -> None:
        self.cancels.append(consumer_tag)

    def blocked(self, reason: str) -> None:
        self.blockings.append(reason)

    def unblocked(self) -> None:
        self.blockings.append("")

    def closed(self, code: int, text: str) -> None:
        raise AssertionError((code, text))

    def bodies(self) -> list[bytes]:
        return [delivery.message.body for _, delivery in self.deliveries]


@dataclass
class Client:
    """One connection with one channel."""

    node: Node
    sink: Sink
    connection: Connection
    channel: Channel

    @classmethod
    def of(cls, node: Node, vhost: str = "/") -> "Client":
        sink = Sink()
        connection = node.connect("guest", vhost, sink)
        return cls(node, sink, connection, connection.channel(1, sink))

    def declare(self, name: str, **arguments: Any) -> str:
        """Declare a durable queue; `message_ttl=5` is the argument `x-message-ttl`."""
        table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        return self.channel.queue_declare(
            name, passive=False, durable=True, exclusive=False, auto_delete=False, arguments=table
        ).name

    def publish(
        self, key: str, body: bytes = b"x", exchange: str = "", *, mandatory: bool = False, **p: Any
    ) -> Message:
        header = ContentHeader(body_size=len(body), properties=Basic.Properties(**p)).marshal()
        message = Message(exchange, key, header, body)
        self.channel.publish(message, mandatory=mandatory)
        self.node.pump()
        return message

    def consume(
        self,
        queue: str,
        tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        tag = self.channel.consume(
            queue,
            tag,
            no_local=False,
            no_ack=no_ack,
            exclusive=exclusive,
            arguments=arguments or {},
        )
        self.node.pump()
        return tag

    def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        return self.channel.get(queue, no_ack=no_ack)

    def close(self) -> None:
        self.connection.close()
        self.node.pump()


def node(clock: ManualClock | None = None, **limits: int) -> Node:
    return Node(clock or ManualClock(), limits=Limits(journal=100_000, **limits))

"""What the cases about publishing, consuming and acknowledging share."""

from typing import Any

from pamqp.base import Frame
from pamqp.commands import Basic, Confirm, Queue

from tests.conformance.client import ChannelClosed, Content, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.refusals import same, works

CONSUME, PUBLISH, ACK = (60, 20), (60, 40), (60, 80)
"""What closes name."""

Taken = tuple[bytes, int, bool]
"""Body, delivery tag, redelivered."""


async def publish(channel: RawChannel, queue: str, *bodies: bytes, **values: Any) -> None:
    """Publish through the default exchange, and return once the queue is through with it all.

    The channel is in confirm mode from then on.
    """
    await channel.call(Confirm.Select())
    for body in bodies:
        channel.publish(body, queue, **values)
        assert isinstance(await channel.confirms.get(), Basic.Ack)


async def filled(server: Server, channel: RawChannel, *bodies: bytes, **values: Any) -> str:
    """Declare a queue with these messages in it; keywords are those of queue.declare."""
    queue = await server.queue(channel, **values)
    await publish(channel, queue, *bodies)
    return queue


async def settled(queue: str, *channels: RawChannel) -> None:
    """Return once what the queue has delivered to these channels is here.

    A queue that is asked how it is answers between two messages, so it is through with the last
    message that it confirmed. It does not wait for other messages that are on their way to it.
    """
    for channel in (channels[0], *channels):
        await channel.call(Queue.Declare(queue=queue, passive=True))


async def next_taken(channel: RawChannel) -> Taken:
    """The next delivery, waited for."""
    return taken(await channel.deliveries.get())


def taken(content: Content) -> Taken:
    return content.body, content.method.delivery_tag, content.method.redelivered


def came(channel: RawChannel) -> list[bytes]:
    """The bodies that were delivered so far and not asked for yet."""
    contents = list(channel.deliveries.items)
    channel.deliveries.items.clear()
    return [content.body for content in contents]


async def next_bodies(channel: RawChannel, count: int) -> list[bytes]:
    return [(await channel.deliveries.get()).body for _ in range(count)]


async def hold(channel: RawChannel, queue: str, count: int) -> list[int]:
    """Take messages with basic.get, leave them unacknowledged, return their tags."""
    tags = []
    for _ in range(count):
        content = await channel.get(queue)
        assert content is not None
        tags.append(content.method.delivery_tag)
    return tags


async def all_taken(channel: RawChannel, queue: str) -> list[tuple[bytes, bool]]:
    """Take all that is ready: body and redelivered."""
    found = []
    while (content := await channel.get(queue, no_ack=True)) is not None:
        found.append((content.body, content.method.redelivered))
    return found


async def closes(channel: RawChannel, code: int, text: str, method: tuple[int, int]) -> None:
    """What was sent closes the channel with this, and no other channel."""
    neighbour = await channel.connection.channel()
    error = await channel.closed()
    assert isinstance(error, ChannelClosed), error
    same(error, (code, text, method))
    await works(neighbour)


def order(channel: RawChannel) -> list[str]:
    """From now on note the methods that come on this channel."""
    names: list[str] = []
    receive = channel.receive

    def noting(frame: Any) -> None:
        if isinstance(frame, Frame):
            names.append(frame.name)
        receive(frame)

    channel.receive = noting  # type: ignore[method-assign]
    return names


def ack(channel: RawChannel, tag: int = 0, *, multiple: bool = False) -> None:
    channel.send(Basic.Ack(delivery_tag=tag, multiple=multiple))


def nack(
    channel: RawChannel, tag: int = 0, *, multiple: bool = False, requeue: bool = True
) -> None:
    channel.send(Basic.Nack(delivery_tag=tag, multiple=multiple, requeue=requeue))


def reject(channel: RawChannel, tag: int, *, requeue: bool = True) -> None:
    channel.send(Basic.Reject(delivery_tag=tag, requeue=requeue))

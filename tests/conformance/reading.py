"""What the cases about streams share."""

from typing import Any

from pamqp.commands import Basic

from tests.conformance.client import RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.lettering import confirming, consume, queue

BODIES = [b"0", b"1", b"2", b"3"]


async def filled(server: Server, channel: RawChannel) -> str:
    """A stream of four messages, confirmed one by one."""
    stream = await queue(server, await confirming(channel), queue_type="stream")
    for body in BODIES:
        await append(channel, stream, body)
    return stream


async def append(channel: RawChannel, stream: str, body: bytes, **values: Any) -> None:
    channel.publish(body, stream, **values)
    assert isinstance(await channel.confirms.get(), Basic.Ack)


async def read(
    connection: RawConnection, stream: str, offset: Any = "first", *, prefetch: int = 10
) -> RawChannel:
    """A channel that consumes the stream."""
    channel = await connection.channel()
    await channel.call(Basic.Qos(prefetch_count=prefetch))
    arguments = {} if offset is None else {"x-stream-offset": offset}
    await consume(channel, stream, arguments=arguments)
    return channel


async def bodies(channel: RawChannel, count: int) -> list[bytes]:
    return [(await channel.deliveries.get()).body for _ in range(count)]


def ack(channel: RawChannel, tag: int, *, multiple: bool = False) -> None:
    channel.send(Basic.Ack(delivery_tag=tag, multiple=multiple))

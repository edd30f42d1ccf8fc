"""What cannot be read in a stream of revocations."""

import time

from yarl import URL

from busauth._amqp.feed.attachment import attach
from tests.support import Broker, publish_raw


async def test_a_feed_skips_what_it_cannot_read(broker: Broker, url: str) -> None:
    """However many there are, the next event comes, on the same connection."""
    stream = broker.name("revocations")
    await broker.channel.declare_queue(stream, durable=True, arguments={"x-queue-type": "stream"})
    for _ in range(12):
        await publish_raw(url, stream, 0x0400, b"\x02\xff\xfe")  # a correlation id
    await broker.publish(stream, b"an event")
    attachment = await attach(URL(url), stream, 0, prefetch=5, monotonic=time.monotonic)
    try:
        reading = await attachment.read()
    finally:
        await attachment.close()
    assert reading.body == b"an event"

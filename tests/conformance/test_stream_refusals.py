"""What a stream refuses: arguments, and the methods that take messages away."""

from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from tests.conformance.client import ChannelClosed, ConnectionClosed, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.lettering import consume, queue
from tests.conformance.reading import filled, read
from tests.conformance.versions import versions


async def refused(channel: RawChannel, method: Any) -> tuple[int, str, tuple[int, int]]:
    """How the connection was closed for a method."""
    with pytest.raises(ConnectionClosed) as caught:
        await channel.call(method)
    return caught.value.code, caught.value.text, caught.value.method


@versions("3.10 - 4.3")
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("x-max-length", 5, " of queue type rabbit_stream_queue"),
        ("x-overflow", "drop-head", " of queue type rabbit_stream_queue"),
        ("x-message-ttl", 5, " of queue type rabbit_stream_queue"),
        ("x-expires", 5, " of queue type rabbit_stream_queue"),
        ("x-dead-letter-exchange", "", " of queue type rabbit_stream_queue"),
        ("x-max-priority", 5, " of queue type rabbit_stream_queue"),
        ("x-delivery-limit", 5, " of queue type rabbit_stream_queue"),
        ("x-max-age", "1x", ": invalid_max_age"),
        ("x-max-age", "1", ": invalid_max_age"),
        ("x-max-age", "0s", ": invalid_max_age"),
        ("x-max-age", "1.5h", ": invalid_max_age"),
        ("x-max-age", "5 s", ": invalid_max_age"),
        ("x-max-age", 5, ": {unacceptable_type,byte}"),
        ("x-max-length-bytes", -1, ": {value_negative,-1}"),
        ("x-max-length-bytes", "5", ': "expected integer, got longstr"'),
        ("x-stream-max-segment-size-bytes", -1, ": {value_negative,-1}"),
        ("x-stream-max-segment-size-bytes", "5", ': "expected integer, got longstr"'),
        ("x-initial-cluster-size", 0, ": {value_zero,0}"),
        ("x-queue-leader-locator", "here", ": invalid_queue_locator_arg"),
    ],
)
async def test_arguments(
    server: Server, channel: RawChannel, name: str, value: Any, text: str
) -> None:
    """A stream refuses what limits queues otherwise, and wrong values of its own arguments."""
    with pytest.raises(ChannelClosed) as caught:
        await queue(server, channel, queue_type="stream", **{name[2:]: value})
    assert (caught.value.code, caught.value.text) == (
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue '{server.queues[-1]}'"
        f" in vhost '/'{text}",
    )


@versions("3.10 - 4.3")
async def test_segment_size(server: Server, channel: RawChannel) -> None:
    """A segment has at most 3 GB."""
    await queue(server, channel, queue_type="stream", stream_max_segment_size_bytes=3_000_000_000)
    with pytest.raises(ChannelClosed) as caught:
        await queue(
            server, channel, "r", queue_type="stream", stream_max_segment_size_bytes=3_000_000_001
        )
    assert (caught.value.code, caught.value.text) == (
        406,
        "PRECONDITION_FAILED - Exceeded max value for x-stream-max-segment-size-bytes",
    )


@versions("3.10 - 3.13", still=True)
async def test_without_prefetch(server: Server, channel: RawChannel) -> None:
    """A consumer of a stream needs a prefetch count."""
    await needs_prefetch(server, channel)


@versions("3.10 - 3.13")
async def test_without_prefetch_of_its_own(server: Server, channel: RawChannel) -> None:
    """For a stream a channel's prefetch count is none."""
    await channel.call(Basic.Qos(prefetch_count=5, global_=True))
    await needs_prefetch(server, channel)


async def needs_prefetch(server: Server, channel: RawChannel) -> None:
    stream = await queue(server, channel, queue_type="stream")
    with pytest.raises(ChannelClosed) as caught:
        await consume(channel, stream)
    assert (caught.value.code, caught.value.text, caught.value.method) == (
        406,
        "PRECONDITION_FAILED - consumer prefetch count is not set for"
        f" 'queue '{stream}' in vhost '/''",
        (60, 20),
    )


@versions("3.10 - 3.13", still=True)
async def test_no_ack(server: Server, channel: RawChannel) -> None:
    """A consumer of a stream acknowledges."""
    stream = await queue(server, channel, queue_type="stream")
    await channel.call(Basic.Qos(prefetch_count=5))
    assert await refused(channel, Basic.Consume(queue=stream, no_ack=True)) == (
        540,
        "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queues"
        f" queue '{stream}' in vhost '/'",
        (60, 20),
    )


@versions("3.10 - 4.3")
async def test_get(server: Server, channel: RawChannel) -> None:
    """basic.get does not work on a stream."""
    stream = await queue(server, channel, queue_type="stream")
    assert await refused(channel, Basic.Get(queue=stream)) == (
        540,
        f"NOT_IMPLEMENTED - basic.get not supported by stream queues queue '{stream}' in vhost '/'",
        (60, 70),
    )


@versions("3.10 - 4.3")
async def test_purge(server: Server, channel: RawChannel) -> None:
    """A stream cannot be purged."""
    stream = await queue(server, channel, queue_type="stream")
    assert await refused(channel, Queue.Purge(queue=stream)) == (
        540,
        "NOT_IMPLEMENTED - queue.purge not supported by stream queues"
        f" queue '{stream}' in vhost '/'",
        (50, 30),
    )


@versions("3.10 - 3.13", still=True)
@pytest.mark.parametrize("requeue", [False, True])
@pytest.mark.parametrize(("method", "ids"), [(Basic.Nack, (60, 120)), (Basic.Reject, (60, 90))])
async def test_reject(
    server: Server,
    connection: RawConnection,
    channel: RawChannel,
    method: type[Any],
    ids: tuple[int, int],
    requeue: bool,
) -> None:
    """A message of a stream cannot be rejected."""
    stream = await filled(server, channel)
    reader = await read(connection, stream)
    tag = (await reader.deliveries.get()).method.delivery_tag
    assert await refused(reader, method(delivery_tag=tag, requeue=requeue)) == (
        540,
        "NOT_IMPLEMENTED - basic.nack and basic.reject not supported by stream queues"
        f" queue '{stream}' in vhost '/'",
        ids,
    )


@versions("3.10 - 4.3")
@pytest.mark.parametrize("offset", ["5x", "5"])
async def test_bad_offset(server: Server, channel: RawChannel, offset: str) -> None:
    """A text that is no offset is refused."""
    stream = await queue(server, channel, queue_type="stream")
    await channel.call(Basic.Qos(prefetch_count=5))
    with pytest.raises(ChannelClosed) as caught:
        await consume(channel, stream, arguments={"x-stream-offset": offset})
    assert (caught.value.code, caught.value.text, caught.value.method) == (
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue '{stream}' in vhost '/':"
        f' {{invalid_stream_offset_arg,{{longstr,<<"{offset}">>}}}}',
        (60, 20),
    )


@versions("3.10 - 4.3")
@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_offset_of_a_queue(server: Server, channel: RawChannel, kind: str) -> None:
    """Queues that are no streams do not know x-stream-offset."""
    source = await queue(server, channel, queue_type=kind)
    with pytest.raises(ChannelClosed) as caught:
        await consume(channel, source, arguments={"x-stream-offset": "first"})
    assert (caught.value.code, caught.value.text) == (
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue '{source}' in vhost '/'"
        f" of queue type rabbit_{kind}_queue",
    )

"""Dead letters of quorum queues with x-dead-letter-strategy at-least-once."""

from typing import Any

import pytest
from pamqp.commands import Basic

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.lettering import (
    arrival,
    bind,
    confirming,
    deaths,
    eventually,
    queue,
    reject,
    sink,
    take,
    until_count,
)
from tests.conformance.versions import versions

AT_LEAST_ONCE = {
    "queue_type": "quorum",
    "overflow": "reject-publish",
    "dead_letter_strategy": "at-least-once",
}


async def cycles(channel: RawChannel, queue: str) -> bool:
    """Whether the queue took a message, which is fetched from it again."""
    channel.publish(b"probe", queue)
    taken = isinstance(await channel.confirms.get(), Basic.Ack)
    while await channel.get(queue, no_ack=True):
        pass
    return taken


@versions("3.10 - 4.3")
@pytest.mark.parametrize("reason", ["rejected", "expired", "delivery_limit"])
async def test_reasons(server: Server, channel: RawChannel, reason: str) -> None:
    """A dead letter arrives with its reason and key as with at-most-once."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server,
        channel,
        **AT_LEAST_ONCE,
        dead_letter_exchange=exchange,
        dead_letter_routing_key="k",
        delivery_limit=0,
    )
    channel.publish(b"x", source, expiration="20" if reason == "expired" else None)
    if reason != "expired":
        reject(channel, await take(channel, source), requeue=reason == "delivery_limit")
    letter = await arrival(channel, dead)
    assert (letter.body, letter.method.exchange, letter.method.routing_key) == (b"x", exchange, "k")
    assert deaths(letter) == [(source, reason, 1)]
    assert letter.headers["x-first-death-queue"] == source
    (entry,) = letter.headers["x-death"]
    assert entry.get("original-expiration") == ("20" if reason == "expired" else None)
    assert letter.properties.expiration is None


@versions("3.10 - 4.3")
async def test_several_queues(server: Server, channel: RawChannel) -> None:
    """A dead letter goes once to each queue that its exchange routes it to, of any type."""
    exchange, one = await sink(server, channel)
    two = await queue(server, channel, "two", queue_type="quorum")
    await bind(channel, two, exchange)
    source = await queue(server, channel, **AT_LEAST_ONCE, dead_letter_exchange=exchange)
    for body in (b"0", b"1"):
        channel.publish(body, source)
    for _ in range(2):
        reject(channel, await take(channel, source))
    for dead in (one, two):
        assert [(await arrival(channel, dead)).body for _ in range(2)] == [b"0", b"1"]
        await until_count(server, channel, dead, 0)


@versions("3.10 - 4.3")
@pytest.mark.parametrize("missing", ["queue", "exchange"])
async def test_kept(server: Server, channel: RawChannel, missing: str) -> None:
    """A dead letter that cannot be routed is kept, and counts for the queue's limit."""
    exchange = (
        await server.exchange(channel, "fanout")
        if missing == "queue"
        else server.exchange_name("later")
    )
    source = await queue(
        server,
        await confirming(channel),
        **AT_LEAST_ONCE,
        dead_letter_exchange=exchange,
        max_length=1,
    )
    assert await cycles(channel, source)
    assert await cycles(channel, source)
    channel.publish(b"x", source)
    await channel.confirms.get()
    reject(channel, await take(channel, source))
    await eventually(lambda: cycles(channel, source), lambda taken: not taken)
    assert not await cycles(channel, source)


@versions("3.10 - 4.3")
@pytest.mark.parametrize(
    "arguments",
    [
        {"queue_type": "quorum", "dead_letter_strategy": "at-least-once"},
        {
            "queue_type": "quorum",
            "dead_letter_strategy": "at-least-once",
            "overflow": "drop-head",
        },
        {"queue_type": "quorum", "overflow": "reject-publish"},
    ],
)
async def test_needs_reject_publish(
    server: Server, channel: RawChannel, arguments: dict[str, Any]
) -> None:
    """Without reject-publish, or without the strategy, it is at-most-once: an unroutable goes."""
    exchange = await server.exchange(channel, "fanout")
    source = await queue(
        server,
        await confirming(channel),
        **arguments,
        dead_letter_exchange=exchange,
        max_length=1,
    )
    channel.publish(b"x", source)
    await channel.confirms.get()
    reject(channel, await take(channel, source))
    assert [await cycles(channel, source) for _ in range(5)] == [True] * 5


@versions("3.10 - 4.3")
async def test_without_an_exchange(server: Server, channel: RawChannel) -> None:
    """Without a dead letter exchange the strategy means nothing: what is rejected is gone."""
    source = await queue(server, await confirming(channel), **AT_LEAST_ONCE, max_length=1)
    channel.publish(b"x", source)
    await channel.confirms.get()
    reject(channel, await take(channel, source))
    assert [await cycles(channel, source) for _ in range(5)] == [True] * 5


@versions("3.10 - 4.3")
async def test_cycle(server: Server, channel: RawChannel) -> None:
    """A message that expires back into its own queue is dropped, at the others it arrives."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, **AT_LEAST_ONCE, dead_letter_exchange=exchange, message_ttl=20
    )
    await bind(channel, source, exchange)
    for body in (b"0", b"1"):
        channel.publish(body, source)
        letter = await arrival(channel, dead)
        assert (letter.body, deaths(letter)) == (body, [(source, "expired", 1)])

"""Instants that are no whole nanoseconds: what is due at one happens at it, once."""

import asyncio

import pytest

from busauth.testing import ManualClock
from tests.broker.model import Client, node


@pytest.mark.parametrize("milliseconds", [36, 153, 300, 351, 435])
async def test_never_early(milliseconds: int) -> None:
    """A timer that is called finds its instant reached."""
    clock = ManualClock()
    told: list[float] = []
    for _ in range(400):
        when = clock.monotonic() + milliseconds / 1000
        clock.call_at(when, lambda: told.append(clock.monotonic()))
        await clock.advance(milliseconds / 1000)
        assert told.pop() >= when
        assert clock.monotonic() >= when


async def test_expiry_ends() -> None:
    """A queue and its messages expire at any instant, without being asked for ever."""
    clock = ManualClock()
    client = Client.of(node(clock))
    queues = client.channel.vhost.queues
    for milliseconds in range(1, 200):
        await clock.advance(0.34)
        client.declare("short", expires=milliseconds)
        client.declare(f"ttl{milliseconds}", message_ttl=milliseconds)
        client.publish(f"ttl{milliseconds}")
        async with asyncio.timeout(5):
            await clock.advance(milliseconds / 1000)
        assert "short" not in queues
        assert queues[f"ttl{milliseconds}"].messages() == 0

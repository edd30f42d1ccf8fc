"""What a long pause keeps of connections that are gone."""

from typing import Any, cast
from unittest.mock import AsyncMock, Mock

from busauth._amqp.consuming.pause import Pause
from busauth._amqp.delivery import Delivery
from busauth.errors import Deferred
from busauth.testing import ManualClock


async def test_a_pause_keeps_no_closed_channel(clock: ManualClock) -> None:
    """However often a paused consumer was restored elsewhere, the last channel is what is kept."""
    pause = Pause("orders", first=1.0, longest=2.0, clock=clock, auditor=lambda _: None)
    put_back = AsyncMock()
    for number in range(1000):
        channel = Mock(is_closed=False, consumers={"tag": object()}, basic_cancel=AsyncMock())
        delivery = Mock(spec=Delivery, channel=channel, consumer_tag="tag", is_lost=False)
        await pause.hold_off(cast("Any", delivery), Deferred("keys"), put_back)
        assert put_back.await_count == number + 1
        channel.is_closed = True
    assert len(pause._stopping) == len(pause._cancelled) == 1
    await pause.close()

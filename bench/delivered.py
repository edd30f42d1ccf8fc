"""Deliveries as aiormq hands them over, without a broker: for what is measured in process."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any, Self, cast

from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bench.messages import plain

_ENDS = os.pipe()
"""What nothing comes on, and that does not end."""


class Heard:
    """Its connection: a frame was read just now, and its socket can be asked for its end."""

    is_closed = False

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._reader_task: asyncio.Future[None] = loop.create_future()
        self._writer_task = self
        self.cr_frame = SimpleNamespace(f_locals={"writer": SimpleNamespace(transport=self)})

    @property
    def _Connection__last_frame_time(self) -> float:  # noqa: N802 -- as aiormq has it
        return asyncio.get_running_loop().time()

    def get_coro(self) -> Self:
        """Return what holds the writer, as a task of aiormq's does."""
        return self

    def is_closing(self) -> bool:
        """Return whether it is about to be closed: never."""
        return False

    def get_extra_info(self, _name: str) -> int:
        """Return what stands for the socket: the number of a file that can be polled."""
        return _ENDS[0]


class Silent:
    """A channel on which an acknowledgement is said and costs nothing."""

    is_closed = False
    number = 1

    def __init__(self) -> None:
        self.consumers: dict[str, object] = {}
        self.write_queue = self
        self.connection = Heard()

    async def basic_ack(self, delivery_tag: int, **_: Any) -> None:
        """Say nothing."""

    def put_nowait(self, frame: object) -> None:
        """Write nothing."""


def deliveries(tokens: list[str]) -> list[DeliveredMessage]:
    """Return one message for each token, as aiormq hands it over; each can be acknowledged once."""
    channel = cast("AbstractChannel", Silent())
    return [_delivery(token, number, channel) for number, token in enumerate(tokens, start=1)]


def _delivery(token: str, number: int, channel: AbstractChannel) -> DeliveredMessage:
    body, properties = plain(token)
    return DeliveredMessage(
        delivery=Basic.Deliver("ctag", number, False, "", "orders"),  # noqa: FBT003
        header=ContentHeader(body_size=len(body), properties=properties),
        body=body,
        channel=channel,
    )

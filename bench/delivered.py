"""Deliveries as aiormq hands them over, without a broker: for what is measured in process."""

from typing import Any, cast

from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bench.messages import plain


class Silent:
    """A channel on which an acknowledgement is said and costs nothing."""

    is_closed = False
    number = 1

    def __init__(self) -> None:
        self.consumers: dict[str, object] = {}
        self.write_queue = self

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

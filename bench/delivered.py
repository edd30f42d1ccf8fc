"""Deliveries as aio-pika hands them out, without a broker: for what is measured in process."""

from typing import Any, cast

from aio_pika.abc import AbstractIncomingMessage
from aio_pika.message import IncomingMessage
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bench.messages import plain


class Silent:
    """A channel on which an acknowledgement is said and costs nothing."""

    is_closed = False

    async def basic_ack(self, delivery_tag: int, **_: Any) -> None:
        """Say nothing."""


_CHANNEL = cast("AbstractChannel", Silent())


def delivery(token: str, number: int = 1) -> AbstractIncomingMessage:
    """Return the message that carries a token, as a callback receives it."""
    body, properties = plain(token)
    return IncomingMessage(
        DeliveredMessage(
            delivery=Basic.Deliver("ctag", number, False, "", "orders"),  # noqa: FBT003
            header=ContentHeader(body_size=len(body), properties=properties),
            body=body,
            channel=_CHANNEL,
        )
    )


def deliveries(tokens: list[str]) -> list[AbstractIncomingMessage]:
    """Return one message for each token; each can be acknowledged once."""
    return [delivery(token, number) for number, token in enumerate(tokens, start=1)]

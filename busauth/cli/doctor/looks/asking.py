"""Asking a broker something that changes nothing, on a channel that may be closed for it.

What is asked for cannot be had: an argument that no queue takes, a message that no queue gets. The
broker looks at the rights first, so that its refusal tells them apart (held to both brokers by
tests/integration/test_doctor.py).
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPChannelError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    PublishError,
)

from busauth._amqp.connecting.patience import answered

IMPOSSIBLE: Mapping[str, Any] = {"x-max-length": -1}
"""No queue is declared with it, by whatever rights."""

UNHEARD: Mapping[str, Any] = {"x-priority": "busauth.doctor"}
"""Nobody consumes with it: it is no number."""

NOWHERE = "busauth.doctor.nowhere"
"""A routing key that no queue has."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a broker said.

    Attributes:
        value: what was returned, None where it was refused.
        error: the refusal.
    """

    value: Any = None
    error: Exception | None = None

    @property
    def is_there(self) -> bool:
        """Return whether what was asked about is not missing."""
        return not isinstance(self.error, ChannelNotFoundEntity)

    @property
    def is_forbidden(self) -> bool:
        """Return whether a right is missing."""
        return isinstance(self.error, ChannelAccessRefused)

    @property
    def is_locked(self) -> bool:
        """Return whether somebody else has it for themselves."""
        return isinstance(self.error, ChannelLockedResource)

    @property
    def differs(self) -> bool:
        """Return whether it is there, and otherwise than was said."""
        return isinstance(self.error, ChannelPreconditionFailed)


async def asked(
    connection: AbstractConnection, call: Callable[[AbstractChannel], Awaitable[Any]]
) -> Answer:
    """Ask something on a channel of its own.

    Raises:
        ConnectionError: the connection has ended, or there is no answer.
        aiormq.exceptions.AMQPError: likewise.
    """
    channel = await answered(connection, connection.channel())
    try:
        return Answer(await answered(channel, call(channel)))
    except (AMQPChannelError, PublishError) as error:
        return Answer(error=error)
    finally:
        with suppress(Exception):  # the broker has closed it, most likely
            await channel.close()

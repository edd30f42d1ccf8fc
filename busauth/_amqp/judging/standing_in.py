"""What stands in for the broker where somebody else has the message in hand, and settles it."""

from dataclasses import dataclass
from typing import Any, cast

from aiormq.abc import AbstractConnection
from pamqp.commands import Connection

from busauth._amqp.connecting.within import Within
from busauth._amqp.delivery import Delivery
from busauth._amqp.judging.course import needed
from busauth._amqp.judging.verdicts import Copy
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import Outlet, Publisher
from busauth._amqp.settling.acks import Acks, Told
from busauth._amqp.settling.replies import Replies
from busauth.errors import Refused

_NAMES = {"message_type": "type"}
"""What the standard calls a property, where pamqp has another name."""


def _copy(outgoing: Outgoing, queue: str) -> Copy:
    properties = outgoing.properties
    said: dict[str, Any] = {
        _NAMES.get(name, name): value
        for name, value in properties
        if name != "headers" and value not in (None, "")
    }
    if properties.timestamp is not None:
        said["timestamp"] = int(properties.timestamp.timestamp())
    headers = properties.headers or {}
    return Copy(queue=queue, body=outgoing.body, headers=headers, properties=said)


class HandedOn(Publisher):
    """Has whoever has a message in hand publish its copy."""

    async def publish(
        self,
        connection: AbstractConnection,
        outgoing: Outgoing,
        *,
        exchange: str,
        routing_key: str,
        apart: bool = False,
        within: Within | None = None,
    ) -> None:
        """Return once they say that it is confirmed.

        Raises:
            PublishError: they say that it is not.
        """
        await needed(_copy(outgoing, routing_key))


class NoBroker(Publisher):
    """Notes where a copy would go, and takes it for confirmed: nothing is published.

    Attributes:
        copied_to: the queue of the last one, None while there was none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copied_to: str | None = None

    async def publish(
        self,
        connection: AbstractConnection,
        outgoing: Outgoing,
        *,
        exchange: str,
        routing_key: str,
        apart: bool = False,
        within: Within | None = None,
    ) -> None:
        """Note it."""
        self.copied_to = routing_key


class SettledByOthers(Acks):
    """Acknowledges nothing: what was to be acknowledged is told as done, and others do it."""

    def settled(self, delivery: Delivery) -> None:
        """Note nothing."""

    def add(self, delivery: Delivery, told: Told) -> None:
        """Tell what has become of it."""
        told(True)  # noqa: FBT003 -- a callback's one argument


class Unanswered(Replies):
    """Answers nobody: there is no connection to do it on."""

    async def answer(self, outlet: Outlet, message: Delivery, refused: Refused) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _Frames:
    connection_tune: Connection.Tune


def with_frames_of(frame_max: int) -> Outlet:
    """Return what gives a connection of which nothing is known but its frames' size in bytes."""
    frames = cast("AbstractConnection", _Frames(Connection.Tune(frame_max=frame_max)))

    async def outlet(_: Delivery) -> AbstractConnection:
        return frames

    return outlet

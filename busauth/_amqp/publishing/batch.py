"""Publications that go out together: in order, confirmed each, many on their way at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from busauth._amqp.connecting.within import check_timeout
from busauth._amqp.publishing.delays import check_delay
from busauth._amqp.publishing.outbox import Body, Token
from busauth._delegation.exchanging import OnwardToken
from busauth.errors import NotAllPublished, PublishError

# bounds the tasks that are held; how much the broker takes at once is the lanes' affair
WINDOW = 1000
"""Publications of one batch that are on their way at once."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish; see `Bus.publish` for what they share.

    Args:
        routing_key: with the default exchange, the queue's name.
        body: a pydantic model, dataclass, list or table (sent as JSON), a text, bytes, or an
            `aio_pika.Message`.
        exchange: where to; default: the default exchange.
        token: a raw token at the edge; None for the caller in scope; or `ANONYMOUS`.
        recipient: for whom the token is encrypted, where there are several.
        timeout: seconds until it is given up, from when its turn has come; None for
            `GuardOptions.publish_timeout`.
        body_type: what its consumer has it annotated as, such as ``list[Order]``, where that is
            more than its own type says; None for its own type.
        must_route: False where nobody need listen: then it is no error that no queue takes it.
        onward: which token goes on; None for what the bus declares, see `Bus`.
        delay: seconds until it arrives at its queue, at most 48 days; None for at once.

    Raises:
        ConfigurationError: a timeout or a delay that is no span of time, or a delay for an
            exchange.
    """

    routing_key: str
    body: Body = field(repr=False)
    exchange: str = ""
    token: Token = field(default=None, repr=False)
    recipient: str | None = None
    timeout: float | None = None
    body_type: Any = None
    must_route: bool = True
    onward: OnwardToken | None = None
    delay: float | None = None

    def __post_init__(self) -> None:
        check_timeout(self.timeout)
        check_delay(self.delay, self.exchange)


async def each_in_order(sends: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Begin each in order, without waiting for those before; return when all are done.

    Cancelled, it cancels what is on its way: whether those were published is not known.

    Raises:
        NotAllPublished: says which were not, by their places in the order.
    """
    errors: dict[int, PublishError] = {}
    room = asyncio.Semaphore(WINDOW)

    async def send(place: int, begin: Callable[[], Awaitable[None]]) -> None:
        try:
            await begin()
        except PublishError as error:  # raised in here, it would cancel all the others
            errors[place] = error
        finally:
            room.release()

    async with asyncio.TaskGroup() as tasks:
        for place, begin in enumerate(sends):
            await room.acquire()  # before the task is made: what has not begun costs no memory
            tasks.create_task(send(place, begin))
    if errors:
        raise NotAllPublished(dict(sorted(errors.items())))

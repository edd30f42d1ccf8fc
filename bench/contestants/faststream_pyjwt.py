"""(c) FastStream with a middleware that calls PyJWT.

Its logger is off: two lines for each message would be measured otherwise. Its handler takes the
message, as that of (e) does.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from faststream import BaseMiddleware
from faststream.message import StreamMessage
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue

from bench import messages
from bench.contestants.base import PyJWT, Setting


def middleware(pyjwt: PyJWT) -> type[BaseMiddleware[Any, Any]]:
    """Return a middleware that lets no bad token pass; FastStream makes one for each message."""

    class Checked(BaseMiddleware[Any, Any]):
        async def consume_scope(self, call_next: Any, msg: StreamMessage[Any]) -> Any:
            pyjwt.check(msg.headers[messages.HEADER])
            return await call_next(msg)

    return Checked


class Contestant:
    """A refused message is rejected: FastStream's own rule for an error."""

    checks: ClassVar = True

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._pyjwt = PyJWT(setting)

    @property
    def checked(self) -> int:
        """Return how many tokens were accepted."""
        return self._pyjwt.accepted

    @asynccontextmanager
    async def consuming(self, queue: str) -> AsyncIterator[None]:
        """Consume a queue while inside."""
        broker = RabbitBroker(
            self._setting.url,
            middlewares=[middleware(self._pyjwt)],
            default_channel=Channel(prefetch_count=self._setting.prefetch),
            logger=None,
        )
        handled = self._setting.handled

        @broker.subscriber(RabbitQueue(queue, declare=False))
        async def place_order(message: RabbitMessage) -> None:
            handled()

        async with broker:
            await broker.start()
            yield

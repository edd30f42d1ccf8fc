"""What all contestants have in common."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol

import aio_pika
import jwt
from aio_pika.abc import AbstractIncomingMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a contestant is given.

    Attributes:
        url: the broker.
        algorithm, issuer, audience, jwk: whose tokens are good.
        prefetch: deliveries to hold unacknowledged.
        handled: to be called by the handler, once for each message.
    """

    url: str
    algorithm: str
    issuer: str
    audience: str
    jwk: dict[str, Any]
    prefetch: int
    handled: Callable[[], None]


class Consuming(Protocol):
    """Something that consumes queues and checks tokens, or does not.

    Attributes:
        checks: whether it is meant to refuse bad tokens.
        checked: how many tokens its check has accepted; None where it does not count.
    """

    checks: ClassVar[bool]
    checked: int | None

    def consuming(self, queue: str) -> AbstractAsyncContextManager[None]:
        """Consume a queue while inside."""
        ...


def load(module: str, setting: Setting) -> Consuming:
    """Import a contestant, and nothing of the others."""
    found: Consuming = import_module(f"bench.contestants.{module}").Contestant(setting)
    return found


class PyJWT:
    """The check as a user writes it with PyJWT, the key loaded beforehand."""

    def __init__(self, setting: Setting) -> None:
        self._key = jwt.PyJWK(setting.jwk).key
        self._setting = setting
        self.accepted = 0

    def check(self, authorization: object) -> dict[str, Any]:
        """Return the claims of a good token.

        Raises:
            jwt.InvalidTokenError: it is not good.
        """
        claims: dict[str, Any] = jwt.decode(
            str(authorization).removeprefix("Bearer "),
            self._key,
            algorithms=[self._setting.algorithm],
            audience=self._setting.audience,
            issuer=self._setting.issuer,
            options={"require": ["exp"]},
        )
        self.accepted += 1
        return claims


@asynccontextmanager
async def aio_pika_consumer(
    setting: Setting, queue: str, callback: Callable[[AbstractIncomingMessage], Awaitable[Any]]
) -> AsyncIterator[None]:
    """Consume a queue the plain aio-pika way while inside."""
    connection = await aio_pika.connect_robust(setting.url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=setting.prefetch)
        source = await channel.get_queue(queue)
        tag = await source.consume(callback)
        yield
        await source.cancel(tag)

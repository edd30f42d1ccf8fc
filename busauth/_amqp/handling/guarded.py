"""What a decorator makes of a handler: as users see it, with the handler's own signature."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from aio_pika.abc import AbstractIncomingMessage

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class GuardedConsumer(ABC, Generic[P, R_co]):
    """A guarded handler: an aio-pika callback that settles its messages.

    It is generic by the handler's parameters, and by what a call of it returns: of an ``async def``
    that is a `Coroutine`.

    Attributes:
        handler: the bare function, for tests: awaited if it is async, else called.
        queue: what it is meant to consume.
    """

    handler: Callable[P, R_co]
    queue: str
    __name__: str

    @abstractmethod
    async def __call__(
        self, message: AbstractIncomingMessage, *others: object, **named: object
    ) -> Any:
        """Take one delivery from aio-pika.

        Raises:
            TypeError: called with something else; call `handler` in a unit test.
            ConfigurationError: consumed with ``no_ack``, so that nothing could be given back.
        """

    @property
    @abstractmethod
    def paused(self) -> bool:
        """Return whether it has stopped consuming until what is out of reach is back."""

    @abstractmethod
    async def idle(self) -> None:
        """Return once no delivery is being handled."""

    @abstractmethod
    async def close(self) -> None:
        """End a pause for good, and ask nobody to come back: it does not by itself either."""

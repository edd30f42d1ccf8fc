"""What a decorator makes of a handler: as users see it, with the handler's own signature."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

from aio_pika.abc import AbstractIncomingMessage

P = ParamSpec("P")
R = TypeVar("R")


class GuardedConsumer(ABC, Generic[P, R]):
    """A guarded handler: an aio-pika callback that settles its messages.

    Attributes:
        handler: the bare function, for tests.
        queue: what it is meant to consume.
    """

    handler: Callable[P, Coroutine[Any, Any, R]]
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
        """End a pause for good; the consumer will not come back by itself."""

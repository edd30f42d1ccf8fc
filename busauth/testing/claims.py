"""The queues and exchanges of a test: on a RabbitMQ, what it has declared is deleted after it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from busauth._amqp.consuming.intake import Binding
from busauth.errors import ConfigurationError


class Claims:
    """What a test answers for.

    Args:
        opened: returns the kit's connection.
        lasting: whether the broker outlives the test.
    """

    def __init__(self, opened: Callable[[], AbstractConnection], *, lasting: bool) -> None:
        self._opened, self._lasting = opened, lasting
        self._of_buses: dict[str, None] = {}
        self._of_the_test: dict[str, None] = {}
        self._exchanges: list[str] = []

    async def claim(self, queues: Iterable[str]) -> None:
        """Answer for queues that a bus is about to declare.

        Raises:
            ConfigurationError: one exists already, and so is not the test's to delete; or the test
                has declared it by itself.
        """
        named = tuple(queues)
        _check_apart(named, self._of_the_test)
        for name in named:
            await self._check_new(name)
            self._of_buses[name] = None

    async def declare(
        self,
        queues: Iterable[str],
        bindings: Iterable[Binding],
        arguments: Mapping[str, Any] | None,
    ) -> None:
        """Declare queues, exchanges, and from which of these all of those receive.

        Raises:
            ConfigurationError: a queue exists already, or a bus declares it.
        """
        named, bound = tuple(queues), tuple(bindings)
        _check_apart(named, self._of_buses)
        for name in named:
            await self._check_new(name)
            self._of_the_test[name] = None
        for binding in bound:
            await self._declare_exchange(binding)
        async with self._opened().channel() as channel:
            for name in named:
                queue = await channel.declare_queue(
                    name, durable=True, arguments=dict(arguments or {})
                )
                for binding in bound:
                    await queue.bind(binding.exchange, binding.routing_key)

    async def release(self) -> None:
        """Delete what was claimed."""
        async with self._opened().channel() as channel:
            for name in (*self._of_buses, *self._of_the_test):
                await channel.queue_delete(name)
            for name in self._exchanges:
                await channel.exchange_delete(name)

    async def _declare_exchange(self, binding: Binding) -> None:
        name = binding.exchange
        if self._lasting and not await self._is_there(lambda channel: channel.get_exchange(name)):
            self._exchanges.append(name)
        async with self._opened().channel() as channel:
            await channel.declare_exchange(name, binding.kind, durable=True)

    async def _check_new(self, name: str) -> None:
        if not self._lasting or name in self._of_buses or name in self._of_the_test:
            return
        if await self._is_there(lambda channel: channel.get_queue(name)):
            raise ConfigurationError(
                f"the queue {name!r} exists already on this RabbitMQ, and tests delete the "
                "queues that they declare: give them a broker or a virtual host of their own"
            )

    async def _is_there(self, look: Callable[[AbstractChannel], Awaitable[object]]) -> bool:
        try:
            async with self._opened().channel() as channel:
                await look(channel)
        except ChannelNotFoundEntity:
            return False
        return True


def _check_apart(names: Iterable[str], others: Iterable[str]) -> None:
    for name in set(names).intersection(others):
        raise ConfigurationError(
            f"the queue {name!r} is consumed by a bus, which declares it by itself: kit.declare "
            "is for queues that nobody consumes in the test"
        )

"""(f) busauth's `Bus`, with the body as a pydantic model."""

from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from bench import messages
from bench.contestants.base import Setting
from bench.contestants.busauth_guard import guard_of
from busauth import Bus, BusOptions, Caller


class Contestant:
    """A refused message goes to ``<queue>.rejected`` or ``<queue>.dead``."""

    checks: ClassVar = True
    checked = None

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._guard = guard_of(setting)

    def consuming(self, queue: str) -> AbstractAsyncContextManager[object]:
        """Consume a queue while inside."""
        handled = self._setting.handled
        options = BusOptions(prefetch=self._setting.prefetch, declare=False)
        bus = Bus(self._setting.url, guard=self._guard, service="bench", options=options)

        @bus.consumer(queue, scopes={"orders:write"})
        async def place_order(order: messages.Order, caller: Caller) -> None:
            handled()

        return bus

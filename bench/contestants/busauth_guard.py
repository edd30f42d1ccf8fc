"""(e) busauth on a plain aio-pika queue."""

from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from aio_pika.abc import AbstractIncomingMessage

from bench.contestants.base import Setting, aio_pika_consumer
from busauth import Caller, Guard, StaticKeys, Verifier


def guard_of(setting: Setting) -> Guard:
    """Return a guard with defaults, for one issuer."""
    return Guard(
        Verifier(
            StaticKeys(setting.jwk),
            issuer=setting.issuer,
            audience=setting.audience,
            algorithms=[setting.algorithm],
        )
    )


class Contestant:
    """A refused message goes to ``<queue>.rejected`` or ``<queue>.dead``."""

    checks: ClassVar = True
    checked = None

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._guard = guard_of(setting)

    def consuming(self, queue: str) -> AbstractAsyncContextManager[None]:
        """Consume a queue while inside."""
        handled = self._setting.handled

        @self._guard(queue=queue, scopes={"orders:write"})
        async def place_order(message: AbstractIncomingMessage, caller: Caller) -> None:
            handled()

        return aio_pika_consumer(self._setting, queue, place_order)

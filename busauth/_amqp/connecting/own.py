"""A connection of one's own, opened by whoever needs it first, in each event loop.

Whoever needs it while it is opened waits for the same attempt, and is told the same.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiormq.abc import AbstractConnection

from busauth._amqp.connecting.patience import heard
from busauth._loops import PerLoop

_Attempt = asyncio.Future[AbstractConnection]


class _Kept:
    def __init__(self) -> None:
        self.attempt: _Attempt | None = None


class OwnConnection:
    """Opened when it is asked for, and again when it was closed."""

    def __init__(self) -> None:
        self._kept = PerLoop(_Kept)

    async def get(
        self, connect: Callable[[], Coroutine[Any, Any, AbstractConnection]]
    ) -> AbstractConnection:
        """Return the connection that is open, opening one if there is none.

        Who stops waiting does not stop the attempt: others may wait for it.

        Args:
            connect: opens one; its errors go to all who wait.

        Raises:
            ConnectionError: it was left while it was opened.
        """
        kept = self._kept.here
        attempt, made = kept.attempt, _made(kept.attempt)
        # One that is on its way counts; one that failed does not, nor one that was closed since.
        if attempt is None or (attempt.done() and (made is None or made.is_closed)):
            attempt = kept.attempt = asyncio.ensure_future(connect())
            attempt.add_done_callback(heard)
        # Waited for and not awaited: who is cancelled here must not cancel it for the others.
        await asyncio.wait({attempt})
        if attempt.cancelled():
            raise ConnectionError("the connection was closed while it was being opened")
        return attempt.result()

    def leave(self) -> AbstractConnection | None:
        """Forget it, and return it to be closed; None where there is none."""
        kept = self._kept.here
        attempt, kept.attempt = kept.attempt, None
        if attempt is not None:
            attempt.cancel()
        return _made(attempt)

    def is_kept(self, connection: AbstractConnection) -> bool:
        """Return whether a connection is the one that would be returned next."""
        return _made(self._kept.here.attempt) is connection


def _made(attempt: _Attempt | None) -> AbstractConnection | None:
    """Return what an attempt has made; None where it has not, or not yet."""
    if attempt is None or not attempt.done() or attempt.cancelled() or attempt.exception():
        return None
    return attempt.result()

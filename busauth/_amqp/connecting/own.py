"""A connection of one's own, opened by whoever needs it first, in each event loop."""

import asyncio
from collections.abc import Awaitable, Callable

from aiormq.abc import AbstractConnection

from busauth._loops import PerLoop


class _Kept:
    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.connection: AbstractConnection | None = None


class OwnConnection:
    """Opened when it is asked for, and again when it was closed."""

    def __init__(self) -> None:
        self._kept = PerLoop(_Kept)

    async def get(self, connect: Callable[[], Awaitable[AbstractConnection]]) -> AbstractConnection:
        """Return the connection that is open, opening one if there is none.

        Args:
            connect: opens one; its errors go to who asked.
        """
        kept = self._kept.here
        async with kept.opening:
            if kept.connection is None or kept.connection.is_closed:
                kept.connection = await connect()
            return kept.connection

    def leave(self) -> AbstractConnection | None:
        """Forget it, and return it to be closed; None where there is none."""
        kept = self._kept.here
        connection, kept.connection = kept.connection, None
        return connection

    def is_kept(self, connection: AbstractConnection) -> bool:
        """Return whether a connection is the one that would be returned next."""
        return self._kept.here.connection is connection

"""Heartbeats (AMQP 0-9-1, section 4.2.7): signs of life, and what is done without them.

They are about a socket between two processes, and so on real time, never on the model's clock: a
test that lets an hour pass keeps its connections.
"""

import asyncio
from typing import Protocol

from pamqp.heartbeat import Heartbeat

from busauth.testing.broker.wire.output import Output

_PATIENCE = 5
"""How many half intervals a client may be silent: RabbitMQ waits for two to three intervals."""


class Life(Protocol):
    """What heartbeats need to know of a connection."""

    output: Output
    heard: bool

    @property
    def reading(self) -> bool:
        """Whether the client is read from, so that its silence means something."""
        ...

    def cut(self) -> None:
        """Close the socket at once."""
        ...


class Heartbeats:
    """Sends one when nothing else was sent for half an interval; cuts off who stays silent.

    Args:
        life: the connection.
        seconds: the interval; 0 for no heartbeats.
    """

    def __init__(self, life: Life, seconds: int) -> None:
        self._life = life
        self._half = seconds / 2
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        if seconds:
            self._wait()

    def stop(self) -> None:
        """Send no more of them."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._half, self._tick)

    def _tick(self) -> None:
        life = self._life
        self._silent = 0 if life.heard or not life.reading else self._silent + 1
        life.heard = False
        if self._silent >= _PATIENCE:
            life.cut()
            return
        if not life.output.used:
            life.output.write(Heartbeat.marshal())
        life.output.used = False
        self._wait()

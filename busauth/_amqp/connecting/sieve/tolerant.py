"""Connections on which a message that cannot be read is one message, and not the end of them all.

aiormq decodes frames in a reader of its own; what it cannot decode ends the reader, and with it
every channel and every handler of the connection, each time that the message is delivered. So the
frames pass a sieve on their way from the socket (docs/adr/0016).
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import aio_pika
from aio_pika.robust_connection import RobustConnection
from aiormq import TransportFactory
from aiormq.abc import DeliveredMessage
from aiormq.connection import TCPTransportFactory, TLSTransportFactory
from yarl import URL

from busauth._amqp.connecting.sieve.frames import UNREADABLE, FrameReader


class TolerantTransport(TransportFactory):
    """Makes aiormq's own transport, and lets no frame through that aiormq could not read.

    For `aiormq.connect(url, transport_factory=TolerantTransport())`.
    """

    def __init__(self) -> None:
        self._reader: FrameReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def began(self) -> bytes:
        """Return the first bytes that came on the latest connection; none where none came."""
        return self._reader.began if self._reader is not None else b""

    @property
    def speaks_amqp(self) -> bool:
        """Return whether these are a method's frame on channel 0, as AMQP 0-9-1 begins."""
        return b"\x01\0\0".startswith(self.began[:3])

    @property
    def goodbye(self) -> tuple[int, str] | None:
        """Return the code and the words with which the broker closed the latest connection."""
        return self._reader.goodbye if self._reader is not None else None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, over TLS where the URL says so.

        Raises:
            aiormq.exceptions.AMQPConnectionError: the broker is out of reach.
        """
        self.abort()  # aio-pika connects again by way of the same factory
        self._reader = None  # what the last one said must not be told of this one
        inner = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await inner.create(url, **kwargs)
        self._reader = FrameReader(reader)
        return cast("asyncio.StreamReader", self._reader), self._writer

    def aside(self, channel: int, takes: Callable[[bytes], bool]) -> None:
        """Let somebody else have a channel's frames, on the latest connection."""
        if self._reader is not None:
            self._reader.aside(channel, takes)

    def abort(self) -> None:
        """Close the latest connection's socket at once, if it is open; aiormq reads no more of it.

        What aiormq had not written is lost. It does so by itself only once it has written all.
        """
        writer, self._writer = self._writer, None
        if self._reader is not None:  # first of all: its end is read as we have wanted it
            self._reader.is_left = True
        if writer is not None:
            writer.transport.abort()


class TolerantConnection(aio_pika.Connection):
    """aio-pika's connection, on which a message that cannot be read comes without its properties.

    For `aio_pika.connect(url, connection_class=TolerantConnection)`.
    """

    def __init__(self, *args: Any, sockets: TolerantTransport | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sockets = self.kwargs["transport_factory"] = sockets or TolerantTransport()

    def aside(self, channel: int, takes: Callable[[bytes], bool]) -> None:
        """Let somebody else have a channel's frames: those that it returns True for."""
        self._sockets.aside(channel, takes)

    def abort(self) -> None:
        """Close its socket at once."""
        self._sockets.abort()


class TolerantRobustConnection(RobustConnection):
    """aio-pika's robust connection, likewise.

    For `aio_pika.connect_robust(url, connection_class=TolerantRobustConnection)`.
    """

    def __init__(self, *args: Any, sockets: TolerantTransport | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sockets = self.kwargs["transport_factory"] = sockets or TolerantTransport()

    def abort(self) -> None:
        """Close its socket at once."""
        self._sockets.abort()


def is_unreadable(delivered: DeliveredMessage) -> bool:
    """Return whether a delivery lost its properties, as they cannot be read."""
    return delivered.header.weight == UNREADABLE

"""The one place that connects to a broker: for so long and no longer, and in words where it fails.

A port that takes TCP and says nothing holds nobody: name, TCP, TLS and AMQP's handshake together
have the seconds that the URL says (``connection_timeout``, in milliseconds), at the start and each
time that a connection is restored.

Waiting helps a broker that is down: that is a `ConnectionError`. It helps neither a wrong password
nor a port that speaks something else: that is a `ConfigurationError`.
"""

import asyncio
import logging
import ssl
from typing import Any

import aio_pika.abc
import aiormq
import aiormq.exceptions
from aiormq.abc import AbstractConnection
from yarl import URL

from busauth._amqp.connecting import rights
from busauth._amqp.connecting.address import broker_url, seconds_to_connect
from busauth._amqp.connecting.patience import left
from busauth._amqp.connecting.sieve.tolerant import (
    TolerantConnection,
    TolerantRobustConnection,
    TolerantTransport,
)
from busauth._retold import retold
from busauth.audit import LOGGER
from busauth.errors import ConfigurationError, evidence

_FAILED = (OSError, aiormq.exceptions.AMQPError)
# An alert or a handshake, and the major version: how a record of TLS begins (RFC 8446, 5.1).
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
# Reply codes with which a broker closes a connection (AMQP 0-9-1).
_ACCESS_REFUSED, _NOT_ALLOWED = 403, 530


class _UnreachableError(aiormq.exceptions.AMQPConnectionError):
    """No transport for a connection of ours; whoever connects is told, or tells the log."""


class _Transport(TolerantTransport):
    """Makes its errors known as ours."""

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await super().create(url, **kwargs)
        except OSError as error:  # its cause says more, where aiormq has put its own words around
            raise _UnreachableError(*error.args) from error.__cause__ or error


class Kept(TolerantRobustConnection):
    """A connection that is restored by itself; what becomes of the attempts is told by its owner.

    Args:
        url: the broker, read already.
        name: what the broker's management shows.
        interval: seconds between attempts to restore it.
    """

    def __init__(self, url: URL, name: str, interval: float) -> None:
        properties = {"connection_name": name}
        super().__init__(
            url,
            sockets=_Transport(),
            client_properties=properties,
            reconnect_interval=interval,
        )

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            ConnectionError: the broker is out of reach.
            ConfigurationError: it can be reached, and waiting will not help.
        """
        quiet_own_attempts()
        try:
            await self.connect(timeout=seconds_to_connect(self.url))
        except _FAILED as error:
            await left(self)
            raise self.told(error) from None  # it is all in the words
        except BaseException:  # cancelled as well: no socket stays open that nobody has
            await left(self)
            raise

    def told(self, error: BaseException | None) -> Exception:
        """Return in words why it is not connected, or not any more."""
        return _told(error, self.url, self._sockets)


class Below(aiormq.Connection):
    """aiormq's connection, which knows its socket."""

    def __init__(self, url: URL, context: ssl.SSLContext | None) -> None:
        self.sockets = _Transport()
        super().__init__(url, context=context, transport_factory=self.sockets)

    def abort(self) -> None:
        """Close its socket at once."""
        self.sockets.abort()


async def connected(url: URL | str) -> TolerantConnection:
    """Return aio-pika's connection, which is not restored.

    Args:
        url: the broker.

    Raises:
        ConnectionError: the broker is out of reach.
        ConfigurationError: the URL could never connect, or waiting will not help.
    """
    quiet_own_attempts()
    parsed, sockets = broker_url(url), _Transport()
    connection = TolerantConnection(parsed, sockets=sockets)
    try:
        await connection.connect(timeout=seconds_to_connect(parsed))
    except _FAILED as error:
        await left(connection)
        raise _told(error, parsed, sockets) from None
    except BaseException:
        await left(connection)
        raise
    return connection


async def connected_below(url: URL, *, context: ssl.SSLContext | None = None) -> Below:
    """Return aiormq's connection; errors as of `connected`."""
    quiet_own_attempts()
    connection = Below(url, context)
    try:
        async with asyncio.timeout(seconds_to_connect(url)):
            await connection.connect()
    except _FAILED as error:
        connection.abort()
        raise _told(error, url, connection.sockets) from None
    except BaseException:
        connection.abort()
        raise
    return connection


async def connected_like(connection: AbstractConnection) -> AbstractConnection:
    """Return another connection to the same broker, as the same user; errors as of `connected`."""
    context = connection.ssl_context if isinstance(connection, aiormq.Connection) else None
    return await connected_below(connection.url, context=context)


def below(connection: aio_pika.abc.AbstractConnection) -> AbstractConnection:
    """Return aiormq's connection of aio-pika's.

    Raises:
        ConnectionError: it was closed, or is being restored.
    """
    if connection.transport is None:
        raise ConnectionError("the connection to the broker was lost")
    return connection.transport.connection


# --- in words -----------------------------------------------------------------------------------


def _told(error: BaseException | None, url: URL, transport: TolerantTransport) -> Exception:
    """Return what was found, what was expected, and what to do; nothing of a password."""
    where = f"{url.host}:{url.port}"
    if error is not None:
        LOGGER.debug("%s: not connected", where, exc_info=retold(error))
    if transport.goodbye is not None:  # the broker's own word comes before what became of it here
        return _refused(where, url, *transport.goodbye)
    if transport.began and not transport.speaks_amqp:
        return _not_amqp(where, transport.began)
    if isinstance(error, ssl.SSLError):
        return _no_tls(where, error)
    if isinstance(error.__cause__ if error else None, ssl.SSLError):
        return _no_tls(where, error.__cause__)  # type: ignore[union-attr, arg-type]  # just asked
    return ConnectionError(_gone(where, url, error))


def _gone(where: str, url: URL, error: BaseException | None) -> str:
    if isinstance(error, asyncio.CancelledError):
        return (
            f"the connection to {where} was cut off in this process, and not by the broker: its "
            "event loop ends, or the task was cancelled that it was opened in"
        )
    if isinstance(error, TimeoutError):
        return (
            f"no broker at {where}: no answer within {seconds_to_connect(url):g} s; is it RabbitMQ "
            "that listens there, and can it be reached? (?connection_timeout=… in milliseconds)"
        )
    why = evidence(str(error) or type(error).__name__) if error else "closed"
    return f"no broker at {where}: {why}; is RabbitMQ running there?"


def _refused(where: str, url: URL, code: int, text: str) -> Exception:
    user, said = url.user or "guest", evidence(text)
    if code == _ACCESS_REFUSED:
        return ConfigurationError(
            f"the broker at {where} refused user {user!r}: {said}; check name and password in the "
            "URL (RabbitMQ lets `guest` in from its own machine only)"
        )
    if code == _NOT_ALLOWED and "limit" not in text:
        vhost = url.path[1:] or "/"
        return ConfigurationError(
            f"the broker at {where} does not let user {user!r} into virtual host {vhost!r}: "
            f"{said}; expected one that is there (rabbitmqctl list_vhosts) as "
            f"amqp://host/name, and that the user has rights in; {rights.WHERE}"
        )
    return ConnectionError(f"the broker at {where} closed the connection: {code} {said}")


def _no_tls(where: str, error: ssl.SSLError) -> ConfigurationError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"the certificate of the broker at {where} is not trusted: {error.verify_message}; "
            "name its authority in the URL (?cafile=…), or the host as the certificate has it"
        )
    return ConfigurationError(
        f"no TLS at {where}: {error.reason or error}; write amqp:// for a port without TLS (5672 "
        "as a rule), or the port that has it (5671)"
    )


def _not_amqp(where: str, began: bytes) -> ConfigurationError:
    if began.startswith(_TLS_RECORDS):
        return ConfigurationError(f"TLS answers at {where}: write amqps:// for that port")
    return ConfigurationError(
        f"no AMQP 0-9-1 at {where}: it answered {began[:8]!r}; expected RabbitMQ's port for AMQP, "
        "5672 as a rule, not that of its management"
    )


# --- what the client library logs of it ---------------------------------------------------------

_REPEATED = ("Connection to %s closed", "Connection attempt to ", "Reconnect attempt failed ")


class _OwnAttempts(logging.Filter):
    """Leaves out what the client library logs of each failed attempt of a connection made here.

    Whoever connects gets the error, and who restores a connection tells the log. Records of other
    connections, and all others of these, pass.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is somebody else's, or something else."""
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(first, Kept):
            return not record.msg.startswith(_REPEATED)
        return not isinstance(first, _UnreachableError)


_FILTER = _OwnAttempts()


def quiet_own_attempts() -> None:
    """Let the client library say nothing of our failed attempts; again, it changes nothing."""
    for name in ("aio_pika.robust_connection", "aiormq.connection"):
        logging.getLogger(name).addFilter(_FILTER)

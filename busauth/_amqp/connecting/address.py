"""A broker's URL, read so that nothing of a password in it is ever shown.

Where a password has an unescaped ``/``, ``#`` or ``?``, what stands before that is the host, by the
rules (RFC 3986, section 3.2), and would be told in errors as the place that does not answer.
"""

import re

from yarl import URL

from busauth.errors import ConfigurationError

_PORTS = {"amqp": 5672, "amqps": 5671}
_SECONDS = 10.0
"""For an attempt to connect: RabbitMQ itself waits no longer for a client's handshake."""

_LONGEST, _DIGITS = 600_000, 9
_AUTHORITY = re.compile(r"[^/?#]*//[^/?#]*")


def broker_url(given: str | URL) -> URL:
    """Return a broker's URL with its port.

    Args:
        given: ``amqp://`` or ``amqps://``; a `URL` was read by whoever made it.

    Raises:
        ConfigurationError: it could never connect, or its password is not escaped. Nothing of the
            URL is in the error.
    """
    parsed = given if isinstance(given, URL) else _parsed(given)
    if parsed is None:
        raise ConfigurationError(
            "the broker's URL cannot be read: expected amqp://host/ or amqps://host/, a port "
            "from 1 to 65535 after the host if any, and in names and passwords "
            "@ / # ? : [ ] % as %40 %2F %23 %3F %3A %5B %5D %25"
        )
    if parsed.scheme not in _PORTS or not parsed.host:
        raise ConfigurationError(
            "the broker's URL names no broker: expected amqp://host/ or amqps://host/"
        )
    seconds_to_connect(parsed)
    return parsed if parsed.port else parsed.with_port(_PORTS[parsed.scheme])


def seconds_to_connect(url: URL) -> float:
    """Return how long an attempt to connect may take: ``connection_timeout``, in milliseconds.

    Raises:
        ConfigurationError: it is no number of milliseconds.
    """
    said = url.query.get("connection_timeout")
    if said is None:
        return _SECONDS
    if not said.isascii() or not said.isdecimal() or not 0 < int(said[:_DIGITS]) <= _LONGEST:
        raise ConfigurationError(
            f"connection_timeout in the broker's URL: expected milliseconds from 1 to {_LONGEST}, "
            "such as amqp://host/?connection_timeout=5000"
        )
    return int(said) / 1000


def _parsed(given: str) -> URL | None:
    """Parse a URL, unless its user information would end up elsewhere; errors may quote it."""
    authority = _AUTHORITY.match(given)
    if "@" in given[authority.end() if authority else 0 :]:
        return None
    try:
        return URL(given)
    except ValueError:
        return None

"""A broker's URL, read so that nothing of a password in it is ever shown.

Where a password has an unescaped ``/``, ``#`` or ``?``, what stands before that is the host, by the
rules (RFC 3986, section 3.2), and would be told in errors as the place that does not answer.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from yarl import URL

from busauth._arguments import closest
from busauth.errors import ConfigurationError

_PORTS = {"amqp": 5672, "amqps": 5671}  # as IANA has them, and RabbitMQ by default
_SECONDS = 10.0
"""For an attempt to connect: RabbitMQ itself waits no longer for a client's handshake."""

_LONGEST = 600_000  # milliseconds for an attempt to connect: beyond, a slip is likelier
_DIGITS = 9  # of a whole number: `int` of a text without end takes its time
_SECONDS_SAID = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)
# RFC 3986, section 3.2: the authority ends at the first of these.
_AUTHORITY = re.compile(r"[^/?#]*//[^/?#]*")


def broker_url(given: str | URL) -> URL:
    """Return a broker's URL with its port.

    Args:
        given: ``amqp://`` or ``amqps://``; a `URL` was read by whoever made it.

    Raises:
        ConfigurationError: it could never connect, its password is not escaped, or a parameter of
            its would not count. Nothing of the URL is in the error.
    """
    parsed = given if isinstance(given, URL) else _parsed(given)
    if parsed is None:
        raise ConfigurationError(
            "the broker's URL cannot be read: expected amqp://host/ or amqps://host/, a port "
            "from 1 to 65535 after the host if any, and in names and passwords "
            "@ / # ? : [ ] % as %40 %2F %23 %3F %3A %5B %5D %25"
        )
    if parsed.scheme not in _PORTS or not _can_be_a_host(parsed.host):
        raise ConfigurationError(
            "the broker's URL names no broker: expected amqp://host/ or amqps://host/"
        )
    _check_query(parsed)
    return parsed if parsed.port else parsed.with_port(_PORTS[parsed.scheme])


def seconds_to_connect(url: URL) -> float:
    """Return how long an attempt to connect may take: ``connection_timeout``, in milliseconds.

    Raises:
        ConfigurationError: it is no number of milliseconds.
    """
    said = url.query.get("connection_timeout")
    if said is None:
        return _SECONDS
    _check_parameter("connection_timeout", said)
    return int(said) / 1000


class _Expected(NamedTuple):
    """What a parameter may say, and how that is told."""

    fits: Callable[[str], bool]
    told: str


def _whole(least: int, most: int, unit: str, example: int) -> _Expected:
    def fits(said: str) -> bool:
        is_whole = said.isascii() and said.isdecimal() and len(said) <= _DIGITS
        return is_whole and least <= int(said) <= most

    return _Expected(fits, f"{unit} from {least} to {most}, such as {example}")


def _one_of(*words: str) -> _Expected:
    return _Expected(lambda said: said.lower() in words, " or ".join(words))


def _seconds(said: str) -> bool:
    return _SECONDS_SAID.fullmatch(said) is not None


def _base64(said: str) -> bool:
    try:
        return bool(b64decode(said, validate=True))  # or what is no base64 would be left out
    except ValueError:
        return False


_FILE = _Expected(lambda said: Path(said).is_file(), "the path of a file that is there")
_PARAMETERS: Mapping[str, _Expected] = {
    "connection_timeout": _whole(1, _LONGEST, "milliseconds", 5000),
    "heartbeat": _whole(0, 65_534, "seconds", 60),
    "timeout": _whole(1, 3600, "seconds", 60),
    "reconnect_interval": _Expected(_seconds, "seconds, such as 5 or 0.5"),
    "happy_eyeballs_delay": _Expected(_seconds, "seconds, such as 0.25"),
    "interleave": _whole(0, 2, "a number", 1),
    "fail_fast": _one_of("0", "1", "true", "false"),
    "no_verify_ssl": _one_of("0", "1"),
    "auth": _one_of("plain", "external"),
    "name": _Expected(bool, "a name"),
    "cafile": _FILE,
    "certfile": _FILE,
    "keyfile": _FILE,
    "capath": _Expected(lambda said: Path(said).is_dir(), "the path of a folder that is there"),
    "cadata": _Expected(_base64, "certificates in base64"),
}
"""What the client library reads, which takes what it cannot read for a default without a word."""


def _check_query(url: URL) -> None:
    """Refuse what would not count; whatever else a parameter is, it is not shown."""
    for name, said in url.query.items():
        if name in _PARAMETERS:
            _check_parameter(name, said)
        elif near := closest(name, _PARAMETERS):  # others may be some other client's
            raise ConfigurationError(
                f"the broker's URL has a parameter that nobody knows: did you mean {near}?"
            )


def _check_parameter(name: str, said: str) -> None:
    if not _PARAMETERS[name].fits(said):
        raise ConfigurationError(
            f"{name} in the broker's URL: expected {_PARAMETERS[name].told} (amqp://host/?{name}=…)"
        )


def _can_be_a_host(name: str | None) -> bool:
    """Whether a name can be looked up; where it cannot, that is no broker that may come back."""
    try:
        return bool(name and name.encode("idna"))
    except UnicodeError:  # an empty label, or one of more than 63 characters
        return False


def _parsed(given: str) -> URL | None:
    """Parse a URL, unless its user information would end up elsewhere; errors may quote it."""
    authority = _AUTHORITY.match(given)
    if "@" in given[authority.end() if authority else 0 :]:
        return None
    try:
        return URL(given)
    except ValueError:  # its words may quote the password
        return None

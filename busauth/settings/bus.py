"""What an operator says about a bus: which broker, how it consumes, and where probes ask."""

import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, SecretStr
from yarl import URL

from busauth._amqp.connecting.address import broker_url
from busauth._amqp.options import BusOptions, RetryOptions
from busauth._files.keys import naming, read_secret
from busauth.errors import ConfigurationError
from busauth.settings.issuers import Name, Table
from busauth.settings.places import at

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):)?([0-9]{1,5})", re.ASCII)
_LAST_PORT = 65_535


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_address(text: str) -> Address:
    """Return an address; a port alone is one of this machine, reached by nobody else.

    Args:
        text: ``8080``, ``127.0.0.1:8080`` or ``[::1]:8080``.

    Raises:
        ConfigurationError: it is none. It is not shown: in a file it may be another address.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[2]) > _LAST_PORT:
        raise ConfigurationError(
            "expected HOST:PORT, such as 127.0.0.1:8080, or 0.0.0.0:8080 for probes from outside"
        )
    return Address((found[1] or "127.0.0.1").strip("[]"), int(found[2]))


def _is_read(text: str) -> str:
    read_address(text)
    return text


def _names_a_broker(url: SecretStr) -> SecretStr:
    broker_url(url.get_secret_value())
    return url


class BusSettings(BusOptions, Table):
    """A bus; see `BusOptions`.

    Attributes:
        url: the broker, ``amqp://`` or ``amqps://``; it prints without what is in it.
        password_file: a file with the password of the user whom `url` names.
        health: where `busauth run` answers probes, ``HOST:PORT``; nowhere by default.
    """

    url: Annotated[SecretStr, AfterValidator(_names_a_broker)] | None = None
    password_file: Path | None = None
    health: Annotated[Name, AfterValidator(_is_read)] | None = None

    def address(self) -> str:
        """Return the broker's URL, with its password.

        Raises:
            ConfigurationError: there is none, or the password cannot be had.
        """
        with at("url"):
            if self.url is None:
                raise ConfigurationError(
                    "expected the broker, such as amqp://localhost/ (url under [bus] in the "
                    "settings file, or BUSAUTH_BUS__URL)"
                )
            url = self.url.get_secret_value()
        with at("password_file"):
            return url if self.password_file is None else _with_password(url, self.password_file)

    def options(self, code: BusOptions) -> BusOptions:
        """Return how it consumes: what is said here, and else what code says.

        Raises:
            ConfigurationError: both do not go together.
        """
        own = BusOptions.model_fields.keys() & self.model_fields_set - {"retry"}
        steps = {name: getattr(self.retry, name) for name in self.retry.model_fields_set}
        with at("retry"):
            retry = RetryOptions(**{**dict(code.retry), **steps})
        said = {name: getattr(self, name) for name in own}
        return BusOptions(**{**dict(code), **said, "retry": retry})


def _with_password(url: str, path: Path) -> str:
    """Put a password into a URL, escaped as it must be."""
    parsed = URL(url)
    if not parsed.user or parsed.password is not None:
        raise ConfigurationError("expected a url with a user, and without a password: amqp://user@")
    secret = read_secret(path)
    try:
        return str(parsed.with_password(secret.decode()))
    except UnicodeDecodeError:  # its words hold the password
        with naming(path):
            raise ConfigurationError("is no text: expected a password in UTF-8") from None

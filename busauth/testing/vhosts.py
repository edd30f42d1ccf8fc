"""A virtual host for the tests of one process: made on a RabbitMQ, and removed after them.

Who administers the RabbitMQ is asked, see docs/adr/0029: its management API, or a `rabbitmqctl`.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, Self
from urllib.parse import quote
from uuid import uuid4

import httpx
from yarl import URL

from busauth._amqp.connecting.address import broker_url
from busauth.errors import ConfigurationError

_SECONDS = 60.0
"""For one answer: `rabbitmqctl` starts a virtual machine first."""

_ADVICE = (
    "name its management API with --busauth-management-url (BUSAUTH_MANAGEMENT_URL), or a command "
    "that administers it with --busauth-rabbitmqctl (BUSAUTH_RABBITMQCTL); or, where no two tests "
    "use one queue, let all workers share the address's with --busauth-vhost=shared"
)


class Administrator(Protocol):
    """Makes and removes virtual hosts."""

    def make(self, vhost: str) -> None:
        """Make a virtual host.

        Raises:
            ConfigurationError: it cannot be made.
        """
        ...

    def permit(self, vhost: str, user: str) -> None:
        """Give a user all rights there.

        Raises:
            ConfigurationError: they cannot be given.
        """
        ...

    def remove(self, vhost: str) -> None:
        """Remove a virtual host, with all that is in it.

        Raises:
            ConfigurationError: it cannot be removed.
        """
        ...


@dataclass(frozen=True)
class Management:
    """A RabbitMQ's management API.

    Attributes:
        url: where it is, without a password.
        user, password: of somebody with the tag ``administrator``.
    """

    url: URL
    user: str
    password: str = field(repr=False)

    @classmethod
    def at(cls, said: str | None, broker: URL) -> Self:
        """Take what was said, and the rest from the broker's address.

        Args:
            said: the API's address, None for the usual port of the broker's host.
            broker: the broker's address.

        Raises:
            ConfigurationError: what was said is no address.
        """
        scheme, port = ("https", 15671) if broker.scheme == "amqps" else ("http", 15672)
        usual = URL.build(scheme=scheme, host=broker.host or "", port=port)
        url = usual if said is None else _http_url(said)
        user = url.user or broker.user or "guest"
        password = url.password or broker.password or "guest"
        return cls(url.with_user(None), user, password)

    def make(self, vhost: str) -> None:
        """Make a virtual host."""
        self._ask("PUT", f"vhosts/{vhost}", {})

    def permit(self, vhost: str, user: str) -> None:
        """Give a user all rights there."""
        everything = dict.fromkeys(("configure", "write", "read"), ".*")
        self._ask("PUT", f"permissions/{vhost}/{quote(user, safe='')}", everything)

    def remove(self, vhost: str) -> None:
        """Remove a virtual host, with all that is in it."""
        self._ask("DELETE", f"vhosts/{vhost}", None)

    def _ask(self, method: str, path: str, content: dict[str, str] | None) -> None:
        where = f"{str(self.url).rstrip('/')}/api/{path}"
        try:
            answer = httpx.request(
                method,
                where,
                json=content,
                auth=(self.user, self.password),
                timeout=_SECONDS,
                trust_env=False,  # no proxy's: it is beside the broker
            )
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            who = f"{self.user!r}, who needs the tag administrator" if status in (401, 403) else ""
            raise _refused(f"{method} {where} was answered {status} {who}".rstrip()) from None
        except httpx.HTTPError as error:
            raise _refused(f"{method} {where}: {type(error).__name__}") from None


@dataclass(frozen=True)
class Rabbitmqctl:
    """A command that administers a RabbitMQ, ``docker exec broker rabbitmqctl`` for example.

    Attributes:
        command: with what comes before its own arguments.
    """

    command: tuple[str, ...]

    def make(self, vhost: str) -> None:
        """Make a virtual host."""
        self._run("add_vhost", vhost)

    def permit(self, vhost: str, user: str) -> None:
        """Give a user all rights there."""
        self._run("set_permissions", "-p", vhost, user, ".*", ".*", ".*")

    def remove(self, vhost: str) -> None:
        """Remove a virtual host, with all that is in it."""
        self._run("delete_vhost", vhost)

    def _run(self, *words: str) -> None:
        try:
            done = subprocess.run(  # noqa: S603 -- the command is whose tests they are
                [*self.command, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _refused(f"{self.command[0]} {words[0]}: {type(error).__name__}") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
            raise _refused(f"{words[0]} ended with {done.returncode} and said {said[0]!r}")


@contextmanager
def own_virtual_host(
    url: str, *, management: str | None = None, rabbitmqctl: str | None = None
) -> Iterator[str]:
    """Make a virtual host, and remove it at the end.

    Args:
        url: the RabbitMQ's address.
        management: of its management API; None for the usual port of its host.
        rabbitmqctl: a command that is run instead.

    Yields:
        The address with the new virtual host in it.

    Raises:
        ConfigurationError: nobody is there who could; says what to set.
    """
    broker = broker_url(url)
    asked: Administrator = (
        Rabbitmqctl(tuple(shlex.split(rabbitmqctl)))
        if rabbitmqctl
        else Management.at(management, broker)
    )
    vhost = _name()
    asked.make(vhost)
    try:
        asked.permit(vhost, broker.user or "guest")
        yield str(broker.with_path(f"/{vhost}").with_query(broker.query))
    finally:
        asked.remove(vhost)


def _name() -> str:
    """Return a name that no other process has: of the run, and of the worker in it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)[:12]
    return f"busauth-test-{run}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


def _http_url(said: str) -> URL:
    try:
        url = URL(said)
    except ValueError:  # its words may quote the password
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            "the management API's URL cannot be read: expected http://user:password@host:15672"
        )
    return url


def _refused(found: str) -> ConfigurationError:
    return ConfigurationError(f"no virtual host of the tests' own ({found}): {_ADVICE}")

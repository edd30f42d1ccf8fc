"""`busauth console`: a page that only looks."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from busauth._amqp.auditing.stream import AUDIT_STREAM
from busauth._amqp.feed import RevocationFeed
from busauth._amqp.guard import Guard
from busauth._extras import MissingExtraError, needs
from busauth._tokens.fetch import is_loopback
from busauth.cli.options import fail, warn
from busauth.cli.run.logs import LogLevel, configure_logs
from busauth.errors import ConfigurationError
from busauth.settings import Settings, load_settings
from busauth.settings.bus import Address
from busauth.settings.places import at

_USUAL = {"http": 80, "https": 443}
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 -- what is refused without a name
_CONNECTIONS, _KEEP_ALIVE, _HEADER_BYTES = 100, 15, 32 * 1024
_ASKED, _WHOLE = 15.0, 180.0
"""Seconds for the head of a request, and for all of it with its answer: a look may take a while."""


File = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        envvar="BUSAUTH_SETTINGS",
        help="A settings file: issuers, [console], [consumers]; variables count above it.",
    ),
]
Queues = Annotated[
    list[str] | None,
    typer.Option("--queue", metavar="Q", help="A consumer's queue to look at; repeatable."),
]
Host = Annotated[str, typer.Option(help="Where it listens; others than loopback need TLS.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 for a free one.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="HOST", help="By what else it is reached; repeatable."),
]
Certificate = Annotated[
    Path | None, typer.Option(help="A file with its certificate and chain, PEM.", exists=True)
]
CertificateKey = Annotated[
    Path | None, typer.Option(help="A file with the certificate's private key.", exists=True)
]
Open = Annotated[
    bool,
    typer.Option(
        "--sign-in/--no-sign-in", help="Whether whoever looks shows a token; off on loopback only."
    ),
]
Bodies = Annotated[
    bool, typer.Option("--bodies", help="Read the beginning of bodies, for [console] bodies.")
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="BUSAUTH_AMQP_URL",
        help="The broker; default: the settings', else amqp://localhost/.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Say where it listens as one JSON document.")]


def console(
    *,
    settings: File = None,
    queue: Queues = None,
    host: Host = "127.0.0.1",
    port: Port = 8250,
    name: Names = None,
    tls_cert: Certificate = None,
    tls_key: CertificateKey = None,
    sign_in: Open = True,
    bodies: Bodies = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Serve a page to look at consumers, letters, plans and runs, until a signal ends it.

    It moves nothing. Whoever looks signs in with a token of [console] audience. Example:
    busauth console --settings busauth.toml --queue orders.placed
    """
    configure_logs(LogLevel.WARNING)
    listening = Listening(host, port, tuple(name or ()), tls_cert, tls_key)
    with _telling():
        listening.check(sign_in=sign_in)
        looking = prepared(
            load_settings(settings), queue or [], url, sign_in=sign_in, bodies=bodies
        )
        asyncio.run(_serve(looking, listening, as_json=as_json))


@dataclass(frozen=True, slots=True)
class Listening:
    """Where it listens, and by which names it is reached."""

    host: str
    port: int
    names: tuple[str, ...]
    certificate: Path | None
    key: Path | None

    @property
    def scheme(self) -> str:
        """Return that of its URL."""
        return "https" if self.certificate else "http"

    def check(self, *, sign_in: bool) -> None:
        """Refuse to be reached by others without TLS and a sign-in.

        Raises:
            ConfigurationError: says what is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("--tls-cert and --tls-key: expected both, or neither")
        others = [each for each in (self.host, *self.names) if not is_loopback(each)]
        if others and not (sign_in and self.certificate):
            raise ConfigurationError(
                f"{', '.join(others)}: others than this machine need TLS and a sign-in: expected "
                "--tls-cert and --tls-key without --no-sign-in, or --host 127.0.0.1"
            )
        if self.host in _ANYWHERE and not self.names:
            raise ConfigurationError(
                f"--host {self.host}: by which name is it reached? expected --name"
            )

    def hosts(self, port: int) -> list[str]:
        """Return the ``Host`` values that mean this server."""
        own = ("127.0.0.1", "localhost", "::1") if is_loopback(self.host) else (self.host,)
        named = [each for each in (*own, *self.names) if each not in _ANYWHERE]
        found = [str(Address(each, port)) for each in named]
        if port == _USUAL[self.scheme]:  # then browsers leave it out
            found += [f"[{each}]" if ":" in each else each for each in named]
        return found


@dataclass(frozen=True, slots=True)
class Looking:
    """What a console is made of; nothing of the settings but this is left.

    Attributes:
        url: the broker.
        queues: consumers' queues.
        guard: who verifies whoever looks; None where nobody signs in.
        feed: what the guard asks about revocations.
        options: of the page.
        bodies: whether bodies are read.
        stream: the audit stream.
    """

    url: str
    queues: tuple[str, ...]
    guard: Guard | None
    feed: RevocationFeed | None
    options: dict[str, Any]
    bodies: bool
    stream: str


def prepared(
    settings: Settings, queues: list[str], url: str | None, *, sign_in: bool, bodies: bool
) -> Looking:
    """Return what settings make of a console.

    Raises:
        ConfigurationError: something in them cannot be used.
    """
    said = settings.console
    known = (*queues, *settings.consumers, *settings.guard.consumers)
    broker = _broker(settings, url)
    guard, feed = settings.make_console_guard(broker) if sign_in else (None, None)
    if guard is not None and feed is None:
        warn(
            "no [console.feed]: nothing is known of revocations here, and a token opens the page "
            "until it expires"
        )
    if bodies and sign_in and said.bodies is None:
        raise ConfigurationError("--bodies: for whom? expected a scope under [console], as bodies")
    # without a sign-in whoever has this machine sees them
    scope = said.bodies or "console:bodies"
    options = {"scopes": said.scopes, "idle": said.idle, "bodies": scope if bodies else None}
    stream = settings.audit.stream if isinstance(settings.audit.stream, str) else AUDIT_STREAM
    return Looking(broker, tuple(dict.fromkeys(known)), guard, feed, options, bodies, stream)


def _broker(settings: Settings, url: str | None) -> str:
    if url is not None or settings.bus.url is None:
        return url or "amqp://localhost/"
    with at("bus"):
        return settings.bus.address()


async def _serve(looking: Looking, listening: Listening, *, as_json: bool) -> None:
    with needs("busauth console", "console", "uvicorn", "starlette", "jinja2", "markupsafe"):
        from uvicorn import Server  # noqa: PLC0415 -- an extra's, and the next two with it

        from busauth.integrations.console import BrokerSource  # noqa: PLC0415
        from busauth.integrations.console import console as page  # noqa: PLC0415
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    opened = socket.create_server((listening.host, listening.port), family=family)
    port: int = opened.getsockname()[1]
    source = BrokerSource(looking.url, bodies=looking.bodies, stream=looking.stream)
    app = page(
        source,
        queues=looking.queues,
        hosts=listening.hosts(port),
        guard=looking.guard,
        secure=listening.certificate is not None,
        **looking.options,
    )
    server = Server(_config(app, listening))
    for number in (signal.SIGINT, signal.SIGTERM):  # it raises them anew once it has stopped
        asyncio.get_running_loop().add_signal_handler(number, _stopped)
    try:
        async with _trusting(looking):
            _say(listening, port, looking, as_json=as_json)
            watching = asyncio.create_task(hanging_up(server.server_state.connections))
            try:
                await server.serve([opened])
            finally:
                watching.cancel()
    finally:
        await source.close()


def _config(app: Any, listening: Listening) -> Any:
    from uvicorn import Config  # noqa: PLC0415 -- an extra's

    return Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
    )


async def hanging_up(
    connections: Collection[Any], *, asked: float = _ASKED, whole: float = _WHOLE, every: float = 1
) -> None:
    """Close connections that hold a place and ask for nothing, or do not take their answer.

    There are few places, and each byte of half a request would keep one for as long as it likes.

    Args:
        connections: the server's.
        asked: seconds for a request's head.
        whole: seconds for all of a request and its answer.
        every: seconds between two looks.
    """
    monotonic, since = asyncio.get_running_loop().time, dict[tuple[Any, Any, bool], float]()
    while True:
        now = monotonic()
        states = [(each, each.cycle, _is_answering(each)) for each in connections]
        since = {each: since.get(each, now) for each in states}
        for each, begun in since.items():
            connection, _, is_answering = each
            if now - begun >= (whole if is_answering else asked):
                connection.transport.abort()
        await asyncio.sleep(every)


def _is_answering(connection: Any) -> bool:
    return connection.cycle is not None and not connection.cycle.response_complete


def _stopped() -> None:
    """Nothing is left to do: the server has stopped already."""


@asynccontextmanager
async def _trusting(looking: Looking) -> AsyncIterator[None]:
    """Read the feed while inside, and ask issuers once, so that a wrong one is told now."""
    guard, feed = looking.guard, looking.feed
    if guard is None:
        yield
        return
    await guard.check()
    try:
        if feed is None:
            yield
            return
        async with feed:
            yield
    finally:
        await guard.close()


def _say(listening: Listening, port: int, looking: Looking, *, as_json: bool) -> None:
    host = next(iter(listening.names), listening.host)
    url = f"{listening.scheme}://{Address(host, port)}/"
    if as_json:
        told = {"url": url, "sign_in": looking.guard is not None, "queues": looking.queues}
        typer.echo(json.dumps(told))
        return
    typer.echo(f"Look at {url}" + ("" if looking.guard else ", as whoever has this machine"))


@contextmanager
def _telling() -> Iterator[None]:
    """End with a sentence for what can go wrong."""
    try:
        yield
    except (ConfigurationError, MissingExtraError) as error:
        _end(error)
    except OSError as error:  # a port that is taken, a certificate that is none
        _end(f"it cannot listen, or an issuer or the broker cannot be reached: {error}")


def _end(why: object) -> NoReturn:
    fail(str(why))

"""`busauth release`: parked messages for their caller; what commands that send again share."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from aio_pika.exceptions import AMQPConnectionError, AMQPError

from busauth._amqp.guard import Guard
from busauth._amqp.options import ConsumerOptions
from busauth._amqp.resending.again import Released
from busauth._amqp.resending.release import Release
from busauth._expiry import DeadLetter
from busauth._messages.proof import Route
from busauth.cli.options import AsJson, Exit, fail
from busauth.errors import ConfigurationError, Deferred, PublishError, Refused
from busauth.settings import AuditSettings, LetterSettings, Settings, load_settings
from busauth.settings.places import at

Queue = Annotated[str, typer.Argument(help="The consumer's queue.")]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="BUSAUTH_AMQP_URL",
        help="The broker; default: the settings', else amqp://localhost/.",
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        envvar="BUSAUTH_SETTINGS",
        help="The consumer's settings file; variables count above it.",
    ),
]
TokenFile = Annotated[
    Path | None, typer.Option(help="A file with the caller's fresh token; default: standard input.")
]
RouteTo = Annotated[
    list[str] | None,
    typer.Option(metavar="EXCHANGE:KEY", help="How else messages get to the queue; repeatable."),
]
Recipient = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Whom tokens are encrypted for, where there are several."),
]


def release(
    queue: Queue,
    *,
    settings: File = None,
    token_file: TokenFile = None,
    route: RouteTo = None,
    recipient: Recipient = None,
    url: Url = None,
    as_document: AsJson = False,
) -> None:
    """Send parked messages to their consumer again, for the caller whose fresh token this is.

    Example: busauth release orders.placed --settings busauth.toml < token

    Messages whose first proof names that caller go; all others stay. It ends with 3 where one that
    names the caller was refused.
    """
    guard, broker = consumers(settings, url)
    routes = [read_route(each) for each in route or ()]
    token = read_token(token_file)  # last: nobody types one to be told of another argument
    with telling():
        parked = Release(broker, guard=guard, queue=queue, routes=routes, recipient=recipient)
        released = asyncio.run(parked.for_caller(token))
    _report(released, queue, as_document=as_document)


def consumers(path: Path | None, url: str | None) -> tuple[Guard, str]:
    """Return a guard and the broker, as the consumer's settings have them; a URL counts above."""
    with telling():
        settings = load_settings(path)
        guard = _guard(settings)
        if url is not None or settings.bus.url is None:
            return guard, url or "amqp://localhost/"
        with at("bus"):
            return guard, settings.bus.address()


def _guard(settings: Settings) -> Guard:
    """Make a guard that trusts whom the consumer's trusts, and holds none of its secrets.

    What only the consumer needs is left out: its seal, its policies, its memories and its audit.
    """
    issuers = tuple(each.model_copy(update={"retired": None}) for each in settings.issuers)
    known = {**settings.guard.consumers, **settings.consumers}
    names = {
        queue: ConsumerOptions(formerly=said.formerly, proof=said.proof)
        for queue, said in known.items()
    }
    needed = {
        "retired": None,
        "issuers": issuers,
        "on_expired": DeadLetter(),
        "letters": LetterSettings(),
        "messages": settings.messages.model_copy(update={"seal": None, "replay": None}),
        "guard": settings.guard.model_copy(update={"broker_stamps": False, "consumers": {}}),
        "consumers": names,
        "audit": AuditSettings(),
    }
    return settings.model_copy(update=needed).make_guard()


def read_token(path: Path | None) -> str:
    """Read a token where other users of the machine do not see it: arguments are public."""
    if path is None and sys.stdin.isatty():
        typer.echo("The caller's fresh token, then Ctrl-D:", err=True)
    try:
        text = sys.stdin.read() if path is None else path.read_text("utf-8")
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    except ValueError:  # its bytes are not shown: they may be a token
        fail(f"{path or 'standard input'} holds no token: expected text")
    return text.strip() or fail("no token: expected the caller's fresh one, with nothing around it")


def read_route(given: str) -> Route:
    """Return a route, or end with what one looks like."""
    exchange, colon, key = given.partition(":")
    return Route(exchange, key) if colon else fail(f"--route {given}: expected EXCHANGE:KEY")


@contextmanager
def telling() -> Iterator[None]:
    """End with a sentence for what can go wrong."""
    try:
        yield
    except Refused as refused:
        fail(refused.detail)
    except Deferred as deferred:
        fail(f"not now: {deferred}")
    except PublishError as error:
        fail(f"not confirmed; what was not sent stays where it was: {error}")
    except ConfigurationError as error:
        fail(str(error))
    except (AMQPConnectionError, ConnectionError, OSError) as error:  # before all of AMQP's errors
        fail(f"the broker cannot be reached: {error}")
    except AMQPError as error:
        fail(f"the broker refused: {error}; may this user read and write these queues?")


def _report(released: Released, queue: str, *, as_document: bool) -> None:
    """Say what became of the messages; what was asked for and stays is an error."""
    if as_document:
        typer.echo(json.dumps({"queue": queue, **asdict(released)}))
    else:
        typer.echo(f"Released to {queue}: {len(released.sent)}. Others stay: {released.others}.")
        for message_id, code in released.refused.items():
            typer.echo(f"Refused, and stays: {message_id} ({code})")
    if released.refused:
        raise typer.Exit(Exit.STAYS)

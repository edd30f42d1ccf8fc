"""`busauth release`: parked messages for their caller; `busauth redrive`: dead letters again."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from aio_pika.exceptions import AMQPConnectionError, AMQPError

from busauth._amqp.guard import Guard
from busauth._amqp.options import ConsumerOptions
from busauth._amqp.resending.again import Released
from busauth._amqp.resending.redrive import Redrive
from busauth._amqp.resending.release import Release
from busauth._expiry import DeadLetter
from busauth._messages.proof import Route
from busauth._tokens.encryption.encryption import Decryption
from busauth.cli.options import Exit, fail, warn
from busauth.cli.wanted import Wanted
from busauth.errors import ConfigurationError, Deferred, PublishError, Refused
from busauth.settings import DecryptionSettings, Settings, load_settings
from busauth.settings.places import MisplacedError, at

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
KeyFile = Annotated[
    list[Path],
    typer.Option(
        "--key", metavar="FILE", help="A private JWK or a set that opens kept tokens; repeatable."
    ),
]
Recipient = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Whom tokens are encrypted for, where there are several."),
]
Ids = Annotated[
    list[str] | None,
    typer.Option("--message-id", metavar="ID", help="These letters only; repeatable."),
]
Codes = Annotated[
    list[str] | None,
    typer.Option("--code", metavar="CODE", help="Letters refused with these codes; repeatable."),
]
Rejected = Annotated[
    bool,
    typer.Option("--rejected", help="Those in <queue>.rejected instead, which kept their tokens."),
]
Subject = Annotated[str | None, typer.Option(metavar="SUB", help="Letters of this subject only.")]


def release(
    queue: Queue,
    *,
    settings: File = None,
    token_file: TokenFile = None,
    route: RouteTo = None,
    recipient: Recipient = None,
    url: Url = None,
) -> None:
    """Send parked messages to their consumer again, for the caller whose fresh token this is.

    Messages whose first proof names that caller go; all others stay. It ends with 3 where one that
    names the caller was refused.
    """
    guard, broker = consumers(settings, url)
    routes = [_route(each) for each in route or ()]
    token = _token(token_file)  # last: nobody types one to be told of another argument
    with telling():
        parked = Release(broker, guard=guard, queue=queue, routes=routes, recipient=recipient)
        released = asyncio.run(parked.for_caller(token))
    _report(released, f"Released to {queue}")


def redrive(
    queue: Queue,
    *,
    key: KeyFile,
    settings: File = None,
    message_id: Ids = None,
    code: Codes = None,
    subject: Subject = None,
    rejected: Rejected = False,
    recipient: Recipient = None,
    url: Url = None,
) -> None:
    """Send dead letters to their consumer again, with the tokens that they kept.

    The consumer decides anew. Letters that kept no token stay, and so do those that were not asked
    for. It ends with 3 where one that was asked for was refused, kept no token, or is not there.
    """
    guard, broker = consumers(settings, url)
    wanted = Wanted(message_id or (), code or (), subject)
    with telling():
        keys = _keys(key)
        letters = Redrive(
            broker, guard=guard, queue=queue, keys=keys, recipient=recipient, rejected=rejected
        )
        redriven = asyncio.run(letters.letters(wanted))
    _report(redriven, f"Redriven to {queue}", wanted)


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

    What only the consumer needs is left out: its seal, its policies and its memories.
    """
    issuers = tuple(each.model_copy(update={"retired": None}) for each in settings.issuers)
    known = {**settings.guard.consumers, **settings.consumers}
    names = {queue: ConsumerOptions(formerly=said.formerly) for queue, said in known.items()}
    needed = {
        "retired": None,
        "issuers": issuers,
        "on_expired": DeadLetter(),
        "messages": settings.messages.model_copy(update={"seal": None, "replay": None}),
        "guard": settings.guard.model_copy(update={"broker_stamps": False, "consumers": {}}),
        "consumers": names,
    }
    return settings.model_copy(update=needed).make_guard()


def _keys(files: list[Path]) -> Decryption:
    """Read what opens kept tokens; what is wrong with a file is told by the option's name."""
    try:
        return DecryptionSettings(key_files=tuple(files)).decryption()
    except MisplacedError as error:
        raise MisplacedError([(("--key",), why) for _, why in error.wrong]) from None


def _token(path: Path | None) -> str:
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


def _route(given: str) -> Route:
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


def _report(released: Released, done: str, wanted: Wanted | None = None) -> None:
    """Say what became of the messages; what was asked for and stays is an error."""
    typer.echo(f"{done}: {len(released.sent)}. Others stay: {released.others}.")
    for message_id, code in released.refused.items():
        typer.echo(f"Refused, and stays: {message_id} ({code})")
    missed = list(wanted.missed(released)) if wanted is not None else []
    for each in missed:
        warn(each)
    if released.refused or missed:
        raise typer.Exit(Exit.STAYS)

"""`busauth letters redrive`: letters go to their consumer again, in passes, and on record."""

import asyncio
import getpass
import math
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from busauth._amqp.desks import OperatorToken
from busauth._amqp.headers import BY, LONGEST_WORD, by_in
from busauth._amqp.resending.authorities import Authority, Errand, FreshToken, KeptToken
from busauth._amqp.resending.passes import AT_ONCE, Redriven, Terms, redriven
from busauth._amqp.topology import dead_queue
from busauth._tokens.encryption.encryption import Decryption
from busauth.cli.again import (
    Recipient,
    RouteTo,
    TokenFile,
    consumers,
    read_route,
    read_token,
    telling,
)
from busauth.cli.letters.choosing import Choice, choosing
from busauth.cli.letters.showing import print_json
from busauth.cli.options import AsJson, Exit, fail, warn
from busauth.errors import evidence
from busauth.settings import DecryptionSettings, load_settings
from busauth.settings.places import MisplacedError

_TOLD = 10.0
"""Seconds between two lines of progress where no terminal shows them."""

_ASKED = 100
"""Letters above which a terminal is asked whether it is meant."""


class By(StrEnum):
    """By whose authority letters go."""

    KEPT = "kept"
    FRESH = "fresh"
    OPERATOR = "operator"


Authorities = Annotated[
    By,
    typer.Option(
        "--authority",
        help="The token that each letter kept, its caller's fresh token, or an operator's word.",
    ),
]
KeyFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="A private JWK or a set that opens tokens kept for a redrive's own key; repeatable.",
    ),
]
OperatorFile = Annotated[
    Path | None, typer.Option("--operator-token", metavar="FILE", help="The operator's own token.")
]
DeskUrl = Annotated[
    str | None, typer.Option("--desk", metavar="URL", help="The desk that signs for operators.")
]
Rate = Annotated[
    float | None, typer.Option(min=0.001, metavar="PER_SECOND", help="Letters a second at most.")
]
Most = Annotated[int | None, typer.Option(min=1, metavar="N", help="So many letters at most.")]
Resume = Annotated[
    str | None,
    typer.Option(
        metavar="RUN", help="Go on with a run, with its filters and its cut-off, and no others."
    ),
]
Name = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who does it; default: user@host.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
NoRecord = Annotated[
    bool, typer.Option("--no-record", help="Write nothing to <queue>.history: no resuming.")
]


@choosing
def redrive(  # noqa: PLR0913 -- a command's options
    choice: Choice,
    *,
    authority: Authorities = By.KEPT,
    key: KeyFiles = None,
    token_file: TokenFile = None,
    operator_token: OperatorFile = None,
    desk: DeskUrl = None,
    rate: Rate = None,
    limit: Most = None,
    resume: Resume = None,
    by: Name = None,
    recipient: Recipient = None,
    route: RouteTo = None,
    yes: Yes = False,
    no_record: NoRecord = False,
    as_document: AsJson = False,
) -> None:
    """Send letters to their consumer again, which decides anew by the policies of today.

    busauth letters redrive orders.placed --code token.expired --rate 50

    Those in <queue>.dead, unless --rejected or --parked says otherwise. Only what was refused
    before it began goes, so that nothing goes round. Ctrl-C ends it after what is in flight;
    --resume goes on, also where it was killed. With --json, one document. It ends with 3 where
    one that was asked for was refused, is not for this authority, or is not there, and where it
    was stopped.
    """
    guard, broker = consumers(choice.settings, choice.url)
    places = choice.places or (dead_queue(choice.queue),)
    choice = replace(choice, places=places, url=broker)
    if len(places) > 1:
        fail("one of --dead, --rejected and --parked at a time: each is a run of its own")
    with telling():
        chosen = _authority(authority, key or [], token_file, operator_token, desk)
        errand = Errand(
            guard=guard,
            queue=choice.queue,
            by=named(by),
            recipient=recipient,
            routes=tuple(read_route(each) for each in route or ()),
        )
    if resume is None and not yes:
        confirm(choice, "Send", limit)
    _warn_of_repeats(choice, no_record=no_record)
    stop = asyncio.Event()

    async def run(progress: Callable[[Redriven], None]) -> Redriven:
        terms = Terms(rate=rate, limit=limit, record=not no_record, stop=stop, progress=progress)
        with _stopping(stop):
            return await redriven(
                broker,
                errand,
                choice.places[0],
                chosen,
                wanted=choice.wanted,
                terms=terms,
                resume=resume,
            )

    with telling(), told_progress() as progress:
        done = asyncio.run(run(progress))
    _report(done, choice.queue, limit=limit, as_document=as_document)
    if stop.is_set():
        raise typer.Exit(Exit.STAYS)


def named(by: str | None) -> str:
    """Return who does it, as it is recorded, or end with a sentence: no token is written there."""
    name = by or user()
    if by_in({BY: name}) != name:
        fail(f"--by {evidence(name)}: expected a short printable word, and no token")
    return name


def user() -> str:
    """Return who runs this command, as this machine says."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        name = "?"
    return f"{name}@{socket.gethostname()}"[:LONGEST_WORD]


def confirm(choice: Choice, what: str, limit: int | None = None, least: int = _ASKED) -> None:
    """Ask a terminal whether so many are meant; a program has meant it."""
    if not sys.stdin.isatty():
        return
    found = choice.look(limit=1)
    count = found.chosen if limit is None else min(limit, found.chosen)
    if count > least and not typer.confirm(f"{what} {count} of {found.total} letters?", err=True):
        raise typer.Exit(Exit.FAILED)


def _authority(
    authority: By,
    keys: list[Path],
    token_file: Path | None,
    operator_token: Path | None,
    desk: str | None,
) -> Authority:
    match authority:
        case By.KEPT:
            return KeptToken(_keys(keys) if keys else None)
        case By.FRESH:
            return FreshToken(read_token(token_file))
        case By.OPERATOR if operator_token is not None and desk is not None:
            return OperatorToken(read_token(operator_token), desk=desk)
    return fail("--authority operator: expected --operator-token FILE and --desk URL")


def _keys(files: list[Path]) -> Decryption:
    """Read what opens kept tokens; what is wrong with a file is told by the option's name."""
    try:
        return DecryptionSettings(key_files=tuple(files)).decryption()
    except MisplacedError as error:
        raise MisplacedError([(("--key",), why) for _, why in error.wrong]) from None


def _warn_of_repeats(choice: Choice, *, no_record: bool) -> None:
    if no_record:
        warn("nothing of this is recorded: it cannot be resumed, and nobody will see what was done")
    with telling():
        if load_settings(choice.settings).messages.replay is None:
            warn(
                "the settings name no replay memory: were this killed, up to "
                f"{AT_ONCE} letters could be handled twice"
            )


@contextmanager
def _stopping(stop: asyncio.Event) -> Iterator[None]:
    """Have a signal end it after what is in flight, where signals can be heard."""
    loop, heard = asyncio.get_running_loop(), list[signal.Signals]()
    # Windows has none of these, and a thread that is not the main one hears none
    with suppress(NotImplementedError, RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
            heard.append(number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


@contextmanager
def told_progress() -> Iterator[Callable[[Redriven], None]]:
    """Yield what tells how far it is: in one line of a terminal's, or now and then in another."""
    is_terminal, told_at = sys.stderr.isatty(), -math.inf

    def progress(so_far: Redriven) -> None:
        nonlocal told_at
        if told_at < 0:
            typer.echo(f"run {so_far.run}: Ctrl-C ends it after what is in flight", err=True)
        told = f"sent {so_far.sent}, refused {len(so_far.refused)}"
        if is_terminal:
            typer.echo(f"\r{told}", err=True, nl=False)
        elif time.monotonic() >= told_at + _TOLD:
            typer.echo(told, err=True)
        else:
            return
        told_at = time.monotonic()

    try:
        yield progress
    finally:
        if is_terminal and told_at >= 0:  # what is said next has a line of its own
            typer.echo(err=True)


def _report(done: Redriven, queue: str, *, limit: int | None, as_document: bool) -> None:
    """Say what became of the letters; what was asked for and stays is an error."""
    if as_document:
        print_json(asdict(done))
    else:
        is_limit = limit is not None and done.sent >= limit and not done.is_whole
        sent = f"{done.sent}, as --limit says" if is_limit else str(done.sent)
        stays = f"Others stay: {done.others}." if done.is_whole else "There may be more."
        typer.echo(f"Redriven to {queue}: {sent}. {stays} Run {done.run}.")
        for code, count in Counter(done.refused.values()).most_common():
            some = ", ".join(each for each, why in done.refused.items() if why == code)
            typer.echo(f"Refused, and stay: {count} ({code}): {evidence(some)}")
    if not done.is_whole:
        warn(f"not the whole queue was seen: --resume {done.run} goes on")
    if done.without:
        warn(
            f"{done.without} that were asked for kept no token, or are somebody else's, and stay: "
            "docs/sending-again.md says which letters can go by which authority"
        )
    for each in done.missed if done.is_whole else ():
        warn(each)
    if done.refused or done.without or (done.missed and done.is_whole):
        raise typer.Exit(Exit.STAYS)

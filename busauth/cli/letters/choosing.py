"""Which letters a command is about: options that all of them share."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from busauth._amqp.resending.look import Found, existing, look
from busauth._amqp.resending.wanted import Wanted
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth.cli.again import File, Queue, Url, telling
from busauth.cli.options import fail
from busauth.clock import SystemClock
from busauth.settings import load_settings

_AGE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}

Values = list[str] | None
Dead = Annotated[bool, typer.Option("--dead", help="Those in <queue>.dead.")]
Rejected = Annotated[bool, typer.Option("--rejected", help="Those in <queue>.rejected.")]
Parked = Annotated[
    bool,
    typer.Option(
        "--parked",
        help="Those in <queue>.parked. Without any of the three: all; a redrive: the dead.",
    ),
]
Codes = Annotated[Values, typer.Option("--code", metavar="CODE", help="Refused with it.")]
Refusers = Annotated[Values, typer.Option("--queue", metavar="QUEUE", help="Refused there.")]
Issuers = Annotated[Values, typer.Option("--issuer", metavar="ISS", help="Of its callers.")]
Subjects = Annotated[Values, typer.Option("--subject", metavar="SUB", help="Of this caller.")]
Actors = Annotated[Values, typer.Option("--actor", metavar="SUB", help="Where this one acted.")]
Publishers = Annotated[
    Values, typer.Option("--publisher", metavar="NAME", help="Sent by it, as the letter says.")
]
Errors = Annotated[
    Values, typer.Option("--error", metavar="TYPE", help="Whose handler failed with it.")
]
MessageIds = Annotated[Values, typer.Option("--message-id", metavar="ID", help="Of this message.")]
Ids = Annotated[Values, typer.Option("--letter", metavar="ID", help="This letter.")]
Texts = Annotated[
    Values, typer.Option("--text", metavar="TEXT", help="With this in its detail, in any case.")
]
OlderThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Refused longer ago: 90s, 15m, 2h, 3d.")
]
NewerThan = Annotated[str | None, typer.Option(metavar="AGE", help="Refused since then.")]
Before = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="Refused before it, in ISO 8601; UTC.")
]
After = Annotated[str | None, typer.Option(metavar="INSTANT", help="Refused after it.")]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters, and where.

    Attributes:
        queue: the consumer's queue.
        places: the queues beside it that were named; none for all that are there.
        wanted: which letters.
        settings, url: where the broker is named.
    """

    queue: str
    places: tuple[str, ...]
    wanted: Wanted
    settings: Path | None
    url: str | None

    def broker(self) -> str:
        """Return the broker's URL."""
        return broker_of(self.settings, self.url)

    async def sources(self) -> tuple[str, ...]:
        """Return the queues to look at, or end with a sentence where there are none."""
        beside = (dead_queue(self.queue), rejected_queue(self.queue), parked_queue(self.queue))
        found = self.places or tuple(await existing(self.broker(), beside))
        return found or fail(no_letters_beside(self.queue))

    def look(self, *, bodies: bool = False, limit: int | None = None) -> Found:
        """Look at once, and end with a sentence where that fails."""

        async def looking() -> Found:
            sources = await self.sources()
            return await look(self.broker(), sources, self.wanted, bodies=bodies, limit=limit)

        with telling():
            return asyncio.run(looking())


def no_letters_beside(queue: str) -> str:
    """Say that a queue has none, and what may be wrong."""
    beside = ", ".join((dead_queue(queue), rejected_queue(queue), parked_queue(queue)))
    return (
        f"no queue of letters is beside {queue!r}: expected {beside}; check the name, which is the "
        "consumer's queue, and the virtual host in the URL"
    )


def broker_of(settings: Path | None, url: str | None) -> str:
    """Return the broker: a URL counts above the settings', and without both it is this machine.

    Settings may be variables alone, as for what sends again.
    """
    if url is not None:
        return url
    with telling():
        said = load_settings(settings)
        return said.bus.address() if said.bus.url is not None else "amqp://localhost/"


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose letters; it takes their `Choice` first."""
    _, *own = signature(command, eval_str=True).parameters.values()
    shared = signature(_choice, eval_str=True).parameters
    all_of_them = [*_arguments(shared.values()), *_arguments(own)]
    options = [each for each in (*own, *shared.values()) if each not in all_of_them]

    @wraps(command)
    def chosen(**given: Any) -> None:
        choice = _choice(**{name: given.pop(name) for name in shared})
        command(choice, **given)

    parameters = [*all_of_them, *options]
    chosen.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    chosen.__annotations__ = {each.name: each.annotation for each in parameters}
    return chosen


def _arguments(parameters: Any) -> list[Parameter]:
    """Return what a command takes without a name."""
    return [each for each in parameters if each.kind is not Parameter.KEYWORD_ONLY]


def _choice(  # noqa: PLR0913 -- a command's options
    queue: Queue,
    *,
    dead: Dead = False,
    rejected: Rejected = False,
    parked: Parked = False,
    code: Codes = None,
    refused_at: Refusers = None,
    issuer: Issuers = None,
    subject: Subjects = None,
    actor: Actors = None,
    publisher: Publishers = None,
    error: Errors = None,
    message_id: MessageIds = None,
    letter: Ids = None,
    text: Texts = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    before: Before = None,
    after: After = None,
    settings: File = None,
    url: Url = None,
) -> Choice:
    now = SystemClock().now()
    earlier = [_ago("--older-than", older_than, now), instant("--before", before)]
    later = [_ago("--newer-than", newer_than, now), instant("--after", after)]
    with telling():
        wanted = Wanted(
            codes=code or (),
            queues=refused_at or (),
            issuers=issuer or (),
            subjects=subject or (),
            actors=actor or (),
            publishers=publisher or (),
            errors=error or (),
            message_ids=message_id or (),
            ids=letter or (),
            texts=text or (),
            before=min((each for each in earlier if each is not None), default=None),
            after=max((each for each in later if each is not None), default=None),
        )
    named = [(dead, dead_queue), (rejected, rejected_queue), (parked, parked_queue)]
    places = tuple(place(queue) for is_named, place in named if is_named)
    return Choice(queue, places, wanted, settings, url)


def _ago(option: str, text: str | None, now: float) -> float | None:
    if text is None:
        return None
    found = _AGE.fullmatch(text)
    if found is None:
        fail(f"{option} {text}: expected a number and its unit, such as 90s, 15m, 2h or 3d")
    return max(0.0, now - float(found["number"]) * _SECONDS[found["unit"]])


def instant(option: str, text: str | None) -> float | None:
    """Return an instant of the command line, seconds since the epoch; without a zone it is UTC."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text}: expected an instant in ISO 8601, such as 2026-01-31T12:00:00Z")
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())

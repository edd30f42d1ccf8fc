"""`busauth explain`: each stage that a message would pass now, with its evidence."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from yarl import URL

from busauth._amqp.judging.foreseen import Foreseen
from busauth._amqp.judging.received import Received
from busauth._amqp.planning.planned import STAYS, Planned
from busauth._amqp.resending.authorities import Authority
from busauth._amqp.resending.letters import Letter
from busauth._amqp.resending.look import existing, look
from busauth._amqp.resending.wanted import Wanted
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth.cli.again import Url, telling
from busauth.cli.looking.lettered import KeyFiles, TokenFile, authority_of, planned_of
from busauth.cli.looking.messages import read_message
from busauth.cli.looking.shown import exit_for, lines_of
from busauth.cli.looking.whose import BusOf, Of, Whose, said_of
from busauth.cli.options import AsJson, Exit, fail
from busauth.errors import evidence

EXITS = (
    "Exit codes: 0 it would be accepted; 1 not done, a sentence on standard error says why; "
    "2 the command line cannot be read; 3 it would end otherwise: refused, parked, discarded or "
    "sent back where it was; 4 that cannot be told now: something is out of reach, or is not known "
    "here."
)
"""The end of the command's help."""

Message = Annotated[
    Path | None,
    typer.Argument(
        metavar="[MESSAGE_FILE]",
        help="A message as JSON: headers, properties, body or body_base64, exchange, routing_key; "
        "- for standard input.",
    ),
]
_EXPECTED = "expected an id as `busauth letters list` tells it"

QueueOf = Annotated[str, typer.Option("--queue", help="The consumer's queue.")]
LetterOf = Annotated[
    str | None,
    typer.Option(
        "--letter",
        metavar="ID",
        help="A dead, rejected or parked letter instead: its id, or how that begins; or its "
        "message's.",
    ),
]


def explain(
    message: Message = None,
    *,
    queue: QueueOf,
    letter: LetterOf = None,
    bus: BusOf = None,
    settings: Of = None,
    url: Url = None,
    token_file: TokenFile = None,
    key: KeyFiles = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a consumer would decide about a message now, stage by stage.

    Nothing happens: no handler runs, nothing is published, settled, remembered or told. Of a
    letter: what would be decided if it were sent again, by the token that it kept or a fresh one.

    Example: busauth explain message.json --bus shop.orders:bus --queue orders.placed
    """
    if (message is None) == (letter is None):
        raise typer.BadParameter("expected a MESSAGE_FILE, or --letter ID")
    whose = Whose.of(bus, settings)
    said_of(whose)
    if message is not None:
        received = read_message(message, queue)
        with telling():
            foreseen = asyncio.run(_foreseen(whose, queue, received))
    else:
        authority = authority_of(token_file, key)
        with telling():
            found = asyncio.run(_lettered(whose, queue, url or whose.url, authority, letter or ""))
        foreseen = found.foreseen or _stays(found, as_json=as_json)
    show(foreseen, as_json=as_json)


async def _foreseen(whose: Whose, queue: str, message: Received) -> Foreseen:
    async with whose.informed():
        return await whose.foresee(queue, message)


async def _lettered(
    whose: Whose, queue: str, url: str | URL, authority: Authority | None, letter: str
) -> Planned:
    """Return what would become of one letter, or end with a sentence where it is not there."""
    sources = await existing(url, (dead_queue(queue), rejected_queue(queue), parked_queue(queue)))

    def is_meant(each: Letter) -> bool:
        return each.id.startswith(letter) or each.message_id == letter

    there = (await look(url, sources, chosen=is_meant)).letters if sources else ()
    whole = [each.id for each in there if letter in (each.id, each.message_id)]
    meant = whole or [each.id for each in there]
    if len(meant) > 1:
        fail(f"--letter {evidence(letter)}: {len(meant)} letters are meant: {_EXPECTED}")
    wanted = Wanted(ids=meant or [letter])
    planned = await planned_of(whose, queue, authority, wanted, url=url, sources=sources)
    return planned.letters[0] if planned.letters else _missed(letter, queue, sources)


def _missed(letter: str, queue: str, sources: Sequence[str]) -> NoReturn:
    where = ", ".join(sources) or "any queue"
    fail(f"--letter {evidence(letter)}: not in {where} beside {queue}: {_EXPECTED}")


def _stays(found: Planned, *, as_json: bool) -> NoReturn:
    """Tell of a letter that would not be sent at all."""
    if as_json:
        told = {"queue": found.letter.source, "end": found.outcome, "stages": []}
        typer.echo(json.dumps({**told, "code": found.code, "detail": found.detail}))
    else:
        typer.echo(f"It would stay in {found.letter.source}: {found.detail}")
    raise typer.Exit(Exit.STAYS if found.outcome == STAYS else Exit.OPEN)


def show(foreseen: Foreseen, *, as_json: bool) -> NoReturn:
    """Print it, and end with what it means."""
    if as_json:
        typer.echo(json.dumps(foreseen.document()))
    else:
        for line in lines_of(foreseen):
            typer.echo(line)
    raise typer.Exit(exit_for(foreseen))

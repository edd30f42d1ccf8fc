"""`busauth explain`: each stage that a message would pass now, with its evidence."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from busauth._amqp.judging.foreseen import Foreseen
from busauth._amqp.judging.received import Received
from busauth.cli.again import telling
from busauth.cli.looking.messages import read_message
from busauth.cli.looking.shown import exit_for, lines_of
from busauth.cli.looking.whose import BusOf, Of, Whose, said_of

EXITS = (
    "Exit codes: 0 it would be accepted; 1 not done, a sentence on standard error says why; "
    "2 the command line cannot be read; 3 it would end otherwise: refused, parked, discarded or "
    "sent back where it was; 4 that cannot be told now: something is out of reach, or is not known "
    "here."
)
"""The end of the command's help."""

Message = Annotated[
    Path,
    typer.Argument(
        metavar="MESSAGE_FILE",
        help="A message as JSON: headers, properties, body or body_base64, exchange, routing_key; "
        "- for standard input.",
    ),
]
QueueOf = Annotated[str, typer.Option("--queue", help="The consumer's queue.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, and nothing else.")]


def explain(
    message: Message,
    *,
    queue: QueueOf,
    bus: BusOf = None,
    settings: Of = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a consumer would decide about a message now, stage by stage.

    Nothing happens: no handler runs, nothing is published, settled, remembered or told.

    Example: busauth explain message.json --bus shop.orders:bus --queue orders.placed
    """
    whose = Whose.of(bus, settings)
    said_of(whose)
    received = read_message(message, queue)
    with telling():
        foreseen = asyncio.run(_foreseen(whose, queue, received))
    show(foreseen, as_json=as_json)


async def _foreseen(whose: Whose, queue: str, message: Received) -> Foreseen:
    async with whose.informed():
        return await whose.foresee(queue, message)


def show(foreseen: Foreseen, *, as_json: bool) -> None:
    """Print it, and end with what it means."""
    if as_json:
        typer.echo(json.dumps(foreseen.document()))
    else:
        for line in lines_of(foreseen):
            typer.echo(line)
    raise typer.Exit(exit_for(foreseen))

"""`busauth dev`: everything that a bus needs, on this machine, in one command."""

import asyncio
from typing import Annotated

import typer

from busauth._amqp.connecting.address import broker_url
from busauth._extras import MissingExtraError, needs
from busauth._tokens.fetch import is_loopback
from busauth.cli.dev.web.gate import PORT
from busauth.cli.options import fail
from busauth.errors import ConfigurationError

_AMQP_PORT = 7672

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODULE:BUS]...", help="Your buses, such as shop.orders:bus; or nothing."
    ),
]
Url = Annotated[
    str | None, typer.Option(help="A broker on this machine, instead of the embedded one.")
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Of page, issuer and edge; 0 for a free one.")
]
AmqpPort = Annotated[
    int, typer.Option(min=0, max=65535, help="Of the embedded broker; 0 for a free one.")
]


def dev(
    targets: Targets = None,
    *,
    url: Url = None,
    port: Port = PORT,
    amqp_port: AmqpPort = _AMQP_PORT,
) -> None:
    """Run buses with a broker, an issuer and a timeline of their own. For development only.

    Example: busauth dev shop.orders:bus shop.stock:bus

    Your buses run as they are, each in a process of its own, anew whenever a module in this folder
    changes, on an embedded broker and with tokens of an issuer that signs for whoever asks; without
    MODULE:BUS, an example does. All of it listens on loopback alone, and keeps nothing when it
    ends.
    """
    for target in targets or ():
        if ":" not in target:
            raise typer.BadParameter(
                f"got {target!r}: expected MODULE:BUS, such as shop.orders:bus"
            )
    _check(url)
    try:
        with needs("`busauth dev`", "standard", "rich", "watchfiles"):
            from busauth.cli.dev.stage import Plan, Stage  # noqa: PLC0415 -- an extra
    except MissingExtraError as error:
        fail(str(error))
    try:
        asyncio.run(Stage(Plan(tuple(targets or ()), url, port, amqp_port)).perform())
    except (ConnectionError, ConfigurationError) as error:
        fail(str(error))


def _check(url: str | None) -> None:
    """Real messages would be refused for their tokens, into a queue that drops the oldest."""
    if url is None:
        return
    try:
        host = broker_url(url).host or ""
    except ConfigurationError as error:
        fail(f"--url: {error}")
    if not is_loopback(host):
        fail(
            "--url: expected a broker on this machine, by localhost or a loopback address: "
            "messages that others wait for would be refused here, and the oldest of them dropped"
        )

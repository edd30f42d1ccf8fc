"""The `busauth` command."""

from typing import Annotated

import typer

from busauth.cli.again import redrive, release
from busauth.cli.broker import broker
from busauth.cli.dev.asking import token
from busauth.cli.dev.command import dev
from busauth.cli.doctor.command import doctor
from busauth.cli.options import EXITS, version
from busauth.cli.revoke import heartbeats, revoke
from busauth.cli.run.command import run

app = typer.Typer(
    name="busauth",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EXITS,
)
for command in (dev, token, run, doctor, broker, revoke, heartbeats, release, redrive):
    app.command(epilog=EXITS)(command)


@app.callback()
def busauth(
    *,
    shown: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print it, and exit.")
    ] = False,
) -> None:
    """Carry a caller's identity across a message bus."""


def main() -> None:
    """Run the command."""
    app()

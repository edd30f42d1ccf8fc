"""The `busauth` command."""

from typing import Annotated

import typer

from busauth.cli.again import release
from busauth.cli.audit import audit
from busauth.cli.broker import broker
from busauth.cli.console import console
from busauth.cli.dev.command import dev
from busauth.cli.doctor.command import doctor
from busauth.cli.keys import keys
from busauth.cli.letters.commands import letters
from busauth.cli.looking import explaining, tokens
from busauth.cli.options import EXITS, version
from busauth.cli.revoke import heartbeats, revoke
from busauth.cli.run.command import run
from busauth.cli.shadow.commands import shadow

app = typer.Typer(
    name="busauth",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EXITS,
)
for command in (dev, run, doctor, broker, revoke, heartbeats, release, console):
    app.command(epilog=EXITS)(command)
app.command(epilog=explaining.EXITS)(explaining.explain)
app.add_typer(tokens.app)
app.add_typer(letters)
app.add_typer(keys, name="keys")
app.add_typer(shadow)
app.add_typer(audit, name="audit")


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

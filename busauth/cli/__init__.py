"""The `busauth` command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from busauth._redaction import redact
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


@contextmanager
def _without_tokens() -> Iterator[None]:
    """Leave tokens out of what is said of a command line that cannot be read."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)  # what typer shows, whichever Click it has
        if isinstance(message, str):
            error.message = redact(message)  # type: ignore[attr-defined]
        raise


class _Words(TyperGroup):
    """All commands; a token in the place of a word or a path is not shown again."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands in front of a command."""
        with _without_tokens():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Read a command's words, and run it."""
        with _without_tokens():
            return super().invoke(ctx)


app = typer.Typer(
    name="busauth",
    cls=_Words,
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

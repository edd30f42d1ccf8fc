"""`busauth token`: what one says, whether it holds, and, for development, one of your own."""

from typing import Any

import typer
from typer.core import TyperGroup

from busauth.cli.dev.asking import token as mint
from busauth.cli.looking.inspecting import inspect
from busauth.cli.looking.verifying import verify
from busauth.cli.options import EXITS

MINT = "mint"


class WithSubjects(TyperGroup):
    """A group in which a word that is no command is a subject, whose token is printed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read arguments; without one of the commands in front, those of `mint`."""
        if args and args[0] not in (*self.commands, "--help"):
            args = [MINT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="token",
    cls=WithSubjects,
    help=(
        "Print a token of `busauth dev` for a subject, or look at one.\n\n"
        "busauth token alice is busauth token mint alice: a subject that is called mint, inspect "
        "or verify needs the word."
    ),
    no_args_is_help=True,
    epilog=EXITS,
)
app.command(MINT, epilog=EXITS)(mint)
app.command(epilog=EXITS)(inspect)
app.command(epilog=EXITS)(verify)

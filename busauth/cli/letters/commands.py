"""The commands of `busauth letters`."""

import typer

from busauth.cli.letters.history import show_history
from busauth.cli.letters.looking import group_letters, list_letters, show
from busauth.cli.options import EXITS

letters = typer.Typer(
    name="letters",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at dead letters, rejected and parked messages, and do something about them.",
    epilog=EXITS,
)
for name, command in {
    "list": list_letters,
    "groups": group_letters,
    "show": show,
    "history": show_history,
}.items():
    letters.command(name, epilog=EXITS)(command)

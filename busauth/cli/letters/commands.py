"""The commands of `busauth letters`."""

from collections.abc import Callable, Mapping

import typer

from busauth.cli.letters.history import show_history
from busauth.cli.letters.looking import group_letters, list_letters, show
from busauth.cli.letters.planning import plan_letters
from busauth.cli.letters.redriving import redrive
from busauth.cli.letters.removing import discard, erase, export
from busauth.cli.options import EXITS

letters = typer.Typer(
    name="letters",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at dead letters, rejected and parked messages, and do something about them.",
    epilog=EXITS,
)
_COMMANDS: Mapping[str, Callable[..., None]] = {
    "list": list_letters,
    "groups": group_letters,
    "show": show,
    "plan": plan_letters,
    "history": show_history,
    "redrive": redrive,
    "discard": discard,
    "export": export,
    "erase": erase,
}
for name, command in _COMMANDS.items():
    letters.command(name, epilog=EXITS)(command)

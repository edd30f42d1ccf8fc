"""What commands share: exit codes, options, and ending with a sentence instead of a traceback."""

from contextlib import suppress
from enum import IntEnum
from typing import Annotated, NoReturn

import typer

from busauth import __version__
from busauth._redaction import redact


class Exit(IntEnum):
    """What a command ends with, whichever it is."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    STAYS = 3
    OPEN = 4


EXITS = (
    "Exit codes: 0 done; 1 not done, a sentence on standard error says why and what to do; "
    "2 the command line cannot be read, nothing was tried; 3 done in part: something that was "
    "asked for was refused, or is not there."
)
"""The end of each command's help."""

AsJson = Annotated[bool, typer.Option("--json", help="For programs, on standard output.")]


def version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    """Print the version and exit."""
    if wanted:
        typer.echo(f"busauth {__version__}")
        raise typer.Exit


def warn(sentence: str) -> None:
    """Say what is wrong, and go on; a token in the place of a name or a path is not shown."""
    with suppress(OSError):  # a full disk, a broken pipe: no worker ends because of it
        typer.echo(f"busauth: {redact(sentence)}", err=True)


def fail(sentence: str) -> NoReturn:
    """End with what is wrong and what to do."""
    warn(sentence)
    raise typer.Exit(Exit.FAILED)

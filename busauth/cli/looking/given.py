"""A token that somebody hands in: never as an argument, which other users of the machine see."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from busauth.cli.options import fail

TokenIn = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="A file with the token; default: standard input."),
]
_SCHEME = re.compile(r"bearer\s+", re.IGNORECASE)
_MOST = 1024 * 1024


def given_token(path: Path | None) -> str:
    """Return a token, with or without ``Bearer`` in front.

    Raises:
        typer.Exit: there is none, which has been said without any of it.
    """
    is_typed = path is None or str(path) == "-"
    if is_typed and sys.stdin.isatty():
        typer.echo("The token, then Ctrl-D:", err=True)
    try:
        text = sys.stdin.read(_MOST + 1) if path is None or is_typed else _text(path)
    except ValueError:  # its bytes are not shown: they may be a token
        fail("that holds no token: expected text")
    if len(text) > _MOST:  # of a part of it, size and digest would be another token's
        fail(f"that is no token: expected {_MOST} characters at most")
    token = _SCHEME.sub("", text.strip(), count=1)
    return token or fail("no token: expected one, and nothing else")


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MOST + 1)
    except OSError as error:
        # a token that was given as an argument looks like a file that is not there: it is not shown
        fail(f"the file cannot be read: {error.strerror}; expected its name, never a token itself")

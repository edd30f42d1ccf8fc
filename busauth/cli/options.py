"""What commands share: reading options, and ending with a sentence instead of a traceback."""

from importlib.metadata import version as installed
from typing import NoReturn

import typer


def version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    """Print the version and exit."""
    if wanted:
        typer.echo(f"busauth {installed('busauth')}")
        raise typer.Exit


def fail(sentence: str) -> NoReturn:
    """End with what is wrong and what to do."""
    typer.echo(f"busauth: {sentence}", err=True)
    raise typer.Exit(1)

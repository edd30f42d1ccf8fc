"""`busauth audit`: whose a pseudonym is, and nobody's any more."""

import json
from pathlib import Path
from typing import Annotated

import typer

from busauth._sinks.pseudonyms import Pseudonyms
from busauth.cli.options import EXITS, AsJson, Exit, fail, warn
from busauth.errors import ConfigurationError

audit = typer.Typer(no_args_is_help=True, rich_markup_mode=None, epilog=EXITS)

Subject = Annotated[str, typer.Option(metavar="SUB", help="The subject, as tokens name it.")]
Issuer = Annotated[
    str | None,
    typer.Option(help="Whose subject; default: of each issuer that has one by that name."),
]
File = Annotated[
    Path, typer.Option(metavar="FILE", help="What the sinks' pseudonyms are kept in.", exists=True)
]


@audit.callback()
def of_people() -> None:
    """Find and forget people in what sinks have written under pseudonyms."""


@audit.command(epilog=EXITS)
def pseudonym(
    *, subject: Subject, pseudonyms: File, issuer: Issuer = None, as_json: AsJson = False
) -> None:
    """Print a subject's pseudonyms: lines with one of them are about this person.

    Example: busauth audit pseudonym --subject ann --pseudonyms /var/lib/shop/names
    """
    names = Pseudonyms(pseudonyms)
    try:
        found = {each: names.known(each, subject) for each in _issuers(names, issuer, subject)}
    except ConfigurationError as error:
        fail(str(error))
    known = [{"issuer": each, "pseudonym": name} for each, name in found.items() if name]
    if as_json:
        typer.echo(json.dumps({"pseudonyms": known}))
    for each in () if as_json else known:
        typer.echo(f"{each['pseudonym']} at {each['issuer']}")
    _end(found=bool(known))


@audit.command(epilog=EXITS)
def erase(
    *, subject: Subject, pseudonyms: File, issuer: Issuer = None, as_json: AsJson = False
) -> None:
    """Forget whose a pseudonym was, for good: what was written with it is nobody's any more.

    Example: busauth audit erase --subject ann --pseudonyms /var/lib/shop/names
    """
    names = Pseudonyms(pseudonyms)
    try:
        erased = [each for each in _issuers(names, issuer, subject) if names.erase(each, subject)]
    except ConfigurationError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"erased": erased}))
    for each in () if as_json else erased:
        typer.echo(f"Erased: nobody can say any more which lines are of this subject at {each}.")
    _end(found=bool(erased))


def _issuers(names: Pseudonyms, issuer: str | None, subject: str) -> tuple[str, ...]:
    return names.issuers(subject) if issuer is None else (issuer,)


def _end(*, found: bool) -> None:
    if not found:
        warn("there is no pseudonym of this subject: check its spelling, and the issuer's")
        raise typer.Exit(Exit.STAYS)

"""`busauth letters list`, `groups` and `show`: a look, which leaves everything as it is."""

import json
from dataclasses import asdict, replace
from typing import Annotated

import typer

from busauth._amqp.resending.letters import Letter
from busauth._amqp.resending.look import Found
from busauth._amqp.resending.wanted import Wanted, groups
from busauth.caller import acting_for
from busauth.cli.letters.choosing import Choice, choosing
from busauth.cli.letters.showing import (
    as_json,
    print_json,
    print_table,
    shown_body,
    shown_headers,
)
from busauth.cli.options import AsJson, Exit, fail, warn
from busauth.errors import evidence

_ID = 32  # digits of a whole id
_COLUMNS = ("letter", "refused at", "in", "code", "subject", "tries", "kept", "detail")
_GROUPED = ("letters", "callers", "code", "error", "oldest", "newest", "cause", "one of them")

Limit = Annotated[int, typer.Option(min=1, metavar="N", help="The oldest N of them.")]
Body = Annotated[
    int, typer.Option("--body", min=0, metavar="BYTES", help="So much of its body is shown.")
]
LetterId = Annotated[
    str, typer.Argument(metavar="LETTER", help="Its id, or how that begins; or its message id.")
]


@choosing
def list_letters(choice: Choice, *, limit: Limit = 1000, as_lines: AsJson = False) -> None:
    """List letters, oldest first, and leave them as they are.

    busauth letters list orders.placed --dead --code token.expired --older-than 1h

    With --json, a line for each. It ends with 3 where a value that was asked for has no letter.
    """
    found = choice.look(limit=limit)
    if as_lines:
        for letter in found.letters:
            print_json(as_json(letter))
    elif found.letters:
        print_table(_COLUMNS, [_row(letter, choice.queue) for letter in found.letters])
    _end(found)


def _row(letter: Letter, queue: str) -> tuple[object, ...]:
    place = letter.source.removeprefix(f"{queue}.")
    kept = "yes" if letter.kept else "no"
    told = (letter.detail or "").removeprefix(f"{letter.code}: ")
    at = (letter.at or "-")[:19]
    whose = acting_for(letter.actor, letter.subject)
    return letter.id, at, place, letter.code, whose, letter.attempts, kept, told


@choosing
def group_letters(choice: Choice, *, as_document: AsJson = False) -> None:
    """Group letters by their causes, the largest group first.

    busauth letters groups orders.placed

    A cause is the code, the type of a handler's error, and what the detail says without numbers
    and ids. With --json, one document.
    """
    found = choice.look()
    grouped = groups(found.letters)
    if as_document:
        print_json({"groups": [asdict(group) for group in grouped], "letters": found.chosen})
    elif grouped:
        rows = [
            (
                *(group.count, group.callers, group.code, group.error),
                *((group.oldest or "-")[:19], (group.newest or "-")[:19]),
                *(group.cause, group.sample),
            )
            for group in grouped
        ]
        print_table(_GROUPED, rows)
    _end(found)


@choosing
def show(
    choice: Choice, which: LetterId, *, body: Body = 2000, as_document: AsJson = False
) -> None:
    """Show one letter: what it says, its story, its headers and its body; never a token.

    busauth letters show orders.placed 3f0c2f5e

    With --json, one document.
    """
    found = _one(choice, which)
    if as_document:
        shown = {"headers": shown_headers(found), "body": shown_body(found, body)}
        print_json({**as_json(found), **shown})
        return
    for name, value in as_json(found).items():
        if name != "story" and value is not None:
            told = {True: "yes", False: "no"}[value] if isinstance(value, bool) else evidence(value)
            typer.echo(f"{name:<13}{told}")
    typer.echo("\nstory")
    for entry in found.story:
        how = f", sent again by {entry.by or '?'} ({entry.authority})" if entry.authority else ""
        typer.echo(f"  {evidence(f'{entry.at}  {entry.code}, attempt {entry.attempt}{how}')}")
    typer.echo("\nheaders")
    for name, text in shown_headers(found).items():
        typer.echo(f"  {name}: {text}")
    typer.echo("\nbody")
    for line in _lines(shown_body(found, body)):
        typer.echo(f"  {line}")


def _lines(shown: dict[str, object]) -> list[str]:
    """Return a body's lines, as no terminal is written to by a sender."""
    text = shown.get("text")
    if not isinstance(text, str):
        text = json.dumps(shown.get("json"), ensure_ascii=False)
    lines = text.splitlines()
    cut = [f"… {shown['cut']} more bytes: --body"] if "cut" in shown else []
    return [line if line.isprintable() else ascii(line) for line in lines] + cut


def _one(choice: Choice, wanted: str) -> Letter:
    """Return the letter that is meant, with its body, or end with a sentence."""
    found = choice.look()
    meant = [each for each in found.letters if wanted in (each.id, each.message_id)]
    meant = meant or [each for each in found.letters if each.id.startswith(wanted)]
    if len({each.id for each in meant}) != 1:
        what = f"{len(meant)} letters are meant" if meant else "no letter is meant"
        fail(f"{evidence(wanted)}: {what}: expected an id as `busauth letters list` tells it")
    if len(meant) > 1:
        warn(f"{len(meant)} letters have this id, as where a redrive was killed: one is shown")
    exactly = replace(choice, places=(meant[0].source,), wanted=Wanted(ids=[meant[0].id]))
    letters = exactly.look(bodies=True).letters
    return letters[0] if letters else fail(f"{meant[0].id}: it has just gone from there")


def _end(found: Found) -> None:
    """Say what is not shown, and end as the exit codes say."""
    if len(found.letters) < found.chosen:
        warn(f"{len(found.letters)} of {found.chosen} are shown, the oldest: --limit shows more")
    elif not found.total:
        warn("there are no letters")
    elif not found.chosen:
        warn(f"none of {found.total} letters is asked for")
    for each in found.missed:
        warn(each)
    if found.missed:
        raise typer.Exit(Exit.STAYS)

"""`busauth letters plan`: what would be decided about letters now, before anything moves."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from busauth._amqp.judging.foreseen import ForeseenEnd
from busauth._amqp.planning.planned import Plan, Planned
from busauth._amqp.resending.authorities import Authority, FreshToken, KeptToken
from busauth._amqp.resending.passes import run_id
from busauth._amqp.resending.records import Record, recording
from busauth.cli.again import TokenFile, read_token, telling
from busauth.cli.letters.choosing import Choice, choosing
from busauth.cli.letters.redriving import Authorities, By, KeyFiles, user
from busauth.cli.letters.showing import print_json, print_table
from busauth.cli.looking.lettered import keys_of, name_of, planned_of
from busauth.cli.looking.whose import BusOf, Whose, said_of
from busauth.cli.options import AsJson, Exit, warn
from busauth.clock import SystemClock

_COLUMNS = ("letters", "callers", "outcome", "cause", "one of them")
_FINE = frozenset({ForeseenEnd.ACCEPTED.value, ForeseenEnd.ACCEPTED_LATE.value})
_EACH = 1000
"""Letters between two lines of progress."""

_PART = 5000
"""Letters of a record: a stream's reader takes so much of one, and no more."""

NoRecord = Annotated[bool, typer.Option("--no-record", help="Write nothing to <queue>.history.")]


@choosing
def plan_letters(
    choice: Choice,
    *,
    bus: BusOf = None,
    authority: Authorities = By.KEPT,
    key: KeyFiles = None,
    token_file: TokenFile = None,
    no_record: NoRecord = False,
    as_document: AsJson = False,
) -> None:
    """Tell what the consumer would decide about letters now, if they were sent again.

    busauth letters plan orders.placed --bus shop.orders:bus --code token.expired

    Nothing moves. What an operator's word would bring is unknown until a desk has signed. It ends
    with 0 where all would be accepted, with 3 where some would not, and with 4 where that is not
    known of some. With --json, one document.
    """
    whose = Whose.of(bus, choice.settings)
    said_of(whose)
    choice = replace(choice, url=choice.url or str(whose.url))
    with telling():
        chosen = _authority(authority, key, token_file)
        planned = asyncio.run(_planned(whose, choice, chosen, is_recorded=not no_record))
    if as_document:
        print_json(_document(planned))
    else:
        _print(planned)
    for each in planned.missed:
        warn(each)
    raise typer.Exit(_exit(planned))


def _authority(
    authority: By, key_files: list[Path] | None, token_file: Path | None
) -> Authority | None:
    match authority:
        case By.KEPT:
            return KeptToken(keys_of(key_files))
        case By.FRESH:
            return FreshToken(read_token(token_file))
        case By.OPERATOR:
            return None


async def _planned(
    whose: Whose, choice: Choice, authority: Authority | None, *, is_recorded: bool
) -> Plan:
    sources, url = await choice.sources(), choice.broker()
    wanted, told = choice.wanted, _progress
    planned = await planned_of(
        whose, choice.queue, authority, wanted, url=url, sources=sources, told=told
    )
    if is_recorded:
        async with recording(url, choice.queue) as recorder:
            for record in records_of(planned, choice, sources, name_of(authority)):
                await recorder.write(record)
    return planned


def _progress(done: int, of: int) -> None:
    if done and done % _EACH == 0:
        typer.echo(f"{done} of {of} letters", err=True)


def records_of(
    planned: Plan, choice: Choice, sources: tuple[str, ...], authority: str
) -> Iterator[Record]:
    """Yield what is recorded of a plan: parts of its letters, and how many there are of each."""
    now, letters = SystemClock().now(), planned.letters
    run = run_id(now)
    parts = [letters[at : at + _PART] for at in range(0, len(letters), _PART)] or [()]
    for part in parts:
        yield Record(
            run=run,
            kind="planned",
            at=now,
            queue=choice.queue,
            source=" ".join(sources),
            by=user(),
            authority=authority,
            filters=choice.wanted.filters(),
            letters=tuple(each.letter.id for each in part),
            counts=planned.counts if part is parts[-1] else {},
            codes={
                each.letter.id: each.code or each.outcome
                for each in part
                if each.outcome not in _FINE
            },
        )


def _document(planned: Plan) -> dict[str, Any]:
    return {
        "counts": planned.counts,
        "groups": [
            {
                "outcome": each.outcome,
                "cause": each.cause,
                "letters": each.count,
                "callers": each.callers,
                "sample": each.sample,
            }
            for each in planned.groups()
        ],
        "letters": [_letter(each) for each in planned.letters],
        "unasked": list(planned.unasked),
        "total": planned.total,
    }


def _letter(planned: Planned) -> dict[str, Any]:
    letter, foreseen = planned.letter, planned.foreseen
    return {
        "letter": letter.id,
        "source": letter.source,
        "message_id": letter.message_id,
        "outcome": planned.outcome,
        "code": planned.code,
        "detail": planned.detail,
        "copied_to": None if foreseen is None else foreseen.copied_to,
        "policy": None if foreseen is None else foreseen.policy,
    }


def _print(planned: Plan) -> None:
    if not planned.letters:
        warn(f"none of {planned.total} letters is asked for")
        return
    rows = [
        (each.count, each.callers, each.outcome, each.cause, each.sample)
        for each in planned.groups()
    ]
    print_table(_COLUMNS, rows)
    counts = Counter(planned.counts)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    typer.echo(f"\n{len(planned.letters)} letters: {told}. Nothing was moved.")
    for each in planned.unasked:
        typer.echo(f"Not asked: {each}.")


def _exit(planned: Plan) -> Exit:
    outcomes = planned.counts.keys()
    if outcomes & {ForeseenEnd.UNKNOWN, ForeseenEnd.DEFERRED}:
        return Exit.OPEN
    return Exit.DONE if outcomes <= _FINE and not planned.missed else Exit.STAYS

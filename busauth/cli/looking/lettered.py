"""What would become of letters, for the commands that plan and explain."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from yarl import URL

from busauth._amqp.judging.judge import FRAME
from busauth._amqp.planning.planned import Plan
from busauth._amqp.planning.planner import Planner, plan
from busauth._amqp.resending.authorities import Authority, Errand, FreshToken, KeptToken
from busauth._amqp.resending.wanted import Wanted
from busauth.cli.again import telling
from busauth.cli.looking.given import given_token
from busauth.cli.looking.whose import Whose
from busauth.cli.options import fail
from busauth.settings import DecryptionSettings

TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="By this fresh token of their caller's."),
]
ByOperator = Annotated[
    bool, typer.Option("--operator", help="By an operator; no statement is asked for here.")
]
KeyFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", metavar="FILE", help="Opens what letters kept for a redrive's own key; repeatable."
    ),
]


def authority_of(
    token_file: Path | None, key_files: list[Path] | None, *, operator: bool = False
) -> Authority | None:
    """Return by whose authority letters would go; None for an operator's.

    Raises:
        typer.Exit: there are two, or a key or a token cannot be read, which has been said.
    """
    if operator and (token_file is not None or key_files):
        fail("--operator, and a token or a key: expected one authority")
    if operator:
        return None
    if token_file is not None:
        return FreshToken(given_token(token_file))
    if not key_files:
        return KeptToken()
    with telling():
        return KeptToken(DecryptionSettings(key_files=tuple(key_files)).decryption())


async def planned_of(
    whose: Whose,
    queue: str,
    authority: Authority | None,
    wanted: Wanted,
    *,
    url: str | URL,
    sources: Iterable[str],
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> Plan:
    """Return what would become of letters; see `plan`."""
    async with whose.informed():
        errand = Errand(guard=whose.guard, queue=queue)
        planner = await Planner.of_authority(errand, authority, whose.foresee, frame_max=FRAME)
        return await plan(url, sources, planner, wanted, told=told)


def name_of(authority: Authority | None) -> str:
    """Return what a letter's story calls an authority."""
    match authority:
        case KeptToken():
            return "kept"
        case FreshToken():
            return "fresh"
        case _:
            return "operator"

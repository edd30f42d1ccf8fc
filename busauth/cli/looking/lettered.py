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
from busauth._tokens.encryption.encryption import Decryption
from busauth.cli.again import telling
from busauth.cli.looking.given import given_token
from busauth.cli.looking.whose import Whose
from busauth.settings import DecryptionSettings

TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="By this fresh token of their caller's."),
]
KeyFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", metavar="FILE", help="Opens what letters kept for a redrive's own key; repeatable."
    ),
]


def authority_of(token_file: Path | None, key_files: list[Path] | None) -> Authority:
    """Return by whose authority a letter would go.

    Raises:
        typer.Exit: a key or a token cannot be read, which has been said.
    """
    if token_file is not None:
        return FreshToken(given_token(token_file))
    with telling():
        return KeptToken(keys_of(key_files))


def keys_of(files: list[Path] | None) -> Decryption | None:
    """Return what opens tokens kept for a redrive's own key; None without a file.

    Raises:
        ConfigurationError: a file holds no such key.
    """
    return DecryptionSettings(key_files=tuple(files)).decryption() if files else None


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

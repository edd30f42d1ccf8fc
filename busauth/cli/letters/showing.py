"""What letters look like: in a table, in lines, as JSON; never with a token."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import typer

from busauth._amqp import headers
from busauth._amqp.resending.letters import Letter
from busauth._redaction import redact
from busauth.errors import evidence

_CELL = 60
"""Characters of a cell; the JSON has all of it."""

_TOKENS = (
    *(headers.AUTHORIZATION, headers.TXN_TOKEN, "proxy-authorization", "cookie", "set-cookie"),
    *("x-token", "token", "jwt", "access_token", "id_token", "refresh_token", "x-api-key"),
)
"""Headers of which nothing is shown."""

_PLAIN = str | int | float | bool | None
_KEPT = "kept, opens only for its consumer"
_HIDDEN = "[not shown]"


def print_json(told: object) -> None:
    """Write one line, in ASCII: no terminal does anything with it."""
    typer.echo(json.dumps(told, separators=(",", ":")))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table: in colour where there is any, else in columns."""
    cells = [[_cell(each) for each in row] for row in rows]
    if sys.stdout.isatty() and find_spec("rich") is not None:
        _print_rich(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip())


def _print_rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 -- an extra's, where it is there
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = evidence(value) or ""
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def as_json(letter: Letter) -> dict[str, Any]:
    """Return what a letter says of itself, without its headers and its body."""
    told = {
        "id": letter.id,
        "source": letter.source,
        "code": letter.code,
        "detail": letter.detail,
        "error": letter.error,
        "queue": letter.queue,
        "at": letter.at,
        "issuer": letter.issuer,
        "subject": letter.subject,
        "transaction": letter.transaction,
        "publisher": letter.publisher,
        "message_id": letter.message_id,
        "token_sha256": letter.token_sha256,
        "kept": letter.kept,
        "sealed": letter.sealed,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
        "returned": letter.returned,
        "size": letter.size,
        "story": [asdict(entry) for entry in letter.story],
    }
    return {name: _without_tokens(value) for name, value in told.items()}


def _without_tokens(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _without_tokens(inner) for name, inner in value.items()}
    return [_without_tokens(each) for each in value] if isinstance(value, list | tuple) else value


def shown_headers(letter: Letter) -> dict[str, str]:
    """Return a letter's headers as text, without anything that may be a token.

    What the broker dead-lettered by itself has its token in there, under a name that only its
    consumer knows: of that, busauth's own and the broker's are shown.
    """
    return {
        str(evidence(name)): _shown(name, value, letter) for name, value in letter.headers.items()
    }


def _is_copy(letter: Letter) -> bool:
    """Return whether a guard has written it: no broker has moved that, and no token is in there.

    Who sent a message that the broker has dead-lettered may have written a refusal on it.
    """
    return letter.code is not None and "x-death" not in letter.headers


def _is_plain(name: str, letter: Letter) -> bool:
    """Return whether a header holds no token: under whatever name, what may be one is none."""
    plain = name.lower()
    is_own = plain.startswith((headers.PREFIX, "x-death", "x-first-death", "x-last-death"))
    return plain not in _TOKENS and (is_own or _is_copy(letter))


def _shown(name: str, value: object, letter: Letter) -> str:
    if name.lower() == headers.TOKEN:
        return _KEPT
    return str(evidence(value)) if _is_plain(name, letter) else _HIDDEN


def exported_headers(letter: Letter) -> dict[str, Any]:
    """Return a letter's headers whole, as JSON can have them, without anything that may be a token.

    The names of what is not told stay, so that somebody can be asked.
    """
    return {
        redact(name): _without_tokens(value if isinstance(value, _PLAIN) else str(value))
        if name.lower() != headers.TOKEN and _is_plain(name, letter)
        else _HIDDEN
        for name, value in letter.headers.items()
    }


def shown_body(letter: Letter, limit: int) -> dict[str, Any]:
    """Return so much of a body as is asked for: as JSON, as text, or what kind of thing it is."""
    cut = letter.body[:limit]
    if len(cut) < letter.size:
        return {"text": redact(cut.decode("utf-8", "replace")), "cut": letter.size - len(cut)}
    try:
        return {"json": _without_tokens(json.loads(cut))}
    except (ValueError, RecursionError):
        return {"text": redact(cut.decode("utf-8", "replace"))}

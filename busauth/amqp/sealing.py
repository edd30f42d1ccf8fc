"""What a seal covers of a message, alike when it is written and when it is read.

What busauth wrote on a copy is told from what its sender wrote; left out is what a broker acts on
or writes by itself, and what may be another one when the copy comes back: its token and its proof.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pamqp.commands import Basic

from busauth.amqp import headers as names
from busauth.late.published import BROKER_STAMP
from busauth.late.seal import HEADER, Copy

_OPEN = frozenset({HEADER, names.PROOF, names.TOKEN})
"""Headers of busauth's own that are not covered."""

_ROUTING = frozenset({"cc", "bcc"})


def copy_of(properties: Basic.Properties, body: bytes, token_header: str | None) -> Copy:
    """Return a message as its seal speaks of it.

    Args:
        properties: with its headers; a seal among them plays no part.
        body: as it travels.
        token_header: the header that carries tokens, None where none does.
    """
    headers = properties.headers or {}
    return Copy(dict(_own(headers)), dict(_sent(headers, token_header)), _said(properties), body)


def is_noted(name: str) -> bool:
    """Return whether a broker would act on a header, or whether it is busauth's own."""
    lowered = name.lower()
    return lowered in _ROUTING or lowered.startswith(("x-", names.PREFIX))


def _own(headers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in headers.items():
        if name.lower().startswith(names.PREFIX) and name not in _OPEN:
            yield name, value


def _sent(headers: Mapping[str, Any], token_header: str | None) -> Iterator[tuple[str, Any]]:
    """A stamping broker stamps the copy anew."""
    for name, value in headers.items():
        if not is_noted(name) and name not in (token_header, BROKER_STAMP):
            yield name, value


def _said(properties: Basic.Properties) -> tuple[str | int | None, ...]:
    """Empty is missing; timestamps play no part: a stamping broker writes them."""
    return (
        properties.message_id or None,
        properties.content_type or None,
        properties.content_encoding or None,
        properties.correlation_id or None,
        properties.reply_to or None,
        properties.message_type or None,
        properties.app_id or None,
        properties.priority or None,
    )

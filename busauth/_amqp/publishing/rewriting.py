"""What of a sender's can be written again, and what of it would hold a token.

pamqp reads more than it writes, and a copy must not fail over what its sender chose. What a broker
would act on, and what only busauth may write, is no sender's to hand on.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from pamqp.commands import Basic

from busauth._amqp import headers as names
from busauth._amqp.publishing.sealing import added_to, is_extension, is_noted
from busauth._redaction import TOKEN_SHAPE, may_hold_token, redact

Cleaning = Callable[[str | None], str | None]
"""Returns the text that is left of a property."""

PERSISTENT = 2
_TOKEN_HEADERS = frozenset({names.AUTHORIZATION, names.TXN_TOKEN, "proxy-authorization"})

_SECRETS = frozenset({"auth", "authorization", "authentication", "apikey", "jwt", "credentials"})
_SECRETS_END = ("token", "secret", "password", "cookie", "credential")
_WORDS = re.compile(r"[^a-z0-9]+")
"""What tells of an ``x-...`` header that it may hold a token, of whatever form."""

_SEARCHED = 16 * 1024
"""Characters that are searched for tokens, of those headers that may have one."""

_PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
"""Direct reply-to as its asker says it, and as no delivery has it over AMQP 0-9-1: published by
somebody who asks for no replies, it closes their channel."""

_EPOCH = 1970
_SHORT = 255
"""Bytes of a property that is text (AMQP 0-9-1, section 4.2.5.3)."""
_OCTET = 255

_TOO_DEEP = object()
"""In place of a header's value: pamqp writes none of this type, so that it is cut."""

UNWRITABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""What pamqp raises over values that it could read and cannot write."""


def rewritten_properties(
    raw: Basic.Properties, *, clean: Cleaning
) -> tuple[Basic.Properties, list[str]]:
    """Write a sender's properties again, persistent, and name those that cannot be."""
    kept = {name: again(getattr(raw, name), clean) for name, again in _REWRITTEN.items()}
    lost = [
        _NAMES.get(name, name)
        for name, value in kept.items()
        if value is None and getattr(raw, name) is not None
    ]
    kept["message_id"] = kept["message_id"] or uuid4().hex  # what vouches for a copy names it
    return Basic.Properties(delivery_mode=PERSISTENT, **kept), lost


def short(value: object, clean: Cleaning) -> str | None:
    """Return what can be a short string again, None for anything else."""
    if not isinstance(value, str):
        return None
    text = clean(value) or ""
    try:
        return text if len(text.encode()) <= _SHORT else None
    except UnicodeEncodeError:
        return None


def _reply_to(value: object, clean: Cleaning) -> str | None:
    return None if value == _PSEUDO_QUEUE else short(value, clean)


def _octet(value: object, _clean: Cleaning) -> int | None:
    return value if type(value) is int and 0 <= value <= _OCTET else None


def _instant(value: object, _clean: Cleaning) -> datetime | None:
    return value if isinstance(value, datetime) and value.year >= _EPOCH else None


_REWRITTEN: dict[str, Callable[[object, Cleaning], Any]] = {
    "content_type": short,
    "content_encoding": short,
    "priority": _octet,
    "correlation_id": short,
    "reply_to": _reply_to,
    "message_id": short,
    "timestamp": _instant,
    "message_type": short,
    "app_id": short,
}
"""How each property of a sender's that a copy carries is written again: as None where it cannot."""

_NAMES = {"message_type": "type"}
"""What the standard calls a property, where pamqp has another name."""


def without_token(text: str | None) -> str | None:
    """A short token fits a property, too."""
    return None if text is None else redact(text)


def as_it_is(text: str | None) -> str | None:
    """What keeps its token anyway keeps what its proof speaks of."""
    return text


def sender_headers(headers: Mapping[str, Any], token_header: str) -> Iterator[tuple[str, Any]]:
    """Leave out what brokers act on, what only busauth may write, and what no sender has sent."""
    added = added_to(headers, token_header)
    for name, value in headers.items():
        if not is_noted(name) and name not in added:
            yield name, rewritten(value)


def rewritten(value: Any) -> Any:
    """Return what pamqp can write, or at least tell that it cannot: nested too deep for anybody."""
    try:
        return _writable(value)
    except RecursionError:
        return _TOO_DEEP


def _writable(value: Any) -> Any:
    """Turn text that was no UTF-8, which pamqp reads as bytes, into what pamqp can write."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, dict):
        return {name: _writable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    return value


class TokenSearch:
    """Looks for tokens, which go wherever a sender puts them: known names, and what looks like one.

    What begins like one is searched up to some length in all, and counts as one beyond that.
    """

    def __init__(self, token_header: str) -> None:
        self._names = _TOKEN_HEADERS | {token_header}
        self._room = _SEARCHED

    def finds(self, name: str, value: object) -> bool:
        """Return whether a header has to be left out."""
        if name.lower() in self._names or name in self._names or self._in_text(name):
            return True
        if is_extension(name) and _tells_of_a_secret(name.lower()):
            return True
        return value is not None and any(self._in_text(text) for text in _texts(value))

    def _in_text(self, text: str) -> bool:
        if not may_hold_token(text):
            return False
        self._room -= len(text)
        return self._room < 0 or TOKEN_SHAPE.search(text) is not None


def _tells_of_a_secret(name: str) -> bool:
    words = _WORDS.split(name)
    return "api-key" in name or any(
        word in _SECRETS or word.endswith(_SECRETS_END) for word in words
    )


def _texts(value: object) -> Iterator[str]:
    """Return every text in a header's value, names and bytes included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | bytearray):
        yield value.decode("latin-1")
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)

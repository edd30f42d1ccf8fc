"""What of a sender's can be written again, and what of it would hold a token.

pamqp reads more than it writes, and a copy must not fail over what its sender chose. What a broker
would act on, and what only busauth may write, is no sender's to hand on.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import uuid4

from pamqp.commands import Basic

from busauth._amqp import headers as names
from busauth._amqp.publishing.sealing import added_to, is_extension, is_noted
from busauth._redaction import REDACTED, TOKEN_SHAPE, may_hold_token, redact
from busauth.errors import evidence

Cleaning = Callable[[str | None], str | None]
"""Returns the text that is left of a property."""

PERSISTENT = 2  # the delivery mode of what is kept on disk (AMQP 0-9-1)
_TOKEN_HEADERS = frozenset({names.AUTHORIZATION, names.TXN_TOKEN, "proxy-authorization"})

_SECRET_WORDS = frozenset({"auth", "cred", "creds", "jwt", "otp", "pass", "pwd", "session", "sid"})
_SECRETS = re.compile(
    r"token|secret|passw|passphrase|cookie|credential|bearer|authorization|authentication|oauth|jwt"
    r"|sessionid|^xkey|(?:api|access|account|auth|encryption|functions?|licen[cs]e|master|private"
    r"|session|shared|signing|subscription)key"
)
_SEPARATORS = re.compile(r"[^a-z0-9]+")
"""What tells of an ``x-...`` header that it may hold a token, of whatever form: one of its words,
or what they are without what separates them."""

_OWN, _OWN_LEAST = 8, 8
"""Tokens of a message's own that are looked for, and the characters that one has at least."""

_SEARCHED = 16 * 1024
"""Characters that are searched for tokens, of those headers that may have one."""

_PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
"""Direct reply-to as its asker says it, and as no delivery has it over AMQP 0-9-1: published by
somebody who asks for no replies, it closes their channel."""

_EPOCH = 1970  # the wire's timestamps count seconds from here, without a sign
_SHORT = 255
"""Bytes of a property that is text (AMQP 0-9-1, section 4.2.5.3)."""
_OCTET = 255  # what a priority is written as

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
    except UnicodeEncodeError:  # half of a surrogate pair is text in Python alone
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

    What begins like one is searched up to some length in all, and counts as one beyond that. An
    opaque token looks like nothing: the message's own are known by what they are.

    Args:
        headers: the message's, with its tokens.
        token_header: the header that carries tokens.
        token: its token as it was read, perhaps out of an encrypted one.
    """

    def __init__(
        self, headers: Mapping[str, Any], token_header: str, token: str | None = None
    ) -> None:
        self._names = _TOKEN_HEADERS | {token_header}
        self._room = _SEARCHED
        carried = (value for name, value in headers.items() if self._is_named(name))
        found = (word for text in (token, *carried) for word in _words_of_tokens(text))
        self._own = tuple(islice(dict.fromkeys(found), _OWN))

    def finds(self, name: str, value: object) -> bool:
        """Return whether a header has to be left out."""
        if self._is_named(name) or self._in_text(name):
            return True
        if is_extension(name):
            # short words are held against whole ones: within others they would be found anywhere
            words = _SEPARATORS.split(name.lower())
            if not _SECRET_WORDS.isdisjoint(words) or _SECRETS.search("".join(words)) is not None:
                return True
        return value is not None and any(self._in_text(text) for text in _texts(value))

    def hidden(self, text: str) -> str:
        """Return a text without the message's own tokens."""
        for own in self._own:
            text = text.replace(own, REDACTED)
        return text

    def without_token(self, text: str | None) -> str | None:
        """Return a property without any token: a short one fits, too."""
        return None if text is None else redact(self.hidden(text))

    def told(self, value: object) -> str | None:
        """Return a value as evidence, which has none of the message's own tokens, nor a part."""
        if self._own and any(self._is_own(text) for text in _texts(value)):
            return REDACTED
        return evidence(value)

    def _is_named(self, name: str) -> bool:
        return name.lower() in self._names or name in self._names

    def _is_own(self, text: str) -> bool:
        return any(own in text for own in self._own)

    def _in_text(self, text: str) -> bool:
        if self._is_own(text):
            return True
        if not may_hold_token(text):
            return False
        self._room -= len(text)  # for all of a message: many short texts cost what a long one does
        return self._room < 0 or TOKEN_SHAPE.search(text) is not None


def _words_of_tokens(value: object) -> Iterator[str]:
    """Yield what is a token in a header's value, without its scheme: as text, and as its bytes."""
    for text in _texts(value) if isinstance(value, str | bytes | bytearray) else ():
        words = text.split()
        for word in sorted(words[1:] or words, key=len)[-_OWN:]:
            if len(word) >= _OWN_LEAST:
                yield word
                yield word.encode(errors="replace").decode("latin-1")


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

"""What a seal covers of a message, alike when it is written and when it is read.

What busauth wrote on a copy is told from what its sender wrote; left out is what a broker acts on
or writes by itself, and what may be another one when the copy comes back: its token and its proof.

A sender's ``x-...`` headers are covered by a mark, `headers.KEPT`: a digest of those that were
kept, and their names. So brokers may write further ones, and who knows no mark still reads the
seal: it is a header of busauth's own. What a mark does not name was added on the way, by whomever,
and goes no further (`added_to`).
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from pamqp.commands import Basic

from busauth._amqp import headers as names
from busauth._messages.canonical import NotCanonical, spelled
from busauth._messages.provenance import BROKER_STAMP
from busauth._messages.seal import HEADER, Copy

_OPEN = frozenset({HEADER, names.PROOF, names.TOKEN, names.BY, names.STATEMENT})
"""Headers of busauth's own that are not covered."""

_EXTENSION: Final = "x-"

_BROKERS: Final = frozenset(
    {
        *("cc", "bcc", "x-cc", "x-bcc", "x-exchange", "x-routing-key", "x-routed-by"),
        *("x-death", "x-delay", "x-match", "x-expires", "x-priority", "x-received-from"),
        *("x-delivery-count", "x-acquired-count", "x-delivery-limit", "x-delivery-time"),
        *("x-message-ttl", "x-message-deduplication", "x-cache-ttl", "x-recent-history-no-store"),
        *("x-overflow", "x-credit", "x-single-active-consumer", "x-cancel-on-ha-failover"),
    }
)
"""What RabbitMQ and its plug-ins act on or write, on messages and in arguments: in lower case."""

_BROKERS_BEGIN: Final = (
    *("x-first-death-", "x-last-death-", "x-dead-letter-", "x-delayed-", "x-deduplication-"),
    *("x-opt-", "x-stream-", "x-shovelled", "x-queue-", "x-max-", "x-basic-", "x-consumer-"),
    *("x-quorum-", "x-rabbitmq-"),
)


def copy_of(properties: Basic.Properties, body: bytes, token_header: str | None) -> Copy:
    """Return a message as its seal speaks of it.

    Args:
        properties: with its headers; a seal among them plays no part.
        body: as it travels.
        token_header: the header that carries tokens, None where none does.
    """
    headers = properties.headers or {}
    own = {
        name: _marked_again(headers, value) if name == names.KEPT else value
        for name, value in headers.items()
        if name.lower().startswith(names.PREFIX) and name not in _OPEN
    }
    apart = (token_header, BROKER_STAMP)  # a stamping broker stamps the copy anew
    sent = {
        name: value
        for name, value in headers.items()
        if name not in apart and not is_noted(name) and not is_extension(name)
    }
    return Copy(own, sent, _said(properties), body)


def is_noted(name: str) -> bool:
    """Return whether a broker would act on a header, or whether it is busauth's own."""
    lowered = name.lower()
    return lowered in _BROKERS or lowered.startswith((*_BROKERS_BEGIN, names.PREFIX))


def is_extension(name: str) -> bool:
    """Return whether a header is a sender's own ``x-...``, which means nothing to a broker."""
    return name.lower().startswith(_EXTENSION) and not is_noted(name)


def mark_of(headers: Mapping[str, Any], token_header: str | None) -> list[Any]:
    """Return the mark of the extensions among headers, empty without any.

    Args:
        headers: of a copy, as it is sent.
        token_header: the header that carries tokens, which is not marked, None where none does.

    Raises:
        NotCanonical: one has a value that no header can hold.
    """
    kept = [name for name in headers if is_extension(name) and name != token_header]
    return _mark(headers, kept) if kept else []


def added_to(headers: Mapping[str, Any], token_header: str | None) -> frozenset[str]:
    """Return the extensions on a sealed copy that its seal does not speak of: none is its sender's.

    A copy without a mark was sealed without any.

    Args:
        headers: of a message; without a seal nothing was added, as nobody said what was there.
        token_header: as above.
    """
    if HEADER not in headers:
        return frozenset()
    mark = headers.get(names.KEPT)
    named = {name for name in mark if isinstance(name, str)} if isinstance(mark, list) else set()
    found = {name for name in headers if is_extension(name)}
    return frozenset(found - named - {token_header})


def _mark(headers: Mapping[str, Any], kept: Iterable[str]) -> list[str]:
    named = {name: headers[name] for name in kept if name in headers}
    return [sha256(spelled(named)).hexdigest(), *kept]


def _marked_again(headers: Mapping[str, Any], mark: object) -> object:
    """Return the mark of what is there now: another one than was sealed where that was changed."""
    if not isinstance(mark, list) or not all(isinstance(name, str) for name in mark):
        return mark
    try:
        return _mark(headers, mark[1:])
    except NotCanonical:  # such a value was never sealed: no seal holds over None
        return None


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

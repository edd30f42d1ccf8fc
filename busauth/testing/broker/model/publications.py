"""What a client publishes: checked as RabbitMQ checks it, before any queue sees it."""

from collections.abc import Iterator
from typing import Any, Final

from busauth.testing.broker.model import properties
from busauth.testing.broker.model.errors import PRECONDITION_FAILED, SYNTAX_ERROR, AMQPError
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.properties import Raw

_MAX_EXPIRY = 315_360_000_000
_COPIES: Final = ("CC", "BCC")


def inspected(message: Message, user: str) -> Raw:
    """Check a message's properties, note on it what queues must know, and return them.

    BCC is taken out of what is delivered.

    Raises:
        AMQPError: 406 for what RabbitMQ refuses, 502 for what is malformed.
    """
    try:
        raw = message.properties()
    except ValueError as error:
        raise AMQPError(SYNTAX_ERROR, f"malformed content header: {error}") from None
    if "user_id" in raw:
        _same_user(properties.text(raw, "user_id"), user)
    if "expiration" in raw:
        message.expiration = _expiration(properties.text(raw, "expiration") or "")
    if "priority" in raw:
        message.priority = raw["priority"][0]
    if "headers" in raw and b"CC" in raw["headers"]:
        raw = _with_copies(message, raw)
    return raw


def _same_user(claimed: str | None, user: str) -> None:
    if claimed != user:
        text = f"user_id property set to '{claimed}' but authenticated user was '{user}'"
        raise AMQPError(PRECONDITION_FAILED, text)


def _expiration(value: str) -> int:
    digits = value.removeprefix("-").removeprefix("+")
    number = digits[: len(digits) - len(digits.lstrip("0123456789"))]
    if not number:
        fault = "no_integer"
    elif number != digits:
        fault = f'{{leftover_string,"{digits[len(number) :]}"}}'
    elif value.startswith("-") and int(number):
        fault = f"{{value_negative,{int(value)}}}"
    elif int(number) > _MAX_EXPIRY:
        fault = f"{{value_too_big,{int(number)}}}"
    else:
        return int(number)
    raise AMQPError(PRECONDITION_FAILED, f"invalid expiration '{value}': {fault}")


def _with_copies(message: Message, raw: Raw) -> Raw:
    headers = properties.headers(raw)
    message.copies = tuple(_copies(headers))
    if "BCC" in headers:
        raw = properties.with_headers(raw, {"BCC": None})
        message.header = properties.join(raw, len(message.body))
    return raw


def _copies(headers: dict[str, Any]) -> Iterator[str]:
    for name in _COPIES:
        keys = headers.get(name, [])
        if not isinstance(keys, list):
            text = f'{{unacceptable_type_in_header,"{name}",longstr}}'
            raise AMQPError(PRECONDITION_FAILED, text)
        yield from (str(key) for key in keys)

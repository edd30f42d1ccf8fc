"""What a client publishes: checked as RabbitMQ checks it, before any queue sees it."""

import re
from collections.abc import Iterator
from typing import Final

from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.replies import REPLY_TO
from busauth.testing.broker.model.words import erlang, properties
from busauth.testing.broker.model.words.errors import PRECONDITION_FAILED, SYNTAX_ERROR, AMQPError
from busauth.testing.broker.model.words.properties import Raw

_MAX_EXPIRY = 315_360_000_000
_COPIES: Final = ("CC", "BCC")
_DIGITS: Final = re.compile(r"[-+]?[0-9]+")
_MODES: Final = (b"\x01", b"\x02")


def inspect(message: Message, user: str, reply_to: str) -> None:
    """Check a message's properties, and note on it what queues must know.

    A request's reply-to is replaced, and BCC is taken out of what is delivered.

    Args:
        message: as it came.
        user: who publishes.
        reply_to: where the channel's replies go; empty when it does not listen.

    Raises:
        AMQPError: 406 for what RabbitMQ refuses, 502 for what is malformed.
    """
    try:
        raw = message.properties()
    except ValueError as error:
        raise AMQPError(SYNTAX_ERROR, f"malformed content header: {error}") from None
    if "reply_to" in raw and properties.text(raw, "reply_to") == REPLY_TO:
        raw = _with_address(message, raw, reply_to)
    if "user_id" in raw:
        _same_user(properties.text(raw, "user_id"), user)
    if "expiration" in raw:
        message.expiration = _expiration(properties.text(raw, "expiration") or "")
    if "priority" in raw:
        message.priority = raw["priority"][0]
    if "headers" in raw and b"CC" in raw["headers"]:
        _take_copies(message, raw)
    if "delivery_mode" in raw and raw["delivery_mode"] not in _MODES:
        raise _invalid(f"{{delivery_mode_unknown,{raw['delivery_mode'][0]}}}")


def _with_address(message: Message, raw: Raw, reply_to: str) -> Raw:
    if not reply_to:
        raise AMQPError(PRECONDITION_FAILED, "fast reply consumer does not exist")
    raw = {**raw, "reply_to": properties.short_string(reply_to)}
    message.header = properties.join(raw, len(message.body))
    return raw


def _same_user(claimed: str | None, user: str) -> None:
    if claimed != user:
        text = f"user_id property set to '{claimed}' but authenticated user was '{user}'"
        raise AMQPError(PRECONDITION_FAILED, text)


def _expiration(value: str) -> int:
    found = _DIGITS.match(value)
    if found is None:
        fault = "no_integer"
    elif found.end() < len(value):
        fault = f"{{leftover_string,{erlang.string(erlang.octets(value[found.end() :]))}}}"
    elif (number := int(found.group())) < 0:
        fault = f"{{value_negative,{number}}}"
    elif number > _MAX_EXPIRY:
        fault = f"{{value_too_large,{number}}}"
    else:
        return number
    raise AMQPError(PRECONDITION_FAILED, f"invalid expiration '{value}': {fault}")


def _take_copies(message: Message, raw: Raw) -> None:
    fields = properties.split_table(raw["headers"])
    message.copies = tuple(_copies(fields))
    if "BCC" in fields:
        raw = properties.with_headers(raw, {"BCC": None})
        message.header = properties.join(raw, len(message.body))


def _copies(fields: Raw) -> Iterator[str]:
    """Return the texts in CC and BCC; what is none is passed over."""
    for name in _COPIES:
        if name in fields:
            if fields[name][:1] != b"A":
                kind = properties.type_of(fields[name])
                raise _invalid(f'{{unacceptable_type_in_header,"{name}",{kind}}}')
            keys = (each for each in properties.split_array(fields[name]) if each[:1] == b"S")
            yield from (key[5:].decode("utf-8", "surrogateescape") for key in keys)


def _invalid(reason: str) -> AMQPError:
    return AMQPError(PRECONDITION_FAILED, f"invalid message: {reason}")

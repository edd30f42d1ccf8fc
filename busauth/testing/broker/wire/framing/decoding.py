"""Method frames to pamqp's methods, read strictly: arguments that end early or late are refused."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pamqp import decode
from pamqp.base import Frame
from pamqp.commands import INDEX_MAPPING, Basic

from busauth.testing.broker.model.words.errors import FRAME_ERROR
from busauth.testing.broker.wire.faults import HangUp, Ids, fault, undecodable
from busauth.testing.broker.wire.framing import tables

_ARGUMENTS_AT = 4
_FIXED: Final = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}
_COUNTS: Final = {"shortstr": 1, "longstr": 4, "table": 4}
_BITS = 8

_KINDS: Final[Mapping[int, type[Frame]]] = INDEX_MAPPING
_ARGUMENTS: Final = {
    kind.index: tuple((name, kind.amqp_type(name)) for name in kind.__slots__)
    for kind in _KINDS.values()
}
"""Names and types."""

WITH_CONTENT: Final = frozenset({Basic.Publish, Basic.Return, Basic.Deliver, Basic.GetOk})


class Publication(NamedTuple):
    """basic.publish; names that are no UTF-8 are escaped as surrogates, as nobody checks them."""

    exchange: str
    routing_key: str
    mandatory: bool
    immediate: bool


def ids_of(payload: bytes) -> Ids:
    """Return the class and the method of a method frame's payload."""
    return int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")


def method_class(payload: bytes) -> type[Frame]:
    """Return what method this is.

    Raises:
        HangUp: there is no such method.
    """
    found = _KINDS.get(int.from_bytes(payload[:_ARGUMENTS_AT], "big"))
    if found is None:
        raise HangUp("unknown method")
    return found


def method(payload: bytes) -> Frame:
    """Decode a method frame's payload.

    Raises:
        Fault: 501, the arguments end early or late, or a name is not UTF-8.
        HangUp: there is no such method, or a table is malformed.
    """
    kind = method_class(payload)
    frame = kind.__new__(kind)  # the constructor judges names, which is the model's to do
    spans, at = [], _ARGUMENTS_AT
    bit = 0
    for name, type_ in _ARGUMENTS[kind.index]:
        if type_ == "bit":
            if bit % _BITS == 0:
                at += 1
            spans.append((name, type_, at - 1, bit % _BITS))
            bit += 1
        else:
            bit = 0
            start, at = _span(payload, at, type_)
            spans.append((name, type_, start, at))
    if at != len(payload):
        raise undecodable(payload[_ARGUMENTS_AT:], ids_of(payload))
    for name, type_, start, end in spans:
        setattr(frame, name, _value(payload, type_, start, end))
    return frame


def _span(payload: bytes, at: int, type_: str) -> tuple[int, int]:
    """Return where the argument's value starts (behind its size) and ends."""
    if type_ in _FIXED:
        return at, at + _FIXED[type_]
    start = at + _COUNTS[type_]
    return start, start + int.from_bytes(payload[at:start], "big")


def _value(payload: bytes, type_: str, start: int, end: int) -> Any:
    if type_ == "bit":
        return bool(payload[start] >> end & 1)
    data = payload[start:end]
    if type_ == "shortstr":
        return _name(data)
    if type_ == "table":
        return _table(data)
    if type_ in _FIXED:
        return int.from_bytes(data, "big")
    return decode.long_str(payload[start - _COUNTS[type_] : end])[1]


def _name(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise fault(FRAME_ERROR, "Malformed UTF-8 in shortstr") from None


def _table(data: bytes) -> dict[str, Any]:
    try:
        return tables.table(data)
    except ValueError as error:
        raise HangUp("malformed table") from error


@lru_cache(maxsize=4096)
def publication(payload: bytes) -> Publication:
    """Decode basic.publish; a client says the same thing again and again.

    Raises:
        Fault: 501, the arguments end early or late.
    """
    exchange_at, exchange_end = _span(payload, _ARGUMENTS_AT + 2, "shortstr")
    key_at, key_end = _span(payload, exchange_end, "shortstr")
    if key_end + 1 != len(payload):
        raise undecodable(payload[_ARGUMENTS_AT:], ids_of(payload))
    exchange, key = payload[exchange_at:exchange_end], payload[key_at:key_end]
    bits = payload[key_end]
    return Publication(
        exchange.decode("utf-8", "surrogateescape"),
        key.decode("utf-8", "surrogateescape"),
        bool(bits & 1),
        bool(bits & 2),
    )

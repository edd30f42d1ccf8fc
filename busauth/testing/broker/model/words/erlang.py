"""Values as RabbitMQ writes them into its texts, which are Erlang's, and as it compares them."""

import datetime
from typing import Any, Final

from busauth.testing.broker.model.words.judging import type_name

_ESCAPES: Final = {
    ord(char): f"\\{letter}".encode()
    for char, letter in zip('\x08\t\n\x0b\x0c\r\x1b"\\', 'btnvfre"\\', strict=True)
}


def binary(data: bytes) -> str:
    """Write a binary: in quotes if it can be printed in Latin-1."""
    return f"<<{_quoted(data) or _numbers(data)}>>"


def string(data: bytes) -> str:
    """Write a string, which is a list of octets: in quotes if it can be printed."""
    return _quoted(data) or f"[{_numbers(data)}]"


def term(value: Any) -> str:
    """Write an argument's value."""
    if isinstance(value, str | bytes | bytearray):
        return binary(octets(value))
    if isinstance(value, dict):
        items = (f"{{{term(name)},{_typed(each)}}}" for name, each in value.items())
        return f"[{','.join(items)}]"
    if isinstance(value, list):
        return f"[{','.join(f'{{{_typed(each)}}}' for each in value)}]"
    return _ATOMS[value] if isinstance(value, bool | None) else str(value)


def octets(value: str | bytes | bytearray) -> bytes:
    """Return a text as it was on the wire."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)


def comparable(value: Any) -> Any:
    """Return what two values are compared by: 1 is 1.0, but not true, and a text is its bytes.

    What is in tables and arrays is compared with its type.
    """
    if isinstance(value, str | bytes | bytearray):
        return octets(value)
    if isinstance(value, bool | None):
        return _ATOMS[value]
    if isinstance(value, dict):
        return tuple((name, exact(each)) for name, each in sorted(value.items()))
    if isinstance(value, list):
        return tuple(map(exact, value))
    return value.timestamp() if isinstance(value, datetime.datetime) else value


def exact(value: Any) -> tuple[str, Any]:
    """Return what is equal for values of the same type alone, and can be hashed."""
    return type_name(value), comparable(value)


def _typed(value: Any) -> str:
    return f"{type_name(value)},{term(value)}"


def _quoted(data: bytes) -> str:
    if not data or not all(map(_printable, data)):
        return ""
    quoted = b"".join(_ESCAPES.get(each, bytes([each])) for each in data)
    return f'"{quoted.decode("utf-8", "surrogateescape")}"'


def _numbers(data: bytes) -> str:
    return ",".join(map(str, data))


def _printable(octet: int) -> bool:
    return 0x20 <= octet <= 0x7E or octet >= 0xA0 or octet in _ESCAPES  # noqa: PLR2004 - Latin-1


_ATOMS: Final[dict[bool | None, str]] = {True: "true", False: "false", None: "undefined"}

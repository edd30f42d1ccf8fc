"""Whether a queue argument's value makes sense, and RabbitMQ's words for why it does not."""

import datetime
import decimal
from collections.abc import Callable, Mapping
from typing import Any, Final

Fault = str | None
Judge = Callable[[Any], Fault]

_MAX_EXPIRY = 315_360_000_000
"""Ten years, in milliseconds."""
_MAX_PRIORITY = 255
_WIDTHS: Final = (
    (-128, 127, "byte"),
    (-32768, 32767, "short"),
    (0, 65535, "unsignedshort"),
    (-(2**31), 2**31 - 1, "signedint"),
    (0, 2**32 - 1, "unsignedint"),
)
_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "bool"),
    (str, "longstr"),
    (bytes, "longstr"),
    (float, "float"),
    (dict, "table"),
    (list, "array"),
    (decimal.Decimal, "decimal"),
    (datetime.datetime, "timestamp"),
    (bytearray, "binary"),
)
_AGE_UNITS: Final = {"Y": 31536000, "M": 2592000, "D": 86400, "h": 3600, "m": 60, "s": 1}


class Sized(int):
    """An integer that remembers how wide it was on the wire.

    Attributes:
        width: RabbitMQ's word for it.
    """

    width: str

    @classmethod
    def of(cls, value: int, width: str) -> "Sized":
        """Return an integer of a width."""
        sized = cls(value)
        sized.width = width
        return sized


def type_name(value: Any) -> str:
    """Return RabbitMQ's word for a value's type.

    An integer's is that of the width that it came with, else the narrowest one.
    """
    if isinstance(value, Sized):
        return value.width
    if isinstance(value, int) and not isinstance(value, bool):
        return next((name for low, high, name in _WIDTHS if low <= value <= high), "long")
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "void")


def shown(value: Any) -> str:
    """Return a value as RabbitMQ writes it."""
    if value is None:
        return "undefined"
    return str(value).lower() if isinstance(value, bool) else str(value)


def seconds_of(age: str) -> float | None:
    """Read a stream's age, such as `7D`; None when it is malformed."""
    number, unit = age[:-1], age[-1:]
    if not (number.isascii() and number.isdigit()) or unit not in _AGE_UNITS:
        return None
    return int(number) * _AGE_UNITS[unit]


def _unacceptable(value: Any) -> str:
    return f"{{unacceptable_type,{type_name(value)}}}"


def _integer(value: Any) -> Fault:
    if isinstance(value, int) and not isinstance(value, bool):
        return None
    return f'"expected integer, got {type_name(value)}"'


def not_negative(value: Any) -> Fault:
    """An integer from 0 on."""
    return _integer(value) or (f"{{value_negative,{value}}}" if value < 0 else None)


def positive(value: Any) -> Fault:
    """An integer from 1 on."""
    return _integer(value) or ("{value_zero,0}" if value == 0 else not_negative(value))


def time_to_live(value: Any) -> Fault:
    """Milliseconds, up to ten years."""
    too_large = f"{{value_too_large,{value}}}"
    return not_negative(value) or (too_large if value > _MAX_EXPIRY else None)


def expiry(value: Any) -> Fault:
    """As `time_to_live`, but not 0."""
    return positive(value) or time_to_live(value)


def priority(value: Any) -> Fault:
    """An integer from 0 to 255."""
    too_high = f"{{max_value_exceeded,{value}}}"
    return not_negative(value) or (too_high if value > _MAX_PRIORITY else None)


def text(value: Any) -> Fault:
    """Any text."""
    return None if isinstance(value, str | bytes) else _unacceptable(value)


def boolean(value: Any) -> Fault:
    """True or false."""
    return None if isinstance(value, bool) else _unacceptable(value)


def one_of(*words: str, fault: str) -> Judge:
    """One of some words; `fault` may use the value as `{}`."""

    def judge(value: Any) -> Fault:
        return text(value) or (None if value in words else fault.format(value))

    return judge


def version(value: Any) -> Fault:
    """A classic queue's version."""
    unsupported = f"\"unsupported queue version '{value}'\""
    return _integer(value) or (None if value in {1, 2} else unsupported)


def age(value: Any) -> Fault:
    """A stream's age."""
    return text(value) or (None if seconds_of(value) else "invalid_max_age")


CHECKS: Final[Mapping[str, Judge]] = {
    "x-expires": expiry,
    "x-message-ttl": time_to_live,
    "x-dead-letter-exchange": text,
    "x-dead-letter-routing-key": text,
    "x-dead-letter-strategy": one_of("at-most-once", "at-least-once", fault="invalid_dlx_strategy"),
    "x-max-length": not_negative,
    "x-max-length-bytes": not_negative,
    "x-max-in-memory-length": not_negative,
    "x-max-in-memory-bytes": not_negative,
    "x-max-priority": priority,
    "x-overflow": one_of(
        "drop-head", "reject-publish", "reject-publish-dlx", fault="invalid_overflow"
    ),
    "x-queue-mode": one_of("default", "lazy", fault="\"unsupported queue mode '{}'\""),
    "x-queue-version": version,
    "x-single-active-consumer": boolean,
    "x-delivery-limit": _integer,
    "x-max-age": age,
    "x-stream-max-segment-size-bytes": not_negative,
    "x-quorum-initial-group-size": positive,
    "x-initial-cluster-size": positive,
    "x-queue-leader-locator": one_of(
        "client-local", "random", "least-leaders", "balanced", fault="invalid_queue_locator_arg"
    ),
}
"""Arguments of queue.declare, in the order in which their faults are told."""

TYPE: Final = one_of("classic", "quorum", "stream", fault="\"unsupported queue type '{}'\"")
"""The judge of x-queue-type, which is looked at first."""

_LETTERS = ("x-dead-letter-exchange", "x-dead-letter-routing-key")
_LENGTHS = ("x-max-length", "x-max-length-bytes")
ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "classic": (
        "x-expires",
        "x-message-ttl",
        *_LETTERS,
        *_LENGTHS,
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
    ),
    "quorum": (
        *_LETTERS,
        "x-dead-letter-strategy",
        "x-expires",
        *_LENGTHS,
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
    ),
    "stream": (
        "x-max-length-bytes",
        "x-queue-type",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-initial-cluster-size",
        "x-queue-leader-locator",
    ),
}
"""What each type of queue takes, in the order in which two declarations are compared."""

CONSUMER_CHECKS: Final[Mapping[str, Judge]] = {
    "x-priority": _integer,
    "x-cancel-on-ha-failover": boolean,
}
"""Arguments of basic.consume whose values are looked at."""

CONSUMER_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "classic": ("x-priority", "x-cancel-on-ha-failover", "x-credit"),
    "quorum": ("x-priority", "x-credit"),
    "stream": ("x-stream-offset", "x-credit"),
}
"""What a consumer of each type of queue may say."""

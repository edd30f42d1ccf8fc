"""Arguments of queues and exchanges: which are valid, and when two declarations mean the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from busauth.testing.broker.model.words.errors import PRECONDITION_FAILED, AMQPError
from busauth.testing.broker.model.words.judging import (
    ARGUMENTS,
    CHECKS,
    TYPE,
    Judge,
    seconds_of,
    shown,
    type_name,
)

Arguments = Mapping[str, Any]

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"
_DLX, _DLX_KEY = "x-dead-letter-exchange", "x-dead-letter-routing-key"
_SEGMENT = "x-stream-max-segment-size-bytes"
_MAX_SEGMENT = 3_000_000_000
_MISSING: Final = object()
_DELIVERY_LIMIT = 20
"""Of a quorum queue that names none; a negative one is no limit."""


def check(resource: str, arguments: Arguments) -> None:
    """Refuse what RabbitMQ refuses in queue.declare.

    Raises:
        AMQPError: 406, naming the argument and what is wrong with it.
    """
    if not isinstance(arguments.get(_DLX, ""), str):
        kind = type_name(arguments[_DLX])
        raise _failed(f"invalid type '{kind}' for arg '{_DLX}' in {resource}")
    _judge(resource, arguments, {"x-queue-type": TYPE})
    kind = arguments.get("x-queue-type", CLASSIC)
    check_known(resource, arguments, kind, CHECKS, ARGUMENTS)
    if arguments.get(_SEGMENT, 0) > _MAX_SEGMENT:
        raise _failed(f"Exceeded max value for {_SEGMENT}")


def check_known(
    resource: str,
    arguments: Arguments,
    kind: str,
    judges: Mapping[str, Judge],
    known: Mapping[str, tuple[str, ...]],
) -> None:
    """Refuse wrong values of what a type of queue knows, then what only the other types know.

    Raises:
        AMQPError: 406.
    """
    own = known[kind]
    _judge(resource, arguments, {name: judge for name, judge in judges.items() if name in own})
    foreign = {name for names in known.values() for name in names}.difference(own)
    for name in sorted(foreign & arguments.keys()):
        raise _failed(f"invalid arg '{name}' for {resource} of queue type rabbit_{kind}_queue")


def _judge(resource: str, arguments: Arguments, judges: Mapping[str, Judge]) -> None:
    for name, judge in judges.items():
        if name in arguments and (fault := judge(arguments[name])) is not None:
            raise invalid(resource, name, fault)
        if name == _DLX_KEY and name in arguments and _DLX not in arguments:
            raise invalid(resource, name, "routing_key_but_no_dlx_defined")


def invalid(resource: str, name: str, fault: str) -> AMQPError:
    """Return the refusal of an argument's value."""
    return _failed(f"invalid arg '{name}' for {resource}: {fault}")


def same_field(resource: str, name: str, current: object, received: object) -> None:
    """Refuse a redeclaration that differs in an attribute.

    Raises:
        AMQPError: 406, with what was received and what is current.
    """
    if current != received:
        raise _inequivalent(resource, name, f"'{shown(current)}'", f"'{shown(received)}'")


def same_arguments(
    resource: str, current: Arguments, received: Arguments, names: Iterable[str]
) -> None:
    """Refuse a redeclaration that differs in one of these arguments.

    Raises:
        AMQPError: 406.
    """
    for name in names:
        ours, theirs = current.get(name, _MISSING), received.get(name, _MISSING)
        if _class(ours) == _class(theirs) and ours == theirs:
            continue
        if ours is _MISSING or theirs is _MISSING:
            raise _inequivalent(resource, name, _typed(ours), _typed(theirs))
        raise _inequivalent(resource, name, _bare(ours), _bare(theirs))


def _class(value: Any) -> str:
    """The type of a value; integers of whatever width are the same."""
    integer = isinstance(value, int) and not isinstance(value, bool)
    return "integer" if integer else type_name(value)


def _typed(value: Any) -> str:
    if value is _MISSING:
        return "none"
    return f"the value '{shown(value)}' of type '{type_name(value)}'"


def _bare(value: Any) -> str:
    return "none" if value is None else f"'{shown(value)}'"


def _inequivalent(resource: str, name: str, current: str, received: str) -> AMQPError:
    return _failed(
        f"inequivalent arg '{name}' for {resource}: received {received} but current is {current}"
    )


def _failed(text: str) -> AMQPError:
    return AMQPError(PRECONDITION_FAILED, text)


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """A queue's arguments, read; times in milliseconds as they are on the wire, ages in seconds."""

    kind: str
    message_ttl: int | None
    expires: int | None
    max_length: int | None
    max_bytes: int | None
    overflow: str
    dead_letter_exchange: str | None
    dead_letter_routing_key: str | None
    at_least_once: bool
    max_priority: int | None
    single_active: bool
    delivery_limit: int | None
    max_age: float | None

    @classmethod
    def read(cls, arguments: Arguments) -> "QueueOptions":
        """Read arguments that were checked."""
        kind = arguments.get("x-queue-type", CLASSIC)
        overflow = arguments.get("x-overflow", "drop-head")
        if kind == QUORUM and overflow == "reject-publish-dlx":
            overflow = "drop-head"
        strategy = arguments.get("x-dead-letter-strategy")
        limit = arguments.get("x-delivery-limit", _DELIVERY_LIMIT)
        age = arguments.get("x-max-age")
        return cls(
            kind=kind,
            message_ttl=arguments.get("x-message-ttl"),
            expires=arguments.get("x-expires"),
            max_length=arguments.get("x-max-length"),
            max_bytes=arguments.get("x-max-length-bytes"),
            overflow=overflow,
            dead_letter_exchange=arguments.get(_DLX),
            dead_letter_routing_key=arguments.get(_DLX_KEY),
            at_least_once=strategy == "at-least-once" and overflow == "reject-publish",
            max_priority=arguments.get("x-max-priority"),
            single_active=arguments.get("x-single-active-consumer", False),
            delivery_limit=limit if limit >= 0 else None,
            max_age=None if age is None else seconds_of(age),
        )

"""Arguments of queues and exchanges: which are valid, and when two declarations mean the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from busauth.testing.broker.model.errors import PRECONDITION_FAILED, AMQPError
from busauth.testing.broker.model.judging import CHECKS, FOREIGN, seconds_of, shown, type_name

Arguments = Mapping[str, Any]

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"
_DLX, _DLX_KEY = "x-dead-letter-exchange", "x-dead-letter-routing-key"


def check(resource: str, arguments: Arguments) -> None:
    """Refuse what RabbitMQ refuses.

    Raises:
        AMQPError: 406, naming the argument and what is wrong with it.
    """
    if not isinstance(arguments.get(_DLX, ""), str):
        kind = type_name(arguments[_DLX])
        raise _failed(f"invalid type '{kind}' for arg '{_DLX}' in {resource}")
    for name, judge in CHECKS.items():
        if name in arguments and (fault := judge(arguments[name])) is not None:
            raise _failed(f"invalid arg '{name}' for {resource}: {fault}")
        if name == _DLX_KEY and name in arguments and _DLX not in arguments:
            raise _failed(f"invalid arg '{name}' for {resource}: routing_key_but_no_dlx_defined")
    kind = arguments.get("x-queue-type", CLASSIC)
    for name in sorted(FOREIGN[kind] & arguments.keys()):
        raise _failed(f"invalid arg '{name}' for {resource} of queue type rabbit_{kind}_queue")


def same_field(resource: str, name: str, current: object, received: object) -> None:
    """Refuse a redeclaration that differs in an attribute.

    Raises:
        AMQPError: 406, with what was received and what is current.
    """
    if current != received:
        raise _inequivalent(resource, name, f"'{shown(current)}'", f"'{shown(received)}'")


def same_arguments(
    resource: str, current: Arguments, received: Arguments, names: Iterable[str] = CHECKS
) -> None:
    """Refuse a redeclaration that differs in an argument that matters.

    Raises:
        AMQPError: 406.
    """
    for name in names:
        ours, theirs = _typed(current, name), _typed(received, name)
        if ours != theirs:
            raise _inequivalent(resource, name, ours, theirs)


def _typed(arguments: Arguments, name: str) -> str:
    if name not in arguments:
        return "none"
    return f"the value '{shown(arguments[name])}' of type '{type_name(arguments[name])}'"


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
            delivery_limit=arguments.get("x-delivery-limit"),
            max_age=None if age is None else seconds_of(age),
        )

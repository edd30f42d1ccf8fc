"""What may be declared, and when two declarations agree: exchange.declare and queue.declare."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

from busauth.testing.broker.model.exchanges.exchanges import ALTERNATE, KINDS, Exchange
from busauth.testing.broker.model.queues.queues import BaseQueue
from busauth.testing.broker.model.words.arguments import (
    CLASSIC,
    Arguments,
    QueueOptions,
    check,
    same_arguments,
    same_field,
)
from busauth.testing.broker.model.words.errors import (
    ACCESS_REFUSED,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    AMQPError,
)
from busauth.testing.broker.model.words.judging import ARGUMENTS, type_name

RESERVED: Final = "amq."
_TYPE: Final = "x-queue-type"


def generated_name(prefix: str) -> str:
    """Return a name that the server chose."""
    return prefix + urlsafe_b64encode(uuid4().bytes).rstrip(b"=").decode()


def without_breaks(name: str) -> str:
    """Return a name without carriage returns and line feeds."""
    return name.replace("\r", "").replace("\n", "")


def not_reserved(kind: str, name: str) -> None:
    """Refuse names that belong to the broker.

    Raises:
        AMQPError: 403.
    """
    if name.startswith(RESERVED):
        text = f"{kind} name '{name}' contains reserved prefix 'amq.*'"
        raise AMQPError(ACCESS_REFUSED, text)


def known_kind(kind: str) -> type[Exchange]:
    """Return the class of an exchange type.

    Raises:
        AMQPError: 406.
    """
    if kind not in KINDS:
        fault = "unknown" if kind else "invalid"
        raise AMQPError(PRECONDITION_FAILED, f"{fault} exchange type '{kind}'")
    return KINDS[kind]


def not_of_the_system(resource: str, name: str) -> None:
    """Refuse to delete what belongs to the broker.

    Raises:
        AMQPError: 403.
    """
    if name.startswith(RESERVED):
        raise AMQPError(ACCESS_REFUSED, f"deletion of system {resource} not allowed")


def checked_alternate(resource: str, wanted: Exchange) -> None:
    """Refuse an alternate exchange that is no name.

    Raises:
        AMQPError: 406.
    """
    name = wanted.arguments.get(ALTERNATE, "")
    if not isinstance(name, str):
        text = f"invalid type '{type_name(name)}' for arg '{ALTERNATE}' in {resource}"
        raise AMQPError(PRECONDITION_FAILED, text)


def same_exchange(resource: str, exchange: Exchange, wanted: Exchange) -> None:
    """Refuse a redeclaration that differs.

    Raises:
        AMQPError: 406, naming the first difference.
    """
    for name in ("type", "durable", "auto_delete", "internal"):
        attribute = "kind" if name == "type" else name
        same_field(resource, name, getattr(exchange, attribute), getattr(wanted, attribute))
    same_arguments(resource, exchange.arguments, wanted.arguments, (ALTERNATE,))


def queue_options(
    resource: str, arguments: Arguments, *, durable: bool, exclusive: bool, auto_delete: bool
) -> QueueOptions:
    """Check what a new queue is to be, and read its arguments.

    Raises:
        AMQPError: 406, naming what is wrong.
    """
    check(resource, arguments)
    options = QueueOptions.read(arguments)
    if options.kind != CLASSIC:
        wrong = {
            "auto-delete": auto_delete,
            "exclusive-owner": exclusive,
            "non-durable": not durable,
        }
        for name in (name for name, is_so in wrong.items() if is_so):
            raise AMQPError(PRECONDITION_FAILED, f"invalid property '{name}' for {resource}")
    return options


def same_queue(
    resource: str,
    queue: BaseQueue,
    arguments: Arguments,
    *,
    durable: bool,
    auto_delete: bool,
    owner: object | None,
) -> None:
    """Refuse a redeclaration that differs.

    Raises:
        AMQPError: 405 when one is exclusive and the other is not, else 406.
    """
    if queue.declared.owner is not owner:
        raise locked(resource)
    same_field(resource, "durable", queue.declared.durable, durable)
    same_field(resource, "auto_delete", queue.declared.auto_delete, auto_delete)
    names = _compared(queue, arguments)
    same_arguments(resource, queue.declared.arguments, arguments, names)


def _compared(queue: BaseQueue, arguments: Arguments) -> Iterator[str]:
    """What two declarations must agree in; a classic queue by default is one that says so."""
    types = [each.get(_TYPE, CLASSIC) for each in (queue.declared.arguments, arguments)]
    for name in ARGUMENTS[queue.options.kind]:
        if name != _TYPE or types != [CLASSIC, CLASSIC]:
            yield name


def locked(resource: str) -> AMQPError:
    """Return the refusal of an exclusive queue to everybody but its connection."""
    return AMQPError(
        RESOURCE_LOCKED,
        f"cannot obtain exclusive access to locked {resource}. It could be originally declared on "
        "another connection or the exclusive property value does not match that of the original "
        "declaration.",
    )

"""Dead letters: the copy that goes on, and the history in its headers, as RabbitMQ writes them."""

from typing import Final

from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.queues.queues import REJECTED, BaseQueue
from busauth.testing.broker.model.words import properties
from busauth.testing.broker.model.words.properties import Raw, long, long_string

_X_DEATH: Final = "x-death"
_MOST = 2**63 - 1


def letter(queue: BaseQueue, message: Message, reason: str, now: float) -> Message:
    """Return the message as it goes to the queue's dead-letter exchange.

    Its expiration is taken away and noted; with a dead-letter routing key of the queue's own, its
    CC goes too.
    """
    raw = message.properties()
    changes: dict[str, bytes | None] = {**_deaths(raw, queue.name, message, reason, now)}
    key = queue.options.dead_letter_routing_key
    if key is not None:
        changes["CC"] = None
    raw = properties.with_headers(raw, changes)
    raw.pop("expiration", None)
    header = properties.join(raw, len(message.body))
    exchange = queue.options.dead_letter_exchange or ""
    dead = Message(exchange, message.routing_key if key is None else key, header, message.body)
    dead.copies = message.copies if key is None else ()
    dead.priority = message.priority
    return dead


def _deaths(raw: Raw, queue: str, message: Message, reason: str, now: float) -> Raw:
    """The changed headers: this death in front of the earlier ones, and the first one apart."""
    fields = properties.split_table(raw["headers"]) if "headers" in raw else {}
    if _X_DEATH not in fields:
        event = _event(raw, queue, message, reason, now)
        return {
            _X_DEATH: properties.array([properties.table(event)]),
            "x-first-death-exchange": long_string(message.exchange),
            "x-first-death-queue": long_string(queue),
            "x-first-death-reason": long_string(reason),
        }
    this = (long_string(queue), long_string(reason))
    same: list[Raw] = []
    others: list[Raw] = []
    for each in _earlier(fields[_X_DEATH]):
        (same if _where(each) == this else others).append(each)
    event = _again(same[0]) if same else _event(raw, queue, message, reason, now)
    return {_X_DEATH: properties.array([properties.table(each) for each in (event, *others)])}


def _event(raw: Raw, queue: str, message: Message, reason: str, now: float) -> Raw:
    keys = [message.routing_key, *_visible_copies(raw)]
    event = {
        "count": long(1),
        "reason": long_string(reason),
        "queue": long_string(queue),
        "time": properties.timestamp(now),
        "exchange": long_string(message.exchange),
        "routing-keys": properties.array([long_string(key) for key in keys]),
    }
    expiration = properties.text(raw, "expiration")
    if expiration is not None:
        event["original-expiration"] = long_string(expiration)
    return event


def _visible_copies(raw: Raw) -> list[str]:
    copies = properties.headers(raw).get("CC")
    return [str(key) for key in copies] if isinstance(copies, list) else []


def _again(event: Raw) -> Raw:
    """The same death once more: only its count changes."""
    count = properties.decoded(event.get("count", long(0)))
    known = count if type(count) is int else 0  # whatever a client wrote there
    return {**event, "count": long(min(known, _MOST - 1) + 1)}


def _earlier(field: bytes) -> list[Raw]:
    """Return the deaths that a header tells of; what is no table is left out."""
    if field[:1] != b"A":
        return []
    events = (item for item in properties.split_array(field) if item[:1] == b"F")
    return [properties.split_table(item[1:]) for item in events]


def _where(event: Raw) -> tuple[bytes | None, bytes | None]:
    """Return an event's queue and reason as they are encoded, which tells them apart as well."""
    return event.get("queue"), event.get("reason")


def came_round(message: Message, queue: str, reason: str) -> bool:
    """Whether a dead letter would return to a queue by itself, with no rejection on the way."""
    if reason == REJECTED:
        return False
    fields = properties.split_table(message.properties()["headers"])
    ours, rejection = long_string(queue), long_string(REJECTED)
    since = []
    for event in _earlier(fields[_X_DEATH]):
        where, why = _where(event)
        since.append(why)
        if where == ours:
            return rejection not in since
    return False

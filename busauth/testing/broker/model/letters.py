"""Dead letters: the copy that goes on, and the history in its headers, as RabbitMQ writes them."""

from typing import Final

from busauth.testing.broker.model import properties
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.properties import Raw, long, long_string
from busauth.testing.broker.model.queues import REJECTED, BaseQueue

_X_DEATH: Final = "x-death"


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
    earlier = _earlier(fields[_X_DEATH])
    same = [each for each in earlier if _is(each, queue, reason)]
    others = [each for each in earlier if not _is(each, queue, reason)]
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
    return {**event, "count": long(properties.decoded(event.get("count", long(0))) + 1)}


def _earlier(field: bytes) -> list[Raw]:
    """Return the deaths that a header tells of; what is no table is left out."""
    if field[:1] != b"A":
        return []
    events = (item for item in properties.split_array(field) if item[:1] == b"F")
    return [properties.split_table(item[1:]) for item in events]


def _is(event: Raw, queue: str, reason: str) -> bool:
    return (_text(event, "queue"), _text(event, "reason")) == (queue, reason)


def _text(event: Raw, name: str) -> str | None:
    value = properties.decoded(event[name]) if name in event else None
    return value if isinstance(value, str) else None


def came_round(message: Message, queue: str, reason: str) -> bool:
    """Whether a dead letter would return to a queue by itself, with no rejection on the way."""
    if reason == REJECTED:
        return False
    fields = properties.split_table(message.properties()["headers"])
    since = []
    for event in _earlier(fields[_X_DEATH]):
        since.append(_text(event, "reason"))
        if _text(event, "queue") == queue:
            return REJECTED not in since
    return False

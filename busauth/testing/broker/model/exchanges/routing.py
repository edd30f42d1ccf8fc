"""From an exchange to the queues that get a copy."""

from collections.abc import Mapping
from typing import Any

from busauth.testing.broker.model.exchanges.exchanges import Exchange
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.queues.queues import BaseQueue


def routes(start: Exchange, message: Message, exchanges: Mapping[str, Exchange]) -> list[BaseQueue]:
    """Return each queue once, in the order of the bindings; exchanges are visited once each.

    An exchange that matches nothing passes the message to its alternate exchange.
    """
    keys = (message.routing_key, *message.copies)
    reached: dict[BaseQueue, None] = {}
    waiting, seen = [start], {start}
    while waiting:
        exchange = waiting.pop(0)
        found = _destinations(exchange, keys, message)
        if not found and (alternate := exchanges.get(exchange.alternate)) is not None:
            found = {alternate: None}
        for destination in found:
            if not isinstance(destination, Exchange):
                reached[destination] = None
            elif destination not in seen:
                seen.add(destination)
                waiting.append(destination)
    return list(reached)


def _destinations(exchange: Exchange, keys: tuple[str, ...], message: Message) -> dict[Any, None]:
    headers = message.headers() if exchange.needs_headers else None
    return dict.fromkeys(
        destination for key in keys for destination in exchange.matches(key, headers)
    )

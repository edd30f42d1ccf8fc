"""How often a consumer could not decide about a message, and gave it back.

Brokers count returns as well, each version in its own way: RabbitMQ until 4.2 counts a nack, later
ones do not, and classic queues count nothing. So a consumer counts by itself, in a small memory
that forgets the oldest; a broker's count is believed only where no sender can have written it.
"""

import hashlib
from collections import OrderedDict
from typing import TypeVar

from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import ACQUIRED_COUNT, DELIVERY_COUNT, count_in

T = TypeVar("T")

_CAPACITY = 10_000  # messages: some megabytes at most

_UNDECIDED = 3
"""Returns of a message that could not be decided, after which a copy of it waits behind others."""

_FAULTS = 3
"""Faults with one message, others handled in between, after which it is the message's own."""

_CANCELLED = 3
"""Times that a handler's task was cancelled from inside, after which that is a failed attempt."""

_OFTEN = 5
"""Returns that a broker has counted, for whatever reason; its delivery limit must stay far."""


class Returns:
    """The returns of one consumer's messages.

    Args:
        counted: whether the queue is known to be a quorum queue, whose broker counts as well.
        capacity: messages remembered at most.

    Attributes:
        handled: how many messages the program has handled.
        are_remembered: whether any return is; else there is nothing to forget.
    """

    def __init__(self, *, counted: bool, capacity: int = _CAPACITY) -> None:
        self._is_counted = counted
        self._capacity = capacity
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._faults: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._cut_off: OrderedDict[bytes, int] = OrderedDict()
        self.handled = 0
        self.are_remembered = False

    def add(self, delivery: Delivery) -> None:
        """Count a return of a message that could not be decided by itself."""
        key = _key(delivery)
        self._keep(self._counts, key, self._counts.pop(key, 0) + 1)

    def is_of_itself(self, delivery: Delivery) -> bool:
        """Count a fault; return whether it is this message's own by now, and not the program's.

        A program that is wrong handles nothing. So of a message's faults those count between which
        others were handled: a backlog is never blamed for what ails all of it.
        """
        key = _key(delivery)
        count, handled = self._faults.pop(key, (0, -1))  # the first one counts in any case
        count += handled != self.handled
        self._keep(self._faults, key, (count, self.handled))
        return count > _FAULTS

    def is_cut_off_often(self, delivery: Delivery) -> bool:
        """Count a handler that was cut off from inside; return whether that is a failure by now."""
        key = _key(delivery)
        count = self._cut_off.pop(key, 0) + 1
        self._keep(self._cut_off, key, count)
        return count > _CANCELLED

    def forget(self, delivery: Delivery, *, retried: bool = False) -> None:
        """Begin anew: the message was decided; one that is retried may be cut off once more."""
        key = _key(delivery)
        self._counts.pop(key, None)
        self._faults.pop(key, None)
        if not retried:
            self._cut_off.pop(key, None)
        self.are_remembered = bool(self._counts or self._faults or self._cut_off)

    def _keep(self, kept: "OrderedDict[bytes, T]", key: bytes, value: T) -> None:
        self.are_remembered = True
        kept[key] = value
        if len(kept) > self._capacity:
            kept.popitem(last=False)

    def are_often(self, delivery: Delivery) -> bool:
        """Return whether a message came back so often that others should not wait for it."""
        if self.are_too_many(delivery):
            return True
        if not self._is_counted or not delivery.redelivered:
            return False  # on a first delivery, and in a classic queue, the sender may have counted
        headers = delivery.headers
        return max(count_in(headers, DELIVERY_COUNT), count_in(headers, ACQUIRED_COUNT)) >= _OFTEN

    def are_too_many(self, delivery: Delivery) -> bool:
        """Return whether this consumer itself could not decide about a message so often."""
        return bool(self._counts) and self._counts.get(_key(delivery), 0) >= _UNDECIDED


def _key(delivery: Delivery) -> bytes:
    """Tell a message from others, also where senders give them no ids."""
    raw = delivery.raw
    said = repr((raw.message_id, raw.correlation_id, raw.timestamp)).encode(errors="replace")
    # of fixed length, the first digest leaves no doubt where the body begins
    return hashlib.sha256(hashlib.sha256(said).digest() + delivery.body).digest()

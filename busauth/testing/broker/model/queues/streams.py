"""A stream: a log that every consumer reads for itself, from where it likes."""

import datetime
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.queues.queues import (
    BaseQueue,
    Consumer,
    Declaration,
    Surroundings,
)
from busauth.testing.broker.model.queues.ready import Entry
from busauth.testing.broker.model.words import erlang, properties
from busauth.testing.broker.model.words.arguments import invalid
from busauth.testing.broker.model.words.errors import NOT_IMPLEMENTED, AMQPError
from busauth.testing.broker.model.words.judging import seconds_of, type_name

OFFSET: Final = "x-stream-offset"
_PERSISTENT, _TRANSIENT = b"\x02", b"\x01"
_written = attrgetter("written")


@dataclass(slots=True)
class _Logged:
    """A message in the log: its age counts from `at`, offsets by timestamp from `written`."""

    message: Message
    at: float
    written: float


class Stream(BaseQueue):
    """Appends; drops by age and size from the old end; acknowledgements only make room."""

    def __init__(self, declared: Declaration, around: Surroundings) -> None:
        super().__init__(declared, around)
        self._log: deque[_Logged] = deque()
        self._bytes = 0
        self._first = 0

    @property
    def _end(self) -> int:
        return self._first + len(self._log)

    def messages(self) -> int:
        """Return how many messages the log holds."""
        return len(self._log)

    def enqueue(self, message: Message) -> bool:
        """Append; a stream refuses nothing."""
        message = _converted(message)
        logged = _Logged(message, self.around.monotonic(), self.around.now())
        self._log.append(logged)
        self._bytes += len(message.body)
        self.around.hold(message.size)
        self.around.journal.tell(Step.QUEUED, message, self.declared.name)
        self._trim()
        self.around.mark(self)
        return True

    def deliver(self) -> None:
        """Hand to each consumer what it has room for."""
        self._trim()
        for consumer in self.consumers:
            while consumer.can_take() and max(consumer.offset, self._first) < self._end:
                self._hand(consumer)

    def _hand(self, consumer: Consumer) -> None:
        offset = max(consumer.offset, self._first)
        message = self._log[offset - self._first].message
        consumer.offset = offset + 1
        entry = Entry(message, offset, None)
        self.around.journal.tell(Step.DELIVERED, message, self.name, consumer.tag)
        extra: dict[str, bytes | None] = {OFFSET: properties.long(offset)}
        consumer.channel.hand(consumer, entry, redelivered=False, extra=extra)
        entry.let_go()  # the log may drop the message before the client acknowledges it

    def take(self) -> Entry | None:
        """Refuse: a stream is not read by basic.get."""
        raise self._not_supported("basic.get")

    def check_return(self) -> None:
        """Refuse: nothing goes back into a log."""
        raise self._not_supported("basic.nack and basic.reject")

    def _not_supported(self, what: str) -> AMQPError:
        return AMQPError(NOT_IMPLEMENTED, f"{what} not supported by stream queues {self.resource}")

    def ack(self, entry: Entry) -> None:
        """Nothing: the log keeps its messages."""

    def reject(self, entry: Entry) -> None:
        """Nothing, as `ack`."""

    def requeue(self, entries: Iterable[Entry], *, failed: bool) -> None:
        """Nothing: the consumer has read on."""

    def purge(self) -> int:
        """Refuse: a log ends by its age and size alone."""
        raise self._not_supported("queue.purge")

    def _empty(self) -> int:
        messages = len(self._log)
        while self._log:
            self._drop(Step.PURGED)
        return messages

    def fire(self) -> None:
        """Drop what is too old."""
        self._trim()

    def _trim(self) -> None:
        age, size = self.options.max_age, self.options.max_bytes
        oldest = -1.0 if age is None else self.around.monotonic() - age
        while self._log and age is not None and self._log[0].at <= oldest:
            self._drop(Step.DROPPED, "retention")
        while len(self._log) > 1 and size is not None and self._bytes > size:
            self._drop(Step.DROPPED, "retention")
        if self._log and age is not None:
            self.around.schedule(self, self._log[0].at + age)

    def _drop(self, step: Step, detail: str = "") -> None:
        message = self._log.popleft().message
        self._first += 1
        self._bytes -= len(message.body)
        self.around.hold(-message.size)
        self.around.journal.tell(step, message, self.name, detail)

    def start_of(self, wanted: Any) -> int:
        """Return the offset that a consumer's `x-stream-offset` means.

        Raises:
            AMQPError: 406 for what is no offset.
        """
        if wanted == "next":
            return self._end
        if wanted == "first":
            return self._first
        if wanted == "last":
            return max(self._first, self._end - 1)
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            return wanted
        return self._by_time(wanted)

    def _by_time(self, wanted: Any) -> int:
        """The first message not older than an instant, or than an interval such as `7D`."""
        if isinstance(wanted, datetime.datetime):
            instant = wanted.timestamp()
        elif isinstance(wanted, str) and (ago := seconds_of(wanted)):
            instant = self.around.now() - ago
        else:
            value = f"{{{type_name(wanted)},{erlang.term(wanted)}}}"
            raise invalid(self.resource, OFFSET, f"{{invalid_stream_offset_arg,{value}}}")
        return self._first + bisect_left(self._log, instant, key=_written)


def _converted(message: Message) -> Message:
    """The message as it comes back from AMQP 1.0, in which a stream keeps it."""
    raw = message.properties()
    raw.pop("cluster_id", None)
    raw["delivery_mode"] = _PERSISTENT if raw.get("delivery_mode") == _PERSISTENT else _TRANSIENT
    if "headers" in raw:
        fields = properties.split_table(raw["headers"]).items()
        kept = {name: properties.as_text(field) for name, field in fields if _keeps(name, field)}
        raw["headers"] = properties.join_table(kept)
    header = properties.join(raw, len(message.body))
    return Message(message.exchange, message.routing_key, header, message.body)


def _keeps(name: str, field: bytes) -> bool:
    """Arrays and tables are kept in annotations alone, which have their names from AMQP 0-9-1."""
    return field[:1] not in (b"A", b"F") or name.startswith("x-") or name == "CC"

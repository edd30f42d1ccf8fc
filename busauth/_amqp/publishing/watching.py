"""Who watches what is published and handled: nobody, unless telemetry does.

The core knows no library for traces or metrics. A `Watcher` sees each message before it is
published or judged, may have a few headers go along with it, sets a context for what happens
meanwhile, and hears every event. Nothing that it says decides anything, and what it raises goes no
further.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from aiormq.abc import AbstractConnection

from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import SEAL
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import check_frame, frame_max
from busauth._retold import retold
from busauth.audit import ENDING, LOGGER, Event, Lines
from busauth.errors import PublishError

_UNWATCHED = nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A message on its way, as a watcher sees it; a sender chose most of what it says.

    Attributes:
        exchange, routing_key: where it was published to, or is about to be.
        queue: where it is consumed; None while it is published.
        headers: as received, or as prepared.
        message_id, correlation_id: None where it has none.
        size: bytes of its body.
        tag: its delivery tag; None while it is published.
        host, port: the broker, as this service's URL names it.
        is_called: whether it came through a callback, which others may have wrapped.
    """

    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    message_id: str | None
    correlation_id: str | None
    size: int
    queue: str | None = None
    tag: int | None = None
    host: str | None = None
    port: int | None = None
    is_called: bool = False


class Publishing(Protocol):
    """What a watcher makes of one publication."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return what goes along, where there is room and its sender has said nothing else."""
        ...

    def end(self, error: BaseException | None) -> None:
        """Take note that it is over: confirmed, or failed with an error."""
        ...


class Handling(Protocol):
    """What a watcher makes of one delivery."""

    @property
    def mark(self) -> str | None:
        """Return by which copies of it are told apart from others, in the form of a traceparent."""
        ...

    def enter(self) -> None:
        """Set the context for its handler, in the task that runs it."""
        ...

    def leave(self) -> None:
        """Take that context back."""
        ...

    def told(self, event: Event) -> None:
        """Hear what becomes of it."""
        ...

    def end(self) -> None:
        """Take note that nobody here holds it any more."""
        ...


class Watcher(Protocol):
    """Watches one guard's messages."""

    def publishing(self, passage: Passage) -> Publishing:
        """Begin to watch a publication."""
        ...

    def handling(self, passage: Passage) -> Handling:
        """Begin to watch a delivery, before it is judged."""
        ...

    def told(self, event: Event) -> None:
        """Hear what happened, as an auditor does."""
        ...


class Held(Protocol):
    """A delivery that is watched."""

    delivery: Delivery
    queue: str
    watch: Handling | None


class Watching:
    """Whoever watches a guard's messages; what goes wrong with that is logged, and no more.

    Args:
        lines: how many lines the log gets.

    Attributes:
        watcher: None where nobody watches, which costs next to nothing.
    """

    def __init__(self, lines: Lines) -> None:
        self.watcher: Watcher | None = None
        self._lines = lines

    def publishing(
        self, connection: AbstractConnection, outgoing: Outgoing, exchange: str, routing_key: str
    ) -> AbstractContextManager[None]:
        """Watch a publication while inside."""
        if self.watcher is None:
            return _UNWATCHED
        return self._published(self.watcher, connection, outgoing, (exchange, routing_key))

    @contextmanager
    def _published(
        self,
        watcher: Watcher,
        connection: AbstractConnection,
        outgoing: Outgoing,
        route: tuple[str, str],
    ) -> Iterator[None]:
        watch = None
        with self._safely():
            watch = watcher.publishing(_leaving(connection, outgoing, route))
            add_to(outgoing, watch.headers, frame_max(connection))
        try:
            yield
        except BaseException as error:
            self._end(watch, error)
            raise
        self._end(watch, None)

    def _end(self, watch: Publishing | None, error: BaseException | None) -> None:
        with self._safely():
            if watch is not None:
                watch.end(error)

    @contextmanager
    def handling(self, held: Held, watcher: Watcher) -> Iterator[None]:
        """Watch a delivery, and what runs while inside; it is watched until it is `let_go`."""
        watch = None
        with self._safely():
            watch = held.watch = watcher.handling(_arrived(held.delivery, held.queue))
            held.delivery.mark = watch.mark
            watch.enter()
        try:
            yield
        finally:
            with self._safely():
                if watch is not None:  # which the delivery may have been `let_go` of by now
                    watch.leave()

    def let_go(self, held: Held) -> None:
        """End the watch over a delivery, if there is one."""
        watch, held.watch = held.watch, None
        with self._safely():
            if watch is not None:
                watch.end()

    @contextmanager
    def _safely(self) -> Iterator[None]:
        try:
            yield
        except ENDING:
            raise
        except BaseException as error:  # whatever a user's exporter raises, no message is worse
            if self._lines.admit("watching failed", type(error).__name__):
                LOGGER.error("watching a message failed", exc_info=retold(error))


def _leaving(connection: AbstractConnection, outgoing: Outgoing, route: tuple[str, str]) -> Passage:
    said = outgoing.properties
    said.message_id = said.message_id or uuid4().hex
    return Passage(
        exchange=route[0],
        routing_key=route[1],
        headers=said.headers or {},
        message_id=said.message_id,
        correlation_id=said.correlation_id,
        size=len(outgoing.body),
        host=connection.url.host,
        port=connection.url.port,
    )


def _arrived(delivery: Delivery, queue: str) -> Passage:
    url = None if delivery.channel is None else delivery.channel.connection.url
    return Passage(
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        queue=queue,
        headers=delivery.headers,
        message_id=delivery.message_id,
        correlation_id=delivery.raw.correlation_id,
        size=len(delivery.body),
        tag=delivery.tag,
        host=None if url is None else url.host,
        port=None if url is None else url.port,
        is_called=delivery.is_called,
    )


def add_to(outgoing: Outgoing, more: Mapping[str, str], limit: int) -> None:
    """Have headers go along, where they fit: for their sake no message stays behind.

    Under a seal nothing can be added.
    """
    before = outgoing.properties.headers or {}
    if not more or SEAL in before:
        return
    outgoing.properties.headers = {**more, **before}
    try:
        check_frame(outgoing, limit)
    except PublishError:
        outgoing.properties.headers = before

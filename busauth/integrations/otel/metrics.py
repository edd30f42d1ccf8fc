"""Metrics of decisions, handlers, publications, keys and feeds; docs/observability.md has each one.

Nothing that a sender chose is a label: queues are the service's own, codes and errors those of the
program, and where even they are many, the rest of them are one.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.core import GuardCore
from busauth._amqp.feed.feed import RevocationFeed
from busauth.audit import Event, EventKind
from busauth.integrations.otel import names
from busauth.integrations.otel.names import Metric

AnyConsumer = Consumer[..., Any]

_BRIEF: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds: what the conventions advise for operations."""

_LONG: Final = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""Seconds: what tokens and queues live by."""

_MOST: Final = 200
"""Codes that are told apart, and as many types of errors: handlers may make up either."""

_OTHER: Final = "_OTHER"  # as the conventions call a type of error that has no name of its own
_SETTLED_BY: Final = {names.SYSTEM: names.RABBITMQ, names.OPERATION: names.PROCESS}
_SENT_BY: Final = {names.SYSTEM: names.RABBITMQ, names.OPERATION: names.PUBLISH}


class Metrics:
    """Measures what the guards that are watched do.

    Args:
        meter: makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._cores: list[GuardCore] = []
        self._codes: set[str] = set()
        self._errors: set[str] = set()
        decisions = names.DECISIONS
        self._decisions = meter.create_counter(
            decisions.name, unit=decisions.unit, description=decisions.description
        )

        def histogram(metric: Metric, buckets: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(
                metric.name,
                unit=metric.unit,
                description=metric.description,
                explicit_bucket_boundaries_advisory=buckets,
            )

        self._age = histogram(names.TOKEN_AGE, _LONG)
        self._lateness = histogram(names.TOKEN_LATENESS, _LONG)
        self._waited = histogram(names.QUEUE_TIME, _LONG)
        self._handled = histogram(names.PROCESS_DURATION, _BRIEF)
        self._published = histogram(names.OPERATION_DURATION, _BRIEF)
        for metric, observe in (
            (names.IN_FLIGHT, self._in_flight),
            (names.PAUSED, self._paused),
            (names.KEYS_AGE, self._keys_age),
            (names.FEED_LAG, self._feed_lag),
        ):
            meter.create_observable_gauge(
                metric.name, [observe], unit=metric.unit, description=metric.description
            )

    def watch(self, core: GuardCore) -> None:
        """Measure what is held, paused and known behind a guard as well."""
        self._cores.append(core)

    def told(self, event: Event) -> None:
        """Count an event, and measure what it says."""
        if event.kind is EventKind.PUBLISHED:  # its queue is a routing key, which has any value
            return
        queue = {names.DESTINATION: event.queue}
        labels = {**queue, names.OUTCOME: event.kind.value}
        if event.code is not None:
            labels[names.CODE] = _bounded(event.code, self._codes)
        self._decisions.add(1, labels)
        if event.duration is not None and event.kind.is_outcome:
            failed = {names.ERROR: _bounded(event.error, self._errors)} if event.error else {}
            self._handled.record(event.duration, {**_SETTLED_BY, **queue, **failed})
        elif event.duration is None and event.decided_at is not None:
            self._judged(event, queue)

    def _judged(self, event: Event, labels: dict[str, str]) -> None:
        """Measure each attempt once: as its handler is about to run, or as it does not."""
        is_early = event.kind in (EventKind.ACCEPTED, EventKind.ACCEPTED_LATE)
        if not is_early and not event.kind.is_outcome:
            return
        for histogram, seconds in (
            (self._age, event.age),
            (self._lateness, event.late),
            (self._waited, event.waited),
        ):
            if seconds is not None:  # clocks differ: what is ahead of ours is new
                histogram.record(max(0.0, seconds), labels)

    def published(self, seconds: float, error: str | None) -> None:
        """Measure a publication."""
        failed = {names.ERROR: _bounded(error, self._errors)} if error else {}
        self._published.record(seconds, {**_SENT_BY, **failed})

    def _in_flight(self, _: CallbackOptions) -> Iterator[Observation]:
        return self._by_queue(lambda consumer: consumer.held)

    def _paused(self, _: CallbackOptions) -> Iterator[Observation]:
        return self._by_queue(lambda consumer: int(consumer.paused))

    def _by_queue(self, measured: Callable[[AnyConsumer], int]) -> Iterator[Observation]:
        """Observe consumers, those of one queue as one; a scrape comes in a thread of its own."""
        found = Counter[str]()
        for consumer in [each for core in self._cores for each in tuple(core.consumers)]:
            found[consumer.queue] += measured(consumer)
        for queue, value in found.items():
            yield Observation(value, {names.DESTINATION: queue})

    def _keys_age(self, _: CallbackOptions) -> Iterator[Observation]:
        """Observe the oldest of an issuer's keys: several guards may have fetched them."""
        oldest: dict[str, float] = {}
        for issuer, age in [each for core in self._cores for each in core.keys_ages().items()]:
            if age is not None:
                oldest[issuer] = max(age, oldest.get(issuer, 0.0))
        for issuer, age in oldest.items():
            yield Observation(age, {names.ISSUER: issuer})

    def _feed_lag(self, _: CallbackOptions) -> Iterator[Observation]:
        """Observe the feed that is furthest behind."""
        feeds = [each.revocations for each in self._cores]
        lags = [feed.lag for feed in feeds if isinstance(feed, RevocationFeed)]
        known = [lag for lag in lags if lag is not None]
        if known:
            yield Observation(max(known))


def _bounded(value: str, known: set[str]) -> str:
    if value not in known and len(known) >= _MOST:
        return _OTHER
    known.add(value)
    return value

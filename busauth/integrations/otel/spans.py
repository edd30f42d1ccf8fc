"""Spans of publications and of deliveries, by the messaging conventions.

What a sender chose is shown as evidence is: short, and without tokens. Whose a message is, a span
says only where that was asked for: identities in telemetry are personal data.
"""

from collections.abc import Callable, Mapping
from contextvars import Token
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from busauth._amqp.publishing.watching import Passage
from busauth.audit import Event, EventKind
from busauth.errors import evidence
from busauth.integrations.otel import names
from busauth.integrations.otel.propagation import (
    context_of,
    first_attempt,
    mark_of,
    parent_of,
    written,
)

Measured = Callable[[float, str | None], None]
"""Takes the seconds of a publication, and the type of the error with which it failed."""

_GIVEN_BACK = "given-back"
"""The outcome of a delivery of which nothing else became here: the broker has it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Begins spans.

    Attributes:
        tracer: makes them.
        propagator: reads and writes trace context.
        subjects: whether they name the caller.
    """

    tracer: Tracer
    propagator: TextMapPropagator
    subjects: bool

    def publishing(self, passage: Passage, measured: Measured) -> "Sending":
        """Begin the span of a publication, a child of what goes on."""
        said = context_of(passage.headers, self.propagator)
        span = self.tracer.start_span(
            f"{names.PUBLISH} {evidence(passage.exchange or passage.routing_key)}",
            kind=SpanKind.PRODUCER,
            attributes=_attributes(passage, names.PUBLISH, names.SEND),
            links=[] if said is None else [Link(said)],
        )
        writing = partial(written, span.get_span_context(), passage, self.propagator)
        return Sending(span, writing, measured)

    def handling(self, passage: Passage) -> "Processing":
        """Begin the span of a delivery, a child of what published the message."""
        parent = parent_of(passage, self.propagator)
        span = self.tracer.start_span(
            f"{names.PROCESS} {passage.queue}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=_attributes(passage, names.PROCESS, names.PROCESS),
            links=first_attempt(passage),
        )
        return Processing(span, set_span_in_context(span, parent), subjects=self.subjects)


class Sending:
    """The span of one publication.

    Args:
        span: has begun.
        writing: returns its trace context; what it raises leaves a span that is ended.
        measured: is told how long it took.
    """

    def __init__(
        self, span: Span, writing: Callable[[], Mapping[str, str]], measured: Measured
    ) -> None:
        self._span, self._writing = span, writing
        self._measured, self._began = measured, perf_counter()

    @property
    def headers(self) -> Mapping[str, str]:
        """Return its trace context, which goes along."""
        return self._writing()

    def end(self, error: BaseException | None) -> None:
        """End the span; of an error it says the type alone."""
        kind = None if error is None else type(error).__name__
        if kind is not None:
            _fail(self._span, kind)
        try:
            self._measured(perf_counter() - self._began, kind)
        finally:
            self._span.end()


class Processing:
    """The span of one delivery, from when it is judged until the broker was told.

    Attributes:
        mark: by which copies point back at it.
    """

    def __init__(self, span: Span, context: Context, *, subjects: bool) -> None:
        self.mark = mark_of(span.get_span_context())
        self._span, self._context, self._subjects = span, context, subjects
        self._token: Token[Context] | None = None
        self._outcome: str | None = None

    def enter(self) -> None:
        """Be the parent of what is begun from here on, in this task."""
        self._token = attach(self._context)

    def leave(self) -> None:
        """Be nobody's parent any more."""
        if self._token is not None:
            detach(self._token)

    def told(self, event: Event) -> None:
        """Add an event, and what was decided."""
        if event.kind.is_outcome:
            self._outcome = event.kind
        if not self._span.is_recording():
            return
        said = _said(event, subjects=self._subjects)
        self._span.add_event(f"busauth.{event.kind}", said)
        self._span.set_attributes(said)
        if event.error is not None or event.kind is EventKind.FAULT:
            _fail(self._span, event.error or event.kind)

    def end(self) -> None:
        """End the span."""
        self._span.set_attribute(names.OUTCOME, self._outcome or _GIVEN_BACK)
        self._span.end()


def _fail(span: Span, kind: str) -> None:
    span.set_attribute(names.ERROR, kind)
    span.set_status(Status(StatusCode.ERROR))


def _said(event: Event, *, subjects: bool) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue | None] = {
        names.CODE: event.code,
        names.POLICY: event.policy,
        names.ISSUER: event.issuer,
        names.TRANSACTION: event.transaction,
        names.ATTEMPT: event.attempt,
        names.AGE: event.age,
        names.LATENESS: event.late,
        names.END_USER: event.subject if subjects else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _attributes(passage: Passage, operation: str, kind: str) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue | None] = {
        names.SYSTEM: names.RABBITMQ,
        names.OPERATION: operation,
        names.OPERATION_TYPE: kind,
        names.DESTINATION: _destination(passage),
        names.ROUTING_KEY: evidence(passage.routing_key) or None,
        names.DELIVERY_TAG: passage.tag,
        names.MESSAGE_ID: evidence(passage.message_id),
        names.CONVERSATION: evidence(passage.correlation_id),
        names.BODY_SIZE: passage.size,
        names.HOST: passage.host,
        names.PORT: passage.port,
    }
    return {name: value for name, value in found.items() if value is not None}


def _destination(passage: Passage) -> str:
    """Return exchange, routing key and queue, as far as they are there and differ."""
    queue = None if passage.queue == passage.routing_key else passage.queue
    said = (evidence(passage.exchange), evidence(passage.routing_key), queue)
    return ":".join(part for part in said if part) or names.DEFAULT_EXCHANGE

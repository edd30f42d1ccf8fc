"""Trace context in AMQP headers: read with suspicion, and written where nobody has said one.

A sender writes what they like. So only headers that the propagator names are read, as text of a
bounded length; which trace a message says it is a part of decides nothing about it; and what a
propagator finds wrong with it is not logged, which would be some lines for each part of it.
"""

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from busauth._amqp.headers import TRACE
from busauth._amqp.publishing.watching import Passage
from busauth.integrations.otel import names

_LONGEST: Final = 8192
"""Characters of one header: baggage has so many at most (W3C Baggage, section 3.3.2)."""

_MARK: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)

_reads: ContextVar[bool] = ContextVar("busauth_reads_trace_context", default=False)
"""Whether a sender's headers are being read here."""


class _Unsaid(logging.Filter):
    """Drops what is said of a sender's headers: it is as long as they like, and quotes them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is of something else."""
        del record
        return not _reads.get()


_UNSAID: Final = _Unsaid()
for _each in ("opentelemetry.baggage.propagation", "opentelemetry.trace.span"):
    logging.getLogger(_each).addFilter(_UNSAID)


class _Reader(Getter[Mapping[str, Any]]):
    """Reads headers that are text, of those that a propagator names."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        """Return a header's text; None for anything else."""
        value = carrier.get(key)
        return [value] if isinstance(value, str) and len(value) <= _LONGEST else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        """Return no name: a propagator asks for those that it knows, never for a sender's."""
        return []


_READER: Final = _Reader()


def _read(headers: Mapping[str, Any], propagator: TextMapPropagator, context: Context) -> Context:
    """Return a context with what headers say."""
    reading = _reads.set(True)
    try:
        return propagator.extract(headers, context=context, getter=_READER)
    finally:
        _reads.reset(reading)


def parent_of(passage: Passage, propagator: TextMapPropagator) -> Context:
    """Return the context in which a delivery is handled.

    Callbacks run in the context in which somebody connected, which is nobody's: what was found
    there counts only where something around the callback has set it, as another instrumentation
    does, and then a span of the same trace is the nearer parent.
    """
    around = get_current() if passage.is_called else Context()
    found = _read(passage.headers, propagator, around)
    here = get_current_span(around).get_span_context()
    said = get_current_span(found).get_span_context()
    if here.is_valid and here.trace_id == said.trace_id:
        return set_span_in_context(get_current_span(around), found)
    return found


def context_of(headers: Mapping[str, Any], propagator: TextMapPropagator) -> SpanContext | None:
    """Return the span that made a message, as its headers say, None where they say none."""
    found = _read(headers, propagator, Context())
    said = get_current_span(found).get_span_context()
    return said if said.is_valid else None


def written(span: SpanContext, passage: Passage, propagator: TextMapPropagator) -> dict[str, str]:
    """Return the headers of a publication's trace; none where its sender has said their own."""
    if not propagator.fields.isdisjoint(passage.headers):
        return {}
    carrier: dict[str, str] = {}
    propagator.inject(carrier, context=set_span_in_context(NonRecordingSpan(span)))
    return {name: value for name, value in carrier.items() if len(value) <= _LONGEST}


def mark_of(span: SpanContext) -> str | None:
    """Return how copies of a message point back at the span of its first attempt."""
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def first_attempt(passage: Passage) -> list[Link]:
    """Return a link to the first attempt at a message, where it is a copy that says which."""
    said = passage.headers.get(TRACE)
    found = _MARK.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        return []
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    first = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return [Link(first, {names.LINK: "first attempt"})] if first.is_valid else []

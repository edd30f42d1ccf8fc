"""What watches is told apart from what decides: bounded, read with suspicion, and left out."""

import sys
from dataclasses import replace
from subprocess import run
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from pamqp.commands import Basic

from busauth._amqp.headers import SEAL, TRACE, header_frame_size, mark_in
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.watching import Passage, add_to
from busauth.integrations.otel.propagation import (
    first_attempt,
    mark_of,
    parent_of,
    written,
)

FRAME = 4096
SPAN = SpanContext(2**127, 2**63, is_remote=False, trace_flags=TraceFlags(1))
VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.binary().map(bytearray),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def passage(**headers: Any) -> Passage:
    return Passage(
        exchange="", routing_key="q", headers=headers, message_id=None, correlation_id=None, size=0
    )


@given(VALUES, VALUES, VALUES)
def test_hostile_trace_context_is_none(parent: object, state: object, baggage: object) -> None:
    """Whatever stands there is read without an error, and only what is trace context is some."""
    arrived = passage(traceparent=parent, tracestate=state, baggage=baggage, **{TRACE: parent})
    found = get_current_span(parent_of(arrived, get_global_textmap())).get_span_context()
    assert not found.is_valid
    assert first_attempt(arrived) == []
    assert mark_in(arrived.headers) is None


def test_of_what_a_sender_wrote_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A propagator complains of each part, in its sender's words: a flood, or a token."""
    said = passage(traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01", tracestate="a=b,?" * 99)
    for each in ("x," * 4096, "\0=y," * 2000, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln"):
        parent_of(replace(said, headers={**said.headers, "baggage": each}), get_global_textmap())
    assert caplog.messages == []
    W3CBaggagePropagator().extract({"baggage": "x"})  # somebody else's reading is theirs to log
    assert len(caplog.messages) == 1


def test_what_is_written_is_read() -> None:
    """A publication's span is its delivery's parent, a first attempt's what a copy links to."""
    headers = written(SPAN, passage(), get_global_textmap())
    assert written(SPAN, passage(**headers), get_global_textmap()) == {}
    arrived = passage(**headers, **{TRACE: mark_of(SPAN)})
    parent = get_current_span(parent_of(arrived, get_global_textmap())).get_span_context()
    (link,) = first_attempt(arrived)
    assert (parent.span_id, link.context.span_id) == (SPAN.span_id, SPAN.span_id)
    assert mark_in(arrived.headers) == mark_of(SPAN)


def test_long_text_is_no_trace_context() -> None:
    """A value is read up to a length, and one beyond it is none at all."""
    blanks = " " * 8192
    (parent,) = written(SPAN, passage(), get_global_textmap()).values()
    found = parent_of(passage(traceparent=blanks + parent), get_global_textmap())
    assert get_current_span(found) is get_current_span(Context())


@given(st.integers(0, FRAME), st.integers(0, 200), st.booleans())
def test_for_trace_context_no_message_stays_behind(size: int, more: int, sealed: bool) -> None:
    """It goes along where it fits a frame that the message fits, under no seal, and last."""
    before: dict[str, Any] = {"mine": "x" * size, **({SEAL: "s"} if sealed else {})}
    outgoing = Outgoing(b"", Basic.Properties(headers=before))
    fitted = header_frame_size(outgoing.properties)
    add_to(outgoing, {"traceparent": "y" * more, "mine": "theirs"}, FRAME)
    headers = outgoing.properties.headers or {}
    assert headers["mine"] == before["mine"]
    assert ("traceparent" in headers) == (
        not sealed and fitted + len(b"\x0btraceparentS....") + more <= FRAME
    )
    assert header_frame_size(outgoing.properties) <= max(fitted, FRAME)


def test_who_does_not_watch_imports_nothing() -> None:
    """The core knows a protocol of its own: `import busauth` brings no OpenTelemetry."""
    code = "import sys, busauth; print('opentelemetry' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"

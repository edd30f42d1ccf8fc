"""What the tests of telemetry share: an SDK in memory, and trees of spans."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from busauth.integrations.otel import Telemetry


@dataclass
class Traces:
    """Spans, as an exporter has them; one provider for one test."""

    sampler: Sampler = field(default_factory=lambda: ParentBased(ALWAYS_ON))
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        self.provider = TracerProvider(sampler=self.sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def telemetry(self, *, subjects: bool = False) -> Telemetry:
        return Telemetry(
            tracer_provider=self.provider,
            propagator=TraceContextTextMapPropagator(),
            subjects=subjects,
        )

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, start: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith(start)]

    async def until(self, start: str, count: int = 1) -> list[ReadableSpan]:
        """Return the spans whose names begin so, once there are so many."""
        async with asyncio.timeout(20):
            while len(self.named(start)) < count:
                await asyncio.sleep(0.01)
        return self.named(start)

    def tree(self, named: Callable[[str], str] = str) -> list[str]:
        """Return the spans' names, each behind its parents'; a root's trace has none."""
        return sorted(self._path(span, named) for span in self.spans)

    def _path(self, span: ReadableSpan, named: Callable[[str], str]) -> str:
        return " > ".join(reversed([named(each.name) for each in self._upwards(span)]))

    def _upwards(self, span: ReadableSpan | None) -> Iterator[ReadableSpan]:
        known = {each.context.span_id: each for each in self.spans if each.context}
        while span is not None:
            yield span
            span = known.get(span.parent.span_id) if span.parent else None

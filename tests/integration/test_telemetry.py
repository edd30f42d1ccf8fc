"""One request is one tree of spans, whoever else traces it; and no message is worse for it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import httpx
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage
from opentelemetry.context import Context
from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from busauth import Bus, ConfigurationError, Event, Grace, Park
from busauth._amqp.publishing.watching import Passage
from busauth.integrations.otel import Telemetry
from busauth.integrations.starlette import authenticated, lifespan
from busauth.messages import Accepted
from busauth.testing import Issuer
from tests.parties import Party, Scene, security
from tests.support import Broker, Trail, consuming, guard_for
from tests.tracing import Traces


@pytest.fixture
def traces() -> Traces:
    return Traces()


@contextmanager
def instrumented(traces: Traces) -> Iterator[None]:
    """Have the contrib instrumentation wrap aio-pika while inside."""
    contrib = AioPikaInstrumentor()
    contrib.instrument(tracer_provider=traces.provider)
    try:
        yield
    finally:
        contrib.uninstrument()


def chain(
    scene: Scene, traces: Traces, working: TracerProvider | None = None
) -> tuple[list[Bus], list[str]]:
    """Return three services, of which each publishes to the next, under a span of its own."""
    names = [scene.broker.name(name) for name in ("orders", "stock", "mail")]
    buses = [traces.telemetry().watch(scene.bus(security())) for _ in names]
    own = (working or traces.provider).get_tracer("shop")
    for bus, name, target in zip(buses, names, [*names[1:], None], strict=True):

        @bus.consumer(name)
        async def handle(
            message: AbstractIncomingMessage, bus: Any = bus, target: Any = target
        ) -> None:
            with own.start_as_current_span("work"):
                if target is not None:
                    await bus.publish(target, b"{}")

    return buses, names


@pytest.mark.parametrize("beside", [nullcontext, instrumented], ids=["alone", "contrib"])
async def test_an_edge_and_three_services_are_one_tree(
    scene: Scene, traces: Traces, beside: Callable[[Traces], AbstractContextManager[None]]
) -> None:
    """Each span's parent is what led to it; beside the contrib instrumentation nothing is twice."""
    with beside(traces):
        await one_request(scene, traces)


async def one_request(scene: Scene, traces: Traces) -> None:
    (first, second, third), names = chain(scene, traces)
    edge = traces.telemetry().watch(scene.bus(security()))

    async def place(request: Request) -> Response:
        async with authenticated(edge, request):
            await edge.publish(names[0], b"{}")
        return Response(status_code=202)

    app = Starlette(routes=[Route("/orders", place, methods=["POST"])], lifespan=lifespan(edge))
    traced = OpenTelemetryMiddleware(
        app, tracer_provider=traces.provider, exclude_spans=["receive", "send"]
    )
    transport = httpx.ASGITransport(traced)
    async with first, second, third, app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            bearer = {"authorization": f"Bearer {scene.issuer.token('ann')}"}
            assert (await client.post("/orders", headers=bearer)).status_code == 202
        await traces.until("process", 3)
    request = "POST"
    steps = [request]
    for name in names:
        steps += [f"publish {name}", f"process {name}", "work"]
    paths = [" > ".join(steps[: length + 1]) for length in range(len(steps))]
    assert traces.tree(lambda name: name.removesuffix(" /orders")) == sorted(paths)
    assert len({span.context.trace_id for span in traces.spans if span.context}) == 1


async def test_beside_the_contrib_instrumentation_it_is_one_trace(
    broker: Broker, issuer: Issuer, trail: Trail, traces: Traces
) -> None:
    """Its spans are around what passes aio-pika, ours within; what busauth sends is told once."""
    guard = traces.telemetry().watch(guard_for(issuer, trail))
    name, target = await broker.declare("orders"), await broker.declare("stock")
    exchange = broker.channel.default_exchange
    with instrumented(traces):

        @guard(queue=name)
        async def place(message: AbstractIncomingMessage) -> None:
            await guard.publish(exchange, Message(b"{}"), target)

        await (await broker.channel.get_queue(name)).consume(place)
        for _ in range(2):  # the first delivery tells a guard whether its callback is wrapped
            await broker.publish(name, token=issuer.token("ann"))
        await traces.until("process", 2)
        await traces.until(f"{name} receive", 2)
    one = [
        f",{name} send",
        f"{name} receive",
        f"process {name}",
        f"publish {target}",
    ]
    paths = [" > ".join(one[: length + 1]) for length in range(len(one))]
    assert traces.tree() == sorted(paths * 2)


async def test_a_judged_message_is_in_its_trace(
    broker: Broker, issuer: Issuer, trail: Trail, traces: Traces
) -> None:
    """A block is what a handler is: below what published its message, above what it publishes."""
    guard = traces.telemetry().watch(guard_for(issuer, trail))
    name, target = await broker.declare("orders"), await broker.declare("stock")
    exchange, judge = broker.channel.default_exchange, guard.judge(queue=name)
    await guard.publish(exchange, Message(b"{}"), name, token=issuer.token("ann"))
    await broker.settles_at(name, 1)
    message = await (await broker.channel.get_queue(name)).get()
    async with judge(message) as judged:
        assert isinstance(judged, Accepted)
        await guard.publish(exchange, Message(b"{}"), target)
    await message.ack()
    assert not get_current_span().get_span_context().is_valid
    steps = [f"publish {name}", f"process {name}", f"publish {target}"]
    assert traces.tree() == sorted(" > ".join(steps[: each + 1]) for each in range(3))
    (process,) = traces.named("process")
    assert (process.attributes or {})["busauth.outcome"] == "handled"


async def test_further_attempts_point_back_at_the_first(scene: Scene, traces: Traces) -> None:
    """A retry and what a release brings back are of the first trace, and link to the first span."""
    name, tried = scene.broker.name("orders"), list[int]()
    party = Party("web")
    messages = security(party.publisher(relays=True), signer=party.signer)
    bus = traces.telemetry().watch(scene.bus(messages, on_expired=Park()))

    @bus.consumer(name)
    async def place(message: AbstractIncomingMessage) -> None:
        tried.append(1)
        if len(tried) == 1:
            await scene.clock.advance(7200)  # the retry is late, and parked
            raise ValueError("a secret")

    async with bus:
        await bus.publish(name, b"{}", token=scene.issuer.token("ann"))
        await scene.trail.until("parked")
        await bus.release(name, scene.issuer.token("ann"))
        await scene.trail.until("handled")
        first, late, done = await traces.until("process", 3)
    assert first.context is not None
    assert first.links == ()
    for again in (late, done):
        assert again.context is not None
        assert [link.context.span_id for link in again.links] == [first.context.span_id]
        assert again.context.trace_id == first.context.trace_id
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, None)
    said = [dict(span.attributes or {}) for span in (first, late, done)]
    assert [each.get("error.type") for each in said] == ["ValueError", None, None]
    assert [each["busauth.outcome"] for each in said] == ["retried", "parked", "handled"]
    assert [each.get("busauth.code") for each in said] == ["handler.failed", "token.expired", None]


async def test_a_span_tells_the_decision_and_nobodys_identity(scene: Scene, traces: Traces) -> None:
    """Names by the conventions; how late, by which policy; who, where asked; a token never."""
    plain, naming = scene.broker.name("plain"), scene.broker.name("naming")
    token = scene.issuer.token("ann", exp=int(scene.clock.now()) + 60, act={"sub": "agent-x"})
    await scene.clock.advance(90)
    for name, subjects in ((plain, False), (naming, True)):
        bus = scene.bus(security(), on_expired=Grace(minutes=10))
        traces.telemetry(subjects=subjects).watch(bus)

        @bus.consumer(name, scopes={"orders:write"} if subjects else ())
        async def place(message: AbstractIncomingMessage) -> None: ...

        async with bus:
            await scene.broker.publish(name, token=token, message_id="m", correlation_id="c")
            await traces.until(f"process {name}")
    late, refused = (dict(span.attributes or {}) for span in traces.named("process"))
    assert late | {"server.port": 0, "server.address": ""} == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": plain,
        "messaging.rabbitmq.destination.routing_key": plain,
        "messaging.rabbitmq.message.delivery_tag": 1,
        "messaging.message.id": "m",
        "messaging.message.conversation_id": "c",
        "messaging.message.body.size": 9,
        "server.address": "",
        "server.port": 0,
        "busauth.outcome": "handled",
        "busauth.policy": "Grace",
        "busauth.issuer": scene.issuer.url,
        "busauth.attempt": 1,
        "busauth.token.age": 90.0,
        "busauth.token.lateness": 30.0,
    }
    assert (refused["enduser.id"], refused["busauth.code"]) == ("ann", "caller.scope")
    assert refused["busauth.actor"] == "agent-x"
    events = [event.name for span in traces.named("process") for event in span.events]
    assert events == ["busauth.accepted-late", "busauth.handled", "busauth.refused"]
    assert token[:20] not in "".join(span.to_json() for span in traces.spans)


async def test_what_is_not_sampled_is_not_exported(scene: Scene, traces: Traces) -> None:
    """A request that its edge does not sample leaves no span anywhere, and its trace goes on."""
    (first, second, third), names = chain(scene, traces)
    unsampled = Traces(sampler=ALWAYS_OFF).provider.get_tracer("edge")
    async with first, second, third:
        with unsampled.start_as_current_span("request") as request:
            await first.publish(names[0], b"{}", token=scene.issuer.token("ann"))
        await scene.trail.until("handled", count=3)
    assert traces.spans == ()
    assert request.get_span_context().is_valid


class _Starting(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise RuntimeError("on_start")


class _Ending(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("on_end")


@pytest.mark.parametrize("processor", [_Starting(), _Ending()])
async def test_a_processor_that_raises_changes_no_messages_fate(
    scene: Scene, traces: Traces, caplog: pytest.LogCaptureFixture, processor: SpanProcessor
) -> None:
    """Everything is published, handled and refused as without it, and the log says what failed."""
    (first, second, third), names = chain(scene, traces, TracerProvider())
    traces.provider.add_span_processor(processor)
    async with first, second, third:
        await first.publish(names[0], b"{}", token=scene.issuer.token("ann"))
        await scene.broker.publish(names[0], token="nobody's")
        await scene.trail.until("handled", count=3)
        await scene.trail.until("refused")
    assert "watching a message failed" in caplog.text


class _Faulty:
    """Watches everything, and raises whatever it was given at one step."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error, self.step = error, ""

    def _at(self, step: str) -> None:
        if self.step == step:
            raise self.error(step)

    @property
    def headers(self) -> Mapping[str, str]:
        self._at("headers")
        return {}

    @property
    def mark(self) -> str | None:
        self._at("mark")
        return None

    def publishing(self, passage: Passage) -> Self:
        self._at("publishing")
        return self

    def handling(self, passage: Passage) -> Self:
        self._at("handling")
        return self

    def enter(self) -> None:
        self._at("enter")

    def leave(self) -> None:
        self._at("leave")

    def told(self, event: Event) -> None:
        self._at("told")

    def end(self, error: BaseException | None = None) -> None:
        self._at("end")


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, BaseException])
async def test_whatever_watches_and_raises_changes_no_messages_fate(
    scene: Scene, error: type[BaseException]
) -> None:
    """At each step, errors that are no `Exception` included: handled, refused, and stopped."""
    name, watcher = scene.broker.name("orders"), _Faulty(error)
    bus = scene.bus(security())
    bus.guard.core.watch(watcher)

    @bus.consumer(name)
    async def place(message: AbstractIncomingMessage) -> None: ...

    steps = ("publishing", "headers", "handling", "mark", "enter", "leave", "told", "end")
    async with asyncio.timeout(20), bus:
        for count, watcher.step in enumerate(steps, 1):
            await bus.publish(name, b"{}", token=scene.issuer.token("ann"))
            await scene.broker.publish(name, token="nobody's")
            await scene.trail.until("handled", count=count)
            await scene.trail.until("refused", count=count)
    kinds = Counter(scene.trail.kinds(name))
    assert kinds == dict.fromkeys(("published", "accepted", "handled", "refused"), len(steps))


class _Unwriting(TraceContextTextMapPropagator):
    """Cannot write."""

    def inject(self, *given: Any, **named: Any) -> None:
        raise ValueError


async def test_a_publication_whose_context_cannot_be_written_has_a_span(
    scene: Scene, traces: Traces
) -> None:
    """A propagator that raises leaves no span open: it ends with its publication."""
    name = await scene.broker.declare("orders")
    telemetry = Telemetry(tracer_provider=traces.provider, propagator=_Unwriting())
    async with telemetry.watch(scene.bus(security())) as bus:
        await bus.publish(name, b"{}", token=scene.issuer.token("ann"))
    assert [span.name for span in traces.spans] == [f"publish {name}"]


async def test_what_was_entered_is_left(
    broker: Broker, issuer: Issuer, trail: Trail, traces: Traces
) -> None:
    """A delivery's context ends with it, also where the broker is told before that."""
    guard = traces.telemetry().watch(guard_for(issuer, trail))
    name = await broker.declare("orders")
    left: list[bool] = []

    @guard(queue=name)
    async def place(message: AbstractIncomingMessage) -> None: ...

    async def around(message: AbstractIncomingMessage) -> None:
        await place(message)
        left.append(get_current_span().get_span_context().is_valid)

    for _ in range(100):
        await broker.publish(name, token=issuer.token("ann"))
    async with consuming(broker, name, around):
        await trail.until("handled", count=100)
    assert left == [False] * 100


async def test_trace_context_that_is_none_begins_a_trace(
    broker: Broker, issuer: Issuer, trail: Trail, traces: Traces
) -> None:
    """Whatever a sender writes there, the message is handled, as the root of a trace."""
    guard = traces.telemetry().watch(guard_for(issuer, trail))
    name = await broker.declare("orders")

    @guard(queue=name)
    async def place(message: AbstractIncomingMessage) -> None: ...

    valid = f"00-{'1' * 32}-{'2' * 16}-01"
    hostile = (
        7,
        bytearray(b"\xff"),
        {"a": 1},
        [valid],
        "x" * 30_000,
        f"{valid}x",
        "00-" + "0" * 49,
    )
    async with consuming(broker, name, place):
        for value in hostile:
            headers = {"traceparent": value, "tracestate": value, "busauth-trace": value}
            await broker.publish(name, token=issuer.token("ann"), headers=headers)
        spans = await traces.until("process", len(hostile))
    assert [span.to_json() for span in spans if span.parent or span.links] == []


async def test_what_cannot_be_watched_is_said(scene: Scene, traces: Traces) -> None:
    """A bus is watched once, and not where proofs speak of headers that are written after them."""
    telemetry, party = traces.telemetry(), Party("web", headers=("traceparent",))
    bus = telemetry.watch(scene.bus(security()))
    with pytest.raises(ConfigurationError, match="is watched already"):
        telemetry.watch(bus.guard)
    with pytest.raises(ConfigurationError, match="proofs speak of traceparent"):
        telemetry.watch(scene.bus(security(signer=party.signer)))

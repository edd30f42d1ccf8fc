"""Sinks at work: whatever becomes of one, messages are settled as without it."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord

from busauth import Bus, Caller, Event, EventKind, Guard, GuardOptions, StaticKeys, Verifier
from busauth.errors import Deferred
from busauth.integrations.otel import AuditLogs
from busauth.sinks import (
    AuditStream,
    JsonLines,
    Pseudonyms,
    Sink,
    ThreadedSink,
    every,
    read_lines,
    read_stream,
)
from busauth.testing import Issuer, ManualClock
from tests.support import Broker, Order, Trail, guard_for


@dataclass(frozen=True)
class Place:
    """Where a sink of a test may write."""

    url: str
    stream: str
    folder: Path


def _no_folder(place: Place) -> ThreadedSink:
    return JsonLines(place.folder / "none" / "audit.jsonl")


def _forbidden(place: Place) -> ThreadedSink:
    path = place.folder / "audit.jsonl"
    path.mkdir()  # root may write whatever is a file
    return JsonLines(path)


def _full_disk(place: Place) -> ThreadedSink:
    path = place.folder / "audit.jsonl"
    path.symlink_to("/dev/full")
    return JsonLines(path)


def _full_queue(place: Place) -> ThreadedSink:
    return JsonLines(place.folder / "none" / "audit.jsonl", waiting=1)


def _no_broker(_: Place) -> ThreadedSink:
    return AuditStream("amqp://localhost:1/", status_every=3600)


def _no_stream(place: Place) -> ThreadedSink:
    return AuditStream(place.url, stream=place.stream, declare=False, status_every=3600)


def _no_room_in_memory(_: Place) -> ThreadedSink:
    return AuditStream("amqp://localhost:1/", waiting=1, status_every=3600)


class _Failing(LogRecordProcessor):
    def on_emit(self, log_record: ReadWriteLogRecord) -> NoReturn:
        raise OSError("of its own")

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def _no_exporter(_: Place) -> ThreadedSink:
    provider = LoggerProvider()
    provider.add_log_record_processor(_Failing())
    return AuditLogs(provider)


def _no_names(place: Place) -> ThreadedSink:
    names = Pseudonyms(place.folder / "none" / "names")
    return JsonLines(place.folder / "none" / "audit.jsonl", pseudonyms=names)


FAULTS = {
    "no-folder": _no_folder,
    "forbidden": _forbidden,
    "disk-full": _full_disk,
    "queue-full": _full_queue,
    "broker-down": _no_broker,
    "stream-gone": _no_stream,
    "stream-queue-full": _no_room_in_memory,
    "exporter-fails": _no_exporter,
    "no-pseudonyms": _no_names,
}


@pytest.fixture
async def place(broker: Broker, tmp_path: Path) -> AsyncIterator[Place]:
    stream = f"{broker.prefix}.audit"
    yield Place(broker.url, stream, tmp_path)
    async with await broker.connection.channel() as channel:
        await channel.queue_delete(stream)


def _orders(broker: Broker, guard: Guard, name: str) -> Bus:
    bus = Bus(broker.url, guard=guard, service="orders")

    @bus.consumer(name)
    async def place_order(order: Order, caller: Caller) -> None:
        """Do nothing."""

    return bus


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_sink_that_fails_loses_no_message_and_is_told(
    fault: str,
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    place: Place,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One is handled and one refused, as without it; the log says what is wrong and lost."""
    sink = FAULTS[fault](place)
    name = broker.name("orders")
    guard = guard_for(issuer, trail)
    told = Guard(*guard.verifiers, auditor=every(sink, trail))
    async with _orders(broker, told, name):
        await broker.publish(name, token=issuer.token("ann"))
        await broker.publish(name, token=issuer.token("ann", aud="bank"))
        await trail.until("handled")
        await trail.until("refused")
    assert sorted(trail.kinds()) == ["accepted", "handled", "refused"]
    assert (await broker.one(f"{name}.rejected")).headers["busauth-refusal"] == "token.audience"
    assert await broker.count(name) == 0
    lost = 3 if sink.status_every is None else 5  # a status at the start, and one at the end
    assert sink.dropped == lost
    lines = [each for each in caplog.messages if "were dropped so far" in each]
    assert f"{lost} were dropped so far" in lines[-1]
    assert all(issuer.token("ann")[:20] not in line for line in lines)


# --- the stream ---------------------------------------------------------------------------------


async def _read(place: Place, count: int, **said: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with aclosing(read_stream(place.url, stream=place.stream, quiet=20, **said)) as reading:
        async for each in reading:
            found.append(each)
            if len(found) == count:
                break
    return found


async def test_events_and_statuses_stand_on_the_stream(
    broker: Broker, issuer: Issuer, trail: Trail, place: Place
) -> None:
    """In order, with service and instance; a status at the start and at the end."""
    name = broker.name("orders")
    guard = guard_for(issuer, trail)
    names = Pseudonyms(place.folder / "names")
    sink = AuditStream(place.url, stream=place.stream, status_every=3600, pseudonyms=names)
    bus = _orders(broker, Guard(*guard.verifiers, auditor=every(sink, trail)), name)
    async with bus:
        await broker.publish(name, token=issuer.token("ann"))
        await trail.until("handled")
        (consumer,) = bus.status().consumers
    began, accepted, handled, ended = await _read(place, 4)
    assert [began["state"], ended["state"]] == ["running", "stopped"]
    assert began["consumers"] == [
        {"queue": name, "handling": 0, "concurrency": consumer.concurrency}
    ]
    assert [each["issuer"] for each in began["issuers"]] == [issuer.url]
    assert [accepted["kind"], handled["kind"]] == ["accepted", "handled"]
    assert handled["subject"] == names.known(issuer.url, "ann")
    assert handled["began_at"] <= handled["ended_at"] <= handled["at"]
    assert {each["service"] for each in (began, accepted, handled, ended)} == {"orders"}
    assert accepted["instance"].endswith(f":{os.getpid()}")
    assert [each["kind"] for each in await _read(place, 1, since=ended["at"])] == ["status"]


async def test_the_stream_is_written_again_once_the_broker_is_there(
    broker: Broker, place: Place
) -> None:
    """What waited is written as soon as it can be: here, as its stream is declared."""
    sink = AuditStream(place.url, stream=place.stream, declare=False)
    sink(Event(kind=EventKind.HANDLED, queue="q", at=1.0))
    async with await broker.connection.channel() as channel:
        arguments = {"x-queue-type": "stream"}
        await channel.declare_queue(place.stream, durable=True, arguments=arguments)
    await sink.close()
    sink(Event(kind=EventKind.HANDLED, queue="q", at=2.0))
    await sink.close()
    assert [each["at"] for each in await _read(place, 2)] == [1.0, 2.0]
    assert sink.dropped == 0


async def test_a_stranger_on_the_stream_breaks_no_reader(broker: Broker, place: Place) -> None:
    """What is no object of JSON is left out."""
    async with AuditStream(place.url, stream=place.stream) as sink:
        sink(Event(kind=EventKind.HANDLED, queue="q", at=1.0))
    for body in (b"\xff", b"[" * 100_000, b"[]", b"null", b'{"at": "now"}'):
        await broker.publish(place.stream, body)
    assert [each["at"] for each in await _read(place, 2)] == [1.0, "now"]


# --- statuses -----------------------------------------------------------------------------------


class Reports(Sink):
    """A sink that remembers statuses."""

    status_every = 10.0

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def __call__(self, _: Event) -> None: ...

    def report(self, status: Any) -> None:
        self.said.append(status.as_json())

    async def close(self) -> None: ...


async def test_a_bus_reports_every_few_seconds_and_at_a_change(
    broker: Broker, clock: ManualClock, issuer_in_time: Issuer, trail: Trail
) -> None:
    """A pause is told within a second, with why and since when; and so is its end."""
    reports, name = Reports(), broker.name("orders")
    is_away = [False]

    class Away:
        def revoked(self, _: Caller, __: float) -> bool:
            if is_away[0]:
                raise Deferred("the feed is out of reach")
            return False

    verifier, slow = (
        guard_for(issuer_in_time, trail, clock=clock).verifiers,
        GuardOptions(pause_first=30),
    )
    guard = Guard(
        *verifier, revocations=Away(), clock=clock, auditor=every(reports, trail), options=slow
    )
    began = clock.now()
    async with _orders(broker, guard, name):
        await clock.advance(25)
        assert [each["at"] - began for each in reports.said] == [0, 10, 20]
        is_away[0] = True
        await broker.publish(name, token=issuer_in_time.token("ann"))
        await trail.until("deferred")
        since = clock.now()
        await clock.advance(1)
        is_away[0] = False
        (paused,) = reports.said[-1]["consumers"]
        assert paused["paused_for"] == "the feed is out of reach"
        assert paused["paused_since"] == since
        await clock.advance(60)
        await trail.until("handled")
    assert "paused_for" not in reports.said[-1]["consumers"][0]
    assert reports.said[-1]["state"] == "stopped"


# --- tokens -------------------------------------------------------------------------------------


@asynccontextmanager
async def _hostile(broker: Broker, issuer: Issuer, name: str, sink: Sink) -> AsyncIterator[str]:
    """Yield a token that was put wherever a sender may put anything."""
    token, verifier = issuer.token("ann"), StaticKeys(issuer.jwks())
    guard = Guard(Verifier(verifier, issuer=issuer.url, audience=issuer.audience), auditor=sink)
    bus = Bus(broker.url, guard=guard, service=token)

    @bus.consumer(name)
    async def place_order(order: Order) -> None:
        raise ValueError(f"{token} is no {order}")

    async with bus:
        await broker.publish(name, token=token, message_id=token[:250])
        await broker.publish(name, b"{" + token.encode(), token=token, type=token[:200])
        await broker.publish(name, token=f"{token}.{token}", message_id=f"x.{token[:240]}")
        await broker.publish(name, headers={"authorization": token, token[:90]: token})
        await bus.publish(name, {"id": 1}, token=token)
        with pytest.raises(Exception, match="routable"):
            await bus.publish(f"{token[:200]}", {"id": 1}, token=token)
        await bus.publish(f"to.{token[:200]}", {}, token=token, must_route=False)
        await bus.idle()
        yield token


async def test_no_sink_writes_a_token(broker: Broker, issuer: Issuer, place: Place) -> None:
    """Not as a message id, a routing key, a property, a body or an error's words."""
    path, name = place.folder / "audit.jsonl", broker.name("orders")
    stream = AuditStream(place.url, stream=place.stream)
    async with _hostile(broker, issuer, name, every(JsonLines(path), stream)) as token:
        """What is written is there once its bus has stopped."""
    lines = list(read_lines(path))
    written = [*lines, *await _read(place, len(lines) + 2)]
    kinds = {each["kind"] for each in written}
    assert {"accepted", "refused", "retried", "published", "status"} <= kinds
    text = json.dumps(written)
    assert [part for part in token.split(".") if part[:16] in text] == []

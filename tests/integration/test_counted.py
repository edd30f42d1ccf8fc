"""Each decision is counted once, and each attempt measured once, whatever becomes of a message."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from busauth import Caller, Discard, Grace, Park, Reject
from busauth.expiry import Policies
from busauth.integrations.otel import Telemetry
from busauth.messages import Received
from busauth.testing import Issuer
from tests.parties import Scene, security
from tests.security.stage import Stage


class Away:
    """Out of reach when it is asked first."""

    asked = 0

    def revoked(self, caller: Caller, now: float) -> bool:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionError("away")
        return False


@dataclass
class Meter:
    """What an SDK has measured."""

    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        scopes = [scope for each in data.resource_metrics for scope in each.scope_metrics]
        metrics = [metric for scope in scopes for metric in scope.metrics]
        return [point for each in metrics if each.name == name for point in each.data.data_points]

    def decisions(self) -> dict[str, int]:
        """Return how many decisions there were of each outcome."""
        found = Counter[str]()
        for point in self.points("busauth.decisions"):
            found[point.attributes["busauth.outcome"]] += point.value
        return dict(found)

    def count(self, name: str) -> int:
        return sum(point.count for point in self.points(name))

    def gauge(self, name: str) -> dict[str, float]:
        """Return a gauge's value for each queue."""
        key = "messaging.destination.name"
        return {point.attributes[key]: point.value for point in self.points(name)}


@pytest.fixture
def meter() -> Meter:
    return Meter()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A message, and what is counted.

    Attributes:
        body: says what its handler does.
        scope: of its token.
        is_forged, is_late: whether a stranger has signed that, and whether it expires on its way.
        is_away: whether what knows of revocations is out of reach at first.
        policy: of its consumer.
        last: the kind of event behind which nothing more comes.
        decisions: how many of each.
        judged, ran, late: how often a token's age, a handler's time and lateness were measured.
    """

    body: bytes = b""
    scope: str = "orders:write"
    is_forged: bool = False
    is_late: bool = False
    is_away: bool = False
    policy: Policies | None = None
    last: str = "handled"
    decisions: dict[str, int]
    judged: int
    ran: int
    late: int = 0


ROWS = {
    "handled": Row(decisions={"accepted": 1, "handled": 1}, judged=1, ran=1),
    "forged": Row(is_forged=True, last="refused", decisions={"refused": 1}, judged=0, ran=0),
    "not allowed": Row(scope="", last="refused", decisions={"refused": 1}, judged=1, ran=0),
    "late": Row(
        is_late=True,
        policy=Grace(minutes=10),
        decisions={"accepted-late": 1, "handled": 1},
        judged=1,
        ran=1,
        late=1,
    ),
    "too late": Row(is_late=True, last="refused", decisions={"refused": 1}, judged=1, ran=0),
    "discarded": Row(
        is_late=True,
        policy=Discard(),
        last="discarded",
        decisions={"discarded": 1},
        judged=1,
        ran=0,
    ),
    "parked": Row(
        is_late=True, policy=Park(), last="parked", decisions={"parked": 1}, judged=1, ran=0
    ),
    "retried": Row(
        body=b"fail",
        last="refused",
        decisions={"accepted": 4, "retried": 3, "refused": 1},
        judged=4,
        ran=4,
    ),
    "rejected": Row(
        body=b"reject", last="refused", decisions={"accepted": 1, "refused": 1}, judged=1, ran=1
    ),
    "deferred": Row(
        is_away=True,
        decisions={"deferred": 1, "resumed": 1, "accepted": 1, "handled": 1},
        judged=1,
        ran=1,
    ),
}


def handle(message: AbstractIncomingMessage) -> None:
    if message.body == b"fail":
        raise ValueError
    if message.body == b"reject":
        raise Reject("no")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_each_decision_is_counted_once(scene: Scene, meter: Meter, row: Row) -> None:
    """As many decisions as there were, an age for each attempt; then nothing is in flight."""
    guarded = {"revocations": Away()} if row.is_away else {}
    stage = Stage.set(scene, on_expired=row.policy, handler=handle, guarded=guarded)
    Telemetry(meter_provider=meter.provider).watch(stage.bus)
    await stage.bus.declare()
    if row.is_forged:
        await scene.broker.publish(stage.queue, token=Issuer(clock=scene.clock).token("mallory"))
    else:
        token = stage.token(exp=int(scene.clock.now()) + 60, scope=row.scope)
        await stage.publish(row.body, token=token)
    await scene.clock.advance(90 if row.is_late else 1)
    async with stage.bus:
        if row.is_away:
            await scene.trail.until("deferred")
            await scene.clock.advance(30)
        await scene.trail.until(row.last)
        await stage.bus.idle()
        assert meter.gauge("busauth.messages.in_flight") == {stage.queue: 0}
    assert meter.decisions() == row.decisions
    names = ("busauth.token.age", "messaging.process.duration", "busauth.token.lateness")
    assert [meter.count(name) for name in names] == [row.judged, row.ran, row.late]


async def test_what_is_parked_and_released_is_counted_twice(scene: Scene, meter: Meter) -> None:
    """Once as it is parked, and once as it is handled; the release is told of its own queue."""
    stage = Stage.set(scene, on_expired=Park())
    Telemetry(meter_provider=meter.provider).watch(stage.bus)
    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token(exp=int(scene.clock.now()) + 60))
    await scene.clock.advance(90)
    async with stage.bus:
        await scene.trail.until("parked")
        await stage.bus.release(stage.queue, stage.token())
        await scene.trail.until("handled")
    assert meter.decisions() == {"parked": 1, "released": 1, "accepted": 1, "handled": 1}
    assert meter.count("busauth.token.age") == 2


async def test_what_a_judge_says_is_counted(scene: Scene, meter: Meter) -> None:
    """As a consumer's decisions are, also where a guard is watched that has judges already."""
    stage = Stage.set(scene)
    judge = stage.bus.guard.judge(queue=stage.queue, scopes={"orders:write"})
    Telemetry(meter_provider=meter.provider).watch(stage.bus)
    await stage.bus.declare()
    await stage.publish(b"one")
    message = await stage.take()
    for redelivered in (False, True, False):
        properties = {**message.properties, "headers": message.headers}
        async with judge(
            Received(
                body=message.body,
                exchange="",
                routing_key=stage.queue,
                redelivered=redelivered,
                **properties,
            )
        ):
            pass
    assert meter.decisions() == {"accepted": 1, "handled": 1, "duplicate": 1, "refused": 1}
    assert meter.count("messaging.process.duration") == 1


async def test_services_of_one_process_are_measured_beside_each_other(
    scene: Scene, meter: Meter
) -> None:
    """Each may have a `Telemetry` of its own: no gauge of the second one's is lost."""
    buses = [scene.bus(security()) for _ in range(2)]
    names = [scene.broker.name(name) for name in ("orders", "mail")]
    for bus, name in zip(buses, names, strict=True):
        Telemetry(meter_provider=meter.provider).watch(bus)

        @bus.consumer(name)
        async def place(message: AbstractIncomingMessage) -> None: ...

    async with buses[0], buses[1]:
        for gauge in ("busauth.messages.in_flight", "busauth.consumers.paused"):
            assert meter.gauge(gauge) == dict.fromkeys(names, 0)

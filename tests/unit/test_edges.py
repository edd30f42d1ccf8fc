"""Applications over HTTP: a request's caller is in scope while it is answered, nobody else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks
from starlette.responses import StreamingResponse

from busauth import (
    BadMessage,
    Bus,
    Caller,
    CallerError,
    Deferred,
    Guard,
    PublishError,
    Restrict,
    Verifier,
)
from busauth.caller import Lease, current_lease
from busauth.integrations.httpx import CallerAuth
from busauth.testing import Broker, Issuer, Kit, ManualClock
from busauth.tokens import Key, KeyMissing
from tests.support import Order, Trail, guard_for
from tests.unit.edges import EDGES, Make, bearer_of, living
from tests.unit.support import as_sent

pytestmark = pytest.mark.parametrize("edge", EDGES)


@pytest.fixture
def guard(issuer: Issuer) -> Guard:
    return guard_for(issuer, Trail())


@pytest.fixture
async def kit(clock: ManualClock) -> AsyncIterator[Kit]:
    async with Broker(clock=clock) as broker, Kit(broker, clock) as kit:
        yield kit


async def nothing(caller: Caller, tasks: BackgroundTasks) -> str:
    return caller.subject


def in_scope() -> str:
    """Return whose token is in scope, as text that can be compared."""
    return current_lease().token()


@dataclass
class Later:
    """What was found out behind a request."""

    found: list[str] = field(default_factory=list)

    def look(self, caller: Caller) -> None:
        for way in (in_scope, caller.bearer):
            try:
                self.found.append(way())
            except CallerError as error:
                self.found.append(str(error))


class Unnamed(BadMessage):
    """A refusal whose status has no name."""

    status = 499


class Lax(BadMessage):
    """A refusal whose status is a success."""

    status = 200


NOBODY = "no caller is in scope"
OVER = "the request is over"


async def test_what_a_route_publishes_is_its_callers(edge: Make, kit: Kit) -> None:
    """Without being handed a token, it is published, sent on and handled in the caller's name."""
    bus = kit.bus()
    handled: list[tuple[int, str]] = []
    asked: list[httpx.Request] = []

    def answer_from(request: httpx.Request) -> httpx.Response:
        asked.append(as_sent(request))
        return httpx.Response(200)

    network = httpx.MockTransport(answer_from)
    stock = httpx.AsyncClient(transport=network, auth=CallerAuth(["https://stock.example"]))

    @bus.consumer("orders.placed", scopes=["orders:write"])
    async def place(order: Order, caller: Caller) -> None:
        handled.append((order.id, caller.subject))

    async def job(caller: Caller, tasks: BackgroundTasks) -> str:
        await bus.publish("orders.placed", Order(id=7))
        await stock.get("https://stock.example")
        return caller.subject

    async with stock, living(edge(bus, job, bus)) as client:
        ann = bearer_of(kit.issuer)
        answer = await client.post("/orders", headers=ann)
        await bus.idle()
    assert (answer.status_code, answer.json(), handled) == (200, "ann", [(7, "ann")])
    assert [request.headers["authorization"] for request in asked] == [ann["authorization"]]


async def test_a_bus_that_is_overridden_has_another_guard(edge: Make, kit: Kit) -> None:
    """In a test with a kit, requests are judged by the kit's guard, as messages are."""
    bus = Bus(
        "amqp://nowhere.invalid/", guard=guard_for(Issuer(clock=kit.clock), Trail()), service="web"
    )
    app = edge(bus, nothing, bus)
    async with kit.using(bus), living(app) as client:
        assert (await client.post("/orders", headers=bearer_of(kit.issuer))).status_code == 200


async def test_requests_at_once_have_each_their_own(
    edge: Make, guard: Guard, issuer: Issuer
) -> None:
    """While many wait for each other, each finds its own caller, before and after."""
    together = asyncio.Barrier(10)

    async def job(caller: Caller, tasks: BackgroundTasks) -> bool:
        before = in_scope()
        await together.wait()
        return before == in_scope() == caller.bearer()

    async with living(edge(guard, job)) as client:
        every = [bearer_of(issuer, f"caller-{number}") for number in range(10)]
        asked = [client.post("/orders", headers=each) for each in every]
        assert [answer.json() for answer in await asyncio.gather(*asked)] == [True] * 10


async def test_a_background_task_is_nobody(edge: Make, guard: Guard, issuer: Issuer) -> None:
    """Behind the answer no caller is in scope, and the one of before has no token any more."""
    later = Later()

    async def job(caller: Caller, tasks: BackgroundTasks) -> None:
        tasks.add_task(later.look, caller)
        tasks.add_task(asyncio.to_thread, later.look, caller)

    async with living(edge(guard, job)) as client:
        assert (await client.post("/orders", headers=bearer_of(issuer))).status_code == 200
    assert [NOBODY in later.found[0], OVER in later.found[1]] == [True, True]
    assert later.found[:2] == later.found[2:]


async def test_a_body_that_is_streamed_is_nobodys(edge: Make, guard: Guard, issuer: Issuer) -> None:
    """What makes the body runs behind the route, and has its caller no more."""
    later = Later()

    async def job(caller: Caller, tasks: BackgroundTasks) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            later.look(caller)
            yield "said"

        return StreamingResponse(body())

    async with living(edge(guard, job)) as client:
        assert (await client.post("/orders", headers=bearer_of(issuer))).text == "said"
    assert [NOBODY in later.found[0], OVER in later.found[1]] == [True, True]


async def test_a_task_that_outlives_its_request_finds_it_over(
    edge: Make, guard: Guard, issuer: Issuer
) -> None:
    """It inherits the caller, and can do nothing in their name once the request is answered."""
    later, answered, tasks_of = Later(), asyncio.Event(), set[asyncio.Task[None]]()

    async def job(caller: Caller, tasks: BackgroundTasks) -> None:
        async def going_on() -> None:
            await answered.wait()
            later.look(caller)

        tasks_of.add(asyncio.create_task(going_on()))

    async with living(edge(guard, job)) as client:
        await client.post("/orders", headers=bearer_of(issuer))
        answered.set()
        await asyncio.gather(*tasks_of)
    assert [OVER in each for each in later.found] == [True, True]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("the route failed"), 500, None),
        (BadMessage("body.invalid"), 400, "body.invalid"),
        (PublishError("not confirmed"), 503, None),
        (ExceptionGroup("", [BadMessage("body.invalid"), Deferred("away")]), 400, "body.invalid"),
        (ExceptionGroup("", [ExceptionGroup("", [PublishError("lost")])]), 503, None),
        (ExceptionGroup("", [PublishError("lost"), RuntimeError("a fault")]), 500, None),
        (Unnamed("order.odd"), 499, "order.odd"),
        (Lax("order.odd"), 500, "order.odd"),
    ],
    ids=[
        "fault",
        "refused",
        "unpublished",
        "several",
        "a group in a group",
        "a fault among them",
        "a status without a name",
        "a status that is no refusal",
    ],
)
async def test_an_error_in_the_route_ends_it_as_well(
    edge: Make, guard: Guard, issuer: Issuer, error: Exception, status: int, code: str | None
) -> None:
    """Whatever a route raises is answered behind its end, and the next request is another one's."""
    leases: list[Lease] = []

    async def job(caller: Caller, tasks: BackgroundTasks) -> None:
        leases.append(current_lease())
        raise error

    async with living(edge(guard, job)) as client:
        answers = [
            await client.post("/orders", headers=bearer_of(issuer, name)) for name in ("ann", "bob")
        ]
    assert [answer.status_code for answer in answers] == [status] * 2
    assert [repr(lease) for lease in leases] == ["<Lease ended>"] * 2
    if code is not None:
        told = answers[0].json()
        assert (told["code"], told["status"]) == (code, status)
        assert "www-authenticate" not in answers[0].headers


async def test_a_request_that_is_cancelled_ends_it_as_well(
    edge: Make, guard: Guard, issuer: Issuer
) -> None:
    """A route that is cut off, by a timeout or a client that is gone, leaves no lease open."""
    leases: list[Lease] = []
    begun = asyncio.Event()

    async def job(caller: Caller, tasks: BackgroundTasks) -> None:
        leases.append(current_lease())
        begun.set()
        await asyncio.Event().wait()

    async with living(edge(guard, job)) as client:
        asking = asyncio.create_task(client.post("/orders", headers=bearer_of(issuer)))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert [repr(lease) for lease in leases] == ["<Lease ended>"]


async def test_who_was_left_with_less_cannot_be_published_for(edge: Make, kit: Kit) -> None:
    """A token that allows more than its late caller was left with goes nowhere."""

    async def job(caller: Caller, tasks: BackgroundTasks) -> list[str]:
        later = Later()
        later.look(caller)
        return [caller.subject, *later.found]

    late = bearer_of(kit.issuer, scope="orders:write orders:delete", exp=kit.clock.now() + 60)
    await kit.clock.advance(90)
    restrict = Restrict(scopes=["orders:write"])
    async with living(edge(kit.guard(), job, on_expired=restrict)) as client:
        subject, *found = (await client.post("/orders", headers=late)).json()
    assert subject == "ann"
    assert ["less authority than it carries" in each for each in found] == [True, True]


SCOPE = 'scope="orders:write"'


@pytest.mark.parametrize(
    ("authorization", "status", "code", "challenge"),
    [
        ([], 401, "header.missing", f'Bearer realm="api", {SCOPE}'),
        (["Basic YTpi"], 401, "header.scheme", f'Bearer realm="api", {SCOPE}'),
        (["Bearers a.b.c"], 401, "header.scheme", f'Bearer realm="api", {SCOPE}'),
        (["Bearer"], 400, "token.empty", f'Bearer realm="api", error="invalid_request", {SCOPE}'),
        (
            ["Bearer a b"],
            400,
            "header.scheme",
            f'Bearer realm="api", error="invalid_request", {SCOPE}',
        ),
        (
            ["Bearer a.b.c", "Bearer a.b.c"],
            400,
            "header.scheme",
            f'Bearer realm="api", error="invalid_request", {SCOPE}',
        ),
        (
            ["Bearer", "Bearer a.b.c"],
            400,
            "header.scheme",
            f'Bearer realm="api", error="invalid_request", {SCOPE}',
        ),
        (
            ["bearer s3cret"],
            401,
            "token.segments",
            f'Bearer realm="api", error="invalid_token", {SCOPE}',
        ),
    ],
    ids=[
        "none",
        "another scheme",
        "a longer name",
        "empty",
        "two tokens",
        "two headers",
        "an empty one first",
        "no token",
    ],
)
async def test_a_refusal_is_a_problem_and_a_challenge(
    edge: Make, guard: Guard, authorization: list[str], status: int, code: str, challenge: str
) -> None:
    """RFC 9457 in the body, RFC 6750 in the header; no error code where no token was sent."""
    async with living(edge(guard, nothing)) as client:
        headers = [("authorization", value) for value in authorization]
        answer = await client.post("/orders", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == challenge
    assert answer.json() == {
        "type": f"urn:busauth:refusal:{code}",
        "title": {400: "Bad Request", 401: "Unauthorized"}[status],
        "status": status,
        "code": code,
    }


async def test_who_may_not_is_told_what_is_demanded(
    edge: Make, guard: Guard, issuer: Issuer
) -> None:
    """403 is `insufficient_scope`, and an expired token `invalid_token`, as is a forged one."""
    told = {
        "caller.scope": bearer_of(issuer, scope="orders:read"),
        "token.expired": bearer_of(issuer, exp=1),
        "token.key_unknown": bearer_of(Issuer()),
    }
    async with living(edge(guard, nothing)) as client:
        answers = {code: await client.post("/orders", headers=told[code]) for code in told}
    assert {code: answer.json()["code"] for code, answer in answers.items()} == dict(
        zip(told, told, strict=True)
    )
    errors = ["insufficient_scope", "invalid_token", "invalid_token"]
    assert [answer.headers["www-authenticate"] for answer in answers.values()] == [
        f'Bearer realm="api", error="{error}", {SCOPE}' for error in errors
    ]


async def test_the_evidence_is_in_the_log_and_no_token_is(
    edge: Make, guard: Guard, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer tells the code alone, the log why, and a flood of strangers does not fill it."""
    headers = bearer_of(issuer, scope="orders:read")
    async with living(edge(guard, nothing)) as client:
        with caplog.at_level(logging.DEBUG):
            answers = [await client.post("/orders", headers=headers) for _ in range(30)]
    assert "orders:read" not in answers[0].text
    found = [record for record in caplog.records if "got scopes orders:read" in record.message]
    assert len(found) == 10
    assert headers["authorization"].removeprefix("Bearer ") not in caplog.text


class AwayKeys:
    """Keys that are out of reach."""

    epoch = 0

    def candidates(self, key_id: str | None, algorithm: str) -> list[Key]:
        raise KeyMissing

    async def refresh(self) -> bool:
        raise Deferred("the issuer is out of reach")


async def test_keys_out_of_reach_are_answered_later(edge: Make, issuer: Issuer) -> None:
    """503 with Retry-After, and it is nobody's fault: no challenge."""
    away = Guard(Verifier(AwayKeys(), issuer=issuer.url, audience=issuer.audience))
    async with living(edge(away, nothing)) as client:
        answer = await client.post("/orders", headers=bearer_of(issuer))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["content-type"] == "application/problem+json"
    expected = {"type": "about:blank", "title": "Service Unavailable", "status": 503}
    assert answer.json() == expected
    assert "www-authenticate" not in answer.headers


async def test_ready_while_its_buses_run(edge: Make, kit: Kit) -> None:
    """200 between start and end, 503 with the reason around that."""
    buses = kit.bus(), kit.bus()
    app = edge(buses[0], nothing, *buses)
    async with living(app) as client:
        assert (await client.get("/ready")).text == "ready"
    network = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=network, base_url="http://edge.test") as client:
        answer = await client.get("/ready")
    assert (answer.status_code, answer.text.startswith("not ready: ")) == (503, True)


async def test_an_edge_says_who_may_act(edge: Make, guard: Guard, issuer: Issuer) -> None:
    """A request of the agent that is welcome is answered, and no other one, nor of nobody."""
    async with living(edge(guard, nothing, actors={"agent-x"})) as client:
        inner = {"sub": "agent-y", "act": {"sub": "agent-x"}}
        acted: tuple[dict[str, Any], ...] = ({"act": {"sub": "agent-x"}}, {"act": inner}, {})
        answers = [
            await client.post("/orders", headers=bearer_of(issuer, "ann", **claims))
            for claims in acted
        ]
    assert [answer.status_code for answer in answers] == [200, 403, 403]
    assert {answer.json()["code"] for answer in answers[1:]} == {"caller.actor"}

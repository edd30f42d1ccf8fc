"""Issuers are asked before anything is consumed: who contradicts ends the start."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from busauth import JWKS, Bus, Caller, ConfigurationError, Guard, GuardOptions, Verifier
from busauth.testing import Issuer, IssuerServer
from busauth.tokens import ClientSecretBasic, Introspection, JWKSOptions
from tests.support import Broker, Trail

QUICK = GuardOptions(pause_first=0.02, pause_longest=0.05)
AT_ONCE = JWKSOptions(min_interval=0)


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer(Issuer()) as server:
        yield server


def verifier(issuer: str, **named: Any) -> Verifier:
    return Verifier(JWKS.discover(issuer, options=AT_ONCE), issuer=issuer, audience="shop", **named)


def serving(url: str, queue: str, guard: Guard, **named: Any) -> tuple[Bus, list[str]]:
    bus, seen = Bus(url, guard=guard, service="orders"), list[str]()

    @bus.consumer(queue, **named)
    async def handle(caller: Caller) -> None:
        seen.append(caller.subject)

    return bus, seen


def a_slash_too_many(server: IssuerServer) -> Verifier:
    return verifier(f"{server.issuer.url}/")


def nothing_there(server: IssuerServer) -> Verifier:
    return verifier(f"{server.issuer.url}/tenant")


def no_json(server: IssuerServer) -> Verifier:
    for path in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"):
        server.replies[path] = (200, b"<html>")
    return verifier(server.issuer.url)


def another_algorithm(server: IssuerServer) -> Verifier:
    return verifier(server.issuer.url, algorithms=["ES512"])


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (a_slash_too_many, "speaks for issuer .*to the letter; set issuer to 'http.*[0-9]'"),
        (nothing_there, "status 404"),
        (no_json, "Expecting value"),
        (another_algorithm, "expected one for .*ES512"),
    ],
)
async def test_an_issuer_that_contradicts_ends_the_start(
    made: Any, found: str, server: IssuerServer, trail: Trail
) -> None:
    """What is configured cannot work: it is told before the broker is asked for anything."""
    bus, _ = serving("amqp://127.0.0.1:9/", "orders", Guard(made(server), auditor=trail))
    with pytest.raises(ConfigurationError, match=f"contradicts its settings.*{found}"):
        await bus.run()


async def test_an_endpoint_that_answers_about_no_jwt_ends_the_start(
    server: IssuerServer, trail: Trail
) -> None:
    """introspect=True cannot work there."""
    issuer = server.issuer
    asked = Introspection(
        f"{issuer.url}/introspect",
        issuer=issuer.url,
        audience=issuer.audience,
        client=ClientSecretBasic(issuer.client.client_id, issuer.client.secret),
    )
    guard = Guard(verifier(issuer.url), asked, auditor=trail)
    serving("amqp://127.0.0.1:9/", "orders", guard)
    assert await guard.check() == {}
    bus, _ = serving("amqp://127.0.0.1:9/", "orders", guard, introspect=True)
    heard = server._heard

    def answer(request: Any) -> Any:
        if request.path != "/introspect" or b"token=ey" not in request.body:
            return heard(request)
        server.replies["/introspect"] = (400, b"{}")
        try:
            return heard(request)
        finally:
            del server.replies["/introspect"]

    server._heard = answer  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match="introspect=True cannot work there"):
        await bus.run()


async def test_an_issuer_out_of_reach_is_waited_for(
    broker: Broker, url: str, server: IssuerServer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, nothing is consumed meanwhile, and a stop is heeded; then work begins."""
    caplog.set_level(logging.INFO, "busauth")
    queue, server.down = broker.name("orders"), True
    guard = Guard(verifier(server.issuer.url), options=QUICK, auditor=trail)
    bus, seen = serving(url, queue, guard)
    running = asyncio.create_task(bus.run())
    await trail.until("deferred", count=2)
    assert "is waited for" in caplog.text
    (line,) = [each for each in caplog.messages if "consum" in each]
    assert line.startswith("orders: waiting (")
    assert line.endswith(f"), not yet consuming {queue}")
    assert (
        await broker.channel.declare_queue(queue, passive=True)
    ).declaration_result.consumer_count == 0
    bus.stop()
    async with asyncio.timeout(5):
        await running
    await broker.publish(queue, token=server.issuer.token("ann"))
    async with bus:
        server.down = False
        await trail.until("handled")
    assert seen == ["ann"]
    assert f"{queue} is consumed: what it waited for is there" in caplog.messages
    assert not any("orders: consuming" in each for each in caplog.messages)


async def test_one_issuer_out_of_reach_holds_no_others_work(
    broker: Broker, url: str, server: IssuerServer, trail: Trail
) -> None:
    """Its tokens wait, as at any other time."""
    with IssuerServer(Issuer()) as other:
        other.down = True
        guard = Guard(
            verifier(server.issuer.url), verifier(other.issuer.url), options=QUICK, auditor=trail
        )
        queue = broker.name("orders")
        bus, seen = serving(url, queue, guard)
        async with bus:
            await bus.publish(queue, b"{}", token=server.issuer.token("ann"))
            await trail.until("handled")
            await bus.publish(queue, b"{}", token=other.issuer.token("bob"))
            await trail.until("deferred")
            other.down = False
            await trail.until("handled", count=2)
    assert seen == ["ann", "bob"]

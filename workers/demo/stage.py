"""What the scenes are played on: an issuer of our own, the shop's services, a broker."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aio_pika
import httpx
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError

from busauth import Event
from busauth.testing import Issuer, IssuerServer
from workers import issuer as idp
from workers.demo.broker import QUEUES, Broker
from workers.demo.record import Record, Trouble
from workers.demo.services import Service
from workers.demo.timeline import Timeline
from workers.shop import AUDIENCE, Order

HOST = "127.0.0.1"
READY_SECONDS = 40.0
LOOK_SECONDS = 0.05
GRACE_SECONDS = 4.0
HTTP_SERVICES = ("ledger", "gateway")


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a scene may touch."""

    idp: IssuerServer
    services: Mapping[str, Service]
    broker: Broker
    http: httpx.AsyncClient
    record: Record
    timeline: Timeline

    def token(self, name: str, *, lifetime: float = 300.0, **changes: Any) -> str:
        """Return a token of this person, to the fraction of a second."""
        now = time.time()
        return idp.token_for(self.idp.issuer, name, iat=now, exp=now + lifetime, **changes)

    def forged(self, name: str) -> str:
        """Return a token that looks right, down to the `kid`, and is signed by somebody else."""
        genuine = self.idp.issuer
        forger = Issuer(genuine.url, audience=genuine.audience)
        return idp.token_for(forger, name, header={"kid": genuine.signing.key_id})

    async def order(self, token: str) -> None:
        """Order a teapot at the gateway."""
        answer = await self.http.post(
            "/orders", json={"item": "teapot"}, headers={"authorization": f"Bearer {token}"}
        )
        code = "" if answer.is_success else f" {answer.json()['code']}"
        self.record.add(f"gateway: {answer.status_code}{code}")

    async def intrude(self, token: str) -> None:
        """Put an order straight into the queue."""
        self.timeline.note("an intruder puts the same straight into the queue")
        order = Order(id=uuid4(), item="teapot", quantity=100)
        await self.broker.intrude(QUEUES["orders"], order.model_dump_json().encode(), token)

    async def ready(self, name: str) -> None:
        """Return once a service consumes its queue, or answers over HTTP.

        Raises:
            Trouble: it does not.
        """
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.until(lambda: self._serves(name))
        except TimeoutError:
            raise Trouble(f"{name} was not ready after {READY_SECONDS:g} s") from None

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Look until it is so; for what nobody announces.

        Raises:
            Trouble: it will not be.
        """
        while not await look():
            self.record.check()
            await asyncio.sleep(LOOK_SECONDS)

    async def _serves(self, name: str) -> bool:
        if name in QUEUES:
            return await self.broker.consumers(QUEUES[name]) > 0
        return await _answers(self.services[name].url)


@asynccontextmanager
async def set_up(amqp_url: str, timeline: Timeline, prefix: str) -> AsyncIterator[Stage]:
    """Start everything, wait until it is ready, and leave nothing behind."""
    record = Record()
    async with AsyncExitStack() as stack:
        issuer = Issuer(audience=AUDIENCE)
        keys = stack.enter_context(IssuerServer(issuer))
        broker = Broker(await stack.enter_async_context(await connect(amqp_url)), prefix)
        stack.push_async_callback(broker.clean)
        services = make_services(amqp_url, issuer.url, prefix, Ears(record, timeline))
        http = httpx.AsyncClient(base_url=services["gateway"].url, timeout=10, trust_env=False)
        await stack.enter_async_context(http)
        await stack.enter_async_context(_running(services.values()))
        stage = Stage(keys, services, broker, http, record, timeline)
        await asyncio.gather(*(stage.ready(name) for name in services))
        await stack.enter_async_context(broker.dead_letters(record.add))
        yield stage


@dataclass(frozen=True, slots=True)
class Ears:
    """Hears what the services print: events, which are noted and shown, and anything else."""

    record: Record
    timeline: Timeline

    def heard(self, service: str, line: str) -> None:
        """Take one line."""
        if not line.startswith("{"):
            self.timeline.note(line)
            return
        event = Event(**json.loads(line))
        self.timeline.event(service, event)
        self.record.add_event(service, event)

    def died(self, why: str, log: Sequence[str]) -> None:
        """Show what is known of a death, and let nobody wait for the dead."""
        for line in (why, *log):
            self.timeline.note(line)
        self.record.give_up(why)


async def connect(amqp_url: str) -> AbstractConnection:
    """Return a connection to the broker.

    Raises:
        Trouble: nobody answers.
    """
    try:
        return await aio_pika.connect(amqp_url)
    except (AMQPError, OSError) as error:
        raise Trouble(f"no broker answers at BUSAUTH_AMQP_URL: {error}") from error


def make_services(amqp_url: str, issuer: str, prefix: str, ears: Ears) -> dict[str, Service]:
    """Return the shop's services by name, not yet started, on ports that are free."""
    ports = dict(zip(HTTP_SERVICES, free_ports(len(HTTP_SERVICES)), strict=True))
    shared = {
        "BUSAUTH_AMQP_URL": amqp_url,
        "SHOP_ISSUER": issuer,
        "SHOP_LEDGER": f"http://{HOST}:{ports['ledger']}",
        "SHOP_HOST": HOST,
        "SHOP_PREFIX": prefix,
        "SHOP_LEEWAY": "0",
        "SHOP_GRACE": str(GRACE_SECONDS),
        "SHOP_KEYS_EVERY": "1",
        "SHOP_TIMELINE": "1",
    }
    return {
        name: Service(
            name,
            shared | {"SHOP_PORT": str(ports.get(name, 0))},
            url=f"http://{HOST}:{ports.get(name, 0)}",
            heard=ears.heard,
            died=ears.died,
        )
        for name in (*HTTP_SERVICES, *QUEUES)
    }


@asynccontextmanager
async def _running(services: Collection[Service]) -> AsyncIterator[None]:
    try:
        for service in services:
            await service.start()
        yield
    finally:
        await asyncio.gather(*(service.stop() for service in services))


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{url}/healthz")).is_success
    except httpx.TransportError:
        return False


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; held together, so that no two are the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]

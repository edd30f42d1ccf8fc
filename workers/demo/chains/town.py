"""What the scenes of a chain are played on: its services in this process, and time that is told.

The broker is a real one, and so is the issuer, over HTTP. Only the clock is not: tokens live to the
second, and twenty hours pass when a scene says so.
"""

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette

from busauth import JWKS, Bus, Event
from busauth.messages import MessageSecurity
from busauth.revocation import Revocations
from busauth.testing import Issuer, IssuerServer, ManualClock
from workers.demo.broker import Broker
from workers.demo.record import Record
from workers.demo.stage import connect
from workers.demo.timeline import Timeline
from workers.hop import Hop
from workers.place import Place

_ON_THE_WAY = ("accepted", "accepted-late", "published")


@dataclass(frozen=True, slots=True)
class Seen:
    """Takes what the services tell: decisions and hops are noted, and shown."""

    record: Record
    timeline: Timeline
    watchers: list[Callable[[Hop], None]] = field(default_factory=list)
    """Are told each hop as well, while the service stands there."""

    def told(self, service: str, event: Event) -> None:
        """Take a decision; that a caller is let in shows in what the service then holds."""
        if event.kind not in _ON_THE_WAY:
            self.timeline.event(service, event)
        self.record.add_event(service, event)

    def shown(self, hop: Hop) -> None:
        """Take what a service holds."""
        self.timeline.hop(hop)
        self.record.add(str(hop))
        for watcher in self.watchers:
            watcher(hop)

    def said(self, text: str) -> None:
        """Take what a service says."""
        self.timeline.note(text)
        self.record.add(text)


@dataclass(frozen=True, slots=True)
class Town:
    """Everything that a scene may touch."""

    place: Place
    idp: IssuerServer
    clock: ManualClock
    broker: Broker
    seen: Seen

    @property
    def record(self) -> Record:
        """Return what was seen in this scene."""
        return self.seen.record

    @property
    def timeline(self) -> Timeline:
        """Return where it is shown."""
        return self.seen.timeline

    def token(self, subject: str, audience: str, **claims: Any) -> str:
        """Return a token of the issuer's, as somebody's phone has it."""
        return self.idp.issuer.token(subject, aud=audience, **claims)

    async def ask(
        self,
        door: Starlette,
        path: str,
        *,
        token: str,
        body: Mapping[str, Any],
        name: str = "edge",
    ) -> None:
        """Ask an application of this process with a bearer token, and note the answer.

        Args:
            door: which one.
            path: where in it.
            token: whoever asks by it.
            body: what is sent along.
            name: as what the door is known.
        """
        transport = httpx.ASGITransport(app=door)
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.post(path, headers=headers, json=dict(body))
        code = "" if answer.is_success else f" {answer.json()['code']}"
        self.timeline.note(f"{name} answers {answer.status_code}{code}")
        self.record.add(f"{name}: {answer.status_code}{code}")

    def asked(self) -> int:
        """Return how often somebody asked the issuer for a token, or about one."""
        return sum(path in ("/token", "/introspect") for path in self.idp.requests)

    async def nothing_waits(self) -> None:
        """Note what waits in each queue that is consumed."""
        for queue in self.broker.queues:
            fact = f"{queue}: {await self.broker.waiting(queue)} waiting"
            self.timeline.note(fact)
            self.record.add(fact)


@asynccontextmanager
async def founded(
    amqp_url: str,
    timeline: Timeline,
    prefix: str,
    *,
    services: Collection[str],
    queues: Collection[str],
    revocations: Revocations | None = None,
    messages: Mapping[str, MessageSecurity] | None = None,
) -> AsyncIterator[Town]:
    """Give a town without services: broker, issuer, clock, and those who may ask the issuer."""
    clock = ManualClock(time.time() // 1)
    async with AsyncExitStack() as stack:
        idp = stack.enter_context(IssuerServer(Issuer(clock=clock)))
        keys = JWKS.discover(idp.issuer.url, clock=clock)
        broker = Broker(await stack.enter_async_context(await connect(amqp_url)), prefix, queues)
        stack.push_async_callback(broker.clean)
        seen = Seen(Record(), timeline)
        place = Place(
            amqp_url=amqp_url,
            issuer=idp.issuer.url,
            keys=keys,
            secrets={name: idp.issuer.register(name).secret for name in services},
            prefix=prefix,
            clock=clock,
            tell=seen.told,
            show=seen.shown,
            say=seen.said,
            revocations=revocations,
            messages=messages or {},
        )
        yield Town(place, idp, clock, broker, seen)


@asynccontextmanager
async def open_for(town: Town, *services: Bus | Starlette) -> AsyncIterator[None]:
    """Run services while inside, and tell dead letters."""
    async with AsyncExitStack() as stack:
        for service in services:
            if isinstance(service, Bus):
                await stack.enter_async_context(service)
            else:
                await stack.enter_async_context(service.router.lifespan_context(service))
        await stack.enter_async_context(town.broker.dead_letters(town.record.add))
        yield

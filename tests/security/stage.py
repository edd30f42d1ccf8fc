"""The stage: an honest service publishes, somebody else has the broker, a third consumes.

Whoever attacks has what a broker's user has: they read queues, take messages out, and publish
whatever bytes they like, past busauth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, Caller
from busauth.expiry import Policies
from busauth.testing import Issuer
from tests.parties import Party, Scene, security

WEB = Party("web", headers=("tenant",))
"""The honest publisher."""

ORDERS = Party("orders")
"""The consumer, which may release what it parked."""


@dataclass(frozen=True)
class Message:
    """A message as it is seen on the broker."""

    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, taken: AbstractIncomingMessage) -> "Message":
        names = ("message_id", "content_type", "type", "reply_to", "correlation_id")
        known = {name: getattr(taken, name) for name in names}
        return cls(
            taken.body,
            {name: value for name, value in taken.headers.items() if name != "x-delivery-count"},
            {name: value for name, value in known.items() if value is not None},
        )

    def having(self, **headers: Any) -> "Message":
        """Return it with headers changed; None takes one away; names are written with ``_``."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {**self.headers, **changed}
        return replace(self, headers={n: v for n, v in merged.items() if v is not None})

    def being(self, **properties: Any) -> "Message":
        """Return it with properties changed; None takes one away."""
        merged = {**self.properties, **properties}
        return replace(self, properties={n: v for n, v in merged.items() if v is not None})

    @property
    def token(self) -> str:
        return str(self.headers["authorization"]).removeprefix("Bearer ")


@dataclass
class Stage:
    """One scene with a consumer that demands proofs.

    Attributes:
        scene: broker, issuer, clock, trail.
        queue: what is consumed.
        bus: the consumer.
        handled: subjects and bodies, as the handler got them.
    """

    scene: Scene
    queue: str
    bus: Bus
    handled: list[tuple[str, bytes]] = field(default_factory=list)

    @classmethod
    def set(
        cls,
        scene: Scene,
        *,
        on_expired: Policies | None = None,
        handler: Callable[[AbstractIncomingMessage], None] = lambda _message: None,
        publishers: tuple[Any, ...] | None = None,
        queue: str | None = None,
        guarded: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> "Stage":
        trusted = (WEB.publisher(), ORDERS.publisher(relays=True))
        messages = security(*(publishers or trusted), signer=ORDERS.signer, **settings)
        queue = queue or scene.broker.name("orders")
        bus = scene.bus(messages, on_expired=on_expired, **(guarded or {}))
        stage = cls(scene, queue, bus)

        @bus.consumer(queue, scopes={"orders:write"})
        async def place(message: AbstractIncomingMessage, caller: Caller) -> None:
            handler(message)
            stage.handled.append((caller.subject, message.body))

        return stage

    def token(self, subject: str = "ann", **claims: Any) -> str:
        return self.scene.issuer.token(subject, **{"scope": "orders:write", **claims})

    async def publish(self, body: bytes, **named: Any) -> None:
        """Have the honest service publish."""
        message = aio_pika.Message(body, headers={"tenant": "a"}, content_type="text/plain")
        async with self.scene.publishing(WEB) as publishing:
            token = named.pop("token", None) or self.token()
            await publishing.publish(self.queue, message, token=token, **named)

    async def take(self, queue: str | None = None) -> Message:
        """Take the only message out of a queue, as who can read it may."""
        return Message.of(await self.scene.broker.one(queue or self.queue))

    async def put(self, message: Message, queue: str | None = None) -> None:
        """Publish a message past busauth."""
        await self.scene.broker.publish(
            queue or self.queue,
            message.body,
            headers=dict(message.headers),
            **message.properties,
        )

    async def pair(self) -> tuple[Message, Message]:
        """Have two messages published, and take both: one to tamper with, one to leave alone."""
        await self.bus.declare()
        await self.publish(b"one")
        first = await self.take()
        await self.publish(b"other")
        return first, await self.take()

    async def consume(self, *, handled: int, refused: int) -> None:
        """Consume until so many were handled and refused."""
        async with self.bus:
            if handled:
                await self.scene.trail.until("handled", count=handled)
            if refused:
                await self.scene.trail.until("refused", count=refused)

    async def refuses(self, attack: Message, code: str, *, untampered: Message) -> None:
        """Carry out an attack next to its untampered message."""
        await self.put(attack)
        await self.put(untampered)
        await self.consume(handled=1, refused=1)
        assert self.scene.codes() == [code]
        assert [body for _, body in self.handled] == [untampered.body]


def stranger() -> Issuer:
    """Return an issuer that nobody trusts."""
    return Issuer("https://stranger.example")


attack = pytest.mark.attack

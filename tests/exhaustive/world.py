"""A broker, an issuer and a service, all in one turn of one loop, and what has become of messages.

Messages are known by their bodies, which every copy keeps. Who declares and publishes does it with
bytes, at once, past busauth and past any client library.
"""

import asyncio
import re
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, cast

from aio_pika import connect_robust
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.message import Message
from pamqp.commands import Basic, Channel, Confirm, Queue
from pamqp.common import FieldTable
from pamqp.constants import FRAME_END_CHAR, FRAME_HEADER
from pamqp.header import ContentHeader

from busauth import Bus, BusOptions, Event, Guard, GuardOptions, RetryOptions, StaticKeys, Verifier
from busauth._amqp.topology import arguments_of
from busauth.testing import Issuer
from busauth.testing.broker import Broker as EmbeddedBroker
from busauth.testing.broker import Limits
from busauth.testing.broker.model.journal import Record, Step
from busauth.testing.broker.model.message import Message as ModelMessage
from busauth.testing.broker.model.queues.classic import Queue as ModelQueue
from tests.broker.fuzzing import HANDSHAKE, Wire, methods
from tests.conformance.frames import body, sent
from tests.exhaustive.virtual import LoopClock, VirtualLoop
from tests.parties import Party, security

QUEUE = "orders"
LIFETIME = 300.0
SCOPE = "orders:write"
RETRY = RetryOptions(limit=2, first=0.05)
BUS = BusOptions(retry=RETRY, drain=5.0)
GUARD = GuardOptions(pause_first=0.05, pause_longest=0.2, publish_timeout=2.0)
WEB, ORDERS = Party("web"), Party("orders")
CLOCK = LoopClock()
_PORTION = 131072 - 8
_FOR_PEOPLE = {"dead", "rejected", "parked"}
_BEARER = re.compile(rb"Bearer eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+")

Body = bytes
Handler = Callable[["World", AbstractIncomingMessage], Awaitable[None]]


@cache
def issuer() -> Issuer:
    """One issuer with one key, on whatever loop is running."""
    return Issuer(algorithm="ES256", clock=CLOCK, lifetime=3600.0)


@cache
def verifier() -> Verifier:
    """The keys of the issuer, at hand."""
    one = issuer()
    return Verifier(StaticKeys(one.jwks()), issuer=one.url, audience=one.audience, leeway=0)


def token(subject: str = "ann", **claims: Any) -> str:
    """Return a token that suffices, unless its claims say otherwise."""
    return issuer().token(subject, **{"scope": SCOPE, **claims})


class Operator:
    """Declares and publishes, by bytes on a connection of its own that never waits."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._connect()

    def _connect(self) -> None:
        self._wire: Any = Wire()
        self._protocol = cast("Any", self._broker._accept())
        self._protocol.connection_made(self._wire)
        self._protocol.data_received(HANDSHAKE + sent(Channel.Open()) + sent(Confirm.Select()))

    def declare(self, queues: Mapping[str, Mapping[str, Any]]) -> None:
        for name, arguments in queues.items():
            self.send(sent(Queue.Declare(queue=name, durable=True, arguments=dict(arguments))))

    def put(self, content: Body, properties: Basic.Properties, queue: str = QUEUE) -> bool:
        """Publish; return whether the broker took it."""
        return self.publish(framed(properties, content), content, queue)

    def publish(self, header: bytes, content: Body, queue: str = QUEUE) -> bool:
        """Publish with a header frame of one's own; return whether the broker took it."""
        parts = [content[at : at + _PORTION] for at in range(0, len(content), _PORTION)]
        self.send(
            sent(Basic.Publish(routing_key=queue, mandatory=True))
            + header
            + b"".join(body(part) for part in parts)
        )
        if self._is_closed():
            self.close()
            self._connect()
            return False
        return True

    def move(self, message: ModelMessage, place: str, queue: str) -> None:
        """Move the only message of a queue as it is, as a management page does."""
        payload = message.header
        self.send(sent(Queue.Purge(queue=place)))
        header = struct.pack(">BHI", FRAME_HEADER, 1, len(payload)) + payload + FRAME_END_CHAR
        self.publish(header, message.body, queue)

    def send(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def close(self) -> None:
        self._protocol.connection_lost(None)

    def _is_closed(self) -> bool:
        told, self._wire.written[:] = b"".join(self._wire.written), []
        ended = {b"\x00\x0a\x00\x32", b"\x00\x14\x00\x28"}
        return self._wire.closing or any(said[:4] in ended for _, said in methods(told))


@dataclass
class Setting:
    """How a service is set up: made anew for each process that runs it.

    Attributes:
        guard: returns its guard's settings.
        consumer: what its consumer asks for.
        bus: prefetch, limits, retries.
        plain: whether it is a plain consumer, without a bus.
    """

    guard: Callable[["World"], dict[str, Any]] = lambda _world: {}
    consumer: Mapping[str, Any] = field(default_factory=dict)
    bus: BusOptions = BUS
    plain: bool = False


class World:
    """What there is while one case runs.

    Attributes:
        queue: what is consumed.
        lifetime: seconds until a token expires that is to expire in the queue.
        runs, finished: how often a handler began and ended well, by body.
        events: what guards told.
        acked: what was acknowledged in the main queue while there was no copy of it.
        gone: what the broker has dropped.
        delivered: is told of each delivery from the main queue.
        is_dead: whether the process that runs was killed: what it does has no effect any more.
    """

    def __init__(
        self, loop: VirtualLoop, setting: Setting, handler: Handler, *, queue: str = QUEUE
    ) -> None:
        self.loop = loop
        self.queue = queue
        self.lifetime = LIFETIME
        self.setting = setting
        self.handler = handler
        self.broker = EmbeddedBroker(clock=CLOCK, limits=Limits(memory=2**31))
        self.runs, self.finished = Counter[Body](), Counter[Body]()
        self.events: list[Event] = []
        self.acked = Counter[Body]()
        self.gone = Counter[Body]()
        self.notes: dict[str, int] = {}
        self.moves = 0
        self.delivered: Callable[[Body], None] = lambda _content: None
        self.is_dead = False
        self.service: AbstractAsyncContextManager[Any] | None = None
        self.operator: Operator

    async def open(self) -> None:
        await self.broker.start()
        self.broker.node.journal.listen(self._moved)
        self.operator = Operator(self.broker)
        self.operator.declare(arguments_of(self.queue, self.setting.bus, parks=True))
        self.operator.declare({"answers": {}, "others": {}})

    def note(self, name: str) -> int:
        """Count one more of something that outlives processes; return how many there were."""
        self.notes[name] = self.notes.get(name, 0) + 1
        return self.notes[name] - 1

    def _moved(self, record: Record) -> None:
        self.moves += 1
        content = record.message.body
        if record.queue == self.queue and record.step is Step.ACKED and not self.places(content):
            self.acked[content] += 1
        elif record.queue == self.queue and record.step is Step.DELIVERED:
            self.delivered(content)
        elif record.step in (Step.DROPPED, Step.PURGED):
            self.gone[content] += 1

    def guard(self, **settings: Any) -> Guard:
        """Return a guard on this world's clock."""
        usual: dict[str, Any] = {"options": GUARD, "auditor": self.events.append}
        return Guard(verifier(), clock=CLOCK, **{**usual, **settings})

    @property
    def url(self) -> str:
        """Where the service finds its broker."""
        return self.broker.url

    @cached_property
    def web(self) -> Guard:
        """The guard of an honest publisher, which signs."""
        return self.guard(messages=security(signer=WEB.signer))

    # --- the service ----------------------------------------------------------------------------

    async def handled(self, message: AbstractIncomingMessage) -> None:
        """The handler of all services here."""
        if self.is_dead:
            return
        self.runs[message.body] += 1
        await self.handler(self, message)
        if not self.is_dead:
            self.finished[message.body] += 1

    @property
    def bus(self) -> Bus:
        """The service, where it is a bus."""
        assert isinstance(self.service, Bus)
        return self.service

    def _guarding(self) -> Guard:
        settings = self.setting.guard(self)
        verifiers = settings.pop("verifiers", (verifier(),))
        usual: dict[str, Any] = {"options": GUARD, "auditor": self._told}
        return Guard(*verifiers, clock=CLOCK, **{**usual, **settings})

    @asynccontextmanager
    async def _plain(self) -> AsyncIterator[None]:
        """A plain consumer, on a connection of its own."""

        @self._guarding()(queue=self.queue, scopes={SCOPE}, **self.setting.consumer)
        async def place(message: AbstractIncomingMessage) -> None:
            await self.handled(message)

        properties: FieldTable = {"connection_name": "test (consume)"}
        connection = await connect_robust(
            self.url, client_properties=properties, reconnect_interval=1.0
        )
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=100)
            await (await channel.get_queue(self.queue)).consume(place)
            yield

    def made(self) -> Bus:
        """Return the service, as a process has it that begins."""
        guard = self._guarding()
        bus = Bus(self.url, guard=guard, service="test", options=self.setting.bus)

        @bus.consumer(self.queue, **{"scopes": {SCOPE}, **self.setting.consumer})
        async def place(message: AbstractIncomingMessage) -> None:
            await self.handled(message)

        return bus

    def _told(self, event: Event) -> None:
        if not self.is_dead:
            self.moves += 1
            self.events.append(event)

    async def start(self) -> None:
        """Begin a process that runs the service."""
        self.is_dead, self.loop.is_cut_off = False, False
        self.service = self._plain() if self.setting.plain else self.made()
        await self.service.__aenter__()

    async def stop(self) -> None:
        """End it as an operator does."""
        service, self.service = self.service, None
        if service is not None:
            await service.__aexit__(None, None, None)

    def kill(self) -> None:
        """End it at once: its sockets are gone, and nothing that it does counts."""
        self.is_dead = self.loop.is_cut_off = True
        self.loop.cut()

    async def bury(self) -> None:
        """End the tasks of a process that was killed."""
        doomed = [task for task in self.loop.tasks if not task.done()]
        for _ in range(50):
            for task in doomed:
                task.cancel()
            await self.loop_turns(5)
            doomed = [task for task in doomed if not task.done()]
            if not doomed:
                break
        self.loop.tasks.clear()
        self.service = None

    async def loop_turns(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    # --- taking stock ---------------------------------------------------------------------------

    def queues(self) -> dict[str, ModelQueue]:
        found = self.broker.node.vhosts["/"].queues
        return {name: queue for name, queue in found.items() if isinstance(queue, ModelQueue)}

    def places(self, content: Body) -> Counter[str]:
        """Return in which queues a message is, and how often; delays are called ``retry``."""
        return Counter(
            self.kind(name)
            for name, queue in self.queues().items()
            for entry in queue.held()
            if entry.message.body == content
        )

    def bare(self, content: Body) -> tuple[str, ...]:
        """Return the queues for people in which a message has a token that is not encrypted."""
        return tuple(
            sorted(
                name
                for name, queue in self.queues().items()
                for entry in queue.held()
                if entry.message.body == content and self.kind(name) in _FOR_PEOPLE
                if _BEARER.search(entry.message.header)
            )
        )

    def kind(self, name: str) -> str:
        """Return what a queue is to the consumer's."""
        kind = name.removeprefix(self.queue).lstrip(".") or "main"
        return "retry" if kind.startswith("retry") else kind

    async def rest(self, *, quiet: float = 8.0, most: float = 150.0) -> bool:
        """Let time pass until nothing has moved for a while; return whether that came."""
        began = since = self.loop.time()
        moves = self.moves
        while self.loop.time() - since < quiet:
            if self.loop.time() - began > most:
                return False
            await asyncio.sleep(0.5)
            if self.moves != moves:
                moves, since = self.moves, self.loop.time()
        return True


def prepared(world: World, content: Body, bearer: str, **properties: Any) -> Basic.Properties:
    """Return what an honest publisher would send."""
    message = Message(content, **{"message_id": content.hex(), **properties})
    outgoing = world.web.core.outbox.prepare(message, bearer, exchange="", routing_key=world.queue)
    return outgoing.properties


def bearing(value: Any, content: Body, **properties: Any) -> Basic.Properties:
    """Return what somebody sends who writes headers by hand."""
    headers = {} if value is None else {"authorization": value}
    headers |= properties.pop("headers", {})
    return Basic.Properties(headers=headers, message_id=content.hex(), **properties)


def framed(properties: Basic.Properties, content: Body) -> bytes:
    """Return the frame of a content header."""
    return sent(ContentHeader(body_size=len(content), properties=properties))

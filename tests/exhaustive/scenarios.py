"""What can become of a message, each way of it once, with a service that is set up for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from pamqp.commands import Basic

from busauth import (
    Caller,
    DeadLetter,
    Deferred,
    Discard,
    Grace,
    GuardOptions,
    OnError,
    Park,
    Reject,
    Restrict,
    StaticKeys,
    ValidWhenPublished,
    Verifier,
)
from busauth.caller import current_lease
from busauth.delegation import Exchange
from busauth.errors import Forbidden
from busauth.expiry import Accept, LateToken, Verdict
from busauth.letters import Redrive
from busauth.messages import InProcessReplay, ReplayKey, Standing
from busauth.tokens import Decryption, Key, KeyMissing, TokenEncryption, shared_encryption_key
from tests.exchanging import VOUCHERS, Exchanging, voucher
from tests.exhaustive.encoding import content_header, short, table, text
from tests.exhaustive.world import (
    CLOCK,
    GUARD,
    ORDERS,
    WEB,
    Body,
    Handler,
    Setting,
    World,
    bearing,
    framed,
    issuer,
    prepared,
    token,
)
from tests.parties import security

TARGET: Body = b'{"id": 1}'
WAIT = 600.0
REDRIVE_KEY = shared_encryption_key(bytes(range(32)), key_id="redrive")


async def elsewhere() -> None:
    """Wait as one does for an answer."""
    await asyncio.sleep(0)


async def diligent(world: World, message: AbstractIncomingMessage) -> None:
    """A handler that does something."""
    await elsewhere()


Publishing = Callable[[World, Body], Basic.Properties]


def honest(world: World, content: Body) -> Basic.Properties:
    """As an honest service publishes, with a proof."""
    return prepared(world, content, token())


def short_lived(world: World, content: Body) -> Basic.Properties:
    """As an honest service publishes, with a token that expires in the queue."""
    return prepared(world, content, issuer().token("ann", scope="orders:write", exp=_soon(world)))


def _soon(world: World) -> int:
    return ceil(CLOCK.now() + world.lifetime)


@dataclass(frozen=True)
class Scenario:
    """One outcome.

    Attributes:
        name: for people, and for the ids of cases.
        ends: where the message is when all is done: ``handled``, ``discarded`` or a queue.
        setting: how the service is set up.
        publish: returns the message's properties.
        handler: what the service does.
        settles: whether the handler settles by itself.
        act: what somebody does once the message waits in its queue beside.
        may_run: whether the handler may ever run.
        header: instead of `publish`, the content header as bytes.
        is_brokers: whether the broker itself makes the letter, token included, as it was told to.
    """

    name: str
    ends: str
    setting: Setting = field(default_factory=Setting)
    publish: Publishing = honest
    handler: Handler = diligent
    settles: bool = False
    act: Callable[[World], Awaitable[object]] | None = None
    may_run: bool = True
    header: Callable[[World, Body], bytes] | None = None
    is_brokers: bool = False

    def made(self, world: World) -> bytes:
        """Return the message's content header, as its publisher makes it now."""
        if self.header is not None:
            return self.header(world, TARGET)
        return framed(self.publish(world, TARGET), TARGET)


# --- doubles ------------------------------------------------------------------------------------


class SlowReplay(InProcessReplay):
    """A memory that answers like one at the end of a network."""

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        await elsewhere()
        standing = await super().begin(key, holder=holder, redelivered=redelivered)
        await elsewhere()
        return standing

    async def done(self, key: ReplayKey) -> None:
        await elsewhere()
        await super().done(key)
        await elsewhere()

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        await elsewhere()
        await super().forget(key, holder=holder)
        await elsewhere()


class SlowKeys:
    """Keys that have to be fetched once."""

    def __init__(self) -> None:
        self._keys = StaticKeys(issuer().jwks())
        self._is_here = False
        self.epoch = 0

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        if not self._is_here:
            raise KeyMissing
        return self._keys.candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        await elsewhere()
        self._is_here = True
        await elsewhere()
        return True


@dataclass(frozen=True)
class Asking:
    """A user's policy that asks somebody else first."""

    verdict: Verdict

    async def decide(self, late: LateToken) -> Verdict | None:
        await elsewhere()
        return self.verdict


@dataclass(frozen=True)
class Undecided:
    """A user's policy that cannot tell the first times, then accepts."""

    world: World
    times: int

    async def decide(self, late: LateToken) -> Verdict | None:
        await elsewhere()
        if self.world.note("asked") < self.times:
            raise Deferred("somebody is out of reach")
        return Accept()


class Revoking:
    """Whoever is called eve has been revoked."""

    def revoked(self, caller: Caller, now: float) -> bool:
        return caller.subject == "eve"


def proven(**settings: Any) -> Any:
    """Return messages under proof, seal and a memory that is far away."""
    messages = security(WEB.publisher(), ORDERS.publisher(relays=True), signer=ORDERS.signer)
    replay = SlowReplay(keep_for=messages.proofs.remember_for) if messages.proofs else None
    return security(
        WEB.publisher(),
        ORDERS.publisher(relays=True),
        signer=ORDERS.signer,
        **{"replay": replay, **settings},
    )


# --- settings -----------------------------------------------------------------------------------


def on_expired(policy: Any, **more: Any) -> Setting:
    """A service with an expiry policy; one that is a function is made in its world."""

    def guard(world: World) -> dict[str, Any]:
        chosen = policy(world) if callable(policy) else policy
        return {"on_expired": chosen, **{name: make() for name, make in more.items()}}

    return Setting(guard=guard)


def failing(times: int, error: Callable[[], Exception] = LookupError) -> Handler:
    """A handler that fails the first times that it gets the message."""

    async def handle(world: World, message: AbstractIncomingMessage) -> None:
        await elsewhere()
        if message.body == TARGET and world.note("failed") < times:
            raise error()
        await elsewhere()

    return handle


def settling(how: Callable[[AbstractIncomingMessage], Awaitable[None]], times: int = 99) -> Handler:
    """A handler that settles the message itself the first times that it gets it."""

    async def handle(world: World, message: AbstractIncomingMessage) -> None:
        await elsewhere()
        if message.body == TARGET and world.note("settled") < times:
            await how(message)

    return handle


def by_hand(value: Callable[[], Any], **properties: Any) -> Publishing:
    def publish(world: World, content: Body) -> Basic.Properties:
        return bearing(value(), content, **properties)

    return publish


def bearer(**claims: Any) -> Callable[[], str]:
    return lambda: f"Bearer {token(**claims)}"


async def _release(world: World) -> None:
    await world.bus.release(world.queue, token())


async def _redrive(world: World) -> None:
    keys = Decryption([REDRIVE_KEY])
    redrive = Redrive(world.url, guard=world.bus.guard, queue=world.queue, keys=keys)
    await redrive.letters()


async def _move(world: World) -> None:
    place = f"{world.queue}.dead"
    (entry,) = world.queues()[place].held()
    world.operator.move(entry.message, place, world.queue)


def keeping() -> DeadLetter:
    """Letters keep their tokens."""
    return DeadLetter(keep_token=TokenEncryption({"redrive": REDRIVE_KEY}))


def _redriven(world: World) -> Any:
    """Refuse once and keep the token, then accept."""
    return [Twice(world), keeping()]


@dataclass(frozen=True)
class Twice:
    """Passes the first time, then accepts."""

    world: World

    async def decide(self, late: LateToken) -> Verdict | None:
        await elsewhere()
        return Accept() if self.world.note("twice") else None


def waiting(world: World, content: Body) -> Basic.Properties:
    """As an honest service publishes what is to wait, with a voucher."""
    return prepared(world, content, voucher(issuer()))


def _redeeming(_world: World) -> Exchange:
    return Exchange(Exchanging(issuer()), vouchers=VOUCHERS)


def _redeemed_never(_world: World) -> Exchange:
    refusing = Exchanging(issuer(), error=Forbidden("exchange.refused"))
    return Exchange(refusing, vouchers=VOUCHERS)


def _short(world: World) -> Exchange:
    """What is had lives for less than a margin, so that it is had anew at once."""
    idp = Exchanging(issuer(), claims={"exp": ceil(CLOCK.now() + 5)})
    return Exchange(idp, vouchers=VOUCHERS)


async def long_work(world: World, message: AbstractIncomingMessage) -> None:
    """A handler that has its token had anew."""
    await current_lease().fresh()
    await elsewhere()


_PLAIN = Setting()
_PROVEN = Setting(guard=lambda _world: {"messages": proven()})
_REFUSING = Setting(guard=lambda _world: {"revocations": Revoking()})
_NARROW = Setting(
    guard=lambda _world: {"options": GuardOptions(**{**GUARD.model_dump(), "concurrency": 1})}
)
_ANSWERING = Setting(
    guard=lambda _world: {
        "options": GuardOptions(**{**GUARD.model_dump(), "reply_to": ("answers",)})
    }
)
_FETCHING = Setting(
    guard=lambda _world: {
        "verifiers": (
            Verifier(SlowKeys(), issuer=issuer().url, audience=issuer().audience, leeway=0),
        )
    }
)


_BACK = Setting(consumer={"on_error": OnError.RETRY}, plain=True)


def _refused(name: str, ends: str, publish: Publishing) -> Scenario:
    return Scenario(f"refused_{name}", ends, _REFUSING, publish, may_run=False)


def _late(name: str, ends: str, policy: Any, **more: Any) -> Scenario:
    setting, may_run = on_expired(policy, **more), ends == "handled"
    return Scenario(f"late_{name}", ends, setting, short_lived, may_run=may_run)


def unreadable(world: World, content: Body) -> bytes:
    """A message with a token, and with a property that is no text."""
    headers = table([(b"authorization", text(f"Bearer {token()}"))])
    properties = {"headers": headers, "message_type": short(b"\xff\xfe")}
    return content_header(len(content), properties)


def odd_proof(world: World, content: Body) -> bytes:
    """A message whose proof is bytes that are no text, for a consumer that looks at none."""
    headers = table(
        [
            (b"authorization", text(f"Bearer {token()}")),
            (b"busauth-proof", text(b"\xff\xfe")),
        ]
    )
    return content_header(len(content), {"headers": headers, "message_id": short(b"odd")})


def long_id(world: World, content: Body) -> bytes:
    """A message with the longest id that there is, and a token that expires in the queue."""
    bearer = f"Bearer {token(exp=_soon(world))}"
    headers = table([(b"authorization", text(bearer))])
    message_id = short("é".encode() * 127)
    return content_header(len(content), {"headers": headers, "message_id": message_id})


_WEB = frozenset({"web"})

SCENARIOS = (
    # --- accepted
    Scenario("handled", "handled"),
    Scenario("handled_proven", "handled", _PROVEN),
    Scenario("handled_keys_fetched", "handled", _FETCHING),
    Scenario("handled_one_at_a_time", "handled", _NARROW),
    # --- refused
    _refused("header", "rejected", by_hand(lambda: None)),
    _refused("signature", "rejected", by_hand(lambda: f"Bearer {issuer().forged()}")),
    _refused("audience", "rejected", by_hand(bearer(aud="bank"))),
    _refused("not_yet", "dead", by_hand(bearer(nbf=2_000_000_000))),
    _refused("scope", "dead", by_hand(bearer(scope="other"))),
    _refused("revoked", "dead", by_hand(bearer(subject="eve"))),
    _refused("hops", "dead", by_hand(bearer(), headers={"busauth-hop": 99})),
    Scenario("refused_proof", "dead", _PROVEN, by_hand(bearer()), may_run=False),
    Scenario(
        "refused_answered",
        "dead",
        _ANSWERING,
        by_hand(bearer(scope="other"), reply_to="answers"),
        may_run=False,
    ),
    Scenario("unreadable", "rejected", header=unreadable, may_run=False),
    # --- late
    _late("grace", "handled", Grace(hours=1)),
    _late(
        "valid_when_published",
        "handled",
        ValidWhenPublished(hours=1, sources=_WEB),
        messages=proven,
    ),
    _late("restrict", "handled", Restrict({"orders:write"})),
    _late("park", "parked", Park(), messages=proven),
    _late("dead_letter", "dead", DeadLetter()),
    _late("kept", "dead", keeping(), messages=security),
    Scenario(
        "late_kept_long_id",
        "dead",
        on_expired(keeping(), messages=security),
        header=long_id,
        may_run=False,
    ),
    _late("discard", "discarded", Discard()),
    _late("user_accepts", "handled", Asking(Accept())),
    _late("user_refuses", "dead", Asking(DeadLetter())),
    _late("exchanged", "handled", lambda _world: Exchange(Exchanging(issuer()), late=True)),
    Scenario("voucher", "handled", on_expired(_redeeming, messages=proven), waiting),
    Scenario(
        "voucher_retried", "handled", on_expired(_redeeming, messages=proven), waiting, failing(1)
    ),
    Scenario(
        "voucher_refused",
        "dead",
        on_expired(_redeemed_never, messages=proven),
        waiting,
        may_run=False,
    ),
    Scenario("long_work", "handled", on_expired(_short, messages=proven), waiting, long_work),
    # --- undecided
    _late("deferred", "handled", lambda world: Undecided(world, 1)),
    _late("deferred_proven", "handled", lambda world: Undecided(world, 2), messages=proven),
    _late("postponed", "handled", lambda world: Undecided(world, 7)),
    # --- failed
    Scenario("retried", "handled", handler=failing(1)),
    Scenario("retried_proven", "handled", _PROVEN, handler=failing(1)),
    Scenario("failed_for_good", "dead", handler=failing(99)),
    Scenario("retried_odd_proof", "handled", header=odd_proof, handler=failing(1)),
    Scenario("rejected", "dead", handler=failing(99, lambda: Reject("no"))),
    # --- by a plain consumer
    Scenario("plain_handled", "handled", Setting(plain=True)),
    Scenario("plain_given_back", "handled", _BACK, handler=failing(2)),
    Scenario("plain_failed", "dead", Setting(plain=True), handler=failing(99)),
    # --- settled by the handler
    Scenario("settled_acked", "handled", handler=settling(lambda m: m.ack()), settles=True),
    Scenario("settled_nacked", "handled", handler=settling(lambda m: m.nack(), 1), settles=True),
    Scenario(
        "settled_rejected",
        "dead",
        handler=settling(lambda m: m.reject()),
        settles=True,
        is_brokers=True,
    ),
    # --- sent again
    Scenario("released", "handled", on_expired(Park(), messages=proven), short_lived, act=_release),
    Scenario(
        "redriven", "handled", on_expired(_redriven, messages=proven), short_lived, act=_redrive
    ),
    Scenario(
        "moved",
        "dead",
        on_expired(keeping(), messages=security),
        short_lived,
        act=_move,
        may_run=False,
    ),
)

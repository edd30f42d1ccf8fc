"""What it costs that authority goes on: exchanges, vouchers, transaction tokens, actors, delays.

Consumers get deliveries on a channel that says nothing; publications go to an embedded broker in a
process of its own, as it is this one's processor time that is measured. The authorization server is
the test kit's, without a socket: a cold exchange has both sides' work in it, and no network. All
tokens are signed with ES256. Steps take turns, and a ratio is taken within a round.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from random import shuffle
from typing import Any, NamedTuple

from aiormq.abc import DeliveredMessage

from bench import messages
from bench.delivered import deliveries
from bench.embedded_broker import embedded, queue_on
from bench.figures import Spread, ratios
from bench.patterns import WARM_CALLERS
from bench.proven import proving
from bench.scale import Scale
from bench.stages import Brought, Step, direct, guarded, timed
from busauth import Bus, Grace, Guard, GuardOptions, StaticKeys, Verifier
from busauth._delegation.exchanging import VOUCHER
from busauth.caller import acting, lease_for
from busauth.delegation import FORWARDED, Exchange, ExchangeRequest, Onward, Subject, TokenExchange
from busauth.expiry import Policies
from busauth.messages import MessageSecurity
from busauth.testing import Issuer, ManualClock
from busauth.tokens import TRANSACTION, ClientSecretBasic, Fetcher

_ALGORITHM, _SERVICE, _VOUCHERS, _AGENT = "ES256", "orders", "orders-later", "travel-agent"
_SCOPE = "orders:read orders:write"
_SHORT, _WEEK, _DELAY = 60.0, 7 * 24 * 3600.0, 3600.0
_MEMORY = 512
_WARM, _COLD, _PROVEN = "a message", "a message, cold", "a message with a proof"
_CONFIGURED = "a message in time, Exchange configured"
_FORWARDED = "a publication"

Whose = Callable[[str], str]
"""Returns a token of somebody's."""


class Compared(NamedTuple):
    """One thing that costs something.

    Attributes:
        against: what it is compared with, by name.
        step: does it once.
        brought: makes what the steps of one round take, which is not measured.
    """

    against: str
    step: Callable[[Any], Awaitable[object]]
    brought: Callable[[], list[Any]]


@dataclass(frozen=True, slots=True)
class Delegated:
    """Microseconds of processor time, round by round.

    Attributes:
        costs: by what was done.
        against: what each is compared with.
    """

    costs: dict[str, list[float]]
    against: dict[str, str]

    def times(self, name: str) -> Spread:
        """Return how many times as much one costs as what it is compared with."""
        return ratios(self.costs[name], self.costs[self.against[name]])

    @property
    def unneeded(self) -> Spread:
        """Return how many times as much a message costs where an exchange could be had for it."""
        return self.times(_CONFIGURED)

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return {
            name: {"against": self.against[name], "times": self.times(name).to_json(), "cpu": found}
            for name, found in self.costs.items()
        }


class World:
    """An issuer that exchanges, its callers, and a service that asks it.

    Args:
        scale: how much is done in a round.
    """

    def __init__(self, scale: Scale) -> None:
        self.clock = ManualClock()
        self.issuer = Issuer(
            audience=_SERVICE, algorithm=_ALGORITHM, lifetime=_WEEK, clock=self.clock
        )
        self.issuer.receivers[_VOUCHERS] = _SERVICE
        self.issuer.voucher_lifetime = self.issuer.transaction_lifetime = _WEEK
        self.idp = TokenExchange(
            self.issuer.url,
            client=ClientSecretBasic(_SERVICE, self.issuer.register(_SERVICE).secret),
            fetcher=Fetcher(transport=self.issuer.transport()),
            clock=self.clock,
        )
        self._edge = self.guard()
        self.each, self.few = scale.loop, max(1, scale.loop // 20)

    def token(self, subject: str, **claims: Any) -> str:
        """Return an access token."""
        return self.issuer.token(subject, scope=_SCOPE, **claims)

    def transaction_token(self, subject: str) -> str:
        """Return a transaction token with some context."""
        return self.issuer.transaction_token(subject, scope=_SCOPE, tctx={"cart": 7})

    def verifier(self, *, transactions: bool = False) -> Verifier:
        """Return what proves access tokens, or transaction tokens."""
        more: dict[str, Any] = {"profile": TRANSACTION} if transactions else {}
        return Verifier(
            StaticKeys(self.issuer.jwks()),
            issuer=self.issuer.url,
            audience=_SERVICE,
            algorithms=[_ALGORITHM],
            **more,
        )

    def guard(
        self,
        on_expired: Policies | None = None,
        *,
        transactions: bool = False,
        remembers: bool = True,
        security: MessageSecurity | None = None,
    ) -> Guard:
        """Return a guard; one that does not remember finds each next token new."""
        return Guard(
            self.verifier(transactions=transactions),
            clock=self.clock,
            on_expired=on_expired,
            messages=security,
            options=GuardOptions() if remembers else GuardOptions(cached_tokens=1),
        )

    async def subject(self, token: str) -> Subject:
        """Return whose token it is."""
        return Subject(await self._edge.authenticate(f"Bearer {token}"), token)

    def in_turn(self, tokens: Iterable[str]) -> list[str]:
        """Return one token for each message of a round."""
        return list(islice(cycle(tokens), self.each))


def _callers(whose: Whose) -> list[str]:
    """Return a token of each of the few callers who come again and again."""
    return [whose(f"user-{number:03}") for number in range(WARM_CALLERS)]


def _carrying(tokens: list[str]) -> list[DeliveredMessage]:
    """Return messages that carry transaction tokens."""
    found = deliveries(tokens)
    for message, token in zip(found, tokens, strict=True):
        message.header.properties.headers = {"txn-token": token}
    return found


def _consumed(world: World, late: list[str], vouchers: list[str]) -> dict[str, Compared]:
    """Return consumers, warm where nothing else is said."""
    usual = partial(deliveries, world.in_turn(_callers(world.token)))
    acted = partial(world.token, act={"sub": _AGENT})
    exchange, waited = Exchange(world.idp, late=True), partial(deliveries, world.in_turn(late))

    def by(guard: Guard, brought: Brought = usual, against: str = _WARM) -> Compared:
        return Compared(against, direct(guarded(guard)), brought)

    demanding: Step = direct(guarded(world.guard(), actors={_AGENT}))
    return {
        _WARM: by(world.guard()),
        _CONFIGURED: by(world.guard(exchange)),
        "a message, its actor demanded": Compared(
            _WARM, demanding, partial(deliveries, world.in_turn(_callers(acted)))
        ),
        "a late message, by Grace": by(world.guard(Grace(hours=1)), waited),
        "a late message, exchange remembered": by(world.guard(exchange), waited),
        **_proven(world, vouchers),
        **_cold(world),
    }


def _proven(world: World, vouchers: list[str]) -> dict[str, Compared]:
    """Return consumers of messages under proof, as vouchers are."""
    web, admitting = proving()[_ALGORITHM], Exchange(world.idp, vouchers=_VOUCHERS)
    usual = world.in_turn(_callers(world.token))
    return {
        name: Compared(
            _PROVEN,
            direct(guarded(world.guard(policy, security=web.security))),
            partial(web.deliveries, tokens, world.clock.now()),
        )
        for name, policy, tokens in (
            (_PROVEN, None, usual),
            ("a voucher, exchange remembered", admitting, world.in_turn(vouchers)),
        )
    }


def _cold(world: World) -> dict[str, Compared]:
    """Return consumers of transaction tokens, and of tokens that are new each time."""

    def new(whose: Whose) -> list[str]:
        return [whose(f"new-{number}") for number in range(world.each)]

    def step(*, transactions: bool = False, remembers: bool = True) -> Step:
        return direct(guarded(world.guard(transactions=transactions, remembers=remembers)))

    known = world.in_turn(_callers(world.transaction_token))
    return {
        "a transaction token": Compared(_WARM, step(transactions=True), partial(_carrying, known)),
        _COLD: Compared(_WARM, step(remembers=False), lambda: deliveries(new(world.token))),
        "a transaction token, cold": Compared(
            _COLD,
            step(transactions=True, remembers=False),
            lambda: _carrying(new(world.transaction_token)),
        ),
    }


def _exchanged(world: World, known: list[Subject], new: list[Subject]) -> dict[str, Compared]:
    """Return exchanges by themselves, of tokens that are remembered and of new ones."""
    request = ExchangeRequest.of("payments", scopes="orders:read")
    left = iter(new)

    async def step(subject: Subject) -> None:
        await world.idp.exchange(subject, request)

    return {
        "an exchange, remembered": Compared(_WARM, step, lambda: known),
        "an exchange, cold": Compared(_WARM, step, lambda: list(islice(left, world.few))),
    }


@asynccontextmanager
async def _published(world: World, known: list[Subject]) -> AsyncIterator[dict[str, Compared]]:
    """Open a bus whose handlers' tokens go on: as they are, exchanged, and for later."""
    async with embedded(_MEMORY) as broker, queue_on(broker) as (_, queue):
        onward = Onward(world.idp, audience="payments", scopes="orders:read")
        async with Bus(broker.url, guard=world.guard(), service=_SERVICE) as bus:

            def by(**more: Any) -> Compared:
                async def step(subject: Subject) -> None:
                    with acting(lease_for(subject.caller, subject.token, clock=world.clock)):
                        await bus.publish(queue.name, messages.ORDER, **more)

                return Compared(_FORWARDED, step, lambda: known)

            yield {
                _FORWARDED: by(),
                "a publication, FORWARDED said": by(onward=FORWARDED),
                "a publication, Onward remembered": by(onward=onward),
                "a publication, delayed": by(delay=_DELAY),
            }


async def _rounds(compared: dict[str, Compared], rounds: int) -> Delegated:
    costs: dict[str, list[float]] = {name: [] for name in compared}
    order = list(compared.items())
    for _ in range(rounds + 1):
        shuffle(order)  # who runs after whom matters to what is in the processor's caches
        for name, each in order:
            costs[name].append(await timed(each.step, each.brought()))
    against = {name: each.against for name, each in compared.items()}
    costs = {name: found[1:] for name, found in costs.items()}  # the first round warms up
    return Delegated(costs, against)


async def _measured(scale: Scale) -> Delegated:
    world = World(scale)
    now = world.clock.now()
    short = [await world.subject(t) for t in _callers(partial(world.token, exp=int(now + _SHORT)))]
    later = ExchangeRequest.of(_VOUCHERS, scopes=_SCOPE.split(), token_type=VOUCHER)
    vouchers = [(await world.idp.exchange(subject, later)).token for subject in short]
    for subject in short:  # in time yet, so that the consumer's exchange is a remembered one
        await world.idp.exchange(subject, ExchangeRequest.of(_SERVICE))
    known = [await world.subject(token) for token in _callers(world.token)]
    count = world.few * (scale.loop_rounds + 1)
    new = [await world.subject(world.token(f"new-{number}")) for number in range(count)]
    await world.clock.advance(seconds=2 * _SHORT)
    late = [subject.token for subject in short]
    async with _published(world, known) as published:
        compared = {**_consumed(world, late, vouchers), **_exchanged(world, known, new)}
        return await _rounds(compared | published, scale.loop_rounds)


def measure(scale: Scale) -> Delegated:
    """Measure everything, in turns; a line in the log for each late token is left out."""
    logger, usual = logging.getLogger("busauth"), logging.getLogger("busauth").level
    logger.setLevel(logging.ERROR)
    try:
        return asyncio.run(_measured(scale))
    finally:
        logger.setLevel(usual)

"""Keys that are rotated and removed while messages wait."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import aiormq
import pytest
from aiormq.channel import Channel
from pamqp.commands import Basic

from busauth import (
    JWKS,
    Bus,
    Caller,
    ConfigurationError,
    Guard,
    StaticKeys,
    ValidWhenPublished,
    Verifier,
)
from busauth._messages.proof import HEADER
from busauth.messages import OutgoingMessage, ProofSigner
from busauth.messages import TrustedPublisher as Trusted
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.testing.issuer.endpoints.documents import JWKS_PATH
from busauth.tokens import RetiredKeys, shared_secret
from tests.parties import Party, security
from tests.support import Broker, Trail

SECRET, FILE_KEY = bytes(range(32)), bytes(range(32, 64))
CALLERS, LATER = 500, 200
WAITING = [2000, pytest.param(10_000, marks=pytest.mark.thorough)]
DAY = 24 * 3600.0


@pytest.fixture
def server(clock: ManualClock) -> Iterator[IssuerServer]:
    with IssuerServer(Issuer(algorithm="ES256", clock=clock)) as server:
        yield server


def service(
    broker: Broker, server: IssuerServer, clock: ManualClock, trail: Trail, file: Path
) -> tuple[Bus, JWKS]:
    """Return a service as it is after a start: it knows what its file says, and asks its issuer."""
    jwks = JWKS(
        f"{server.issuer.url}{JWKS_PATH}",
        clock=clock,
        retired=RetiredKeys(keep_for=DAY, sources={"web"}, file=file, file_key=FILE_KEY),
    )
    verifier = Verifier(jwks, issuer=server.issuer.url, audience=server.issuer.audience, leeway=0)
    web = Trusted("web", StaticKeys(shared_secret(SECRET)), algorithms=["HS256"])
    guard = Guard(
        verifier,
        clock=clock,
        auditor=trail,
        on_expired=ValidWhenPublished(hours=12, sources={"web"}),
        messages=security(web),
    )
    return Bus(broker.url, guard=guard, service="orders"), jwks


async def publish(
    broker: Broker, queue: str, bearers: list[str], *, at: float, prefix: str
) -> None:
    """Publish a proven message for each token, as of an instant."""
    signer = ProofSigner("web", SECRET, algorithm="HS256")
    connection = await aiormq.connect(broker.url)
    channel = cast("Channel", await connection.channel(publisher_confirms=False))
    before = await broker.count(queue)
    for number, token in enumerate(bearers):
        message_id = f"{prefix}-{number}"
        binding = OutgoingMessage(
            token=token, body=b"{}", message_id=message_id, exchange="", routing_key=queue
        )
        headers: dict[str, Any] = {
            "authorization": f"Bearer {token}",
            HEADER: signer.sign(binding, at),
        }
        properties = Basic.Properties(headers=headers, message_id=message_id)
        await channel.basic_publish(b"{}", routing_key=queue, properties=properties, wait=False)
    await broker.settles_at(queue, before + len(bearers), seconds=60)
    await connection.close()


@pytest.mark.long
@pytest.mark.reference
@pytest.mark.timeout(300)
@pytest.mark.parametrize("waiting", WAITING)
async def test_messages_outlive_their_keys(
    broker: Broker,
    server: IssuerServer,
    clock: ManualClock,
    trail: Trail,
    tmp_path: Path,
    waiting: int,
) -> None:
    """All that were published before the removal are handled, none that claims to be from later."""
    queue, issuer = broker.name("orders"), server.issuer
    bus, jwks = service(broker, server, clock, trail, tmp_path / "keys")
    seen: set[str] = set()

    async def place(caller: Caller) -> None:
        seen.add(caller.subject)

    bus.consumer(queue)(place)
    await bus.declare()
    await jwks.refresh()
    removed_after = clock.now()
    tokens = [issuer.token(f"caller-{number}") for number in range(CALLERS)]
    stolen = issuer.token("mallory", exp=clock.now() + 6 * 3600)
    bearers = [tokens[number % CALLERS] for number in range(waiting)]
    await publish(broker, queue, bearers, at=removed_after, prefix="waiting")

    issuer.rotate(retire=True)
    await clock.advance(3600)
    await publish(broker, queue, [stolen] * LATER, at=clock.now(), prefix="later")
    current = [issuer.token(f"new-{number}") for number in range(LATER)]
    await publish(broker, queue, current, at=clock.now(), prefix="current")

    restarted, _ = service(broker, server, clock, trail, tmp_path / "keys")
    restarted.consumer(queue)(place)
    asked = len(server.requests)
    async with restarted:
        await trail.until("handled", count=waiting + LATER, seconds=120)
        await trail.until("refused", count=LATER, seconds=60)
    codes = {event.code for event in trail.events if event.kind == "refused"}
    assert codes == {"token.key_retired"}
    assert trail.kinds(queue).count("handled") == waiting + LATER
    assert seen == {f"caller-{number}" for number in range(CALLERS)} | {
        f"new-{number}" for number in range(LATER)
    }
    assert len(server.requests) - asked <= 2  # nobody waits for keys that are known to be gone
    await broker.settles_at(f"{queue}.rejected", LATER, seconds=60)


async def test_without_opting_in_a_removed_key_is_unknown(
    broker: Broker, server: IssuerServer, clock: ManualClock, trail: Trail
) -> None:
    """A proof of the instant alone does not bring a key back."""
    queue, web = broker.name("orders"), Party("web")
    jwks = JWKS(f"{server.issuer.url}{JWKS_PATH}", clock=clock)
    verifier = Verifier(jwks, issuer=server.issuer.url, audience=server.issuer.audience, leeway=0)
    guard = Guard(
        verifier,
        clock=clock,
        auditor=trail,
        messages=security(web.publisher(), signer=web.signer),
    )
    bus = Bus(broker.url, guard=guard, service="orders")

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        raise AssertionError

    await jwks.refresh()
    token = server.issuer.token("ann")
    async with bus:
        server.issuer.rotate(retire=True)
        await clock.advance(10)
        await jwks.refresh()
        await bus.publish(queue, b"{}", token=token)
        async with asyncio.timeout(20):
            while not trail.kinds(queue).count("refused"):
                await clock.advance(5)
                await asyncio.sleep(0.01)
    assert {event.code for event in trail.events if event.code} == {"token.key_unknown"}


def test_retired_keys_need_a_word_that_can_be_had(server: IssuerServer, clock: ManualClock) -> None:
    """A guard that checks nobody's proofs could never let a removed key count."""
    jwks = JWKS(
        f"{server.issuer.url}{JWKS_PATH}",
        clock=clock,
        retired=RetiredKeys(keep_for=DAY, sources={"web"}),
    )
    verifier = Verifier(jwks, issuer=server.issuer.url, audience="shop")
    with pytest.raises(ConfigurationError, match="RetiredKeys"):
        Guard(verifier)
    with pytest.raises(ConfigurationError, match="RetiredKeys"):
        Guard(verifier, messages=security(Party("other").publisher()))
    Guard(verifier, messages=security(Party("web").publisher()))

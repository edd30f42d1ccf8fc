"""What a retry, and the dead letter after it, keep of what a sender said."""

from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, BusOptions, Caller, RetryOptions
from busauth._amqp import headers
from busauth.messages import MessageSecurity
from busauth.testing import Issuer
from tests.support import Broker, Trail, guard_for

SAID = {
    "x-request-id": "r-1",
    "X-B3-TraceId": "80f198ee56343ba8",
    "x-datadog-parent-id": 7,
    "x-tenant": {"name": "acme", "ids": [1, 2]},
    "tenant": "acme",
}
BROKERS = {"CC": ["nowhere"], "x-delay": 9, "x-deduplication-header": "d", "x-opt-mine": "o"}


async def test_a_retry_and_its_letter_keep_what_means_nothing_to_a_broker(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Both carry the sender's `x-...` headers, under the seal, and none that brokers act on."""
    queue = broker.name("orders")
    security = MessageSecurity(seal={"1": bytes(range(32))})
    options = BusOptions(retry=RetryOptions(limit=2, first=0.05))
    guard = guard_for(issuer, trail, messages=security)
    bus = Bus(url, guard=guard, service="orders", options=options)
    seen: list[AbstractIncomingMessage] = []

    @bus.consumer(queue)
    async def fail(message: AbstractIncomingMessage, caller: Caller) -> None:
        seen.append(message)
        raise LookupError

    async with bus:
        await broker.publish(
            queue,
            token=issuer.token(),
            headers={**SAID, **BROKERS, "x-api-key": "opaque"},
            content_encoding="utf-8",
            app_id="web",
            priority=9,
        )
        await trail.until("refused")
    letter = await broker.one(f"{queue}.dead")
    assert [message.headers["x-api-key"] for message in seen] == ["opaque"] * 3
    for copy in (*seen[1:], letter):
        assert {name: copy.headers[name] for name in SAID} == SAID
        assert not BROKERS.keys() & copy.headers.keys()
        assert (copy.content_encoding, copy.app_id, copy.priority) == ("utf-8", "web", 0)
    assert "opaque" not in repr(letter.headers)
    assert [message.headers.get(headers.ATTEMPT) for message in seen] == [None, 1, 2]

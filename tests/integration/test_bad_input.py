"""Hostile and broken messages on a real queue: each is refused, in the right place, by its code."""

import asyncio
import base64
import json
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aio_pika
import jwt
import pytest

from busauth import Binding, Bus, BusOptions, Caller, Grace, Guard, RetryOptions
from busauth._amqp import headers
from busauth.messages import TolerantConnection, TolerantRobustConnection
from busauth.testing import Issuer
from tests.support import (
    Broker,
    Order,
    Trail,
    all_text,
    consuming,
    guard_for,
    long_table,
    publish_raw,
    short_string,
)


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(issuer: Issuer, payload: bytes, header: dict[str, Any] | None = None) -> str:
    """Sign bytes that no JSON library would write."""
    key = issuer.signing
    first = part({"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt", **(header or {})})
    message = f"{first}.{part(payload)}".encode()
    signature = jwt.algorithms.get_default_algorithms()[key.algorithm].sign(message, key.private)
    return f"{message.decode()}.{part(signature)}"


def with_raw_claim(issuer: Issuer, name: str, raw: str) -> str:
    """Replace a claim by JSON text."""
    claims = issuer.claims()
    claims.pop(name, None)
    return signed(issuer, (json.dumps(claims)[:-1] + f', "{name}": {raw}}}').encode())


def confused(issuer: Issuer) -> str:
    """HMAC with the public key as the secret."""
    public = issuer.signing.private.public_key()
    secret = json.dumps(issuer.signing.public_jwk()).encode()
    assert public is not None
    header = part({"alg": "HS256", "kid": issuer.signing.key_id, "typ": "at+jwt"})
    message = f"{header}.{part(issuer.claims())}".encode()
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        message, secret
    )
    return f"{message.decode()}.{part(signature)}"


def forged(issuer: Issuer) -> str:
    """The right kid, another key."""
    other = Issuer(issuer.url)
    return other.token(header={"kid": issuer.signing.key_id})


def unsigned(issuer: Issuer) -> str:
    return f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{part(issuer.claims())}.AA"


@dataclass(frozen=True)
class Case:
    """A message, and what becomes of it."""

    name: str
    code: str
    token: Callable[[Issuer], str] | None = None
    header: Any = None
    body: bytes = b'{"id": 1}'
    properties: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    genuine: bool = False

    def headers_for(self, issuer: Issuer) -> dict[str, Any]:
        if self.token is not None:
            return {**self.extra, "authorization": f"Bearer {self.token(issuer)}"}
        return {**self.extra, **({} if self.header is None else {"authorization": self.header})}


HEADERS = [
    Case("missing header", "header.missing"),
    Case("not a string: int", "header.not_text", header=5),
    Case("not a string: table", "header.not_text", header={"Bearer": "x"}),
    Case("not a string: list", "header.not_text", header=["Bearer x"]),
    Case("no Bearer", "header.scheme", header="eyJhbGciOiJub25lIn0.e30."),
    Case("another scheme", "header.scheme", header="Basic YWxpY2U6c2VjcmV0"),
    Case("Bearer doubled", "header.scheme", header="Bearer Bearer x.y.z"),
    Case("Bearer alone", "token.empty", header="Bearer "),
    Case("empty", "header.scheme", header=""),
    Case("huge", "token.too_large", header="Bearer " + "a" * 60_000),
    Case("non-ASCII", "token.characters", header="Bearer eyJé.eyJé.é"),
    Case("five parts", "token.encrypted", header="Bearer a.b.c.d.e"),
    Case("two parts", "token.segments", header="Bearer a.b"),
    Case("bad base64", "token.encoding", header="Bearer eyJhbGciOiJSUzI1NiJ9.eyJ.a"),
]

JSON = [
    Case("duplicate members", "token.json", lambda i: with_raw_claim(i, "sub", '"a", "sub": "b"')),
    Case("deep JSON", "token.json", lambda i: with_raw_claim(i, "x", "[" * 900 + "]" * 900)),
    Case("exp NaN", "token.json", lambda i: with_raw_claim(i, "exp", "NaN")),
    Case("exp Infinity", "token.json", lambda i: with_raw_claim(i, "exp", "Infinity")),
    Case("exp overflowing", "token.claim_invalid", lambda i: with_raw_claim(i, "exp", "1e999")),
    Case("exp bool", "token.claim_invalid", lambda i: with_raw_claim(i, "exp", "true")),
    Case("exp string", "token.claim_invalid", lambda i: with_raw_claim(i, "exp", '"9999999999"')),
    Case("exp negative", "token.claim_invalid", lambda i: with_raw_claim(i, "exp", "-1")),
    Case("exp list", "token.claim_invalid", lambda i: with_raw_claim(i, "exp", "[]")),
    Case("exp null", "token.claim_invalid", lambda i: with_raw_claim(i, "exp", "null")),
    Case("exp missing", "token.claim_missing", lambda i: i.token(exp=None)),
]

TOKENS = [
    Case("alg none", "token.algorithm", unsigned),
    Case("HS with the public key", "token.algorithm", confused),
    Case("forged", "token.signature", forged),
    Case("unknown kid", "token.key_unknown", lambda i: i.token(header={"kid": "nobody's"})),
    Case("crit", "token.crit", lambda i: i.token(header={"crit": ["b64"], "b64": True})),
    Case(
        "key in the header",
        "token.signature",
        lambda i: (o := Issuer(i.url)).token(
            header={
                "kid": i.signing.key_id,
                "jwk": o.signing.public_jwk(),
                "jku": "https://evil.test/jwks",
                "x5c": ["MIIB"],
            }
        ),
    ),
    Case("another type", "token.type", lambda i: i.token(header={"typ": "secevent+jwt"})),
    Case("foreign issuer", "token.issuer", lambda i: i.token(iss="https://evil.test")),
    Case("foreign audience", "token.audience", lambda i: i.token(aud="bank")),
    Case("foreign audiences", "token.audience", lambda i: i.token(aud=["bank", "Shop"])),
    Case("aud missing", "token.claim_missing", lambda i: i.token(aud=None)),
    Case("aud a number", "token.claim_invalid", lambda i: i.token(aud=5)),
    Case("cnf", "token.sender_constrained", lambda i: i.token(cnf={"jkt": "x"})),
    Case(
        "expired, foreign issuer", "token.issuer", lambda i: i.token(iss="https://evil.test", exp=1)
    ),
    Case("expired, foreign audience", "token.audience", lambda i: i.token(aud="bank", exp=1)),
]


def rightful(issuer: Issuer) -> str:
    return issuer.token(scope="w")


def powerless(issuer: Issuer) -> str:
    return issuer.token()


FORGED_HEADERS = {
    headers.REFUSAL: "none",
    headers.ATTEMPT: -5,
    headers.QUEUE: "elsewhere",
    "busauth-x": 1,
}
BROKER_HEADERS = {
    "CC": ["amq.nowhere"],
    "BCC": ["amq.nowhere"],
    "x-death": "mine",
    "x-match": "all",
}
STRAY = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"

REFUSED = [
    Case("nbf ahead", "token.not_yet_valid", lambda i: i.token(nbf=9_999_999_999)),
    Case("iat ahead", "token.issued_in_future", lambda i: i.token(iat=9_999_999_999)),
    Case("expired beyond grace", "token.expired", lambda i: i.token(exp=1)),
    Case("without the scope", "caller.scope", lambda i: i.token(scope="read")),
    Case("body not JSON", "body.not_json", rightful, body=b"\xff{"),
    Case("body not the model", "body.invalid", rightful, body=b'{"id": "x"}'),
    Case("body gzip", "body.encoding", rightful, properties={"content_encoding": "gzip"}),
    Case("too many hops", "message.hops", rightful, extra={headers.HOP: 33}),
    Case("broker's headers", "caller.scope", powerless, extra=BROKER_HEADERS),
    Case("user_id", "caller.scope", powerless, properties={"user_id": "guest"}),
    Case("expiration", "caller.scope", powerless, properties={"expiration": 3600}),
    Case("forged headers", "caller.scope", powerless, extra=FORGED_HEADERS),
    Case(
        "ten large headers",
        "caller.scope",
        powerless,
        extra={f"h{n}": "v" * 12_000 for n in range(10)},
    ),
    Case("a header of nearly a frame", "caller.scope", powerless, extra={"h": "v" * 125_000}),
    Case(
        "tokens in properties",
        "caller.scope",
        powerless,
        properties=dict.fromkeys(("app_id", "correlation_id", "content_type", "type"), STRAY),
    ),
    Case("a stray token", "caller.scope", powerless, extra={"Authorization": STRAY, "copy": STRAY}),
]
GENUINE = [replace(case, genuine=True) for case in REFUSED]

CASES = [*HEADERS, *JSON, *TOKENS, *GENUINE]


def orders(guard: Guard, queue: str, handled: list[Caller]) -> Any:
    @guard(queue=queue, scopes={"w"})
    async def place(order: Order, caller: Caller) -> None:
        handled.append(caller)

    return place


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_refused_with_its_code(
    case: Case, broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad message goes to its dead-letter queue with its code, and the worker goes on."""
    caplog.set_level(logging.DEBUG)
    guard = guard_for(issuer, trail, on_expired=Grace(minutes=10))
    queue = await broker.declare("orders")
    handled: list[Caller] = []
    sent = case.headers_for(issuer)
    async with consuming(broker, queue, orders(guard, queue, handled)):
        await broker.publish(queue, case.body, headers=sent, message_id="m", **case.properties)
        letter = await broker.one(f"{queue}.dead" if case.genuine else f"{queue}.rejected")
        assert not handled
        await broker.publish(queue, token=issuer.token(scope="w"))
        await trail.until("handled")
    assert letter.headers[headers.REFUSAL] == case.code
    assert letter.headers[headers.QUEUE] == queue
    assert str(letter.headers[headers.DETAIL]).startswith(case.code)
    assert letter.body == case.body
    assert letter.message_id == "m"
    assert len(handled) == 1
    await broker.settles_at(queue, 0)
    secret = str(sent.get("authorization", "")).rpartition(" ")[2]
    secret = secret if len(secret) > 8 else "nothing to hide"
    assert secret not in f"{all_text([letter])}{trail.events}{logged(caplog, 'busauth')}"
    if case.token is not None:
        assert secret not in logged(caplog)


def logged(caplog: pytest.LogCaptureFixture, name: str = "") -> str:
    """Return what was logged, at every level, by one logger or by all."""
    return "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(name))


async def test_what_was_left_out_of_a_copy_is_noted(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Properties that would act on the copy are noted as data, what was cut is listed."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    async with consuming(broker, queue, orders(guard, queue, [])):
        hostile = {"CC": ["elsewhere"], "big": "v" * 120_000, "kept": "yes"}
        await broker.publish(
            queue, token=issuer.token(), headers=hostile, user_id="guest", expiration=3600
        )
        letter = await broker.one(f"{queue}.dead")
    noted = letter.headers[headers.NOTED]
    assert isinstance(noted, dict)
    assert noted == {"CC": "['elsewhere']", "user_id": "guest", "expiration": "3600000"}
    assert (letter.user_id, letter.expiration) == (None, None)
    assert "CC" not in letter.headers
    assert letter.headers["kept"] == "yes"
    assert letter.delivery_mode == 2


async def test_duplicate_message_ids_in_flight_are_all_confirmed(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Fifty refused messages with one message id are fifty dead letters."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    async with consuming(broker, queue, orders(guard, queue, [])):
        for _ in range(50):
            await broker.publish(queue, token=issuer.token(), message_id="same")
        await trail.until("refused", count=50)
    await broker.settles_at(f"{queue}.dead", 50)
    await broker.settles_at(queue, 0)


BAD_UTF8 = struct.pack(">I", 2) + b"\xff\xfe"
HEADERS_FLAG, CORRELATION_FLAG, TIMESTAMP_FLAG = 0x2000, 0x0400, 0x0040


@pytest.mark.parametrize("name", [b"authorization", b"other"])
async def test_header_values_that_are_no_text_are_refused_like_any(
    name: bytes, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A header value that cannot be written again does not stand in the way of the dead letter."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    async with consuming(broker, queue, orders(guard, queue, [])):
        table = long_table(short_string(name) + b"S" + BAD_UTF8)
        await publish_raw(url, queue, HEADERS_FLAG, table)
        letter = await broker.one(f"{queue}.rejected")
    known = name == b"authorization"
    assert letter.headers[headers.REFUSAL] == ("header.not_text" if known else "header.missing")


async def test_headers_that_cannot_be_written_again_do_not_stop_a_retry(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A retry keeps its token whatever a sender wrote into busauth's own headers."""
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=1, first=0.05))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

    @bus.consumer(queue)
    async def fail(caller: Caller) -> None:
        raise LookupError

    bearer = f"Bearer {issuer.token()}".encode()
    members = [
        short_string(b"authorization") + b"S" + struct.pack(">I", len(bearer)) + bearer,
        *(short_string(n) + b"S" + BAD_UTF8 for n in (b"busauth-hop", b"busauth-attempt", b"odd")),
    ]
    async with bus:
        await publish_raw(url, queue, HEADERS_FLAG, long_table(b"".join(members)))
        await trail.until("refused")
    assert trail.kinds(queue) == ["accepted", "retried", "accepted", "refused"]


@pytest.mark.parametrize("kind", [b"S", b"x"], ids=["text", "bytes"])
async def test_a_token_in_ascii_bytes_is_read_like_its_text(
    kind: bytes, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Some clients write either: it is accepted, retried with its token, and at last left out."""
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=1, first=0.05))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

    @bus.consumer(queue)
    async def fail(caller: Caller) -> None:
        raise LookupError

    token = issuer.token()
    bearer = f"Bearer {token}".encode()
    header = short_string(b"authorization") + kind + struct.pack(">I", len(bearer)) + bearer
    async with bus:
        await publish_raw(url, queue, HEADERS_FLAG, long_table(header))
        await trail.until("refused")
        letter = await broker.one(f"{queue}.dead")
    assert trail.kinds(queue) == ["accepted", "retried", "accepted", "refused"]
    assert "authorization" not in letter.headers
    assert token not in all_text([letter])


async def test_a_token_in_bytes_that_are_no_ascii_is_refused(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Bytes that could be read in two ways are read in none."""
    queue = await broker.declare("orders")
    bearer = f"Bearer {issuer.token()}\u00e9".encode()
    header = short_string(b"authorization") + b"x" + struct.pack(">I", len(bearer)) + bearer
    async with consuming(broker, queue, orders(guard_for(issuer, trail), queue, [])):
        await publish_raw(url, queue, HEADERS_FLAG, long_table(header))
        letter = await broker.one(f"{queue}.rejected")
    assert letter.headers[headers.REFUSAL] == "header.not_text"


UNREADABLE = {
    "a correlation id that is no text": (CORRELATION_FLAG, short_string(b"\xff\xfe")),
    "a timestamp beyond any date": (TIMESTAMP_FLAG, b"\xff" * 8),
    "a header name that is no text": (
        HEADERS_FLAG, long_table(short_string(b"\xff") + b"V"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("poison", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_the_client_library_cannot_read_is_put_away(
    poison: tuple[int, bytes], broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """It goes to the rejected as a bare copy; its neighbours are handled, each once."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")
    handled: list[int] = []

    @bus.consumer(queue)
    async def place(order: Order, caller: Caller) -> None:
        handled.append(order.id)

    await bus.declare()
    token = issuer.token()
    for number in range(4):
        await broker.publish(queue, b'{"id": %d}' % number, token=token)
        if number == 1:
            await publish_raw(url, queue, *poison)
    async with bus:
        await trail.until("handled", count=4)
        (refused,) = await trail.until("refused")
    assert handled == [0, 1, 2, 3]
    assert refused.code == "message.unreadable"
    letter = await broker.one(f"{queue}.rejected")
    assert letter.headers[headers.REFUSAL] == "message.unreadable"
    assert letter.body == b"{}"
    await broker.settles_at(queue, 0)
    await broker.settles_at(f"{queue}.dead", 0)


async def test_a_route_that_is_no_text_is_put_away_as_well(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A routing key is its publisher's choice, and no UTF-8 in it stops a consumer."""
    queue, exchange = broker.name("orders"), broker.name("events")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")

    @bus.consumer(queue, bindings=[Binding(exchange)])
    async def place(order: Order, caller: Caller) -> None:
        pass

    async with bus:
        await publish_raw(url, b"\xff\xfe", 0, b"", exchange=exchange)
        await broker.publish(queue, token=issuer.token())
        await trail.until("handled")
        (refused,) = await trail.until("refused")
    assert refused.code == "message.unreadable"
    await broker.channel.exchange_delete(exchange)


async def test_an_unreadable_message_disturbs_no_other_queue(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A slow handler of another queue, on the same bus, begins once; the bus starts at once."""
    poisoned, other = broker.name("poisoned"), broker.name("other")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")
    begun, release = asyncio.Event(), asyncio.Event()
    runs: list[int] = []

    @bus.consumer(poisoned)
    async def place(order: Order, caller: Caller) -> None:
        pass

    @bus.consumer(other)
    async def slow(order: Order, caller: Caller) -> None:
        runs.append(order.id)
        begun.set()
        await release.wait()

    await bus.declare()
    await publish_raw(url, poisoned, *UNREADABLE["a timestamp beyond any date"])
    async with bus:
        await broker.publish(other, token=issuer.token())
        await begun.wait()
        for _ in range(20):
            await publish_raw(url, poisoned, *UNREADABLE["a correlation id that is no text"])
        await trail.until("refused", count=21)
        release.set()
        await trail.until("handled")
    assert runs == [1]
    await broker.settles_at(f"{other}.dead", 0)


@pytest.mark.parametrize(
    ("connect", "kind"),
    [
        (aio_pika.connect, TolerantConnection),
        (aio_pika.connect_robust, TolerantRobustConnection),
    ],
    ids=["plain", "robust"],
)
async def test_a_plain_consumer_can_have_a_tolerant_connection(
    connect: Any, kind: Any, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """On such a connection of the user's own, what cannot be read is refused like any other."""
    queue = await broker.declare("orders")
    guard = guard_for(issuer, trail)

    @guard(queue=queue)
    async def place(order: Order, caller: Caller) -> None:
        pass

    async with await connect(url, connection_class=kind) as connection:
        channel = await connection.channel()
        await (await channel.get_queue(queue)).consume(place)
        for _ in range(2):
            await publish_raw(url, queue, *UNREADABLE["a timestamp beyond any date"])
        await broker.publish(queue, token=issuer.token())
        await trail.until("handled")
        await trail.until("refused", count=2)
    await broker.settles_at(f"{queue}.rejected", 2)

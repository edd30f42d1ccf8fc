"""Copies of received messages, where no broker is needed to see them."""

from typing import Any
from unittest.mock import Mock

import pytest
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelPreconditionFailed
from pamqp import encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth._amqp import headers
from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import BEARER
from busauth._amqp.publishing import copies
from busauth._amqp.publishing.copies import Carried, Outgoing, Refusal
from busauth._amqp.publishing.publisher import ClosedTogetherError, Publisher
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.returns import Returns
from busauth._amqp.settling.surroundings import Surroundings
from busauth._amqp.topology import Tail
from busauth._messages.seal import Sealed
from busauth._redaction import TOKEN_SHAPE
from busauth.errors import Forbidden, HandlerFailed, NotGenuine, PublishError

FRAME = 131_072
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln"


def received(given: dict[str, Any], *, redelivered: bool = False, **said: Any) -> Delivery:
    """Return a delivery with these headers."""
    properties = Basic.Properties(headers=given)
    for name, value in said.items():
        setattr(properties, name, value)
    delivery = DeliveredMessage(
        delivery=Basic.Deliver(
            consumer_tag="c", delivery_tag=1, redelivered=redelivered, routing_key="orders"
        ),
        header=ContentHeader(properties=properties),
        body=b"",
        channel=Mock(),
    )
    return Delivery(delivery)


def letter(message: Delivery) -> dict[str, Any]:
    """Return the headers of its dead letter."""
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    outgoing = copies.dead_letter(message, refusal, token_header="authorization", frame_max=FRAME)
    assert headers.header_frame_size(outgoing.properties) <= FRAME
    return dict(outgoing.properties.headers or {})


def test_of_a_frame_full_of_headers_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty-six thousand headers a thousand are measured, once each; how many went is told."""
    measured: list[dict[str, Any]] = []
    size: Any = encode.field_table

    def counted(table: dict[str, Any]) -> bytes:
        measured.append(table)
        encoded: bytes = size(table)
        return encoded

    flood = {f"h{number:x}": None for number in range(26_000)}
    with monkeypatch.context() as patched:
        patched.setattr(encode, "field_table", counted)
        found = letter(received(flood))
    assert sum(len(table) == 1 for table in measured) <= 1000
    assert found[headers.REFUSAL] == "header.missing"
    assert [name for name in found if name in flood] == list(flood)[:1000]
    assert found[headers.CUT].startswith("25000: h3e8, h3e9, ")


def test_of_many_noted_headers_some_are_told() -> None:
    """What the broker would act on is noted up to a number, and how many more there were."""
    found = letter(received({f"x-opt-{number}": "v" for number in range(9000)}))
    assert len(found[headers.NOTED]) == 101
    assert found[headers.NOTED]["…"] == "8900 more"


@pytest.mark.parametrize("value", ["eyJ" * 40_000, ["eyJhbGciO"] * 9000, {"a": b"eyJ" * 40_000}])
def test_what_is_too_long_to_be_searched_counts_as_a_token(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins like tokens is searched up to some length; ordinary headers are kept."""
    searched: list[str] = []
    found = letter_noting(searched, monkeypatch, {"a": value, "plain": "x" * 50_000})
    assert "a" not in found
    assert found["plain"] == "x" * 50_000
    assert sum(map(len, searched)) <= 16 * 1024


def letter_noting(
    searched: list[str], monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> dict[str, Any]:
    """Return a dead letter's headers; note what was searched for tokens in theirs."""
    search = TOKEN_SHAPE.search

    def noting(text: str) -> object:
        searched.append(text)
        return search(text)

    with monkeypatch.context() as patched:
        patched.setattr("busauth._amqp.publishing.rewriting.TOKEN_SHAPE", Mock(search=noting))
        return letter(received(given))


@pytest.mark.parametrize(
    "given",
    [
        {"a": TOKEN},
        {"a": TOKEN.encode()},
        {"a": b"\xff\xfe" + TOKEN.encode()},
        {"a": {"b": [1, {"c": TOKEN}]}},
        {"a": {TOKEN: 1}},
        {TOKEN: 1},
        {"a": [None, True, "eyJhbGciOiJub25lIn0", f"x {TOKEN} y"]},
    ],
)
def test_tokens_are_found_wherever_they_are(given: dict[str, Any]) -> None:
    """In names and values, text and bytes, lists and tables: a header with a token is left out."""
    found = letter(received({**given, "plain": "stays"}))
    assert found["plain"] == "stays"
    assert not set(given) & set(found)


@pytest.mark.parametrize("given", [{"n" * 129: 1}, {"é" * 65: 1}, {"a": [{"b": {"n" * 200: 1}}]}])
def test_a_name_that_is_too_long_is_cut(
    given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It would be cut to another's name, with a line in the log each time."""
    found = letter(received(given))
    assert not set(given) & set(found)
    assert found[headers.CUT].startswith("1: ")
    assert not caplog.records


def test_the_largest_headers_go_first_and_are_listed() -> None:
    """What had to be cut is told with its number; small headers stay."""
    found = letter(received({"small": "x", **{f"big{n}": "v" * 60_000 for n in range(3)}}))
    assert found["small"] == "x"
    assert found[headers.CUT] == "1: big2"
    assert sum(name.startswith("big") for name in found) == 2


@pytest.mark.parametrize("frame_max", [4096, 8192, FRAME])
def test_small_frames_have_room_for_the_reason(frame_max: int) -> None:
    """Of busauth's own headers, those that are missed least go first, and are listed."""
    message = received(
        {"busauth-proof": "p" * 3000, "tenant": "acme"},
        correlation_id="c" * 255,
        message_id="i" * 255,
        app_id="\u20ac" * 85,
        priority=300,
    )
    refusal = Refusal(
        refused=Forbidden("caller.scope", found="\u20ac" * 200, expected="\u20ac" * 200),
        queue="q" * 255,
        at=0.0,
        token_sha256="0" * 64,
        proven=True,
    )
    outgoing = copies.dead_letter(
        message, refusal, token_header="authorization", frame_max=frame_max
    )
    assert headers.header_frame_size(outgoing.properties) <= frame_max
    found = outgoing.properties.headers or {}
    assert (found[headers.REFUSAL], found[headers.TOKEN_SHA256]) == ("caller.scope", "0" * 64)
    assert (headers.PROOF in found) is (frame_max > 4096)
    assert "priority" in str(found[headers.CUT])
    assert outgoing.properties.message_id == "i" * 255


def test_a_count_is_believed_only_where_no_sender_wrote_it() -> None:
    """A broker's count counts on a redelivery from a quorum queue; the larger of two headers."""
    for name in ("x-delivery-count", "x-acquired-count"):
        first = received({name: 99})
        again = received({name: 5}, redelivered=True)
        assert Returns(counted=True).are_often(again)
        assert not Returns(counted=True).are_often(received({name: 4}, redelivered=True))
        assert not Returns(counted=True).are_often(first)
        assert not Returns(counted=False).are_often(again)


def test_a_token_header_of_any_name_is_not_noted() -> None:
    """A configured header that looks like the broker's own is removed like any token."""
    message = received({"x-token": "opaque secret", "x-match": 1})
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    outgoing = copies.dead_letter(message, refusal, token_header="x-token", frame_max=FRAME)
    assert "secret" not in repr(outgoing.properties.headers)
    assert outgoing.properties.headers is not None
    assert outgoing.properties.headers[headers.NOTED] == {"x-match": "1"}


def test_the_pseudo_queue_of_direct_reply_to_is_not_copied() -> None:
    """Whoever publishes it and asks for no replies has their channel closed; a name is kept."""
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    for reply_to, kept in (
        ("amq.rabbitmq.reply-to", None),
        ("amq.rabbitmq.reply-to.g1h2", "amq.rabbitmq.reply-to.g1h2"),
        ("answers", "answers"),
    ):
        message = received({}, reply_to=reply_to)
        copy = copies.dead_letter(message, refusal, token_header="authorization", frame_max=FRAME)
        assert copy.properties.reply_to == kept
        cut = (copy.properties.headers or {}).get(headers.CUT)
        assert cut == ("1: reply_to" if kept is None else None)


async def test_a_letter_that_the_broker_does_not_take_goes_bare() -> None:
    """Whatever property closes the channel, a copy without any of the sender's takes its place."""
    published: list[Outgoing] = []

    class Closing(Publisher):
        async def publish(self, connection: Any, outgoing: Outgoing, **_: Any) -> None:
            published.append(outgoing)
            if len(published) == 1:
                raise PublishError("closed") from ChannelPreconditionFailed("406")

    async def outlet(_: Delivery) -> Any:
        return Mock(connection_tune=Mock(frame_max=FRAME))

    disposal = Disposal(
        queue="orders",
        token_header=BEARER,
        publisher=Closing(),
        outlet=outlet,
        retries=Tail("orders", 1),
        around=Surroundings("orders"),
    )
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    message = received({"tenant": "a"}, app_id="odd")
    assert await disposal.dead_letter(message, refusal) == "orders.rejected"
    whole, bare = published
    assert (whole.properties.app_id, bare.properties.app_id) == ("odd", None)
    assert bare.body == message.body
    assert (bare.properties.headers or {})[headers.REFUSAL] == "header.missing"


async def test_a_letter_beside_one_that_the_broker_refuses_goes_again_whole() -> None:
    """Whose fault a closed channel was is found out by sending the letter again, apart."""
    published: list[tuple[Outgoing, bool]] = []

    class Shared(Publisher):
        async def publish(
            self, connection: Any, outgoing: Outgoing, *, apart: bool = False, **_: Any
        ) -> None:
            published.append((outgoing, apart))
            if not apart:
                raise ClosedTogetherError("closed") from ChannelPreconditionFailed("406")

    async def outlet(_: Delivery) -> Any:
        return Mock(connection_tune=Mock(frame_max=FRAME))

    disposal = Disposal(
        queue="orders",
        token_header=BEARER,
        publisher=Shared(),
        outlet=outlet,
        retries=Tail("orders", 1),
        around=Surroundings("orders"),
    )
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    await disposal.dead_letter(received({"tenant": "a"}, app_id="odd"), refusal)
    (first, _), (again, apart) = published
    assert apart
    assert again is first
    assert again.properties.app_id == "odd"


_FORMS: list[Any] = [f"Bearer {TOKEN}", f"Bearer {TOKEN}".encode(), bytearray(b"Bearer opaque")]


@pytest.mark.parametrize("value", _FORMS, ids=["text", "bytes", "opaque-bytes"])
@pytest.mark.parametrize("name", ["authorization", "txn-token", "proxy-authorization", "x-token"])
def test_a_token_that_came_as_bytes_is_left_out_like_its_text(name: str, value: object) -> None:
    """No dead letter carries one, nor notes what it was."""
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    header = name if name.startswith("x-") else "authorization"
    message = received({name: value, "tenant": b"shop"})
    outgoing = copies.dead_letter(message, refusal, token_header=header, frame_max=FRAME)
    found = dict(outgoing.properties.headers or {})
    assert name not in found
    assert found["tenant"] == bytearray(b"shop")
    assert TOKEN not in repr(found)
    assert "opaque" not in repr(found)


@pytest.mark.parametrize("value", _FORMS, ids=["text", "bytes", "opaque-bytes"])
@pytest.mark.parametrize("header", ["authorization", "x-token"])
@pytest.mark.parametrize("frame_max", [FRAME, 4096])
def test_a_retry_keeps_a_token_that_came_as_bytes(header: str, value: Any, frame_max: int) -> None:
    """It is busauth's to keep, as text, and no sender's header that could be cut."""
    message = received({header: value, "large": "x" * 4000})
    carried = copies.Carried(Sealed(attempt=1), None)
    outgoing = copies.retry(message, carried, token_header=header, frame_max=frame_max)
    text = value if isinstance(value, str) else value.decode()
    assert (outgoing.properties.headers or {})[header] == text


@pytest.mark.parametrize("value", [b"Bearer \xff", 5, ["Bearer x"]])
def test_a_retry_makes_no_token_of_anything_else(value: object) -> None:
    """What could not be read stays what it was."""
    carried = copies.Carried(Sealed(attempt=1), None)
    outgoing = copies.retry(
        received({"authorization": value}), carried, token_header="authorization", frame_max=FRAME
    )
    assert (outgoing.properties.headers or {})["authorization"] == value


OPAQUE = "s3cr3t-opaque-0123456789abcdef"
APPLICATIONS = [
    *("x-request-id", "X-Correlation-ID", "x-b3-traceid", "x-amzn-trace-id", "x-datadog-trace-id"),
    *("x-tenant", "x-message-id", "x-delivery-id", "x-author", "x-queued-at", "X-", "x-deathly"),
    *(
        "x-idempotency-key",
        "x-partition-key",
        "x-hub-signature",
        "x-authenticated-user",
        "x-bypass",
    ),
]
BROKERS = [
    *("CC", "bcc", "x-death", "X-Death", "x-first-death-queue", "x-last-death-reason", "x-delay"),
    *("x-delivery-count", "x-acquired-count", "x-opt-rabbitmq-sent-time", "x-stream-offset"),
    *("x-stream-filter-value", "x-match", "x-expires", "x-message-ttl", "x-deduplication-header"),
    *("x-received-from", "x-shovelled", "x-routed-by", "x-routing-key", "x-cc", "x-dead-letter-to"),
]
SECRETS = [
    *("x-api-key", "X-Auth-Token", "x-access-token", "x-amz-security-token", "x-csrftoken"),
    *("x-forwarded-authorization", "x-client-secret", "x-goog-iap-jwt-assertion", "x-cookie"),
    *("x-api_key", "X-Api.Key", "x-apikey", "x-access.key", "x-functions-key", "x-private_key"),
    *("x-session-id", "x-sid", "x-passwd", "x-user-pass", "x-pwd", "x-key", "x-creds", "x-oauth2"),
    *("x-bearer", "x-auth_key", "x-tokens", "x-authorization-value", "x-jwts", "x-otp"),
]


def copied(given: dict[str, Any]) -> list[set[str]]:
    """Return the names of a sender's headers on a retry, on a letter, and sent again."""
    message = received(given)
    retried = copies.retry(
        message, Carried(Sealed(), None), token_header="authorization", frame_max=FRAME
    )
    again = copies.again(message, {})
    sent = (retried.properties.headers or {}, letter(message), again.properties.headers or {})
    return [set(found) & set(given) for found in sent]


def test_what_brokers_act_on_is_left_out_and_the_rest_is_kept() -> None:
    """Of `x-...` headers every copy keeps those that mean nothing to RabbitMQ or its plug-ins."""
    given = dict.fromkeys([*APPLICATIONS, *BROKERS], "v")
    assert copied(given) == [set(APPLICATIONS)] * 3
    assert letter(received(given))[headers.NOTED] == dict.fromkeys(BROKERS, "v")


def test_no_letter_keeps_what_tells_of_a_secret() -> None:
    """An opaque token is known by its header's name: it is neither kept nor noted."""
    given = dict.fromkeys(SECRETS, "s3cr3t")
    assert copied(given)[1] == set()
    assert "s3cr3t" not in repr(letter(received(given)))


@pytest.mark.parametrize(
    "given",
    [
        {"x-said": OPAQUE},
        {"said": f"a {OPAQUE} b"},
        {"said": OPAQUE.encode()},
        {"said": [{"in": bytearray(OPAQUE.encode())}]},
        {f"x-{OPAQUE}": 1},
        {"CC": [OPAQUE]},
        {f"x-opt-{OPAQUE}": "v"},
        {"x-death": OPAQUE + "/" * 1000},
        {"x-death": "/" * 490 + OPAQUE},
    ],
)
def test_no_letter_says_its_messages_opaque_token(given: dict[str, Any]) -> None:
    """Such a token looks like nothing: it is known by its value, in whatever header it stands."""
    for said in (f"Bearer {OPAQUE}", f"bearer  {OPAQUE}".encode(), OPAQUE):
        made = letter(received({"authorization": said, "plain": "kept", **given}))
        assert OPAQUE[:12] not in repr(made)
        assert made["plain"] == "kept"


@pytest.mark.parametrize("frame_max", [FRAME, 4096])
def test_no_property_of_a_letter_says_its_messages_own_token(frame_max: int) -> None:
    """Nor does where it came from; one that was encrypted is known as it was read."""
    said: dict[str, Any] = dict.fromkeys(
        ("message_id", "correlation_id", "reply_to", "app_id"), f"a-{OPAQUE}"
    )
    message = received({"filling": "f" * 5000}, user_id=OPAQUE, **said)
    detail = HandlerFailed("handler.failed", found=OPAQUE, retry=False)
    refusal = Refusal(refused=detail, queue="orders", at=0.0, token=OPAQUE)
    for made in (
        copies.dead_letter(message, refusal, token_header="authorization", frame_max=frame_max),
        copies.bare(message, refusal, frame_max),
    ):
        assert OPAQUE not in repr([*made.properties])
        assert str(made.properties.message_id).startswith("a-")


def test_a_retry_has_no_priority() -> None:
    """Where a copy waits, a priority would hold up all that wait; a dead letter keeps it."""
    message = received({}, priority=9)
    made = copies.retry(
        message, Carried(Sealed(), None), token_header="authorization", frame_max=FRAME
    )
    assert made.properties.priority is None
    assert copies.again(message, {}).properties.priority == 9


@pytest.mark.parametrize("frame_max", [4096, 8192])
def test_a_frame_has_room_for_the_mark(frame_max: int) -> None:
    """However many `x-...` headers a sender wrote, their mark fits, and names what is there."""
    message = received({f"x-{number}-{'n' * 60}": "v" for number in range(200)})
    carried = Carried(Sealed(), lambda _: "2.k." + "s" * 43)
    made = copies.retry(message, carried, token_header="authorization", frame_max=frame_max)
    assert headers.header_frame_size(made.properties) <= frame_max
    found: dict[str, Any] = dict(made.properties.headers or {})
    assert found[headers.KEPT][1:] == [name for name in found if name.startswith("x-")] != []

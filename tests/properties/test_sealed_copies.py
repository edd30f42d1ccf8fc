"""A copy's seal holds for who reads it, whatever its sender wrote; altered, it does not."""

from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from unittest.mock import Mock

from aiormq.abc import DeliveredMessage
from hypothesis import assume, given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.message_rules import MessageRules
from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import BEARER
from busauth._amqp.publishing import copies
from busauth._amqp.publishing.copies import Outgoing, Refusal
from busauth._amqp.publishing.publisher import check_frame
from busauth._amqp.publishing.sealing import is_extension
from busauth._messages.canonical import spelled
from busauth._messages.seal import HEADER, Copy, Purpose, Seal
from busauth.errors import Untimely

FRAME = 131_072
TOKEN = "0" * 64
SEAL = Seal("orders", {"1": bytes(range(32))})
PROVENANCE = MessageRules(seal=SEAL)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
fields = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)
    | st.binary(max_size=8).map(bytearray)
    | texts
    | st.decimals(-1000, 1000, places=2)
    | st.integers(0, 2**32).map(lambda at: datetime.fromtimestamp(at, UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = texts.filter(bool) | st.sampled_from(
    [
        "tenant",
        "x-death",
        "x-request-id",
        "CC",
        "BUSAUTH-ATTEMPT",
        "busauth-first",
        "busauth-seal",
        "Busauth-Hop",
        "",
    ]
)
sent: st.SearchStrategy[dict[str, Any]] = st.dictionaries(names, fields, max_size=5)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    said = Basic.Properties(
        headers=draw(sent),
        message_id=draw(st.none() | texts),
        content_type=draw(st.none() | texts),
        correlation_id=draw(st.none() | texts),
        reply_to=draw(st.none() | texts),
        priority=draw(st.none() | st.integers(0, 255)),
        message_type=draw(st.none() | texts),
    )
    return carried(Outgoing(draw(st.binary(max_size=20)), said))


def carried(outgoing: Outgoing) -> Delivery:
    """Return a message as it is delivered: through the client's own codec."""
    raw = frame.marshal(ContentHeader(body_size=0, properties=outgoing.properties), 1)
    _, _, header = frame.unmarshal(raw)
    assert isinstance(header, ContentHeader)
    return Delivery(
        DeliveredMessage(
            delivery=Basic.Deliver(consumer_tag="c", delivery_tag=1, routing_key="orders"),
            header=header,
            body=outgoing.body,
            channel=Mock(),
        )
    )


def retried(delivery: Delivery) -> Outgoing:
    made = PROVENANCE.carried(Case(delivery, 0.0), TOKEN, Purpose.RETRY)
    return copies.retry(delivery, made, token_header="authorization", frame_max=FRAME)


def refused(
    delivery: Delivery, purpose: Purpose = Purpose.PARKED, *, frame_max: int = FRAME
) -> Outgoing:
    carries = PROVENANCE.carried(Case(delivery, 0.0), TOKEN, purpose)
    refusal = Refusal(
        refused=Untimely("token.expired"),
        queue="orders",
        at=0.0,
        token_sha256=TOKEN,
        carried=carries,
    )
    return copies.dead_letter(delivery, refusal, token_header="authorization", frame_max=frame_max)


@given(delivery=deliveries())
def test_a_seal_holds_for_who_reads_the_copy(delivery: Delivery) -> None:
    """A retry's for the token that it has, a parked message's also when it was forwarded."""
    marks = PROVENANCE.marks(carried(retried(delivery)), TOKEN)
    assert (marks.code, marks.sealed.purpose) == (None, Purpose.RETRY)
    forwarded = copies.again(carried(refused(delivery)), {"authorization": "Bearer x"})
    marks = PROVENANCE.marks(carried(forwarded), None)
    assert (marks.code, marks.sealed.purpose) == (None, Purpose.PARKED)


def unsealed(headers: dict[str, Any]) -> bytes:
    """Return all but the seal; spelled, as there are numbers that equal nothing."""
    return spelled({name: value for name, value in headers.items() if name != "busauth-seal"})


@given(
    delivery=deliveries(),
    purpose=st.sampled_from([Purpose.LETTER, Purpose.PARKED]),
    filling=st.integers(0, 4096),
)
def test_what_is_moved_back_is_known_as_often_as_it_is(
    delivery: Delivery, purpose: Purpose, filling: int
) -> None:
    """However full its frame is, it goes back whole, with a count that nobody else can write."""
    delivery.headers["filling"] = "x" * filling
    copy = refused(delivery, purpose, frame_max=4096)
    first = dict(copy.properties.headers or {})
    for times in (1, 2, 3):
        letter = PROVENANCE.letter(carried(copy))
        assert letter is not None
        assert letter.sealed.purpose is purpose
        copy = copies.returned(carried(copy), letter, token_header=BEARER)
        check_frame(copy, 4096)
        found = dict(copy.properties.headers or {})
        assert found.pop("busauth-returned") == times
        assert unsealed(found) == unsealed(first)
    copy.properties.headers = {**(copy.properties.headers or {}), "busauth-returned": 0}
    assert PROVENANCE.letter(carried(copy)) is None


@given(delivery=deliveries(), name=names, value=fields)
def test_an_altered_copy_is_nobodys_word(delivery: Delivery, name: str, value: Any) -> None:
    """A header that was added or changed breaks the seal, unless a broker may write it.

    Brokers may add an `x-...` header of any name; of the sender's none can be changed.
    """
    copy = retried(delivery)
    before = MappingProxyType(dict(copy.properties.headers or {}))
    assume(name not in before or repr(before[name]) != repr(value))
    assume(name not in ("busauth-seal", "x-death", "CC"))
    assume(name in before or not is_extension(name))
    copy.properties.headers = {**before, name: value}
    assert PROVENANCE.marks(carried(copy), TOKEN).code == "seal.mac"


def test_numbers_of_every_width_arrive_as_they_were_sealed() -> None:
    """What the client decodes of the narrowest and the widest types is what it encodes again."""
    odd: dict[str, Any] = {
        "decimal": Decimal("-1.10"),
        "widest": 2**63 - 1,
        "narrow": -129,
        "unsigned": 2**32 - 1,
        "float": 1.5,
        "nothing": None,
    }
    delivery = carried(Outgoing(b"", Basic.Properties(headers=odd, message_id="m")))
    assert PROVENANCE.marks(carried(retried(delivery)), TOKEN).code is None


def test_a_header_without_a_name_is_sealed_like_any_other() -> None:
    """RabbitMQ takes one, and so does a copy."""
    delivery = carried(Outgoing(b"", Basic.Properties(headers={"": 1, "a": 2}, message_id="m")))
    marks = PROVENANCE.marks(carried(refused(delivery)), None)
    assert marks.code is None


def test_a_header_that_is_as_deep_as_may_be_is_sealed_or_cut() -> None:
    """What can be measured can be sealed: no depth lies between the two."""
    deep: Any = 1
    for _ in range(36):
        deep = [deep]
        said = Basic.Properties(headers={"deep": deep}, message_id="m")
        assert PROVENANCE.marks(carried(retried(carried(Outgoing(b"", said)))), TOKEN).code is None


def test_no_token_stands_in_where_a_message_came_from() -> None:
    """A routing key can be anything, a token too."""
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln"
    delivery = Delivery(
        DeliveredMessage(
            delivery=Basic.Deliver(consumer_tag="c", delivery_tag=1, routing_key=token),
            header=ContentHeader(properties=Basic.Properties(headers={})),
            body=b"",
            channel=Mock(),
        )
    )
    assert token not in repr(refused(delivery).properties.headers)


extensions = st.sampled_from(["x-request-id", "X-B3-TraceId", "x-"])


@given(headers=st.dictionaries(extensions, fields, min_size=1), data=st.data())
def test_no_kept_extension_can_be_changed_or_taken_away(
    headers: dict[str, Any], data: st.DataObject
) -> None:
    """A sender's `x-...` headers are under the seal, and so is which of them were kept."""
    copy = retried(carried(Outgoing(b"", Basic.Properties(headers=headers, message_id="m"))))
    made: dict[str, Any] = dict(copy.properties.headers or {})
    assert PROVENANCE.marks(carried(copy), TOKEN).code is None
    name = data.draw(st.sampled_from([each for each in made if is_extension(each)]))
    for altered in (
        {**made, name: "another"},
        {each: value for each, value in made.items() if each != name},
        {**made, "busauth-kept": made["busauth-kept"][:1]},
        {each: value for each, value in made.items() if each != "busauth-kept"},
    ):
        assume(made[name] != "another")
        copy.properties.headers = altered
        assert PROVENANCE.marks(carried(copy), TOKEN).code == "seal.mac"


@given(headers=st.dictionaries(extensions, fields), added=st.sampled_from(["x-a", "X-B", "x-"]))
def test_what_was_added_to_a_sealed_copy_goes_no_further(
    headers: dict[str, Any], added: str
) -> None:
    """Brokers may add `x-...` headers: the seal holds, and no copy of that copy has them."""
    assume(added not in headers)
    first = carried(Outgoing(b"", Basic.Properties(headers=headers, message_id="m")))
    for copy in (retried(first), refused(first, Purpose.LETTER), refused(first)):
        copy.properties.headers = {**(copy.properties.headers or {}), added: "evil"}
        came = carried(copy)
        assert PROVENANCE.marks(came, TOKEN).code is None
        carries = PROVENANCE.carried(Case(came, 0.0), TOKEN, None)
        for further in (
            *(retried(came), refused(came), copies.again(came, {})),
            copies.returned(came, carries, token_header=BEARER),
        ):
            assert added not in (further.properties.headers or {})
            assert headers.keys() <= (further.properties.headers or {}).keys()


@given(delivery=deliveries())
def test_workers_of_the_version_before_open_the_same_seals(delivery: Delivery) -> None:
    """While a new version rolls out, one that knows no mark reads it as any header of its own."""
    for copy, purpose in ((retried(delivery), Purpose.RETRY), (refused(delivery), Purpose.PARKED)):
        came = carried(copy)
        opened = SEAL.opened(came.headers[HEADER], before_marks(came), token_sha256=TOKEN)
        assert opened.sealed is not None
        assert opened.sealed.purpose is purpose


def before_marks(delivery: Delivery) -> Copy:
    """Return a copy as seals spoke of it before there were marks."""
    own, sent, raw = {}, {}, delivery.raw
    for name, value in delivery.headers.items():
        lowered = name.lower()
        if lowered.startswith("busauth-"):
            own[name] = value
        elif not lowered.startswith("x-") and lowered not in ("cc", "bcc", "authorization"):
            sent[name] = value
    del own[HEADER]
    said = (
        *(raw.message_id, raw.content_type, raw.content_encoding, raw.correlation_id),
        *(raw.reply_to, raw.message_type, raw.app_id, raw.priority),
    )
    return Copy(own, sent, [each or None for each in said], delivery.body)

"""Headers, read with suspicion; and what a publication carries."""

from typing import Any

import pytest
from aio_pika.message import Message
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from busauth import ANONYMOUS, Verifiers, bearer_token
from busauth._amqp.headers import (
    AUTHORIZATION,
    BEARER,
    TokenHeader,
    count_in,
    header_frame_size,
    id_in,
    token_in,
)
from busauth._amqp.publishing.outbox import Body, Outbox, as_message
from busauth.caller import Lease, acting
from busauth.errors import CallerError, ConfigurationError, NotGenuine, PublishError, Refused
from busauth.testing import ManualClock
from tests.unit.support import NOW, token, verifier

_FORMS = ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc", "bEaReR abc"]


@pytest.mark.parametrize(
    "value",
    [*_FORMS, *(form.encode() for form in _FORMS), *(bytearray(form.encode()) for form in _FORMS)],
)
def test_a_bearer_token_is_taken(value: object) -> None:
    """The scheme is compared without case (RFC 9110, section 11.1); text may come as its bytes."""
    assert bearer_token(value) == "abc"
    assert token_in({AUTHORIZATION: value}, BEARER) == "abc"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "header.missing"),
        (5, "header.not_text"),
        (True, "header.not_text"),
        ("Bearer abc\u00e9".encode(), "header.not_text"),
        (bytearray("Bearer abc\u00a0".encode("latin-1")), "header.not_text"),
        (memoryview(b"Bearer abc"), "header.not_text"),
        ([b"Bearer abc"], "header.not_text"),
        (["Bearer abc"], "header.not_text"),
        ({"Bearer": "abc"}, "header.not_text"),
        (1.5, "header.not_text"),
        ("", "header.scheme"),
        ("abc", "header.scheme"),
        ("Basic abc", "header.scheme"),
        ("Bearerabc", "header.scheme"),
        ("Bearer Bearer abc", "header.scheme"),
        ("Bearer abc def", "header.scheme"),
        ("Bearer abc, Bearer def", "header.scheme"),
        (" Bearer abc", "header.scheme"),
        ("Bearer abc ", "header.scheme"),
        ("Bearer abc\n", "header.scheme"),
        ("Bearer\tabc", "header.scheme"),
        ("Bearer\u00a0abc", "header.scheme"),
        ("Bearer", "token.empty"),
        ("Bearer ", "token.empty"),
        ("bearer   ", "token.empty"),
    ],
)
def test_anything_else_is_refused_without_being_shown(value: Any, code: str) -> None:
    """Each wrong form has its code, and the value is never part of the evidence."""
    with pytest.raises(NotGenuine) as caught:
        token_in({AUTHORIZATION: value}, BEARER)
    assert caught.value.code == code
    assert "abc" not in repr(caught.value)


@given(
    value=st.text(st.characters(max_codepoint=0x17F), max_size=20)
    | st.from_regex(r"(?i)bearer ?[ -~\s]{0,10}", fullmatch=True)
)
def test_bytes_are_read_as_their_text_or_not_at_all(value: str) -> None:
    """ASCII comes to what its text comes to, token or code; all other bytes are no text."""
    expected = _read(value) if value.isascii() else "header.not_text"
    for given_as in (value.encode(), bytearray(value.encode())):
        assert _read(given_as) == expected


def _read(value: object) -> str:
    try:
        return f"token: {bearer_token(value)}"
    except NotGenuine as refused:
        return refused.code


def test_a_header_has_its_exact_name() -> None:
    """AMQP names are compared with case; another name is a missing header."""
    with pytest.raises(NotGenuine, match=r"header\.missing"):
        token_in({"Authorization": "Bearer abc"}, BEARER)


@pytest.mark.parametrize(
    ("there", "wanted", "told"),
    [
        ({"Authorization": "Bearer abc"}, AUTHORIZATION, ["'authorization'", "'Authorization'"]),
        ({"AUTHORIZATION": "Bearer abc", "x": 1}, AUTHORIZATION, ["'AUTHORIZATION'"]),
        ({"authorization": "Bearer abc"}, "x-token", ["'x-token'", "'authorization'"]),
        ({"X_Token": "Bearer abc"}, "x-token", ["'x-token'", "'X_Token'"]),
        ({"authorization ": "Bearer abc"}, AUTHORIZATION, ["'authorization '"]),
        ({"txn-token": "abc"}, AUTHORIZATION, ["'txn-token'"]),
        ({"Token": b"abc", "jwt": "abc"}, AUTHORIZATION, ["'Token' and 'jwt'"]),
        ({AUTHORIZATION: None}, AUTHORIZATION, ["without a value"]),
        ({"tenant": "abc"}, AUTHORIZATION, ["got no header 'authorization', expected"]),
        ({}, AUTHORIZATION, ["got no header 'authorization', expected"]),
    ],
)
def test_a_missing_header_is_named_with_what_may_have_been_meant(
    there: dict[str, Any], wanted: str, told: list[str]
) -> None:
    """Whoever sends the wrong name reads the right one and their own, and never a value."""
    with pytest.raises(NotGenuine) as caught:
        token_in(there, TokenHeader(wanted))
    assert caught.value.code == "header.missing"
    assert all(each in caught.value.detail for each in told), caught.value.detail
    assert "abc" not in caught.value.detail


@pytest.mark.parametrize("moved", [True, False])
def test_a_dead_letter_that_was_moved_by_hand_is_told_from_a_message(moved: bool) -> None:
    """What tells so is a header that anybody may write: it is a hint, and changes no code."""
    there = {"busauth-refusal": "token.expired"} if moved else {"busauth-refusal": 5}
    with pytest.raises(NotGenuine) as caught:
        token_in(there, BEARER)
    assert caught.value.code == "header.missing"
    assert ("moved by hand: redrive it instead" in caught.value.detail) is moved


@given(names=st.lists(st.text(max_size=300), max_size=5))
def test_names_of_a_senders_choice_are_not_repeated(names: list[str]) -> None:
    """A header that nobody would take for a token's is not told, whatever it is called."""
    others = {f"{name}z": "Bearer abc" for name in names}
    with pytest.raises(NotGenuine) as caught:
        token_in(others, BEARER)
    assert caught.value.found == "no header 'authorization'"


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0),
        (3, 3),
        (10**6, 10**6),
        (10**6 + 1, 0),
        (-1, 0),
        (True, 0),
        ("3", 0),
        (3.0, 0),
        (None, 0),
    ],
)
def test_a_counter_is_a_hint(value: Any, count: int) -> None:
    """Anything odd counts as 0."""
    assert count_in({"busauth-hop": value}, "busauth-hop") == count
    assert count_in({}, "busauth-hop") == 0


@given(st.one_of(st.text(max_size=300), st.binary(), st.integers(), st.none()))
def test_an_id_is_said_on_as_it_is_or_not_at_all(value: object) -> None:
    """It is printable, fits a short string, and has no token in it, its message's own or any."""
    said = id_in(value, "0paque")
    assert said in (None, value)
    if said is not None:
        assert said.isprintable()
        assert 0 < len(said.encode()) <= 255
    for hidden in (f"a {token()} b", "an-0paque-one", "x" * 256, "é" * 128, "a\nb", "\ud800", ""):
        assert id_in(hidden, "0paque") is None


def test_a_header_frame_is_measured_before_it_is_sent() -> None:
    """The size is that of the whole content header frame."""
    small = Message(b"").properties
    large = Message(b"", headers={"a": "x" * 1000}).properties
    assert 1000 < header_frame_size(large) - header_frame_size(small) < 1100


# Publications


class Paid(BaseModel):
    """A body."""

    id: int


@pytest.fixture
def outbox(clock: ManualClock) -> Outbox:
    return Outbox(header=BEARER, verifiers=Verifiers(verifier()), clock=clock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


def test_a_token_at_the_edge_rides_along(outbox: Outbox) -> None:
    """What the edge hands in is what travels, on a persistent message."""
    raw = token()
    outgoing = outbox.prepare(b"body", raw)
    assert outgoing.properties.headers == {AUTHORIZATION: f"Bearer {raw}"}
    assert outgoing.properties.delivery_mode == 2
    assert raw not in repr(outgoing)


def test_the_callers_token_rides_along_with_its_hops(outbox: Outbox) -> None:
    """Inside a handler nobody needs to hand anything in."""
    with acting(Lease("raw", hop=2)):
        headers = outbox.prepare(b"body", None).properties.headers
    assert headers == {AUTHORIZATION: "Bearer raw", "busauth-hop": 3}


def test_nobody_must_be_said_aloud(outbox: Outbox) -> None:
    """Without a caller there is an error, unless the message is said to be nobody's."""
    with pytest.raises(CallerError):
        outbox.prepare(b"body", None)
    assert outbox.prepare(b"body", ANONYMOUS).properties.headers == {}


def test_an_ended_caller_cannot_publish(outbox: Outbox) -> None:
    """A lease that ended in scope ends publishing too."""
    lease = Lease("raw")
    with acting(lease):
        lease.end()
        with pytest.raises(CallerError):
            outbox.prepare(b"body", None)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "token.empty"),
        ("a.b", "token.segments"),
        (token(exp=...), "token.expired"),
        (token(exp=int(NOW)), "token.expired"),
        (token(exp=int(NOW) - 1), "token.expired"),
        (token(exp="x"), "token.claim_invalid"),
    ],
)
def test_the_edge_refuses_what_could_only_be_refused_later(
    raw: str, code: str, outbox: Outbox
) -> None:
    """A malformed token, or one at or beyond its expiry, is not published."""
    with pytest.raises(Refused) as caught:
        outbox.prepare(b"body", raw)
    assert caught.value.code == code


@pytest.mark.parametrize("name", [AUTHORIZATION, "busauth-hop", "BUSAUTH-refusal", "busauth-x"])
def test_busauths_own_headers_are_its_own(name: str, outbox: Outbox) -> None:
    """A message of the user's cannot carry a header that busauth writes."""
    with pytest.raises(PublishError, match=name):
        outbox.prepare(Message(b"", headers={name: "x"}), ANONYMOUS)


def test_a_users_message_is_not_changed(outbox: Outbox) -> None:
    """Identity is added to what is sent, not to what was given."""
    message = Message(b"body", headers={"a": 1}, message_id="m")
    outgoing = outbox.prepare(message, token())
    assert message.headers == {"a": 1}
    assert outgoing.properties.message_id == "m"
    assert (outgoing.properties.headers or {})["a"] == 1


@pytest.mark.parametrize(
    ("body", "content", "kind"),
    [
        (Paid(id=1), b'{"id":1}', "application/json"),
        ({"id": 1}, b'{"id":1}', "application/json"),
        (b"raw", b"raw", "application/octet-stream"),
        ("\N{SNOWMAN}", b"\xe2\x98\x83", "text/plain; charset=utf-8"),
    ],
)
def test_bodies_become_messages(body: Body, content: bytes, kind: str | None) -> None:
    """A model and a table are JSON, bytes are bytes, and a text is UTF-8."""
    message = as_message(body, NOW)
    assert (message.body, message.content_type) == (content, kind)
    assert message.timestamp is not None


class Odd:
    """What pydantic knows nothing of."""


def test_other_bodies_are_refused() -> None:
    """What is neither is told."""
    with pytest.raises(ConfigurationError, match="type int: expected a pydantic model, a data"):
        as_message(1, NOW)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigurationError, match=r"type list\[Odd\]: .* can make no body of it"):
        as_message([], NOW, list[Odd])

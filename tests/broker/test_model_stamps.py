"""A broker that writes on each message when it came."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth.testing.broker.model.message import STAMP, Message


def header(properties: Basic.Properties) -> bytes:
    """Return the payload of a content header frame."""
    return ContentHeader(body_size=2, properties=properties).marshal()


@given(
    now=st.floats(min_value=0, max_value=4e9),
    mine=st.one_of(st.none(), st.integers(-(2**62), 2**62), st.text(max_size=9)),
)
def test_a_stamp_replaces_whatever_was_there(now: float, mine: object) -> None:
    """Header and timestamp are the broker's; every other property keeps its bytes."""
    headers: dict[str, Any] = {"tenant": "a", **({} if mine is None else {STAMP: mine})}
    message = Message("", "q", header(Basic.Properties(headers=headers, message_id="m")), b"{}")
    before = message.properties()
    message.stamp(now)
    assert message.headers() == {"tenant": "a", STAMP: int(now * 1000)}
    after = message.properties()
    assert after["timestamp"] == int(now).to_bytes(8, "big")
    assert {name: after[name] for name in before if name != "headers"} == {
        name: value for name, value in before.items() if name != "headers"
    }


def test_a_message_without_properties_is_stamped_as_well() -> None:
    """There is a header then, and nothing else."""
    message = Message("", "q", header(Basic.Properties()), b"{}")
    message.stamp(1.5)
    assert message.headers() == {STAMP: 1500}
    assert set(message.properties()) == {"headers", "timestamp"}

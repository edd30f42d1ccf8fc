"""Which of several publications the broker's words can be about, and which share a channel."""

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.channel import Channel
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.lanes import MOST, Answer, Lanes, Sent


def sent(exchange: str = "shop", key: str = "k", body: bytes = b"", **said: Any) -> Sent:
    outgoing = Outgoing(body, Basic.Properties(**said))
    return Sent(outgoing, exchange, key, cast("Channel", None), cast("Answer", None))


@pytest.mark.parametrize(
    ("text", "mine", "others"),
    [
        ("NOT_FOUND - no exchange 'shop' in vhost '/'", sent(), sent("other")),
        (
            "ACCESS_REFUSED - access to exchange 'shop' in vhost '/' refused for user 'shop2'",
            sent(),
            sent("other", user_id="shop2"),
        ),
        (
            "ACCESS_REFUSED - access to topic 'a.b' in exchange 'shop' in vhost '/' refused",
            sent(key="a.b"),
            sent(key="a.c"),
        ),
        (
            "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'k'",
            sent(user_id="bob"),
            sent(key="k"),
        ),
        (
            "PRECONDITION_FAILED - invalid expiration '-5': {value_negative,-5}",
            sent(expiration="-5"),
            sent(expiration="5"),
        ),
        (
            "PRECONDITION_FAILED - message size 11 is larger than configured max size 10",
            sent(body=b"x" * 11),
            sent(body=b"x" * 10),
        ),
    ],
)
def test_whom_the_words_are_about(text: str, mine: Sent, others: Sent) -> None:
    """The first name in quotes is what they are about; a later one explains."""
    assert mine.may_be_meant(text)
    assert not others.may_be_meant(text)


@pytest.mark.parametrize(
    ("text", "mine", "others"),
    [
        (
            "NOT_FOUND - no exchange 'shop' in vhost '/'",
            [sent(), sent(key="other")],
            [sent("'shop'"), sent("shop2"), sent("sho")],
        ),
        (
            "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'u'",
            [sent("")],
            [sent()],
        ),
        (
            "ACCESS_REFUSED - access to topic 'a.b' in exchange 'shop' in vhost '/' refused for u",
            [sent(key="a.b")],
            [sent(key="a.c"), sent("other", key="a.b")],
        ),
        ("PRECONDITION_FAILED - invalid expiration '-5'", [], [sent(), sent(expiration="-5")]),
    ],
)
def test_who_is_kept_out(text: str, mine: list[Sent], others: list[Sent]) -> None:
    """Whose exchange is not there or is closed was not routed, whichever the broker means."""
    assert [each for each in mine if not (each.is_kept_out(text) and each.may_be_meant(text))] == []
    assert [each for each in others if each.is_kept_out(text)] == []


@given(st.text().filter(lambda text: "'" not in text and "message size" not in text))
def test_words_that_name_nothing_may_be_about_anybody(text: str) -> None:
    """Nobody is told that they are not meant where the broker does not say who is."""
    assert sent().may_be_meant(text)


@given(st.text())
def test_any_words_are_read(text: str) -> None:
    """A broker may say what it likes."""
    assert sent().may_be_meant(text) in (True, False)


@given(st.lists(st.tuples(st.sampled_from(range(3 * MOST)), st.booleans()), max_size=300))
def test_a_lane_is_shared_only_while_all_are_busy(steps: list[tuple[int, bool]]) -> None:
    """Whatever begins and ends, and in whatever order: who is idle is in nobody's way."""
    connection = SimpleNamespace(
        connection_tune=SimpleNamespace(channel_max=0), url=SimpleNamespace(user="u")
    )
    lanes, under_way = Lanes(cast("Any", connection)), Counter[int]()
    for number, begins in steps:
        if begins:
            known = (str(number), None) in lanes._uses
            all_busy = len(lanes._lanes) == MOST and all(each.under_way for each in lanes._lanes)
            use = lanes._use((str(number), None))
            assert known or len(use.lane.uses) == 1 or all_busy
            use.begun()
            under_way[number] += 1
        elif under_way[number]:
            lanes._ended(lanes._uses[str(number), None])
            under_way[number] -= 1
        assert len(lanes._lanes) <= MOST
        for use in lanes._uses.values():
            assert use in use.lane.uses
            assert not use.is_idle or use.lane.uses == [use]
        assert sum(each.under_way for each in lanes._lanes) == under_way.total()

"""Which letters are asked for, what is not there, and what they have in common."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from busauth._amqp.resending.removal import Person
from busauth._amqp.resending.wanted import Census
from busauth.cli.letters.showing import exported_headers, shown_headers
from busauth.errors import ConfigurationError
from busauth.letters import Chapter, Group, Letter, Wanted, groups
from busauth.testing import Issuer

PLAIN = Letter(
    id="a" * 32,
    source="orders.dead",
    code="handler.failed",
    detail="handler.failed: got KeyError: 'order 17'",
    queue="orders",
    at="2026-01-31T12:00:00.000+00:00",
    issuer="https://idp.example",
    subject="ann",
    token_sha256=None,
    message_id="m1",
    sealed=True,
    returned=0,
    size=2,
    body=b"",
    headers={},
)
UUID = "3f0c2f5e-0d0f-4f0e-9d0e-00000000abc"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("said", "is_wanted"),
    [
        ({}, True),
        ({"codes": ["token.expired", "handler.failed"], "subjects": ["ann"]}, True),
        ({"codes": ["handler.failed"], "subjects": ["bob"]}, False),
        ({"errors": ["KeyError"], "queues": ["orders"], "issuers": ["https://idp.example"]}, True),
        ({"errors": ["Key"]}, False),
        ({"publishers": ["web"]}, False),
        ({"message_ids": ["m1"], "ids": ["a" * 32]}, True),
        ({"texts": ["nothing", "ORDER 17"]}, True),
        ({"before": NOON}, False),
        ({"before": NOON + 1, "after": NOON - 1}, True),
        ({"after": NOON}, False),
    ],
)
def test_filters_narrow_and_their_values_widen(said: dict[str, Any], is_wanted: bool) -> None:
    """A letter has one value of each that is said; what is recorded of that says the same."""
    wanted = Wanted(**said)
    assert wanted(PLAIN) is is_wanted
    assert Wanted.of(json.loads(json.dumps(wanted.filters()))) == wanted


@pytest.mark.parametrize(
    "filters", [{"odd": ["x"]}, {"codes": "x"}, {"codes": [1]}, {"before": "x"}, {"before": True}]
)
def test_a_record_of_other_filters_is_refused(filters: dict[str, Any]) -> None:
    """What this version does not know must not choose more letters than were meant."""
    with pytest.raises(ConfigurationError, match="filters: "):
        Wanted.of(filters)


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_a_blank_text_chooses_nothing(text: str) -> None:
    """Each detail has it: a variable that was not set would discard all letters."""
    with pytest.raises(ConfigurationError, match="--text"):
        Wanted(texts=["order", text])


def test_a_letter_that_does_not_say_when_is_neither_older_nor_newer() -> None:
    """Only without an instant asked for is it chosen."""
    letter = replace(PLAIN, at=None)
    assert [wanted(letter) for wanted in (Wanted(), Wanted(before=9e9), Wanted(after=0.0))] == [
        True,
        False,
        False,
    ]


def test_what_is_asked_for_and_not_there_is_told() -> None:
    """With what is there instead, or what may have been meant."""
    census = Census(Wanted(codes=["handler.fail"], subjects=["zoe", "ann"], publishers=["web"]))
    letters = [PLAIN, replace(PLAIN, subject="bob")]
    assert [census.asks(letter) for letter in letters] == [False, False]
    assert census.missed() == (
        "--code handler.fail: no letter has it; did you mean handler.failed?",
        "--subject zoe: no letter has it; there are ann, bob",
        "--publisher web: no letter has it; none has any",
    )


def test_letters_of_one_cause_are_one_group() -> None:
    """Numbers, ids and instants differ from one letter to the next, and are no cause."""
    details = [
        "handler.failed: got KeyError: 'order 17'",
        "handler.failed: got KeyError: 'order 9'",
        f"handler.failed: got ValueError: {UUID}1 at 2026-01-31T12:00Z",
        f"handler.failed: got ValueError: {UUID}d at 2026-02-01T09:30Z",
    ]  # fmt: skip
    letters = [
        replace(PLAIN, detail=each, id=str(number), subject=f"u{number}", at=f"2026-01-0{number}")
        for number, each in enumerate(details, 1)
    ]
    assert groups([*letters, letters[0]]) == [
        Group(
            "handler.failed", "KeyError", "got KeyError: 'order #'", 3,
            "2026-01-01", "2026-01-02", 2, "1",
        ),
        Group(
            "handler.failed", "ValueError", "got ValueError: # at #", 2,
            "2026-01-03", "2026-01-04", 2, "3",
        ),
    ]  # fmt: skip


def test_a_story_is_told_oldest_first() -> None:
    """By it, a letter knows its attempts, and how often it was sent again."""
    story = [
        {"at": "2026-01-01", "code": "token.expired", "attempt": 1},
        {"at": "2026-01-02", "code": "handler.failed", "attempt": 3, "by": "me"},
    ]
    story[1]["authority"] = "kept"
    letter = replace(PLAIN, headers={"busauth-story": json.dumps(story)})
    assert letter.story[1] == Chapter(
        at="2026-01-02", code="handler.failed", attempt=3, by="me", authority="kept"
    )
    assert (letter.attempts, letter.redrives) == (3, 1)
    assert PLAIN.story == (Chapter(at=PLAIN.at or "", code="handler.failed"),)


TOKEN = Issuer().token("ann")
BY_BROKER = replace(PLAIN, code=None, detail=None, at=None, issuer=None, subject=None)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-caller": f"Bearer {TOKEN}"},
        {"authorization": f"bearer {TOKEN}".encode()},
        {"authorization": TOKEN, "busauth-subject": "bob"},
    ],
)
def test_a_persons_token_is_found_wherever_it_travels(headers: dict[str, Any]) -> None:
    """Consumers name its header; clients write text as bytes; and a sender may name another."""
    letter = replace(BY_BROKER, headers=headers, subject=headers.get("busauth-subject"))
    assert (Person("ann")(letter), Person("cid")(letter)) == (True, False)


def test_a_token_without_an_issuer_is_whose_its_subject_is() -> None:
    """Such a transaction token: who is to be forgotten is not kept for that."""
    issuer = Issuer()
    for token, found in (
        (issuer.transaction_token("ann", iss=None), True),
        (issuer.transaction_token("ann", iss="https://else.test"), False),
        (issuer.transaction_token("bob", iss=None), False),
    ):
        letter = replace(BY_BROKER, headers={"txn-token": token})
        assert Person("ann", issuer.url)(letter) is found
    forged = replace(BY_BROKER, subject="ann")
    assert not Person("ann", issuer.url)(forged)


@pytest.mark.parametrize("forged", [{}, {"busauth-refusal": "x"}])
def test_an_opaque_token_is_not_shown(forged: dict[str, str]) -> None:
    """The broker dead-letters it where it is, and its consumer alone knows under which name."""
    given = {"x-caller": "Bearer 0paque", "x-death": [{"queue": "orders"}], **forged}
    letter = replace(BY_BROKER, headers=given, code=forged.get("busauth-refusal"))
    for told in (shown_headers(letter), exported_headers(letter)):
        assert "0paque" not in repr(told)
        assert told.keys() == given.keys()
        assert "orders" in str(told["x-death"])
    kept = replace(PLAIN, headers={"x-shop": "no token"})
    assert exported_headers(kept) == shown_headers(kept) == {"x-shop": "no token"}

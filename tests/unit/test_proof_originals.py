"""Before a parked message is released its proof is held to it, without its token, at any age."""

from typing import Any

import pytest

from busauth._tokens.verifier import fingerprint
from busauth.errors import BadMessage, Forbidden, NotGenuine, Refused, Untimely
from busauth.messages import Original, ProofDemand, Proofs, Properties, Proven, Route, SeenMessage
from tests.unit.proving import (
    LATER,
    MAX_AGE,
    RELAYING,
    ROUTES,
    SKEW,
    TOKEN,
    binding,
    checked,
    claims,
    proofs,
    publisher,
    released,
    seen,
    signer,
    written,
)
from tests.unit.support import NOW, Signer

ALICE = ("https://idp.test", "alice")
MUCH_LATER = NOW + 100 * MAX_AGE


def parked(**changes: Any) -> SeenMessage:
    """Return a message whose token and caller are gone."""
    usual: dict[str, Any] = {"token": None, "issuer": None, "subject": None}
    return seen(binding(), **usual | changes)


def original(
    proof: object = None,
    message: SeenMessage | None = None,
    token_sha256: str = fingerprint(TOKEN),
    *,
    asked: Proofs | None = None,
    routes: tuple[Route, ...] = ROUTES,
    now: float = MUCH_LATER,
) -> Proven:
    proof = signer().sign(binding(), NOW) if proof is None else proof
    asked = proofs(*RELAYING) if asked is None else asked
    return asked.check_original(proof, message or parked(), token_sha256, routes, now)


def refused(*arguments: Any, **settings: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        original(*arguments, **settings)
    return caught.value


def test_a_parked_message_tells_whose_it_is() -> None:
    """Long after its proof went stale it says who published it, when, where to, and for whom."""
    proven = original()
    assert (proven.issuer, proven.subject) == ALICE
    assert (proven.publisher, proven.published_at, proven.message_id) == ("orders", NOW, "m-1")
    assert (proven.exchange, proven.routing_key) == ("shop", "orders.placed")
    assert not proven.released


def test_what_was_checked_can_be_released() -> None:
    """With the same proof embedded, and a fresh token of the caller, consumers take it again."""
    proof = signer().sign(binding(), NOW)
    proven = original(proof)
    message = binding(token="fresh", issuer=proven.issuer, subject=proven.subject)
    embedded = Original.of(proof, fingerprint(TOKEN))
    again = signer("desk", "desk").sign(message, MUCH_LATER, original=embedded)
    taken = checked(again, seen(message), proofs(*RELAYING), now=MUCH_LATER)
    assert (taken.root_publisher, taken.root_published_at) == ("orders", NOW)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"body": b"another"}, "proof.body"),
        ({"message_id": "m-2"}, "proof.message_id"),
        ({"message_id": None}, "proof.message_id"),
        ({"properties": Properties(type="refund")}, "proof.property"),
        ({"properties": Properties()}, "proof.property"),
        ({"headers": {"tenant": "shop-2"}}, "proof.header"),
        ({"headers": {}}, "proof.header"),
        ({"subject": "bob"}, "proof.caller"),
        ({"issuer": "https://other.test"}, "proof.caller"),
        ({"issuer": "", "subject": ""}, "proof.caller"),
    ],
)
def test_an_altered_parked_message_is_not_released(changes: dict[str, Any], code: str) -> None:
    """Another body, id, property, header or caller is refused as it would be by a consumer."""
    found = refused(None, parked(**changes))
    assert isinstance(found, BadMessage)
    assert found.code == code


def test_a_caller_who_is_known_must_be_the_one_of_the_proof() -> None:
    """Whoever asks for the release in a caller's name gets that caller's messages only."""
    assert original(None, parked(issuer=ALICE[0], subject=ALICE[1])).subject == "alice"


@pytest.mark.parametrize(
    "recorded",
    [fingerprint("another"), "", "None", "zz", fingerprint(TOKEN)[:-2], "\ud800", None, 5],
)
def test_another_recorded_digest_is_refused(recorded: Any) -> None:
    """A stolen token's proof does not go with a record of another, nor with none."""
    assert refused(None, None, recorded).code == "proof.token"


def test_a_transaction_token_is_recorded_likewise() -> None:
    """Whichever token came with the message, its digest is one of those that were signed."""
    proof = signer().sign(binding(token=None, transaction_token="txn"), NOW)
    assert original(proof, token_sha256=fingerprint("txn")).subject == "alice"
    assert refused(proof).code == "proof.token"


def test_a_token_that_is_there_plays_no_part() -> None:
    """What is recorded counts; a token beside it proves nothing."""
    assert original(None, parked(token="any", token_sha256=fingerprint("any")))
    assert refused(None, parked(token=TOKEN), fingerprint("any")).code == "proof.token"


@pytest.mark.parametrize(
    "changes",
    [
        {"token_iss": ...},
        {"token_sub": ...},
        {"token_iss": ..., "token_sub": ...},
        {"token_iss": ""},
        {"token_sub": ""},
        {"token_sub": None},
        {"token_sub": 5},
        {"token_iss": ["https://idp.test"]},
    ],
)
def test_a_proof_that_names_no_caller_is_not_released(changes: dict[str, Any]) -> None:
    """Without a name there is nobody whose fresh token would do."""
    found = refused(written(claims(**changes)))
    assert isinstance(found, BadMessage)
    assert found.code == "proof.caller"


def test_a_message_is_released_where_it_was_published_to() -> None:
    """Neither a consumer nor a publisher gets further by way of the parking queue."""
    assert refused(routes=(Route("", "refunds"),)).code == "proof.route"
    asked = proofs(publisher(routes=[Route("shop", "stock")]))
    assert refused(asked=asked).code == "proof.route"


@pytest.mark.parametrize(
    ("proof", "kind", "code"),
    [
        ("nonsense", NotGenuine, "proof.malformed"),
        (b"", NotGenuine, "proof.malformed"),
        (written(claims(iss="nobody")), NotGenuine, "proof.publisher"),
        (written(claims(), Signer("HS256", "other")), NotGenuine, "proof.key_unknown"),
        (written(claims(), Signer("HS256", "other"), kid="main"), NotGenuine, "proof.signature"),
        (written(claims(exp=5)), BadMessage, "proof.malformed"),
    ],
)
def test_a_proof_that_is_nobodys_is_not_released(proof: object, kind: type, code: str) -> None:
    """Whose it is comes first here, too."""
    found = refused(proof)
    assert isinstance(found, kind)
    assert found.code == code


@pytest.mark.parametrize("demand", list(ProofDemand))
def test_a_release_needs_a_proof_whatever_is_demanded(demand: ProofDemand) -> None:
    """Where consumers do without, a release does not."""
    asked = proofs(demand=demand)
    with pytest.raises(Forbidden, match=r"proof\.missing"):
        asked.check_original(None, parked(), fingerprint(TOKEN), ROUTES, NOW)
    assert original(asked=asked)


@pytest.mark.parametrize(("ahead", "code"), [(SKEW, None), (SKEW + 1, "proof.from_the_future")])
def test_nothing_is_released_before_it_was_published(ahead: float, code: str | None) -> None:
    """A proof that is dated ahead is refused at any time."""
    if code is None:
        assert original(now=NOW - ahead)
    else:
        found = refused(now=NOW - ahead)
        assert isinstance(found, Untimely)
        assert found.code == code


# Once more: the message was released before, and parked again.


def second(**changes: Any) -> dict[str, Any]:
    """Return what is known of a message whose release was parked."""
    usual: dict[str, Any] = {"proof": released(), "token_sha256": fingerprint("a-fresh-token")}
    return usual | changes


def test_on_a_second_release_the_first_proof_counts() -> None:
    """Who published first, when, and for whom, is told by what the release embeds."""
    proven = original(**second())
    assert (proven.issuer, proven.subject) == ALICE
    assert (proven.root_publisher, proven.root_published_at) == ("orders", NOW)
    assert (proven.publisher, proven.published_at, proven.released) == ("desk", LATER, True)


def test_the_first_proof_must_name_the_caller() -> None:
    """What the release says of it is no replacement."""
    nameless = signer().sign(binding(issuer=None, subject=None), NOW)
    assert refused(**second(proof=released(proof=nameless))).code == "proof.caller"


@pytest.mark.parametrize(
    "changes",
    [
        {"token_sha256": fingerprint(TOKEN)},
        {"proof": released(token_sha256=fingerprint("another"))},
        {"proof": released(proof=signer().sign(binding(body=b"other"), NOW))},
        {"proof": released(proof=signer().sign(binding(subject="bob"), NOW))},
        {"proof": released(binding(token="a-fresh-token", subject="bob"))},
        {"proof": released(proof=released())},
        {"message": parked(body=b"other")},
        {"message": parked(subject="bob")},
    ],
)
def test_a_release_that_is_not_the_messages_is_not_released(changes: dict[str, Any]) -> None:
    """Both proofs speak of the message, each for the token that was recorded with it."""
    found = refused(**second(**changes))
    assert found.code in ("proof.token", "proof.original", "proof.caller", "proof.body")


def test_only_a_relays_release_counts() -> None:
    """An original that anybody wrapped is none."""
    asked = proofs(publisher("orders"), publisher("desk", "desk"))
    assert refused(**second(), asked=asked).code == "proof.relay"

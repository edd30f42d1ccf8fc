"""Messages that come back with a fresh token, and messages that others led to."""

from typing import Any

import pytest

from busauth._tokens.verifier import fingerprint
from busauth.errors import BadMessage, Forbidden, NotGenuine, PublishError
from busauth.messages import Original, Properties, Route
from tests.unit.proving import (
    LATER,
    RELAYING,
    TOKEN,
    arrived,
    binding,
    checked,
    claims,
    proofs,
    publisher,
    refusal,
    released,
    seen,
    signer,
    written,
)
from tests.unit.support import NOW, Signer


def test_a_release_brings_the_original_along() -> None:
    """A day later, with a fresh token, it is still known who published it first, and when."""
    proven = checked(released(), arrived(), proofs(*RELAYING), now=LATER)
    assert (proven.publisher, proven.published_at, proven.released) == ("desk", LATER, True)
    assert (proven.root_publisher, proven.root_published_at) == ("orders", NOW)
    assert proven.names_caller


@pytest.mark.parametrize("changes", [{"subject": "bob"}, {"issuer": "https://other.test"}])
def test_a_release_is_for_the_same_caller(changes: dict[str, str]) -> None:
    """Not even who is trusted to relay can put another's fresh token on a message."""
    message = binding(token="a-fresh-token", **changes)
    refused = refusal(released(message), seen(message), proofs(*RELAYING), now=LATER)
    assert refused.code == "proof.original"


def test_a_release_of_an_unnamed_callers_message_says_so() -> None:
    """Where the first proof names nobody, the one who releases is taken at its word."""
    first = signer().sign(binding(issuer=None, subject=None), NOW)
    message = binding(token="a-fresh-token", subject="bob")
    proven = checked(released(message, proof=first), seen(message), proofs(*RELAYING), now=LATER)
    assert not proven.names_caller


def test_only_who_is_trusted_to_relay_may_release() -> None:
    """An original in another's proof is not believed, nor looked at."""
    asked = proofs(publisher("orders"), publisher("desk", "desk"))
    refused = refusal(released(), arrived(), asked, now=LATER)
    assert isinstance(refused, Forbidden)
    assert refused.code == "proof.relay"


@pytest.mark.parametrize(
    "original",
    [
        {"proof": signer().sign(binding(body=b"other"), NOW)},
        {"proof": signer().sign(binding(message_id="m-2"), NOW)},
        {"proof": signer().sign(binding(routing_key="orders.paid"), NOW)},
        {"proof": signer().sign(binding(exchange=""), NOW)},
        {"proof": signer().sign(binding(headers={"tenant": "shop-2"}), NOW)},
        {"proof": signer().sign(binding(properties=Properties(type="refund")), NOW)},
        {"proof": signer().sign(binding(token="another"), NOW)},
        {"proof": signer().sign(binding(), LATER + 31)},
        {"proof": written(claims(exp=5))},
        {"token_sha256": fingerprint("another")},
    ],
)
def test_an_original_speaks_of_the_same_message(original: dict[str, Any]) -> None:
    """Another body, id, route, property, header or token, or a later instant is refused."""
    refused = refusal(released(**original), arrived(), proofs(*RELAYING), now=LATER)
    assert isinstance(refused, BadMessage)
    assert refused.code == "proof.original"


@pytest.mark.parametrize(
    "proof",
    [
        "nonsense",
        written(claims(iss="nobody")),
        written(claims(), Signer("HS256", "other"), kid="main"),
        written(claims(), Signer("HS256", "other")),
        written(claims(), typ="JWT"),
    ],
)
def test_an_original_must_be_proven_itself(proof: str) -> None:
    """Whoever relays cannot make up who published first."""
    refused = refusal(released(proof=proof), arrived(), proofs(*RELAYING), now=LATER)
    assert isinstance(refused, NotGenuine)
    assert refused.code == "proof.original"


def test_an_originals_publisher_keeps_to_its_routes() -> None:
    """What it might not have published here is not released here either."""
    asked = proofs(publisher("orders", routes=[Route("shop", "stock")]), RELAYING[1])
    assert refusal(released(), arrived(), asked, now=LATER).code == "proof.original"


def test_an_original_inside_an_original_is_refused() -> None:
    """Depth is one: no proof makes a consumer verify a chain of the sender's length."""
    asked = proofs(*RELAYING)
    inner = released()
    nested = released(proof=inner, token_sha256=fingerprint("a-fresh-token"))
    refused = refusal(nested, arrived(), asked, now=LATER)
    assert (refused.code, refused.found) == ("proof.original", "an original inside an original")


def test_a_second_release_takes_the_first_proof() -> None:
    """A message that was released before keeps its first proof and that one's token."""
    original = Original.of(released(), fingerprint("a-fresh-token"))
    assert original == Original(signer().sign(binding(), NOW), fingerprint(TOKEN))
    again = signer("desk", "desk").sign(binding(token="newest"), LATER + 5, original=original)
    proven = checked(again, seen(binding(token="newest")), proofs(*RELAYING), now=LATER + 5)
    assert proven.root_published_at == NOW


def test_a_first_release_takes_the_proof_as_it_is() -> None:
    """A proof without an original is the original."""
    first = signer().sign(binding(), NOW)
    assert Original.of(first, fingerprint(TOKEN)) == Original(first, fingerprint(TOKEN))


@pytest.mark.parametrize("changes", [{"token_sha256": "none"}, {"token_sha256": "AB" * 32}])
def test_a_release_needs_the_recorded_digest(changes: dict[str, Any]) -> None:
    """Without it nothing says which token the original was for."""
    with pytest.raises(PublishError):
        released(**changes)


def test_an_unreadable_original_is_not_released() -> None:
    """What is no proof cannot be embedded as one."""
    with pytest.raises(PublishError):
        Original.of("nonsense", fingerprint(TOKEN))


@pytest.mark.parametrize(
    "changes",
    [
        {"original": ...},
        {"original": 5},
        {"original": None},
        {"original_token_sha256": ...},
        {"original_token_sha256": 5},
        {"original_token_sha256": "zz"},
    ],
)
def test_half_a_release_is_refused(changes: dict[str, Any]) -> None:
    """Original and digest come together, and are text."""
    first = {"original": signer().sign(binding(), NOW), "original_token_sha256": fingerprint(TOKEN)}
    message = binding(token="a-fresh-token")
    proof = written(
        claims(message, iss="desk", iat=LATER, **first | changes), Signer("HS256", "desk")
    )
    assert refusal(proof, arrived(), proofs(*RELAYING), now=LATER).code == "proof.original"


# Chains: an onward message repeats when the first one was published.


def test_a_relays_word_about_the_root_is_believed() -> None:
    """In a chain the first published instant goes on, from whoever is trusted to relay."""
    proof = signer().sign(binding(), NOW, root_published_at=NOW - 600)
    proven = checked(proof, asked=proofs(publisher(relays=True)))
    assert (proven.published_at, proven.root_published_at) == (NOW, NOW - 600)


def test_nobody_elses_word_about_the_root_counts() -> None:
    """A publisher that is not trusted to relay is the root itself."""
    proof = signer().sign(binding(), NOW, root_published_at=NOW - 600)
    assert checked(proof).root_published_at == NOW


@pytest.mark.parametrize(("ahead", "code"), [(30, None), (30.5, "proof.from_the_future")])
def test_a_root_is_not_after_its_message(ahead: float, code: str | None) -> None:
    """What led to a message was published before it, give or take the skew."""
    proof = signer().sign(binding(), NOW, root_published_at=NOW + ahead)
    asked = proofs(publisher(relays=True))
    assert (
        refusal(proof, asked=asked).code if code else checked(proof, asked=asked) and None
    ) == code

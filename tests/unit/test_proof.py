"""A message, its proof, and a consumer that compares the two."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from busauth import StaticKeys
from busauth._messages.proof.binding import MAX_BYTES
from busauth._tokens.verifier import fingerprint
from busauth.errors import BadMessage, ConfigurationError, Forbidden, PublishError, Untimely
from busauth.messages import ProofDemand, Proofs, ProofSigner, Properties, Route, TrustedPublisher
from tests.unit.proving import (
    ALGORITHMS,
    MAX_AGE,
    ROUTES,
    SKEW,
    TOKEN,
    binding,
    checked,
    claims,
    proofs,
    publisher,
    refusal,
    seen,
    signer,
    written,
)
from tests.unit.support import NOW, SECRET, Signer


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_untouched_message_is_proven(algorithm: str) -> None:
    """Whoever published it, when, and as what, is known from its proof."""
    proof = signer(algorithm=algorithm).sign(binding(), NOW)
    proven = checked(proof, asked=proofs(publisher(algorithm=algorithm)))
    assert (proven.publisher, proven.published_at, proven.message_id) == ("orders", NOW, "m-1")
    assert (proven.root_publisher, proven.root_published_at) == ("orders", NOW)
    assert (proven.exchange, proven.routing_key) == ("shop", "orders.placed")
    assert (proven.issuer, proven.subject) == ("https://idp.test", "alice")
    assert proven.headers == {"tenant"}
    assert not proven.released


@pytest.mark.parametrize("at", [NOW, NOW + 0.123456, 1_750_000_000.1234567, 0.1])
def test_the_published_instant_keeps_its_fraction(at: float) -> None:
    """The instant is read exactly as it was signed, so that no rounding puts it ahead."""
    asked = proofs(skew=0)
    assert checked(signer().sign(binding(), at), asked=asked, now=at).published_at == at


def test_a_token_may_be_given_by_its_digest() -> None:
    """Who knows the hex SHA-256 already need not have it made again; it proves the same."""
    hashed = {"token": None, "token_sha256": fingerprint(TOKEN)}
    proof = signer().sign(binding(), NOW)
    assert signer().sign(binding(**hashed), NOW) == proof
    assert checked(proof, seen(binding(), **hashed)) == checked(proof)
    for other in ("the-token-of-bob", ""):
        arrived = seen(binding(), token=None, token_sha256=fingerprint(other))
        assert refusal(proof, arrived).code == "proof.token"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": "the-token-of-bob"}, "proof.token"),
        ({"token": None}, "proof.token"),
        ({"transaction_token": "another"}, "proof.token"),
        ({"issuer": "https://other.test"}, "proof.caller"),
        ({"subject": "bob"}, "proof.caller"),
        ({"subject": None}, "proof.caller"),
        ({"body": b'{"order": 8}'}, "proof.body"),
        ({"body": b""}, "proof.body"),
        ({"message_id": "m-2"}, "proof.message_id"),
        ({"message_id": None}, "proof.message_id"),
        ({"headers": {"tenant": "shop-2"}}, "proof.header"),
        ({"headers": {"tenant": ["shop-1"]}}, "proof.header"),
        ({"headers": {"tenant": b"shop-1"}}, "proof.header"),
        ({"headers": {"tenant": 0.5}}, "proof.header"),
        ({"headers": {"Tenant": "shop-1"}}, "proof.header"),
        ({"headers": {}}, "proof.header"),
    ],
)
def test_what_was_altered_is_refused(changes: dict[str, Any], code: str) -> None:
    """A proof that was signed for another message is refused with what differs."""
    refused = refusal(signer().sign(binding(), NOW), seen(binding(), **changes))
    assert isinstance(refused, BadMessage)
    assert refused.code == code


@pytest.mark.parametrize("name", Properties._fields)
@pytest.mark.parametrize("value", ["altered", None, 5])
@pytest.mark.parametrize("signed", ["as signed", None])
def test_a_property_cannot_be_changed_added_or_removed(name: str, value: Any, signed: Any) -> None:
    """Each property counts, the missing ones too, and the refusal names it."""
    before = binding(properties=Properties(**{name: signed}))
    after = seen(before, properties=Properties(**{name: value}))
    proof = signer().sign(before, NOW)
    if value is signed:
        assert checked(proof, after)
        return
    refused = refusal(proof, after)
    assert refused.code == "proof.property"
    assert refused.found == f"another {name}"


def test_an_empty_property_is_a_missing_one() -> None:
    """Clients do not send empty properties, so both are one."""
    proof = signer().sign(binding(properties=Properties(type="")), NOW)
    assert checked(proof, seen(binding(), properties=Properties(type=None)))


@pytest.mark.parametrize("reply_to", ["amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.g1h2AA.b=="])
def test_direct_reply_to_survives_the_broker(reply_to: str) -> None:
    """RabbitMQ names the pseudo-queue anew for each client; a proof takes it as one."""
    proof = signer().sign(binding(properties=Properties(reply_to="amq.rabbitmq.reply-to")), NOW)
    assert checked(proof, seen(binding(), properties=Properties(reply_to=reply_to)))
    other = seen(binding(), properties=Properties(reply_to="amq.rabbitmq.reply-tox"))
    assert refusal(proof, other).code == "proof.property"


def test_a_header_that_was_not_there_cannot_be_added() -> None:
    """A declared header that is missing is bound as missing."""
    proof = signer().sign(binding(headers={}), NOW)
    assert checked(proof, seen(binding(), headers={}))
    assert refusal(proof, seen(binding(), headers={"tenant": None})).code == "proof.header"


def test_headers_that_were_not_declared_are_anybodys() -> None:
    """What is not bound may change; `Proven.headers` says what is bound."""
    arrived = seen(binding(), headers={"tenant": "shop-1", "other": "altered", "x-death": []})
    assert checked(signer().sign(binding(), NOW), arrived).headers == {"tenant"}


@pytest.mark.parametrize(
    "value",
    [0.5, b"raw", bytearray(b"raw"), Decimal(1), datetime(2026, 1, 1, tzinfo=UTC), 2**63, "\ud800",
     {"a": [0.5]}, {1: "a"}, [[[[[[[[[1]]]]]]]]]],
)  # fmt: skip
def test_a_value_without_a_canonical_form_is_refused_at_signing(value: Any) -> None:
    """What clients may hand on changed is not signed at all."""
    with pytest.raises(PublishError, match="header tenant"):
        signer().sign(binding(headers={"tenant": value}), NOW)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"message_id": None}, "message id"),
        ({"message_id": ""}, "message id"),
        ({"message_id": 5}, "message_id of type int"),
        ({"token": None}, "token"),
        ({"subject": 5}, "token_sub of type int"),
        ({"properties": Properties(type=5)}, "type of type int"),  # type: ignore[arg-type]  # hostile on purpose
        ({"routing_key": "\ud800"}, "UnicodeEncodeError"),
        ({"routing_key": "a" * MAX_BYTES}, "bytes"),
    ],
)
def test_what_cannot_be_proven_is_not_published(changes: dict[str, Any], why: str) -> None:
    """Signing refuses what no consumer would accept."""
    with pytest.raises(PublishError, match=why):
        signer().sign(binding(**changes), NOW)


@pytest.mark.parametrize("instant", [float("nan"), float("inf")])
def test_an_instant_is_a_number(instant: float) -> None:
    """Neither NaN nor infinity is an instant."""
    with pytest.raises(PublishError):
        signer().sign(binding(), instant)


def test_a_transaction_token_is_bound_by_its_own_name() -> None:
    """`tth` is no `ath`: the same text in the other header is another token."""
    message = binding(token=None, transaction_token="txn")
    proof = signer().sign(message, NOW)
    assert checked(proof, seen(message))
    assert refusal(proof, seen(message, token="txn", transaction_token=None)).code == "proof.token"
    assert refusal(proof, seen(message, token="stolen")).code == "proof.token"


@pytest.mark.parametrize(
    ("exchange", "key", "covered"),
    [
        ("shop", "orders.placed", True),
        ("shop", "orders", True),
        ("shop", "orders.eu.placed", True),
        ("shop", "stock.placed", False),
        ("shop", "", False),
        ("", "orders.placed", True),
        ("", "orders.paid", False),
        ("bank", "orders.placed", False),
    ],
)
def test_a_message_is_for_the_consumers_that_it_was_published_to(
    exchange: str, key: str, covered: bool
) -> None:
    """The signed route must be one that the consumer declares, whichever way the copy came."""
    message = binding(exchange=exchange, routing_key=key)
    proof = signer().sign(message, NOW)
    if covered:
        assert checked(proof, seen(message))
    else:
        refused = refusal(proof, seen(message))
        assert isinstance(refused, Forbidden)
        assert refused.code == "proof.route"
        assert ("renamed says formerly=" in refused.detail) == (exchange == "")


def test_a_consumer_that_declares_no_route_takes_nothing() -> None:
    """Forgetting to say where messages come from accepts none."""
    assert refusal(signer().sign(binding(), NOW), routes=()).code == "proof.route"


def test_a_publisher_keeps_to_its_routes() -> None:
    """A publisher that may publish elsewhere only is refused here, however well it signs."""
    proof = signer().sign(binding(), NOW)
    assert checked(proof, asked=proofs(publisher(routes=[Route("shop", "orders.*")])))
    refused = refusal(proof, asked=proofs(publisher(routes=[Route("shop", "stock.*")])))
    assert refused.code == "proof.route"
    assert refusal(proof, asked=proofs(publisher(routes=[]))).code == "proof.route"


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("#", "", True),
        ("#", "a.b", True),
        ("*", "", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.#", "a", True),
        ("#.b", "a.b", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.c", False),
        ("a.#.#.c", "a.c", True),
        ("a*", "ab", False),
        ("a.b", "a.b.c", False),
        ("", "", True),
        ("a.*", "a.*", True),
    ],
)
def test_topic_patterns_match_as_the_broker_does(pattern: str, key: str, fits: bool) -> None:
    """`*` is one word, `#` any number, and letters beside them are themselves."""
    assert Route("shop", pattern).covers("shop", key) is fits


def test_wildcards_are_themselves_where_no_topic_is() -> None:
    """A direct exchange and the default one know no patterns."""
    assert not Route("shop", "orders.*", exact=True).covers("shop", "orders.placed")
    assert not Route("", "orders.*").covers("", "orders.placed")
    assert Route("", "orders.*").covers("", "orders.*")


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (0, None),
        (MAX_AGE + SKEW - 0.001, None),
        (MAX_AGE + SKEW, "proof.stale"),
        (-SKEW, None),
        (-SKEW - 0.001, "proof.from_the_future"),
    ],
)
def test_age_is_judged_against_the_published_instant(age: float, code: str | None) -> None:
    """From `max_age` on a proof is stale, at most `skew` ahead it may be."""
    proof = signer().sign(binding(), NOW)
    if code is None:
        assert checked(proof, now=NOW + age)
    else:
        refused = refusal(proof, now=NOW + age)
        assert isinstance(refused, Untimely)
        assert refused.code == code


def test_an_altered_message_is_not_merely_late() -> None:
    """What a stale proof says of another message is told first."""
    proof = signer().sign(binding(), NOW)
    assert refusal(proof, seen(binding(), body=b"x"), now=NOW + 1e6).code == "proof.body"


def test_a_missing_proof_is_refused_where_one_is_required() -> None:
    """A message without a proof is genuine for all that is known: it goes where nothing is lost."""
    refused = refusal(None)
    assert isinstance(refused, Forbidden)
    assert refused.code == "proof.missing"


def test_a_proof_that_is_there_must_hold_where_none_is_required() -> None:
    """IF_PRESENT lets messages without a proof pass, and no others."""
    asked = proofs(demand=ProofDemand.IF_PRESENT)
    assert asked.check(None, seen(binding()), ROUTES, NOW) is None
    assert checked(signer().sign(binding(), NOW), asked=asked)
    assert refusal("nonsense", asked=asked).code == "proof.malformed"


def test_an_ignored_proof_proves_nothing() -> None:
    """IGNORED looks at nothing, so that nothing is proven either."""
    asked = Proofs((), demand=ProofDemand.IGNORED, max_age=1)
    for proof in (None, "nonsense", signer().sign(binding(), NOW)):
        assert asked.check(proof, seen(binding()), ROUTES, NOW) is None


def test_a_replay_memory_outlives_every_proof() -> None:
    """Seen early by a fast clock, a proof is accepted until max_age and both skews have passed."""
    asked = proofs()
    proof, first = signer().sign(binding(), NOW), NOW - SKEW
    assert checked(proof, asked=asked, now=first)
    assert refusal(proof, asked=asked, now=first + asked.remember_for).code == "proof.stale"
    assert checked(proof, asked=asked, now=first + asked.remember_for - 0.001)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Proofs((), max_age=1),
        lambda: proofs(publisher(), publisher()),
        lambda: proofs(max_age=0),
        lambda: proofs(max_age=float("inf")),
        lambda: proofs(max_age=float("nan")),
        lambda: proofs(skew=-1),
        lambda: proofs(skew=301),
        lambda: publisher(""),
        lambda: TrustedPublisher(
            "orders", StaticKeys([Signer("RS256").jwk()]), algorithms=["RS256"]
        ),
        lambda: TrustedPublisher(
            "a", StaticKeys([Signer("HS256").jwk()]), algorithms=["ES256", "HS256"]
        ),
        lambda: ProofSigner("", SECRET, algorithm="HS256"),
        lambda: ProofSigner("orders", SECRET, algorithm="HS512"),
        lambda: ProofSigner("orders", Signer("RS256").private, algorithm="RS256"),
        lambda: ProofSigner("orders", SECRET, algorithm="HS256", headers=["x-tenant"]),
        lambda: ProofSigner("orders", SECRET, algorithm="HS256", headers=["Authorization"]),
        lambda: ProofSigner("orders", SECRET, algorithm="HS256", headers=["busauth-attempt"]),
        lambda: ProofSigner("orders", SECRET, algorithm="HS256", headers=["BCC"]),
        lambda: ProofSigner("orders", SECRET, algorithm="HS256", headers=[""]),
        lambda: ProofSigner("orders", SECRET, algorithm="HS256", headers=map(str, range(33))),
    ],
)
def test_what_cannot_work_is_told_at_once(make: Any) -> None:
    """Settings that would prove nothing are errors when they are written."""
    with pytest.raises(ConfigurationError):
        make()


def test_a_proof_need_not_bind_headers() -> None:
    """A publisher that declares none leaves them all open, and the consumer can tell."""
    proof = ProofSigner("orders", SECRET, algorithm="HS256").sign(binding(), NOW)
    assert checked(proof, seen(binding(), headers={"tenant": "any"})).headers == frozenset()


def test_a_publisher_need_not_know_the_caller() -> None:
    """An opaque token names nobody; the proof is for that token all the same, and says so."""
    proof = signer().sign(binding(issuer=None, subject=None), NOW)
    assert not checked(proof).names_caller
    assert checked(signer().sign(binding(), NOW)).names_caller
    assert not checked(signer().sign(binding(issuer=None), NOW)).names_caller
    nobody = binding(subject="")
    assert not checked(signer().sign(nobody, NOW), seen(nobody)).names_caller


def test_a_lone_header_name_is_one_name() -> None:
    """A string is one name, not its letters."""
    assert ProofSigner("orders", SECRET, algorithm="HS256", headers="tenant").headers == ("tenant",)


def test_ed25519_names_the_same_algorithm() -> None:
    """The name that RFC 9864 gave is taken on both sides."""
    key = Signer("EdDSA")
    proof = written(claims(), key, alg="Ed25519")
    trusted = TrustedPublisher("orders", StaticKeys([key.jwk()]), algorithms=("Ed25519",))
    assert checked(proof, asked=proofs(trusted))


def test_reprs_hold_no_token_and_no_body() -> None:
    """What is printed by accident shows neither."""
    message = binding(token="secret-token", body=b"secret-body", headers={"k": "secret-header"})
    assert "secret" not in repr(message) + repr(seen(message)) + repr(signer()) + repr(publisher())

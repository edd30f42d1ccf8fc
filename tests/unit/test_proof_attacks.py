"""What somebody may try who has seen proofs, or signs with keys of their own."""

import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from busauth import StaticKeys
from busauth._messages.proof.binding import MAX_BYTES
from busauth.errors import BadMessage, NotGenuine
from busauth.messages import Properties, Route
from tests.unit.proving import (
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
from tests.unit.support import (
    AUDIENCE,
    ISSUER,
    NOW,
    Signer,
    authenticate,
    b64,
    payload,
)
from tests.unit.support import refusal as token_refusal


@pytest.mark.parametrize("value", [5, b"raw", ["a.b.c"], {}, "", "a", "a.b", "a.b.c.d", "ä.b.c"])
def test_what_is_no_compact_jws_is_refused(value: Any) -> None:
    """Anything may stand in a header; nobody signed this."""
    refused = refusal(value)
    assert isinstance(refused, NotGenuine)
    assert refused.code == "proof.malformed"


def test_a_proof_is_bounded() -> None:
    """Longer than 8 KiB is not read."""
    refused = refusal("a" * (MAX_BYTES + 1))
    assert (refused.code, refused.expected) == ("proof.malformed", "at most 8192 bytes")


@pytest.mark.parametrize(
    "typ", ["JWT", "at+jwt", "wpt+jwt", "dpop+jwt", "busauth-seal+jwt", "", None, 5, ["JWT"]]
)
def test_another_kind_of_jws_is_no_proof(typ: Any) -> None:
    """Only `busauth-proof+jwt` is one, whoever signed."""
    assert refusal(written(claims(), typ=typ)).code == "proof.type"


@pytest.mark.parametrize("typ", ["application/busauth-proof+jwt", "Busauth-Proof+JWT"])
def test_a_media_type_has_several_spellings(typ: str) -> None:
    """A type without a slash means application, and case plays no part (RFC 7515, 4.1.9)."""
    assert checked(written(claims(), typ=typ))


async def test_a_proof_is_no_token() -> None:
    """A key that signs tokens, too, cannot be made to pass off a proof as one."""
    key = Signer("ES256")
    proof = written(payload(iss=ISSUER, aud=AUDIENCE), key)
    assert (await token_refusal(proof, key)).code == "token.type"
    assert await authenticate(key.sign(payload()), key)


@pytest.mark.parametrize("alg", ["none", "None", "HS512", "RS256", "hs256", "", None, 5, ["HS256"]])
def test_no_other_algorithm_counts(alg: Any) -> None:
    """What a publisher signs with is the consumer's word, not the proof's."""
    refused = refusal(written(claims(), alg=alg))
    assert isinstance(refused, NotGenuine)
    assert refused.code == "proof.algorithm"


def test_a_proof_without_a_signature_is_refused() -> None:
    """`none` with an empty signature has not even three parts."""
    head = b64(json.dumps({"alg": "none", "typ": "busauth-proof+jwt"}).encode())
    assert refusal(f"{head}.{b64(json.dumps(claims()).encode())}.").code == "proof.malformed"


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_public_key_is_nobodys_secret(algorithm: str) -> None:
    """HS256 with a publisher's public key as the secret is refused (RFC 8725, section 2.1)."""
    key = Signer(algorithm)
    pem = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing_input = written(claims()).rpartition(".")[0]
    forged = f"{signing_input}.{b64(hmac.digest(pem, signing_input.encode(), 'sha256'))}"
    assert refusal(forged, asked=proofs(publisher(algorithm=algorithm))).code == "proof.algorithm"


@pytest.mark.parametrize("kid", ["other", "", "../main", "main\x00", "' OR 1=1 --", "a" * 3000])
def test_an_unknown_kid_finds_no_key(kid: str) -> None:
    """A name that none of the publisher's keys has is refused, and followed nowhere."""
    refused = refusal(written(claims(), kid=kid))
    assert isinstance(refused, NotGenuine)
    assert refused.code == "proof.key_unknown"


@pytest.mark.parametrize("kid", [None, 5, ["main"], {}])
def test_a_kid_is_text(kid: Any) -> None:
    """Anything else names no key."""
    assert refusal(written(claims(), kid=kid)).code == "proof.key_unknown"


def test_a_proof_without_a_kid_may_be_any_of_its_publishers_keys() -> None:
    """`kid` only chooses; the signature decides."""
    header = {"alg": "HS256", "typ": "busauth-proof+jwt"}
    assert checked(Signer("HS256").sign(claims(), header=header))
    refused = refusal(Signer("HS256", "other").sign(claims(), header=header))
    assert refused.code == "proof.signature"


@pytest.mark.parametrize("name", ["crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "cty", "other"])
def test_a_header_says_nothing_else(name: str) -> None:
    """Members that might lead to a key, or ask for more than is checked, are refused."""
    refused = refusal(written(claims(), **{name: ["x"]}))
    assert isinstance(refused, NotGenuine)
    assert refused.code == "proof.malformed"


def test_nobody_signs_in_anothers_name() -> None:
    """A trusted publisher that writes another's name is held to the other's key."""
    asked = proofs(publisher("orders"), publisher("stock", "stock"))
    forged = written(claims(iss="orders"), Signer("HS256", "stock"), kid="main")
    assert refusal(forged, asked=asked).code == "proof.signature"
    assert refusal(written(claims(iss="orders"), Signer("HS256", "stock")), asked=asked).code == (
        "proof.key_unknown"
    )


def test_a_kid_is_a_name_within_one_publisher() -> None:
    """Two publishers whose keys have one name are two publishers."""
    keys = [StaticKeys([Signer("ES256", name).jwk(kid="1")]) for name in ("a", "b")]
    asked = proofs(
        publisher("a", algorithm="ES256", keys=keys[0]),
        publisher("b", algorithm="ES256", keys=keys[1]),
    )
    assert checked(written(claims(iss="a"), Signer("ES256", "a"), kid="1"), asked=asked)
    assert checked(written(claims(iss="b"), Signer("ES256", "b"), kid="1"), asked=asked)
    forged = written(claims(iss="a"), Signer("ES256", "b"), kid="1")
    assert refusal(forged, asked=asked).code == "proof.signature"


@pytest.mark.parametrize("name", ["other", "Orders", "orders ", "", None, 5, ["orders"], {}])
def test_a_publisher_is_trusted_by_its_exact_name(name: Any) -> None:
    """Whoever else claims to have signed is not even asked for a key."""
    refused = refusal(written(claims(iss=name)))
    assert isinstance(refused, NotGenuine)
    assert refused.code == "proof.publisher"


def test_a_duplicate_member_is_refused() -> None:
    """Two readers of one proof must not read two things."""
    twice = json.dumps(claims()).encode()[:-1] + b', "body": "other"}'
    assert refusal(written(twice)).code == "proof.malformed"


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"5", b'{"iat": NaN}', b"\xff", b"{}" * 2])
def test_a_payload_is_one_json_object(raw: bytes) -> None:
    """Whatever else was signed is not read."""
    assert refusal(written(raw)).code == "proof.malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": ...},
        {"iat": None},
        {"iat": "1750000000"},
        {"iat": True},
        {"iat": -1},
        {"iat": 10**400},
        {"root_iat": "early"},
        {"body": ...},
        {"body": 5},
        {"exchange": ...},
        {"routing_key": None},
        {"message_id": ""},
        {"message_id": ["m-1"]},
        {"ath": ...},
        {"ath": ""},
        {"properties": []},
        {"properties": None},
        {"headers": "tenant"},
        {"headers": {str(number): None for number in range(33)}},
        {"exp": NOW + 60},
        {"nbf": NOW},
        {"aud": "stock"},
        {"scope": "orders:write"},
    ],
)
def test_a_signed_proof_says_what_a_proof_says(changes: dict[str, Any]) -> None:
    """A claim that is missing, odd or unknown is refused, and the publisher is to blame."""
    refused = refusal(written(claims(**changes)))
    assert isinstance(refused, BadMessage)
    assert refused.code == "proof.malformed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ath": 5}, "proof.token"),
        ({"tth": None}, None),
        ({"token_sub": None}, "proof.caller"),
        ({"token_iss": ["https://idp.test"]}, "proof.caller"),
        ({"tth": "x"}, "proof.token"),
        ({"body": "X"}, "proof.body"),
        ({"properties": {"type": "order"}}, "proof.property"),
        ({"properties": {**claims()["properties"], "expiration": "5"}}, "proof.property"),
        ({"properties": {**claims()["properties"], "type": None}}, "proof.property"),
        ({"headers": {"tenant": None}}, "proof.header"),
        ({"headers": {"tenant": ["x"]}}, "proof.header"),
    ],
)
def test_odd_values_are_no_others(changes: dict[str, Any], code: str | None) -> None:
    """What does not equal the message's own is refused, of whichever type it is."""
    proof = written(claims(**changes))
    assert (refusal(proof).code if code else checked(proof) and None) == code


def test_a_proof_is_for_one_token() -> None:
    """A proof that was seen somewhere proves nothing for another token."""
    proof = signer().sign(binding(), NOW)
    refused = refusal(proof, seen(binding(), token="stolen"))
    assert refused.code == "proof.token"
    assert "stolen" not in refused.detail


def test_a_message_moved_to_another_consumer_is_refused() -> None:
    """Whoever moves a message writes its route anew, and cannot sign it."""
    proof = signer().sign(binding(), NOW)
    elsewhere = (Route("", "refunds"), Route("bank", "refunds.#"))
    assert refusal(proof, routes=elsewhere).code == "proof.route"


def test_refusals_show_no_values_of_properties_and_headers() -> None:
    """Names are told; values may be anybody's secrets."""
    proof = signer().sign(binding(), NOW)
    for changes in (
        {"headers": {"tenant": "secret"}},
        {"properties": Properties(correlation_id="secret")},
    ):
        assert "secret" not in refusal(proof, seen(binding(), **changes)).detail

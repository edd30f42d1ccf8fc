"""Keys, each pinned to one algorithm."""

import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from busauth import StaticKeys
from busauth._tokens.keys.key import (
    ALGORITHMS,
    ASYMMETRIC,
    allow_list,
    canonical_algorithm,
    load_key,
    load_keys,
)
from busauth.errors import ConfigurationError
from busauth.tokens import KeyMissing, shared_secret
from tests.unit.support import (
    SECRET,
    Signer,
    authenticate,
    b64,
    payload,
    private_key,
    refusal,
    token,
)

EVERY = tuple(ALGORITHMS)


@pytest.mark.parametrize("algorithm", EVERY)
async def test_every_algorithm_verifies_its_own_signature(algorithm: str) -> None:
    """A token signed with a supported algorithm by a trusted key is genuine."""
    signer = Signer(algorithm)
    verified = await authenticate(token(signer), signer)
    assert verified.caller.subject == "alice"


SECRETS = tuple(name for name in EVERY if name.startswith("HS"))
PINNED = ("RS256", "PS512", "ES256", "EdDSA", "HS256")


@pytest.mark.parametrize(
    ("pinned", "other"), [(one, other) for one in PINNED for other in EVERY if one != other]
)
async def test_a_key_verifies_one_algorithm_only(pinned: str, other: str) -> None:
    """A signature by the right key with another algorithm than the pinned one is refused."""
    keys = StaticKeys([Signer(pinned).jwk()])
    algorithms = SECRETS if other in SECRETS else ASYMMETRIC
    refused = await refusal(token(Signer(other)), keys=keys, algorithms=algorithms)
    assert refused.code in ("token.key_unknown", "token.algorithm")


@pytest.mark.parametrize(
    ("jwk", "allowed", "pinned"),
    [
        pytest.param(Signer("RS256").jwk(alg=None), ("PS256", "RS256"), "PS256", id="rsa-first"),
        pytest.param(Signer("RS256").jwk(alg=None), ("RS512", "PS256"), "RS512", id="rsa-order"),
        pytest.param(Signer("ES384").jwk(alg=None), ASYMMETRIC, "ES384", id="by-curve"),
        pytest.param(Signer("EdDSA").jwk(alg=None), ASYMMETRIC, "EdDSA", id="okp"),
        pytest.param(Signer("EdDSA").jwk(alg="Ed25519"), ASYMMETRIC, "EdDSA", id="rfc-9864"),
        pytest.param(Signer("HS256").jwk(alg=None), ("HS512",), "HS512", id="secret"),
        pytest.param(Signer("RS256").jwk(alg="PS384"), ASYMMETRIC, "PS384", id="named"),
    ],
)
def test_a_key_is_pinned_when_it_is_loaded(
    jwk: dict[str, Any], allowed: tuple[str, ...], pinned: str
) -> None:
    """`alg` decides; without one, type, curve and the issuer's order do."""
    assert load_key(jwk, allowed).algorithm == pinned


RSA = tuple(name for name in EVERY if ALGORITHMS[name][0] == "RSA")


@pytest.mark.parametrize("algorithm", [*RSA, *SECRETS])
async def test_a_key_without_alg_serves_what_its_verifier_takes(algorithm: str) -> None:
    """A verifier that takes one algorithm needs say it once: its issuer's keys need not."""
    signer = Signer(algorithm)
    keys = StaticKeys(signer.jwk(alg=None))
    verified = await authenticate(token(signer), keys=keys, algorithms=(algorithm,))
    assert verified.caller.subject == "alice"


@pytest.mark.parametrize("algorithm", RSA)
async def test_an_rsa_key_without_alg_serves_every_rsa_algorithm_by_default(algorithm: str) -> None:
    """Who does not say what an issuer signs with takes what its key can sign."""
    keys = StaticKeys(Signer("RS256").jwk(alg=None))
    assert await authenticate(token(Signer(algorithm)), keys=keys, algorithms=ASYMMETRIC)


@pytest.mark.parametrize("algorithm", RSA)
@pytest.mark.parametrize("taken", RSA)
async def test_a_key_without_alg_serves_nothing_that_its_verifier_does_not_take(
    algorithm: str, taken: str
) -> None:
    """The allow-list counts, whatever the key could verify."""
    if algorithm == taken:
        return
    keys = StaticKeys(Signer("RS256").jwk(alg=None))
    refused = await refusal(token(Signer(algorithm)), keys=keys, algorithms=(taken,))
    assert refused.code == "token.algorithm"


@pytest.mark.parametrize(("size", "served"), [(32, 1), (47, 1), (48, 2), (63, 2), (64, 3)])
def test_a_secret_without_alg_serves_what_it_is_long_enough_for(size: int, served: int) -> None:
    """A secret is never used with a hash that is longer than it."""
    keys = load_keys({"kty": "oct", "k": b64(SECRET[:size])}, EVERY)
    assert tuple(key.algorithm for key in keys) == SECRETS[:served]


def test_a_secret_that_is_too_short_for_all_that_is_allowed_is_refused() -> None:
    """What is left of the allow-list must be one that the secret is long enough for."""
    with pytest.raises(ConfigurationError, match="has 32 bytes: expected 64 or more"):
        load_keys({"kty": "oct", "k": b64(SECRET[:32])}, ("HS512",))


@pytest.mark.parametrize(
    ("jwks", "told"),
    [
        pytest.param([Signer().jwk()], "a key of its issuer: kid='main' for RS256", id="named"),
        pytest.param(
            [Signer().jwk(kid="a"), Signer("ES256").jwk(kid="b")],
            "a key of its issuer: kid='a' for RS256, kid='b' for ES256",
            id="others",
        ),
        pytest.param(
            [Signer().jwk(kid=f"k{number}") for number in range(9)],
            "kid='k4' for RS256, 4 more",
            id="many",
        ),
    ],
)
async def test_a_refused_key_is_told_from_those_that_are_there(
    jwks: list[dict[str, Any]], told: str
) -> None:
    """Who reads that no key fits reads also what keys there are, and what for."""
    refused = await refusal(token(Signer("PS256")), keys=StaticKeys(jwks), algorithms=ASYMMETRIC)
    assert refused.code == "token.key_unknown"
    assert refused.found == "kid='main' alg='PS256'"
    assert told in str(refused.expected)


async def test_alg_ed25519_in_a_token_means_eddsa() -> None:
    """The name that RFC 9864 gave is read as the one that everybody uses."""
    signer = Signer("EdDSA")
    raw = signer.sign(payload(), alg="Ed25519")
    assert (await authenticate(raw, signer, algorithms=("Ed25519",))).caller.subject == "alice"


def test_static_keys_take_the_alias_too() -> None:
    """`Ed25519` names the same algorithm wherever algorithms are configured."""
    keys = StaticKeys(Signer("EdDSA").jwk(), algorithms=("Ed25519",))
    assert keys.candidates("main", "EdDSA")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, ["RS256"], {}, 5])
async def test_alg_none_and_its_spellings_are_refused(alg: Any) -> None:
    """A token without a real algorithm is refused whatever its signature is."""
    raw = Signer().sign(payload(), alg=alg)
    assert (await refusal(raw)).code == "token.algorithm"


async def test_a_missing_alg_is_refused() -> None:
    """The header must name its algorithm (RFC 7515, section 4.1.1)."""
    raw = Signer().sign(payload(), header={"kid": "main", "typ": "JWT"})
    assert (await refusal(raw)).code == "token.algorithm"


@pytest.mark.parametrize("alg", ["rs256", "RS256 ", "RS1", "ES256K", "HS256", "EDDSA"])
async def test_names_of_algorithms_are_exact(alg: str) -> None:
    """An algorithm that is not on the list to the letter is refused."""
    raw = Signer().sign(payload(), alg=alg)
    assert (await refusal(raw)).code == "token.algorithm"


def _public_forms() -> list[Any]:
    public = private_key("RS256").public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = json.dumps(RSAAlgorithm.to_jwk(public, as_dict=True)).encode()
    return [
        pytest.param(pem, id="pem"),
        pytest.param(pem.strip(), id="pem-stripped"),
        pytest.param(der, id="der"),
        pytest.param(jwk, id="jwk"),
    ]


@pytest.mark.parametrize("known", _public_forms())
@pytest.mark.parametrize("algorithms", [("RS256",), ("HS256",), ASYMMETRIC])
async def test_a_public_key_is_nobodys_secret(known: bytes, algorithms: tuple[str, ...]) -> None:
    """HS256 with the issuer's public key as the secret is refused (RFC 8725, section 2.1)."""
    forged = _hmac_signed(Signer("HS256").sign(payload()).rpartition(".")[0], known)
    keys = StaticKeys([Signer("RS256").jwk()])
    refused = await refusal(forged, keys=keys, algorithms=algorithms)
    assert refused.code in ("token.algorithm", "token.key_unknown")


def _hmac_signed(signing_input: str, secret: bytes) -> str:
    signature = hmac.digest(secret, signing_input.encode(), "sha256")
    return f"{signing_input}.{b64(signature)}"


def test_a_pem_is_not_taken_as_a_shared_secret() -> None:
    """Who configures a public key as an HMAC secret is told so."""
    pem = (
        private_key("RS256")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ConfigurationError, match="damaged"):
        StaticKeys(shared_secret(pem))


@pytest.mark.parametrize(
    ("size", "algorithm"),
    [(0, "HS256"), (31, "HS256"), (32, "HS384"), (47, "HS384"), (48, "HS512"), (63, "HS512")],
)
def test_short_secrets_are_refused(size: int, algorithm: str) -> None:
    """A secret has at least 32 bytes, and as many as its hash (RFC 7518, section 3.2)."""
    jwk = {"kty": "oct", "k": b64(SECRET[:size]), "alg": algorithm}
    with pytest.raises(ConfigurationError):
        StaticKeys(jwk)
    if size < 32:
        with pytest.raises(ConfigurationError, match=f"has {size} bytes: expected 32 or more"):
            shared_secret(SECRET[:size])


@pytest.mark.parametrize(("size", "algorithm"), [(32, "HS256"), (48, "HS384"), (64, "HS512")])
def test_secrets_as_long_as_their_hash_are_taken(size: int, algorithm: str) -> None:
    """The minimum itself is enough."""
    jwk = shared_secret(SECRET[:size], algorithm=algorithm, key_id="k")
    keys = StaticKeys(jwk, algorithms=(algorithm,))
    assert [key.key_id for key in keys.candidates("k", algorithm)] == ["k"]


def test_weak_rsa_keys_are_refused() -> None:
    """RSA keys have 2048 bits or more (RFC 7518, section 3.3)."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    jwk = {**RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "alg": "RS256"}
    with pytest.raises(ConfigurationError, match="1024 bits: expected 2048 or more"):
        StaticKeys({**jwk, "key_ops": ["verify"]})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"use": "enc"}, id="use-enc"),
        pytest.param({"use": 5}, id="use-number"),
        pytest.param({"use": ["sig"]}, id="use-list"),
        pytest.param({"key_ops": ["encrypt"]}, id="ops-encrypt"),
        pytest.param({"key_ops": []}, id="ops-empty"),
        pytest.param({"key_ops": 5}, id="ops-number"),
        pytest.param({"key_ops": ...}, id="ops-null"),
        pytest.param({"key_ops": "verify"}, id="ops-string"),
        pytest.param({"key_ops": [{}]}, id="ops-of-objects"),
        pytest.param({"key_ops": {"verify": 1}}, id="ops-object"),
        pytest.param({"kty": "EC"}, id="another-kty"),
        pytest.param({"kty": "RSA2"}, id="unknown-kty"),
        pytest.param({"kty": None}, id="no-kty"),
        pytest.param({"kty": ["RSA"]}, id="kty-list"),
        pytest.param({"kty": {}}, id="kty-object"),
        pytest.param({"alg": "none"}, id="alg-none"),
        pytest.param({"alg": "RSA-OAEP"}, id="alg-encryption"),
        pytest.param({"alg": 5}, id="alg-number"),
        pytest.param({"alg": ["RS256"]}, id="alg-list"),
        pytest.param({"alg": "ES256"}, id="alg-of-another-type"),
        pytest.param({"n": None}, id="no-n"),
        pytest.param({"n": ""}, id="empty-n"),
        pytest.param({"n": 5}, id="n-number"),
        pytest.param({"n": ["AQAB"]}, id="n-list"),
        pytest.param({"n": "ü"}, id="n-non-ascii"),
        pytest.param({"n": "A"}, id="n-bad-base64"),
        pytest.param({"e": None}, id="no-e"),
        pytest.param({"e": "AA"}, id="e-zero"),
        pytest.param({"e": "Ag"}, id="e-even"),
        pytest.param({"e": {}}, id="e-object"),
    ],
)
def test_unusable_rsa_keys_are_refused(changes: dict[str, Any]) -> None:
    """A key for something else, of another type or damaged is a configuration error."""
    jwk = Signer("RS256").jwk(**changes)
    jwk |= {name: None for name, value in changes.items() if value is ...}
    with pytest.raises(ConfigurationError) as caught:
        StaticKeys(jwk)
    assert Signer("RS256").jwk()["n"] not in str(caught.value)


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        pytest.param("ES256", {"crv": "P-384"}, id="ec-another-curve"),
        pytest.param("ES256", {"crv": "secp256k1"}, id="ec-secp256k1"),
        pytest.param("ES256", {"crv": 5}, id="ec-crv-number"),
        pytest.param("ES256", {"crv": None}, id="ec-no-crv"),
        pytest.param("ES256", {"crv": "secp256k1", "alg": None}, id="ec-unknown-curve-no-alg"),
        pytest.param("ES256", {"x": b64(b"\1" * 32)}, id="ec-not-on-the-curve"),
        pytest.param("ES256", {"x": b64(b"\1" * 31)}, id="ec-short-x"),
        pytest.param("ES256", {"y": None}, id="ec-no-y"),
        pytest.param("EdDSA", {"crv": "Ed448"}, id="okp-ed448"),
        pytest.param("EdDSA", {"crv": "X25519"}, id="okp-x25519"),
        pytest.param("EdDSA", {"x": b64(b"\1" * 31)}, id="okp-short-x"),
        pytest.param("EdDSA", {"x": None}, id="okp-no-x"),
        pytest.param("HS256", {"k": None}, id="oct-no-k"),
        pytest.param("HS256", {"k": 5}, id="oct-number"),
        pytest.param("HS256", {"k": "ü"}, id="oct-non-ascii"),
    ],
)
def test_unusable_keys_of_other_types_are_refused(algorithm: str, changes: dict[str, Any]) -> None:
    """A curve that does not fit, or a point that is none, is a configuration error."""
    with pytest.raises(ConfigurationError):
        StaticKeys(Signer(algorithm).jwk(**changes))


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="no-keys"),
        pytest.param({"keys": []}, id="empty-set"),
        pytest.param({"keys": None}, id="set-of-null"),
        pytest.param({"keys": ["text"]}, id="set-of-text"),
        pytest.param({"keys": 5}, id="set-of-number"),
        pytest.param(["text"], id="text-in-a-list"),
        pytest.param("text", id="text"),
        pytest.param({}, id="empty-key"),
    ],
)
def test_what_is_no_key_set_is_refused(keys: Any) -> None:
    """Whatever is not a list of JWKs or a JWK set is a configuration error."""
    with pytest.raises(ConfigurationError):
        StaticKeys(keys)


async def test_private_members_are_ignored() -> None:
    """A private JWK serves as its public half, and its private half is not kept."""
    private = RSAAlgorithm.to_jwk(private_key("RS256"), as_dict=True)
    private |= {"alg": "RS256", "kid": "main", "key_ops": ["sign", "verify"], "d": "broken"}
    keys = StaticKeys(private)
    assert (await authenticate(token(), keys=keys, algorithms=("RS256",))).caller
    (key,) = keys.candidates("main", "RS256")
    assert not hasattr(key._prepared, "private_numbers")


def test_a_key_set_and_a_single_key_are_both_taken() -> None:
    """`StaticKeys` takes a JWK set, a list and a lone JWK."""
    jwk = Signer().jwk()
    forms: list[Any] = [jwk, [jwk], {"keys": [jwk]}]
    for form in forms:
        assert StaticKeys(form).candidates("main", "RS256")


def test_keys_are_chosen_by_kid_and_algorithm() -> None:
    """A named key is the only candidate; without a name every fitting key is one."""
    keys = StaticKeys([Signer(name=name).jwk() for name in ("main", "other")])
    assert [key.key_id for key in keys.candidates("other", "RS256")] == ["other"]
    assert [key.key_id for key in keys.candidates(None, "RS256")] == ["main", "other"]
    for key_id, algorithm in (("MAIN", "RS256"), ("", "RS256"), ("main", "PS256")):
        with pytest.raises(KeyMissing):
            keys.candidates(key_id, algorithm)


async def test_static_keys_never_change() -> None:
    """Refreshing brings nothing, and the epoch stays."""
    keys = StaticKeys(Signer().jwk())
    await keys.refresh()
    assert keys.epoch == 0


def test_a_kid_that_is_no_text_is_no_kid() -> None:
    """A key whose `kid` is not a string serves tokens without one only."""
    keys = StaticKeys(Signer().jwk(kid=5))
    assert keys.candidates(None, "RS256")[0].key_id is None
    with pytest.raises(KeyMissing):
        keys.candidates("5", "RS256")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "HS256"])
def test_repr_shows_no_key_material(algorithm: str) -> None:
    """A key prints its name, algorithm and thumbprint, and nothing of its material."""
    jwk = Signer(algorithm).jwk()
    (key,) = StaticKeys(jwk).candidates("main", algorithm)
    for member in ("n", "x", "y", "k"):
        assert jwk.get(member, "absent") not in repr(key)
    assert "_prepared" not in repr(key)
    assert algorithm in repr(key)


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    """The example of RFC 7638, section 3.1 has the thumbprint that stands there."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP"
        "ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY"
        "368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0f"
        "M4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert b64(bytes.fromhex(load_key(jwk, ("RS256",)).thumbprint)) == expected


def spelled_otherwise(jwk: dict[str, Any], zeros: int, padding: int) -> dict[str, Any]:
    """Return the same key, its numbers with leading zeros and its text with padding."""
    odd = dict(jwk)
    for member in ("n", "e", "x", "y", "k"):
        if member in jwk:
            raw = base64.urlsafe_b64decode(jwk[member] + "==")
            longer = bytes(zeros if member in ("n", "e") else 0) + raw
            odd[member] = b64(longer) + "=" * padding
    return odd


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES512", "EdDSA", "HS256"])
@given(zeros=st.integers(0, 5), padding=st.integers(0, 3))
def test_a_key_has_one_thumbprint_however_it_is_spelled(
    algorithm: str, zeros: int, padding: int
) -> None:
    """Leading zeros and padding make no other key; the odd spelling's own hash is a name of it."""
    usual = load_key(Signer(algorithm).jwk(), (algorithm,))
    odd = load_key(spelled_otherwise(Signer(algorithm).jwk(), zeros, padding), (algorithm,))
    assert odd.thumbprint == usual.thumbprint
    assert odd == usual
    assert usual.names <= odd.names


@pytest.mark.parametrize(
    "algorithms",
    [
        pytest.param((), id="none-at-all"),
        pytest.param(("none",), id="alg-none"),
        pytest.param(("RS256", "none"), id="alg-none-among-others"),
        pytest.param(("RS256", "HS256"), id="mixed"),
        pytest.param(("HS512", "EdDSA"), id="mixed-other-way"),
        pytest.param(("rs256",), id="case"),
        pytest.param("RS257", id="a-lone-string"),
        pytest.param((5,), id="a-number"),
    ],
)
def test_allow_lists_that_cannot_be_meant_are_refused(algorithms: Any) -> None:
    """Unknown names, and secrets next to public keys, are configuration errors."""
    with pytest.raises(ConfigurationError):
        allow_list(algorithms)


def test_an_allow_list_keeps_its_order_and_names_things_once() -> None:
    """The order is the preference; the alias and its original are one."""
    assert allow_list(["PS256", "Ed25519", "EdDSA", "RS256"]) == ("PS256", "EdDSA", "RS256")


@pytest.mark.parametrize("name", ["none", "", None, 5, [], {}])
def test_unknown_algorithms_have_no_canonical_name(name: Any) -> None:
    """What is not known to the letter has no name, whatever its type."""
    assert canonical_algorithm(name) is None


def test_a_lone_algorithm_is_one_name() -> None:
    """A string is one algorithm, not its letters."""
    assert allow_list("RS256") == ("RS256",)

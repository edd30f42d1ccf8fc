"""Keys that sign, and the examples of RFC 7515 for the keys that verify."""

import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from jwt.algorithms import get_default_algorithms

from busauth._tokens.compact import split
from busauth._tokens.keys.key import ALGORITHMS, load_key
from busauth._tokens.keys.signing import SigningKey, b64url
from busauth.errors import ConfigurationError
from tests.unit.support import SECRET, Signer, pem_of

A1_KEY = {
    "kty": "oct",
    "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
}
A1_JWS = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
"""RFC 7515, appendix A.1: HS256."""

A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}
A3_JWS = (
    "eyJhbGciOiJFUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
    "pmWQxfKTUJqPP3-Kg6NU1Q"
)
"""RFC 7515, appendix A.3: ES256."""

A4_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
A4_JWS = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
"""RFC 8037, appendix A.4: EdDSA on Ed25519."""

VECTORS = [
    pytest.param(A1_KEY, "HS256", A1_JWS, id="rfc7515-a1"),
    pytest.param(A3_KEY, "ES256", A3_JWS, id="rfc7515-a3"),
    pytest.param(A4_KEY, "EdDSA", A4_JWS, id="rfc8037-a4"),
]


def parts(jws: str) -> tuple[bytes, bytes]:
    """Return signing input and signature."""
    signing_input, _, signature = jws.rpartition(".")
    padded = "eyJhbGciOiJIUzI1NiJ9.e30." + signature  # its payload may be any text
    return signing_input.encode(), split(padded, max_bytes=8192).signature


@pytest.mark.parametrize(("jwk", "algorithm", "jws"), VECTORS)
def test_the_standards_examples_verify(jwk: dict[str, Any], algorithm: str, jws: str) -> None:
    """What the standards signed holds, and nothing one bit off does."""
    key = load_key(jwk, (algorithm,))
    signing_input, signature = parts(jws)
    assert key.verifies(signing_input, signature)
    for at in (0, len(signature) // 2, len(signature) - 1):
        altered = bytearray(signature)
        altered[at] ^= 1
        assert not key.verifies(signing_input, bytes(altered))
    assert not key.verifies(signing_input[:-1] + b"0", signature)


def test_the_standards_payload_is_read_as_it_stands() -> None:
    """Line breaks and blanks in a header or payload are JSON as well."""
    compact = split(A1_JWS, max_bytes=8192)
    assert compact.header == {"typ": "JWT", "alg": "HS256"}
    assert compact.payload == {
        "iss": "joe",
        "exp": 1300819380,
        "http://example.com/is_root": True,
    }


@pytest.mark.parametrize(("jwk", "algorithm", "jws"), VECTORS)
def test_the_standards_keys_sign(jwk: dict[str, Any], algorithm: str, jws: str) -> None:
    """A private JWK signs what its public half verifies, and what others verify."""
    key = SigningKey(jwk, algorithm=algorithm)
    compact = split(key.sign({"iss": "joe"}, typ="JWT"), max_bytes=8192)
    assert compact.payload == {"iss": "joe"}
    assert load_key(jwk, (algorithm,)).verifies(compact.signing_input, compact.signature)
    public = {name: jwk[name] for name in jwk if name != "d"}
    assert key.verification_jwk() == {**public, "alg": algorithm, "use": "sig"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_signs_what_it_verifies(algorithm: str) -> None:
    """Signing and verifying agree for each algorithm that busauth knows."""
    key = SigningKey(Signer(algorithm).private, algorithm=algorithm, key_id="1")
    compact = split(key.sign({"a": "ä"}, typ="t+jwt"), max_bytes=8192)
    assert compact.header == {"typ": "t+jwt", "alg": algorithm, "kid": "1"}
    public = load_key(key.verification_jwk(), (algorithm,))
    assert public.verifies(compact.signing_input, compact.signature)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_pem_is_taken_as_text_or_bytes(algorithm: str) -> None:
    """What a secret store hands out signs."""
    pem = pem_of(Signer(algorithm).private)
    for key in (pem, pem.decode()):
        assert SigningKey(key, algorithm=algorithm).sign({}, typ="JWT")


def test_a_jwk_brings_its_kid_along() -> None:
    """A `kid` that is given counts more than the key's own."""
    assert SigningKey({**A3_KEY, "kid": "1"}, algorithm="ES256").key_id == "1"
    assert SigningKey({**A3_KEY, "kid": "1"}, algorithm="ES256", key_id="2").key_id == "2"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        pytest.param(SECRET, "none", id="none"),
        pytest.param(SECRET[:31], "HS256", id="short"),
        pytest.param(b"", "HS256", id="empty"),
        pytest.param(SECRET, "ES256", id="secret-as-key"),
        pytest.param(Signer("ES256").private, "HS256", id="key-as-secret"),
        pytest.param(pem_of(Signer("ES256").private), "HS256", id="pem-as-secret"),
        pytest.param(Signer("ES384").private, "ES256", id="other-curve"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), "ES256", id="foreign-curve"),
        pytest.param(ed448.Ed448PrivateKey.generate(), "EdDSA", id="ed448"),
        pytest.param(Signer("ES256").public, "ES256", id="public"),
        pytest.param(Signer("EdDSA").jwk(), "EdDSA", id="public-jwk"),
        pytest.param({**A3_KEY, "alg": "ES384"}, "ES256", id="other-alg"),
        pytest.param({**A3_KEY, "kid": 5}, "ES256", id="odd-kid"),
        pytest.param({**A3_KEY, "kid": ""}, "ES256", id="no-kid"),
        pytest.param({"kty": "EC"}, "ES256", id="half"),
        pytest.param({}, "ES256", id="nothing"),
        pytest.param("text", "EdDSA", id="text"),
        pytest.param(None, "ES256", id="none-at-all"),
    ],
)
def test_a_key_that_cannot_sign_so_is_told_at_once(key: Any, algorithm: str) -> None:
    """What does not fit its algorithm is refused, and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        SigningKey(key, algorithm=algorithm)
    assert "PRIVATE" not in str(caught.value)


def test_a_jwk_that_is_text_is_told_how_it_is_taken() -> None:
    """Whoever reads a key's file hears what is missing, and nothing of the key."""
    with pytest.raises(ConfigurationError, match=r"expected a private JWK as a mapping") as caught:
        SigningKey(json.dumps(A3_KEY), algorithm="ES256")
    assert A3_KEY["d"] not in str(caught.value)


def test_a_payload_is_json() -> None:
    """What JSON in UTF-8 cannot say is an error."""
    key = SigningKey(SECRET, algorithm="HS256")
    for payload in ({"a": float("nan")}, {"a": b"raw"}, {"a": "\ud800"}):
        with pytest.raises((ValueError, TypeError)):
            key.sign(payload, typ="JWT")


def test_a_key_prints_its_name_only() -> None:
    """No repr shows what signs."""
    assert repr(SigningKey(SECRET, algorithm="HS256", key_id="1")) == "<SigningKey 1 HS256>"


def test_base64url_has_no_padding() -> None:
    """As RFC 7515, appendix C, has it."""
    assert b64url(bytes([3, 236, 255, 224, 193])) == b"A-z_4ME"


def test_others_verify_what_is_signed() -> None:
    """PyJWT's own implementation agrees with a compact JWS of ours."""
    jws = SigningKey(A3_KEY, algorithm="ES256").sign({}, typ="JWT")
    signing_input, signature = parts(jws)
    implementation = get_default_algorithms()["ES256"]
    assert implementation.verify(signing_input, implementation.from_jwk(A3_KEY), signature)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_signature_by_a_shared_secret_is_its_hmac(algorithm: str) -> None:
    """The second signature is made as the first one was."""
    key = SigningKey(SECRET, algorithm=algorithm)
    for payload in ({"a": 1}, {"a": 1}, {"b": "ä"}):
        signing_input, _, signature = key.sign(payload, typ="JWT").rpartition(".")
        expected = hmac.digest(SECRET, signing_input.encode(), f"sha{algorithm[2:]}")
        assert signature == b64url(expected).decode()

"""The examples of RFC 7515, 7516, 7518, 7519 and 7520, as they were published.

What they sign, busauth verifies. What they encrypt, it refuses, for none of it uses its algorithms
alone; that each of those is opened by others shows that it is no slip of the pen.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwe as second_opinion
from joserfc.jwk import import_key

from busauth import StaticKeys, Verifier, Verifiers
from busauth._tokens.compact import split
from busauth._tokens.envelope import is_encrypted
from busauth._tokens.keys.key import load_key
from busauth.errors import NotGenuine
from busauth.tokens import Decryption
from tests.unit.encrypting import private_jwks
from tests.unit.opening import agreed, opened, raw
from tests.unit.support import proven_by

FOLDER = Path(__file__).parent.parent / "vectors"
RFCS = ("rfc7515", "rfc7516", "rfc7519", "rfc7520")
BOOKS = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in (*RFCS, "rfc7518")}
Vector = dict[str, Any]


def of(kind: str, *, like: str = "") -> list[Any]:
    """Return the vectors of a kind, each with its key, where there is one."""
    return [
        pytest.param(
            {**vector, "jwk": BOOKS[rfc].get("keys", {}).get(vector.get("key"))},
            id=f"{rfc}-{vector['section']}",
        )
        for rfc in RFCS
        for vector in BOOKS[rfc].get(kind, [])
        if like in vector.get("enc", "")
    ]


JWTS = [
    param for param in of("signed") if param.id in ("rfc7515-A.1", "rfc7515-A.2", "rfc7519-3.1")
]


def parts(jws: str) -> tuple[bytes, bytes]:
    """Return signing input and signature."""
    signing_input, _, signature = jws.rpartition(".")
    return signing_input.encode(), raw(signature)


@pytest.mark.parametrize("vector", of("signed"))
def test_what_the_standards_sign_verifies(vector: Vector) -> None:
    """A published signature holds under its published key."""
    key = load_key(vector["jwk"], (vector["alg"],))
    assert key.verifies(*parts(vector["compact"]))


@pytest.mark.parametrize("vector", of("signed"))
def test_what_the_standards_sign_and_somebody_altered_does_not(vector: Vector) -> None:
    """One bit of the signature, or of what was signed, is enough."""
    key = load_key(vector["jwk"], (vector["alg"],))
    signing_input, signature = parts(vector["compact"])
    assert not key.verifies(signing_input, bytes([signature[0] ^ 1]) + signature[1:])
    assert not key.verifies(signing_input + b"A", signature)


@pytest.mark.parametrize("vector", of("signed"))
def test_the_standards_compact_form_is_read(vector: Vector) -> None:
    """A JSON payload comes out as it was published; any other is refused for what it is."""
    payload = raw(vector["payload"])
    if payload.startswith(b"{"):
        assert split(vector["compact"], max_bytes=8192).payload == json.loads(payload)
        return
    with pytest.raises(NotGenuine) as caught:
        split(vector["compact"], max_bytes=8192)
    assert caught.value.code == "token.json"


def verifiers(vector: Vector) -> Verifiers:
    keys = StaticKeys([vector["jwk"]], algorithms=[vector["alg"]])
    usual: dict[str, Any] = {"issuer": "joe", "audience": "shop", "algorithms": [vector["alg"]]}
    return Verifiers(Verifier(keys, **usual))


@pytest.mark.parametrize("vector", JWTS)
async def test_the_standards_jwts_are_judged_by_their_claims(vector: Vector) -> None:
    """Joe's tokens pass the signature, and are refused for the claims that they lack."""
    with pytest.raises(NotGenuine) as caught:
        await proven_by(verifiers(vector), vector["compact"])
    assert caught.value.code in ("token.claim_missing", "token.audience")


@pytest.mark.parametrize("vector", JWTS)
async def test_the_standards_jwts_altered_are_refused_for_their_signature(vector: Vector) -> None:
    """One character less of what was signed, and no claim is looked at."""
    head, payload, signature = vector["compact"].split(".")
    altered = f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    with pytest.raises(NotGenuine) as caught:
        await proven_by(verifiers(vector), altered)
    assert caught.value.code == "token.signature"


@pytest.mark.parametrize("vector", of("refused"))
async def test_unsecured_and_json_forms_are_refused(vector: Vector) -> None:
    """No signature, or no compact form: whoever takes plain tokens refuses it, the others too."""
    with pytest.raises(NotGenuine) as caught:
        await proven_by(verifiers(JWTS[0].values[0]), vector["compact"])
    assert caught.value.code == vector["code"]
    with pytest.raises(NotGenuine) as caught:
        Decryption(private_jwks()).reveal(vector["compact"])
    assert caught.value.code == "token.not_encrypted"


@pytest.mark.parametrize("vector", of("encrypted"))
def test_the_standards_other_algorithms_are_refused(vector: Vector) -> None:
    """Not one published envelope uses the allowed algorithms alone: each is refused unopened."""
    assert is_encrypted(vector["compact"])
    with pytest.raises(NotGenuine) as caught:
        Decryption(private_jwks()).decrypt(vector["compact"])
    assert caught.value.code == vector["code"]


@pytest.mark.filterwarnings("ignore:JWE algorithm")
@pytest.mark.parametrize("vector", of("encrypted"))
def test_the_refused_envelopes_are_whole(vector: Vector) -> None:
    """Another implementation opens them: they were refused for their algorithms, not for a typo."""
    jwk = {name: value for name, value in vector["jwk"].items() if name not in ("use", "alg")}
    algorithms = [vector["alg"], vector["enc"], "DEF"]
    found = second_opinion.decrypt_compact(vector["compact"], import_key(jwk), algorithms)
    assert found.plaintext == raw(vector["plaintext"])


def test_the_second_opinion_agrees_upon_keys_as_published() -> None:
    """RFC 7518, appendix C: the derived key is the published one."""
    agreement = BOOKS["rfc7518"]["agreement"]
    assert agreed(agreement["header"], agreement["key"]) == raw(agreement["derived"])


@pytest.mark.parametrize(
    "vector", [param for param in of("encrypted", like="GCM") if "KW" not in param.values[0]["alg"]]
)
def test_the_second_opinion_opens_what_was_published(vector: Vector) -> None:
    """RSA-OAEP and direct encryption with AES GCM: what judges busauth's envelopes is right."""
    assert opened(vector["compact"], vector["jwk"])[1] == raw(vector["plaintext"])

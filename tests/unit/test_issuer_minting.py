"""The test kit's issuer: what it signs, and with which keys."""

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from busauth import StaticKeys, Verifier, Verifiers
from busauth._tokens.compact import split
from busauth.errors import NotGenuine
from busauth.testing import Issuer, ManualClock, SigningKey
from busauth.tokens import RFC9068, Verified
from tests.unit.issuer_fronts import make_issuer
from tests.unit.support import NOW, proven_by

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
ALGORITHMS += ["ES256", "ES384", "ES512", "EdDSA"]


@pytest.fixture
def issuer() -> Issuer:
    return make_issuer()


async def authenticate(issuer: Issuer, token: str) -> Verified:
    """Authenticate a token as a consumer that knows the published keys."""
    keys = StaticKeys(issuer.jwks())
    verifier = Verifier(keys, issuer=issuer.url, audience=issuer.audience, profile=RFC9068)
    return await proven_by(Verifiers(verifier), token)


async def refused_code(issuer: Issuer, token: str) -> str:
    with pytest.raises(NotGenuine) as caught:
        await authenticate(issuer, token)
    return caught.value.code


def parts(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return header and payload as they are."""
    compact = split(token, max_bytes=10_000)
    return compact.header, compact.payload


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # on the name EdDSA
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_is_verified_by_others(algorithm: str) -> None:
    """A token of any algorithm is genuine to busauth, to joserfc and to PyJWT."""
    issuer = make_issuer(algorithm=algorithm)
    raw = issuer.token("bob", scope="a b")
    (jwk,) = issuer.jwks()["keys"]
    assert (await authenticate(issuer, raw)).caller.scopes == {"a", "b"}
    decoded = joserfc_jwt.decode(raw, import_key(jwk), algorithms=[algorithm])
    assert decoded.claims["sub"] == "bob"
    assert decoded.header == {"alg": algorithm, "kid": jwk["kid"], "typ": "at+jwt"}
    key = jwt.PyJWK(jwk)
    assert jwt.decode(raw, key, options={"verify_aud": False, "verify_exp": False})["sub"] == "bob"


@pytest.mark.parametrize("algorithm", ["RS1", "none", "HS256", ""])
def test_an_algorithm_without_keys_is_told(algorithm: str) -> None:
    """What no key pair can be made for is refused, with what could be."""
    with pytest.raises(ValueError, match=r"expected one of .*RS256.*EdDSA"):
        SigningKey(algorithm)


def test_a_key_prints_its_name_alone() -> None:
    """Nothing of the private half is in the text of a key."""
    assert repr(SigningKey("ES256", "k1")) == "<SigningKey k1 ES256>"


def test_the_public_half_holds_nothing_private() -> None:
    """A published key has no private member."""
    for algorithm in ("RS256", "ES256", "EdDSA"):
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(SigningKey(algorithm).public_jwk())


@pytest.mark.parametrize("value", [[], {}, True, -1, 1.5, "x", 10**40, {"a": [None]}])
@pytest.mark.parametrize("name", ["exp", "iss", "aud", "sub", "jti", "other"])
def test_a_claim_may_be_any_json(name: str, value: Any, issuer: Issuer) -> None:
    """What a claim is changed to is what the token says."""
    _, payload = parts(issuer.token(**{name: value}))
    assert payload[name] == value


async def test_infinity_is_written_out(issuer: Issuer) -> None:
    """`exp` may be infinite, as no JSON writer but Python's would have it."""
    raw = issuer.token(exp=math.inf)
    assert await refused_code(issuer, raw) == "token.json"
    assert jwt.decode(raw, options={"verify_signature": False})["exp"] == math.inf


@pytest.mark.parametrize("value", [5, True, [], {"a": 1}, ["none"], "x"])
@pytest.mark.parametrize("name", ["alg", "kid", "typ", "crit", "jku", "other"])
def test_a_header_may_be_any_json(name: str, value: Any, issuer: Issuer) -> None:
    """What a header is changed to is what the token says, and None takes it away."""
    header, _ = parts(issuer.token(header={name: value}))
    assert header[name] == value
    header, _ = parts(issuer.token(header={name: None}))
    assert name not in header


async def test_a_whole_payload_may_be_signed(issuer: Issuer) -> None:
    """Any JSON, null claims and bytes that are no JSON at all are signed as they are."""
    _, payload = parts(issuer.sign({**issuer.claims(), "nbf": None}))
    assert payload["nbf"] is None
    assert await refused_code(issuer, issuer.sign(b"\xff")) == "token.json"
    assert (await authenticate(issuer, issuer.sign(json.dumps(issuer.claims()).encode()))).caller


async def test_another_key_signs_under_its_own_name(issuer: Issuer) -> None:
    """A key that was not published names itself; it is unknown."""
    key = SigningKey("ES256", "theirs")
    raw = issuer.token(key=key)
    assert parts(raw)[0]["kid"] == "theirs"
    assert await refused_code(issuer, raw) == "token.key_unknown"


async def test_a_forged_token_differs_in_its_signature_alone(issuer: Issuer) -> None:
    """It has the header of a genuine one, and the claims that were asked for."""
    raw = issuer.forged("bob", scope="a")
    header, payload = parts(raw)
    assert header == parts(issuer.token())[0]
    assert (payload["sub"], payload["scope"]) == ("bob", "a")
    assert await refused_code(issuer, raw) == "token.signature"


async def test_forgers_keep_their_key_and_follow_the_algorithm(issuer: Issuer) -> None:
    """Forging is cheap: the stranger's key is made once for each algorithm."""
    stranger = issuer.stranger
    assert issuer.stranger is stranger
    issuer.rotate(SigningKey("EdDSA"))
    assert issuer.stranger.algorithm == "EdDSA"
    assert await refused_code(issuer, issuer.forged()) == "token.signature"


async def test_claims_may_be_spelled_in_any_way(issuer: Issuer) -> None:
    """JSON text stands in the payload letter by letter, under a good signature."""
    good = issuer.verbatim("bob", scope='"a\\u0020b"')
    assert (await authenticate(issuer, good)).caller.scopes == {"a", "b"}
    assert await refused_code(issuer, issuer.verbatim(sub='"a", "sub": "b"')) == "token.json"
    assert await refused_code(issuer, issuer.verbatim(exp="1e999")) == "token.claim_invalid"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_every_hostile_token_is_refused(algorithm: str) -> None:
    """No token of the collection is taken for the issuer's word, whatever the algorithm."""
    issuer = make_issuer(algorithm=algorithm)
    for name, raw in issuer.hostile().items():
        assert await refused_code(issuer, raw) == HOSTILE[name], name


def test_no_hostile_token_is_left_out() -> None:
    """Everything in the collection has its code here."""
    assert set(make_issuer().hostile()) == set(HOSTILE)


HOSTILE = {
    "alg none": "token.segments",
    "alg none, in capitals": "token.segments",
    "alg none, with a signature": "token.algorithm",
    "HS256 with the public key": "token.algorithm",
    "another's key": "token.key_unknown",
    "another's key under our kid": "token.signature",
    "another's key, no kid": "token.signature",
    "another's key in the header": "token.signature",
    "claims exchanged": "token.signature",
    "nothing": "token.empty",
    "one part": "token.segments",
    "two parts": "token.segments",
    "four parts": "token.segments",
    "five parts": "token.encrypted",
    "no header": "token.segments",
    "no payload": "token.segments",
    "no signature": "token.segments",
    "signature cut": "token.signature",
    "signature padded": "token.characters",
    "a blank inside": "token.characters",
    "a line break after": "token.characters",
    "a letter that looks alike": "token.characters",
    "kid unknown": "token.key_unknown",
    "kid a path": "token.key_unknown",
    "kid a query": "token.key_unknown",
    "kid a number": "token.key_unknown",
    "alg missing": "token.algorithm",
    "alg unknown": "token.algorithm",
    "alg a list": "token.algorithm",
    "typ of an event": "token.type",
    "typ of an introspection": "token.type",
    "typ a number": "token.type",
    "crit": "token.crit",
    "crit with b64": "token.crit",
    "exp a bool": "token.claim_invalid",
    "exp a string": "token.claim_invalid",
    "exp a list": "token.claim_invalid",
    "exp an object": "token.claim_invalid",
    "exp negative": "token.claim_invalid",
    "exp infinite": "token.json",
    "exp missing": "token.claim_missing",
    "nbf a string": "token.claim_invalid",
    "iat a list": "token.claim_invalid",
    "iss foreign": "token.issuer",
    "iss a list": "token.issuer",
    "iss missing": "token.issuer",
    "aud foreign": "token.audience",
    "aud of others": "token.audience",
    "aud empty": "token.audience",
    "aud a number": "token.claim_invalid",
    "aud missing": "token.claim_missing",
    "sub a number": "token.claim_invalid",
    "sub missing": "token.claim_missing",
    "jti a list": "token.claim_invalid",
    "act without sub": "token.claim_invalid",
    "sender-constrained": "token.sender_constrained",
    "a security event": "token.type",
    "too long": "token.too_large",
    "exp overflowing": "token.claim_invalid",
    "exp not a number": "token.json",
    "exp null": "token.claim_invalid",
    "sub twice": "token.json",
    "deep JSON": "token.json",
    "payload a list": "token.json",
    "payload no JSON": "token.json",
    "payload not UTF-8": "token.json",
    "payload empty": "token.segments",
}


def test_the_confused_signature_is_over_the_public_key() -> None:
    """With HS256 the secret is what everybody can read: the public key's PEM."""
    issuer = make_issuer(algorithm="RS256")
    message, _, signature = issuer.token(algorithm="HS256").rpartition(".")
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    assert hmac.verify(
        message.encode(), issuer.signing.public_pem(), jwt.utils.base64url_decode(signature)
    )


def test_a_given_key_signs_after_a_rotation(issuer: Issuer) -> None:
    """A key of one's own, of any algorithm, takes over; what was published stays so, once."""
    first, mine = issuer.signing, SigningKey("EdDSA", "mine")
    assert issuer.rotate(mine) is mine
    assert parts(issuer.token())[0]["alg"] == "EdDSA"
    assert issuer.published == (first, mine)
    issuer.rotate(first)
    assert (issuer.signing, issuer.published) == (first, (mine, first))


async def test_a_retired_key_counts_no_more(issuer: Issuer) -> None:
    """After its retirement a key is not published, and its tokens are nobody's."""
    old, raw = issuer.signing, issuer.token()
    issuer.rotate()
    assert (await authenticate(issuer, raw)).caller
    issuer.retire(old)
    assert issuer.published == (issuer.signing,)
    assert await refused_code(issuer, raw) == "token.key_unknown"
    assert issuer.introspect(raw) == {"active": False}


def test_the_key_that_signs_is_not_retired(issuer: Issuer) -> None:
    """Retiring it would leave tokens that nobody can verify; unknown keys are told too."""
    with pytest.raises(ValueError, match="rotated out"):
        issuer.retire(issuer.signing)
    with pytest.raises(ValueError, match="is not published"):
        issuer.retire(SigningKey("ES256"))


def test_rotating_in_threads_loses_no_key(issuer: Issuer) -> None:
    """Every key that signed stays published, however many rotate at once."""
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(lambda _: issuer.rotate(), range(50)))
    assert set(keys) < set(issuer.published)
    assert len(issuer.published) == 51


def test_a_token_lives_on_the_issuers_clock() -> None:
    """`iat` and `exp` are the clock's, in whole seconds."""
    issuer = Issuer(algorithm="ES256", clock=ManualClock(NOW), lifetime=60)
    _, payload = parts(issuer.token())
    assert (payload["iat"], payload["exp"]) == (NOW, NOW + 60)


def test_references_say_nothing_by_themselves(issuer: Issuer) -> None:
    """An opaque token is no JWT, and no two are alike."""
    references = {issuer.reference() for _ in range(100)}
    assert len(references) == 100
    assert not any("." in reference or len(reference) < 40 for reference in references)

"""Is this token genuine?"""

import copy
import hashlib
import json
from typing import Any

import pytest

from busauth import Grace, StaticKeys, Verifier, Verifiers, keycloak
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth.errors import ConfigurationError, NotGenuine, Untimely
from busauth.tokens import (
    AUTH0,
    COGNITO,
    ENTRA,
    LENIENT,
    RFC9068,
    Key,
    KeyMissing,
    NotAtHand,
    Profile,
)
from tests.unit.support import (
    AUDIENCE,
    ISSUER,
    NOW,
    Signer,
    authenticate,
    b64,
    payload,
    proven_by,
    refusal,
    refused_code,
    token,
    verifier,
)

OTHER = Signer(name="other")


async def test_a_genuine_token_becomes_a_caller() -> None:
    """Everything that the token says about its caller is on the caller."""
    raw = token(roles=["clerk"], nbf=int(NOW))
    verified = await authenticate(raw)
    caller = verified.caller
    assert (caller.issuer, caller.subject, caller.client) == (ISSUER, "alice", "shop-web")
    assert caller.scopes == {"orders:read", "orders:write"}
    assert caller.roles == {"clerk"}
    assert caller.audience == (AUDIENCE,)
    assert (caller.issued_at, caller.expires_at) == (NOW, NOW + 300)
    assert (caller.token_id, caller.late, caller.actors) == ("t-1", None, ())
    assert caller.token_sha256 == hashlib.sha256(raw.encode()).hexdigest()
    assert verified.not_before == NOW
    assert caller.claims["sub"] == "alice"


# The header


@pytest.mark.parametrize("kid", [5, None, True, ["main"], {"a": 1}, 1.5])
async def test_a_kid_that_is_no_string_is_refused(kid: Any) -> None:
    """`kid` is a string, or it is not there (RFC 7515, section 4.1.4)."""
    refused = await refusal(Signer().sign(payload(), kid=kid))
    assert refused.code == "token.key_unknown"


@pytest.mark.parametrize("kid", ["", "MAIN", "main ", "../../etc/passwd", "x' OR '1'='1", "é"])
async def test_an_unknown_kid_is_refused(kid: str) -> None:
    """A key is found by its exact name or not at all."""
    refused = await refusal(Signer().sign(payload(), kid=kid))
    assert refused.code == "token.key_unknown"


async def test_without_a_kid_every_key_may_have_signed() -> None:
    """A token that names no key is held against each fitting one."""
    raw = OTHER.sign(payload(), header={"alg": "RS256", "typ": "JWT"})
    assert (await authenticate(raw, Signer(), OTHER)).caller.subject == "alice"
    assert (await refusal(raw, Signer())).code == "token.signature"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"jwk": OTHER.jwk()}, id="jwk"),
        pytest.param({"jku": "https://evil.example/jwks"}, id="jku"),
        pytest.param({"x5u": "https://evil.example/cert"}, id="x5u"),
        pytest.param({"x5c": ["MIIB"]}, id="x5c"),
        pytest.param({"x5t#S256": "abc"}, id="x5t"),
        pytest.param({"jwk": {"kty": "oct", "k": ""}, "jku": 5, "x5c": {}}, id="damaged"),
    ],
)
async def test_keys_in_the_header_are_never_followed(header: dict[str, Any]) -> None:
    """A token that brings its own key is judged by the configured ones alone."""
    assert (await refusal(OTHER.sign(payload(), kid="main", **header))).code == "token.signature"
    assert (await authenticate(Signer().sign(payload(), **header))).caller.subject == "alice"


@pytest.mark.parametrize("crit", [["exp"], ["b64"], ["x"], [], None, "exp", 5])
async def test_critical_extensions_are_refused(crit: Any) -> None:
    """No extension is understood, so whatever is critical is refused (RFC 7515, 4.1.11)."""
    assert (await refusal(Signer().sign(payload(), crit=crit))).code == "token.crit"


@pytest.mark.parametrize("b64_member", [False, True])
async def test_an_unencoded_payload_is_refused(b64_member: bool) -> None:
    """`b64` belongs to detached payloads (RFC 7797), which are no JWTs."""
    assert (await refusal(Signer().sign(payload(), b64=b64_member))).code == "token.crit"


LENIENT_TYPES = ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"]
FOREIGN_TYPES = [
    "secevent+jwt",
    "application/secevent+jwt",
    "id+jwt",
    "logout+jwt",
    "wpt+jwt",
    "dpop+jwt",
    "txntoken+jwt",
    "token-introspection+jwt",
    "JOSE",
    "",
    "application/",
    "application/application/jwt",
    "text/jwt",
    "jwt ",
    "at+jwt;v=1",
    5,
    None,
    True,
    ["JWT"],
    {"typ": "JWT"},
]


@pytest.mark.parametrize("typ", LENIENT_TYPES)
async def test_the_lenient_profile_takes_common_types(typ: str) -> None:
    """`typ` is compared as a media type: without case, with or without its prefix."""
    assert (await authenticate(token(typ=typ))).caller


@pytest.mark.parametrize("typ", ["at+jwt", "AT+jwt", "application/at+jwt"])
async def test_the_strict_profile_takes_access_tokens(typ: str) -> None:
    """RFC 9068 has one type."""
    assert (await authenticate(token(typ=typ), profile=RFC9068)).caller


@pytest.mark.parametrize("profile", [LENIENT, RFC9068, AUTH0, ENTRA, COGNITO, keycloak()])
@pytest.mark.parametrize("typ", FOREIGN_TYPES, ids=repr)
async def test_other_kinds_of_token_are_refused(profile: Profile, typ: Any) -> None:
    """A token of another kind, or with a `typ` that is none, is no access token."""
    assert (await refusal(token(typ=typ), profile=profile)).code == "token.type"


@pytest.mark.parametrize("typ", ["JWT", "application/jwt", ...])
async def test_the_strict_profile_wants_the_explicit_type(typ: Any) -> None:
    """For RFC 9068, `JWT` says nothing, and neither does silence."""
    header = {"alg": "RS256", "kid": "main"} | ({} if typ is ... else {"typ": typ})
    raw = Signer().sign(payload(), header=header)
    assert (await refusal(raw, profile=RFC9068)).code == "token.type"


async def test_the_lenient_profile_takes_no_type() -> None:
    """Most providers that omit `typ` mean an access token."""
    assert (await authenticate(Signer().sign(payload(), header={"alg": "RS256"}))).caller


# The signature


async def test_a_foreign_signature_under_a_known_kid_is_refused() -> None:
    """Naming a key is not having it."""
    assert (await refusal(OTHER.sign(payload(), kid="main"))).code == "token.signature"


@pytest.mark.parametrize("signature", [b"", b"\0", b"\0" * 256, b"\0" * 64, b"x" * 2000])
async def test_a_made_up_signature_is_refused(signature: bytes) -> None:
    """Whatever its length, a signature that nobody made is no signature."""
    unsigned = token().rpartition(".")[0]
    code = (await refusal(f"{unsigned}.{b64(signature)}")).code
    assert code == ("token.signature" if signature else "token.segments")


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
@pytest.mark.parametrize("signature", [b"\0" * 64, b"\0" * 96, b"\0" * 132, b"\xff" * 64])
async def test_the_signature_of_zeros_is_refused(algorithm: str, signature: bytes) -> None:
    """An ECDSA signature with r = s = 0 proves nothing (CVE-2022-21449)."""
    signer = Signer(algorithm)
    unsigned = token(signer).rpartition(".")[0]
    assert (await refusal(f"{unsigned}.{b64(signature)}", signer)).code == "token.signature"


async def test_claims_are_judged_after_the_signature() -> None:
    """Nothing is told about the claims of a token that nobody trusted signed."""
    forged = OTHER.sign(payload(aud="elsewhere", exp="never"), kid="main")
    assert (await refusal(forged)).code == "token.signature"


# The claims

NOT_INSTANTS: list[Any] = [
    None,
    True,
    False,
    "1750000300",
    "",
    -1,
    -0.5,
    -1e300,
    [],
    {},
    [1],
    {"$numberLong": "1"},
    int("9" * 400),
]


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", NOT_INSTANTS, ids=lambda value: repr(value)[:20])
async def test_an_instant_is_a_finite_non_negative_number(name: str, value: Any) -> None:
    """`exp`, `nbf` and `iat` are NumericDates (RFC 7519, section 2), and nothing else."""
    refused = await refusal(token(**{name: value}))
    assert refused.code == "token.claim_invalid"
    assert name in refused.detail


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e99999"])
async def test_a_number_beyond_every_float_is_no_instant(name: str, number: str) -> None:
    """A literal that reads as infinity is refused where an instant is expected."""
    text = payload(**{name: 987654321})
    raw = Signer().sign(json_with(text, "987654321", number))
    assert (await refusal(raw)).code == "token.claim_invalid"


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
async def test_what_is_not_json_is_no_instant(literal: str) -> None:
    """NaN and infinities are not JSON, though Python's parser takes them."""
    raw = Signer().sign(json_with(payload(exp=987654321), "987654321", literal))
    assert (await refusal(raw)).code == "token.json"


def json_with(claims: dict[str, Any], old: str, new: str) -> bytes:
    return json.dumps(claims).replace(old, new).encode()


@pytest.mark.parametrize(
    ("value", "instant"), [(0, 0.0), (0.5, 0.5), (1.75e9, 1.75e9), (10**30, 1e30), (1e300, 1e300)]
)
async def test_unusual_instants_are_instants(value: float, instant: float) -> None:
    """Fractions, zero and the far future are numbers like others."""
    assert (await authenticate(token(exp=value))).caller.expires_at == instant


@pytest.mark.parametrize("name", ["exp", "sub", "aud"])
async def test_the_lenient_profile_demands_the_minimum(name: str) -> None:
    """Even the lenient profile wants `exp`, `sub` and `aud`."""
    refused = await refusal(token(**{name: ...}))
    assert (refused.code, refused.expected) == ("token.claim_missing", name)


@pytest.mark.parametrize("name", ["exp", "aud", "sub", "client_id", "iat", "jti"])
async def test_the_strict_profile_demands_what_rfc_9068_does(name: str) -> None:
    """All required claims of RFC 9068, section 2.2 must be there."""
    refused = await refusal(token(typ="at+jwt", **{name: ...}), profile=RFC9068)
    assert (refused.code, refused.expected) == ("token.claim_missing", name)


@pytest.mark.parametrize("name", ["sub", "jti"])
@pytest.mark.parametrize("value", [5, None, True, ["alice"], {"a": 1}])
async def test_names_in_claims_are_strings(name: str, value: Any) -> None:
    """`sub` and `jti` are strings (RFC 7519, sections 4.1.2 and 4.1.7)."""
    assert (await refusal(token(**{name: value}))).code == "token.claim_invalid"


@pytest.mark.parametrize(
    ("audience", "code"),
    [
        ("elsewhere", "token.audience"),
        ("SHOP", "token.audience"),
        ("shop ", "token.audience"),
        ("shop,elsewhere", "token.audience"),
        ("", "token.audience"),
        ([], "token.audience"),
        (["elsewhere", "other"], "token.audience"),
        (["shop", 5], "token.claim_invalid"),
        ([["shop"]], "token.claim_invalid"),
        ([None], "token.claim_invalid"),
        (None, "token.claim_invalid"),
        (5, "token.claim_invalid"),
        (True, "token.claim_invalid"),
        ({"shop": 1}, "token.claim_invalid"),
    ],
)
async def test_the_audience_must_be_ours(audience: Any, code: str) -> None:
    """One exact name of ours must be among the audiences, all of which are strings."""
    assert (await refusal(token(aud=audience))).code == code


@pytest.mark.parametrize(
    ("audience", "accepted"),
    [
        ("shop", "shop"),
        (["shop"], "shop"),
        (["elsewhere", "shop"], "shop"),
        ("shop", ("orders", "shop")),
        (["a", "orders"], {"orders", "shop"}),
    ],
)
async def test_one_audience_in_common_suffices(audience: Any, accepted: Any) -> None:
    """A token for several, and a service with several names, meet in one."""
    verified = await authenticate(token(aud=audience), audience=accepted)
    expected = (audience,) if isinstance(audience, str) else tuple(audience)
    assert verified.caller.audience == expected


@pytest.mark.parametrize("cnf", [{"jkt": "abc"}, {"x5t#S256": "abc"}, {}, None, "x"])
@pytest.mark.parametrize("profile", [LENIENT, RFC9068])
async def test_sender_constrained_tokens_are_refused(cnf: Any, profile: Profile) -> None:
    """Taking a token with `cnf` as a bearer token would undo its constraint (RFC 7800)."""
    refused = await refusal(token(typ="at+jwt", cnf=cnf), profile=profile)
    assert refused.code == "token.sender_constrained"


@pytest.mark.parametrize("name", ["at_hash", "c_hash", "s_hash", "events"])
async def test_claims_of_other_kinds_give_them_away(name: str) -> None:
    """An ID token or a security event under a plain `typ` is no access token."""
    assert (await refusal(token(**{name: "x"}))).code == "token.type"


@pytest.mark.parametrize(
    ("late", "code"),
    [
        ({"iss": "https://evil.test"}, "token.issuer"),
        ({"aud": "elsewhere"}, "token.audience"),
        ({"aud": ["elsewhere"]}, "token.audience"),
        ({"cnf": {"jkt": "x"}}, "token.sender_constrained"),
        ({"events": {}}, "token.type"),
    ],
)
async def test_foreign_and_expired_is_foreign(late: dict[str, Any], code: str) -> None:
    """No grace is ever asked about a token that is not genuine, however late it is."""

    async def accept() -> object:
        verified = await authenticate(token(exp=int(NOW) - 1, **late))
        policies = PolicyChain(Grace(hours=1), hard_max_age=3600)
        return await decide(verified, Rules(policies=policies), NOW)

    assert await refused_code(accept()) == code


# Time, as far as it concerns tokens from the future


@pytest.mark.parametrize(
    ("name", "code"), [("nbf", "token.not_yet_valid"), ("iat", "token.issued_in_future")]
)
@pytest.mark.parametrize(
    ("ahead", "leeway", "started"),
    [
        (0, 0, True),
        (1, 0, False),
        (0.001, 0, False),
        (30, 30, True),
        (31, 30, False),
        (30.5, 30, False),
        (-100, 0, True),
        (10**12, 300, False),
    ],
)
async def test_a_token_from_the_future_is_untimely(
    name: str, code: str, ahead: float, leeway: float, started: bool
) -> None:
    """A token counts from exactly `nbf` (and `iat`) less the leeway."""
    verified = await authenticate(token(**{name: NOW + ahead}), leeway=leeway)
    if started:
        verified.check_started(NOW)
        return
    with pytest.raises(Untimely) as caught:
        verified.check_started(NOW)
    assert caught.value.code == code


async def test_nbf_and_iat_may_be_missing() -> None:
    """Neither is required by the lenient profile."""
    verified = await authenticate(token(iat=...))
    verified.check_started(0.0)
    assert (verified.caller.issued_at, verified.not_before) == (None, None)


# Issuers


@pytest.mark.parametrize(
    "issuer",
    [
        "https://evil.test",
        f"{ISSUER}/",
        ISSUER.upper(),
        f"{ISSUER}.evil.test",
        ISSUER[:-1],
        "",
        None,
        5,
        True,
        [ISSUER],
        {ISSUER: 1},
        ...,
    ],
)
async def test_the_issuer_is_compared_to_the_letter(issuer: Any) -> None:
    """`iss` is exactly a configured one, a string, and there."""
    assert (await refusal(token(iss=issuer))).code == "token.issuer"


def two_issuers() -> Verifiers:
    return Verifiers(
        verifier(Signer(name="a"), issuer="https://a.test", audience="shop"),
        verifier(Signer(name="b"), issuer="https://b.test", audience="bank"),
    )


async def test_each_issuer_has_its_own_keys_and_audience() -> None:
    """The exact `iss` chooses the verifier."""
    both = two_issuers()
    for name, audience in (("a", "shop"), ("b", "bank")):
        raw = token(Signer(name=name), iss=f"https://{name}.test", aud=audience)
        assert (await proven_by(both, raw)).caller.issuer == f"https://{name}.test"


@pytest.mark.parametrize("kid", ["a", "b", None])
async def test_one_issuer_cannot_sign_for_another(kid: str | None) -> None:
    """A key belongs to its issuer: the other's signature is worth nothing."""
    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
    raw = Signer(name="b").sign(payload(iss="https://a.test"), header=header)
    code = await refused_code(proven_by(two_issuers(), raw))
    assert code in ("token.signature", "token.key_unknown")


async def test_one_issuers_audience_is_not_anothers() -> None:
    """What is for one issuer's audience is foreign to the other."""
    raw = token(Signer(name="b"), iss="https://b.test", aud="shop")
    assert await refused_code(proven_by(two_issuers(), raw)) == "token.audience"


async def test_a_list_of_issuers_is_no_issuer() -> None:
    """`iss` as a list chooses nobody (GHSA-75c5-xw7c-p5pm)."""
    raw = token(Signer(name="b"), iss=["https://a.test", "https://b.test"])
    assert await refused_code(proven_by(two_issuers(), raw)) == "token.issuer"


async def test_each_issuer_has_its_own_algorithms() -> None:
    """An algorithm that one issuer uses is not open to the other."""
    both = Verifiers(
        verifier(Signer("ES256"), issuer="https://a.test"),
        verifier(Signer("RS256"), issuer="https://b.test"),
    )
    raw = token(Signer("RS256"), iss="https://a.test")
    assert await refused_code(proven_by(both, raw)) == "token.algorithm"


# Settings


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer": ""},
        {"audience": ""},
        {"audience": ()},
        {"audience": ("shop", "")},
        {"algorithms": ()},
        {"algorithms": ("none",)},
        {"algorithms": ("RS256", "HS256")},
        {"leeway": -1},
        {"leeway": 301},
        {"leeway": float("nan")},
        {"leeway": float("inf")},
    ],
)
def test_a_verifier_that_cannot_be_meant_is_refused(settings: dict[str, Any]) -> None:
    """Empty names, impossible algorithms and a leeway beyond minutes are configuration errors."""
    usual: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE}
    with pytest.raises(ConfigurationError):
        Verifier(StaticKeys(Signer().jwk()), **{**usual, **settings})


def test_verifiers_are_one_for_each_issuer() -> None:
    """None at all, or two for one issuer, is a configuration error."""
    for wrong in ((), (verifier(), verifier(OTHER))):
        with pytest.raises(ConfigurationError):
            Verifiers(*wrong)


async def test_a_token_beyond_the_limit_is_refused_unread() -> None:
    """The limit on bytes holds before anything is hashed or parsed."""
    raw = token()
    limited = Verifiers(verifier(), max_token_bytes=len(raw))
    assert await proven_by(limited, raw)
    assert await refused_code(proven_by(limited, raw + "A")) == "token.too_large"
    assert await refused_code(proven_by(Verifiers(verifier()), "é" * 8193)) == "token.too_large"


async def test_a_huge_token_is_not_even_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too long costs nothing more than its length."""

    def hashed(raw: str) -> str:
        raise AssertionError

    monkeypatch.setattr("busauth._tokens.verifier.fingerprint", hashed)
    assert await refused_code(proven_by(Verifiers(verifier()), "A" * 8193)) == "token.too_large"


@pytest.mark.parametrize("raw", ["", "\ud800", "é", "a.b", "\0"])
async def test_any_text_is_refused_with_a_code(raw: str) -> None:
    """Text that no token could be never causes another error."""
    assert (await refused_code(proven_by(Verifiers(verifier()), raw))).startswith("token.")


# The shape, for the edge


def test_the_shape_of_a_token_tells_its_expiry() -> None:
    """Before publishing, `exp` is read without a question about who signed."""
    assert Verifiers(verifier()).check_shape(token(OTHER)) == NOW + 300
    assert Verifiers(verifier()).check_shape(token(exp=...)) is None


@pytest.mark.parametrize(
    ("raw", "code"), [("a.b", "token.segments"), (token(exp="x"), "token.claim_invalid")]
)
def test_a_malformed_shape_is_refused(raw: str, code: str) -> None:
    """What cannot be a token is refused at the edge."""
    with pytest.raises(NotGenuine) as caught:
        Verifiers(verifier()).check_shape(raw)
    assert caught.value.code == code


# The cache


class Counting:
    """Keys that count how often they verify, and that can be taken away."""

    def __init__(self, *signers: Signer) -> None:
        self.keys = StaticKeys([signer.jwk() for signer in signers])
        self.epoch = 0
        self.gone = False
        self.verified = 0

    def candidates(self, key_id: str | None, algorithm: str) -> list[Any]:
        if self.gone:
            raise KeyMissing
        return [_Counted(key, self) for key in self.keys.candidates(key_id, algorithm)]

    async def refresh(self) -> None:
        """Bring nothing."""


class _Counted:
    def __init__(self, key: Key, counter: Counting) -> None:
        self.key, self.counter = key, counter
        self.key_id, self.algorithm = key.key_id, key.algorithm

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        self.counter.verified += 1
        return self.key.verifies(signing_input, signature)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Counted) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]  # never in a set


async def test_a_known_token_is_not_verified_again() -> None:
    """The second time, the signature is remembered."""
    keys = Counting(Signer())
    known = Verifiers(verifier(keys=keys, algorithms=("RS256",)))
    raw = token()
    first = await proven_by(known, raw)
    assert (await proven_by(known, raw)) is first
    assert known.recall(raw) is first
    assert keys.verified == 1


async def test_a_refusal_is_not_remembered() -> None:
    """What was refused is verified anew, and takes no place."""
    keys = Counting(Signer())
    known = Verifiers(verifier(keys=keys, algorithms=("RS256",)))
    forged = OTHER.sign(payload(), kid="main")
    for _ in range(2):
        assert await refused_code(proven_by(known, forged)) == "token.signature"
    assert keys.verified == 2
    assert not known._cache


async def test_the_cache_is_bounded_and_forgets_the_longest_unused() -> None:
    """No more tokens are remembered than said; those in use stay."""
    keys = Counting(Signer())
    known = Verifiers(verifier(keys=keys, algorithms=("RS256",)), cache_size=2)
    a, b, c = (token(jti=name) for name in "abc")
    for raw in (a, b, a, c, a):
        await proven_by(known, raw)
    assert keys.verified == 3
    assert len(known._cache) == 2
    await proven_by(known, b)
    assert keys.verified == 4


async def test_a_cache_of_nothing_remembers_nothing() -> None:
    """A size of 0 switches it off."""
    keys = Counting(Signer())
    known = Verifiers(verifier(keys=keys, algorithms=("RS256",)), cache_size=0)
    for _ in range(2):
        await proven_by(known, token(jti="same"))
    assert keys.verified == 2


async def test_a_new_epoch_verifies_again() -> None:
    """What an earlier key set proved is proved anew by the current one."""
    keys = Counting(Signer())
    known = Verifiers(verifier(keys=keys, algorithms=("RS256",)))
    raw = token()
    await proven_by(known, raw)
    keys.epoch += 1
    await proven_by(known, raw)
    assert keys.verified == 2


async def test_a_key_that_is_gone_ends_what_it_proved() -> None:
    """A remembered token of a missing key is refused, and no longer remembered."""
    keys = Counting(Signer())
    known = Verifiers(verifier(keys=keys, algorithms=("RS256",)))
    raw = token()
    await proven_by(known, raw)
    keys.gone = True
    assert await refused_code(proven_by(known, raw)) == "token.key_unknown"
    with pytest.raises(NotAtHand):
        known.recall(raw)


async def test_time_is_judged_anew_on_every_use() -> None:
    """A remembered token expires like any other."""
    known = Verifiers(verifier())
    raw = token(exp=int(NOW) + 300)
    assert (await proven_by(known, raw)).lateness(NOW) is None
    assert (await proven_by(known, raw)).lateness(NOW + 300) == 300 - 300
    assert (await proven_by(known, raw)).lateness(NOW + 400) == 100


async def test_a_remembered_caller_cannot_be_changed() -> None:
    """Handlers share what is remembered, so nothing of it can be written to."""
    caller = (await authenticate(token(nested={"list": [{"a": 1}]}))).caller
    with pytest.raises(TypeError):
        caller.claims["sub"] = "mallory"  # type: ignore[index]  # that is the point
    with pytest.raises(TypeError):
        caller.claims["nested"]["list"][0]["a"] = 2
    with pytest.raises(AttributeError):
        caller.claims["nested"]["list"].append(1)
    assert copy.copy(caller).claims is caller.claims


# Actors


def act(*names: str) -> dict[str, Any] | None:
    chain: dict[str, Any] | None = None
    for name in reversed(names):
        chain = {"sub": name} | ({"act": chain} if chain else {})
    return chain


async def test_actors_are_listed_from_the_outside_in() -> None:
    """The outermost `act` is the one that acts now (RFC 8693, section 4.1)."""
    chain = {"sub": "orders", "iss": "https://i", "client_id": "c", "act": {"sub": "gateway"}}
    actors = (await authenticate(token(act=chain))).caller.actors
    assert [(one.subject, one.issuer, one.client) for one in actors] == [
        ("orders", "https://i", "c"),
        ("gateway", None, None),
    ]


@pytest.mark.parametrize(
    "wrong", ["orders", 5, [], {}, {"sub": 5}, {"sub": None}, {"sub": "a", "act": []}, [{}], False]
)
async def test_a_malformed_chain_of_actors_is_refused(wrong: Any) -> None:
    """An `act` that names nobody is refused, on every level."""
    assert (await refusal(token(act=wrong))).code == "token.claim_invalid"


async def test_a_chain_of_actors_is_bounded() -> None:
    """Eight actors are taken, nine are refused."""
    names = [f"s{number}" for number in range(9)]
    assert len((await authenticate(token(act=act(*names[:8])))).caller.actors) == 8
    refused = await refusal(token(act=act(*names)))
    assert (refused.code, refused.expected) == ("token.claim_invalid", "8 actors in act")


async def test_odd_members_of_an_actor_are_left_out() -> None:
    """What is not text beside `sub` is not taken for text."""
    (actor,) = (await authenticate(token(act={"sub": "a", "client_id": []}))).caller.actors
    assert (actor.issuer, actor.client) == (None, None)


@pytest.mark.parametrize("issuer", [5, [], {}, False])
async def test_an_actor_of_no_readable_issuer_is_refused(issuer: Any) -> None:
    """Who knows an actor is text: read past, it would be one of the token's own issuer."""
    assert (await refusal(token(act={"sub": "a", "iss": issuer}))).code == "token.claim_invalid"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "HS256"])
async def test_no_refusal_shows_the_token(algorithm: str) -> None:
    """Whatever is wrong with a token, its refusal does not contain it."""
    signer = Signer(algorithm)
    hostile = [token(signer, iss=token(signer)), token(signer, aud=token(signer)), token(typ="x")]
    for raw in hostile:
        refused = await refusal(raw, signer)
        for part in raw.split("."):
            assert part not in f"{refused!r} {refused}"

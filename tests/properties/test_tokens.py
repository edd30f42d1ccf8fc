"""What holds for every token."""

import re
from datetime import UTC, datetime, tzinfo
from typing import Any, Self
from unittest.mock import patch

import jwt
import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from joserfc import jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from busauth import DeadLetter, Grace, Verifiers
from busauth._amqp.headers import BEARER, token_in
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth.errors import NotGenuine, Refused
from tests.properties.strategies import SIGNERS, json_values, run, signed_tokens
from tests.unit.support import (
    AUDIENCE,
    ISSUER,
    NOW,
    Signer,
    as_json,
    b64,
    proven_by,
    token,
    verifier,
)

CODE = re.compile(r"(header|token|caller)\.[a-z0-9_]+")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

TRUSTING = {signer.algorithm: Verifiers(verifier(signer), cache_size=0) for signer in SIGNERS}
GENUINE = {signer.algorithm: token(signer) for signer in SIGNERS}
algorithms = pytest.mark.parametrize("algorithm", sorted(GENUINE))


def refused(raw: str, algorithm: str) -> None:
    with pytest.raises(NotGenuine):
        run(proven_by(TRUSTING[algorithm], raw))


@algorithms
def test_the_token_that_is_altered_is_genuine(algorithm: str) -> None:
    """Before it is altered, every token of these tests is accepted."""
    assert run(proven_by(TRUSTING[algorithm], GENUINE[algorithm])).caller.subject == "alice"


characters = st.sampled_from(ALPHABET + ".=") | st.characters()


@algorithms
@given(position=st.integers(0, 2000), character=characters)
def test_no_replaced_character_is_accepted(algorithm: str, position: int, character: str) -> None:
    """A token with one character replaced by another is refused."""
    raw = GENUINE[algorithm]
    at = position % len(raw)
    assume(raw[at] != character)
    refused(raw[:at] + character + raw[at + 1 :], algorithm)


@algorithms
@given(position=st.integers(0, 2000), character=characters)
def test_no_inserted_character_is_accepted(algorithm: str, position: int, character: str) -> None:
    """A token with one character more is refused, wherever it stands."""
    raw = GENUINE[algorithm]
    at = position % (len(raw) + 1)
    refused(raw[:at] + character + raw[at:], algorithm)


@algorithms
@given(position=st.integers(0, 2000))
def test_no_deleted_character_is_accepted(algorithm: str, position: int) -> None:
    """A token with one character less is refused."""
    raw = GENUINE[algorithm]
    at = position % len(raw)
    refused(raw[:at] + raw[at + 1 :], algorithm)


@algorithms
@given(position=st.integers(0, 2000), mask=st.integers(1, 255))
def test_no_altered_byte_is_accepted(algorithm: str, position: int, mask: int) -> None:
    """A token with any bits of one byte flipped is refused."""
    raw = bytearray(GENUINE[algorithm].encode())
    raw[position % len(raw)] ^= mask
    refused(raw.decode("latin-1"), algorithm)


@algorithms
@given(position=st.integers(0, 2000), mask=st.integers(1, 255), part=st.integers(0, 2))
def test_no_altered_decoded_byte_is_accepted(
    algorithm: str, position: int, mask: int, part: int
) -> None:
    """A byte that is altered beneath the base64, in any of the three parts, is noticed."""
    parts = GENUINE[algorithm].split(".")
    padded = parts[part] + "=" * (-len(parts[part]) % 4)
    content = bytearray(jwt.utils.base64url_decode(padded))
    content[position % len(content)] ^= mask
    parts[part] = b64(bytes(content))
    refused(".".join(parts), algorithm)


@algorithms
@pytest.mark.parametrize("part", [0, 1, 2])
def test_the_last_character_of_a_part_has_one_spelling(algorithm: str, part: int) -> None:
    """Of the 64 characters in the last place, where bits may be unused, one is accepted."""
    for character in ALPHABET:
        parts = GENUINE[algorithm].split(".")
        if parts[part][-1] != character:
            parts[part] = parts[part][:-1] + character
            refused(".".join(parts), algorithm)


amqp_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.datetimes(timezones=st.just(UTC))
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
almost_tokens = st.builds(
    lambda header, claims, signature: f"{b64(as_json(header))}.{b64(as_json(claims))}.{signature}",
    json_values | st.fixed_dictionaries({"alg": st.just("RS256"), "kid": st.just("main")}),
    json_values | st.fixed_dictionaries({"iss": st.just(ISSUER), "exp": json_values}),
    st.text(ALPHABET, max_size=90),
)
bearers = st.builds(
    lambda scheme, raw: scheme + raw,
    st.sampled_from(["Bearer ", "bearer  ", "Bearer", "Bearer Bearer ", ""]),
    st.text(max_size=40)
    | st.text(ALPHABET + ".", max_size=60)
    | st.binary(max_size=60).map(lambda raw: ".".join([b64(raw)] * 3))
    | almost_tokens
    | signed_tokens().map(lambda found: found[1]),
)
genuine = signed_tokens().map(lambda found: f"Bearer {found[1]}")
EVERYBODY = Verifiers(
    verifier(*SIGNERS[:3], algorithms=("RS256", "ES256", "EdDSA")),
    verifier(SIGNERS[3], issuer="https://symmetric.test"),
)
LENIENT = Rules(policies=PolicyChain(Grace(hours=24), hard_max_age=24 * 3600))


@given(value=amqp_values | bearers | genuine)
@example(value="Bearer \ud800")
@example(value="Bearer " + "." * 8192)
@example(value="Bearer " + "A" * 100_000)
def test_any_header_gives_an_identity_or_a_refusal(value: Any) -> None:
    """Whatever stands in the header, the outcome is a caller or a refusal with its code."""
    try:
        verified = run(proven_by(EVERYBODY, token_in({"authorization": value}, BEARER)))
        run(decide(verified, LENIENT, NOW))
    except Refused as refusal:
        check(refusal)
    else:
        event("accepted")


def check(refusal: Refused) -> None:
    event(refusal.code)
    assert CODE.fullmatch(refusal.code)
    assert len(refusal.detail) < 600
    assert refusal.detail.isprintable()


class Then(datetime):
    """The instant of these decisions, for a library whose clock cannot be injected."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(NOW, tz)


def accepted_by_pyjwt(raw: str, signer: Signer) -> None:
    """Decode under the same rules; raises where PyJWT would not accept.

    PyJWT's clock is the module's `datetime`, so that is replaced. PyJWT cuts `exp` down to whole
    seconds where RFC 7519 allows fractions, so a token in the last fraction of its life is held
    against `exp` here instead.
    """
    exp = jwt.decode(raw, options={"verify_signature": False})["exp"]
    fraction = float(exp) != int(float(exp))
    assert exp > NOW
    with patch("jwt.api_jwt.datetime", Then):
        jwt.decode(
            raw,
            signer.public,
            algorithms=[signer.algorithm],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "iss", "aud", "sub"], "verify_exp": not fraction},
        )


def accepted_by_joserfc(raw: str, signer: Signer) -> None:
    """Decode under the same rules; raises where joserfc would not accept.

    joserfc refuses header members that it does not know, and headers beyond 512 bytes; RFC 7515,
    section 4 wants the former ignored, and busauth has a limit for the whole token.
    """
    registry = jws.JWSRegistry(algorithms=[signer.algorithm], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = 8 * 1024
    key = import_key(signer.jwk())
    decoded = joserfc_jwt.decode(raw, key, registry=registry)
    joserfc_jwt.JWTClaimsRegistry(
        now=int(NOW),
        leeway=0,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        sub={"essential": True, "allow_blank": True},
    ).validate(decoded.claims)


STRICT = Rules(policies=PolicyChain(DeadLetter(), hard_max_age=0))


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # on the name EdDSA
@given(found=signed_tokens())
def test_what_is_accepted_others_accept_too(found: tuple[Signer, str]) -> None:
    """A token in time is never accepted that PyJWT or joserfc would refuse under the same rules."""
    signer, raw = found
    try:
        verified = run(proven_by(TRUSTING[signer.algorithm], raw))
        run(decide(verified, STRICT, NOW))
    except Refused as refusal:
        event(refusal.code)
        return
    event("accepted")
    accepted_by_pyjwt(raw, signer)
    accepted_by_joserfc(raw, signer)

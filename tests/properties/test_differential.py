"""What busauth accepts, others accept too, whatever was remembered before."""

import base64
import json
from collections.abc import Mapping
from random import Random
from typing import Any
from unittest.mock import patch

import jwt
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from joserfc import jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from busauth import DeadLetter, StaticKeys, Verifiers
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth._tokens import compact
from busauth._tokens.keys.key import fitting, load_key
from busauth.errors import NotGenuine, Refused
from busauth.tokens import Key, KeyMissing
from tests.properties.mutations import (
    ALGORITHMS,
    GENUINE,
    MUTATIONS,
    TRUSTED,
    UNSIGNED,
    Mutation,
    genuine,
    sign_again,
)
from tests.properties.strategies import run
from tests.properties.test_tokens import Then
from tests.unit.support import AUDIENCE, ISSUER, NOW, Signer, b64, proven_by, verifier

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # name EdDSA
STRICT = Rules(policies=PolicyChain(DeadLetter(), hard_max_age=0))


def trusting(**settings: Any) -> Verifiers:
    """Trust both issuers, each with its own keys under the one `kid`."""
    keys = {
        issuer: StaticKeys([signer.jwk(kid="main") for signer in signers])
        for issuer, signers in TRUSTED.items()
    }
    each = [verifier(keys=keys[issuer], issuer=issuer, algorithms=ALGORITHMS) for issuer in keys]
    return Verifiers(*each, **settings)


def outcome(verifiers: Verifiers, raw: str) -> str:
    """Return the accepted issuer and subject, or the code of the refusal."""
    try:
        caller = run(decide(run(proven_by(verifiers, raw)), STRICT, NOW))
    except Refused as refused:
        return refused.code
    return f"{caller.issuer} {caller.subject}"


def warm() -> Verifiers:
    """Remember every genuine token and every usual header."""
    verifiers = trusting()
    for raw in GENUINE:
        assert outcome(verifiers, raw).startswith("https://")
    return verifiers


WARM, COLD = warm(), trusting(cache_size=0)


def accepted_by_others(raw: str, issuer: str) -> None:
    """Decode under the same rules with PyJWT and joserfc; raises where one of them refuses."""
    name = jwt.get_unverified_header(raw)["alg"]
    algorithm = "EdDSA" if name == "Ed25519" else name
    (signer,) = (one for one in TRUSTED[issuer] if one.algorithm == algorithm)
    _accepted_by_pyjwt(raw, signer, issuer)
    _accepted_by_joserfc(raw, signer, issuer, name)


def _accepted_by_pyjwt(raw: str, signer: Signer, issuer: str) -> None:
    """PyJWT has no name for RFC 9864's Ed25519, and cuts `exp` down to whole seconds."""
    exp = jwt.decode(raw, options={"verify_signature": False})["exp"]
    assert exp > NOW
    whole = float(exp) == int(float(exp))
    pyjwt = jwt.PyJWT()
    if "Ed25519" not in pyjwt._jws.get_algorithms():
        pyjwt._jws.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())
    with patch("jwt.api_jwt.datetime", Then):
        pyjwt.decode(
            raw,
            signer.public,
            algorithms=[signer.algorithm, *(["Ed25519"] if signer.algorithm == "EdDSA" else [])],
            audience=AUDIENCE,
            issuer=issuer,
            options={"require": ["exp", "iss", "aud", "sub"], "verify_exp": whole},
        )


def _accepted_by_joserfc(raw: str, signer: Signer, issuer: str, name: str) -> None:
    """Joserfc refuses unknown members and long headers, which RFC 7515 does not ask for."""
    registry = jws.JWSRegistry(algorithms=[name], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = 8 * 1024
    key = import_key({**signer.jwk(kid="main"), "alg": name})
    decoded = joserfc_jwt.decode(raw, key, registry=registry)
    joserfc_jwt.JWTClaimsRegistry(
        now=int(NOW),
        leeway=0,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        sub={"essential": True, "allow_blank": True},
    ).validate(decoded.claims)


def held_against_others(raw: str) -> str:
    """Judge with everything remembered and with nothing, and ask the others about a yes."""
    compact._known_header.cache_clear()
    cold = outcome(COLD, raw)
    for known in GENUINE:
        outcome(WARM, known)
    assert outcome(WARM, raw) == outcome(WARM, raw) == cold
    if not cold.startswith("https://"):
        return cold
    accepted_by_others(raw, cold.partition(" ")[0])
    return "accepted"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_a_spoilt_token_is_never_taken_where_others_refuse(mutation: Mutation, seed: int) -> None:
    """Hundreds of spoilt tokens: none is accepted that PyJWT or joserfc refuses."""
    chance = Random(f"{mutation.__name__} {seed}")
    for _ in range(150):
        held_against_others(mutation(chance, chance.choice(GENUINE)))


@given(chance=st.randoms(use_true_random=False), mutation=st.sampled_from(MUTATIONS))
def test_chance_finds_no_disagreement_either(chance: Random, mutation: Mutation) -> None:
    """Whatever is found by search is held against PyJWT and joserfc as well."""
    event(held_against_others(mutation(chance, chance.choice(GENUINE))))


def test_genuine_tokens_are_accepted_by_all() -> None:
    """The comparison is not empty: every unspoilt token is taken, here and elsewhere."""
    assert {held_against_others(raw) for raw in GENUINE} == {"accepted"}


def test_signing_again_is_often_accepted() -> None:
    """Odd headers and claims that mean one thing are taken: the comparison has substance."""
    chance = Random("substance")
    found = [held_against_others(sign_again(chance, GENUINE[0])) for _ in range(200)]
    assert found.count("accepted") > 20
    assert len(set(found)) > 8


# A known header over something else


@pytest.mark.parametrize("raw", GENUINE)
@pytest.mark.parametrize("other", GENUINE)
def test_a_known_header_vouches_for_nothing(raw: str, other: str) -> None:
    """Header, payload and signature of two accepted tokens never make a third."""
    mine, theirs = raw.split("."), other.split(".")
    for mask in range(8):
        parts = [(mine, theirs)[mask >> at & 1][at] for at in range(3)]
        mixed = ".".join(parts)
        assert (held_against_others(mixed) == "accepted") == (mixed in GENUINE)


class Rotating:
    """Keys that are replaced while everything is remembered."""

    def __init__(self, signer: Signer) -> None:
        self.epoch = 0
        self.replace(signer)

    def replace(self, signer: Signer) -> None:
        self.keys = [load_key(signer.jwk(kid="main"), (signer.algorithm,))]
        self.epoch += 1

    def candidates(self, key_id: str | None, algorithm: str) -> list[Key]:
        if not (found := fitting(self.keys, key_id, algorithm)):
            raise KeyMissing
        return found

    async def refresh(self) -> bool:
        return True


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_that_is_remembered_outlives_a_rotation(algorithm: str) -> None:
    """With a key go its tokens, though their header is the next key's too; and it may return."""
    old, new = Signer(algorithm), Signer(algorithm, "other")
    keys = Rotating(old)
    verifiers = Verifiers(verifier(keys=keys, algorithms=ALGORITHMS))
    before, after = genuine(old, ISSUER), genuine(new, ISSUER)
    assert before.split(".")[0] == after.split(".")[0]
    for signer, good, bad in ((old, before, after), (new, after, before), (old, before, after)):
        keys.replace(signer)
        for _ in range(2):
            assert outcome(verifiers, good) == f"{ISSUER} alice"
            assert outcome(verifiers, bad) == "token.signature"


@pytest.mark.parametrize("seed", range(3))
def test_spoilt_tokens_after_a_rotation(seed: int) -> None:
    """What one issuer's keys proved, spoilt, is nothing to the keys that replaced them."""
    keys, chance = Rotating(Signer("EdDSA")), Random(f"rotation {seed}")
    verifiers = Verifiers(verifier(keys=keys, algorithms=ALGORITHMS))
    raw = genuine(Signer("EdDSA"), ISSUER)
    assert outcome(verifiers, raw) == f"{ISSUER} alice"
    keys.replace(Signer("EdDSA", "stranger"))
    spoil = [one for one in UNSIGNED for _ in range(50)]
    assert all(outcome(verifiers, one(chance, raw)).startswith("token.") for one in spoil)


# The reader against a slow one


def slowly(raw: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Read a token by rules that are plain to see: encode again, and look at every value."""
    header, body, signature = raw.split(".")
    parts = [base64.b64decode(part + "=" * (-len(part) % 4), "-_", True) for part in raw.split(".")]
    assert [b64(part) for part in parts] == [header, body, signature]
    assert all(parts)
    read = [json.loads(part.decode(), object_pairs_hook=_unique) for part in parts[:2]]
    for one in read:
        assert isinstance(one, dict)
        json.dumps(one, allow_nan=True, ensure_ascii=False).encode()
        assert _levels(one) <= compact.MAX_DEPTH
    for part in parts[:2]:
        json.loads(part, parse_constant=_refuse)
    return read[0], read[1], parts[2]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def _refuse(name: str) -> None:
    raise ValueError(name)


def _levels(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value
    nested = isinstance(value, (Mapping, list))
    return 1 + max(map(_levels, inner), default=0) if nested else 1


def read(raw: str) -> object:
    try:
        found = compact.split(raw, max_bytes=8192)
    except NotGenuine:
        return None
    assert found.signing_input == raw.rpartition(".")[0].encode()
    return dict(found.header), found.payload, found.signature


def read_slowly(raw: str) -> object:
    try:
        return slowly(raw) if raw.isascii() and len(raw) <= 8192 else None
    except (AssertionError, ValueError, RecursionError):
        return None


DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
deep = st.integers(0, 20).map(lambda levels: b'{"a":' + b"[" * levels + b"]" * levels + b"}")
flat = st.integers(0, 30).map(lambda count: b'{"a":[' + b",".join([b"{}"] * count) + b"]}")
odd = st.sampled_from([b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'{"a":"\\\\u"}', b'{"a":"\\u0041"}'])
objects = st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers(), max_size=3).map(
    lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
)
parts = (deep | flat | odd | objects | st.binary(max_size=12)).map(b64) | st.text(
    DIGITS, max_size=9
)


@given(header=parts, body=parts, signature=st.text(DIGITS, max_size=9))
@example(header="e30", body=b64(b'{"a":' + b'{"a":' * 14 + b"1" + b"}" * 15), signature="AA")
@example(header="e30", body=b64(b'{"a":' + b'{"a":' * 15 + b"1" + b"}" * 16), signature="AA")
def test_the_reader_reads_what_a_slow_one_reads(header: str, body: str, signature: str) -> None:
    """Short cuts in reading change neither what is accepted nor what is read."""
    raw = f"{header}.{body}.{signature}"
    found = read(raw)
    event("refused" if found is None else "read")
    assert found == read_slowly(raw)


@given(mutation=st.sampled_from(MUTATIONS), chance=st.randoms(use_true_random=False))
def test_spoilt_tokens_are_read_as_slowly(mutation: Mutation, chance: Random) -> None:
    """The slow reader agrees on spoilt tokens too."""
    raw = mutation(chance, chance.choice(GENUINE))
    assert read(raw) == read_slowly(raw)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7])
def test_every_last_digit_is_judged_as_by_encoding_again(length: int) -> None:
    """For every length and last digit, canonical means that encoding again gives the same."""
    for last in DIGITS:
        raw = f"e30.e30.{'B' * (length - 1)}{last}"
        assert read(raw) == read_slowly(raw)

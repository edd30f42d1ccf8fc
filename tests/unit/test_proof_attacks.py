"""What somebody may try who has seen proofs, or signs with keys of their own."""

import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from busauth.errors import BadMessage, Deferred, Forbidden, NotGenuine, PublishError
from busauth.late.proof import Original, ProofDemand, Properties, Route
from busauth.late.proof.binding import MAX_BYTES
from busauth.tokens.keys import Key, KeyMissing, StaticKeys, fitting, load_key
from busauth.tokens.verifier import fingerprint
from tests.unit.proving import (
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


# Releases: a fresh token, and the original inside.

RELAYING = (publisher("orders"), publisher("desk", "desk", relays=True))
LATER = NOW + 86_400


def released(message: Any = None, *, at: float = LATER, **original: Any) -> str:
    """Return the proof of a release by the desk, with a fresh token."""
    first = original.pop("proof", None) or signer().sign(binding(), NOW)
    recorded = original.pop("token_sha256", fingerprint(TOKEN))
    message = message or binding(token="a-fresh-token")
    return signer("desk", "desk").sign(message, at, original=Original(first, recorded))


def arrived(**changes: Any) -> Any:
    return seen(binding(token="a-fresh-token"), **changes)


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


# Keys that come and go.


class Fetched:
    """A key set that has its keys after it was asked, as often as a test says."""

    def __init__(self, *signers: Signer, looks: int = 1, fault: Exception | None = None) -> None:
        self.epoch = self.asked = 0
        self.coming = [load_key(one.jwk(), (one.algorithm,)) for one in signers]
        self.keys: list[Key] = []
        self.looks, self.fault = looks, fault

    def candidates(self, key_id: str | None, algorithm: str) -> list[Key]:
        found = fitting(self.keys, key_id, algorithm)
        if not found:
            raise KeyMissing
        return found

    async def refresh(self) -> bool:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        if self.asked >= self.looks:
            self.keys = self.coming
        return self.asked >= self.looks


@pytest.mark.parametrize("looks", [1, 2])
async def test_keys_are_fetched_when_they_are_missing(looks: int) -> None:
    """A new key is asked for, once more where the fetch was under way already."""
    keys = Fetched(Signer("ES256"), looks=looks)
    asked = proofs(publisher(algorithm="ES256", keys=keys))
    proof = signer(algorithm="ES256").sign(binding(), NOW)
    assert refusal(proof, asked=asked).code == "proof.key_unknown"
    signed = await asked.authenticate(proof)
    assert signed is not None
    assert signed.publisher.name == "orders"
    assert keys.asked == looks


async def test_a_key_that_does_not_exist_is_asked_for_once() -> None:
    """After a fresh look an unknown key is a refusal."""
    keys = Fetched(Signer("ES256"))
    asked = proofs(publisher(algorithm="ES256", keys=keys))
    with pytest.raises(NotGenuine, match=r"proof\.key_unknown"):
        await asked.authenticate(written(claims(), Signer("ES256", "other")))
    assert keys.asked == 1


async def test_a_key_is_not_asked_for_without_end() -> None:
    """Where every look joins one that is under way, the proof is refused after a few."""
    keys = Fetched(Signer("ES256"), looks=100)
    asked = proofs(publisher(algorithm="ES256", keys=keys))
    with pytest.raises(NotGenuine, match=r"proof\.key_unknown"):
        await asked.authenticate(signer(algorithm="ES256").sign(binding(), NOW))
    assert keys.asked == 4


async def test_keys_out_of_reach_are_nobodys_fault() -> None:
    """While a publisher's keys cannot be had, its messages wait."""
    keys = Fetched(fault=Deferred("keys are out of reach"))
    asked = proofs(publisher(algorithm="ES256", keys=keys))
    with pytest.raises(Deferred):
        await asked.authenticate(signer(algorithm="ES256").sign(binding(), NOW))


async def test_the_originals_keys_are_fetched_too() -> None:
    """A release by one publisher of another's message may need both key sets."""
    keys = [Fetched(Signer("ES256")), Fetched(Signer("ES256", "desk"), looks=2)]
    asked = proofs(
        publisher(algorithm="ES256", keys=keys[0]),
        publisher("desk", algorithm="ES256", keys=keys[1], relays=True),
    )
    original = Original(signer(algorithm="ES256").sign(binding(), NOW), fingerprint(TOKEN))
    desk = signer("desk", "desk", algorithm="ES256")
    message = binding(token="a-fresh-token")
    signed = await asked.authenticate(desk.sign(message, LATER, original=original))
    assert signed is not None
    assert signed.original is not None
    assert [each.asked for each in keys] == [1, 2]


async def test_an_originals_unknown_key_is_the_originals_fault() -> None:
    """The refusal tells which of the two proofs is not proven."""
    asked = proofs(publisher(algorithm="HS256"), RELAYING[1])
    proof = released(proof=written(claims(), Signer("HS256", "other")))
    with pytest.raises(NotGenuine, match=r"proof\.original.*proof\.key_unknown"):
        await asked.authenticate(proof)


async def test_what_is_ignored_fetches_nothing() -> None:
    """Without a proof there is nothing to authenticate."""
    assert await proofs(demand=ProofDemand.IF_PRESENT).authenticate(None) is None

"""What is remembered, and that it never changes an answer."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import busauth
from busauth import JWKS, DeadLetter, StaticKeys, Verifier, Verifiers
from busauth._decision import Rules, decide_in_time
from busauth._demand import Demand
from busauth._expiry import PolicyChain
from busauth._tokens import compact
from busauth._tokens.keys.key import fitting, load_key
from busauth._tokens.verifier import _SHARED
from busauth.errors import NotGenuine
from busauth.testing import Issuer
from busauth.tokens import Fetcher, Key, KeyMissing, Verified
from tests.unit.support import (
    Signer,
    b64,
    caller,
    payload,
    proven_by,
    refused_code,
    token,
    verifier,
)

MAIN, OTHER = Signer("EdDSA"), Signer("EdDSA", "other")


class Rotating:
    """A key set that a test changes by hand, as a fetch would."""

    def __init__(self, *signers: Signer) -> None:
        self.epoch = 0
        self.keys: list[Key] = []
        self.hold(*signers)

    def hold(self, *signers: Signer, **changes: Any) -> None:
        self.keys = [load_key(one.jwk(**changes), (one.algorithm,)) for one in signers]
        self.epoch += 1

    def candidates(self, key_id: str | None, algorithm: str) -> list[Key]:
        found = fitting(self.keys, key_id, algorithm)
        if not found:
            raise KeyMissing
        return found

    async def refresh(self) -> bool:
        return True


def trusting(keys: Rotating) -> Verifiers:
    return Verifiers(verifier(keys=keys, algorithms=("EdDSA", "ES256")))


async def test_what_was_proven_holds_until_the_keys_change() -> None:
    """A verification says itself whether it still counts, without its token."""
    keys = Rotating(MAIN)
    known = trusting(keys)
    verified = await proven_by(known, token(MAIN))
    assert verified.holds()
    keys.hold(MAIN, OTHER)
    assert not verified.holds()
    assert (await proven_by(known, token(MAIN))).holds()


async def test_what_was_proven_ends_with_its_key() -> None:
    """A key that is removed takes along what it proved, and does not bring it back."""
    keys = Rotating(MAIN)
    known = trusting(keys)
    verified = await proven_by(known, token(MAIN))
    keys.hold(OTHER)
    assert not verified.holds()
    assert await refused_code(proven_by(known, token(MAIN))) == "token.key_unknown"
    keys.hold(MAIN)
    assert not verified.holds()
    assert (await proven_by(known, token(MAIN))).caller == verified.caller


def test_what_names_no_proof_does_not_hold() -> None:
    """Without a key there is nothing that could still count."""
    assert not Verified(caller(), None, 0).holds()


async def test_a_key_replaced_under_its_name_ends_what_the_old_one_proved() -> None:
    """The same `kid` on another key is another key."""
    keys = Rotating(MAIN)
    known = trusting(keys)
    await proven_by(known, token(MAIN))
    keys.hold(OTHER, kid="main")
    assert await refused_code(proven_by(known, token(MAIN))) == "token.signature"
    assert (await proven_by(known, OTHER.sign(payload(), kid="main"))).caller


async def test_a_remembered_token_is_refused_like_a_new_one() -> None:
    """A token without a `kid`, whose key is gone, meets the same refusal in either case."""
    keys = Rotating(MAIN)
    known, fresh = trusting(keys), trusting(keys)
    raw = MAIN.sign(payload(), header={"alg": "EdDSA"})
    await proven_by(known, raw)
    keys.hold(OTHER)
    codes = [await refused_code(proven_by(each, raw)) for each in (known, fresh)]
    assert codes == ["token.signature"] * 2
    assert not known._cache


async def test_one_kid_with_two_algorithms_is_two_keys() -> None:
    """What one key proved says nothing for the other that shares its name."""
    keys = Rotating(MAIN, Signer("ES256"))
    known = trusting(keys)
    for signer in (MAIN, Signer("ES256")):
        assert (await proven_by(known, token(signer))).caller
    confused = token(MAIN).split(".")
    confused[0] = token(Signer("ES256")).split(".")[0]
    assert await refused_code(proven_by(known, ".".join(confused))) == "token.signature"


def two_issuers() -> Verifiers:
    """Two issuers whose keys have one name, and whose tokens have one header."""
    return Verifiers(
        verifier(keys=Rotating(MAIN), issuer="https://a.test", algorithms=("EdDSA",)),
        verifier(keys=_named_main(OTHER), issuer="https://b.test", algorithms=("EdDSA",)),
    )


def _named_main(signer: Signer) -> Rotating:
    keys = Rotating()
    keys.hold(signer, kid="main")
    return keys


async def test_one_header_means_each_issuers_own_key() -> None:
    """A header that is known from one issuer names the other's own key."""
    both = two_issuers()
    for _ in range(2):
        for signer, issuer in ((MAIN, "https://a.test"), (OTHER, "https://b.test")):
            raw = signer.sign(payload(iss=issuer), kid="main")
            assert (await proven_by(both, raw)).caller.issuer == issuer
        for signer, issuer in ((OTHER, "https://a.test"), (MAIN, "https://b.test")):
            forged = signer.sign(payload(iss=issuer), kid="main")
            assert await refused_code(proven_by(both, forged)) == "token.signature"


async def test_one_header_is_judged_by_each_issuers_own_rules() -> None:
    """A header that one issuer may send is refused from another that may not."""
    both = Verifiers(
        verifier(MAIN, issuer="https://a.test"),
        verifier(Signer("ES256"), issuer="https://b.test"),
    )
    assert (await proven_by(both, token(MAIN, iss="https://a.test"))).caller
    raw = token(MAIN, iss="https://b.test")
    assert await refused_code(proven_by(both, raw)) == "token.algorithm"


def read(header: bytes) -> None:
    compact.split(f"{b64(header)}.e30.AA", max_bytes=8192)


def test_a_remembered_header_cannot_be_changed() -> None:
    """Whoever reads one token's header cannot write to the next one's."""
    header = compact.split(token(), max_bytes=8192).header
    with pytest.raises(TypeError):
        header["alg"] = "none"  # type: ignore[index]  # that is the point
    assert compact.split(token(), max_bytes=8192).header == header


def test_remembered_headers_are_few_and_short() -> None:
    """A flood of headers, or of huge ones, fills no memory."""
    remembered = compact._known_header.cache_info
    for number in range(2 * compact._REMEMBERED_HEADERS):
        read(b'{"n":%d}' % number)
    full = remembered()
    assert full.currsize == full.maxsize == compact._REMEMBERED_HEADERS
    read(b" " * 400 + b"{}")
    assert remembered().misses == full.misses


def test_a_header_that_is_refused_is_not_remembered() -> None:
    """What cannot be read takes no place, and is refused as often as it comes."""
    size = compact._known_header.cache_info().currsize
    for _ in range(2):
        with pytest.raises(NotGenuine):
            read(b'{"a":1,"a":2}')
    assert compact._known_header.cache_info().currsize == size


async def test_what_tokens_repeat_is_kept_once() -> None:
    """Two callers of one issuer share scopes, audience and the names of their claims."""
    known = Verifiers(verifier(MAIN))
    ann, bob = [(await proven_by(known, token(MAIN, sub=sub))).caller for sub in ("ann", "bob")]
    assert ann.scopes is bob.scopes
    assert ann.audience is bob.audience
    assert all(one is other for one, other in zip(ann.claims, bob.claims, strict=True))
    assert (ann.claims["sub"], bob.claims["sub"]) == ("ann", "bob")


async def test_what_looks_equal_is_not_exchanged() -> None:
    """1, True, 1.0 and "1" stay what they were, whoever said them first."""
    known = Verifiers(verifier(MAIN))
    for value in (1, True, 1.0, "1", [1], [True], 0, False):
        found = (await proven_by(known, token(MAIN, other=value))).caller.claims["other"]
        expected = tuple(value) if isinstance(value, list) else value
        assert repr(found) == repr(expected)


async def test_the_same_claims_in_another_order_are_the_same() -> None:
    """Each name finds its own value, in whatever order issuers write them."""
    known = Verifiers(verifier(MAIN))
    for claims in (payload(), dict(reversed(payload().items())), payload(extra=1)):
        assert dict((await proven_by(known, MAIN.sign(claims))).caller.claims) == claims


async def test_what_is_shared_is_bounded() -> None:
    """However many scopes and names an issuer's tokens have, few are kept to be shared."""
    one = verifier(MAIN)
    known = Verifiers(one, cache_size=0)
    for number in range(200):
        await proven_by(known, token(MAIN, scope=f"scope-{number}", **{f"claim-{number}": 1}))
    for info in (one._shared.cache_info(), one._placed.cache_info()):
        assert info.currsize == info.maxsize == _SHARED < 200


def calls_of(work: Callable[[], object]) -> list[str]:
    """Return the functions of the package that are called on the way, testing left out."""
    called, package = [], str(Path(busauth.__file__).parent)

    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(package) and "testing" not in name:
            called.append(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return called


@pytest.mark.parametrize("kind", ["static", "fetched"])
async def test_a_remembered_token_costs_a_look_at_its_key(kind: str) -> None:
    """Two calls say whether its key still counts, for keys that are fetched, too."""
    issuer = Issuer()
    fetched = JWKS(f"{issuer.url}/jwks.json", fetcher=Fetcher(transport=issuer.transport()))
    keys = StaticKeys(issuer.jwks()) if kind == "static" else fetched
    known = Verifiers(Verifier(keys, issuer=issuer.url, audience=issuer.audience))
    await keys.refresh()
    raw = issuer.token()
    verified = known.recall(raw)
    called = calls_of(lambda: known.recall(raw))
    assert called == [
        *("Verifiers.recall", "fingerprint"),
        *("SignedBy.holds", f"{type(keys).__name__}.candidates"),
        *(("SystemClock.monotonic",) if keys is fetched else ()),  # they age
    ]
    caller = verified.caller
    rules = Rules(
        policies=PolicyChain(DeadLetter(), hard_max_age=60), demand=Demand.of(caller.scopes)
    )
    called = calls_of(lambda: decide_in_time(verified, rules, caller.expires_at - 1))
    assert called == ["decide_in_time", "_judged", "Demand.check"]

"""A publisher's keys come and go, and whose proof it is depends on them."""

import pytest

from busauth._tokens.keys.key import fitting, load_key
from busauth._tokens.verifier import fingerprint
from busauth.errors import ConfigurationError, Deferred, NotGenuine
from busauth.messages import Original, ProofDemand, Proofs, Signed
from busauth.tokens import Key, KeyMissing
from tests.unit.proving import (
    LATER,
    RELAYING,
    ROUTES,
    TOKEN,
    binding,
    claims,
    proofs,
    publisher,
    refusal,
    released,
    seen,
    signer,
    written,
)
from tests.unit.support import NOW, Signer, proven_by


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
    signed = await proven_by(asked, proof)
    assert signed is not None
    assert signed.publisher.name == "orders"
    assert keys.asked == looks


async def test_a_key_that_does_not_exist_is_asked_for_once() -> None:
    """After a fresh look an unknown key is a refusal."""
    keys = Fetched(Signer("ES256"))
    asked = proofs(publisher(algorithm="ES256", keys=keys))
    with pytest.raises(NotGenuine, match=r"proof\.key_unknown"):
        await proven_by(asked, written(claims(), Signer("ES256", "other")))
    assert keys.asked == 1


async def test_a_key_is_not_asked_for_without_end() -> None:
    """Where every look joins one that is under way, the proof is refused after a few."""
    keys = Fetched(Signer("ES256"), looks=100)
    asked = proofs(publisher(algorithm="ES256", keys=keys))
    with pytest.raises(NotGenuine, match=r"proof\.key_unknown"):
        await proven_by(asked, signer(algorithm="ES256").sign(binding(), NOW))
    assert keys.asked == 4


async def test_keys_out_of_reach_are_nobodys_fault() -> None:
    """While a publisher's keys cannot be had, its messages wait."""
    keys = Fetched(fault=Deferred("keys are out of reach"))
    asked = proofs(publisher(algorithm="ES256", keys=keys))
    with pytest.raises(Deferred):
        await proven_by(asked, signer(algorithm="ES256").sign(binding(), NOW))


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
    signed = await proven_by(asked, desk.sign(message, LATER, original=original))
    assert signed is not None
    assert signed.original is not None
    assert [each.asked for each in keys] == [1, 2]


async def test_an_originals_unknown_key_is_the_originals_fault() -> None:
    """The refusal tells which of the two proofs is not proven."""
    asked = proofs(publisher(algorithm="HS256"), RELAYING[1])
    proof = released(proof=written(claims(), Signer("HS256", "other")))
    with pytest.raises(NotGenuine, match=r"proof\.original.*proof\.key_unknown"):
        await proven_by(asked, proof)


async def test_what_is_ignored_fetches_nothing() -> None:
    """Without a proof there is nothing to authenticate."""
    assert await proven_by(proofs(demand=ProofDemand.IF_PRESENT), None) is None


def proven(keys: Fetched, *, proof: str | None = None) -> Signed:
    """Return what is remembered of a release by the desk, whose original is `orders`'."""
    orders = publisher("orders", keys=keys)
    signed = proofs(orders, RELAYING[1]).recall(proof or signer().sign(binding(), NOW))
    assert signed is not None
    return signed


@pytest.mark.parametrize("proof", [signer().sign(binding(), NOW), released()])
def test_what_was_proven_holds_while_its_keys_do(proof: str) -> None:
    """A key that is gone or a key set that changed proves nothing any more, nor in an original."""
    keys = Fetched(Signer("HS256"))
    keys.keys = keys.coming
    signed = proven(keys, proof=proof)
    assert signed.holds()
    keys.epoch += 1
    assert not signed.holds()
    signed = proven(keys, proof=proof)
    assert signed.holds()
    keys.keys = []
    assert not signed.holds()


def test_another_key_of_the_same_name_proves_nothing() -> None:
    """What was proven by a key is not proven by the one that took its name."""
    keys = Fetched(Signer("HS256"))
    keys.keys = keys.coming
    signed = proven(keys)
    keys.keys = [load_key(Signer("HS256", "other").jwk(kid="main"), ("HS256",))]
    assert not signed.holds()


def test_the_keys_are_counted_before_one_is_looked_up() -> None:
    """A key set that changes during the proof makes it count as older, never as newer."""
    keys = Fetched(Signer("HS256"))

    def changing(key_id: str | None, algorithm: str) -> list[Key]:
        keys.epoch += 1
        return keys.coming

    keys.candidates = changing  # type: ignore[method-assign]
    assert not proven(keys).holds()


def test_who_is_trusted_can_be_asked() -> None:
    """The publishers' names, and which of them may relay; nobody else may."""
    asked = proofs(*RELAYING)
    assert asked.names == {"orders", "desk"}
    assert [asked.relays(name) for name in ("orders", "desk", "", "nobody")] == [
        False,
        True,
        False,
        False,
    ]


def test_a_copy_demands_something_else() -> None:
    """Of the demand alone there is another; the first one stays as it was."""
    asked = proofs(*RELAYING, max_age=5, skew=1)
    lenient = asked.demanding(ProofDemand.IF_PRESENT)
    assert lenient.check(None, seen(binding()), ROUTES, NOW) is None
    assert (lenient.names, lenient.max_age, lenient.skew) == (asked.names, 5, 1)
    assert lenient.relays("desk")
    assert asked.demand is ProofDemand.REQUIRED
    nobody = Proofs((), demand=ProofDemand.IGNORED, max_age=5)
    with pytest.raises(ConfigurationError):
        nobody.demanding(ProofDemand.REQUIRED)

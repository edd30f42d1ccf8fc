"""What is not at hand is fetched in one way, and nobody is asked for ever, or twice."""

import pytest

from busauth.errors import Deferred, NotGenuine
from busauth.tokens import Authenticators, KeyUnknown, Verified, answered, found
from tests.unit.support import Signer, caller, proven_by, token, verifier


class Look:
    """A look that needs something of one party after the other, and notes who was asked.

    Args:
        needs: whose keys; "answer" for an answer.
        brings: whether a fetch brings the key.
        is_new: whether it was asked for after the call began.
    """

    def __init__(self, *needs: str, brings: bool = True, is_new: bool = True) -> None:
        self.needs, self.brings, self.is_new = list(needs), brings, is_new
        self.asked: list[str] = []
        self.looks = 0

    def __call__(self) -> str:
        self.looks += 1
        if not self.needs:
            return "found"
        party = self.needs[0]
        if party == "answer":
            return answered("question", self.answer)

        async def fetch() -> bool:
            self.asked.append(party)
            if self.brings:
                self.needs.remove(party)
            return self.is_new

        raise KeyUnknown(NotGenuine(f"{party}.key_unknown"), party=party, fetch=fetch)

    async def answer(self) -> str:
        self.asked.append("answer")
        return "answered"


@pytest.mark.parametrize(
    ("needs", "outcome", "looks"),
    [
        ((), "found", 1),
        (("web",), "found", 2),
        (("web", "desk"), "found", 3),
        (("answer",), "answered", 2),
        (("web", "answer"), "answered", 3),
        (("a", "b", "c", "d", "answer"), "answered", 6),
    ],
)
async def test_each_thing_that_is_missing_is_asked_for_once(
    needs: tuple[str, ...], outcome: str, looks: int
) -> None:
    """After each fetch the look is made again, and an answer counts for it, kept or not."""
    look = Look(*needs)
    assert await found(look) == outcome
    assert look.asked == list(needs)
    assert look.looks == looks


@pytest.mark.parametrize(("is_new", "fetches"), [(True, 1), (False, 4)])
async def test_a_key_that_nobody_has_is_refused(is_new: bool, fetches: int) -> None:
    """After one fetch that began later than the look, or a few that had begun before."""
    look = Look("web", brings=False, is_new=is_new)
    with pytest.raises(NotGenuine, match=r"web\.key_unknown"):
        await found(look)
    assert look.asked == ["web"] * fetches
    assert look.looks == fetches + 1


class Asking:
    """An authenticator of one's own that has to ask each time."""

    def __init__(self, answer: Verified | Exception) -> None:
        self.answer = answer

    def takes(self, token: str) -> bool:
        return True

    def recall(self, token: str) -> Verified:
        return answered((self, token), self.asked)

    async def asked(self) -> Verified:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def check_shape(self, token: str) -> float | None:
        return None


async def test_who_looks_through_another_sees_what_it_was_told() -> None:
    """What was asked for passes the outermost look as well, whoever raised that it was missing."""

    class Stricter(Asking):
        def recall(self, token: str) -> Verified:
            verified = super().recall(token)
            if verified.caller.subject == "alice":
                raise NotGenuine("own.tenant")
            return verified

    for subject in ("alice", "bob"):
        stricter = Stricter(Verified(caller(subject=subject), None, 0))
        if subject == "alice":
            with pytest.raises(NotGenuine, match=r"own\.tenant"):
                await proven_by(Authenticators(stricter), "opaque")
        else:
            assert (await proven_by(Authenticators(stricter), "opaque")).caller.subject == "bob"


async def test_who_misses_more_each_time_is_put_off() -> None:
    """A look that never has all that it needs ends, and the message waits."""
    asked: list[int] = []

    def look() -> str:
        return answered(len(asked), ask)

    async def ask() -> str:
        asked.append(1)
        return "not enough"

    with pytest.raises(Deferred, match="more is missing"):
        await found(look)
    assert len(asked) < 10


async def test_an_authenticator_of_ones_own_says_how_it_is_asked() -> None:
    """Beside verifiers, too; what it raises when it is asked is its verdict."""
    known = Verified(caller(), None, 0)
    for first in ((), (verifier(Signer()),)):
        assert await proven_by(Authenticators(*first, Asking(known)), "opaque") is known
    for fault in (NotGenuine("own.unknown"), Deferred("out of reach")):
        with pytest.raises(type(fault)):
            await proven_by(Authenticators(verifier(), Asking(fault)), "opaque")
    local = await proven_by(Authenticators(verifier(), Asking(known)), token())
    assert local.caller.subject == "alice"

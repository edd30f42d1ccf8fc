"""Waiting for what is not at hand: one way for tokens, proofs, events and answers.

Who proves something looks at what is at hand (`recall`), and never waits. What is missing then says
how to fetch it, and whoever may wait does: ``await found(lambda: trusted.recall(token))``.

- Keys are fetched, and looked at again. Once they were asked for after the look, a key that is
  still missing does not exist: its refusal is raised.
- An answer counts for the look that waited for it (`answered`), which is made again: it may be one
  that nobody may remember, and whoever looks through somebody else sees it as well.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from busauth.errors import Deferred, Refused

T = TypeVar("T")

_FETCHES = 4
"""Fetches that a party's key is worth: each may have been under way already, and be too old."""

_WAITS = 8
"""Looks in all: whoever has something else missing each time must not keep a message for ever."""


class NotAtHand(Exception):  # noqa: N818 -- not an error: somebody can be asked
    """What is at hand neither proves it nor refuses it; see `found`."""


class KeyUnknown(NotAtHand):
    """No key at hand fits.

    Attributes:
        refusal: what it comes to where there is no such key.
        party: whose key is missing.
        fetch: brings the party's keys up to date, as `KeySource.refresh`: returns whether they were
            asked for after the call began, and raises `Deferred`.
        key_id: the key's name, as it was signed.
    """

    def __init__(
        self,
        refusal: Refused,
        *,
        party: str,
        fetch: Callable[[], Awaitable[bool]],
        key_id: object = None,
    ) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal
        self.party = party
        self.fetch = fetch
        self.key_id = key_id

    def but(
        self,
        *,
        refusal: Refused | None = None,
        fetch: Callable[[], Awaitable[bool]] | None = None,
    ) -> "KeyUnknown":
        """Return the same key's absence with another refusal, or fetched in another way."""
        return KeyUnknown(
            refusal or self.refusal,
            party=self.party,
            fetch=fetch or self.fetch,
            key_id=self.key_id,
        )


class AnswerMissing(NotAtHand):
    """Nobody has said it yet, or too long ago; see `answered`.

    Attributes:
        question: what is asked, and of whom.
        ask: asks; raises `Refused` or `Deferred`.
    """

    def __init__(self, question: Hashable, ask: Callable[[], Awaitable[Any]]) -> None:
        super().__init__("no answer is at hand")
        self.question = question
        self.ask = ask


_heard: ContextVar[Mapping[Hashable, Any]] = ContextVar("busauth_heard", default={})  # noqa: B039
"""What the look that runs has waited for; nothing but `found` writes it."""


def answered(question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
    """Return the answer that a look has waited for, within that look.

    So an answer counts that nobody may remember, and passes whoever looks through somebody else.

    Args:
        question: what is asked, and of whom, such as ``(self, token)``.
        ask: asks it; raises `Refused` or `Deferred`.

    Raises:
        AnswerMissing: it was not waited for yet; see `found`.
    """
    heard = _heard.get()
    if question not in heard:
        raise AnswerMissing(question, ask)
    answer: T = heard[question]
    return answer


async def found(look: Callable[[], T]) -> T:
    """Return what a look finds, waiting for what is not at hand.

    Args:
        look: looks at what is at hand, as `recall` does; it is called again after each wait.

    Raises:
        Refused: as the look; or there is no such key.
        Deferred: what is missing cannot be had now.
    """
    try:
        return await fetched(look)
    except KeyUnknown as unknown:
        raise unknown.refusal from None


async def fetched(look: Callable[[], T]) -> T:
    """Do as `found` does, and leave it to the caller what a key comes to that nobody has.

    Raises:
        KeyUnknown: there is no such key.
        Refused, Deferred: as `found`.
    """
    heard: dict[Hashable, Any] = {}
    fetches: Counter[str] = Counter()
    for _ in range(_WAITS):
        try:
            return _looked(look, heard)
        except KeyUnknown as unknown:
            if fetches[unknown.party] == _FETCHES:
                raise
            is_new = await unknown.fetch()
            # What was asked for after the look, and is not there, is nowhere: not asked again.
            fetches[unknown.party] = _FETCHES if is_new else fetches[unknown.party] + 1
        except AnswerMissing as missing:
            heard[missing.question] = await missing.ask()
    raise Deferred("more is missing each time that something was fetched")


def _looked(look: Callable[[], T], heard: Mapping[Hashable, Any]) -> T:
    token = _heard.set(heard)
    try:
        return look()
    finally:
        _heard.reset(token)

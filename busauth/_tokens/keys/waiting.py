"""Waiting for what is not at hand: one way for tokens, proofs, events and answers.

Who proves something looks at what is at hand (`recall`), and never waits. What is missing then says
how to fetch it, and whoever may wait does: ``await found(lambda: trusted.recall(token))``.

- Keys are fetched, and looked at again. Once they were asked for after the look, a key that is
  still missing does not exist: its refusal is raised.
- An answer is handed to whoever asked, and not looked for again: it may be one that nobody may
  remember, or be forgotten by then.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from busauth.errors import Refused

T = TypeVar("T")

_FETCHES = 4
"""Fetches that one look is worth: two for each of two parties, as one may be too old already."""


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
    """Nobody has said it yet, or too long ago.

    Attributes:
        ask: asks, and returns what was looked for; raises `Refused` or `Deferred`.
    """

    def __init__(self, ask: Callable[[], Awaitable[Any]]) -> None:
        super().__init__("no answer is at hand")
        self.ask = ask


async def found(look: Callable[[], T]) -> T:
    """Return what a look finds, waiting for what is not at hand.

    Args:
        look: looks at what is at hand, as `recall` does; it is called again after each fetch.

    Raises:
        Refused: as the look; or there is no such key.
        Deferred: what is missing cannot be had now.
    """
    try:
        return await fetched(look)
    except KeyUnknown as unknown:
        raise unknown.refusal from None
    except AnswerMissing as missing:
        ask = missing.ask
    answer: T = await ask()
    return answer


async def fetched(look: Callable[[], T]) -> T:
    """Return what a look finds once keys were fetched for it; see `found`.

    Raises:
        NotAtHand: keys are not what it needs, or there is no such key.
        Refused, Deferred: as `found`.
    """
    asked: set[str] = set()
    for _ in range(_FETCHES):
        try:
            return look()
        except KeyUnknown as unknown:
            if unknown.party in asked:
                raise
            party, fetch = unknown.party, unknown.fetch
        if await fetch():  # False: it joined one that began before the look, which proves nothing
            asked.add(party)
    return look()

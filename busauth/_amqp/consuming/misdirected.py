"""Work that is genuine and not for this consumer: strangers', or one's own under wrong settings?

A wrong audience, or an issuer with a slash too many, has every message refused, without its token.
So until a consumer has met one token that is for it, a run of tokens that a trusted issuer signed
and that are for another audience, or in another issuer's name, makes it pause and say so. What a
stranger sends counts only with such a signature, and the first token that fits ends it for good.
"""

from collections.abc import Callable

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.returning import MISDIRECTED
from busauth.audit import LOGGER
from busauth.errors import Deferred, Refused

_RUN = 5
"""Refused before it pauses: a stray message or two is everyday, and what is wrong for all messages
is so for the first ones."""


class Misdirected(Deferred):
    """Nothing that came was for this consumer; what comes is looked at all the same."""


class Directions:
    """What one consumer has met since it started.

    Args:
        queue: what it consumes, for people.
        issued: whether a trusted issuer signed a token, whoever it is for.

    Attributes:
        are_known: whether a token that is for it has come, so that nothing is to be checked.
    """

    def __init__(self, queue: str, issued: Callable[[str], bool]) -> None:
        self._queue = queue
        self._issued = issued
        self.begin()

    def begin(self) -> None:
        """Begin anew: the settings may be others."""
        self.are_known = False
        self._run = 0

    def are_wrong_for(self, case: Case, refused: Refused | None) -> bool:
        """Return whether a message is somebody's for another audience or issuer, or seems so."""
        token = case.token
        return (
            refused is not None
            and refused.code in MISDIRECTED
            and case.caller is None
            and token is not None
            and self._issued(token)
        )

    def check(self, case: Case, refused: Refused | None) -> None:
        """Look at what became of a message.

        Raises:
            Misdirected: it is one more in a run that may be the settings' fault.
        """
        self.are_known = case.verified is not None
        if refused is None or not self.are_wrong_for(case, refused):
            return
        self._run += 1
        if self._run > _RUN:
            raise self._told(refused)

    def _told(self, refused: Refused) -> Misdirected:
        name = refused.code.removeprefix("token.")
        told = (
            f"{self._queue} is not consumed: tokens that a trusted issuer signed are refused for "
            f"their {name}, and none fitted since the start: found {refused.found}, expected "
            f"{refused.expected}. Correct the guard's {name}, or whom tokens are asked for; where "
            "they are strangers', the first token that fits ends the pause"
        )
        if self._run == _RUN + 1:
            LOGGER.error("%s", told)
        return Misdirected(told)

"""What comes back to a consumer is believed to have been here only under the consumer's own seal.

1. A parked message comes back with a fresh token of the first token's issuer and subject, released
   under a proof that embeds the first one. The seal says that it was parked, and for what.
2. A dead letter comes back with the token that it had, which the seal names, or with a fresh one of
   the first token's issuer and subject. What a letter kept counts on that letter alone.
3. Either that comes without a token was moved by hand: it goes back where it was.
4. What says that it was parked, refused or released, and has no seal that holds, is refused: who
   may write into a queue beside the consumer's gets nothing handled.

So what comes back may do at most what its first token allowed: that one's record is sealed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from busauth._amqp.headers import REFUSAL
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth._messages.proof import Signed
from busauth._messages.proof.binding import TOKEN_SHA256
from busauth._messages.seal import PURPOSE, Purpose, Sealed
from busauth.caller import Caller, FirstToken
from busauth.errors import BadMessage, Forbidden, NotGenuine, Refused

MISDIRECTED = ("token.audience", "token.issuer")
"""Codes of what is genuine and for somebody else; of the rejected, nothing else is sealed."""


KEPT, FRESH = "kept", "fresh"
"""By what a letter was sent again: by the token that it had, or by a later one of its caller's."""


class Marks(NamedTuple):
    """What busauth wrote on a copy, as far as it is believed.

    Attributes:
        sealed: attempt, redrive and the like; the values of a first delivery where nothing is
            believed.
        stamp: the broker's first stamp, seconds since the epoch, None where there is none.
        code: why no seal holds: ``seal.missing`` and the like; None where one does.
        authority: by whose it was sent again; None where it was not.
    """

    sealed: Sealed
    stamp: float | None
    code: str | None
    authority: str | None = None

    @property
    def is_fresh(self) -> bool:
        """Return whether it is a dead letter with another token than the one that it had."""
        return self.sealed.purpose is Purpose.LETTER and self.authority == FRESH

    @property
    def broken(self) -> str | None:
        """Return why a seal that is there does not hold."""
        return None if self.code == "seal.missing" else self.code


class CameBack(NotGenuine):
    """A letter of the consumer's own, or what it parked, without a token: it goes back there."""

    @classmethod
    def of(cls, purpose: Purpose) -> Self:
        """Return what becomes of a letter, or of what was parked."""
        what = "a parked message" if purpose is Purpose.PARKED else "a dead letter"
        found = f"{what} of this queue's, moved without a token"
        return cls("header.missing", found=found, expected="a release or a redrive")

    @classmethod
    def over(cls, refused: Refused) -> Self:
        """Return the same for what an operator had sent again, and why it is not handled."""
        return cls(refused.code, found=refused.found, expected=refused.expected)

    @classmethod
    def unopened(cls) -> Self:
        """Return what becomes of a letter whose kept token cannot be opened here, any more."""
        found = "a letter of this queue's, and no key here for what it kept"
        return cls("token.kept", found=found, expected="its key among Letters(keep_token=...)")


def homes_of(headers: Mapping[str, Any], purpose: Purpose, queue: str) -> tuple[str, ...]:
    """Return where a letter was, or what was parked, by its seal; next, where it may be.

    Where nothing parks any more, what was parked is a dead letter. Its seal stays that of a parked
    message: once there is a parking queue again, it can go back there, and be released.

    Args:
        headers: the delivery's, under a seal that holds.
        purpose: what that seal is for.
        queue: the consumed queue.
    """
    if purpose is Purpose.PARKED:
        return parked_queue(queue), dead_queue(queue)
    said = headers.get(REFUSAL)
    is_rejected = isinstance(said, str) and said in MISDIRECTED
    return (rejected_queue(queue) if is_rejected else dead_queue(queue),)


def check_return(
    headers: Mapping[str, Any],
    signed: Signed | None,
    marks: Marks,
    caller: Caller,
    *,
    is_kept: bool = False,
) -> None:
    """Refuse what says that it was here before, and was not, or not for this.

    Args:
        headers: the delivery's.
        signed: its proof, proven to be its publisher's, None where none was asked for.
        marks: what is believed of its earlier copy.
        caller: whose it is now, by a token that was proven genuine.
        is_kept: whether that came as a letter had kept it.

    Raises:
        Forbidden: ``seal.missing`` and the like, or ``seal.purpose``.
        BadMessage: ``seal.caller`` or ``seal.token``.
    """
    released = signed is not None and signed.original is not None
    if marks.code is not None:
        if released or is_kept or says_that_it_waited(headers):
            expected = "the seal of this consumer, over all that it wrote"
            raise Forbidden(marks.code, found="a message that comes back", expected=expected)
        return
    if marks.sealed.purpose is Purpose.PARKED and (is_kept or not released):
        expected = "a fresh token, and a proof that releases it"
        raise Forbidden("seal.purpose", found="a parked message", expected=expected)
    if is_kept and not was_letter(marks.sealed):
        found = "a kept token on what was no letter"
        raise Forbidden("seal.purpose", found=found, expected="the letter that it was kept for")
    is_fresh = released or marks.is_fresh
    _check_first(marks.sealed.first, caller, signed if released else None, is_fresh=is_fresh)


def check_unasked(headers: Mapping[str, Any]) -> None:
    """Refuse what comes back to a consumer that asks nothing of messages: it could not be narrowed.

    Raises:
        Forbidden: ``seal.missing``.
    """
    if says_that_it_waited(headers):
        expected = "a consumer with MessageSecurity(seal=...)"
        raise Forbidden("seal.missing", found="a message that comes back", expected=expected)


def says_that_it_waited(headers: Mapping[str, Any]) -> bool:
    """Return whether a message says that it was parked or dead-lettered, whoever wrote that."""
    said = headers.get(PURPOSE)
    return isinstance(said, str) and said in (Purpose.PARKED, Purpose.LETTER)


def was_letter(sealed: Sealed) -> bool:
    """Return whether what is sealed is a dead letter, or the retry of one that was sent again."""
    is_retried = sealed.purpose is Purpose.RETRY and sealed.letter is not None
    return sealed.purpose is Purpose.LETTER or is_retried


def _check_first(
    first: FirstToken | None, caller: Caller, release: Signed | None, *, is_fresh: bool
) -> None:
    """A fresh token is the same caller's, and so is a reference, whoever it has come to mean.

    Nobody in particular, as an introspection endpoint may say it, is no same caller.
    """
    if first is None and not is_fresh:
        return
    nobody = is_fresh and not caller.subject
    whose = (caller.issuer, caller.subject)  # a subject is unique within its issuer only
    if first is None or nobody or (first.issuer, first.subject) != whose:
        found = "no record of a first token" if first is None else "another caller's first token"
        raise BadMessage("seal.caller", found=found, expected="this caller's")
    if release is not None and release.claims.get(TOKEN_SHA256) != first.token_sha256:
        found = "a proof that releases another token's message"
        raise BadMessage("seal.token", found=found, expected="the first token that is sealed")

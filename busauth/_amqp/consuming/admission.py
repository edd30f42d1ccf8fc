"""From a delivery to the caller for whom its handler may run.

Its token is genuine, its proof is a trusted publisher's: both are told with the keys at hand, or
after waiting for them, and before a slot for the handler is taken. Then, at one instant: the proof
speaks of this message, the token is in time or a policy accepts it, and the caller may do this.
"""

from dataclasses import replace
from typing import NamedTuple

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.message_rules import MessageRules
from busauth._amqp.consuming.returning import CameBack, check_unasked
from busauth._amqp.headers import token_in
from busauth._decision import Rules, check_again, decide_in_time, decide_soon
from busauth._messages.proof import Signed
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.encryption.encryption import Decryption
from busauth._tokens.evidence import Verified
from busauth._tokens.keys.waiting import found
from busauth.caller import Caller, narrowed
from busauth.errors import defer_if_transient


class Genuine(NamedTuple):
    """A token that is its issuer's, and a proof that is its publisher's, where one is asked for."""

    verified: Verified
    signed: Signed | None

    def holds(self) -> bool:
        """Return whether what proved them still counts, without waiting."""
        return self.verified.holds() and (self.signed is None or self.signed.holds())


class Admission:
    """What one queue's deliveries are held to.

    Args:
        header: the header that carries the token.
        trusted: who proves tokens genuine.
        decryption: opens tokens that travel encrypted, None where none does.
        messages: what is asked of the messages themselves.
        callers: what callers are held to.
    """

    def __init__(
        self,
        *,
        header: str,
        trusted: Authenticator,
        decryption: Decryption | None,
        messages: MessageRules,
        callers: Rules,
    ) -> None:
        self._header = header
        self._trusted = trusted
        self._decryption = decryption
        self._messages = messages
        self._callers = callers

    def read(self, case: Case) -> str:
        """Return a delivery's token, decrypted, and note it; nothing is proven of it.

        Raises:
            NotGenuine: there is none, or it cannot be read.
        """
        self._check_home(case)
        token = token_in(case.delivery.headers, self._header)
        if self._decryption is not None:
            token = self._decryption.reveal(token)
        case.token = token
        return token

    def _check_home(self, case: Case) -> None:
        """Tell what this consumer has put away, and somebody has moved, from what has no token.

        Raises:
            CameBack: its seal says so.
        """
        if case.delivery.headers.get(self._header) is not None:
            return
        case.letter = self._messages.letter(case.delivery)
        if case.letter is not None:
            raise CameBack.of(case.letter.sealed.purpose)

    def recall(self, case: Case) -> Genuine:
        """Read a delivery's token and proof, and prove both with the keys at hand.

        Raises:
            Refused: with the first rule that one of them breaks.
            NotAtHand: keys, or an answer, must be fetched: `authenticate`.
        """
        token = self.read(case)
        try:
            verified = self._trusted.recall(token)
            if self._messages.proofs is None:
                return Genuine(verified, None)
            return Genuine(verified, self._messages.recall(case.delivery))
        except Exception as error:
            defer_if_transient("who proves tokens is", error, self._callers.transient)
            raise

    async def authenticate(self, case: Case) -> Genuine:
        """Prove what `recall` has read, fetching keys that are not at hand.

        Raises:
            Refused: with the first rule that one of them breaks.
            Deferred: keys are out of reach.
        """
        try:
            verified = await found(lambda: self._trusted.recall(case.token or ""))
            return Genuine(verified, await found(lambda: self._messages.recall(case.delivery)))
        except Exception as error:
            defer_if_transient("who proves tokens is", error, self._callers.transient)
            raise

    def compare(self, case: Case, genuine: Genuine) -> None:
        """Compare a message with its proof and its seal, and note what they say of it.

        What came back with another token than its first one, or with a reference that means more
        by now, is narrowed to what both allow.

        Raises:
            Refused: one speaks of another message, or not for here or now.
        """
        verified = case.verified = genuine.verified
        case.caller = verified.caller
        if not self._messages.asks:
            check_unasked(case.delivery.headers)
            return
        case.provenance, case.marks = self._messages.provenance_of(
            case.delivery, verified.caller, genuine.signed, case.now
        )
        first = case.marks.sealed.first
        if first is not None and first != self._messages.first(verified.caller):
            case.verified = replace(verified, caller=narrowed(verified.caller, first))

    async def decided(self, case: Case) -> Caller:
        """Return the caller for whom the handler may run, at the case's instant.

        Raises:
            Refused: with its code.
            Deferred: a policy, or what knows of revocations, cannot tell now.
        """
        verified, now = case.known, case.now
        if verified.lateness(now) is None:
            return decide_in_time(verified, self._callers, now, case.provenance)
        return await decide_soon(verified, self._callers, now, case.provenance)

    def stands(self, case: Case, genuine: Genuine, caller: Caller, now: float) -> bool:
        """Return whether a decision still stands at a later instant, after an await.

        Nothing is waited for. Where it does not stand, it is to be made anew.

        Raises:
            Refused: it does not, and will not: the token was revoked, the proof has become stale.
            Deferred: what knows of revocations cannot tell now.
        """
        if not genuine.holds():
            return False
        verified = case.known
        self._messages.check_age(genuine.signed, now)
        if caller.late is None and verified.lateness(now) is not None:
            return False
        check_again(verified, caller, self._callers, now, case.provenance)
        return caller.late is None or now < caller.late.until

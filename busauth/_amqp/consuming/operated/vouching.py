"""What an operator had sent again comes without a token: by what is it judged instead?

1. The consumer's own seal: it was a letter here, of this body, and of the first token's caller.
2. A statement: a desk that the consumer trusts has verified this operator, for this very letter.

Neither is enough alone. What does not hold goes back where it was, unchanged, and nothing is
handled: `homeward`. A retry of what was accepted has no letter to go back to. Its seal names the
statement that it was accepted on, and it is judged again, but for how long it has waited.
"""

from typing import NamedTuple

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.operated.homeward import homeward
from busauth._amqp.consuming.returning import CameBack, Marks
from busauth._amqp.consuming.rules import ConsumerRules
from busauth._amqp.headers import STATEMENT, TOKEN_SHA256
from busauth._decision import decide_for_operator
from busauth._messages.proof import Signed
from busauth._messages.seal import Purpose
from busauth._messages.statements import OperatorRules, Stated, StatedLetter, authority_of
from busauth._tokens.keys.waiting import found
from busauth.caller import Caller, FirstToken, as_caller
from busauth.errors import Forbidden, defer_if_transient, evidence

_OPERATOR = "operator"
"""By whose authority it was sent again, as its story tells."""

_LONGEST_WORD = 80  # characters, as of anybody's who sends a letter again


class Vouched(NamedTuple):
    """A statement that is its desk's, and a proof that is its publisher's, where one is asked for.

    Neither was compared with the message.
    """

    stated: Stated
    signed: Signed | None

    def holds(self) -> bool:
        """Return whether what proved them still counts, without waiting."""
        return self.stated.holds() and (self.signed is None or self.signed.holds())


class Operated:
    """Judges one queue's letters that operators have sent again.

    Args:
        rules: on what terms the queue is consumed.
    """

    def __init__(self, rules: ConsumerRules) -> None:
        self._rules = rules
        self._messages = rules.messages

    def read(self, case: Case) -> None:
        """Note what came without a token: a letter, a retry on a statement, or neither.

        Raises:
            CameBack: a letter that nobody vouches for here goes back where it was.
            Forbidden: ``redrive.not_taken``: the same of a retry, since the settings were changed.
        """
        delivery = case.delivery
        statement = delivery.headers.get(STATEMENT)
        case.letter = letter = self._messages.letter(delivery)
        if letter is not None and statement is None:
            raise CameBack.of(letter.sealed.purpose)
        if not isinstance(statement, str):
            statement = "" if letter is not None else None
        if statement is None:
            return
        if letter is None:
            case.retried = self._messages.retried(delivery, statement)
            if case.retried is None:
                return
        case.statement = statement
        if case.retried is not None:  # genuine whoever vouches: refused, it is somebody's letter
            self._note(case)
        with homeward(case):
            self._check_taken(case)

    def _check_taken(self, case: Case) -> None:
        if self._rules.operators is None:
            found, expected = "an operator's statement", "a consumer with on_redrive=Operators(...)"
            raise Forbidden("redrive.not_taken", found=found, expected=expected)
        if case.letter is not None and case.letter.sealed.purpose is not Purpose.LETTER:
            raise Forbidden("redrive.letter", found="a parked message", expected="a dead letter")

    def recall(self, case: Case) -> Vouched:
        """Prove a delivery's statement and its proof with the keys at hand.

        Raises:
            Refused: with the first rule that one of them breaks.
            NotAtHand: keys must be fetched: `prove`.
            Deferred: who proves them is out of reach.
        """
        try:
            with homeward(case):
                return self._vouched(case)
        except Exception as error:
            defer_if_transient("who proves statements is", error, self._rules.callers.transient)
            raise

    async def prove(self, case: Case) -> Vouched:
        """Prove the same, fetching keys that are not at hand.

        Raises:
            Refused: with the first rule that one of them breaks.
            Deferred: keys are out of reach.
        """
        try:
            with homeward(case):
                return await found(lambda: self._vouched(case))
        except Exception as error:
            defer_if_transient("who proves statements is", error, self._rules.callers.transient)
            raise

    def _vouched(self, case: Case) -> Vouched:
        stated = self._terms.desks.prove(case.statement)
        return Vouched(stated, self._messages.recall(case.delivery))

    def compare(self, case: Case, vouched: Vouched) -> None:
        """Compare a message with its seal and its proof, and note what they say.

        Raises:
            Refused: ``redrive.record``, or the proof speaks of another message, or not for here.
        """
        with homeward(case):
            caller, marks = self._note(case)
            case.operator = (evidence(vouched.stated.operator.subject) or "")[:_LONGEST_WORD]
            case.provenance, case.proven = self._messages.judge_tokenless(
                case.delivery, vouched.signed, caller, marks.stamp, case.now
            )

    def _note(self, case: Case) -> tuple[Caller, Marks]:
        """Note what the seal says; it holds."""
        marks = self._messages.marks(case.delivery, self._sealed_for(case))
        case.marks = marks = marks._replace(authority=_OPERATOR)
        case.attempt = 1 + marks.sealed.attempt
        case.caller = as_caller(self._first(case), self._messages.session_claim)
        return case.caller, marks

    def judge(self, case: Case, vouched: Vouched) -> Caller:
        """Return the caller for whom the handler may run, at the case's instant.

        Raises:
            Refused: with its code.
            Deferred: what knows of revocations cannot tell now.
        """
        with homeward(case):
            stated, first, now = vouched.stated, self._first(case), case.now
            delivery, is_retry = case.delivery, case.retried is not None
            seen = StatedLetter.of(delivery.headers, delivery.body, self._rules.queue)
            check = self._terms.check_retry if is_retry else self._terms.check
            check(stated, seen, now)
            self._terms.check_age(first, now)
            until = self._terms.until(stated, first, is_retry=is_retry)
            return decide_for_operator(first, stated.operator, self._rules.callers, now, until)

    @property
    def _terms(self) -> OperatorRules:
        if self._rules.operators is None:
            raise Forbidden("redrive.not_taken", found="a statement", expected="none")
        return self._rules.operators

    def _first(self, case: Case) -> FirstToken:
        """Return whose work it is, by the record under the seal.

        Raises:
            Forbidden: ``redrive.record``.
        """
        carried = case.letter or case.retried
        first = None if carried is None else carried.sealed.first
        if first is None:
            found = "no record of a first token that was for this consumer"
            raise Forbidden("redrive.record", found=found, expected="one, under its seal")
        return first

    def _sealed_for(self, case: Case) -> str | None:
        """Return what the seal names: the token that is gone, or the statement in its place."""
        if case.retried is not None:
            return authority_of(case.statement or "")
        said = case.delivery.headers.get(TOKEN_SHA256)
        return said if isinstance(said, str) else None

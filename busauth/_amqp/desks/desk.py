"""A desk verifies operators, and signs that one of them has a letter sent again.

It sees no message and no queue: it signs digests. That the letter is a consumer's own, and whose,
the consumer knows by its seal.
"""

from collections.abc import Iterable

from busauth._amqp.guard import Guard, credentials_of
from busauth._arguments import checked
from busauth._messages.statements import (
    LIFETIME,
    MAX_LETTERS,
    REDRIVE_SCOPE,
    StatedLetter,
    StatementSigner,
)
from busauth._messages.statements.statement import Lifetime
from busauth.audit import Event, EventKind
from busauth.caller import Caller
from busauth.errors import BadMessage, Refused, evidence


class Desk:
    """Signs statements for operators.

    Args:
        guard: verifies their tokens, and asks whether one was revoked. Give it an audience of its
            own: a token for any other service must not make an operator.
        signer: signs in the desk's name.
        scopes: what an operator's token must allow, all of it.
        lifetime: seconds in which a letter is to be sent on its statement.

    Raises:
        ConfigurationError: the guard takes transaction tokens, which are nobody's credentials.
    """

    @checked
    def __init__(
        self,
        guard: Guard,
        signer: StatementSigner,
        *,
        scopes: Iterable[str] = (REDRIVE_SCOPE,),
        lifetime: Lifetime = LIFETIME,
    ) -> None:
        self._guard = credentials_of(guard)
        self._signer = signer
        self._scopes = (scopes,) if isinstance(scopes, str) else tuple(scopes)
        self._lifetime = lifetime

    @property
    def name(self) -> str:
        """Return what consumers know it by."""
        return self._signer.name

    async def state(self, token: str, letters: Iterable[StatedLetter]) -> list[str]:
        """Return a statement for each letter, in order; each is told to the guard's auditor.

        Args:
            token: the operator's, raw; it goes no further.
            letters: none, where it is only asked whether this operator may.

        Raises:
            Refused: the token is not genuine, late or revoked, or allows too little; or there are
                too many letters (``redrive.statement``).
            Deferred: the issuer's keys are out of reach, or what knows of revocations.
        """
        asked = tuple(letters)
        if len(asked) > MAX_LETTERS:
            found, expected = f"{len(asked)} letters", f"{MAX_LETTERS} at most"
            raise BadMessage("redrive.statement", found=found, expected=expected)
        try:
            operator = await self._guard.authenticate(f"Bearer {token}", scopes=self._scopes)
        except Refused as refused:
            if refused.genuine:  # somebody's whom the desk knows: who else asks, fills no audit
                self._tell(EventKind.REFUSED, asked[0] if asked else None, refused=refused)
            raise
        record, now = self._guard.core.record(operator), self._guard.clock.now()
        signed = [
            self._signer.sign(letter, record, now, lifetime=self._lifetime) for letter in asked
        ]
        for letter in asked:
            self._tell(EventKind.STATED, letter, operator=operator)
        return signed

    def _tell(
        self,
        kind: EventKind,
        letter: StatedLetter | None,
        *,
        operator: Caller | None = None,
        refused: Refused | None = None,
    ) -> None:
        told = None if letter is None else f"letter {evidence(letter.letter)} by {self.name}"
        self._guard.core.tell(
            Event(
                kind=kind,
                queue="" if letter is None else letter.queue,
                at=self._guard.clock.now(),
                issuer=operator.issuer if operator else None,
                subject=evidence(operator.subject) if operator else None,
                code=refused.code if refused else None,
                detail=refused.detail if refused else told,
            )
        )

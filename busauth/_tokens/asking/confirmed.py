"""JWTs that are proven locally, and then confirmed by who issued them.

Rules:

1. Genuine first: nobody is asked about a token that is not.
2. What is not confirmed is refused as `Untimely`, because it is known whose it is. No expiry policy
   is asked: of a token that its issuer calls inactive nobody can tell whether it was revoked.
3. An answer may say little. What it says must be what the token says: issuer, subject, client, id,
   audience, kind.
4. It narrows and never widens: an earlier `exp` counts, and so do fewer scopes.
5. An endpoint that refuses every JWT has said nothing about this one: the message waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from busauth._tokens.asking.answers import Answer, renewed
from busauth._tokens.asking.introspection import Introspection, check_use
from busauth._tokens.claims import check_audience, instant
from busauth._tokens.evidence import Verified
from busauth._tokens.keys.waiting import answered
from busauth._tokens.verifier import Verifiers
from busauth.caller import Caller
from busauth.errors import NotGenuine, Refused, Untimely

_SAME = ("iss", "sub", "client_id", "jti")


class Confirmed:
    """An authenticator: local first, then asked.

    Args:
        local: who proves.
        asked: who confirms, by issuer; one for each of theirs.
    """

    def __init__(self, local: Verifiers, asked: Mapping[str, Introspection]) -> None:
        self._local = local
        self._asked = asked

    def takes(self, token: str) -> bool:
        """Return whether the verifiers do."""
        return self._local.takes(token)

    def check_shape(self, token: str) -> float | None:
        """Let the verifiers look at it."""
        return self._local.check_shape(token)

    def recall(self, token: str) -> Verified:
        """Prove and confirm a token with what is at hand.

        Raises:
            NotGenuine: with the first rule that it breaks.
            Untimely: ``token.inactive`` or ``token.mismatch``.
            NotAtHand: a key, or an answer, is not at hand.
        """
        verified = self._local.recall(token)
        asked = self._asked[verified.caller.issuer]
        answer = asked.at_hand(token, verified.caller.expires_at)
        if answer is None or _is_none(answer):
            question = self, verified.caller.token_sha256
            answer = answered(question, lambda: _said(token, verified, asked))
        return _confirmed(verified, answer, asked)


async def _said(token: str, verified: Verified, asked: Introspection) -> Answer:
    answer = await asked.said_of(token, verified.caller.expires_at)
    if _is_none(answer):
        await asked.check_jwts()  # raises where that is so for each JWT: then the message waits
    return answer


@dataclass(frozen=True, slots=True)
class _Confirmation:
    """A proof, and an answer that goes with it."""

    proof: Verified
    answer: Answer

    def holds(self) -> bool:
        return self.proof.holds() and self.answer.holds(self.proof.caller.expires_at)


def _is_none(answer: Answer) -> bool:
    """Return whether the endpoint refused the question: this one, or each about a JWT."""
    return isinstance(answer.verdict, Refused) and answer.verdict.code == "token.unanswered"


def _confirmed(verified: Verified, answer: Answer, asked: Introspection) -> Verified:
    try:
        caller = _narrowed(verified.caller, _told(answer), asked)
    except NotGenuine as refused:
        why = {"found": refused.found, "expected": refused.expected}
        raise Untimely(refused.code, **why) from None
    return replace(verified, caller=caller, by=_Confirmation(verified, answer))


def _told(answer: Answer) -> Mapping[str, Any]:
    if answer.said is None and isinstance(answer.verdict, Refused):
        raise renewed(answer.verdict)
    return answer.said or {}


def _narrowed(caller: Caller, said: Mapping[str, Any], asked: Introspection) -> Caller:
    """Return the caller with what the answer leaves; what it does not mention stays."""
    check_use(said)
    for name in _SAME:
        if name in said and said[name] != caller.claims.get(name):
            raise NotGenuine("token.mismatch", found=f"another {name}", expected="this token's")
    profile = asked.profile
    if profile.audience in said:
        check_audience(said, profile, asked.audience)
    expires_at = instant(said, "exp")
    kept = caller.expires_at if expires_at is None else min(expires_at, caller.expires_at)
    # Not mentioned is not the same as none: an empty `scope` takes all of them away.
    names_scopes = not profile.scope_claims.isdisjoint(said)
    scopes = caller.scopes & profile.scopes_in(said) if names_scopes else caller.scopes
    return replace(caller, expires_at=kept, scopes=scopes)

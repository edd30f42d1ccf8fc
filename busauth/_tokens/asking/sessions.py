"""Sessions: the message carries an id, and a store knows whose it is.

A session that ended in the queue is judged like a token that did: its end is the caller's
`expires_at`, and the expiry policies decide. So a store must know sessions for a while after they
ended. One that was revoked is refused, whatever the policies say; one that the store does not know
is not genuine.

An id is as good as a password: it is looked up by its SHA-256 wherever busauth keeps it.
"""

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from busauth._arguments import Seconds, audience_names, checked
from busauth._tokens.asking.answers import Answer, AnswerOptions, Answers, Freshness, Word
from busauth._tokens.asking.opaque import check_opaque
from busauth._tokens.claims import instant
from busauth._tokens.compact import is_signed
from busauth._tokens.evidence import Verified
from busauth._tokens.profiles.profile import Profile
from busauth._tokens.profiles.providers import LENIENT
from busauth._tokens.reading import Known, caller_of
from busauth._tokens.verifier import Leeway, fingerprint
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, Deferred, NotGenuine, Refused, Untimely

SESSION = Profile(name="a session", types=frozenset(), required=("sub",), absent=LENIENT.absent)
"""Sessions: scopes, roles and client are where access tokens have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a store knows of a session.

    Attributes:
        claims: whose it is and what it allows, as in an access token; `sub` must be there. `iss`
            and `aud`, where they are, must be right; `exp` means nothing here.
        ends_at: when it ends or has ended, seconds since the epoch.
        revoked: whether it was taken back, and counts no more under any policy.
    """

    claims: Mapping[str, Any] = field(repr=False)
    ends_at: float
    revoked: bool = False


class SessionStore(Protocol):
    """Knows sessions by their ids."""

    async def find(self, session_id: str) -> Session | None:
        """Return a session, be it over; None for one that never was, or was too long ago.

        Raises:
            Deferred: it cannot tell now. Any other error means the same: nobody could say whose
                message it would be that was refused for it.
        """
        ...


SESSION_OPTIONS = AnswerOptions(fresh_for=1.0, refused_for=1.0)
"""A store is near, so that it is asked often."""


class Sessions:
    """Judges session ids.

    Args:
        store: who knows them.
        issuer: the `issuer` of their callers: a name of its own, and no token's issuer.
        audience: whom sessions are for, where they say it.
        profile: where rights are, and what must be there.
        prefix: what ids begin with, where opaque tokens may come as well.
        leeway: seconds of clock skew tolerated.
        timeout: seconds that the store may take.
        options: how long answers count, and how many are kept.
        clock: where instants and ages come from.

    Raises:
        ConfigurationError: with the argument, what was found and what was expected.
    """

    @checked
    def __init__(
        self,
        store: SessionStore,
        *,
        issuer: str,
        audience: str | Iterable[str],
        profile: Profile = SESSION,
        prefix: str = "",
        leeway: Leeway = 0.0,
        timeout: Seconds = 5.0,
        options: AnswerOptions = SESSION_OPTIONS,
        clock: Clock | None = None,
    ) -> None:
        self.issuer = issuer
        self.audience = audience_names(audience)
        self.prefix = prefix
        self.leeway = leeway
        if not issuer or not self.audience or "" in self.audience:
            raise ConfigurationError(
                f"issuer={issuer!r}, audience={audience!r}: expected names, none of them empty"
            )
        self._store = store
        self.max_token_bytes = options.max_token_bytes
        self._timeout = timeout
        self._known = Known(issuer, self.audience, profile)
        self._answers = Answers(self._asked, options=options, clock=clock or SystemClock())

    def takes(self, token: str) -> bool:
        """Return whether a text is no JWS, and begins with the prefix."""
        return token.startswith(self.prefix) and not is_signed(token)

    def recall(self, token: str) -> Verified:
        """Return whose a session is, without waiting.

        Raises:
            NotGenuine: with the first rule that it breaks.
            Untimely: ``token.revoked``.
            AnswerMissing: the store must be asked.
        """
        self._check_shape(token)
        return self._answers.recall(token, fingerprint(token))

    def check_shape(self, token: str) -> float | None:
        """Return infinity: an id does not say when its session ends.

        Raises:
            NotGenuine: it is malformed.
        """
        self._check_shape(token)
        return inf

    async def probe(self) -> None:
        """Return when the store answers, about an id that nobody ever had.

        Raises:
            Deferred: it does not.
        """
        await self._find(f"{self.prefix}{secrets.token_urlsafe(32)}")

    def _check_shape(self, token: str) -> None:
        check_opaque(token, max_bytes=self.max_token_bytes)
        if not self.takes(token):
            raise NotGenuine("session.unknown", found="another token", expected="a session id")

    async def _asked(self, token: str, digest: str, fresh: Freshness) -> Answer:
        session = await self._find(token)
        try:
            verified = self._judged(session, digest, fresh)
        except Refused as refused:  # an answer as well, and remembered as one
            return Answer(refused, fresh)
        return Answer(verified, fresh, ends_at=verified.caller.expires_at)

    async def _find(self, session_id: str) -> object:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._store.find(session_id)
        except Exception as error:  # whatever went wrong, no message is guilty of it
            reason = error.reason if isinstance(error, Deferred) else type(error).__name__
            why = f"the sessions of {self.issuer} are out of reach: {reason}"
            raise Deferred(why, probe=self.probe) from error

    def _judged(self, session: object, digest: str, fresh: Freshness) -> Verified:
        if session is None:
            raise NotGenuine("session.unknown", found="no such session", expected="a known one")
        if not isinstance(session, Session) or not isinstance(session.claims, Mapping):
            found = f"a session of type {type(session).__name__}"
            raise NotGenuine("session.malformed", found=found, expected="a Session with claims")
        usual = {"iss": self.issuer, self._known.profile.audience: sorted(self.audience)}
        # The end comes last: an `exp` among the claims means nothing, and must not count above it.
        claims = {**usual, **session.claims, "exp": session.ends_at}
        if claims["iss"] != self.issuer:
            raise NotGenuine("token.issuer", found=claims["iss"], expected=self.issuer)
        caller = caller_of(claims, self._known, digest)
        if session.revoked is not False:  # a store that says None here has not said no
            raise Untimely("token.revoked", found="a revoked session", expected="one that counts")
        word = Word(fresh, caller.expires_at)
        return Verified(caller, instant(session.claims, "nbf"), self.leeway, word)

"""Asking the issuer what a token is worth (RFC 7662), signed on demand (RFC 9701).

What comes back is judged like the claims of a token: issuer, audience, instants, kind. Rules:

1. A token that is a JWS must name this issuer, and be of an accepted type, before it is sent.
2. ``active: true`` alone counts; ``active: false`` carries nothing else. A token that is not active
   may have expired or been revoked, and the answer does not say whose it was: it is *not genuine*
   (``token.inactive``), and no expiry policy is asked. An answer that is active and names an `exp`
   in the past proves whose it was: that one is late.
3. A member that is null is one that is not there, and `sub` may be missing (section 2.2): a token
   that a client got for itself has nobody's. Such a caller's `subject` is empty, which is nobody's
   name: nothing is parked for it or released by it. A JWS still has what its profile demands.
4. An endpoint that is out of reach, or talks nonsense, has not answered: see `endpoint`.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from busauth._arguments import audience_names, checked
from busauth._tokens.asking.answers import NEVER, Answer, Answers, Freshness, Word
from busauth._tokens.asking.client_auth import ClientAuthentication
from busauth._tokens.asking.endpoint import Endpoint, IntrospectionOptions
from busauth._tokens.asking.opaque import check_opaque
from busauth._tokens.asking.signed_answers import SignedAnswers
from busauth._tokens.claims import instant
from busauth._tokens.compact import CompactToken, is_signed, named_issuer, split
from busauth._tokens.evidence import Verified
from busauth._tokens.fetch import Fetcher, Unusable
from busauth._tokens.keys.key import ASYMMETRIC, KeySource
from busauth._tokens.keys.signing import b64url
from busauth._tokens.profiles.profile import Profile, media_type
from busauth._tokens.profiles.providers import LENIENT, profile_of
from busauth._tokens.reading import Known, caller_of
from busauth._tokens.verifier import LEEWAY, Leeway, fingerprint
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, NotGenuine

__all__ = ["Introspection", "IntrospectionOptions"]

# They speak of the answer and are no claims: as claims a caller would have them.
_ABOUT_THE_ANSWER = ("active", "token_type")
_USES = (None, "access", "access_token")  # what issuers call an access token here; most say nothing
_MAX_BYTES = 64 * 1024  # of an answer: several times what a token can say


class Introspection:
    """Judges one issuer's tokens by asking its introspection endpoint.

    Args:
        endpoint: the URL; https, unless `fetcher` says otherwise.
        issuer: the exact `iss`; an answer without one is this issuer's.
        audience: whom tokens must be for; one of several suffices.
        client: how this service proves who it is.
        keys: the issuer's keys. With them only signed answers count (RFC 9701).
        algorithms: what the issuer signs answers with.
        profile: what its tokens look like; an answer needs no `sub`, a JWS does.
        prefix: what its opaque tokens begin with, where several can be asked.
        leeway: seconds of clock skew tolerated.
        options: how often it is asked, and when it is left alone.
        fetcher: time and size limits, hosts that may be asked over plain http.
        clock: where instants and ages come from.

    Raises:
        ConfigurationError: with the argument, what was found and what was expected.
    """

    @checked
    def __init__(
        self,
        endpoint: str,
        *,
        issuer: str,
        audience: str | Iterable[str],
        client: ClientAuthentication,
        keys: KeySource | None = None,
        algorithms: Iterable[str] = ASYMMETRIC,
        profile: Profile | str = LENIENT,
        prefix: str = "",
        leeway: Leeway = LEEWAY,
        options: IntrospectionOptions | None = None,
        fetcher: Fetcher | None = None,
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
        options = options or IntrospectionOptions()
        fetcher = fetcher or Fetcher(max_bytes=_MAX_BYTES)
        self.max_token_bytes = options.max_token_bytes
        profile = profile_of(profile)
        self._demanded = frozenset({"sub"} & {*profile.required})
        # An answer need not name a subject (RFC 7662, section 2.2): a client's own has none.
        required = tuple(name for name in profile.required if name != "sub")
        self._known = Known(issuer, self.audience, replace(profile, required=required))
        self._clock = clock or SystemClock()
        signed = (
            SignedAnswers(
                keys,
                issuer=issuer,
                client_id=client.client_id,
                algorithms=algorithms,
                max_age=leeway + fetcher.timeout,
            )
            if keys is not None
            else None
        )
        self._endpoint = Endpoint(
            endpoint,
            issuer=issuer,
            client=client,
            signed=signed,
            options=options,
            fetcher=fetcher,
            clock=self._clock,
        )
        self._answers = Answers(self._asked, options=options, clock=self._clock)

    def takes(self, token: str) -> bool:
        """Return whether a text is this issuer's JWS, or opaque and begins with the prefix."""
        if is_signed(token):
            return named_issuer(token, max_bytes=self.max_token_bytes) == self.issuer
        return token.startswith(self.prefix)

    def recall(self, token: str) -> Verified:
        """Return what is proven of a token, without waiting.

        Raises:
            NotGenuine: with the first rule that it breaks.
            AnswerMissing: no answer is at hand.
        """
        self._check_shape(token)
        return self._answers.recall(token, fingerprint(token))

    @property
    def profile(self) -> Profile:
        """Return what its tokens look like."""
        return self._known.profile

    async def said_of(self, token: str, ends_at: float) -> Answer:
        """Return what the issuer says of a token that is known to be its own.

        Args:
            token: one that was proven genuine.
            ends_at: its `exp`: an answer from before says nothing of the time after.

        Raises:
            Deferred: there is no answer to be had now.
        """
        return await self._answers.get(token, fingerprint(token), ends_at)

    async def check_jwts(self) -> None:
        """Ask about a JWT that nobody ever had; some endpoints answer about opaque tokens alone.

        Raises:
            Unusable: this one does not answer about any JWT.
            Deferred: there is no answer to be had now.
        """
        # By its form this issuer's JWT, as none else would be sent; its signature is nobody's.
        header = json.dumps({"alg": "RS256", "typ": "JWT"}).encode()
        payload = json.dumps({"iss": self.issuer, "jti": secrets.token_hex(16)}).encode()
        parts = (header, payload, secrets.token_bytes(256))
        try:
            await self._endpoint.ask(b".".join(map(b64url, parts)).decode("ascii"))
        except NotGenuine as refused:
            raise Unusable(
                f"the introspection endpoint of {self.issuer} answers about opaque tokens, and "
                f"{refused.found} about JWTs: introspect=True cannot work there; expected an "
                "endpoint that answers about JWTs, or handlers without introspect=True",
                probe=self.check_jwts,
            ) from None

    def at_hand(self, token: str, ends_at: float) -> Answer | None:
        """Return what the issuer said, as `said_of` would without waiting; None for nothing yet."""
        return self._answers.at_hand(fingerprint(token), ends_at)

    def check_shape(self, token: str) -> float | None:
        """Return `exp` of a JWS, infinity for an opaque token: for the edge, before publishing.

        Raises:
            NotGenuine: it is malformed, or of another issuer or kind.
        """
        self._check_shape(token)
        if not is_signed(token):
            return NEVER
        return instant(split(token, max_bytes=self.max_token_bytes).payload, "exp")

    def _check_shape(self, token: str) -> None:
        check_opaque(token, max_bytes=self.max_token_bytes)
        if is_signed(token):
            self._check_readable(split(token, max_bytes=self.max_token_bytes))
        elif not token.startswith(self.prefix):
            raise NotGenuine("token.issuer", found="another token", expected=f"{self.prefix}...")

    def _check_readable(self, token: CompactToken) -> None:
        """A JWS is sent to its own issuer only, and as the kind of token that it is."""
        if token.payload.get("iss") != self.issuer:
            found = token.payload.get("iss", "no iss")
            raise NotGenuine("token.issuer", found=found, expected=self.issuer)
        if "crit" in token.header or "b64" in token.header:
            raise NotGenuine("token.crit", found="critical extensions", expected="none")
        typ = token.header.get("typ")
        odd = "typ" in token.header and not isinstance(typ, str)
        if odd or media_type(typ) not in self.profile.types:
            raise NotGenuine("token.type", found=typ, expected=self.profile.name)
        if not token.payload.keys() >= self._demanded:  # a verifier would not take it either
            raise NotGenuine("token.claim_missing", found="no sub", expected="sub")

    async def _asked(self, token: str, digest: str, fresh: Freshness) -> Answer:
        try:
            said = await self._endpoint.ask(token)
        except NotGenuine as refused:
            return Answer(refused, fresh)
        if said["active"] is not True:
            # Late or revoked, and nobody says whose it was: no expiry policy could judge that.
            expected = "a token that counts"
            inactive = NotGenuine("token.inactive", found="not active", expected=expected)
            return Answer(inactive, fresh)
        # What is null is not there, but for scopes: there it says that there are none.
        scopes = self.profile.scope_claims
        said = {name: value for name, value in said.items() if value is not None or name in scopes}
        if said.get("jti") == token:  # an opaque token may be its own id, which is told; it is not
            del said["jti"]
        try:
            verified = self._judged(said, token, digest, fresh)
        except NotGenuine as refused:
            return Answer(refused, fresh, said, _end(said))
        return Answer(verified, fresh, said, verified.caller.expires_at)

    def _judged(
        self, said: Mapping[str, Any], token: str, digest: str, fresh: Freshness
    ) -> Verified:
        check_apart(said, token)
        check_use(said)
        if said.get("iss", self.issuer) != self.issuer:
            raise NotGenuine("token.issuer", found=said["iss"], expected=self.issuer)
        if is_signed(token):
            # An answer about a token that can be read speaks of that one, or of somebody else's.
            own = split(token, max_bytes=self.max_token_bytes).payload
            for name in ("jti", "sub", "client_id"):
                if name in said and name in own and said[name] != own[name]:
                    another = f"another {name}"
                    raise NotGenuine("token.mismatch", found=another, expected="this token's")
        claims = {name: value for name, value in said.items() if name not in _ABOUT_THE_ANSWER}
        caller = caller_of(claims, self._known, digest)
        word = Word(fresh, caller.expires_at)
        return Verified(caller, instant(claims, "nbf"), self.leeway, word)


def check_apart(said: Mapping[str, Any], token: str) -> None:
    """Refuse an answer in which the token is handed back as a name, and would be told as one.

    Raises:
        NotGenuine: ``token.mismatch``.
    """
    for name, value in said.items():
        if value == token:
            found = f"the token itself as {name}"
            raise NotGenuine("token.mismatch", found=found, expected="what it is worth")


def check_use(said: Mapping[str, Any]) -> None:
    """Refuse what is no bearer access token: endpoints answer about refresh tokens, too.

    Raises:
        NotGenuine: ``token.type``.
    """
    kind = said.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise NotGenuine("token.type", found=f"token_type {kind!r}", expected="Bearer")
    if said.get("token_use") not in _USES:
        raise NotGenuine("token.type", found="another token_use", expected="an access token")


def _end(said: Mapping[str, Any]) -> float:
    try:
        expires_at = instant(said, "exp")
    except NotGenuine:  # it is refused for that already; here it only says until when
        return NEVER
    return NEVER if expires_at is None else expires_at

"""Is this token genuine? Signature, algorithm, issuer, audience, type, required claims.

The order is the one that a hostile token meets: shape, then who claims to have issued it, then
type and algorithm, then the signature, and only then what the payload says. Whether a genuine token
is late is not asked here: `exp` of a forged token means nothing.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Annotated

from busauth._arguments import Bytes, CountOrNone, Range, audience_names, checked, kind_of
from busauth._tokens import claims as registered
from busauth._tokens.compact import CompactToken, named_issuer, split
from busauth._tokens.envelope import refuse_encrypted
from busauth._tokens.evidence import Verified
from busauth._tokens.keys.key import (
    ASYMMETRIC,
    KeySource,
    allow_list,
)
from busauth._tokens.profiles.places import MISSING
from busauth._tokens.profiles.profile import TXN_JWT, Profile, media_type
from busauth._tokens.profiles.providers import LENIENT, profile_of
from busauth._tokens.profiles.tenants import tenants_of
from busauth._tokens.reading import Known, caller_of, itself
from busauth._tokens.signatories import Codes, Signatory
from busauth.caller import places
from busauth.errors import ConfigurationError, NotGenuine

__all__ = ["MAX_TOKEN_BYTES", "Verified", "Verifier", "Verifiers", "fingerprint"]

MAX_TOKEN_BYTES = 8 * 1024
"""Characters: a longer one does not come through a web server's header either."""

CACHED_TOKENS = 10_000  # one that is forgotten is verified anew, and no more

Leeway = Annotated[float, Range(unit="seconds", most=300, beyond="Grace")]
"""Clock skew; minutes of it are a policy."""

LEEWAY = 30.0  # seconds: clocks that are kept by NTP are nearer than that
_CODES = Codes(
    malformed="token.crit",
    type="token.type",
    algorithm="token.algorithm",
    key_unknown="token.key_unknown",
    signature="token.signature",
)
_SHAPES = 1000
"""Tokens whose `exp` is remembered at the edge, where one caller publishes again and again."""

_SHARED = 128
"""Scopes, roles and the like of an issuer that are kept once, however many tokens repeat them."""


class Verifier:
    """Verifies the tokens of one issuer.

    Args:
        keys: the issuer's keys, `StaticKeys` or `JWKS`.
        issuer: the exact `iss`; with `tenants`, a template of it that has ``{tenantid}`` where the
            tenant stands, as Microsoft Entra ID has one.
        audience: whom tokens must be for; one of several suffices.
        algorithms: what this issuer signs with, secrets and public keys never mixed.
        profile: what its access tokens look like, or the name that it has in a settings file;
            `LENIENT` suits most providers. With `TRANSACTION` the issuer is a transaction token
            service, the audience its trust domain, and a token may do without `iss`.
        required: claims that must be there, next to those of the profile.
        clients: the OAuth clients whose tokens are taken, where not all of the issuer's are.
        tenants: those whose tokens are taken, by their identifiers; "any" for whoever has one.
        leeway: seconds of clock skew tolerated.

    Attributes:
        audience: as given, checked.
        tenants: whose tokens the issuer stands for as a template; None for one issuer.
        leeway: as given.
        stands_for: issuers whose place its own takes, where a service is tried: policies name them.

    Raises:
        ConfigurationError: with the argument, what was found and what was expected.
    """

    @checked
    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str | Iterable[str],
        algorithms: Iterable[str] = ASYMMETRIC,
        profile: Profile | str = LENIENT,
        required: Iterable[str] = (),
        clients: str | Iterable[str] | None = None,
        tenants: str | Iterable[str] | None = None,
        leeway: Leeway = LEEWAY,
    ) -> None:
        self.audience = audience_names(audience)
        profile = profile_of(profile)
        profile = replace(profile, required=(*profile.required, *required))
        if clients is not None:
            named = frozenset((clients,) if isinstance(clients, str) else clients)
            profile = replace(profile, clients=named)
        self._profile = profile
        self.tenants = tenants_of(issuer, tenants)
        self.leeway = leeway
        self.stands_for: frozenset[str] = frozenset()
        self._shared = lru_cache(_SHARED)(itself)
        self._placed = lru_cache(_SHARED)(places)
        if not issuer or not self.audience or "" in self.audience:
            raise ConfigurationError(
                f"issuer={issuer!r}, audience={audience!r}: expected names, none of them empty"
            )
        if profile.is_transaction and (self.tenants is not None or len(self.audience) > 1):
            raise ConfigurationError(
                f"profile={profile.name!r}, audience={sorted(self.audience)}: expected one trust "
                "domain, and its one service: subjects are unique inside of it alone"
            )
        self._signatory = Signatory(
            name=issuer,
            keys=keys,
            algorithms=allow_list(algorithms),
            types=self._profile.types,
            typ=self._profile.name,
            codes=_CODES,
            key="a key of its issuer",
            signature="the issuer's",
            former=True,
        )

    @property
    def issuer(self) -> str:
        """Return the exact `iss` of its tokens, or the template for many tenants."""
        return self._signatory.name

    @property
    def profile(self) -> Profile:
        """Return what its tokens look like, with what is required besides."""
        return self._profile

    @property
    def keys(self) -> KeySource:
        """Return the issuer's keys; `with_keys` makes a verifier with others."""
        return self._signatory.keys

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Return what the issuer signs with, checked."""
        return self._signatory.algorithms

    def with_keys(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        stands_for: Iterable[str] = (),
        leeway: float | None = None,
    ) -> "Verifier":
        """Return a verifier with the same rules and other keys.

        Args:
            keys: another source of them.
            issuer: whose they are, one issuer's; None for the same issuer's, or tenants'.
            stands_for: whose place that one takes; see the attribute.
            leeway: seconds; None for the same.
        """
        verifier = Verifier(
            keys,
            issuer=self.issuer if issuer is None else issuer,
            audience=self.audience,
            algorithms=self.algorithms,
            profile=self._profile,
            tenants=None if self.tenants is None or issuer is not None else self.tenants.named,
            leeway=self.leeway if leeway is None else leeway,
        )
        verifier.stands_for = frozenset(stands_for)
        return verifier

    def for_vouchers(self, audience: str, types: Iterable[str]) -> "Verifier":
        """Return who verifies the same issuer's vouchers, by the same keys.

        Args:
            audience: whom they are for, which no access token of this verifier's is.
            types: the values of `typ` that they have, next to those of access tokens.

        Raises:
            ConfigurationError: its access tokens are for that audience.
        """
        if audience in self.audience:
            raise ConfigurationError(
                f"vouchers={audience!r}: access tokens of {self.issuer} are for that audience: "
                "expected one that only vouchers are for"
            )
        return Verifier(
            self.keys,
            issuer=self.issuer,
            audience=audience,
            algorithms=self.algorithms,
            profile=replace(self._profile, types=self._profile.types | frozenset(types)),
            tenants=None if self.tenants is None else self.tenants.named,
            leeway=self.leeway,
        )

    def prove(self, token: CompactToken, token_sha256: str) -> Verified:
        """Prove a token genuine with the keys at hand.

        Raises:
            NotGenuine: with the first rule that it breaks.
            KeyUnknown: no known key fits.
        """
        signer = self._signatory.signer(token)
        # The payload is read after the signature: before, it is anybody's word.
        issuer = self.issuer
        if self.tenants is not None:
            issuer = self.tenants.issuer_in(token.payload, signer.key)
        known = Known(issuer, self.audience, self._profile, self._shared, self._placed)
        caller = caller_of(token.payload, known, token_sha256)
        not_before = registered.instant(token.payload, "nbf")
        return Verified(caller, not_before, self.leeway, signer, signer.retired)

    def signed(self, token: CompactToken) -> bool:
        """Return whether a key at hand signed it, whoever it is from and for."""
        try:
            self._signatory.signer(token)
        except Exception:  # keys that cannot be had, of whatever kind, have signed nothing
            return False
        return True


def fingerprint(token: str) -> str:
    """Return the hex SHA-256 of a raw token: an identifier that is safe to show."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Verifiers:
    """One verifier for each issuer, chosen by the exact `iss` and by nothing else in the token.

    Verified tokens are remembered by their SHA-256, bounded, for as long as the key set that proved
    them is the current one. Time is never part of what is remembered.

    Args:
        verifiers: at least one; no two for one issuer.
        max_token_bytes: longer tokens are refused unread.
        cache_size: how many verified tokens are remembered.

    Attributes:
        is_for_transactions: whether what they verify are transaction tokens.
    """

    @checked
    def __init__(
        self,
        *verifiers: Verifier,
        max_token_bytes: Bytes = MAX_TOKEN_BYTES,
        cache_size: CountOrNone = CACHED_TOKENS,
    ) -> None:
        for each in verifiers:
            if not isinstance(each, Verifier):
                raise ConfigurationError(f"Verifiers: got {kind_of(each)}, expected Verifier")
        self._verifiers = verifiers
        self._by_issuer = {each.issuer: each for each in verifiers if each.tenants is None}
        self._templates = {each.tenants: each for each in verifiers if each.tenants is not None}
        services = [each for each in verifiers if each.profile.is_transaction]
        self._by_domain = {domain: each for each in services for domain in each.audience}
        self.is_for_transactions = bool(services)
        doubled = any(self._of_many(issuer) for issuer in self._by_issuer)
        if not verifiers or doubled or len(self.issuers) != len(verifiers):
            raise ConfigurationError(
                "expected verifiers, one for each issuer: got none, or two for one"
            )
        if services and len(services) != len(verifiers):
            raise ConfigurationError(
                "verifiers of transaction tokens and of access tokens: expected a guard for each: "
                "the ones travel in txn-token, the others in authorization"
            )
        if len(self._by_domain) != len(services):
            raise ConfigurationError(
                "two verifiers of transaction tokens for one trust domain: expected its one service"
            )
        self.max_token_bytes = max_token_bytes
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Verified] = OrderedDict()
        self._shapes: OrderedDict[str, float | None] = OrderedDict()

    def recall(self, token: str) -> Verified:
        """Prove a raw token genuine with the keys at hand; `found` fetches those that are not.

        Raises:
            NotGenuine: with the first rule that it breaks.
            KeyUnknown: no key at hand fits.
        """
        if len(token) > self.max_token_bytes:
            split(token, max_bytes=self.max_token_bytes)  # says so, before anything is hashed
        digest = fingerprint(token)
        known = self._cache.get(digest)
        if known is not None and known.by.holds():
            try:  # as `used` does: another thread may have let it go just now
                self._cache.move_to_end(digest)
            except KeyError:
                return known
            return known
        self._cache.pop(digest, None)  # before it is proven again: what is refused is not known
        verifier, compact = self._read(token)
        verified = self._cache[digest] = verifier.prove(compact, digest)
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return verified

    def check_shape(self, token: str) -> float | None:
        """Return `exp` of a token that was not authenticated: for the edge, before publishing.

        Raises:
            NotGenuine: it is malformed, or ``token.type``: a transaction token where access tokens
                are expected, or the reverse.
        """
        if len(token) > self.max_token_bytes:
            split(token, max_bytes=self.max_token_bytes)  # as `recall`
        digest = fingerprint(token)
        if digest not in self._shapes:
            compact = split(token, max_bytes=self.max_token_bytes)
            self._check_kind(compact)
            ends_at = self._shapes[digest] = registered.instant(compact.payload, "exp")
            while len(self._shapes) > _SHAPES:
                self._shapes.popitem(last=False)
            return ends_at
        return self._shapes[digest]

    def signed(self, token: str) -> bool:
        """Return whether one of these issuers signed a token, by the keys at hand.

        Nothing else is asked: it may be another issuer's in name, for another audience, and late.
        """
        try:
            compact = split(token, max_bytes=self.max_token_bytes)
        except NotGenuine:  # what cannot be read was signed by nobody
            return False
        return any(verifier.signed(compact) for verifier in self._verifiers)

    def takes(self, token: str) -> bool:
        """Return whether a text is a JWS that names one of these issuers."""
        if len(token) > self.max_token_bytes:
            return False
        if fingerprint(token) in self._cache:
            return True
        return self._of(named_issuer(token, max_bytes=self.max_token_bytes)) is not None

    def named(self, token: CompactToken) -> Verifier | None:
        """Return the verifier of a token by what it names: its issuer, or else its trust domain."""
        issuer = token.payload.get("iss", MISSING)
        if issuer is not MISSING:
            return self._of(issuer)
        audience = token.payload.get("aud")
        domain = audience[0] if isinstance(audience, list) and len(audience) == 1 else audience
        return self._by_domain.get(domain) if isinstance(domain, str) else None

    def _check_kind(self, token: CompactToken) -> None:
        typ = token.header.get("typ")
        if (media_type(typ) == TXN_JWT) != self.is_for_transactions:
            expected = "a transaction token" if self.is_for_transactions else "an access token"
            raise NotGenuine("token.type", found=typ or "no typ", expected=expected)

    @property
    def issuers(self) -> frozenset[str]:
        """Return whose tokens are verified; of many tenants, their template."""
        return frozenset(each.issuer for each in self._verifiers)

    def _of(self, issuer: object) -> Verifier | None:
        """Return the verifier of an `iss`; a template stands for no token's itself."""
        exact = self._by_issuer.get(issuer) if isinstance(issuer, str) else None
        return exact or self._of_many(issuer)

    def _of_many(self, issuer: object) -> Verifier | None:
        fitting = (each for tenants, each in self._templates.items() if tenants.tenant_of(issuer))
        return next(fitting, None)

    def _read(self, token: str) -> tuple[Verifier, CompactToken]:
        refuse_encrypted(token)  # first: as a JWS it would only have the wrong number of parts
        compact = split(token, max_bytes=self.max_token_bytes)
        issuer = compact.payload.get("iss")
        verifier = self.named(compact)
        if verifier is None:
            found = "no iss" if issuer is None else issuer
            if self.is_for_transactions and "iss" not in compact.payload:
                found = f"no iss, for {compact.payload.get('aud')!r}"
            told = (str(each.tenants or each.issuer) for each in self._verifiers)
            expected = " or ".join(sorted(told))
            # Auth0 ends its issuers with a slash and others do not, which nobody sees in a log.
            without = {each.rstrip("/") for each in self._by_issuer}
            if isinstance(issuer, str) and issuer.rstrip("/") in without:
                expected += ", to the letter: one has a slash at its end that the other has not"
            raise NotGenuine("token.issuer", found=found, expected=expected)
        return verifier, compact

"""What an issuer gives out, and what that is worth afterwards."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from busauth._delegation.exchanging import TXN_TYP, VOUCHER_TYP
from busauth.clock import Clock, SystemClock
from busauth.testing.issuer.keyring import ACCESS_TYPES, Keyring
from busauth.testing.issuer.keys import SigningKey, present
from busauth.testing.issuer.ledger import Ledger, identifier

TXN_TYPES = (TXN_TYP, f"application/{TXN_TYP}")
VOUCHER_TYPES = (VOUCHER_TYP, f"application/{VOUCHER_TYP}")
CLIENT_ID = "shop-web"
"""Who the tokens are issued to, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A service that may start transactions of its own.

    Attributes:
        jwk: its public key.
        scopes: what they may be for.
    """

    jwk: Mapping[str, Any]
    scopes: frozenset[str]


class Mint:
    """Mints tokens, and knows which of them still count.

    Threads may use it at the same time.

    Args:
        url: its `iss`.
        audience: the `aud` of its tokens, unless told otherwise.
        algorithm: what it signs with.
        lifetime: seconds until its tokens expire.
        clock: where `iat` comes from.

    Attributes:
        targets: whom exchanged tokens may be for; None for anybody.
        voucher_lifetime: seconds that a voucher counts; and no longer than
        voucher_total: seconds after the first one of a chain, nor is anything that it buys.
        voucher_depth: how many vouchers there may be in such a chain.
        receivers: by a voucher's audience: the client that alone may exchange it.
        trust_domain: the `aud` of its transaction tokens; None for that of its tokens.
        transaction_lifetime: seconds until its transaction tokens expire.
        workloads: who may start a transaction by a signature of their own, by name.
    """

    def __init__(
        self,
        url: str = "https://issuer.test",
        *,
        audience: str = "shop",
        algorithm: str = "RS256",
        lifetime: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        self.url = url
        self.audience = audience
        self.lifetime = lifetime
        self.clock = clock or SystemClock()
        self.targets: frozenset[str] | None = None
        self.voucher_lifetime = 24 * 3600.0
        self.voucher_total = 7 * 24 * 3600.0
        self.voucher_depth = 4
        self.receivers: dict[str, str] = {}
        self.trust_domain: str | None = None
        self.transaction_lifetime = 120.0
        self.workloads: dict[str, Workload] = {}
        self._trusted: dict[str, Mint] = {}
        self._keyring = Keyring(algorithm)
        self._ledger = Ledger()

    @property
    def signing(self) -> SigningKey:
        """The key that signs."""
        return self._keyring.signing

    @property
    def published(self) -> tuple[SigningKey, ...]:
        """The keys in the JWK set, oldest first."""
        return self._keyring.published

    @property
    def stranger(self) -> SigningKey:
        """A key of somebody else's: of the same algorithm, and published nowhere."""
        return self._keyring.stranger()

    def claims(self, subject: str = "alice", **changes: Any) -> dict[str, Any]:
        """Return a payload that verifies; `changes` replace claims, None takes one away."""
        now = self.clock.now()
        usual = {
            "iss": self.url,
            "sub": subject,
            "aud": self.audience,
            "client_id": CLIENT_ID,
            "iat": int(now),
            "exp": int(now + self.lifetime),
            "jti": uuid4().hex,
        }
        return present(usual | changes)

    def token(
        self,
        subject: str = "alice",
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        algorithm: str | None = None,
        **changes: Any,
    ) -> str:
        """Return a signed access token (RFC 9068).

        Args:
            subject: its `sub`.
            header: adds to the usual header and overrides it; None takes a member away.
            key: who signs, and whose `kid` is named; None for the issuer's own.
            algorithm: see `SigningKey.sign`.
            changes: see `claims`; a claim may be any JSON, ``math.inf`` is written as Infinity.
        """
        claims = self.claims(subject, **changes)
        return self.sign(claims, header, key=key, algorithm=algorithm)

    def transaction_token(self, subject: str = "alice", **changes: Any) -> str:
        """Return a signed transaction token (draft-ietf-oauth-transaction-tokens-10, section 5).

        Args:
            subject: its `sub`.
            changes: of its claims, as of `token`: ``tctx={"cart": 7}``.
        """
        usual = {
            "aud": self.trust_domain or self.audience,
            "client_id": None,
            "exp": int(self.clock.now() + self.transaction_lifetime),
            "jti": None,
            "txn": uuid4().hex,
            "scope": "",
            "req_wl": CLIENT_ID,
        }
        return self.sign(self.claims(subject, **(usual | changes)), {"typ": TXN_TYP})

    def sign(
        self,
        payload: object,
        header: Mapping[str, Any] | None = None,
        *,
        key: SigningKey | None = None,
        algorithm: str | None = None,
    ) -> str:
        """Return a compact JWS over any payload: bytes as they are, everything else as JSON."""
        usual = {"typ": "at+jwt", **(header or {})}
        return (key or self.signing).sign(payload, usual, algorithm=algorithm)

    def reference(self, subject: str = "alice", **changes: Any) -> str:
        """Return an opaque token, which says something to introspection only."""
        return self._ledger.keep(self.claims(subject, **changes))

    def rotate(self, key: SigningKey | None = None, *, retire: bool = False) -> SigningKey:
        """Sign with another key from now on; the old ones stay published unless retired.

        Args:
            key: None for a new one of the same algorithm.
            retire: publish this key alone.
        """
        return self._keyring.rotate(key, retire=retire)

    def retire(self, key: SigningKey) -> None:
        """Publish a key no more; what it signed counts no more.

        Raises:
            ValueError: it is not published, or it is the one that signs.
        """
        self._keyring.retire(key)

    def revoke(self, token: str) -> None:
        """Take a token or a voucher back; one that is not this issuer's is left alone."""
        claims = self.known(token)
        if claims is not None:
            self._ledger.revoke(token, claims)

    def revoke_subject(self, subject: str) -> None:
        """Take back everything that this subject was given until now."""
        self._ledger.revoke_subject(subject, self.clock.now())

    def derive(self, token: str, claims: Mapping[str, Any], source: str) -> None:
        """Have a token count only as long as the one that it was given for is not taken back."""
        self._ledger.derive(token, claims, identifier(source, self.known(source) or {}))

    def employ(self, workload: str, jwk: Mapping[str, Any], *, scopes: Iterable[str]) -> None:
        """Let a service start transactions by its own signature (`SelfSigned`).

        Args:
            workload: its name.
            jwk: its public key.
            scopes: what they may be for.
        """
        self.workloads[workload] = Workload(jwk, frozenset(scopes))

    def trust(self, other: "Mint") -> None:
        """Take another issuer's JWTs as authorization grants (RFC 7523, section 2.1)."""
        self._trusted[other.url] = other

    def granted_by(self, assertion: str) -> dict[str, Any] | None:
        """Return the claims of a trusted issuer's JWT that counts now, else None."""
        standing = (other.standing(assertion) for other in self._trusted.values())
        return next((claims for claims in standing if claims is not None), None)

    def read(self, token: str, types: Collection[str] = ACCESS_TYPES) -> dict[str, Any] | None:
        """Return the claims of a token of this issuer's, whether or not it still counts."""
        claims = self._ledger.find(token)
        return self._keyring.read(token, types) if claims is None else claims

    def known(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token of any kind, whether or not it still counts."""
        return self.read(token) or self.read(token, (*VOUCHER_TYPES, *TXN_TYPES))

    def standing(self, token: str, types: Collection[str] = ACCESS_TYPES) -> dict[str, Any] | None:
        """Return the claims of a token of this issuer's that counts now, else None."""
        claims = self.read(token, types)
        if claims is None or claims.get("iss") != self.url or self._ledger.revoked(token, claims):
            return None
        return claims if counts_at(claims, self.clock.now()) else None


def counts_at(claims: Mapping[str, Any], now: float) -> bool:
    """Return whether a token with these claims counts at an instant, as far as those say."""
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    return _instant(begins, math.inf) <= now < _instant(expires, -math.inf)


def _instant(value: Any, otherwise: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and abs(value) < math.inf else otherwise

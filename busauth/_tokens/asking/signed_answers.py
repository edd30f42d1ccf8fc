"""An introspection answer as a JWT (RFC 9701), read with suspicion.

Rules:

1. `typ` is `token-introspection+jwt`, so that it is no access token, and no access token is it.
2. A key of the issuer's signed it, by one of the issuer's algorithms.
3. `iss` is the issuer, `aud` this client.
4. `iat` is now, give or take: a recorded answer is no answer.
5. `token_introspection` is an object.

Where one is broken, nobody has answered; no message is guilty of it.
"""

from collections.abc import Iterable
from typing import Any

from busauth._tokens.claims import instant
from busauth._tokens.compact import split
from busauth._tokens.keys.key import KeySource, allow_list
from busauth._tokens.keys.waiting import found
from busauth._tokens.signatories import Codes, Signatory
from busauth.errors import Deferred, NotGenuine

JWT_TYPE = "application/token-introspection+jwt"
_CODES = Codes(
    malformed="token.type",
    type="token.type",
    algorithm="token.algorithm",
    key_unknown="token.key_unknown",
    signature="token.signature",
)


class SignedAnswers:
    """Reads the signed answers of one issuer.

    Args:
        keys: the issuer's keys.
        issuer: the exact `iss`.
        client_id: whom they must be for.
        algorithms: what the issuer signs with.
        max_age: seconds that `iat` may be away from now, either way.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        client_id: str,
        algorithms: Iterable[str],
        max_age: float,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._max_age = max_age
        self._signatory = Signatory(
            name=issuer,
            keys=keys,
            algorithms=allow_list(algorithms),
            types=frozenset({JWT_TYPE}),
            typ=JWT_TYPE,
            codes=_CODES,
            key="a key of its issuer",
            signature="the issuer's",
        )

    async def read(self, body: bytes, now: float) -> dict[str, Any]:
        """Return what an answer says of the token.

        Raises:
            Deferred: it breaks a rule, or the keys are out of reach.
        """
        try:
            # Latin-1 reads any bytes; `split` refuses the wrong ones. The fetcher bounded them.
            compact = split(body.decode("latin-1"), max_bytes=len(body))
            await found(lambda: self._signatory.signer(compact))
            self._check_claims(compact.payload, now)
        except NotGenuine as refused:
            raise Deferred(f"a signed answer of {self._issuer}: {refused.detail}") from None
        told = compact.payload.get("token_introspection")
        if not isinstance(told, dict):
            raise Deferred(f"token_introspection of type {type(told).__name__}: expected an object")
        return told

    def _check_claims(self, claims: dict[str, Any], now: float) -> None:
        if claims.get("iss") != self._issuer:
            raise NotGenuine("token.issuer", found=claims.get("iss"), expected=self._issuer)
        audience = claims.get("aud")
        if self._client_id not in (audience if isinstance(audience, list) else [audience]):
            raise NotGenuine("token.audience", found=audience, expected=self._client_id)
        issued_at = instant(claims, "iat")
        if issued_at is None or abs(now - issued_at) > self._max_age:
            found = "no iat" if issued_at is None else f"iat {now - issued_at:.0f} s ago"
            raise NotGenuine("token.expired", found=found, expected="an answer of now")

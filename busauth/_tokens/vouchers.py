"""Vouchers: tokens of an issuer's that count for nothing but to be exchanged.

Whoever admits them looks at each token's `typ` and audience first, and proves what names itself a
voucher by a trust of its own: a voucher is never proven, nor remembered, as an access token, and no
access token as a voucher.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from busauth._tokens.authenticators import Authenticator
from busauth._tokens.compact import split
from busauth._tokens.evidence import Verified
from busauth._tokens.profiles.profile import VOUCHER_JWT, media_type
from busauth._tokens.verifier import Verifier, Verifiers
from busauth.errors import NotGenuine


class WithVouchers:
    """A consumer's trust that admits vouchers besides access tokens.

    Args:
        trusted: proves access tokens.
        vouchers: the audiences of vouchers, each with who verifies their issuer's access tokens.
        max_token_bytes: longer tokens are refused unread.
        cache_size: how many proven vouchers are remembered.

    Raises:
        ConfigurationError: access tokens are for such an audience.
    """

    def __init__(
        self,
        trusted: Authenticator,
        vouchers: Sequence[tuple[str, Verifier]],
        *,
        max_token_bytes: int,
        cache_size: int,
    ) -> None:
        self._trusted = trusted
        self._audiences = frozenset(name for name, _ in vouchers)
        own = (each.for_vouchers(name, {VOUCHER_JWT}) for name, each in vouchers)
        self._own = Verifiers(*own, max_token_bytes=max_token_bytes, cache_size=cache_size)

    def takes(self, token: str) -> bool:
        """Return whether a token is for either of both."""
        return self._is_voucher(token) or self._trusted.takes(token)

    def recall(self, token: str) -> Verified:
        """Prove a voucher by its issuer's keys, for its own audience; and all else as ever.

        Raises:
            NotGenuine: as of `Verifiers.recall`; ``voucher.audience`` for one that is for others as
                well.
            NotAtHand: keys, or an answer, must be fetched.
        """
        if not self._is_voucher(token):
            return self._trusted.recall(token)
        verified = self._own.recall(token)
        audience = verified.caller.audience
        if len(audience) != 1:
            found, expected = " ".join(audience), "one service, whose consumer this is"
            raise NotGenuine("voucher.audience", found=found, expected=expected)
        return replace(verified, is_voucher=True)

    def check_shape(self, token: str) -> float | None:
        """Let those look at it who prove access tokens: nobody publishes by a voucher here."""
        return self._trusted.check_shape(token)

    def _is_voucher(self, token: str) -> bool:
        return is_voucher(token, self._audiences, max_bytes=self._own.max_token_bytes)


def is_voucher(token: str, audiences: frozenset[str], *, max_bytes: int) -> bool:
    """Return whether a token names itself a voucher, by its type or its audience.

    It proves nothing.
    """
    try:
        compact = split(token, max_bytes=max_bytes)
    except NotGenuine:  # whoever judges it says what is wrong with it
        return False
    if media_type(compact.header.get("typ")) == VOUCHER_JWT:
        return True
    return not audiences.isdisjoint(_named(compact.payload.get("aud")))


def _named(audience: Any) -> frozenset[str]:
    several = audience if isinstance(audience, list) else [audience]
    return frozenset(each for each in several if isinstance(each, str))

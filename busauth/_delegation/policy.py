"""The expiry policy that has a token exchanged: a consumer's one opt-in to tokens had anew."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Self

from busauth._arguments import Seconds, checked_class
from busauth._delegation.exchanging import Exchanger, ExchangeRequest, asked_scopes
from busauth._expiry import LateToken, Renewed, Renewing
from busauth._expiry.renewing import broken
from busauth.caller import Subject
from busauth.errors import ConfigurationError, Forbidden, NotGenuine

_DAY = 24 * 3600.0


@checked_class
@dataclass(frozen=True, slots=True)
class Exchange(Renewing):
    """Have a token exchanged where the one in hand does not do (RFC 8693).

    It serves late tokens where `late` is said, vouchers where `vouchers` is, and `Caller.fresh` in
    handlers that take longer than their token lives. Each time revocation is asked first, and the
    new token is proven, compared with the one in hand, and judged.

    What the server refuses is refused, ``exchange.refused``: no policy behind this one is asked.
    Where it is out of reach, the consumer pauses.

    Args:
        exchanger: the authorization server's client; tokens of its issuer are exchanged, no others.
        audience: whom the new token is for; default: the one audience that the guard has.
        scopes: what it may allow at most; default: what the token in hand allows.
        late: whether the server takes tokens that have expired: most do not.
        vouchers: the audience of the vouchers that this consumer admits, which no access token is
            for; it must check proofs then. Default: it admits none.
        lifetime: seconds from the `iat` of the token in hand, and from when the work was first
            asked for by the proof of its message, from which on nothing is exchanged.

    Raises:
        ConfigurationError: a scope has a name that none can have, or an argument is none.
    """

    exchanger: Exchanger = field(repr=False)
    _: KW_ONLY
    audience: str | None = None
    scopes: str | Iterable[str] | None = None
    late: bool = False
    vouchers: str | None = None
    lifetime: Seconds = _DAY
    issuer: str = field(init=False)

    def __post_init__(self) -> None:
        if "" in (self.audience, self.vouchers):
            raise ConfigurationError("Exchange: audience and vouchers: expected names, none empty")
        if self.scopes is not None:
            object.__setattr__(self, "scopes", asked_scopes(self.scopes))
        object.__setattr__(self, "issuer", self.exchanger.issuer)

    def at(self, audience: frozenset[str]) -> Self:
        """Return the same for a guard whose tokens of this issuer are for an audience.

        Raises:
            ConfigurationError: it has none, or several, and nobody said which one is meant.
        """
        if self.audience is not None:
            return self
        if len(audience) == 1:
            return replace(self, audience=next(iter(audience)))
        found = (
            f"is one of {sorted(audience)}"
            if audience
            else "is not known here: its guard takes none of them, or says nobody"
        )
        raise ConfigurationError(
            f"on_expired: Exchange: the audience of {self.issuer}'s tokens {found}; expected "
            "Exchange(..., audience='...'), whom the new ones are for"
        )

    async def renewed(self, late: LateToken) -> Renewed:
        """Have the token in hand exchanged."""
        caller, scopes = late.caller, self.scopes
        if caller.first is not None:  # it came back, and may do no more than its first token did
            scopes = caller.scopes.intersection(caller.scopes if scopes is None else scopes)
            if not scopes and self.scopes is not None:
                found, expected = "none of these scopes", f"one of {sorted(self.scopes)}"
                raise Forbidden("exchange.refused", found=found, expected=expected)
        # where it is None for a caller without scopes, what comes is narrowed to none all the same
        request = ExchangeRequest.of(self.audience or (), scopes=scopes or None)
        try:
            exchanged = await self.exchanger.exchange(Subject(caller, late.bearer()), request)
        except NotGenuine as refused:  # what came, and not the message, which is genuine
            raise broken(refused.detail, "a genuine token") from refused
        return Renewed(exchanged.token)
